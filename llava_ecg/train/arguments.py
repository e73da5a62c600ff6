"""The flags of ``python -m llava_ecg.train``, under the names that LLaVA's and GEM's scripts use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import transformers
from transformers.utils import is_torch_tf32_available

from llava_ecg.errors import InputError


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str = field(metadata={"help": "checkpoint folder or name to go on from, or a language model to begin with"})
    version: str = field(default="v1", metadata={"help": "chat template (llava-ecg list templates), for a new model"})
    base: str | None = field(default=None, metadata={"help": "model that a LoRA or projectors stand on, where they don't say it"})
    ecg_tower: str | None = field(default=None, metadata={"help": "ECG tower: for a new model, or for a checkpoint that has none"})
    vision_tower: str | None = field(default=None, metadata={"help": "image tower: for a new model, or for a checkpoint that has none"})
    ecg_projector_type: str = field(default="linear", metadata={"help": "linear, mlp2x_gelu, ...; its output enters the image's projector"})
    mm_projector_type: str = field(default="mlp2x_gelu", metadata={"help": "linear, mlp2x_gelu, ..."})
    pretrain_mm_mlp_adapter: str | None = field(default=None, metadata={"help": "projectors.safetensors to begin with, for a new model"})
    tune_mm_mlp_adapter: bool = field(default=False, metadata={"help": "train the projectors alone"})
    unfreeze_ecg_tower: bool = field(default=False, metadata={"help": "train the ECG tower too"})
    unfreeze_vision_tower: bool = field(default=False, metadata={"help": "train the image tower too"})
    trust_pickle: bool = field(default=False, metadata={"help": "open pickles that hold more than tensors; runs their maker's code"})
    lora_enable: bool = field(default=False, metadata={"help": "train the language model through LoRA"})
    lora_r: int = field(default=64, metadata={"help": "rank"})
    lora_alpha: int = field(default=16, metadata={"help": "scale times rank"})
    lora_dropout: float = field(default=0.05, metadata={"help": "of the adapters' input"})


@dataclass
class DataArguments:
    """What it is trained on."""

    data_path: str = field(metadata={"help": "LLaVA JSON or JSONL"})
    ecg_folder: str = field(default=".", metadata={"help": "where the records' ecg files lie"})
    image_folder: str = field(default=".", metadata={"help": "where the records' image files lie"})
    render_pages: bool = field(default=False, metadata={"help": "render the page of a recording that comes without an image"})
    modality_dropout: float = field(default=0.0, metadata={"help": "share of samples in which the ECG or the image is left out"})


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """transformers' own, and the learning rates of the parts."""

    model_max_length: int = field(default=4096, metadata={"help": "longest sequence, tokens"})
    mm_projector_lr: float | None = field(default=None, metadata={"help": "of both projectors; learning_rate if not given"})
    tower_lr: float | None = field(default=None, metadata={"help": "of unfrozen towers; learning_rate if not given"})
    save_dtype: str | None = field(
        default=None, metadata={"help": "of the stored weights: float32, bfloat16, float16; as trained if not given"}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "samples are no columns"})

    def __post_init__(self) -> None:
        """What LLaVA's scripts ask of a GPU is passed over where there is none that can do it."""
        if self.tf32 and not is_torch_tf32_available():
            print("note: --tf32 has no effect here, since it is for NVIDIA GPUs from Ampere on")
            self.tf32 = None
        super().__post_init__()


def parse(argv: Sequence[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """The three groups of flags.

    Raises:
        InputError: a flag that none of them has; the nearest names are given.
        SystemExit: argparse's own, for a missing or ill-typed value and ``--help``.
    """
    kinds: Any = (ModelArguments, DataArguments, TrainingArguments)
    parser = transformers.HfArgumentParser(kinds, prog="python -m llava_ecg.train", allow_abbrev=False)
    try:
        *groups, left = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    except (ValueError, OSError, ImportError) as error:
        raise InputError(f"the flags do not go together: {str(error).splitlines()[0]}") from error
    unknown = [word for word in left if word.startswith("--")] or left
    if unknown:
        known = ["--" + item.name for kind in kinds for item in fields(kind)]
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.6)
        raise InputError(f"unknown flag {unknown[0]}" + (f"; did you mean {' or '.join(near)}?" if near else "; --help lists them all"))
    model, data, training = groups
    if training.save_dtype not in (None, "float32", "bfloat16", "float16"):
        raise InputError(f"unknown --save_dtype {training.save_dtype!r}; known are float32, bfloat16, float16")
    try:
        Path(training.output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't write to {training.output_dir} ({error.strerror}); choose another --output_dir") from error
    return model, data, training
