"""`TowerFacts`: what is known of a kind of tower without building it. `llava_ecg.checkpoint.towers.known` lists the
kinds."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llava_ecg.checkpoint.arithmetic import Shapes
from llava_ecg.checkpoint.keymaps import Table


@dataclass(frozen=True)
class Words:
    """How a tower's input is made, in words.

    Attributes:
        made: how a value is made from its source.
        tokens: P.
        more: what else there is to say about the tokens.
        warnings: what a user has to know.
    """

    made: str
    tokens: int
    more: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TowerFacts:
    """A kind of tower.

    Attributes:
        stream: the stream that such a tower usually is.
        shapes: (its constructor's arguments, what they belong to) -> its width, and its parameters with their shapes.
        words: (its constructor's arguments, preparation, shapes) -> `Words`.
        told_by: constructor's arguments from the shapes of released weights; None where they are none of the released
            ones.
        table: names in files that hold it beside other things -> its own.
        width: of its tokens, from the constructor's arguments.
    """

    stream: str
    shapes: Callable[[Mapping[str, Any], str], tuple[int, Shapes]]
    words: Callable[[Mapping[str, Any], Mapping[str, Any], Shapes], Words]
    told_by: Callable[[Shapes], dict[str, Any] | None]
    table: Table
    width: Callable[[Mapping[str, Any]], int]


def shown(value: Any) -> str:
    """A value of a config for a person: on one line, and not too much of it."""
    if isinstance(value, str) and value.isprintable() and len(value) <= 100:
        return value
    return f"{value:,}" if type(value) is int else reprlib.repr(value)


def plain(value: Any, depth: int = 0) -> Any:
    """A config's values as JSON has them: no NaN, and not nested without end."""
    if depth > 20:
        return reprlib.repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
