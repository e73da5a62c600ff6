"""A rendered page as a scanner, a camera or a desk may hand it on: turned, folded, in shadow, written on, noisy, cut;
and where its leads went.

Each distortion is a function of the page, a seed and a strength alone. Axes: H, W pixels; n points, each (x, y).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from llava_ecg.ecg.pen import STROKES, draw_stroke
from llava_ecg.ecg.render import Box, Page
from llava_ecg.errors import InputError

Move = Callable[[np.ndarray], np.ndarray]
"""Where points [n, 2] of the picture before a distortion lie after it."""
_CELL = 8  # pixels between the nodes at which a bent sheet's displacement is written down
_DRAWN = 0.7  # the share of the kinds that a page gets where none are named
_EDGE_STEPS = 8  # points along a side of a box: a bent sheet bends its boxes


@dataclass(frozen=True, eq=False)
class Distorted:
    """A distorted page.

    Attributes:
        image: RGB; its size is the page's, but for a crop.
        page: what was distorted.
        kinds: what was done, in this order.
        moves: where each of these that moves points moved them.
    """

    image: Image.Image
    page: Page
    kinds: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()

    def where(self, points: Any) -> np.ndarray:
        """Where points of the page lie in the image: [n, 2] pixels -> float64 [n, 2], outside the image where a crop or
        a turn took them."""
        found = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        for move in self.moves:
            found = move(found)
        return found

    def outline(self, box: Box) -> np.ndarray:
        """The edge of a lead's cell in the image, float64 [32, 2], clockwise from its upper left corner.

        The cell is as wide as the box and reaches half a row up and down; a tall trace may leave it.
        """
        half = self.page.row_mm * self.page.px_per_mm / 2
        up, down = box.baseline - half, box.baseline + half
        corners = np.array([(box.x0, up), (box.x1, up), (box.x1, down), (box.x0, down), (box.x0, up)])
        steps = np.arange(_EDGE_STEPS)[:, None] / _EDGE_STEPS
        sides = [start + steps * (end - start) for start, end in zip(corners[:-1], corners[1:], strict=True)]
        return self.where(np.concatenate(sides))

    def baseline(self, box: Box) -> np.ndarray:
        """The line of `level_mv` in the image from left to right, float64 [9, 2]."""
        x = np.linspace(box.x0, box.x1, _EDGE_STEPS + 1)
        return self.where(np.column_stack([x, np.full(len(x), box.baseline)]))

    def to_dict(self) -> dict[str, Any]:
        """The ground truth as plain lists and numbers; docs/generate.md has the schema."""
        scale = self.page.scale
        return {
            "schema": 1,
            "width": self.image.width,
            "height": self.image.height,
            "px_per_mm": round(scale.px_per_mm, 4),
            "mm_per_s": scale.mm_per_s,
            "mm_per_mv": scale.mm_per_mv,
            "distortions": list(self.kinds),
            "boxes": [self._box(box) for box in self.page.boxes],
        }

    def _box(self, box: Box) -> dict[str, Any]:
        outline = self.outline(box)
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        inside = np.clip([x0, x1], 0, self.image.width), np.clip([y0, y1], 0, self.image.height)
        (left, right), (top, bottom) = inside
        return {
            "lead": box.lead,
            "rhythm": box.rhythm,
            "recorded": box.recorded,
            "clipped": box.clipped,
            "t0_s": round(box.t0, 4),
            "t1_s": round(box.t1, 4),
            "level_mv": round(box.level_mv, 4),
            "box": [round(float(each), 1) for each in (left, top, right, bottom)],
            "inside": round(float((right - left) * (bottom - top) / ((x1 - x0) * (y1 - y0))), 3),
            "outline": outline.round(1).tolist(),
            "baseline": self.baseline(box).round(1).tolist(),
        }


@dataclass(frozen=True, eq=False)
class _Sheet:
    """What a distortion is given."""

    image: Image.Image
    mm: float  # pixels
    rng: np.random.Generator
    strength: float
    surface: tuple[int, int, int]  # what lies under the page

    def size(self, low: float, high: float) -> float:
        """A size between these at full strength, less at less."""
        return float(self.rng.uniform(low, high)) * self.strength

    def signed(self, low: float, high: float) -> float:
        """`size`, to either side."""
        return self.size(low, high) * float(self.rng.choice((-1.0, 1.0)))


_Done = tuple[Image.Image, Move | None]


def distort(page: Page, seed: int, strength: float = 0.5, kinds: Sequence[str] | None = None) -> Distorted:
    """The page with distortions; the same page, seed, strength and kinds give the same pixels.

    A kind draws from the seed by itself: which others are there does not change it.

    Args:
        page: from `llava_ecg.ecg.render.draw_page`.
        seed: 0 or more.
        strength: 0 (nothing is done) to 1 (a page that is hard to read).
        kinds: of `KINDS`; they are done in the order of that table. None draws about two of three by the seed.

    Raises:
        InputError: a kind that is not known, a strength outside 0-1 or a negative seed.
    """
    check_kinds(kinds or ())
    if not 0 <= strength <= 1:
        raise InputError(f"a distortion's strength is 0 to 1, not {strength:g}")
    if seed < 0:
        raise InputError(f"a seed is 0 or more, not {seed}")
    general = np.random.default_rng((seed, 0))
    shade = int(general.integers(60, 215))
    red, green, blue = (max(0, shade + int(general.integers(-12, 13))) for _ in range(3))
    drawn = {kind for kind in KINDS if general.random() < _DRAWN}
    chosen = [kind for kind in KINDS if kind in (drawn if kinds is None else kinds)] if strength > 0 else []
    image, moves = page.image, []
    for kind in chosen:
        rng = np.random.default_rng((seed, 1 + list(KINDS).index(kind)))
        image, move = KINDS[kind](_Sheet(image, page.px_per_mm, rng, strength, (red, green, blue)))
        if move is not None:
            moves.append(move)
    if image is not page.image:
        image.info.update({key: page.image.info[key] for key in ("dpi", "ecg_seconds") if key in page.image.info})
    return Distorted(image, page, tuple(chosen), tuple(moves))


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuse distortions that `KINDS` hasn't.

    Raises:
        InputError: the first of them, and what there is.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"unknown distortion {kind!r}; known are {', '.join(KINDS)}")


# -- on the paper ------------------------------------------------------------------------------------------------------


def _marks(sheet: _Sheet) -> _Done:
    """Scrawled words, ticks, rings and underlines with a pen; none of the words means anything."""
    image, mm, rng = sheet.image.copy(), sheet.mm, sheet.rng
    inks = ((28, 42, 130), (25, 25, 30), (170, 30, 40))
    for _ in range(1 + round(sheet.size(2, 7))):
        colour = inks[rng.integers(len(inks))]
        stroke = STROKES[rng.choice(3, p=(0.5, 0.25, 0.25))](rng)  # mm
        turn = float(rng.normal(0, 0.08))
        stroke = stroke @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        span = np.ptp(stroke, axis=0)
        room = np.maximum(np.array(image.size) / mm - span, 1)
        stroke = (stroke - stroke.min(axis=0) + rng.uniform(0.02, 0.98, 2) * room) * mm
        draw_stroke(image, stroke, rng.uniform(0.35, 0.6) * mm, colour)
    return image, None


def _wrinkles(sheet: _Sheet) -> _Done:
    """Folds across the page and a crumpled surface: both bend it and catch the light."""
    from scipy.ndimage import gaussian_filter

    mm, rng = sheet.mm, sheet.rng
    width, height = sheet.image.size
    y, x = np.mgrid[0 : height // _CELL + 2, 0 : width // _CELL + 2].astype(np.float64) * _CELL
    bend, light = np.zeros((2, *x.shape)), np.zeros(x.shape)
    for _ in range(1 + round(sheet.size(1, 4))):
        angle = float(rng.choice((0.0, math.pi / 2)) + rng.normal(0, 0.15))
        across = np.array([math.cos(angle), math.sin(angle)])
        at = rng.uniform(0.15, 0.85, 2) * (width, height)
        away = ((x - at[0]) * across[0] + (y - at[1]) * across[1]) / mm
        deep, wide = sheet.signed(0.5, 1.2), float(rng.uniform(6, 12))
        bend += deep * mm * np.exp(-0.5 * (away / wide) ** 2) * across[:, None, None]
        slope = away / 1.8 * np.exp(-0.5 * (away / 1.8) ** 2)
        light += sheet.signed(0.2, 0.45) * slope - sheet.size(0.05, 0.2) * np.exp(-0.5 * (away / 0.7) ** 2)
    crumple = gaussian_filter(rng.normal(size=(3, *x.shape)), (0, 9 * mm / _CELL, 9 * mm / _CELL))
    crumple /= crumple.std(axis=(1, 2), keepdims=True)
    bend += sheet.size(0.15, 0.4) * mm * crumple[:2]
    light += sheet.size(0.02, 0.06) * crumple[2]
    image, move = _bent(sheet.image, bend)
    return _lit(image, 1 + light), move


def _bent(image: Image.Image, bend: np.ndarray) -> tuple[Image.Image, Move]:
    """The image whose pixel q shows what lay at q + bend(q), and its move. `bend` [2 (x, y), rows, columns] in pixels
    at nodes `_CELL` pixels apart, straight between them; its slope stays well below 1."""
    from scipy.ndimage import map_coordinates

    def shift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([map_coordinates(each, [y / _CELL, x / _CELL], order=1, mode="nearest") for each in bend])

    width, height = image.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = shift(x, y)
    source = np.asarray(image)
    where = [y + moved[1], x + moved[0]]
    channels = [map_coordinates(source[..., each], where, order=1, mode="nearest") for each in range(3)]

    def move(points: np.ndarray) -> np.ndarray:
        found = points - 0.5  # the middle of the first pixel is 0.5 on the page, and 0 among the samples
        for _ in range(30):  # q = p - bend(q), a contraction
            found = points - 0.5 - shift(found[:, 0], found[:, 1]).T
        return found + 0.5

    return Image.fromarray(np.stack(channels, axis=-1)), move


def _lit(image: Image.Image, light: np.ndarray) -> Image.Image:
    """The image times a coarse map of light [rows, columns], stretched over it from corner to corner."""
    full = Image.fromarray(light.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    return Image.fromarray(np.clip(np.asarray(image) * np.asarray(full)[..., None], 0, 255).astype(np.uint8))


# -- how it is held ----------------------------------------------------------------------------------------------------


def _rotation(sheet: _Sheet) -> _Done:
    angle = math.radians(sheet.signed(1.0, 6.0))
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = sheet.image.width / 2, sheet.image.height / 2
    matrix = np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y], [0, 0, 1]])
    return _seen(sheet, matrix)


def _perspective(sheet: _Sheet) -> _Done:
    """Each corner drawn in by up to a twelfth of the page."""
    width, height = sheet.image.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    inward = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    pulled = corners + inward * [[sheet.size(0, 0.085) * width, sheet.size(0, 0.085) * height] for _ in range(4)]
    return _seen(sheet, _through(corners, pulled))


def _through(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The homography [3, 3] that takes four points [4, 2] to four others."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(before, after, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(wanted)), 1.0).reshape(3, 3)


def _seen(sheet: _Sheet, matrix: np.ndarray) -> _Done:
    """The page through a homography [3, 3], on what lies under it."""
    back = np.linalg.inv(matrix)
    back /= back[2, 2]
    image = sheet.image.transform(
        sheet.image.size,
        Image.Transform.PERSPECTIVE,
        back.reshape(-1)[:8].tolist(),
        Image.Resampling.BICUBIC,
        fillcolor=sheet.surface,
    )

    def move(points: np.ndarray) -> np.ndarray:
        seen = np.column_stack([points, np.ones(len(points))]) @ matrix.T
        return seen[:, :2] / seen[:, 2:]

    return image, move


def _crop(sheet: _Sheet) -> _Done:
    """Up to 7 % cut off at each side."""
    width, height = sheet.image.size
    left, right = (round(sheet.size(0, 0.07) * width) for _ in range(2))
    top, bottom = (round(sheet.size(0, 0.07) * height) for _ in range(2))
    return sheet.image.crop((left, top, width - right, height - bottom)), lambda points: points - (left, top)


# -- how it is taken ---------------------------------------------------------------------------------------------------


def _shadow(sheet: _Sheet) -> _Done:
    """Light that falls off to one side, and the soft edge of a hand or a head across it."""
    rng = sheet.rng
    y, x = np.mgrid[0:1:60j, 0:1:80j]
    angle = float(rng.uniform(0, 2 * math.pi))
    side = (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)
    light = 1 - sheet.size(0.1, 0.35) * (side + 0.5)
    angle += float(rng.normal(0, 0.8))
    away = (x - rng.uniform(0.25, 0.75)) * math.cos(angle) + (y - rng.uniform(0.25, 0.75)) * math.sin(angle)
    away += 0.06 * np.sin(rng.uniform(3, 7) * (x * math.sin(angle) - y * math.cos(angle)) + rng.uniform(0, 6))
    light *= 1 - sheet.size(0.2, 0.55) / (1 + np.exp(-away / rng.uniform(0.015, 0.08)))
    return _lit(sheet.image, light), None


def _blur(sheet: _Sheet) -> _Done:
    return sheet.image.filter(ImageFilter.GaussianBlur(sheet.size(0.03, 0.2) * sheet.mm)), None


def _noise(sheet: _Sheet) -> _Done:
    """A scanner's grain, streaks along its way, and specks."""
    rng = sheet.rng
    width, height = sheet.image.size
    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * sheet.size(4, 22)
    streaks = rng.standard_normal((1, width, 1), dtype=np.float32) * sheet.size(0.5, 4)
    out = np.clip(np.asarray(sheet.image) + grain + streaks, 0, 255).astype(np.uint8)
    specks = round(sheet.size(40, 400))
    where = rng.integers(0, height, specks), rng.integers(0, width, specks)
    out[where] = rng.choice([40, 90, 255], specks)[:, None]
    return Image.fromarray(out), None


def _jpeg(sheet: _Sheet) -> _Done:
    buffer = io.BytesIO()
    sheet.image.save(buffer, "JPEG", quality=max(8, round(85 - sheet.size(35, 75))))
    buffer.seek(0)
    return Image.open(buffer).convert("RGB"), None


KINDS: dict[str, Callable[[_Sheet], _Done]] = {
    "marks": _marks,
    "wrinkles": _wrinkles,
    "perspective": _perspective,  # before the rotation, which cuts corners off that would show
    "rotation": _rotation,
    "crop": _crop,
    "shadow": _shadow,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
}
"""The distortions in the order in which they are done: first what befell the paper, then how it was held and taken."""
