"""`picture`: the page of an ECG with the waves that an answer cites marked, and what became of each claim below.

Green and solid is supported, red and dashed contradicted, grey and dotted what can't be checked; the badge of a
contradicted claim is a square, the others are round, so that the colour says nothing that the shape does not. Badges
stand where they hide neither the trace nor each other.

Axes: H, W pixels of the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from llava_ecg.display import RESEARCH_USE
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import PAPERS, Page, draw_page
from llava_ecg.errors import InputError
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.marks import Mark, Planner
from llava_ecg.grounding.verdicts import Status, Verdict

WIDTH = 1600
MOST_CLAIMS = 40

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How a status is drawn: its colour, and the dash and gap of its lines in pixels (a gap of 0: solid)."""

    colour: Colour
    dash: int
    gap: int
    word: str


_UNSURE = Style((98, 98, 108), 2, 5, "borderline, not measurable or not checked")
STYLES = {
    Status.SUPPORTED: Style((0, 122, 61), 10, 0, "supported"),
    Status.CONTRADICTED: Style((200, 16, 46), 10, 6, "contradicted"),
    Status.BORDERLINE: _UNSURE,
    Status.UNMEASURABLE: _UNSURE,
    Status.NOT_CHECKED: _UNSURE,
}
_INK, _PAPER, _LINE = (22, 24, 38), (255, 255, 255), (120, 120, 130)
_FONT, _ROW, _MARGIN, _BADGE = 17, 26, 28, 11  # pixels; the last half the height of a badge
_FOOT_MM = 204.0  # below this a page is empty, and the legend begins
_ONE_COLUMN = 12  # so many claims stand in one column of the legend, more in two
_MOST_LINES = 3  # of a claim in the legend
_DARK = 150  # what is darker is trace or writing, the faint foot line too, not paper
_ASIDE = 10  # pixels from a wave to the line of its height
_LEADER = 2.2 * _BADGE  # a badge farther from its place is tied to it with a line
_TRIES = sorted(product(range(-66, 67, 6), repeat=2), key=lambda step: math.hypot(*step))


@dataclass(frozen=True, eq=False)
class Picture:
    """The picture and where everything on it stands.

    Attributes:
        image: RGB, `WIDTH` wide: the page, and below it a legend.
        page: the page alone with its scale, unmarked.
        marks: what was drawn, in pixels of `image`.
    """

    image: Image.Image
    page: Page
    marks: tuple[Mark, ...]


def picture(recording: Recording, measured: Measurements, audit: Audit, *, title: str = "") -> Picture:
    """Draw the page with the marks of an audit.

    Args:
        recording: the ECG in mV; its first ten seconds are drawn.
        measured: of that recording.
        audit: of an answer about it; without claims the page is drawn with a line that says so.
        title: a line at the top.

    Raises:
        InputError: the measurements are not of this recording (a beat lies behind its end).
    """
    if measured.beats and measured.beats[-1].r_s > recording.duration:
        raise InputError("the measurements are of another, longer recording; measure this one")
    whole = recording.with_derived()
    page = draw_page(whole, dpi=WIDTH / (PAPERS["letter"][0] / 25.4), title=title)
    shown = audit.verdicts[:MOST_CLAIMS]
    marks = Planner(page, whole, measured).plan(shown)
    top = round(_FOOT_MM * page.px_per_mm)
    columns = _columns(audit.verdicts, page.image.width)
    image = Image.new(
        "RGB", (page.image.width, max(page.image.height, top + _legend_height(columns, len(audit.verdicts)))), _PAPER
    )
    image.paste(page.image.crop((0, 0, page.image.width, top)))
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _draw_mark(draw, mark, page, shown[mark.number - 1].status)
    for mark, (x, y) in zip(marks, badge_places(page, marks), strict=True):  # on top of every line
        status = shown[mark.number - 1].status
        home_x, home_y = _home(mark)
        if math.hypot(x - home_x, y - home_y) > _LEADER:
            draw.line([(x, y), (mark.x1, mark.y1)], STYLES[status].colour, 1)
        _draw_badge(draw, x, y, mark.number, status)
    _legend(draw, audit.verdicts, columns, top, image.width)
    return Picture(image, page, tuple(marks))


def _draw_mark(draw: ImageDraw.ImageDraw, mark: Mark, page: Page, status: Status) -> None:
    style = STYLES[status]
    if mark.kind == "caliper":
        top = mark.box.baseline - 2 * page.px_per_mm
        for x in (mark.x0, mark.x1):
            _line(draw, (x, top), (x, mark.y0 + 6), style, 1)
            draw.line([(x, mark.y0 - 7), (x, mark.y0 + 7)], style.colour, 3)
        _line(draw, (mark.x0, mark.y0), (mark.x1, mark.y1), style, 3)
    elif mark.kind == "beats":
        _line(draw, (mark.x0, mark.y0), (mark.x1, mark.y1), style, 2)
        for time in mark.times:
            x = page.at(mark.box, time, 0)[0]
            draw.line([(x, mark.y0 - 8), (x, mark.y0 + 3)], style.colour, 3)
    elif mark.kind == "height":
        aside = mark.x0 - _ASIDE  # beside the wave: a line over it would hide what it measures
        _line(draw, (aside, mark.y0), (aside, mark.y1), style, 3)
        for y in (mark.y0, mark.y1):
            draw.line([(aside - 4, y), (mark.x0 + 4, y)], style.colour, 2)
    elif mark.kind == "level":
        first, level = page.at(mark.box, mark.times[0] - 0.04, mark.mv0)
        draw.line([(first, level), (mark.x1 + 12, level)], _LINE, 1)
        _line(draw, (mark.x0, mark.y0), (mark.x1, mark.y1), style, 4)
    else:
        _line(draw, (mark.x0, mark.y0), (mark.x1, mark.y1), style, 3)
        for x in (mark.x0, mark.x1):  # downwards, clear of the lead's name
            draw.line([(x, mark.y0), (x, mark.y0 + 6)], style.colour, 3)


def _line(
    draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], style: Style, width: int
) -> None:
    """A straight line in the style's colour and dashes."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    step = style.dash + style.gap if style.gap else max(1.0, length)
    for begin in np.arange(0, max(length, 1), step):
        stop = min(length, begin + (style.dash if style.gap else length))
        x0, x1 = (start[0] + (end[0] - start[0]) * part / max(length, 1e-9) for part in (begin, stop))
        y0, y1 = (start[1] + (end[1] - start[1]) * part / max(length, 1e-9) for part in (begin, stop))
        draw.line([(x0, y0), (x1, y1)], style.colour, width)


class _Rect(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: _Rect) -> float:
        """The common area, square pixels."""
        across = min(self.x1, other.x1) - max(self.x0, other.x0)
        down = min(self.y1, other.y1) - max(self.y0, other.y0)
        return across * down if across > 0 and down > 0 else 0.0


def badge_places(page: Page, marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """The centre of each mark's badge, pixels: as near to its mark as it hides no trace, no name, no other mark and no
    other badge.

    Where a page is too full for that, the place that hides least.
    """
    dark = np.asarray(page.image).max(axis=2) < _DARK
    ink = np.zeros((dark.shape[0] + 1, dark.shape[1] + 1), dtype=np.int64)  # [y, x]: the dark pixels above and left
    ink[1:, 1:] = dark.cumsum(axis=0).cumsum(axis=1)
    bodies, badges, places = [_body(mark) for mark in marks], list[_Rect](), []
    height, width = dark.shape
    for mark in marks:
        home_x, home_y = _home(mark)
        best, least = (home_x, home_y), math.inf
        for dx, dy in _TRIES:
            box = _badge_box(home_x + dx, home_y + dy, mark.number)
            away = math.hypot(dx, dy)
            if away >= least:
                break
            if box.x0 < 0 or box.y0 < 0 or box.x1 >= width or box.y1 >= height:
                continue
            x0, y0, x1, y1 = (round(edge) for edge in box)
            hidden = ink[y1 + 1, x1 + 1] - ink[y0, x1 + 1] - ink[y1 + 1, x0] + ink[y0, x0]
            cost = away + 3 * hidden + sum(map(box.shared, bodies)) + 10 * sum(map(box.shared, badges))
            if cost < least:
                best, least = (home_x + dx, home_y + dy), cost
        places.append(best)
        badges.append(_badge_box(*best, mark.number))
    return places


def _home(mark: Mark) -> tuple[float, float]:
    """Where a mark's badge stands if nothing is in its way."""
    if mark.kind == "height":
        return mark.x1, mark.y1 + (-1 if mark.y1 < mark.y0 else 1) * (_BADGE + 5)
    if mark.kind == "level":
        return mark.x1 + _BADGE + 6, mark.y0 - _BADGE - 4
    return mark.x1 + _half_width(mark.number) + 5, mark.y1


def _body(mark: Mark) -> _Rect:
    """What the lines of a mark take up."""
    low, high = min(mark.y0, mark.y1), max(mark.y0, mark.y1)
    if mark.kind == "height":
        return _Rect(mark.x0 - _ASIDE - 5, low - 2, mark.x0 + 5, high + 2)
    above, below = {"caliper": (7, 7), "beats": (8, 3), "level": (3, 3), "bracket": (2, 6)}[mark.kind]
    return _Rect(mark.x0 - 2, low - above, mark.x1 + 2, high + below)


def _half_width(number: int) -> int:
    return _BADGE if number < 10 else _BADGE + 3


def _badge_box(x: float, y: float, number: int) -> _Rect:
    half = _half_width(number)
    return _Rect(x - half, y - _BADGE, x + half, y + _BADGE)


def _draw_badge(draw: ImageDraw.ImageDraw, x: float, y: float, number: int, status: Status) -> None:
    """A number on a round ground, on a square one where the claim is contradicted, in a ring where it can't be
    checked."""
    colour, open_ring = STYLES[status].colour, STYLES[status] is _UNSURE
    box = _badge_box(x, y, number)
    if status is Status.CONTRADICTED:
        draw.rectangle(box, colour, _PAPER)
    else:
        draw.rounded_rectangle(
            box, _BADGE, _PAPER if open_ring else colour, colour if open_ring else _PAPER, 2 if open_ring else 1
        )
    draw.text((x, y), str(number), colour if open_ring else _PAPER, _font(15), anchor="mm")


_Row = tuple[int, Verdict, list[str]]


def _columns(verdicts: Sequence[Verdict], width: int) -> list[list[_Row]]:
    """The rows of the legend, (number, verdict, lines of text), in one column or in two of about the same height."""
    count = 1 if len(verdicts) <= _ONE_COLUMN else 2
    room = (width - (count + 1) * _MARGIN) / count - 3 * _BADGE - 6
    rows = []
    for number, verdict in enumerate(verdicts[:MOST_CLAIMS], 1):
        said = " ".join(verdict.claim.text.split())
        status = verdict.status.value
        told = verdict.line().removeprefix(status).lstrip()
        text = f'{status}:  "{said if len(said) <= 60 else said[:57] + "..."}"  -  {told}'
        rows.append((number, verdict, _lines(text, room)))
    if count == 1:
        return [rows]
    total, sofar, first = sum(len(lines) for *_, lines in rows), 0, 0
    while 2 * sofar < total:
        sofar += len(rows[first][2])
        first += 1
    return [rows[:first], rows[first:]]


def _legend_height(columns: list[list[_Row]], claims: int) -> int:
    rows = max(sum(len(lines) for *_, lines in column) for column in columns)
    return 2 * _MARGIN + _ROW * (max(rows, 1) + 1 + (claims > MOST_CLAIMS))


def _legend(
    draw: ImageDraw.ImageDraw, verdicts: Sequence[Verdict], columns: list[list[_Row]], top: int, width: int
) -> None:
    """What the lines mean, then each claim with its verdict."""
    y = top + _MARGIN
    x = float(_MARGIN)
    for status in (Status.SUPPORTED, Status.CONTRADICTED, Status.NOT_CHECKED):
        _line(draw, (x, y), (x + 60, y), STYLES[status], 3)
        draw.text((x + 72, y), STYLES[status].word, _INK, _font(_FONT), anchor="lm")
        x += 72 + draw.textlength(STYLES[status].word, _font(_FONT)) + 40
    draw.text((width - _MARGIN, y), RESEARCH_USE, _LINE, _font(_FONT), anchor="rm")
    draw.line([(_MARGIN, y + _ROW // 2 + 6), (width - _MARGIN, y + _ROW // 2 + 6)], _LINE, 1)
    first = y + _ROW + 12
    if not verdicts:
        draw.text((_MARGIN, first), "The answer makes no claim that can be checked.", _INK, _font(_FONT), anchor="lm")
    lowest = first
    for place, column in enumerate(columns):
        left, y = _MARGIN + place * (width - _MARGIN) / len(columns), first
        for number, verdict, lines in column:
            _draw_badge(draw, left + _BADGE + 3, y, number, verdict.status)
            for line in lines:
                draw.text((left + 3 * _BADGE + 3, y), line, _INK, _font(_FONT), anchor="lm")
                y += _ROW
        lowest = max(lowest, y)
    if len(verdicts) > MOST_CLAIMS:
        more = f"and {len(verdicts) - MOST_CLAIMS} more claims, which are not marked; llava-ecg audit lists them"
        draw.text((_MARGIN, lowest), more, _INK, _font(_FONT), anchor="lm")


def _lines(text: str, width: float) -> list[str]:
    """The text in lines of at most `width` pixels, broken at blanks where there are any; what is beyond `_MOST_LINES`
    is cut."""
    font, lines, rest = _font(_FONT), list[str](), text
    while rest:
        if font.getlength(rest) <= width:
            return [*lines, rest]
        last = len(lines) == _MOST_LINES - 1
        fits = _fitting(rest, width - (font.getlength("...") if last else 0))
        if last:
            return [*lines, rest[:fits].rstrip() + "..."]
        cut = rest.rfind(" ", 0, fits + 1)
        cut = cut if cut > fits // 2 else fits
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return lines or [""]


def _fitting(text: str, width: float) -> int:
    """How many characters of a text are at most `width` pixels long; at least one."""
    low, high, font = 1, len(text), _font(_FONT)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


@lru_cache(maxsize=8)
def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(px)
