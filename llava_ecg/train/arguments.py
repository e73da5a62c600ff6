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
from llava_ecg.train import former_names, recipes, shards, zero


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
    open_clip_config: str | None = field(
        default=None, metadata={"help": "GEM's name of the ECG tower's form; read from the tower itself here"}
    )
    mm_vision_select_layer: int | None = field(
        default=None, metadata={"help": "hidden state of a new image tower that is taken: -2 if nothing says another"}
    )
    mm_vision_select_feature: str | None = field(
        default=None, metadata={"help": "of a new image tower: patch (if nothing says another) or cls_patch"}
    )
    image_aspect_ratio: str | None = field(
        default=None, metadata={"help": "how a new image tower's pages are prepared: squash, pad, ori (square), anyres"}
    )
    image_grid_pinpoints: str | None = field(
        default=None, metadata={"help": "of anyres: [[width, height], ...] in pixels"}
    )
    mm_patch_merge_type: str | None = field(default=None, metadata={"help": "of anyres: flat, spatial, spatial_unpad"})
    pretrain_mm_mlp_adapter: str | None = field(
        default=None, metadata={"help": "projectors.safetensors or mm_projector.bin to begin with"}
    )
    pretrain_ecg_projector: str | None = field(
        default=None, metadata={"help": "file with the ECG's projector to begin with, over what the other one holds"}
    )
    tune_mm_mlp_adapter: bool = field(default=False, metadata={"help": "train the projectors alone"})
    freeze_backbone: bool = field(
        default=False, metadata={"help": "leave the language model as it is (a LoRA of it is trained all the same)"}
    )
    unfreeze_ecg_tower: bool = field(default=False, metadata={"help": "train the ECG tower too"})
    unfreeze_vision_tower: bool = field(default=False, metadata={"help": "train the image tower too"})
    towers: list[str] = field(
        default_factory=list,
        metadata={"help": "NAME=FOLDER of the towers of a new model's other streams, which a package may bring"},
    )
    projectors: list[str] = field(
        default_factory=list, metadata={"help": "NAME=KIND of the projectors of --towers; linear if not given"}
    )
    unfreeze_towers: list[str] = field(
        default_factory=list, metadata={"help": "names of other streams whose towers are trained too"}
    )
    trust_pickle: bool = field(
        default=False, metadata={"help": "open pickles that hold more than tensors; runs their maker's code"}
    )
    lora_enable: bool = field(default=False, metadata={"help": "train the language model through LoRA"})
    lora_r: int = field(default=64, metadata={"help": "rank"})
    lora_alpha: int = field(default=16, metadata={"help": "scale times rank"})
    lora_dropout: float = field(default=0.05, metadata={"help": "of the adapters' input"})
    bits: int = field(
        default=16, metadata={"help": "4 (nf4) or 8 (int8): the frozen language model quantised, for a LoRA over it"}
    )
    quant_type: str = field(default="nf4", metadata={"help": "of --bits 4: nf4 alone"})
    double_quant: bool = field(default=True, metadata={"help": "of --bits 4: its scales are quantised too; always"})

    @property
    def base_is_kept(self) -> bool:
        """Whether the language model's own weights stay as they are and nothing is trained beside them in it."""
        return self.tune_mm_mlp_adapter or self.freeze_backbone and not self.lora_enable

    @property
    def quantization(self) -> str | None:
        """What `llava_ecg.checkpoint.quantize` calls ``bits``."""
        return {4: "nf4", 8: "int8"}.get(self.bits)


@dataclass
class DataArguments:
    """What it is trained on."""

    data_path: str = field(
        metadata={"help": "LLaVA JSON, JSONL, data.yaml, or a data set by name (llava-ecg list datasets)"}
    )
    ecg_folder: str = field(default=".", metadata={"help": "where the records' ecg files lie"})
    image_folder: str = field(default=".", metadata={"help": "where the records' image files lie"})
    input_folders: list[str] = field(
        default_factory=list, metadata={"help": "NAME=FOLDER where the files of other streams lie"}
    )
    render_pages: bool = field(
        default=False, metadata={"help": "render the page of a recording that comes without an image"}
    )
    modality_dropout: float = field(
        default=0.0, metadata={"help": "share of samples in which the ECG or the image is left out"}
    )
    skip_bad: int = field(
        default=0,
        metadata={"help": "train without up to so many records that have a problem (llava-ecg validate lists them)"},
    )
    prepared_dir: str | None = field(
        default=None, metadata={"help": "folder that keeps prepared inputs for later epochs and runs"}
    )
    prepared_gb: float = field(default=100.0, metadata={"help": "the most that it may hold, 10^9 bytes"})
    augment_wander_mv: float = field(
        default=0.0, metadata={"help": "of each ECG: largest amplitude of a wander of the baseline, mV"}
    )
    augment_noise_mv: float = field(
        default=0.0, metadata={"help": "of each ECG: largest standard deviation of white noise, mV"}
    )
    augment_drop_leads: float = field(default=0.0, metadata={"help": "probability of each lead to fall off"})
    augment_shift_s: float = field(default=0.0, metadata={"help": "an ECG begins up to so many seconds later"})
    augment_gain: float = field(
        default=0.0, metadata={"help": "an ECG's voltages are multiplied by a factor of 1 - this to 1 + this"}
    )


@dataclass
class TrainingArguments(transformers.TrainingArguments):
    """transformers' own, and the learning rates of the parts.

    Attributes:
        given: the flags that the command line has or the recipe of ``--config``, by name.
        notices: what is to be said about flags under former names, a line each.
    """

    config: str | None = field(
        default=None, metadata={"help": "recipe: YAML whose keys are these flags; what is typed beside it wins"}
    )
    dry_run: bool = field(
        default=False, metadata={"help": "say what would be trained, on what, and with how much memory; then stop"}
    )

    model_max_length: int = field(
        default=4096, metadata={"help": "longest sequence, tokens; the checkpoint's if not given"}
    )
    mm_projector_lr: float | None = field(
        default=None, metadata={"help": "of both projectors; learning_rate if not given"}
    )
    ecg_projector_lr: float | None = field(
        default=None, metadata={"help": "of the ECG's projector; mm_projector_lr if not given"}
    )
    tower_lr: float | None = field(default=None, metadata={"help": "of unfrozen towers; learning_rate if not given"})
    ecg_tower_lr: float | None = field(
        default=None, metadata={"help": "of an unfrozen ECG tower; tower_lr if not given"}
    )
    vision_tower_lr: float | None = field(
        default=None, metadata={"help": "of an unfrozen image tower; tower_lr if not given"}
    )
    save_dtype: str | None = field(
        default=None, metadata={"help": "of the stored weights: float32, bfloat16, float16; as trained if not given"}
    )
    group_by_length: bool = field(
        default=False, metadata={"help": "--train_sampling_strategy group_by_length, under its former name"}
    )
    group_by_modality_length: bool = field(
        default=False, metadata={"help": "group_by_length, with records of text alone in batches of their own"}
    )
    selective_checkpointing: bool = field(
        default=False,
        metadata={"help": "gradient checkpointing that keeps attention and every second matrix product"},
    )
    pure_bf16: bool = field(
        default=False,
        metadata={
            "help": "hold and train the language model in bfloat16 alone: AdamW rounds its steps by chance, or --optim "
            "adamw_bnb_8bit keeps its states in 8 bits"
        },
    )
    packing: bool = field(
        default=False,
        metadata={
            "help": "several samples in one sequence of up to model_max_length tokens, kept apart, without "
            "padding; per_device_train_batch_size counts these sequences"
        },
    )
    strict_attention: bool = field(
        default=False,
        metadata={"help": "with --packing: end at once where no flash attention can be had, in place of a slower one"},
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "samples are no columns"})
    given: frozenset[str] = field(init=False, default=frozenset())
    notices: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """What LLaVA's scripts ask of a GPU is passed over where there is none that can do it.

        Raises:
            InputError: what would set up the whole process before it could be refused.
        """
        shards.refuse_foreign_launch()
        if self.deepspeed:
            shards.refuse_alone("deepspeed")
            self.deepspeed = zero.zero_settings(self.deepspeed)
        if self.fsdp:
            shards.refuse_alone("fsdp")
            self.fsdp, self.fsdp_config = True, shards.fsdp_settings(self.fsdp, self.fsdp_config)  # type: ignore[assignment]
        if self.ddp_backend and "WORLD_SIZE" not in os.environ:
            raise InputError(
                "--ddp_backend comes to nothing in a single process; start several with torchrun, or leave it away"
            )
        if self.group_by_length or self.group_by_modality_length:
            self.train_sampling_strategy = "group_by_length"
        if self.tf32 and not is_torch_tf32_available():
            print("note: --tf32 has no effect here, since it is for NVIDIA GPUs from Ampere on")
            self.tf32 = None
        if self.pure_bf16:
            self.bf16 = True
        compiled = self.torch_compile, self.torch_compile_backend, self.torch_compile_mode
        self.torch_compile, self.torch_compile_backend, self.torch_compile_mode = False, None, None
        super().__post_init__()
        if self.deepspeed:
            zero.check_same(self.hf_deepspeed_config)
            zero.build_whole()
        # layer by layer, by our trainer: transformers would compile the whole model, anew for each shape of the towers
        self.torch_compile, self.torch_compile_backend, self.torch_compile_mode = compiled


class _Parser(transformers.HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists all flags")


_KINDS: Any = (ModelArguments, DataArguments, TrainingArguments)


def parse(argv: Sequence[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """The three groups of flags: of the command line, and before them of the recipe that ``--config`` names.

    Raises:
        InputError: a flag that none of them has, with the nearest names; a value that is missing or of another type;
            flags that exclude each other; a recipe with any of that.
        SystemExit: argparse's own, for ``--help``.
    """
    parser = _Parser(_KINDS, prog="python -m llava_ecg.train", allow_abbrev=False)
    typed, recipe = recipes.taken_out(sys.argv[1:] if argv is None else argv)
    words, notices = former_names.translated([*_of_recipe(recipe), *typed])
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
    unknown = [word for word in left if word.startswith("--")] or left
    if unknown:
        raise InputError(_unknown(unknown[0]))
    model, data, training = groups
    training.given, training.notices = _given(words), tuple(dict.fromkeys(notices))
    training.config = None if recipe is None else str(recipe)
    if training.save_dtype not in (None, "float32", "bfloat16", "float16"):
        raise InputError(f"unknown --save_dtype {training.save_dtype!r}; known are float32, bfloat16, float16")
    if not training.dry_run:
        _make(training.output_dir)
    return model, data, training


def known_flags() -> list[str]:
    """The names of all flags, without dashes."""
    return [item.name for kind in _KINDS for item in fields(kind) if item.init]


def _of_recipe(recipe: Path | None) -> list[str]:
    if recipe is None:
        return []
    parser = _Parser(_KINDS, allow_abbrev=False)
    for action in parser._actions:  # one setting at a time is read, so none is required
        action.required = False
    known = set(known_flags()) - {"config"}
    return recipes.words_of(recipe, known, former_names.FORMER, lambda words: _read_alone(parser, words))


def _read_alone(parser: _Parser, words: Sequence[str]) -> None:
    try:
        parser.parse_known_args(list(words))
    except InputError as error:
        raise InputError(str(error).removesuffix("; --help lists all flags")) from error


def _unknown(word: str) -> str:
    known = ["--" + name for name in [*known_flags(), *former_names.FORMER]]
    near = difflib.get_close_matches(word.partition("=")[0], known, n=3, cutoff=0.6)
    told = f"; did you mean {' or '.join(near)}?" if near else "; --help lists them all"
    return f"unknown flag {word}{told}"


def _given(words: Sequence[str]) -> frozenset[str]:
    known = set(known_flags())
    names = [word.split("=")[0].removeprefix("--").replace("-", "_") for word in words if word.startswith("--")]
    return frozenset(name if name in known else name.removeprefix("no_") for name in names)


def _make(folder: str | None) -> None:
    try:
        Path(str(folder)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't write to {folder} ({error.strerror}); choose another --output_dir") from error
