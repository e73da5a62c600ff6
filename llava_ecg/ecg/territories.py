"""Which leads are neighbours, and which wall of the heart they look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TERRITORIES = {
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "septal": ("V1", "V2"),
    "anterior": ("V3", "V4"),
}
CONTIGUOUS = (("aVL", "I", "II", "aVF", "III"), ("V1", "V2", "V3", "V4", "V5", "V6"))  # Cabrera's order without aVR


def contiguous(leads: Iterable[str]) -> tuple[str, ...]:
    """Those of the leads that have a neighbour among them, in the order of the page."""
    there = set(leads)
    kept = set()
    for row in CONTIGUOUS:
        for one, next_one in zip(row, row[1:], strict=False):
            if one in there and next_one in there:
                kept |= {one, next_one}
    order = ("I", "II", "III", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    return tuple(name for name in order if name in kept)


def territory(leads: Sequence[str]) -> str:
    """The wall that leads look at, such as ``inferior`` or ``septal and anterior``: those of which two leads are among
    them."""
    names = [name for name, own in TERRITORIES.items() if len(set(own) & set(leads)) >= 2]
    return " and ".join(names)
