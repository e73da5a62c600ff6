"""A recording as a page of ECG paper: true scale, 25 mm a second and 10 mm a millivolt, drawn with Pillow and numpy
alone.

Axes: H, W pixels of the page; T samples. Lengths on paper are in mm from the upper left corner.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from llava_ecg.ecg.given import check_recording
from llava_ecg.ecg.ink import INK, draw_ink
from llava_ecg.ecg.paper import AFTER, BEFORE, BOTTOM, COLOURS, LAYOUTS, PAPERS, TOP, Layout, grid, paper_colour
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from llava_ecg.ecg.recording import Recording

SPEEDS = (25.0, 50.0, 12.5)
"""Paper speeds, mm/s."""
GAINS = (10.0, 5.0, 2.5)
"""mm/mV that are chosen from, the first that keeps every trace in its row."""
SECONDS, SHOWN_MM = 10.0, 250.0
"""A page shows so much at 25 mm/s, which is so much of the paper."""
_ROOM = 0.95  # of the distance between two rows: so far a trace may go up or down
_EDGE_MM, _HEADED_MM = 1.0, 12.0  # of the sheet, and the part of it that a heading or title takes: no trace goes there

_FAINT = (130, 118, 122)


@dataclass(frozen=True)
class Box:
    """The place of one lead on a page.

    Attributes:
        lead: its name.
        x0, x1: left and right end, pixels.
        baseline: the pixel row of `level_mv`.
        t0, t1: the part of the recording that is shown, seconds from its start.
        level_mv: the millivolts that lie on the baseline: the median of what the page covers of the lead, as paper
            machines take away an offset.
        rhythm: whether it is the rhythm strip.
        recorded: False where the recording has no such lead, or no sample of it in this time.
        clipped: whether its trace leaves the row, runs into the heading or leaves the sheet even at the smallest gain,
            and is cut there.
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
    clipped: bool = False


@dataclass(frozen=True)
class Scale:
    """What a length on the page stands for."""

    px_per_mm: float
    mm_per_s: float = 25.0
    mm_per_mv: float = 10.0


@dataclass(frozen=True, eq=False)
class Page:
    """A rendered page and its scale, so that something can be marked at its true place.

    `row_mm` is the distance of its rows: half of it above and below a baseline belong to that box.
    """

    image: Image.Image
    scale: Scale
    boxes: tuple[Box, ...]
    row_mm: float = 45.0

    @property
    def px_per_mm(self) -> float:
        """Pixels a millimetre of paper."""
        return self.scale.px_per_mm

    def box(self, lead: str, *, rhythm: bool = False) -> Box:
        """The box of a lead.

        Raises:
            InputError: the lead has none on this page.
        """
        for box in self.boxes:
            if box.lead == lead and box.rhythm == rhythm:
                return box
        raise InputError(
            f"the page has no box for lead {lead}; it has "
            f"{', '.join(box.lead for box in self.boxes if box.rhythm == rhythm)}"
        )

    def at(self, box: Box, seconds: float, mv: float) -> tuple[float, float]:
        """The pixel (x, y) of a time of the recording and a voltage."""
        x = box.x0 + (seconds - box.t0) * self.scale.mm_per_s * self.px_per_mm
        return x, box.baseline - (mv - box.level_mv) * self.scale.mm_per_mv * self.px_per_mm


def render(recording: Recording, **options: Any) -> Image.Image:
    """The page of `draw_page`, which takes the same options, as a PIL image alone (RGB; 2200 x 1700 pixels by default).

    From and to which second of the recording it shows is in ``image.info["ecg_seconds"]``. Save it with
    ``image.save(path, dpi=image.info["dpi"])``, so that it prints at true scale.
    """
    return draw_page(recording, **options).image


def draw_page(
    recording: Recording,
    *,
    dpi: float = 200.0,
    layout: str = "3x4+1",
    paper: str = "letter",
    colour: str = "red",
    start: float = 0.0,
    title: str = "",
    heading: tuple[str, ...] = (),
    gain: float | None = None,
    speed: float = 25.0,
    part_of: tuple[float, float] | None = None,
) -> Page:
    """Draw a part of a recording on landscape ECG paper, ten seconds at 25 mm/s.

    Limb leads that I and II imply are computed and named with an asterisk. A lead that was not recorded has an empty
    box that says so, what is NaN is a gap. A column that would begin behind the end of a short recording shows its last
    seconds. Nothing of the patient is written on the page but what `heading` says. The
    foot tells the scale, and which part of a longer recording this is.

    Args:
        recording: the ECG, in mV.
        dpi: pixels an inch; the scale is true at any.
        layout: one of `LAYOUTS`.
        paper: one of `PAPERS`.
        colour: of the grid, one of `COLOURS`.
        start: where the page begins, seconds from the start of the recording.
        title: a line at the top, in letters that the page's font has.
        heading: up to two lines at the top right; see `llava_ecg.ecg.heading.heading`.
        gain: mm/mV; None takes 10, or 5 or 2.5 where a trace would run over its neighbours, into the heading or off the
            sheet. What does so all the same is cut there, and its name says so.
        speed: mm/s, one of `SPEEDS`.
        part_of: the recording was read from a longer one: the second of that at which it begins, and the length of that
            in seconds. The times of the boxes and of the foot are then of the longer one.

    Raises:
        InputError: unknown layout, paper, colour or speed, a dpi outside 20-1200, a gain outside 0.5-80, or a letter of
            the title that can't be drawn.
    """
    check_recording(recording, "a page")
    if layout not in LAYOUTS:
        raise InputError(f"unknown page layout {layout!r}; known are {', '.join(LAYOUTS)}")
    if paper not in PAPERS:
        raise InputError(f"unknown paper {paper!r}; known are {', '.join(PAPERS)}")
    if colour not in COLOURS:
        raise InputError(f"unknown colour of a grid {colour!r}; known are {', '.join(COLOURS)}")
    if not 20 <= dpi <= 1200:
        raise InputError(f"a page of {dpi:g} dpi can't be drawn; choose 20 to 1200")
    if speed not in SPEEDS:
        raise InputError(
            f"a paper speed of {speed:g} mm/s is none of {', '.join(f'{each:g}' for each in sorted(SPEEDS))}"
        )
    if gain is not None and not 0.5 <= gain <= 80:
        raise InputError(f"a gain of {gain:g} mm/mV can't be drawn; choose 0.5 to 80, usual is 10")
    check_title(title)
    whole = recording.with_derived()
    plan, (_, sheet_mm, left) = LAYOUTS[layout], PAPERS[paper]
    boxes = _boxes(whole, plan, left, Scale(dpi / 25.4, speed), start)
    rooms = [_room(box.baseline * 25.4 / dpi, plan.pitch, sheet_mm, bool(title or any(heading))) for box in boxes]
    reaches = [_reach(whole, box) if box.recorded else (0.0, 0.0) for box in boxes]
    needed = [mv / mm for reach, room in zip(reaches, rooms, strict=True) for mv, mm in zip(reach, room, strict=True)]
    if gain is None:
        gain = next((each for each in GAINS if max(needed) * each <= 1), GAINS[-1])
    scale = Scale(dpi / 25.4, speed, gain)
    pairs = zip(boxes, needed[::2], needed[1::2], strict=True)
    boxes = [replace(box, clipped=max(up, down) * gain > 1) for box, up, down in pairs]
    before, duration = part_of or (0.0, whole.duration)
    begin, end = before + start, before + start + SHOWN_MM / speed
    part = ""
    if begin > 0 or duration > end + 0.5:
        part = f"   {_clock(begin)} to {_clock(min(end, duration))} s of {duration:.1f} s"
    words = Words(
        tuple(_named(box, whole.derived) for box in boxes), title, heading, f"{speed:g} mm/s   {gain:g} mm/mV{part}"
    )
    pixels = _sheet(paper, scale.px_per_mm, words, colour).copy()
    curves = _traces(whole, boxes, scale, rooms) + _calibration(boxes, scale)
    draw_ink(pixels, curves, scale.px_per_mm)  # last, so that no name hides a trace
    height, width = pixels.shape[:2]
    image = Image.frombytes("RGB", (width, height), pixels.data, "raw", "RGBX")
    image.info["dpi"] = (dpi, dpi)
    image.info["ecg_seconds"] = (begin, end)
    placed = tuple(replace(box, t0=before + box.t0, t1=before + box.t1) for box in boxes)
    return Page(image, scale, placed, plan.pitch)


def _clock(seconds: float) -> str:
    """Seconds to the millisecond, without zeros at the end."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def _boxes(recording: Recording, layout: Layout, left: float, scale: Scale, start: float) -> list[Box]:
    boxes = []
    for row, names in enumerate(layout.rows):
        span = SHOWN_MM / scale.mm_per_s / len(names)
        for column, name in enumerate(names):
            boxes.append(
                _box(recording, name, left, TOP + (row + 0.5) * layout.pitch, start, column * span, span, scale)
            )
    for row, name in enumerate(layout.rhythm, len(layout.rows)):
        if len(layout.rhythm) == 1 and name not in recording.leads and recording.leads:
            name = recording.leads[0]  # one strip shows some rhythm; of several, each is the lead that it is
        y = TOP + (row + 0.5) * layout.pitch
        boxes.append(_box(recording, name, left, y, start, 0.0, SHOWN_MM / scale.mm_per_s, scale, rhythm=True))
    return boxes


def _box(
    recording: Recording,
    name: str,
    left: float,
    y: float,
    start: float,
    offset: float,
    span: float,
    scale: Scale,
    *,
    rhythm: bool = False,
) -> Box:
    t0 = start + offset
    if start < recording.duration <= t0:  # or a short recording's last leads would be shown nowhere
        t0 = max(start, recording.duration - span)
    t1 = t0 + span
    recorded, level = False, 0.0
    if name in recording.leads:
        lead = recording.lead(name)
        page = lead[_samples(recording, start, start + SHOWN_MM / scale.mm_per_s)]
        finite = page[np.isfinite(page)]
        level = float(np.median(finite)) if len(finite) else 0.0
        recorded = bool(np.isfinite(lead[_samples(recording, t0, t1)]).any())
    x0, x1 = (
        (left + offset * scale.mm_per_s) * scale.px_per_mm,
        (left + (offset + span) * scale.mm_per_s) * scale.px_per_mm,
    )
    baseline = (TOP + 5 * math.floor((y - TOP) / 5 + 0.5)) * scale.px_per_mm  # on a heavy line of the grid
    return Box(name, x0, x1, baseline, t0, t1, level, rhythm, recorded)


def _samples(recording: Recording, t0: float, t1: float) -> slice:
    """The samples from t0 to t1, both included."""
    first = max(0, math.ceil(t0 * recording.rate - 1e-6))
    return slice(first, max(first, min(recording.signal.shape[1], math.floor(t1 * recording.rate + 1e-6) + 1)))


def _room(baseline_mm: float, pitch: float, sheet_mm: float, headed: bool) -> tuple[float, float]:
    """How far up and down a trace may go from its baseline, mm: nearly to the next row's, not into the heading, and not
    off the sheet."""
    top = _HEADED_MM if headed else _EDGE_MM
    return min(_ROOM * pitch, baseline_mm - top), min(_ROOM * pitch, sheet_mm - _EDGE_MM - baseline_mm)


def _reach(recording: Recording, box: Box) -> tuple[float, float]:
    """How far the trace of a box goes up and down from its baseline, mV."""
    values = recording.lead(box.lead)[_samples(recording, box.t0, box.t1)]
    away = values[np.isfinite(values)] - box.level_mv
    return (max(0.0, float(away.max())), max(0.0, float(-away.min()))) if len(away) else (0.0, 0.0)


def _traces(
    recording: Recording, boxes: list[Box], scale: Scale, rooms: list[tuple[float, float]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The curve of each box as pixel coordinates (x [T], y [T]), y NaN in gaps; cut where its room ends."""
    out = []
    for box, (up, down) in zip(boxes, rooms, strict=True):
        if not box.recorded:
            continue
        part = _samples(recording, box.t0, box.t1)
        values = recording.lead(box.lead)[part].astype(np.float64)
        if not np.isfinite(values).any():
            continue
        values[~np.isfinite(values)] = np.nan
        away = values - box.level_mv
        if box.clipped:
            away = np.clip(away, -down / scale.mm_per_mv, up / scale.mm_per_mv)
        seconds = np.arange(part.start, part.start + len(values)) / recording.rate
        x = box.x0 + (seconds - box.t0) * scale.mm_per_s * scale.px_per_mm
        out.append((x, box.baseline - away * scale.mm_per_mv * scale.px_per_mm))
    return out


def _calibration(boxes: list[Box], scale: Scale) -> list[tuple[np.ndarray, np.ndarray]]:
    """A pulse of 1 mV and 0.2 s before every row."""
    wide = 0.2 * scale.mm_per_s
    left = boxes[0].x0
    x = left + (np.array([-wide - 4, -wide - 2, -wide - 2, -2, -2, 0]) - 3) * scale.px_per_mm
    up = np.array([0, 0, 1, 1, 0, 0]) * scale.mm_per_mv * scale.px_per_mm
    return [(x, box.baseline - up) for box in boxes if box.x0 == left]


class Name(NamedTuple):
    """What is written beside one box: the lead's name, and whether it was recorded. Lengths in pixels, as in `Box`."""

    text: str
    x0: float
    x1: float
    baseline: float
    recorded: bool


class Words(NamedTuple):
    """All that is written on a page."""

    names: tuple[Name, ...]
    title: str
    heading: tuple[str, ...]
    foot: str


def _named(box: Box, derived: frozenset[str]) -> Name:
    text = box.lead + ("*" if box.lead in derived else "") + (" clipped" if box.clipped else "")
    return Name(text, box.x0, box.x1, box.baseline, box.recorded)


@lru_cache(maxsize=8)
def _sheet(paper: str, scale: float, words: Words, colour: str) -> np.ndarray:
    """The grid with all that is written on it, uint8 [H, W, 4] with an unused fourth channel; read-only because it is
    shared."""
    image = Image.fromarray(grid(paper, scale, colour))
    _write(image, words, scale, PAPERS[paper][2], paper_colour(colour))
    pixels = np.full((image.height, image.width, 4), 255, dtype=np.uint8)
    pixels[:, :, :3] = np.asarray(image)
    pixels.setflags(write=False)
    return pixels


@lru_cache(maxsize=16)
def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(px)


def check_title(title: str) -> None:
    """Refuse a title with letters that the page's font has not: they would be drawn as boxes.

    Raises:
        InputError: which letters, and how it can be written.
    """
    missing = [letter for letter in dict.fromkeys(title) if not _drawable(letter)]
    if missing:
        plain = unicodedata.normalize("NFKD", title.replace("ß", "ss"))
        plain = "".join(letter for letter in plain if letter.isascii())
        raise InputError(f"the font of a page has no {', '.join(missing)}; write the title as {plain!r}, for example")


@lru_cache(maxsize=256)
def _drawable(letter: str) -> bool:
    font = _font(20)
    if letter.isspace() or not isinstance(font, ImageFont.FreeTypeFont):
        return letter.isascii()
    return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))  # of what no font has


def _write(image: Image.Image, words: Words, scale: float, left: float, sheet: tuple[int, int, int]) -> None:
    """Lead names, what is missing, the title, the heading and the foot line."""
    names = words.names
    draw = ImageDraw.Draw(image)
    halo = max(1, round(0.25 * scale))
    rows = sorted({name.baseline for name in names})
    pitch = (rows[1] - rows[0]) / scale
    size = 4.4 if pitch > 20 else 3.4
    small, name_font, head = (_font(max(7, round(mm * scale))) for mm in (3.4, size, 5.0))
    above = min(17.0, 0.36 * pitch, 0.5 * pitch - 0.75 * size) * scale  # no name reaches into the row above
    for name in names:
        if name.x0 > names[0].x0:  # where one lead gives way to the next
            for reach in ((-4.5, -2), (2, 4.5)):
                draw.line([(name.x0, name.baseline + mm * scale) for mm in reach], _FAINT, max(1, round(0.2 * scale)))
        at = (name.x0 + 1.5 * scale, name.baseline - above)
        draw.text(at, name.text, INK, name_font, anchor="ls", stroke_width=halo, stroke_fill=sheet)
        if not name.recorded:
            middle = ((name.x0 + name.x1) / 2, name.baseline)
            draw.text(middle, "not recorded", _FAINT, small, anchor="mm", stroke_width=halo, stroke_fill=sheet)
    edge, far = (left - BEFORE) * scale, (left + AFTER) * scale
    foot = (BOTTOM + 4.5) * scale
    computed = any("*" in name.text for name in names)
    draw.text((edge, foot), words.foot + ("   * computed from I and II" if computed else ""), INK, small, anchor="lm")
    draw.text((far, foot), "Research use only, not for diagnosis", _FAINT, small, anchor="rm")
    if words.title:
        draw.text((edge, 0.7 * TOP * scale), words.title, INK, head, anchor="ls")
    for row, line in enumerate(words.heading[:2]):
        draw.text((far, (6.0 + 5.0 * row) * scale), line, INK, small, anchor="rs")
