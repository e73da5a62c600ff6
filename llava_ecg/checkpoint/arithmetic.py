"""Names and shapes of parameters by arithmetic, and settings that are looked at before they are reckoned with. Standard
library only."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from llava_ecg.errors import InputError

Shapes = dict[str, tuple[int, ...]]

MOST_LAYERS = 10_000
LARGEST = (
    2**31 - 1
)  # no dimension of a real model is near; keeps a made-up config from overflowing whoever reads the table


def linear(name: str, width: int, out: int, bias: bool = True) -> Shapes:
    """The parameters of a linear layer."""
    return {f"{name}.weight": (out, width)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    """The parameters of a layer norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def repeated(name: str, count: int, layer: Shapes) -> Shapes:
    """The parameters of `count` equal layers, numbered."""
    return {f"{name}.{number}.{inner}": shape for number in range(count) for inner, shape in layer.items()}


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """The value, if it is an object of settings; else `InputError`."""
    if not isinstance(value, Mapping):
        raise InputError(f"{what} should be an object of settings and is {reprlib.repr(value)}")
    return value


def known(given: Mapping[str, Any], known: list[str], what: str) -> dict[str, Any]:
    """`given`, if it has no other keys than these."""
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(
            f"{what} has no setting {', '.join(map(reprlib.repr, unknown[:5]))}; it has {', '.join(known)}"
        )
    return dict(given)


def size_of(values: Mapping[str, Any], key: str, default: int | None, where: str) -> int:
    """A positive whole number among settings; else `InputError`."""
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise InputError(
            f"{where} has {key} {reprlib.repr(value)}; a positive whole number (at most {LARGEST}) is needed"
        )
    return value


def layers_of(values: Mapping[str, Any], key: str, default: int, where: str) -> int:
    """A number of layers among settings, of a sane size; else `InputError`."""
    count = size_of(values, key, default, where)
    if count > MOST_LAYERS:
        raise InputError(
            f"{where} has {key} {count}, and no model has more than {MOST_LAYERS} layers; look at that number"
        )
    return count


def flag(values: Mapping[str, Any], key: str, where: str) -> bool:
    """True or false among settings, false where it is not there; else `InputError`."""
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{where} has {key} {reprlib.repr(value)}; true or false is needed")
    return value


def divides(whole: int, whole_key: str, part: int, part_key: str, where: str) -> None:
    """Raise `InputError` where a part does not divide the whole."""
    if whole % part:
        raise InputError(f"{where} has {whole_key} {whole}, which is no whole multiple of its {part_key} {part}")


def layer_count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered layers there are behind `prefix`."""
    return len({name[len(prefix) :].split(".", 1)[0] for name in shapes if name.startswith(prefix)})
