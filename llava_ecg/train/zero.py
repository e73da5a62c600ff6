"""Several processes that each hold a part of the optimizer, the gradients and (stage 3) the model: DeepSpeed's ZeRO, as
``--deepspeed`` asks for it.

LLaVA's own zero2.json and zero3.json are followed as they are; here is what is added to them, and what is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch

from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.errors import InputError
from llava_ecg.train.shards import read_json

_FOLLOWED = (
    *("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping"),
    *("bf16", "fp16", "zero_optimization", "zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"),
    *("steps_per_print", "wall_clock_breakdown", "prescale_gradients", "communication_data_type"),
)
_OF_ZERO = (
    *("stage", "overlap_comm", "contiguous_gradients", "sub_group_size", "reduce_bucket_size", "reduce_scatter"),
    *("allgather_partitions", "allgather_bucket_size", "round_robin_gradients", "offload_optimizer", "offload_param"),
    *("stage3_prefetch_bucket_size", "stage3_param_persistence_threshold", "stage3_max_live_parameters"),
    *("stage3_max_reuse_distance", "stage3_gather_16bit_weights_on_model_save"),
)
STAGES = (2, 3)
"""Those that are followed."""
_OFFLOAD = ("offload_optimizer", "offload_param")


def zero_settings(given: Any) -> dict[str, Any]:
    """The file that ``--deepspeed`` names, with what our training needs of DeepSpeed.

    Raises:
        InputError: a file that can't be read, DeepSpeed is not installed, or a setting that is not followed here.
    """
    if find_spec("deepspeed") is None:
        raise InputError(
            "--deepspeed needs deepspeed, which is not installed; get it with: pip install --no-build-isolation "
            "deepspeed, or take torch's own: --fsdp full_shard"
        )
    settings = read_json("deepspeed", given)
    for key in settings:
        if key in ("optimizer", "scheduler"):
            raise InputError(
                f"--deepspeed: its {key} would stand beside the one that the flags set up; take {key} out of the file"
            )
        if key not in _FOLLOWED:
            raise InputError(f"--deepspeed: {key!r} is not known to come out right here; take it out of the file")
    zero = settings.get("zero_optimization", {})
    stage = zero.get("stage") if isinstance(zero, Mapping) else None
    if stage not in STAGES:
        known = " or ".join(map(str, STAGES))
        raise InputError(f"--deepspeed: zero_optimization.stage {stage} is not followed here; it is {known}")
    for key in zero:
        if key not in _OF_ZERO:
            raise InputError(f"--deepspeed: {key!r} is not known to come out right here; take it out of the file")
    for key in _OFFLOAD:
        if (zero.get(key) or {}).get("device", "none") != "none":
            raise InputError(f"--deepspeed: {key} is not known to come out right here; take it out of the file")
    needed = {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
    settings = {"gradient_clipping": "auto"} | settings | needed
    if stage == 3:
        settings["zero_optimization"] = dict(zero) | {"stage3_gather_16bit_weights_on_model_save": True}
    return settings


def stage_of(args: Any) -> int:
    """2 or 3; 0 without ``--deepspeed``."""
    return int(args.deepspeed["zero_optimization"]["stage"]) if args.deepspeed else 0


def blanks_of(dataset: ConversationDataset) -> dict[str, torch.Tensor]:
    """Stream -> one value of zeros, [1, ...], in the shape of the first that the data have.

    ZeRO's processes reduce gradients in the order in which these become ready, and that must be the same in all of
    them. So a batch that lacks a stream is given a blank of it, whose tokens stand nowhere.

    Raises:
        InputError: no record has one of the streams.
    """
    quiet = replace(dataset, modality_dropout=0.0, tell=None)  # a copy, whose draws the training does not see
    found: dict[str, torch.Tensor] = {}
    for number, conversation in enumerate(quiet.conversations):
        wanted = dataset.preparers.keys() - found.keys()
        if not wanted:
            break
        if not (wanted & conversation.sources.keys() or (conversation.sources and not found)):
            continue
        for name, prepared in quiet[number].streams.items():
            if prepared and name in wanted:
                found[name] = torch.zeros_like(prepared[0].values[:1])
    for name in dataset.preparers:
        if name not in found:
            raise InputError(
                f"no record has the stream {name!r}, and --deepspeed needs one of each; take --fsdp full_shard instead"
            )
    return found


def check_same(config: Any) -> None:
    """Refuse a file that says otherwise than the flags.

    Args:
        config: transformers' of the file, with the flags in the place of each "auto".

    Raises:
        InputError: it does.
    """
    if config.mismatches:
        said = (
            config.mismatches[0].removeprefix("- ").replace("ds ", "the file has ").replace(" vs hf ", ", the flags ")
        )
        raise InputError(f'--deepspeed: {said}; write "auto" in the file')


def build_whole() -> None:
    """Have models built as without DeepSpeed; its engine cuts them when the training begins.

    transformers would build a language model in shards as soon as a config of stage 3 is known, and our loader could
    not fill those.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def choose_device() -> None:
    """Tell DeepSpeed, which accelerate imports where it is installed, that there is no GPU; it would guess aloud."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
