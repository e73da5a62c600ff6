"""What of a model is trained: towers, projectors, the language model or a LoRA of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_ecg.checkpoint import weights
from llava_ecg.checkpoint.files.headers import read_header
from llava_ecg.checkpoint.lora import adapter_file
from llava_ecg.checkpoint.source import Source
from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.train.arguments import ModelArguments
from llava_ecg.train.named import names

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def freeze(model: LlavaEcgForCausalLM, model_args: ModelArguments) -> None:
    """Choose what is trained: projectors always, the language model (whole or by LoRA) unless projectors alone, towers
    when asked."""
    flags = (model_args.unfreeze_ecg_tower, model_args.unfreeze_vision_tower)
    unfrozen = dict(zip(RELEASED, flags, strict=True))
    unfrozen |= dict.fromkeys(names("unfreeze_towers", model_args.unfreeze_towers), True)
    for name, tower in model.towers.items():
        tower.requires_grad_(unfrozen.get(name, False))
    if model.config.origin is not None:  # a tower that its layout took from outside has to be filed when it has changed
        outside = [each for each in model.config.origin["outside"] if not unfrozen.get(each.split(".")[1], False)]
        model.config.origin = dict(model.config.origin) | {"outside": outside}
    alone = model_args.base_is_kept
    if hasattr(model.language_model, "peft_config"):
        return  # an adapter that is gone on with: PEFT has frozen the rest
    model.language_model.requires_grad_(not alone and not model_args.lora_enable)
    if model_args.lora_enable and not alone:
        from peft import LoraConfig, get_peft_model  # six seconds of import that only LoRA needs

        lora = LoraConfig(
            r=model_args.lora_r,
            lora_alpha=model_args.lora_alpha,
            lora_dropout=model_args.lora_dropout,
            target_modules=LORA_TARGETS,
            task_type="CAUSAL_LM",
        )
        model.language_model = get_peft_model(model.language_model, lora)
    elif not alone:
        model.config.base = None  # a language model that changes is saved with the rest


def freeze_report(model: LlavaEcgForCausalLM) -> str:
    """Every part, how many parameters it has and how many of them are trained."""
    parts = {f"towers.{name}": tower for name, tower in model.towers.items()}
    parts |= {f"projectors.{name}": projector for name, projector in model.projectors.items()}
    lines = [f"{'part':<20} {'parameters':>14} {'trained':>14}"]
    for name, part in {**parts, "language_model": model.language_model}.items():
        sizes = [(value.numel(), value.requires_grad) for value in part.parameters()]
        lines.append(f"{name:<20} {sum(n for n, _ in sizes):>14,} {sum(n for n, trained in sizes if trained):>14,}")
    return "\n".join(lines)


def with_adapter(language_model: Any, adapter: Path, dropout: float | None, trust_pickle: bool) -> Any:
    """A language model in PEFT's wrapping, with the LoRA of a folder to go on with.

    Raises:
        InputError: a pickle that is not trusted, or pairs that have no place in the model.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict  # six seconds of import that only LoRA needs

    file = adapter_file(adapter)
    if file is None:
        raise InputError(f"{adapter} holds no LoRA")
    held = Source("lora", str(file), file, {}, read_header(file).tensors)
    state = {name: tensor.clone() for name, tensor in weights.stream(held, trust_pickle=trust_pickle)}
    settings = LoraConfig.from_pretrained(str(adapter))
    settings.inference_mode = False
    settings.init_lora_weights = True  # of A and B, which the file then fills
    settings.base_model_name_or_path = language_model.name_or_path  # saving writes the checkpoint's own base
    if dropout is not None:
        settings.lora_dropout = dropout
    wrapped = get_peft_model(language_model, settings)
    filled: Any = set_peft_model_state_dict(wrapped, state)
    if filled.unexpected_keys:
        raise InputError(
            f"{file} holds pairs for modules that the model does not have, such as {filled.unexpected_keys[0]}"
        )
    return wrapped
