"""Rate and rhythm of a long recording, a stretch at a time, so that no more than a stretch is held.

Beats are found in each stretch for itself: the RR interval across a border is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

SHORTEST_S = 10.0
_WIDTH, _HEIGHT, _MARGIN = 1600, 500, 60


@dataclass(frozen=True)
class Stretch:
    """What was measured in a stretch; None where it could not be.

    Attributes:
        start_s: from the beginning of the recording.
        seconds: how long it is.
        beats: that were found.
        heart_rate_bpm, slowest_bpm, fastest_bpm: mean, and of the longest and the shortest RR interval.
        regular: whether the RR intervals are.
        why: why there is no rate, where there is none.
    """

    start_s: float
    seconds: float
    beats: int
    heart_rate_bpm: float | None
    slowest_bpm: float | None
    fastest_bpm: float | None
    regular: bool | None
    why: str = ""


def trend(part: Callable[[float, float], Recording], duration: float, every: float) -> Iterator[Stretch]:
    """Stretch by stretch; a rest that is shorter than `SHORTEST_S` is left out.

    Args:
        part: start and length, s -> that part of the recording.
        duration: of the recording, s.
        every: length of a stretch, s; at least `SHORTEST_S`.

    Raises:
        InputError: too short a stretch, or whatever is wrong with the file.
    """
    if every < SHORTEST_S:
        raise InputError(f"a stretch of {every:g} s is too short to tell a rate; give --every {SHORTEST_S:g} or more")
    start = 0.0
    while duration - start >= min(SHORTEST_S, duration):
        seconds = min(every, duration - start)
        yield _stretch(part(start, seconds), start)
        start += every


def _stretch(recording: Recording, start: float) -> Stretch:
    try:
        found = measure(recording)
    except InputError as error:  # too short, or no lead at all
        return Stretch(start, recording.duration, 0, None, None, None, None, str(error))
    why = found.reasons.get("heart_rate_bpm", "") if found.heart_rate_bpm is None else ""
    rates = found.heart_rate_bpm, found.heart_rate_min_bpm, found.heart_rate_max_bpm
    return Stretch(start, recording.duration, len(found.beats), *rates, found.rhythm_regular, why)


def trend_lines(stretches: list[Stretch]) -> list[str]:
    """A line a stretch."""
    lines = [f"{'from':>9}{'beats':>7}{'rate':>7}{'slowest':>9}{'fastest':>9}  rhythm"]
    for each in stretches:
        hours, rest = divmod(round(each.start_s), 3600)
        clock = f"{hours}:{rest // 60:02}:{rest % 60:02}"
        rates = "".join(
            f"{'-' if value is None else format(value, '.0f'):>{width}}"
            for value, width in ((each.heart_rate_bpm, 7), (each.slowest_bpm, 9), (each.fastest_bpm, 9))
        )
        word = each.why or {True: "regular", False: "irregular", None: "-"}[each.regular]
        lines.append(f"{clock:>9}{each.beats:>7}{rates}  {word}")
    return lines


def trend_plot(stretches: list[Stretch]) -> Image:
    """The rate over time: a line for the mean, a band from the slowest to the fastest; a break where there is none."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=18)
    end = max((each.start_s + each.seconds for each in stretches), default=1.0)
    top = max([100.0, *(each.fastest_bpm for each in stretches if each.fastest_bpm is not None)]) * 1.05

    def at(second: float, rate: float) -> tuple[float, float]:
        across = _MARGIN + second / end * (_WIDTH - 2 * _MARGIN)
        return across, _HEIGHT - _MARGIN - rate / top * (_HEIGHT - 2 * _MARGIN)

    for rate in range(0, int(top) + 1, 20 if top < 250 else 50):
        draw.line([at(0, rate), at(end, rate)], fill=(225, 225, 225))
        draw.text((8, at(0, rate)[1] - 10), str(rate), fill="black", font=font)
    draw.text((8, 8), "heart rate, bpm: mean, and from the slowest to the fastest beat", fill="black", font=font)
    for share in range(5):
        second = end * share / 4
        text = f"{int(second // 3600)}:{int(second % 3600 // 60):02}:{int(second % 60):02}"
        draw.text((at(second, 0)[0] - 30, _HEIGHT - _MARGIN + 12), text, fill="black", font=font)
    before: Stretch | None = None
    for each in stretches:
        if each.heart_rate_bpm is None or each.slowest_bpm is None or each.fastest_bpm is None:
            before = None
            continue
        corners = [at(each.start_s, each.fastest_bpm), at(each.start_s + each.seconds, each.slowest_bpm)]
        draw.rectangle(corners, fill=(205, 220, 245))
        middle = each.start_s + each.seconds / 2
        if before is not None and before.heart_rate_bpm is not None:
            last = before.start_s + before.seconds / 2
            draw.line([at(last, before.heart_rate_bpm), at(middle, each.heart_rate_bpm)], fill=(20, 60, 160), width=3)
        across, down = at(middle, each.heart_rate_bpm)
        draw.ellipse((across - 3, down - 3, across + 3, down + 3), fill=(20, 60, 160))
        before = each
    return image
