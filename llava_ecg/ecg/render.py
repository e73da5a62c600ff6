"""A recording as a page of ECG paper: true scale, 25 mm a second and 10 mm a millivolt, drawn with Pillow and numpy alone.

Axes: H, W pixels of the page; T samples. Lengths on paper are in mm from the upper left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

MM_PER_S = 25.0
MM_PER_MV = 10.0
SECONDS = 10.0

PAPERS = {"letter": (279.4, 215.9, 20.0), "a4": (297.0, 210.0, 25.0)}  # width, height, and where time 0 stands, in mm
_TOP, _BOTTOM = 15.0, 195.0  # of the grid, mm
_BEFORE, _AFTER = 15.0, 255.0  # the grid left and right of time 0, mm

_PAPER = (255, 253, 252)
_MINOR, _MAJOR, _LONE = (251, 228, 226), (241, 186, 183), (246, 208, 205)
_INK, _FAINT = (22, 24, 38), (130, 118, 122)
_PEN_MM = 0.27
_SUB = 4  # the pen is followed in this many steps a pixel


@dataclass(frozen=True)
class Layout:
    """Which lead stands where: rows of leads that share the 10 s, whether a rhythm strip follows, and the distance of rows in mm."""

    rows: tuple[tuple[str, ...], ...]
    rhythm: bool
    pitch: float


LAYOUTS = {
    "3x4+1": Layout((("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")), True, 45.0),
    "6x2": Layout((("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")), False, 30.0),
    "12x1": Layout(tuple((name,) for name in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")), False, 15.0),
}


@dataclass(frozen=True)
class Box:
    """The place of one lead on a page.

    Attributes:
        lead: its name.
        x0, x1: left and right end, pixels.
        baseline: the pixel row of `level_mv`.
        t0, t1: the part of the recording that is shown, seconds from its start.
        level_mv: the millivolts that lie on the baseline: the median of the lead, as paper machines take away a constant offset.
        rhythm: whether it is the rhythm strip.
        recorded: False where the recording has no such lead.
    """

    lead: str
    x0: float
    x1: float
    baseline: float
    t0: float
    t1: float
    level_mv: float = 0.0
    rhythm: bool = False
    recorded: bool = True


@dataclass(frozen=True, eq=False)
class Page:
    """A rendered page and its scale, so that something can be marked at its true place."""

    image: Image.Image
    px_per_mm: float
    boxes: tuple[Box, ...]

    def box(self, lead: str, *, rhythm: bool = False) -> Box:
        """The box of a lead.

        Raises:
            InputError: the lead has none on this page.
        """
        for box in self.boxes:
            if box.lead == lead and box.rhythm == rhythm:
                return box
        raise InputError(f"the page has no box for lead {lead}; it has {', '.join(box.lead for box in self.boxes if box.rhythm == rhythm)}")

    def at(self, box: Box, seconds: float, mv: float) -> tuple[float, float]:
        """The pixel (x, y) of a time of the recording and a voltage."""
        x = box.x0 + (seconds - box.t0) * MM_PER_S * self.px_per_mm
        return x, box.baseline - (mv - box.level_mv) * MM_PER_MV * self.px_per_mm


def render(
    recording: Recording, *, dpi: float = 200.0, layout: str = "3x4+1", paper: str = "letter", start: float = 0.0, title: str = ""
) -> Image.Image:
    """The page of `draw_page` as a PIL image alone (RGB; 2200 x 1700 pixels by default).

    From and to which second of the recording it shows is in ``image.info["ecg_seconds"]``. Save it with
    ``image.save(path, dpi=image.info["dpi"])``, so that it prints at true scale.
    """
    return draw_page(recording, dpi=dpi, layout=layout, paper=paper, start=start, title=title).image


def draw_page(
    recording: Recording, *, dpi: float = 200.0, layout: str = "3x4+1", paper: str = "letter", start: float = 0.0, title: str = ""
) -> Page:
    """Draw ten seconds of a recording on landscape ECG paper.

    Limb leads that I and II imply are computed and named with an asterisk. A missing lead has an empty box that says so, what is NaN is a
    gap, and what leaves its row runs over the neighbours, as on paper. Nothing of the patient is written on the page.

    Args:
        recording: the ECG, in mV.
        dpi: pixels an inch; the scale is true at any.
        layout: one of `LAYOUTS`.
        paper: one of `PAPERS`.
        start: where the ten seconds begin, seconds from the start of the recording.
        title: a line at the top.

    Raises:
        InputError: unknown layout or paper, or a dpi outside 20-1200.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown page layout {layout!r}; known are {', '.join(LAYOUTS)}")
    if paper not in PAPERS:
        raise InputError(f"unknown paper {paper!r}; known are {', '.join(PAPERS)}")
    if not 20 <= dpi <= 1200:
        raise InputError(f"a page of {dpi:g} dpi can't be drawn; choose 20 to 1200")
    scale = dpi / 25.4
    whole = recording.with_derived()
    boxes = _boxes(whole, LAYOUTS[layout], PAPERS[paper][2], scale, start)
    names = tuple(Name(box.lead + ("*" if box.lead in whole.derived else ""), box.x0, box.x1, box.baseline, box.recorded) for box in boxes)
    pixels = _sheet(paper, scale, names, title).copy()
    _ink(pixels, _traces(whole, boxes, scale) + _calibration(boxes, scale), scale)  # last, so that no name hides a trace
    height, width = pixels.shape[:2]
    image = Image.frombytes("RGB", (width, height), pixels.data, "raw", "RGBX")
    image.info["dpi"] = (dpi, dpi)
    image.info["ecg_seconds"] = (start, start + SECONDS)
    return Page(image, scale, tuple(boxes))


def distort(image: Image.Image, seed: int) -> Image.Image:
    """The page as a scan or a photograph might show it: turned by up to 1.5 degrees, its light, contrast and sharpness changed, noisy.

    The size stays; the same seed gives the same pixels.
    """
    rng = np.random.default_rng(seed)
    out = image.rotate(float(rng.uniform(-1.5, 1.5)), resample=Image.Resampling.BICUBIC, fillcolor=_PAPER)
    out = ImageEnhance.Brightness(out).enhance(float(rng.uniform(0.85, 1.05)))
    out = ImageEnhance.Contrast(out).enhance(float(rng.uniform(0.8, 1.1)))
    out = out.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.4) * max(1.0, image.width / 1100))))
    noise = rng.normal(0, rng.uniform(0, 5), (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(out) + noise, 0, 255).astype(np.uint8))


def _boxes(recording: Recording, layout: Layout, left: float, scale: float, start: float) -> list[Box]:
    boxes = []
    for row, names in enumerate(layout.rows):
        span = SECONDS / len(names)
        for column, name in enumerate(names):
            boxes.append(_box(recording, name, left, _TOP + (row + 0.5) * layout.pitch, start, column * span, span, scale))
    if layout.rhythm:
        name = "II" if "II" in recording.leads or not recording.leads else recording.leads[0]
        y = _TOP + (len(layout.rows) + 0.5) * layout.pitch
        boxes.append(_box(recording, name, left, y, start, 0.0, SECONDS, scale, rhythm=True))
    return boxes


def _box(
    recording: Recording, name: str, left: float, y: float, start: float, offset: float, span: float, scale: float, *, rhythm: bool = False
) -> Box:
    recorded = name in recording.leads
    level = 0.0
    if recorded:
        finite = recording.lead(name)[np.isfinite(recording.lead(name))]
        level = float(np.median(finite)) if len(finite) else 0.0
    x0, x1 = (left + offset * MM_PER_S) * scale, (left + (offset + span) * MM_PER_S) * scale
    baseline = (_TOP + 5 * math.floor((y - _TOP) / 5 + 0.5)) * scale  # on a heavy line of the grid
    return Box(name, x0, x1, baseline, start + offset, start + offset + span, level, rhythm, recorded)


@lru_cache(maxsize=4)
def _grid(paper: str, scale: float) -> np.ndarray:
    """The empty sheet, uint8 [H, W, 3]; read-only because it is shared."""
    width, height, left = PAPERS[paper]
    pixels = np.full((round(height * scale), round(width * scale), 3), _PAPER, dtype=np.uint8)
    top, bottom, first, last = (round(mm * scale) for mm in (_TOP, _BOTTOM, left - _BEFORE, left + _AFTER))
    across, down = round(_BEFORE + _AFTER), round(_BOTTOM - _TOP)
    fine = scale >= 3.5  # below, the lines of 1 mm would only tint the page, and those of 5 mm are drawn lighter
    heavy = _MAJOR if fine else _LONE
    for every, colour, thick in ((1, _MINOR, 1), (5, heavy, max(1, round(0.16 * scale))))[0 if fine else 1 :]:
        for mm in range(0, across + 1, every):
            x = round((left - _BEFORE + mm) * scale) - thick // 2
            pixels[top : bottom + 1, x : x + thick] = colour
        for mm in range(0, down + 1, every):
            y = round((_TOP + mm) * scale) - thick // 2
            pixels[y : y + thick, first : last + 1] = colour
    pixels.setflags(write=False)
    return pixels


def _traces(recording: Recording, boxes: list[Box], scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The curve of each box as pixel coordinates (x [T], y [T]), y NaN in gaps."""
    out = []
    for box in boxes:
        if not box.recorded:
            continue
        first = max(0, math.ceil(box.t0 * recording.rate - 1e-6))
        stop = min(recording.signal.shape[1], math.floor(box.t1 * recording.rate + 1e-6) + 1)
        values = recording.lead(box.lead)[first:stop].astype(np.float64)
        if not np.isfinite(values).any():
            continue
        values[~np.isfinite(values)] = np.nan
        x = box.x0 + (np.arange(first, first + len(values)) / recording.rate - box.t0) * MM_PER_S * scale
        out.append((x, box.baseline - (values - box.level_mv) * MM_PER_MV * scale))
    return out


def _calibration(boxes: list[Box], scale: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pulse of 1 mV and 0.2 s before every row."""
    wide = 0.2 * MM_PER_S
    left = boxes[0].x0
    x = left + (np.array([0, 2, 2, 2 + wide, 2 + wide, 4 + wide]) - 12) * scale
    up = np.array([0, 0, 1, 1, 0, 0]) * MM_PER_MV * scale
    return [(x, box.baseline - up) for box in boxes if box.x0 == left]


def _ink(pixels: np.ndarray, curves: list[tuple[np.ndarray, np.ndarray]], scale: float) -> None:
    """Draw curves on the page [H, W, 3 or more] with a round pen, edges smoothed; what falls outside the page is cut off.

    Only the pixels that ink touches are looked at, some 3 % of a page.
    """
    height, width = pixels.shape[:2]
    radius = max(0.5 * _PEN_MM * scale, 0.55)
    parts = [_coverage(*_spans(x, y, radius), height, width) for x, y in curves]
    key, amount = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    order = np.argsort(key, kind="stable")  # each part is in order already, so this only merges them
    key, amount = key[order], amount[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    share = np.add.reduceat(amount, first) / _SUB if len(first) else amount
    seen = share > 0.004
    column, row = np.divmod(key[first[seen]], height)
    share = np.minimum(share[seen], 1.0)[:, None]
    pixels[row, column, :3] = np.rint(pixels[row, column, :3] * (1 - share) + np.array(_INK) * share).astype(np.uint8)


def _coverage(column: np.ndarray, low: np.ndarray, high: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that one curve touches, column by column, and how many of the `_SUB` spans of a column cover each.

    Args:
        column, low, high: [n] upright spans, `_SUB` to a column or fewer at the ends; see `_spans`.

    Returns:
        key: int64 [m], column * height + row, rising.
        amount: float [m], 0 to `_SUB`.
    """
    low, high = np.clip(low, 0, height), np.clip(high, 0, height)
    first = int(column[0])
    count = int(column[-1]) - first + 1
    lows, highs = np.full((count, _SUB), float(height)), np.zeros((count, _SUB))
    start = _SUB - int((column == first).sum())  # the first column may hold fewer
    lows.reshape(-1)[start : start + len(low)], highs.reshape(-1)[start : start + len(high)] = low, high
    there = (highs > lows).any(axis=1)
    columns = first + np.flatnonzero(there)
    inside = (columns >= 0) & (columns < width)
    columns, lows, highs = columns[inside], lows[there][inside], highs[there][inside]
    empty = highs <= lows
    lows[empty], highs[empty] = height, 0.0
    top = np.floor(lows.min(axis=1)).astype(np.int64)
    rows = np.ceil(highs.max(axis=1)).astype(np.int64) - top
    which = np.repeat(np.arange(len(columns)), rows)
    row = np.arange(len(which)) - np.repeat(np.cumsum(rows) - rows - top, rows)
    amount = np.zeros(len(which))
    for k in range(_SUB):
        amount += np.clip(np.minimum(highs[which, k], row + 1) - np.maximum(lows[which, k], row), 0, None)
    return columns[which] * height + row, amount


def _spans(x: np.ndarray, y: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a round pen of `radius` pixels covers along a curve: upright spans, `_SUB` of them a pixel.

    Returns:
        column: int64 [n], the pixel column of each span.
        low, high: float [n], its ends in pixels; empty spans have low > high.
    """
    fine = x * _SUB
    first, stop = math.floor(fine[0]), math.floor(fine[-1]) + 1
    edges = np.interp(np.arange(first, stop + 1), fine, y)
    low, high = np.fmin(edges[:-1], edges[1:]), np.fmax(edges[:-1], edges[1:])
    slot = np.clip(np.floor(fine).astype(np.int64) - first, 0, len(low) - 1)
    np.fmin.at(low, slot, y)
    np.fmax.at(high, slot, y)
    low, high = np.where(np.isnan(low), np.inf, low), np.where(np.isnan(high), -np.inf, high)
    reach = math.floor(radius * _SUB)
    wide_low, wide_high = np.full(len(low) + 2 * reach, np.inf), np.full(len(low) + 2 * reach, -np.inf)
    for k in range(-reach, reach + 1):
        half = math.sqrt(radius**2 - (k / _SUB) ** 2)
        part = slice(reach + k, reach + k + len(low))
        np.minimum(wide_low[part], low - half, out=wide_low[part])
        np.maximum(wide_high[part], high + half, out=wide_high[part])
    return np.arange(first - reach, first - reach + len(wide_low)) // _SUB, wide_low, wide_high


class Name(NamedTuple):
    """What is written beside one box: the lead's name, and whether it was recorded. Lengths in pixels, as in `Box`."""

    text: str
    x0: float
    x1: float
    baseline: float
    recorded: bool


@lru_cache(maxsize=8)
def _sheet(paper: str, scale: float, names: tuple[Name, ...], title: str) -> np.ndarray:
    """The grid with all that is written on it, uint8 [H, W, 4] with an unused fourth channel; read-only because it is shared."""
    image = Image.fromarray(_grid(paper, scale))
    _write(image, names, scale, PAPERS[paper][2], title)
    pixels = np.full((image.height, image.width, 4), 255, dtype=np.uint8)
    pixels[:, :, :3] = np.asarray(image)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=16)
def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(px)


def _write(image: Image.Image, names: tuple[Name, ...], scale: float, left: float, title: str) -> None:
    """Lead names, what is missing, the title and the foot line."""
    draw = ImageDraw.Draw(image)
    halo = max(1, round(0.25 * scale))
    small, name_font, head = (_font(max(7, round(mm * scale))) for mm in (3.4, 4.4, 5.0))
    rows = sorted({name.baseline for name in names})
    above = min(17.0, 0.36 * (rows[1] - rows[0]) / scale) * scale
    for name in names:
        if name.x0 > names[0].x0:  # where one lead gives way to the next
            for reach in ((-4.5, -2), (2, 4.5)):
                draw.line([(name.x0, name.baseline + mm * scale) for mm in reach], _FAINT, max(1, round(0.2 * scale)))
        at = (name.x0 + 1.5 * scale, name.baseline - above)
        draw.text(at, name.text, _INK, name_font, anchor="ls", stroke_width=halo, stroke_fill=_PAPER)
        if not name.recorded:
            middle = ((name.x0 + name.x1) / 2, name.baseline)
            draw.text(middle, "not recorded", _FAINT, small, anchor="mm", stroke_width=halo, stroke_fill=_PAPER)
    edge, far = (left - _BEFORE) * scale, (left + _AFTER) * scale
    foot = (_BOTTOM + 4.5) * scale
    computed = any(name.text.endswith("*") for name in names)
    draw.text((edge, foot), "25 mm/s   10 mm/mV" + ("   * computed from I and II" if computed else ""), _INK, small, anchor="lm")
    draw.text((far, foot), "Research use only, not for diagnosis", _FAINT, small, anchor="rm")
    if title:
        draw.text((edge, 0.7 * _TOP * scale), title, _INK, head, anchor="ls")
