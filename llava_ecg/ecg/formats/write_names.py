"""Lead names as they are filed by the formats that are written here: what a format can't hold is replaced and said.

A replacement never passes for a standard lead that its lead is not, nor for another lead of the recording.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from llava_ecg.ecg.leads import STANDARD, canonical


class Limits(NamedTuple):
    """What a format holds of a name.

    Attributes:
        said: the limits in words, for a note.
        longest: how many letters.
        plain: whether these are ASCII alone.
        apart: a letter that keeps values apart there, and so can't be in one.
    """

    said: str
    longest: int | None = None
    plain: bool = False
    apart: str = ""


def fitted(names: Sequence[str], limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names as they are filed, each different from the others, and a note for each that is another then."""
    made: list[str] = []
    notes = []
    for number, name in enumerate(names, 1):
        others = {*made, *names[: number - 1], *names[number:]}
        new = _fit(name, limits)
        if not new or new in others or (new in STANDARD and canonical(name) != new):
            new = next(free for n in count(number) if (free := f"channel {n}") not in others)
        if new != name:
            notes.append(f"the lead {name!r} is written as {new!r}: {limits.said}")
        made.append(new)
    return tuple(made), tuple(notes)


def _fit(name: str, limits: Limits) -> str:
    name = canonical("".join(letter if letter.isprintable() else " " for letter in name))  # as it is read again
    if limits.plain and not name.isascii():
        letters = unicodedata.normalize("NFKD", name).replace("\u03bc", "u")  # a micro sign, not a letter of Greek
        name = "".join(each for each in letters if not unicodedata.combining(each)).encode("ascii", "replace").decode()
    if limits.apart:
        name = name.replace(limits.apart, "/")
    return canonical(name[: limits.longest])
