"""Flags that can't do here what they are for are refused before anything is loaded, each with one sentence.

Most flags are transformers' own, and its Trainer takes them whether or not they come to anything: there is nothing to
evaluate here, no hub to push to, no run to resume. A study that compares a flag with its absence would compare two
equal runs.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from importlib.util import find_spec
from typing import Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from llava_ecg.errors import InputError
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments
from llava_ecg.train.shards import check_shards

# what --report_to names -> modules of which one is enough; the first is also what pip installs, but for _PIP
_REPORTERS = {
    "azure_ml": ("azureml.core",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "comet_ml": ("comet_ml",),
    "dagshub": ("dagshub",),
    "dvclive": ("dvclive",),
    "flyte": ("flytekit",),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
_PIP = {"azure_ml": "azureml-core", "comet_ml": "comet-ml"}

_NO_EVALUATION = "training here takes no data to evaluate on; leave it away, and ask the saved model instead"
_NO_HUB = "nothing is pushed to a hub from here; leave it away, and upload the saved folder with: hf upload"
_EXACT_RESUME = "a run goes on as if it had not been cut off; leave it away"
_NO_PARALLEL = "a batch is split among processes, and the model by --fsdp; leave it away and start with torchrun"
_IDLE = {
    **dict.fromkeys(
        (
            *(
                "do_eval",
                "do_predict",
                "eval_steps",
                "eval_delay",
                "eval_on_start",
                "eval_do_concat_batches",
                "eval_use_gather_object",
            ),
            *(
                "eval_accumulation_steps",
                "prediction_loss_only",
                "include_for_metrics",
                "batch_eval_metrics",
                "label_names",
            ),
            *(
                "bf16_full_eval",
                "fp16_full_eval",
                "load_best_model_at_end",
                "metric_for_best_model",
                "greater_is_better",
            ),
        ),
        _NO_EVALUATION,
    ),
    **dict.fromkeys(
        (
            *(
                "push_to_hub",
                "hub_token",
                "hub_private_repo",
                "hub_model_id",
                "hub_strategy",
                "hub_always_push",
                "hub_revision",
            ),
            *("trackio_static_space_id",),
        ),
        _NO_HUB,
    ),
    **dict.fromkeys(("ignore_data_skip", "restore_callback_states_from_checkpoint"), _EXACT_RESUME),
    "parallelism_config": _NO_PARALLEL,
    **dict.fromkeys(("use_liger_kernel", "liger_kernel_config"), "there are no kernels for this model; leave it away"),
    "use_cache": "a training step has no cache; leave it away",
    "remove_unused_columns": "samples have no columns; leave it away",
    "length_column_name": "samples have no columns, and their lengths are counted; leave it away",
    "optim_target_modules": "no optimizer that is known here takes it; leave it away",
}
"""Flags that come to nothing unless they are left at their defaults -> why."""

_NEEDED = (
    (("lora_r", "lora_alpha", "lora_dropout"), "--lora_enable", lambda m, a: m.lora_enable),
    (
        ("tower_lr",),
        "--unfreeze_ecg_tower, --unfreeze_vision_tower or --unfreeze_towers",
        lambda m, a: m.unfreeze_ecg_tower or m.unfreeze_vision_tower or bool(m.unfreeze_towers),
    ),
    (("ecg_tower_lr",), "--unfreeze_ecg_tower", lambda m, a: m.unfreeze_ecg_tower),
    (("vision_tower_lr",), "--unfreeze_vision_tower", lambda m, a: m.unfreeze_vision_tower),
    (("quant_type", "double_quant"), "--bits 4", lambda m, a: m.bits == 4),
    (
        ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
        "--gradient_checkpointing",
        lambda m, a: a.gradient_checkpointing,
    ),
    (
        (
            "dataloader_persistent_workers",
            "dataloader_multiprocessing_context",
            "dataloader_prefetch_factor",
            "dataloader_in_order",
        ),
        "--dataloader_num_workers 1 or more",
        lambda m, a: a.dataloader_num_workers > 0,
    ),
    (
        ("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_timeout"),
        "several processes (torchrun)",
        lambda m, a: a.world_size > 1,
    ),
    (
        ("project", "trackio_space_id", "trackio_bucket_id"),
        "--report_to trackio",
        lambda m, a: "trackio" in (a.report_to or ()),
    ),
)
"""Flags -> what they need to come to anything."""

_CHECKPOINTING = {"use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop"}
_WHOLE_MODEL_OPTIMIZERS = ("galore", "apollo", "lomo", "adalomo")


def _number(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> tuple[Callable[[float], bool], str]:
    def fits(value: float) -> bool:
        return (
            math.isfinite(value)
            and (low < value if above else low <= value)
            and (value < high if below else value <= high)
        )

    bound = f"{'over' if above else 'from'} {low:g}" + (
        "" if high == math.inf else f" {'to below' if below else 'to'} {high:.10g}"
    )
    return fits, f"a number {bound}{' on' if high == math.inf and not above else ''}"


_SEED = _number(0, 2**32 - 1)
_RANGES = {
    **dict.fromkeys(
        ("lora_r", "lora_alpha", "per_device_train_batch_size", "gradient_accumulation_steps", "save_total_limit"),
        _number(1),
    ),
    **dict.fromkeys(
        (
            *("learning_rate", "mm_projector_lr", "ecg_projector_lr", "tower_lr", "ecg_tower_lr", "vision_tower_lr"),
            *("weight_decay", "max_grad_norm", "adam_epsilon"),
        ),
        _number(0),
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor", "lora_dropout"), _number(0, 1, below=True)),
    **dict.fromkeys(("seed", "data_seed"), _SEED),
    "neftune_noise_alpha": _number(0, above=True),
    "modality_dropout": _number(0, 1),
    "skip_bad": _number(0),
    "prepared_gb": _number(0, above=True),
    "model_max_length": _number(2),
    "dataloader_num_workers": _number(0),
    "dataloader_prefetch_factor": _number(1),
    "save_steps": _number(0, above=True),
    "logging_steps": _number(0, above=True),
    "ddp_timeout": _number(0, above=True),
}


def check_flags(
    args: TrainingArguments, model_args: ModelArguments | None = None, data_args: DataArguments | None = None
) -> None:
    """Refuse flags that can't do here what they are for, and numbers outside of what they mean.

    Raises:
        InputError: one does; says what to do.
    """
    evaluated: Any = args.eval_strategy
    if evaluated != "no":
        raise InputError(
            f"--eval_strategy {evaluated.value} needs data to evaluate on, and none is taken here; leave it away, "
            "and ask the saved model"
        )
    groups = [group for group in (args, model_args, data_args) if group is not None]
    for group in groups:
        _check_numbers(group)
    _check_idle(args)
    _check_steps(args)
    if model_args is not None:
        _check_needed(args, model_args)
        _check_bits(model_args)
    _check_optimizer(args)
    _check_places(args)
    check_shards(args, model_args)
    _check_reporters(args)


def notes(args: TrainingArguments, model_args: ModelArguments | None = None) -> Iterator[str]:
    """What LLaVA's and GEM's scripts pass as a matter of course, and what does nothing here, each as a line."""
    yield from args.notices
    if model_args is not None and model_args.open_clip_config:
        yield "note: --open_clip_config has no effect here, since the ECG tower's own files tell its form"
    if model_args is not None and model_args.freeze_backbone and model_args.lora_enable:
        yield "note: --freeze_backbone has no effect here, since --lora_enable trains adapters beside frozen weights"
    if args.deepspeed and args.bf16:
        yield "note: DeepSpeed holds and saves every weight in bfloat16 under --bf16; --fsdp full_shard keeps float32"
    if args.dry_run and (args.fsdp or args.deepspeed):
        yield "note: the memory is counted for a process that holds the whole model, and shards take less"
    if "per_device_eval_batch_size" in args.given:
        yield "note: --per_device_eval_batch_size has no effect here, since training takes no data to evaluate on"
    if "num_train_epochs" in args.given and args.max_steps > 0:
        yield "note: --num_train_epochs has no effect here, since --max_steps says when to stop"
    if "run_name" in args.given and not args.report_to:
        yield "note: --run_name has no effect here, since --report_to names nobody to report to"


def _check_numbers(group: Any) -> None:
    for name, (fits, meaning) in _RANGES.items():
        value = getattr(group, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and not fits(value):
            raise InputError(f"--{name} {value:g} means nothing; it is {meaning}")


def _check_idle(args: TrainingArguments) -> None:
    for item in fields(args):
        default = item.default if item.default is not MISSING else None
        at_rest: tuple[Any, ...] = (True,) if default is True else (default, False, [], "no")
        if item.name in _IDLE and item.name in args.given and getattr(args, item.name) not in at_rest:
            raise InputError(f"--{item.name} comes to nothing here: {_IDLE[item.name]}")
    config: Any = args.accelerator_config
    for name in ("split_batches", "dispatch_batches"):
        if getattr(config, name, None):
            raise InputError(
                f"--accelerator_config {name} can't be done here: each process makes its own batches; leave it away"
            )
    if any(str(each).endswith("TPU_METRICS_DEBUG") for each in args.debug):
        raise InputError("--debug tpu_metrics_debug comes to nothing here: there is no TPU; leave it away")
    kept: Any = args.gradient_checkpointing_kwargs or {}
    unknown = set(kept) - _CHECKPOINTING if isinstance(kept, dict) else {str(kept)}
    if unknown:
        raise InputError(
            f"--gradient_checkpointing_kwargs has {min(unknown)!r}; it is JSON with {', '.join(sorted(_CHECKPOINTING))}"
        )


def _check_steps(args: TrainingArguments) -> None:
    if args.max_steps != -1 and args.max_steps < 1:
        raise InputError(
            f"--max_steps {args.max_steps} means nothing; it is 1 or more, or -1 for what --num_train_epochs says"
        )
    if args.max_steps == -1 and not (math.isfinite(args.num_train_epochs) and args.num_train_epochs > 0):
        raise InputError(f"--num_train_epochs {args.num_train_epochs:g} means no training; it is a number over 0")
    saved: Any = args.save_strategy
    if saved.value == "best":
        raise InputError(f"--save_strategy best needs a score, and {_NO_EVALUATION}")
    if args.train_sampling_strategy == "batch_rebalance":
        raise InputError("--train_sampling_strategy batch_rebalance is not known here; take group_by_length")
    if args.packing and args.train_sampling_strategy == "group_by_length":
        raise InputError("--packing leaves no padding, so grouping by length comes to nothing; give one of them")
    if args.strict_attention and not args.packing:
        raise InputError("--strict_attention is about packs; give --packing too, or leave it away")
    kind: Any = args.lr_scheduler_type
    if kind.value == "constant" and "warmup_steps" in args.given and args.warmup_steps:
        raise InputError("--warmup_steps comes to nothing with --lr_scheduler_type constant; take constant_with_warmup")


def _check_needed(args: TrainingArguments, model_args: ModelArguments) -> None:
    if model_args.tune_mm_mlp_adapter and model_args.lora_enable:
        raise InputError(
            "--tune_mm_mlp_adapter trains the projectors alone, and --lora_enable the language model too; give one "
            "of them"
        )
    for names, needed, is_there in _NEEDED:
        given = [name for name in names if name in args.given]
        if given and not is_there(model_args, args):
            raise InputError(f"--{given[0]} comes to nothing without {needed}; give both or neither")


def _check_bits(model_args: ModelArguments) -> None:
    if model_args.bits not in (4, 8, 16):
        raise InputError(f"--bits {model_args.bits} means nothing; it is 4 (nf4), 8 (int8) or 16 (not quantised)")
    if model_args.bits < 16 and not (model_args.lora_enable or model_args.base_is_kept):
        raise InputError(
            f"--bits {model_args.bits} holds a quantised language model, which can't be trained itself; train a LoRA "
            "over it (--lora_enable True) or the projectors alone (--tune_mm_mlp_adapter True)"
        )
    if model_args.quant_type != "nf4":
        raise InputError(f"--quant_type {model_args.quant_type} is not known here; --bits 4 is nf4, so leave it away")
    if not model_args.double_quant:
        raise InputError("--double_quant False can't be done here: scales are always quantised too; leave it away")


def _check_optimizer(args: TrainingArguments) -> None:
    kind = str(getattr(args.optim, "value", args.optim))
    if kind.startswith(_WHOLE_MODEL_OPTIMIZERS):
        raise InputError(
            f"--optim {kind} needs the model's modules, which are not told to it here; take another optimizer"
        )
    pairs = (args.optim_args or "").replace(" ", "").split(",") if args.optim_args else []
    if any(pair.count("=") != 1 for pair in pairs):
        raise InputError(
            f"--optim_args {args.optim_args!r} can't be read; it is name=value, with commas between several"
        )
    settings = _settings(args, args.optim_args)
    for flag, key in (("adam_beta1", "betas"), ("adam_beta2", "betas"), ("adam_epsilon", "eps")):
        if flag in args.given and key not in settings:
            raise InputError(f"--{flag} comes to nothing with --optim {kind}, which has no {key}; leave it away")
    for pair in pairs:
        if _settings(args, pair) == _settings(args, None):
            raise InputError(f"--optim_args {pair} comes to nothing with --optim {kind}; leave it away")


def _settings(args: TrainingArguments, optim_args: str | None) -> dict[str, Any]:
    """The settings of the optimizer that the flags name, as the Trainer finds them."""
    from transformers import Trainer

    other = copy.copy(args)
    other.optim_args = optim_args
    try:
        settings: dict[str, Any] = Trainer.get_optimizer_cls_and_kwargs(other)[1]
    except Exception as error:  # each optimizer's library is missed, and each of its settings refused, in its own way
        raise InputError(
            f"--optim {getattr(args.optim, 'value', args.optim)} can't be set up: {reason(error)}"
        ) from error
    return settings


def _check_places(args: TrainingArguments) -> None:
    if args.fp16 and args.device.type == "cpu":
        raise InputError("--fp16 comes to nothing on a CPU; leave it away or take --bf16")
    if args.n_gpu > 1:
        raise InputError(
            f"one process sees {args.n_gpu} GPUs, and a batch can't be split among them; start one for each, with "
            "torchrun "
            f"--nproc_per_node {args.n_gpu} -m llava_ecg.train, or show it one: CUDA_VISIBLE_DEVICES=0"
        )


def _check_reporters(args: TrainingArguments) -> None:
    if os.environ.get("WANDB_MODE", "").lower() in ("disabled", "off"):  # else wandb would be needed to do nothing
        args.report_to = [name for name in args.report_to or () if name != "wandb"]
        if "report_to" in args.given:
            args.notices += ("note: wandb has no effect here, since the environment variable WANDB_MODE turns it off",)
    for name in args.report_to or ():
        if name not in INTEGRATION_TO_CALLBACK:
            raise InputError(f"unknown --report_to {name}; known are none, all, {', '.join(INTEGRATION_TO_CALLBACK)}")
        modules = _REPORTERS.get(name, ())
        if modules and not any(map(_is_installed, modules)):
            pip = _PIP.get(name, modules[0])
            raise InputError(
                f"--report_to {name} needs {pip}, which is not installed; get it with: pip install {pip}, or leave "
                "it away"
            )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False


def reason(error: Exception) -> str:
    """The first line of a foreign error, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
