"""Pixels as CLIP's own processor makes them, and LLaVA's ways with tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from llava_ecg.model.towers.image import ImagePreparation, best_resolution, tile_order
from llava_ecg.streams import NEWLINE


def picture(wide: int, high: int) -> Image.Image:
    pixels = np.random.default_rng(wide * high).integers(0, 256, (high // 4 + 1, wide // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((wide, high), Image.Resampling.BICUBIC)


def preparation(**more: Any) -> ImagePreparation:
    return ImagePreparation(size=56, side=4, tokens=16, **more)


@pytest.mark.parametrize("size", [(220, 170), (170, 220), (56, 56), (300, 57), (61, 200)])
def test_ori_is_clips_own_processor(size: tuple[int, int]) -> None:
    image = picture(*size)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    theirs = torch.from_numpy(np.stack(processor(image, return_tensors="np")["pixel_values"]))
    torch.testing.assert_close(preparation(aspect="ori").prepare(image).values, theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize("size", [(220, 170), (170, 220)])
def test_pad_is_llavas_square(size: tuple[int, int]) -> None:
    image = picture(*size)
    edge = max(size)
    square = Image.new("RGB", (edge, edge), (122, 116, 104))  # CLIP's mean, in 8 bits
    square.paste(image, ((edge - size[0]) // 2, (edge - size[1]) // 2))
    ours = preparation(aspect="pad").prepare(image).values
    torch.testing.assert_close(ours, preparation(aspect="squash").prepare(square).values, atol=0, rtol=0)


def test_squash_sees_the_whole_page_and_ori_does_not() -> None:
    image = Image.new("RGB", (220, 170), "white")
    image.paste((0, 0, 0), (0, 0, 12, 170))
    assert preparation(aspect="squash").prepare(image).values[..., 0].mean() < -1
    cropped = preparation(aspect="ori").prepare(image)
    assert cropped.values.min() > 1.5
    assert "77 %" in cropped.notes[0]


def test_anyres_tiles_cover_the_page() -> None:
    prepared = preparation(aspect="anyres", pinpoints=((112, 112), (112, 56), (56, 112))).prepare(picture(220, 110))
    assert prepared.values.shape == (3, 3, 56, 56)  # 112 x 56: the base view and two tiles
    assert prepared.index.tolist() == list(range(48))


def test_best_resolution() -> None:
    assert best_resolution((2200, 1700), ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))) == (672, 672)
    assert best_resolution((1000, 300), ((336, 672), (672, 336), (672, 672), (1008, 336))) == (1008, 336)


def test_grid_order() -> None:
    flat = tile_order((2, 1), 2, (4, 2), "flat")
    assert flat.tolist() == list(range(12))
    spatial = tile_order((2, 1), 2, (4, 2), "spatial")
    assert spatial.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 6, 7, 10, 11]
    unpadded = tile_order((2, 1), 2, (4, 2), "spatial_unpad")
    assert unpadded.tolist() == [0, 1, 2, 3, 4, 5, 8, 9, NEWLINE, 6, 7, 10, 11, NEWLINE]
    high = tile_order((2, 2), 2, (2, 8), "spatial_unpad")  # a tall image in a square grid: bars left and right are cut
    assert (high == NEWLINE).sum() == 4
    assert len(high) == 4 + 4 * (2 + 1)
