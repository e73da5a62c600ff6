"""The flags of ``python -m llava_ecg.train``, under the names that LLaVA's and GEM's scripts use."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import transformers
from transformers.utils import is_torch_tf32_available

from llava_ecg.errors import InputError


@dataclass
class ModelArguments:
    """What is trained."""

    model_name_or_path: str = field(
        metadata={"help": "checkpoint folder or name to go on from, or a language model to begin with"}
    )
    version: str | None = field(
        default=None,
        metadata={
            "help": "chat template (llava-ecg list templates); the checkpoint's if not given, v1 for a new model"
        },
    )
    base: str | None = field(
        default=None, metadata={"help": "model that a LoRA or projectors stand on, where they don't say it"}
    )
    ecg_tower: str | None = field(
        default=None, metadata={"help": "ECG tower: for a new model, or for a checkpoint that has none"}
    )
    vision_tower: str | None = field(
        default=None, metadata={"help": "image tower: for a new model, or for a checkpoint that has none"}
    )
    ecg_projector_type: str | None = field(
        default=None,
        metadata={
            "help": "of an ECG tower that is given: linear (if not given), mlp2x_gelu, ...; enters the image's "
            "projector"
        },
    )
    mm_projector_type: str | None = field(
        default=None, metadata={"help": "of an image tower that is given: mlp2x_gelu (if not given), linear, ..."}
    )
    pretrain_mm_mlp_adapter: str | None = field(
        default=None, metadata={"help": "projectors.safetensors or mm_projector.bin to begin with"}
    )
    tune_mm_mlp_adapter: bool = field(default=False, metadata={"help": "train the projectors alone"})
    unfreeze_ecg_tower: bool = field(default=False, metadata={"help": "train the ECG tower too"})
    unfreeze_vision_tower: bool = field(default=False, metadata={"help": "train the image tower too"})
    trust_pickle: bool = field(
        default=False, metadata={"help": "open pickles that hold more than tensors; runs their maker's code"}
    )
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
    render_pages: bool = field(
        default=False, metadata={"help": "render the page of a recording that comes without an image"}
    )
    modality_dropout: float = field(
        default=0.0, metadata={"help": "share of samples in which the ECG or the image is left out"}
    )


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """transformers' own, and the learning rates of the parts.

    Attributes:
        given: the flags that the command line has, by name.
    """

    model_max_length: int = field(
        default=4096, metadata={"help": "longest sequence, tokens; the checkpoint's if not given"}
    )
    mm_projector_lr: float | None = field(
        default=None, metadata={"help": "of both projectors; learning_rate if not given"}
    )
    tower_lr: float | None = field(default=None, metadata={"help": "of unfrozen towers; learning_rate if not given"})
    save_dtype: str | None = field(
        default=None, metadata={"help": "of the stored weights: float32, bfloat16, float16; as trained if not given"}
    )
    group_by_length: bool = field(
        default=False, metadata={"help": "--train_sampling_strategy group_by_length, under its former name"}
    )
    group_by_modality_length: bool = field(
        default=False, metadata={"help": "group_by_length, with records of text alone in batches of their own"}
    )
    packing: bool = field(
        default=False,
        metadata={
            "help": "several samples in one sequence of up to model_max_length tokens, kept apart by attention, without "
            "padding; per_device_train_batch_size counts these sequences"
        },
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "samples are no columns"})
    given: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        """What LLaVA's scripts ask of a GPU is passed over where there is none that can do it.

        Raises:
            InputError: what would set up the whole process before it could be refused.
        """
        if self.deepspeed or os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("true", "1"):
            raise InputError(
                "--deepspeed comes to nothing here: the model is held whole in every process, since shards of it "
                "can't be saved; "
                "leave deepspeed away and start with torchrun"
            )
        if self.ddp_backend and "WORLD_SIZE" not in os.environ:
            raise InputError(
                "--ddp_backend comes to nothing in a single process; start several with torchrun, or leave it away"
            )
        if self.group_by_length or self.group_by_modality_length:
            self.train_sampling_strategy = "group_by_length"
        if self.tf32 and not is_torch_tf32_available():
            print("note: --tf32 has no effect here, since it is for NVIDIA GPUs from Ampere on")
            self.tf32 = None
        super().__post_init__()


class _Parser(transformers.HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists all flags")


def parse(argv: Sequence[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """The three groups of flags.

    Raises:
        InputError: a flag that none of them has, with the nearest names; a value that is missing or of another type;
            flags that exclude each other.
        SystemExit: argparse's own, for ``--help``.
    """
    kinds: Any = (ModelArguments, DataArguments, TrainingArguments)
    parser = _Parser(kinds, prog="python -m llava_ecg.train", allow_abbrev=False)
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        *groups, left = parser.parse_args_into_dataclasses(
            words, return_remaining_strings=True, look_for_args_file=False
        )
    except InputError:
        raise
    except Exception as error:  # transformers, accelerate and torch each refuse in their own way
        raise InputError(
            f"the flags do not go together: {(str(error).splitlines() or [type(error).__name__])[0]}"
        ) from error
    known = ["--" + item.name for kind in kinds for item in fields(kind) if item.init]
    unknown = [word for word in left if word.startswith("--")] or left
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3, cutoff=0.6)
        raise InputError(
            f"unknown flag {unknown[0]}"
            + (f"; did you mean {' or '.join(near)}?" if near else "; --help lists them all")
        )
    model, data, training = groups
    names = ["--" + word.split("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")]
    training.given = frozenset(
        (name if name in known else name.replace("--no_", "--", 1)).removeprefix("--") for name in names
    )
    if training.save_dtype not in (None, "float32", "bfloat16", "float16"):
        raise InputError(f"unknown --save_dtype {training.save_dtype!r}; known are float32, bfloat16, float16")
    try:
        Path(training.output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"can't write to {training.output_dir} ({error.strerror}); choose another --output_dir"
        ) from error
    return model, data, training
