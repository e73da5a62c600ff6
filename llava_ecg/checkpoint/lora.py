"""An adapter in PEFT's layout -> pairs that are added to weights. Only a plain LoRA is: W + scale B A over the base as
it is filed.

PEFT has some thirty settings, and many of them change the base (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) or the rule (DoRA,
activated LoRA, QALoRA, ...). Merged as a plain LoRA, such an adapter makes another model. So a setting is refused
unless it is known to leave the sum as it is; the adapter can be merged with PEFT, which knows its own rules. Needs
neither torch nor peft.

Source: peft 0.21, `LoraConfig` and `LoraLayer.update_layer`; tests/checkpoint/test_lora.py holds the sums equal to
PEFT's own.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.files.headers import TensorRef, read_header, read_json
from llava_ecg.checkpoint.keymaps import GEM, to_ours, unwrapped
from llava_ecg.errors import InputError

FILES = ("adapter_model.safetensors", "adapter_model.bin")

_A, _B = ".lora_A.weight", ".lora_B.weight"
_PLAIN_BEGINNINGS = ("gaussian", "eva", "orthogonal", "true", "false")
"""Values of init_lora_weights, beside true and false, that only draw A and B, which the file then holds."""
_WITHOUT_EFFECT = frozenset(
    {
        # what it is and where it came from
        *(
            "peft_type",
            "task_type",
            "auto_mapping",
            "peft_version",
            "base_model_name_or_path",
            "revision",
            "inference_mode",
        ),
        # of training, or of beginnings that `_PLAIN_BEGINNINGS` allows
        *("lora_dropout", "bias", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "unsloth_fixed"),
        # of what is switched on by another setting
        *("megatron_config", "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
        # looked at here
        *("r", "lora_alpha", "use_rslora", "init_lora_weights"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    }
)


@dataclass(frozen=True)
class Delta:
    """A LoRA pair, added to a weight W [out, in] as scale * B A.

    Attributes:
        a: [r, in].
        b: [out, r].
        scale: alpha over rank.
    """

    a: TensorRef
    b: TensorRef
    scale: float


def adapter_file(folder: Path) -> Path | None:
    """The weights of the LoRA in a folder, None where there is none."""
    if not (folder / "adapter_config.json").is_file():
        return None
    return next((folder / file for file in FILES if (folder / file).is_file()), None)


def read_lora(folder: Path) -> dict[str, Delta]:
    """The pairs of an adapter in PEFT's layout: our name of the weight -> its pair.

    Raises:
        InputError: a file is missing, it is no plain LoRA, its rank or alpha is no number, or its settings and its
            tensors disagree.
    """
    config = read_json(folder / "adapter_config.json")
    file = adapter_file(folder)
    if file is None:
        raise InputError(f"the adapter in {folder} is not whole: neither {' nor '.join(FILES)} is there; copy it again")
    weights = read_header(file).tensors
    pairs = {name: name.removesuffix(_A) + _B for name in weights if name.endswith(_A)}
    unlike = [*_unlike(config), *sorted(set(weights).symmetric_difference({*pairs, *pairs.values()}))[:3]]
    if unlike or not pairs:
        raise InputError(
            f"the adapter in {folder} is no plain LoRA ({', '.join(unlike) or 'no weights'}); merge it with PEFT first"
        )
    rank, scale = _rank_and_scale(config, folder / "adapter_config.json")
    _check_ranks(weights, pairs, rank, file)
    _check_targets(config, [name.removesuffix(_A).removeprefix("base_model.model.") for name in pairs], file)
    found: dict[str, Delta] = {}
    for name, partner in pairs.items():
        weight = unwrapped(name.removesuffix(_A)) + ".weight"
        ours = to_ours([weight], GEM).get(weight, weight)
        if ours in found:
            raise InputError(
                f"{file} holds two pairs for the one weight {weight} ({found[ours].a.name} and {name}); copy it again"
            )
        found[ours] = Delta(weights[name], weights[partner], scale)
    return found


def _unlike(config: Mapping[str, Any]) -> Iterator[str]:
    """The settings under which the sum is not W + scale B A, each as ``name`` or ``name: value``."""
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        yield f"peft_type: {reprlib.repr(kind)}"
    beginning = config.get("init_lora_weights", True)
    if not (beginning is None or isinstance(beginning, bool) or str(beginning).lower() in _PLAIN_BEGINNINGS):
        yield f"init_lora_weights: {reprlib.repr(beginning)}"
    for name, value in config.items():
        if name not in _WITHOUT_EFFECT and value not in (None, False, {}, [], ""):
            yield name if name.isprintable() and len(name) <= 60 else reprlib.repr(name)


def _rank_and_scale(config: Mapping[str, Any], path: Path) -> tuple[int, float]:
    """r, and alpha over r or over its square root."""
    rank, alpha = config.get("r"), config.get("lora_alpha")
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if type(rank) is not int or rank < 1 or not number:
        raise InputError(
            f"{path} gives no usable r and lora_alpha ({reprlib.repr(rank)} and {reprlib.repr(alpha)}); r is a "
            "whole number from 1 on and "
            "lora_alpha a number: copy the file again"
        )
    try:
        scale = float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))  # type: ignore[operator]
    except OverflowError:
        scale = math.inf
    if not math.isfinite(scale):
        raise InputError(
            f"{path} has the lora_alpha {reprlib.repr(alpha)}, which is no finite number; copy the file again"
        )
    return rank, scale


def _check_ranks(weights: Mapping[str, TensorRef], pairs: Mapping[str, str], rank: int, file: Path) -> None:
    """The tensors have to be of the rank that their scale is computed from."""
    for name, partner in pairs.items():
        ranks = [*weights[name].shape[:1], *weights[partner].shape[1:2]]
        if ranks == 2 * ranks[:1] and ranks[0] != rank:  # what is no pair of matrices, `llava_ecg.checkpoint.fit` says
            raise InputError(
                f"{file} holds pairs of rank {ranks[0]} ({name}) and adapter_config.json beside it says r {rank}, "
                "from which their scale "
                "follows; the two do not belong together"
            )


def _check_targets(config: Mapping[str, Any], modules: list[str], file: Path) -> None:
    """PEFT passes over pairs that its settings do not name; adding them would make another model."""
    stray = [module for module in modules if not _is_target(config, module, file)]
    if stray:
        raise InputError(
            f"{file} holds {len(stray)} of {len(modules)} pairs (such as {stray[0]}) for modules that "
            "adapter_config.json beside it does "
            "not name, and PEFT would pass over them; the two do not belong together"
        )


def _is_target(config: Mapping[str, Any], module: str, file: Path) -> bool:
    targets, excluded = config.get("target_modules"), config.get("exclude_modules")
    if excluded and _named(excluded, module, file):
        return False
    layers = config.get("layers_to_transform")
    number = re.search(r"\.(\d+)\.", module)
    if (
        layers is not None
        and layers != []
        and number
        and int(number[1]) not in (layers if isinstance(layers, list) else [layers])
    ):
        return False
    return not targets or targets == "all-linear" or _named(targets, module, file)


def _named(names: Any, module: str, file: Path) -> bool:
    """Whether a setting of PEFT names a module: by the end of its name in a list, or by an expression for the whole of
    it."""
    if isinstance(names, list):
        return any(module == name or module.endswith(f".{name}") for name in names)
    try:
        return re.fullmatch(names, module) is not None
    except (re.error, TypeError, RecursionError) as error:
        raise InputError(
            f"{file.parent / 'adapter_config.json'} names modules by {reprlib.repr(names)}, which can't be read"
        ) from error
