"""Flags that speak of streams by name (``--towers rhythm=FOLDER``): of those that a package brings, whose names no flag
of ours can know."""

from __future__ import annotations

from collections.abc import Sequence

from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.errors import InputError

_OWN = {
    "towers": ("ecg_tower", "vision_tower"),
    "projectors": ("ecg_projector_type", "mm_projector_type"),
    "unfreeze_towers": ("unfreeze_ecg_tower", "unfreeze_vision_tower"),
    "input_folders": ("ecg_folder", "image_folder"),
}
"""Flag -> the flags of the two streams of the released models."""


def by_name(flag: str, given: Sequence[str]) -> dict[str, str]:
    """Stream name -> value, of a flag that takes ``NAME=VALUE`` one or more times.

    Raises:
        InputError: a text without name or value, a name twice, or one that has a flag of its own.
    """
    found: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name.strip() or not value.strip():
            raise InputError(f"--{flag} takes NAME=VALUE, such as rhythm=folder, and not {text!r}")
        if name in found:
            raise InputError(f"--{flag} names the stream {name!r} twice; give it once")
        found[name] = value
    _refuse_own(flag, found)
    return found


def names(flag: str, given: Sequence[str]) -> tuple[str, ...]:
    """The stream names of a flag that takes one or more.

    Raises:
        InputError: one that has a flag of its own.
    """
    _refuse_own(flag, given)
    return tuple(dict.fromkeys(given))


def _refuse_own(flag: str, found: Sequence[str] | dict[str, str]) -> None:
    for name, own in zip(RELEASED, _OWN[flag], strict=True):
        if name in found:
            raise InputError(f"--{flag} is for streams of other names; the stream {name!r} has --{own}")
