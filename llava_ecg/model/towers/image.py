"""PIL image -> what a CLIP tower eats, in the ways that LLaVA's checkpoints were trained with.

Pixels are made as CLIP's own processor makes them (bicubic, 1/255, mean and standard deviation); a test holds them
equal to it.

Axes: n tiles, H = W = size, P tokens of a tile = side * side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps

from llava_ecg.ecg.images import as_seen, read_image
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import render
from llava_ecg.errors import InputError
from llava_ecg.streams import NEWLINE, Prepared

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ASPECTS, MERGES = ("squash", "pad", "ori", "anyres"), ("flat", "spatial", "spatial_unpad")


@dataclass(frozen=True)
class ImagePreparation:
    """PIL image -> float32 [n, 3, size, size], normalised.

    Attributes:
        size, side, tokens: pixels and patches along an edge of a tile, and P.
        aspect: ``squash`` (whole image to a square), ``pad`` (square with the mean colour), ``ori`` (shortest edge,
            centre crop: a landscape page loses its sides; GEM), ``anyres`` (a squashed base view and tiles; PULSE,
            LLaVA-1.6).
        pinpoints: the (width, height) in pixels that `anyres` may choose from.
        merge: how the tiles of `anyres` become a sequence: ``flat``, ``spatial`` (one grid), ``spatial_unpad`` (grid
            without the padding, a learned newline at each row's end).
        mean, std: of the three channels.
    """

    size: int
    side: int
    tokens: int
    aspect: Literal["squash", "pad", "ori", "anyres"] = "squash"
    pinpoints: tuple[tuple[int, int], ...] = ()
    merge: Literal["flat", "spatial", "spatial_unpad"] = "flat"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        for name, value, known in (("aspect", self.aspect, ASPECTS), ("merge", self.merge, MERGES)):
            if value not in known:
                raise InputError(
                    f"an image can't be prepared with {name} {value!r}; known are {', '.join(known)}: to ask all "
                    "the same, choose the "
                    f"nearest with --prepare image.{name}={known[-1] if name == 'aspect' else known[0]}"
                )
        if self.aspect == "anyres" and (not self.pinpoints or self.tokens != self.side**2):
            raise InputError("anyres needs pinpoints, and a tower that gives its patches without a class token")

    def read(self, path: Path) -> Image.Image:
        """Any image that Pillow reads, as a person sees it (`llava_ecg.ecg.images.read_image`)."""
        return read_image(path)

    def derive(self, sources: Mapping[str, Any]) -> Image.Image | None:
        """The page of a recording, where another stream has one."""
        return next((render(source) for source in sources.values() if isinstance(source, Recording)), None)

    def prepare(self, source: Image.Image) -> Prepared:
        """The image, or its tiles, and the order of their tokens."""
        image = (
            source if type(source) is Image.Image and source.mode == "RGB" else as_seen(ImageOps.exif_transpose(source))
        )
        notes: tuple[str, ...] = ()
        if self.aspect == "anyres":
            resolution = best_resolution(image.size, self.pinpoints)
            tiles = [image.resize((self.size, self.size), Image.Resampling.BICUBIC), *self._tiles(image, resolution)]
            grid = (resolution[0] // self.size, resolution[1] // self.size)
            index = tile_order(grid, self.side, image.size, self.merge)
        else:
            tiles = [self._square(image)]
            index = torch.arange(self.tokens)
            if self.aspect == "ori" and image.width != image.height:
                share = 100 * min(image.size) / max(image.size)
                notes = (
                    f"this checkpoint crops the page to its middle: the model sees {share:.0f} % of its longer side",
                )
        values = torch.from_numpy(np.stack([self._normalise(tile) for tile in tiles]))
        return Prepared(values, self.tokens, index, notes, source.info.get("ecg_seconds"))

    def _square(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if self.aspect == "pad":
            edge = max(width, height)
            square = Image.new("RGB", (edge, edge), tuple(int(channel * 255) for channel in self.mean))
            square.paste(image, ((edge - width) // 2, (edge - height) // 2))
            image = square
        if self.aspect == "ori":
            short, long = sorted(image.size)
            scaled = int(self.size * long / short)
            image = image.resize(
                (self.size, scaled) if width <= height else (scaled, self.size), Image.Resampling.BICUBIC
            )
            left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
            return image.crop((left, top, left + self.size, top + self.size))
        return image.resize((self.size, self.size), Image.Resampling.BICUBIC)

    def _tiles(self, image: Image.Image, resolution: tuple[int, int]) -> list[Image.Image]:
        """The image scaled into `resolution`, black around it, cut into tiles row by row."""
        wide, high = resolution
        scale = min(wide / image.width, high / image.height)
        # rounded up on the side that is not full, as LLaVA does
        fitted = (min(int(np.ceil(image.width * scale)), wide), min(int(np.ceil(image.height * scale)), high))
        canvas = Image.new("RGB", resolution)
        canvas.paste(image.resize(fitted, Image.Resampling.BICUBIC), ((wide - fitted[0]) // 2, (high - fitted[1]) // 2))
        edges = [(left, top) for top in range(0, high, self.size) for left in range(0, wide, self.size)]
        return [canvas.crop((left, top, left + self.size, top + self.size)) for left, top in edges]

    def _normalise(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return ((pixels - mean) / std).transpose(2, 0, 1)


def best_resolution(size: tuple[int, int], pinpoints: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The (width, height) of `pinpoints` that keeps most of the image's pixels, then the one that wastes least."""

    def worth(pinpoint: tuple[int, int]) -> tuple[int, int]:
        scale = min(pinpoint[0] / size[0], pinpoint[1] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - pinpoint[0] * pinpoint[1]

    return max(pinpoints, key=worth)


def tile_order(grid: tuple[int, int], side: int, size: tuple[int, int], merge: str) -> torch.Tensor:
    """The order in which the tokens of a base view and a grid of tiles stand in the sequence.

    Args:
        grid: tiles (across, down); (0, 0) for a base view alone.
        side: tokens along a tile's edge.
        size: (width, height) of the image before it was fitted into the grid, for ``spatial_unpad``.
        merge: ``flat``, ``spatial`` or ``spatial_unpad``.

    Returns:
        int64 [N]: token numbers (the base view's first, then tile by tile), `NEWLINE` at row ends.
    """
    across, down = grid
    base = torch.arange(side * side)
    tiles = side * side + torch.arange(across * down * side * side)
    newline = torch.tensor([NEWLINE])
    if not across * down:
        return torch.cat([base, newline]) if merge == "spatial_unpad" else base
    if merge == "flat":
        return torch.cat([base, tiles])
    whole = tiles.view(down, across, side, side).permute(0, 2, 1, 3).reshape(down * side, across * side)
    if merge == "spatial_unpad":
        whole = _without_padding(whole, size)
        whole = torch.cat([whole, newline.expand(whole.shape[0], 1)], dim=1)
    return torch.cat([base, whole.flatten()])


def _without_padding(grid: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The rows and columns of a token grid that show the image and not the bars beside it (rounded as LLaVA rounds)."""
    high, wide = grid.shape
    if size[0] / size[1] > wide / high:
        bar = (high - int(size[1] * (wide / size[0]))) // 2
        return grid[bar : high - bar]
    bar = (wide - int(size[0] * (high / size[1]))) // 2
    return grid[:, bar : wide - bar]
