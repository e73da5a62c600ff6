"""What can be known to go wrong before the first step is said before the first step."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import IGNORE
from llava_ecg.errors import InputError
from llava_ecg.model.find import find
from llava_ecg.model.opening import open_tower
from llava_ecg.model.saving import is_replaced
from llava_ecg.model.standing import places, refuse_standing
from llava_ecg.train.arguments import ModelArguments, TrainingArguments

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


def check_flags(args: TrainingArguments) -> None:
    """Refuse flags of transformers' that can't do here what they are for.

    Raises:
        InputError: one does; says what to do.
    """
    evaluated: Any = args.eval_strategy
    if evaluated != "no":
        raise InputError(
            f"--eval_strategy {evaluated.value} needs data to evaluate on, and training here takes none; leave it away, and ask the "
            "saved model instead"
        )
    if args.train_sampling_strategy == "group_by_length":
        raise InputError("--train_sampling_strategy group_by_length needs lengths that are not known before a file is read; leave it away")
    if args.use_liger_kernel:
        raise InputError("--use_liger_kernel has no kernels for this model; leave it away")
    if args.n_gpu > 1:
        raise InputError(
            f"one process sees {args.n_gpu} GPUs, and a batch can't be split among them; start one for each, with torchrun "
            f"--nproc_per_node {args.n_gpu} -m llava_ecg.train, or show it one: CUDA_VISIBLE_DEVICES=0"
        )
    for name in args.report_to or ():
        if name not in INTEGRATION_TO_CALLBACK:
            raise InputError(f"unknown --report_to {name}; known are none, all, {', '.join(INTEGRATION_TO_CALLBACK)}")
        modules = _REPORTERS.get(name, ())
        if modules and not any(map(_is_installed, modules)):
            pip = _PIP.get(name, modules[0])
            raise InputError(f"--report_to {name} needs {pip}, which is not installed; get it with: pip install {pip}, or leave it away")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False


def check_output(config: Any, model_args: ModelArguments, folder: Path) -> None:
    """Refuse a folder to save in whose saving takes away what the result stands on, or a tower or projectors that were given.

    Raises:
        InputError: it does.
    """
    refuse_standing(config, folder)
    given: list[Path] = [Path(model_args.pretrain_mm_mlp_adapter)] if model_args.pretrain_mm_mlp_adapter else []
    for stream, name in (("ecg", model_args.ecg_tower), ("image", model_args.vision_tower)):
        if name:
            given += sorted({ref.path for ref in open_tower(find(name, "tower"), stream).tensors.values()})
    target = folder.resolve()
    for path in given:
        inside = [each.relative_to(target) for each in places(path) if each != target and each.is_relative_to(target)]
        if any(is_replaced(each.parts[0]) for each in inside):
            raise InputError(f"saving to {folder} would delete {path}, which the training begins with; choose another --output_dir")


def check_answers(dataset: ConversationDataset, length: int) -> None:
    """Refuse data of which nothing can be learnt.

    The first record with an answer ends the search, so whole data cost the reading of one record.

    Raises:
        InputError: no record has a token of an answer within the length.
    """
    whole = replace(dataset, modality_dropout=0.0)  # a copy, whose draws the training does not see
    if not any(bool((whole[number].labels != IGNORE).any()) for number in range(len(whole))):
        raise InputError(
            f"no record has a token of an answer among its first {length} tokens, so there is nothing to learn; raise --model_max_length"
        )
