"""What a pen leaves on a page: scrawled words, rings, ticks and underlines, as points [n, 2] (x, y) in mm with y down.
The words are drawn at random and mean nothing."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

# Strokes of cursive letters between the base line (0) and the height of a small letter (1), (x, y) with y up: where the
# pen goes through from left to right.
_LETTERS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.1, 0.3), (0.6, 0.7), (0.4, 1.0), (0.1, 0.6), (0.3, 0.05), (0.8, 0.15)),  # e
    ((0.2, 0.9), (0.25, 0.0), (0.4, 0.7), (0.7, 1.0), (0.85, 0.6), (0.85, 0.05), (1.1, 0.2)),  # n
    ((0.1, 0.95), (0.15, 0.2), (0.5, 0.0), (0.8, 0.4), (0.85, 0.95), (0.9, 0.1), (1.1, 0.2)),  # u
    ((0.7, 0.95), (0.3, 0.9), (0.05, 0.4), (0.35, 0.0), (0.7, 0.4), (0.75, 0.95), (0.8, 0.1), (1.05, 0.2)),  # a
    ((0.2, 0.6), (0.6, 1.8), (0.4, 2.3), (0.2, 1.8), (0.25, 0.2), (0.6, 0.1)),  # l
    ((0.15, 0.9), (0.15, 0.15), (0.45, 0.1)),  # i
    ((0.6, 0.9), (0.2, 0.8), (0.2, 0.3), (0.6, 0.4), (0.6, -0.7), (0.3, -1.1), (0.2, -0.6), (0.9, 0.3)),  # g
    ((0.2, 1.9), (0.2, 0.2), (0.5, 0.05)),  # t
    ((0.3, 0.6), (0.5, 1.0), (0.75, 0.4), (0.4, 0.0), (0.2, 0.15), (0.9, 0.2)),  # s
    ((0.1, 0.8), (0.2, 0.0), (0.25, 0.7), (0.6, 1.0)),  # r
)


def _scribble(rng: np.random.Generator) -> np.ndarray:
    """A cursive word, points [n, 2] in mm."""
    from scipy.interpolate import CubicSpline

    size, slant, at, points = rng.uniform(1.6, 2.8), rng.uniform(0.1, 0.45), 0.0, []
    for each in rng.integers(len(_LETTERS), size=rng.integers(3, 9)):
        letter = np.array(_LETTERS[each]) * (rng.uniform(0.8, 1.15), rng.uniform(0.85, 1.1))
        points.append(letter + rng.normal(0, 0.05, letter.shape) + (at, 0.0))
        at += float(np.ptp(letter[:, 0])) + rng.uniform(0.1, 0.3)
    through = np.concatenate(points)
    through[:, 1] += np.linspace(0, rng.normal(0, 0.5), len(through))  # nobody keeps to the line
    far = np.append(0, np.cumsum(np.sqrt(np.hypot(*np.diff(through, axis=0).T) + 1e-3)))  # centripetal: no cusps
    word = CubicSpline(far, through)(np.linspace(0, far[-1], 14 * len(through)))
    return np.column_stack([word[:, 0] + slant * word[:, 1], -word[:, 1]]) * size


def _ring(rng: np.random.Generator) -> np.ndarray:
    """Round something, once and a bit more, from anywhere and either way."""
    t = np.linspace(0, rng.uniform(2.0, 2.5) * math.pi, 120)
    angle = rng.uniform(0, 2 * math.pi) + t * rng.choice((-1.0, 1.0))
    grow = 1 + rng.uniform(-0.03, 0.05) * t + 0.03 * np.sin(2 * t + rng.uniform(0, 6))
    ring = np.column_stack([rng.uniform(6, 16) * np.cos(angle), rng.uniform(5, 10) * np.sin(angle)]) * grow[:, None]
    tilt = rng.normal(0, 0.25)
    return ring @ np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])


def _tick(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        return np.array([(0, 0), (2, 3), (7, -5)]) * rng.uniform(0.7, 1.4)
    t = np.linspace(0, 1, 30)  # an underline
    return np.column_stack([rng.uniform(15, 45) * t, 0.8 * np.sin(2.5 * t + rng.uniform(0, 3))])


STROKES = (_scribble, _ring, _tick)
"""A generator of random numbers -> a stroke, points [n, 2] in mm."""


def draw_stroke(image: Image.Image, stroke: np.ndarray, width: float, colour: tuple[int, int, int]) -> None:
    """Draw a stroke [n, 2] with smooth edges."""
    low = np.floor(stroke.min(axis=0) - width - 1).astype(int)
    high = np.ceil(stroke.max(axis=0) + width + 1).astype(int)
    fine = 3  # drawn so much larger, then shrunk
    columns, rows = (high - low).tolist()
    mask = Image.new("L", (columns * fine, rows * fine))
    points = [(float(x), float(y)) for x, y in (stroke - low) * fine]
    ImageDraw.Draw(mask).line(points, 225, max(1, round(width * fine)), joint="curve")
    mask = mask.resize((columns, rows), Image.Resampling.BOX)
    image.paste(colour, (int(low[0]), int(low[1])), mask)
