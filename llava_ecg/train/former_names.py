"""Flags of LLaVA's, PULSE's and GEM's scripts that have another name today, or none.

transformers 5 dropped what the scripts of 4.37 pass, and some flags of theirs ask for what always happens here. Each is
translated with a line that says so, or refused with one sentence that says what to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llava_ecg.errors import InputError

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_model_id": "hub_model_id",
    "push_to_hub_organization": "hub_model_id",
    "push_to_hub_token": "hub_token",
    "include_inputs_for_metrics": "include_for_metrics",
    "unfreeze_mm_vision_tower": "unfreeze_vision_tower",
    "unfreeze_mm_ecg_tower": "unfreeze_ecg_tower",
    "mm_vision_tower_lr": "vision_tower_lr",
    "mm_ecg_tower_lr": "ecg_tower_lr",
    "mm_ecg_projector_lr": "ecg_projector_lr",
}
"""Former name -> today's; the values are the same."""

_FALSE = ("false", "0", "no", "f", "n")
_TRUE = ("true", "1", "yes", "t", "y")
_SHARDS = "decoder layers are the units of --fsdp full_shard; leave it away and start with torchrun"
_MARKERS = "tokens around an image or an ECG are no part of these models; leave it away"
_PRECISION = "mixed precision is --bf16 True (or --fp16 True on a GPU); leave it away"

AT_REST: dict[str, tuple[tuple[str, ...], str, str]] = {
    "save_safetensors": (_TRUE, "weights are always saved as safetensors", "weights are saved as safetensors alone"),
    "overwrite_output_dir": (
        (*_TRUE, *_FALSE),
        "saving replaces the model in a folder that exists and leaves other files",
        "",
    ),
    "lazy_preprocess": ((*_TRUE, *_FALSE), "records are always prepared when their turn comes", ""),
    "is_multimodal": (_TRUE, "the records say what they show", "the records say what they show; leave it away"),
    "mm_use_im_start_end": (_FALSE, "there are none of these tokens", _MARKERS),
    "mm_use_im_patch_token": (_FALSE, "there are none of these tokens", _MARKERS),
    "mm_use_ecg_start_end": (_FALSE, "there are none of these tokens", _MARKERS),
    "mm_use_ecg_patch_token": (_FALSE, "there are none of these tokens", _MARKERS),
    "freeze_mm_mlp_adapter": (
        _FALSE,
        "projectors are always trained",
        "projectors are always trained here; --mm_projector_lr 0 keeps them as they are",
    ),
    "unfreeze_language_model": (
        _FALSE,
        "--tune_mm_mlp_adapter, --freeze_backbone and --lora_enable say how the language model is trained",
        "the language model is trained whole unless another flag says otherwise; leave it away",
    ),
    "lora_bias": (("none",), "biases are not trained", "a LoRA trains no biases here; leave it away"),
    "lora_weight_path": (("",), "no LoRA is named", "give the folder of the LoRA as --model_name_or_path"),
    "attn_implementation": (
        ("sdpa", "flash_attention_2"),
        "attention is torch's own, with its flash kernels",
        "attention is torch's own; leave it away",
    ),
    "use_mps_device": ((*_TRUE, *_FALSE), "an Apple GPU is taken where there is one, unless --use_cpu", ""),
    "half_precision_backend": (("auto",), "torch's own is the only one", _PRECISION),
    "fp16_backend": (("auto",), "torch's own is the only one", _PRECISION),
    "fp16_opt_level": (("o1",), "torch's own mixed precision has no levels", _PRECISION),
    "jit_mode_eval": (_FALSE, "nothing is evaluated", "nothing is evaluated here; leave it away"),
    "use_ipex": (_FALSE, "transformers has dropped it", "transformers has dropped it; leave it away"),
    "past_index": (("-1",), "transformers has dropped it", "no model here has that output; leave it away"),
    "tpu_metrics_debug": (_FALSE, "there is no TPU", "there is no TPU here; leave it away"),
    "tpu_num_cores": ((), "", "there is no TPU here; leave it away"),
    "fsdp_min_num_params": (("0",), "decoder layers are the units of --fsdp", _SHARDS),
    "fsdp_transformer_layer_cls_to_wrap": (
        ("llamadecoderlayer", "mistraldecoderlayer", "qwen2decoderlayer"),
        "decoder layers are the units of --fsdp",
        _SHARDS,
    ),
    "mp_parameters": (("",), "it is for SageMaker", "it is for SageMaker alone; leave it away"),
    "ray_scope": (("last",), "Ray is not used", "Ray is not used here; leave it away"),
    "use_legacy_prediction_loop": (_FALSE, "nothing is evaluated", "nothing is evaluated here; leave it away"),
    "dispatch_batches": (_FALSE, "each process makes its own batches", "each process makes its own batches here"),
    "split_batches": (_FALSE, "each process makes its own batches", "each process makes its own batches here"),
    "include_tokens_per_second": ((*_TRUE, *_FALSE), "tokens per second are always logged", ""),
    "torchdynamo": ((), "", "give it as --torch_compile_backend"),
    "logging_dir": (
        (),
        "",
        "the log is log.jsonl in --output_dir, and tensorboard's folder is the environment variable "
        "TENSORBOARD_LOGGING_DIR; leave it away",
    ),
    "cache_dir": (
        (),
        "",
        "models are found by path, by llava-ecg fetch or in the hub's cache (HF_HOME); leave it away",
    ),
    "mm_tunable_parts": (
        (),
        "",
        "say it with --tune_mm_mlp_adapter True (projectors alone), --unfreeze_vision_tower True and "
        "--unfreeze_ecg_tower True",
    ),
}
"""Name -> values that ask for nothing but what is done anyway, why, and what is said to any other value."""

FORMER = frozenset({*RENAMED, *AT_REST, "warmup_ratio", "adafactor"})


def translated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line in today's names, and a line about each name that was another.

    Raises:
        InputError: a flag that can't be followed; says what to change.
    """
    found: list[str] = []
    notices: list[str] = []
    for flag, values in _flags(words):
        name = flag.removeprefix("--").replace("-", "_")
        if flag:
            now, notice = _today(name, values)
            found += now
            notices.append(notice)
        else:
            found += values
    return found, notices


def _flags(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each former flag with its values; all other words one by one, without a flag, as they were typed."""
    at = 0
    while at < len(words):
        flag, equal, value = words[at].partition("=")
        at += 1
        if not flag.startswith("--") or flag.removeprefix("--").replace("-", "_") not in FORMER:
            yield "", [words[at - 1]]
            continue
        values = [value] if equal else []
        while not equal and at < len(words) and not words[at].startswith("--"):
            values.append(words[at])
            at += 1
        yield flag, values


def _today(name: str, values: list[str]) -> tuple[list[str], str]:
    given = " ".join(values)
    if name in RENAMED:
        now = RENAMED[name]
        return [f"--{now}", *values], f"note: --{name} is called --{now} today, and is taken as that"
    if name == "warmup_ratio":
        return _warmup(given)
    if name == "adafactor":
        if given.lower() in _FALSE:
            return [], "note: --adafactor has no effect here, since --optim names the optimizer"
        return ["--optim", "adafactor"], "note: --adafactor is called --optim adafactor today, and is taken as that"
    passed, why, otherwise = AT_REST[name]
    if given.lower() in passed or not values and passed[: len(_TRUE)] == _TRUE:
        return [], f"note: --{name} has no effect here, since {why}"
    raise InputError(f"--{name}{f' {given}' if given else ''} can't be followed: {otherwise}")


def _warmup(given: str) -> tuple[list[str], str]:
    try:
        ratio = float(given)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio < 1:
        raise InputError(f"--warmup_ratio {given} means nothing; it is a share of all steps, from 0 to below 1")
    notice = f"note: --warmup_ratio {given} is taken as --warmup_steps {given}, as transformers 5 names the share"
    return ["--warmup_steps", given], notice
