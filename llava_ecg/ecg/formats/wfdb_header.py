"""The text of a WFDB header: what each of its fields says, and nothing refused for a field that the samples don't need.

The header is read here and not by wfdb, whose patterns (4.3.1) cut a sampling rate at its exponent, drop a non-ASCII
micro sign (``1000/µV`` becomes volts), and refuse a whole record for a dot in its name, a date in another order, or one
signal line too many. No samples here. Format: https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path

from llava_ecg.ecg.formats.reader import looks_like
from llava_ecg.errors import InputError

DEFAULT_RATE = 250.0
"""Hz, where a header names none."""
DEFAULT_GAIN = 200.0
"""Steps per unit, where a header names none or 0."""
NO_FILE = "~"
"""The file name of a signal without samples, and the name of a segment in which nothing was recorded."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RECORD = re.compile(r"^(?P<name>\S+?)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)(?:\s+(?P<rest>.*))?$")
_RATE = re.compile(
    rf"^(?P<whole>\d+),(?P<part>\d+)$|^(?P<rate>{_NUMBER})"
)  # then counter frequency and base counter, or a unit: "500Hz"
_FORMAT = re.compile(r"^(?P<format>\d+)(?:x(?P<frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?$")
_GAIN = re.compile(rf"^(?P<gain>{_NUMBER})?(?:\((?P<baseline>{_NUMBER})\))?(?:/(?P<unit>\S+))?$")
_WHOLE = re.compile(r"^[-+]?\d+(?:\.0*)?$")
_SEGMENT = re.compile(r"^(?P<name>\S+)\s+(?P<samples>\d+)(?:\s|$)")
_TIME = re.compile(r"(?<![\d:])(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6})\d*)?(?![\d:])")
_DATES = (
    re.compile(r"(?<!\d)(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)"),
    re.compile(r"(?<!\d)(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})(?!\d)"),
    re.compile(r"(?<!\d)(?P<day>\d{1,2})[-/. ]*(?P<month>[A-Za-z]{3})[a-z]*[-/., ]*(?P<year>\d{4})(?!\d)"),
    re.compile(r"(?P<month>[A-Za-z]{3})[a-z]*[-/. ]*(?P<day>\d{1,2})[-/., ]+(?P<year>\d{4})(?!\d)"),
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Signal:
    """One signal line.

    Attributes:
        file: name of the signal file, `NO_FILE` for a signal without samples.
        format: number of the sample format, such as 16 or 212.
        frame: samples a frame.
        skew: frames by which it is to be shifted.
        offset: bytes before the first sample.
        gain: steps per ``unit``; 0 where the header names none.
        baseline: the step that is zero.
        initial: what the first difference of format 8 is added to.
        name: the description, empty where there is none.
    """

    file: str
    format: int
    frame: int
    skew: int
    offset: int
    gain: float
    baseline: float
    unit: str
    initial: int
    name: str


@dataclass(frozen=True)
class Header:
    """A header.

    Attributes:
        path: of the header.
        rate: frames a second, Hz; None where it names none, NaN where what stands there is no number.
        samples: frames of the record; None where it does not say (0 says nothing either).
        signals: as many as the record line counts; empty for a record of several segments.
        count: the number of signals in the record line.
        segments: (name, frames) of each segment; empty for a record of one.
        start: None where date or time is missing or in an unknown form.
        text: all of it, comments included.
    """

    path: Path
    rate: float | None
    samples: int | None
    signals: tuple[Signal, ...]
    count: int
    segments: tuple[tuple[str, int], ...]
    start: datetime | None
    text: str


def is_header(text: str) -> bool:
    """Whether the first line that is no comment is a record line."""
    lines = _lines(text)
    return bool(lines) and _RECORD.match(lines[0]) is not None


def parse(path: Path) -> Header:
    """A header file.

    Raises:
        InputError: it can't be opened, is no header, or a line that the samples need is not sound.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = _lines(text)
    record = _RECORD.match(lines[0]) if lines else None
    if record is None:
        raise InputError(
            f"{path} is no WFDB header: it is {looks_like(raw[:1024])}, and its first line is not like 'name 12 "
            "500 5000'"
        )
    count = int(record["signals"])
    if count == 0:
        raise InputError(f"{path} describes no signals")
    rate, samples, start = _rest(record["rest"] or "")
    signals: Sequence[Signal] = ()
    segments: Sequence[tuple[str, int]] = ()
    if record["segments"]:
        segments = _segments(path, lines[1:], int(record["segments"]))
    else:
        signals = [_signal(path, number, line) for number, line in enumerate(lines[1 : 1 + count], start=1)]
        if len(signals) != count:
            raise InputError(
                f"{path} is no sound WFDB header: it promises {count} signals and describes {len(signals)}"
            )
    return Header(path, rate, samples, tuple(signals), count, tuple(segments), start, text)


def _lines(text: str) -> list[str]:
    """The lines that are neither empty nor comments."""
    stripped = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _rest(text: str) -> tuple[float | None, int | None, datetime | None]:
    """(rate, samples, start) from what follows the number of signals."""
    fields = text.split()
    if not fields:
        return None, None, None
    match = _RATE.match(fields[0])
    rate = math.nan if match is None else float(match["rate"] or f"{match['whole']}.{match['part']}")
    samples, after = 0, fields[1:]
    if after and _WHOLE.match(after[0]):
        samples, after = int(float(after[0])), after[1:]
    return rate, samples if samples > 0 else None, _start(" ".join(after))


def _start(text: str) -> datetime | None:
    """Date and time in any order and usual form; None where one is missing or impossible."""
    found = next((match for match in (date.search(text) for date in _DATES) if match), None)
    if found is None:
        return None
    month = found["month"].lower()[:3]
    clock = _TIME.search(text[: found.start()] + " " + text[found.end() :].lstrip("T"))
    if clock is None or not (month.isdigit() or month in _MONTHS):
        return None
    hours, minutes, seconds, part = clock.groups()
    try:
        moment = time(int(hours or 0), int(minutes), int(seconds), int((part or "0").ljust(6, "0")))
        number = int(month) if month.isdigit() else _MONTHS.index(month) + 1
        return datetime.combine(datetime(int(found["year"]), number, int(found["day"])), moment)
    except ValueError:
        return None


def _signal(path: Path, number: int, line: str) -> Signal:
    """A signal line: file and format, then as much of gain, resolution, zero, initial value, checksum, block size, name
    as is there."""
    fields = line.split(None, 2)
    form = _FORMAT.match(fields[1]) if len(fields) > 1 else None
    if form is None:
        raise InputError(
            f"{path} is no sound WFDB header: its line for signal {number} is not like 'name.dat 16 1000/mV ... I'"
        )
    rest = fields[2] if len(fields) > 2 else ""
    gain, baseline, unit = 0.0, None, "mV"
    scale, after = (rest.split(None, 1) + ["", ""])[:2]
    match = _GAIN.match(scale) if scale else None
    if match is not None:
        gain, unit = float(match["gain"] or 0), match["unit"] or "mV"
        baseline = None if match["baseline"] is None else float(match["baseline"])
        rest = after
    elif scale[:1].isdigit():
        raise InputError(f"{path} is no sound WFDB header: the gain {scale[:20]!r} of signal {number} is not a number")
    if not math.isfinite(gain) or (baseline is not None and not math.isfinite(baseline)):
        raise InputError(f"{path} is no sound WFDB header: a gain is not a number")
    numbers: list[int] = []  # resolution, zero, initial value, checksum, block size
    while len(numbers) < 5 and rest:
        word, after = (rest.split(None, 1) + [""])[:2]
        if not _WHOLE.match(word):
            break
        numbers.append(int(float(word)))
        rest = after
    zero = numbers[1] if len(numbers) > 1 else 0
    return Signal(
        file=fields[0],
        format=int(form["format"]),
        frame=int(form["frame"] or 1) or 1,
        skew=int(form["skew"] or 0),
        offset=int(form["offset"] or 0),
        gain=gain,
        baseline=zero if baseline is None else baseline,
        unit=unit,
        initial=numbers[2] if len(numbers) > 2 else 0,
        name=rest.strip(),
    )


def _segments(path: Path, lines: Sequence[str], count: int) -> list[tuple[str, int]]:
    found = [_SEGMENT.match(line) for line in lines[:count]]
    sound = [(match["name"], int(match["samples"])) for match in found if match is not None]
    if len(sound) != count or not count:
        raise InputError(f"{path} is no sound WFDB header: it promises {count} segments and describes {len(sound)}")
    return sound
