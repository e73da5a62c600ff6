"""The contract of a tower: an encoder that turns prepared values into tokens.

A tower is an ``nn.Module`` whose constructor's signature is the schema of its configuration (plain JSON values).
Nothing else is asked: an entry point in the group ``llava_ecg.towers`` makes it known (docs/extending.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.plugins import towers
from llava_ecg.streams import Preparer


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


def preparers(config: LlavaEcgConfig, built: Mapping[str, Any] | None = None) -> dict[str, Preparer]:
    """Stream name -> what makes its values from a source, as the config says; picklable, in the order of streams.

    Args:
        built: the model's towers, where there are any; else they are made here, on the meta device, where weights take
            no memory.

    Raises:
        InputError: a preparation with settings that the tower's preparer does not have.
    """
    made = {}
    for name in config.streams:
        stream = config.stream(name)
        if built is not None:
            tower = built[name]
        else:
            with torch.device("meta"):
                tower = build_tower(stream.tower, stream.tower_config)
        try:
            made[name] = tower.preparer(**stream.preparation)
        except TypeError as error:
            raise InputError(f"the preparation of the stream {name!r} does not fit its tower: {error}") from error
    return made


def checked_settings(make: Any, given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """`given`, if `make` takes every one of them by name."""
    known = [name for name in inspect.signature(make).parameters if name != "self"]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"the {what} has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    return dict(given)
