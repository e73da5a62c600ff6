"""Several processes that each hold a shard of the model: FSDP2, as ``--fsdp`` and ``--fsdp_config`` ask for it.

What runs is torch's ``fully_shard`` through accelerate and the Trainer; here is only which of its settings are followed
and how our model is cut. A decoder layer is a unit of its own. Towers and projectors are gathered for a whole step:
a process whose batch has no page would else not take part in gathering the image tower, and all would wait for it.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from llava_ecg.errors import InputError
from llava_ecg.model.loss import is_plain

_WORDS = ("full_shard", "shard_grad_op", "auto_wrap", "true")
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "none", "")
_KEYS: dict[str, tuple[tuple[str, ...], str]] = {
    "version": (("2",), "FSDP2 is the one that is known here"),
    "reshard_after_forward": ((*_TRUE, *_FALSE, "full_shard", "shard_grad_op"), "it is true or false"),
    "auto_wrap_policy": (("transformer_based_wrap",), "decoder layers are the units"),
    "state_dict_type": (("full_state_dict",), "what is saved is a whole model in our layout"),
    "cpu_offload": (_FALSE, "weights stay on the GPU"),
    "offload_params": (_FALSE, "weights stay on the GPU"),
    "cpu_ram_efficient_loading": (_FALSE, "each process reads the whole model before it keeps its shard"),
    "activation_checkpointing": (_FALSE, "give --gradient_checkpointing True instead"),
    "min_num_params": (("0",), "decoder layers are the units"),
    "transformer_layer_cls_to_wrap": ((), "decoder layers are the units"),  # compared with the model's own
    "xla": (_FALSE, "there is no TPU"),
    "xla_fsdp_v2": (_FALSE, "there is no TPU"),
    "xla_fsdp_grad_ckpt": (_FALSE, "there is no TPU"),
    # of FSDP1, and what FSDP2 does anyway
    "sync_module_states": (_TRUE, "all processes begin with the same weights"),
    "use_orig_params": (_TRUE, "FSDP2 knows no other way"),
    "forward_prefetch": (_FALSE, "FSDP2 fetches ahead by itself"),
    "backward_prefetch": (("backward_pre", "no_prefetch"), "FSDP2 fetches ahead by itself"),
    "limit_all_gathers": (_TRUE, "FSDP2 limits them by itself"),
}
"""Key of the config -> the values that are followed or say what is done anyway, and why no other is."""

OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd")
"""Those whose steps are a shard's own."""


def read_json(flag: str, given: Any) -> dict[str, Any]:
    """The settings that a flag names, as a file or as JSON.

    Raises:
        InputError: no such file, or no JSON object.
    """
    if isinstance(given, Mapping):
        return dict(given)
    text = str(given)
    try:
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--{flag} {text} can't be read ({error.strerror}); give a JSON file") from error
    except ValueError as error:
        raise InputError(f"--{flag} {text} is no JSON ({str(error).splitlines()[0]}); give a JSON file") from error
    if not isinstance(found, dict):
        raise InputError(f"--{flag} {text} holds no settings; it is a JSON object")
    return found


def fsdp_settings(words: Any, config: Any) -> dict[str, Any]:
    """``--fsdp`` in its former spelling and ``--fsdp_config`` as one, the settings of FSDP2 for transformers.

    Args:
        words: ``full_shard``, ``shard_grad_op``, with ``auto_wrap`` or without; True for a flag without a word.
        config: the file, its text or its content; None for none.

    Raises:
        InputError: a setting that is unknown, or not followed here.
    """
    settings = {} if config is None else read_json("fsdp_config", config)
    settings = {str(key).removeprefix("fsdp_"): value for key, value in settings.items()}
    for word in str(words).lower().replace(",", " ").split():
        if word not in _WORDS:
            raise InputError(f"--fsdp {word} is not followed here; it is full_shard or shard_grad_op")
        if word.endswith(("shard", "op")):
            settings.setdefault("reshard_after_forward", word == "full_shard")
    for key, value in settings.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            told = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}"
            raise InputError(f"--fsdp_config has the unknown key {key!r}; {told}")
        allowed, why = _KEYS[key]
        if allowed and str(value).lower() not in allowed:
            raise InputError(f"--fsdp_config: {key} {value} is not followed here, since {why}; leave it away")
    reshard = str(settings.get("reshard_after_forward", True)).lower() in (*_TRUE, "full_shard")
    return {"version": 2, "reshard_after_forward": reshard} | {
        key: settings[key] for key in ("transformer_layer_cls_to_wrap",) if key in settings
    }


def refuse_foreign_launch() -> None:
    """Refuse what accelerate's own launcher would set up past our flags.

    Raises:
        InputError: the environment asks for FSDP or DeepSpeed.
    """
    for name, flag in (("FSDP", "--fsdp full_shard"), ("DEEPSPEED", "--deepspeed FILE")):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1"):
            raise InputError(
                f"accelerate's own settings for {name} come to nothing here; start with torchrun and {flag}"
            )


def refuse_alone(flag: str) -> None:
    """Refuse to cut a model for a single process.

    Raises:
        InputError: this is one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise InputError(
            f"--{flag} comes to nothing in a single process; start several with: torchrun --nproc_per_node 8 -m "
            "llava_ecg.train, or leave it away"
        )


def check_shards(args: Any, model_args: Any = None) -> None:
    """Refuse what is not known to come out right in shards.

    Raises:
        InputError: a flag that is not.
    """
    if not args.fsdp and args.fsdp_config not in (None, {}, ""):
        raise InputError("--fsdp_config comes to nothing without --fsdp full_shard; give both or neither")
    if args.fsdp and args.deepspeed:
        raise InputError("--fsdp and --deepspeed both cut the model into shards; give one of them")
    if not (args.fsdp or args.deepspeed):
        return
    asked_by = "fsdp" if args.fsdp else "deepspeed"
    kind = str(getattr(args.optim, "value", args.optim))
    if kind not in OPTIMIZERS:
        raise InputError(f"--optim {kind} is not known to step right in shards; take one of {', '.join(OPTIMIZERS)}")
    refused = {
        "pure_bf16": args.pure_bf16,
        "fp16": args.fp16,
        "selective_checkpointing": args.selective_checkpointing,
        "torch_compile": args.torch_compile or args.torch_compile_backend or args.torch_compile_mode,
        "neftune_noise_alpha": args.neftune_noise_alpha is not None,
        "auto_find_batch_size": args.auto_find_batch_size,
        "bits": model_args is not None and model_args.bits < 16,
    }
    for flag in (flag for flag, asked in refused.items() if asked):
        raise InputError(f"--{flag} is not known to come out right in shards; leave it away, or --{asked_by}")


def cut(model: Any, args: Any) -> None:
    """Tell the Trainer how to cut a model, before it begins.

    Raises:
        InputError: units that are asked for and are none here, or a head whose gathering can't be told ahead.
    """
    if not (args.fsdp or args.deepspeed):
        return
    if not is_plain(model.get_output_embeddings()):
        raise InputError(
            "a head that is more than one matrix can't be trained in shards here; leave --fsdp and --deepspeed away"
        )
    if not args.fsdp:
        return
    layers = sorted({type(layer).__name__ for layer in model.language_model.get_decoder().layers})
    asked = args.fsdp_config.get("transformer_layer_cls_to_wrap") or layers
    asked = [asked] if isinstance(asked, str) else asked
    if sorted(asked) != layers:
        raise InputError(
            f"--fsdp_config: transformer_layer_cls_to_wrap {', '.join(asked)} is not followed here, since the units "
            f"are {', '.join(layers)}; leave it away"
        )
    args.fsdp_plugin_args["transformer_cls_names_to_wrap"] = layers
    # Below a LoRA the embedding is frozen. In a process whose batch is text alone, the first layer would then have an
    # input without a gradient, and FSDP2 would reduce its shards later than the other processes do.
    model.get_input_embeddings().register_forward_hook(lambda _, __, out: out.requires_grad_(torch.is_grad_enabled()))
    if args.bf16:  # a loss in bfloat16 would be logged with three digits; sums of gradients keep float32
        from torch.distributed.fsdp import MixedPrecisionPolicy

        args.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )


def take_up(accelerator: Any, args: Any) -> None:
    """Have accelerate shard on CPUs too, where it passes over FSDP without a word, and trains whole models."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    state = accelerator.state
    state.fsdp_plugin = FullyShardedDataParallelPlugin(**args.fsdp_plugin_args)
    if state.mixed_precision != "no":
        state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # as it does on GPUs


def save_states(trainer: Any, folder: Path) -> None:
    """File the optimizer's states, gathered, and the schedule. (The Trainer would file the weights a second time.)"""
    from accelerate.utils import save_fsdp_optimizer

    accelerator = trainer.accelerator
    save_fsdp_optimizer(accelerator.state.fsdp_plugin, accelerator, trainer.optimizer, trainer.model, str(folder))
    if trainer.args.should_save:
        torch.save(trainer.lr_scheduler.state_dict(), folder / "scheduler.pt")
