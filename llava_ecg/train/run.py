"""``python -m llava_ecg.train``: read the flags, build the model, freeze, train, save."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from llava_ecg.data.dataset import ConversationDataset, load_conversations
from llava_ecg.ecg.formats import read
from llava_ecg.errors import InputError
from llava_ecg.model import quantize
from llava_ecg.model.checkpoint import compose, load_projectors, load_tokenizer, open_checkpoint, tower_stream
from llava_ecg.model.config import StreamConfig
from llava_ecg.model.find import find
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.opening import open_source
from llava_ecg.model.preparation import stream_report
from llava_ecg.plugins import templates
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments, parse
from llava_ecg.train.checks import check_answers, check_flags, check_output
from llava_ecg.train.trainer import Collator, LlavaEcgTrainer

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say. Exit code 2 for a mistake in them or in the data."""
    try:
        for library in ("accelerate", "peft"):
            if find_spec(library) is None:
                raise InputError(f"training needs {library}, which is not installed; get it with: pip install 'llava-ecg[train]'")
        quantize.hush()  # accelerate imports bitsandbytes
        model_args, data_args, args = parse(argv)
        if args.resume_from_checkpoint:
            raise InputError("a run can't be resumed yet; go on from its result with --model_name_or_path")
        check_flags(args)
        torch.manual_seed(args.seed)
        model, tokenizer = build(model_args, args)
        freeze(model, model_args)
        check_output(model.config, model_args, Path(str(args.output_dir)))
        lines = [freeze_report(model)]
        for name, settings in model.config.streams.items():
            lines += [f"warning: {name}: {warning}" for warning in stream_report(name, settings).warnings]
        dataset = build_dataset(model, tokenizer, data_args, args)
        lines.append(f"{len(dataset)} conversations from {data_args.data_path}")
        if args.process_index == 0:
            print("\n".join(lines))
        check_answers(dataset, dataset.max_length)
        trainer = build_trainer(model, tokenizer, dataset, args)
        trainer.train()
        trainer.save_model()
    except InputError as error:  # from a data worker it comes with the worker's traceback as its text
        print(f"llava_ecg.train: {str(error).strip().splitlines()[-1].removeprefix('llava_ecg.errors.InputError: ')}", file=sys.stderr)
        return 2
    if args.process_index == 0:
        print(f"saved to {args.output_dir}")
    return 0


def build(model_args: ModelArguments, args: TrainingArguments) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint of any layout to go on from, with towers added where they are named; or a new model over a language model."""
    dtype = torch.bfloat16 if args.bf16 and model_args.lora_enable else torch.float32
    if open_source(model_args.model_name_or_path, base=model_args.base).config["streams"]:
        return _continued(model_args, dtype)
    if not (model_args.ecg_tower or model_args.vision_tower):
        raise InputError(
            f"{model_args.model_name_or_path} is a language model alone; give it towers to see with: --ecg_tower, --vision_tower"
        )
    folders = {"ecg": model_args.ecg_tower, "image": model_args.vision_tower}
    towers = {name: find(folder, "tower") for name, folder in folders.items() if folder}
    streams: dict[str, StreamConfig] = {}
    if "ecg" in towers:
        through = "image" if "image" in towers else None
        streams["ecg"] = tower_stream(towers["ecg"], projector=model_args.ecg_projector_type, through=through)
    if "image" in towers:
        streams["image"] = tower_stream(towers["image"], projector=model_args.mm_projector_type)
    templates.get(model_args.version)
    path = Path(model_args.model_name_or_path).expanduser()
    base = str(path.resolve()) if path.is_dir() else model_args.model_name_or_path  # found again from another folder too
    model = compose(
        base,
        streams,
        template=model_args.version,
        tower_folders=towers,
        model_max_length=args.model_max_length,
        dtype=dtype,
    )
    if model_args.pretrain_mm_mlp_adapter:
        load_projectors(model, Path(model_args.pretrain_mm_mlp_adapter))
    return model, load_tokenizer(find(base))


def _continued(model_args: ModelArguments, dtype: torch.dtype) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint to go on from. A LoRA, or projectors, over a whole one are saved as that, over the folder that it came from."""
    checkpoint = open_checkpoint(
        model_args.model_name_or_path,
        device="cpu",
        dtype=dtype,
        stream_dtype=torch.float32,
        base=model_args.base,
        ecg_tower=model_args.ecg_tower,
        vision_tower=model_args.vision_tower,
        projectors={"ecg": model_args.ecg_projector_type, "image": model_args.mm_projector_type},
        trust_pickle=model_args.trust_pickle,
        merge=not model_args.lora_enable,
    )
    model = checkpoint.model
    unchanged = model_args.lora_enable or (model_args.tune_mm_mlp_adapter and checkpoint.adapter is None)
    if unchanged and model.config.base is None:
        model.config.base = str(checkpoint.folder.resolve())
    if model_args.lora_enable and checkpoint.adapter is not None:
        from peft import PeftModel  # six seconds of import that only LoRA needs

        model.language_model = PeftModel.from_pretrained(model.language_model, checkpoint.adapter, is_trainable=True)
    return model, checkpoint.tokenizer


def freeze(model: LlavaEcgForCausalLM, model_args: ModelArguments) -> None:
    """Choose what is trained: projectors always, the language model (whole or by LoRA) unless projectors alone, towers when asked."""
    unfrozen = {"ecg": model_args.unfreeze_ecg_tower, "image": model_args.unfreeze_vision_tower}
    for name, tower in model.towers.items():
        tower.requires_grad_(unfrozen.get(name, False))
    if model.config.origin is not None:  # a tower that its layout took from outside has to be filed when it has changed
        outside = [each for each in model.config.origin["outside"] if not unfrozen.get(each.split(".")[1], False)]
        model.config.origin = dict(model.config.origin) | {"outside": outside}
    alone = model_args.tune_mm_mlp_adapter
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


def build_dataset(model: LlavaEcgForCausalLM, tokenizer: Any, data_args: DataArguments, args: TrainingArguments) -> ConversationDataset:
    """The conversations, prepared as the model's config says."""
    config: Any = model.config
    return ConversationDataset(
        conversations=load_conversations(Path(data_args.data_path)),
        template=templates.get(config.template),
        tokenizer=tokenizer,
        preparers=model.preparers(),
        folders={"ecg": Path(data_args.ecg_folder), "image": Path(data_args.image_folder)},
        max_length=min(args.model_max_length, config.model_max_length),
        derive=data_args.render_pages,
        readers={"ecg": read},
        modality_dropout=data_args.modality_dropout,
        seed=args.seed,
    )


def build_trainer(model: LlavaEcgForCausalLM, tokenizer: Any, dataset: ConversationDataset, args: TrainingArguments) -> LlavaEcgTrainer:
    """The trainer of a model.

    Raises:
        InputError: the flags ask for a library that is not here.
    """
    collator = Collator(_pad_id(tokenizer))
    try:
        return LlavaEcgTrainer(model=model, args=args, train_dataset=dataset, data_collator=collator, processing_class=tokenizer)
    except (ImportError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"the training can't be set up as the flags say ({reason}); leave the flag away or get what it needs") from error


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
