"""Strokes of a pen: points in mm, different each time, of a size that a hand makes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from llava_ecg.ecg.pen import STROKES, draw_stroke

_WORD, _RING, _ = STROKES


@pytest.mark.parametrize("stroke", STROKES)
def test_strokes_are_of_the_size_of_a_hands(stroke: object) -> None:
    assert callable(stroke)
    for seed in range(40):
        points = stroke(np.random.default_rng(seed))
        width, height = np.ptp(points, axis=0)
        assert points.shape[1] == 2 and np.isfinite(points).all()
        assert 3 < max(width, height) < 60
        np.testing.assert_array_equal(points, stroke(np.random.default_rng(seed)))


def test_a_word_is_no_coil() -> None:
    """The turning points of its letters are not evenly spaced, as those of a loop that repeats are."""
    uneven = []
    for seed in range(20):
        x, y = _WORD(np.random.default_rng(seed)).T
        tops = x[1:-1][(y[1:-1] < y[:-2]) & (y[1:-1] <= y[2:])]
        uneven.append(np.std(np.diff(tops)) / np.abs(np.mean(np.diff(tops))))
    assert np.median(uneven) > 0.3


def test_rings_begin_anywhere() -> None:
    begins = [_RING(np.random.default_rng(seed))[0] for seed in range(30)]
    assert {(x > 0, y > 0) for x, y in begins} == {(a, b) for a in (True, False) for b in (True, False)}


def test_a_stroke_leaves_ink_where_it_goes() -> None:
    image = Image.new("RGB", (100, 60), "white")
    draw_stroke(image, np.array([(20.0, 30.0), (80.0, 30.0)]), 3.0, (0, 0, 0))
    dark = np.asarray(image)[..., 0] < 128
    assert dark[30, 25:75].all() and not dark[:25].any() and not dark[36:].any() and not dark[:, :15].any()
