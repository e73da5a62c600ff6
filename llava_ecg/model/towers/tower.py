"""The contract of a tower: an encoder that turns prepared values into tokens.

A tower is an ``nn.Module`` whose constructor's signature is the schema of its configuration (plain JSON values). Nothing else is
asked: an entry point in the group ``llava_ecg.towers`` makes it known (docs/extending.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from llava_ecg.errors import InputError
from llava_ecg.plugins import towers
from llava_ecg.prepared import Preparer


class Tower(Protocol):
    """What the model asks of a tower.

    Attributes:
        width: D, of the tokens.
        tokens: P, how many of one value.
    """

    width: int
    tokens: int

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """[n, ...] -> [n, P, D]"""

    def preparer(self, **preparation: Any) -> Preparer:
        """The object that makes this tower's values from a source; picklable, without weights."""


def build_tower(kind: str, config: Mapping[str, Any]) -> Any:
    """The tower of this name with these settings, on random weights.

    Raises:
        InputError: unknown tower, or a setting that its constructor does not have.
    """
    make = towers.get(kind)
    return make(**checked_settings(make, config, f"tower {kind!r}"))


def checked_settings(make: Any, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`given`, if `make` takes every one of them by name."""
    known = [name for name in inspect.signature(make).parameters if name != "self"]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"the {what} has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return dict(given)
