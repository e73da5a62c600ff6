"""`TowerFacts`: what is known of a kind of tower without building it. `llava_ecg.checkpoint.towers.known` lists the
kinds."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
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
        key: under which a released config.json names it.
        flag: that gives another.
        through: the stream whose projector a new stream of this kind leads through, where that is there; it then stands
            first, as in GEM.
        prepares: whether a released layout takes over the preparation that a tower's own folder brings.
        shapes: (its constructor's arguments, what they belong to) -> its width, and its parameters with their shapes.
        words: (its constructor's arguments, preparation, shapes) -> `Words`.
        inside: (folder, its config.json, shapes) -> the settings of a tower whose weights lie in a released checkpoint.
        guessed: a width -> constructor's arguments that tell as much of a tower that is not here.
        table: names in files that hold it beside other things -> its own.
        width: of its tokens, from the constructor's arguments.
    """

    stream: str
    key: str
    flag: str
    through: str | None
    prepares: bool
    shapes: Callable[[Mapping[str, Any], str], tuple[int, Shapes]]
    words: Callable[[Mapping[str, Any], Mapping[str, Any], Shapes], Words]
    inside: Callable[[Path, Mapping[str, Any], Mapping[str, tuple[int, ...]]], dict[str, Any]]
    guessed: Callable[[int], dict[str, Any]]
    table: Table
    width: Callable[[Mapping[str, Any]], int]


def folder_named(folder: Path, name: str) -> Path | None:
    """Where a name in a config leads, seen from the config's folder: a folder with a config, or a file; else None."""
    if not name:
        return None
    try:
        places = [folder / name, Path(name).expanduser()]
        return next((place for place in places if (place / "config.json").is_file() or place.is_file()), None)
    except (OSError, ValueError, RuntimeError):  # a name that is no path
        return None


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
