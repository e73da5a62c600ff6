"""What a page is printed on: sheets, grids and their colours, and which lead stands where.

Lengths on paper are in mm from the upper left corner; axes: H, W pixels of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

PAPERS = {"letter": (279.4, 215.9, 20.0), "a4": (297.0, 210.0, 25.0)}  # width, height, and where time 0 stands, in mm
TOP, BOTTOM = 15.0, 195.0  # of the grid, mm
BEFORE, AFTER = 15.0, 255.0  # the grid left and right of time 0, mm

Colour = tuple[int, int, int]


class Tint(NamedTuple):
    """The colours of a sheet, RGB: the paper, its lines of 1 mm and 5 mm, and the lines of 5 mm where they stand alone
    because those of 1 mm would be too close."""

    paper: Colour
    minor: Colour
    major: Colour
    lone: Colour


COLOURS: dict[str, Tint | None] = {
    "red": Tint((255, 253, 252), (251, 228, 226), (241, 186, 183), (246, 208, 205)),
    "pink": Tint((255, 246, 247), (250, 214, 221), (238, 160, 178), (244, 188, 201)),
    "blue": Tint((252, 253, 255), (220, 231, 248), (168, 195, 233), (197, 214, 241)),
    "grey": Tint((254, 254, 254), (230, 230, 230), (190, 190, 190), (212, 212, 212)),
    "green": Tint((252, 255, 252), (218, 240, 220), (161, 212, 168), (192, 227, 197)),
    "none": None,
}
"""Grids by name; with none, the sheet is white and has no lines."""
WHITE: Colour = (255, 255, 255)


def paper_colour(colour: str) -> Colour:
    """RGB of the sheet between the lines."""
    tint = COLOURS[colour]
    return WHITE if tint is None else tint.paper


@dataclass(frozen=True)
class Layout:
    """Which lead stands where: rows of leads that share the 10 s, the rhythm strips below them, and the distance of
    rows in mm."""

    rows: tuple[tuple[str, ...], ...]
    rhythm: tuple[str, ...]
    pitch: float


_THREE = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))

LAYOUTS = {
    "3x4": Layout(_THREE, (), 60.0),
    "3x4+1": Layout(_THREE, ("II",), 45.0),
    "3x4+3": Layout(_THREE, ("V1", "II", "V5"), 30.0),
    "6x2": Layout((("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")), (), 30.0),
    "12x1": Layout(
        tuple((name,) for name in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")),
        (),
        15.0,
    ),
}


@lru_cache(maxsize=4)
def grid(paper: str, scale: float, colour: str) -> np.ndarray:
    """The empty sheet, uint8 [H, W, 3]; read-only because it is shared.

    Args:
        paper: one of `PAPERS`.
        scale: pixels a mm.
        colour: one of `COLOURS`.
    """
    width, height, left = PAPERS[paper]
    pixels = np.full((round(height * scale), round(width * scale), 3), paper_colour(colour), dtype=np.uint8)
    tint = COLOURS[colour]
    if tint is not None:
        _rule(pixels, tint, scale, left)
    pixels.setflags(write=False)
    return pixels


def _rule(pixels: np.ndarray, tint: Tint, scale: float, left: float) -> None:
    """Draw the lines of the grid."""
    top, bottom, first, last = (round(mm * scale) for mm in (TOP, BOTTOM, left - BEFORE, left + AFTER))
    across, down = round(BEFORE + AFTER), round(BOTTOM - TOP)
    fine = scale >= 3.5  # below, the lines of 1 mm would only tint the page, and those of 5 mm are drawn lighter
    heavy = tint.major if fine else tint.lone
    for every, colour, thick in ((1, tint.minor, 1), (5, heavy, max(1, round(0.16 * scale))))[0 if fine else 1 :]:
        for mm in range(0, across + 1, every):
            x = round((left - BEFORE + mm) * scale) - thick // 2
            pixels[top : bottom + 1, x : x + thick] = colour
        for mm in range(0, down + 1, every):
            y = round((TOP + mm) * scale) - thick // 2
            pixels[y : y + thick, first : last + 1] = colour
