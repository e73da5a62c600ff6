"""Which columns of a table are leads, which one is the time, and what is neither: counters, clocks, text and other
signals.

A column is left out for what its title says (``Unnamed: 0``, ``ppg``), or for what stands in it (numbers that count up
evenly, text), and each that might have been missed is named in a note. Where the user names as many leads as there are
columns, all of them are leads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats.quoting import quoted
from llava_ecg.ecg.formats.reader import Options, millivolts_per
from llava_ecg.ecg.formats.statements import may_name
from llava_ecg.ecg.formats.tables import Table
from llava_ecg.errors import InputError

_TIME_UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "micros", "microsecond", "microseconds", "\u00b5s", "\u03bcs"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanos", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
}
_TIME = re.compile(
    r"^(?:(?:elapsed|relative|rel|absolute|sample|sampling|record(?:ing)?|unix|epoch|utc|local|system|sensor"
    r"|device|server|log)[ -]?)*"
    r"(?:time|times|t|elapsed|time and date|date and time|date/time|"
    r"timestamps?|time[ _-]?stamps?|seconds?|secs?|datetime|date[ _-]?time|clock|epoch|milliseconds?|millis|ms|"
    r"microseconds?|micros|us|nanoseconds?|ns|zeit|zeitstempel|uhrzeit|temps|tiempo|tempo|hora|heure)$"
)
_COUNTER = re.compile(
    r"^(?:|unnamed: ?\d+(?:\.\d+)*(?: level \d+)?|\.{3}\d+|"
    r"(?:sample|row|frame|packet|record|data)?[ -]?(?:index|idx|number|num|no|nr|count|counter|id|#)\.?|"
    r"samples?|rows?|row[ .]?names?|frames?|packets?|seq(?:uence)?|n|level \d+|line)$"
)
_DATE = re.compile(r"^(?:date|datum|day)$")
_WITH_UNIT = re.compile(r"^(.*?)[\s_]*[(\[{]([^()\[\]{}]*)[)\]}]$")  # "V1 (mV)", "time [ms]", "time_(s)"
_AND_UNIT = re.compile(
    r"^(.*?)(?:[\s_]+(?:in[\s_]+)?|\s*[/,:]\s*|-|\.)([a-z\u00b5\u03bc]+)$", re.IGNORECASE
)  # "time_ms", "ECG/mV", "t, s"
_CLOCK = re.compile(r"^(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)$")
_DATE_FORMS = (
    *(f"{date} %I:%M:%S{part} %p" for date in ("%m/%d/%Y", "%Y-%m-%d") for part in (".%f", "")),
    *(f"{date} %H:%M:%S{part}" for date in ("%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y") for part in (".%f", "")),
    *(f"%H:%M:%S{part} {date}" for date in ("%d/%m/%Y", "%Y-%m-%d") for part in (".%f", "")),
)
_RUN = re.compile(r"([\s_])[\s_]+")  # which the two patterns above would try from each of its places
_SINCE = re.compile(r"(?<!\s)\s+since\s+(\d{4}-\d\d-\d\d[T ]?[\d:.+Z-]*)")  # "time (s since 2025-05-31T22:30:05)"
_TITLE = 40  # letters; what is longer is no title but text, which may be about anybody
EVEN = 0.95  # of the steps of a counter or clock are alike; a counter of packets begins anew now and then


@dataclass(frozen=True)
class Columns:
    """What was found.

    Attributes:
        positions: of the columns that are leads.
        names, units: of these, as titled; the unit is None where the table does not say.
        rate: Hz; None without a column of times.
        notes: sentences about columns that were left out.
    """

    positions: list[int]
    names: list[str]
    units: list[str | None]
    rate: float | None
    notes: list[str]


def sort(path: Path, table: Table, options: Options, named: int | None = None) -> Columns:
    """The columns of a table that has titles.

    Args:
        named: how many leads the user or the sidecar names.

    Raises:
        InputError: a lead holds a cell that is no number, or the times can't be used and the user gives no rate.
    """
    titles = titles_of(table)
    rate, rest = None, []
    for column, (name, unit) in enumerate(titles):
        key = _key(name)
        if _TIME.match(key):
            rate = _rate_of(path, table, column, key, unit, options) or rate
        elif not (_COUNTER.match(key) or _DATE.match(key)):
            rest.append(column)
    kept, notes = (rest, []) if named == len(rest) else _leads(table, titles, rest)
    for column in kept:
        check_cells(path, table, column)
    return Columns(kept, [titles[column][0] for column in kept], [titles[column][1] for column in kept], rate, notes)


def times_of(table: Table) -> dict[int, tuple[str, str | None]]:
    """The columns of times: column -> (what its title says, the unit)."""
    keys = {column: (_key(name), unit) for column, (name, unit) in enumerate(titles_of(table))}
    return {column: (key, unit) for column, (key, unit) in keys.items() if _TIME.match(key)}


def start_of(table: Table) -> datetime | None:
    """When the times of a table begin, by the unit of a column of times, as netCDF has it: ``s since 2025-05-31``."""
    times = [] if table.header is None else [table.header[column] for column in times_of(table)]
    said = [found[1] for title in times if (found := _SINCE.search(title))]
    return start(said[0]) if said else None


def start(text: object) -> datetime | None:
    """A date with a time as ISO 8601 has it; None for anything else."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None


def titles_of(table: Table) -> list[tuple[str, str | None]]:
    """(name, unit) of each column."""
    assert table.header is not None
    return [_split(title, unit) for title, unit in zip(table.header, table.units, strict=True)]


def check_cells(path: Path, table: Table, column: int) -> None:
    """Raise InputError where a cell of the column is no number."""
    fault = table.faults.get(column)
    if fault is not None:
        raise InputError(
            f"{path} has {quoted(fault.text)} in line {fault.line}, column {column + 1}, where a number must be"
        )


def counts_evenly(values: np.ndarray) -> bool:
    """Whether the values of a column rise by the same step throughout, as a counter or a clock does and no ECG."""
    steps = np.diff(values)
    if len(steps) < 8 or not np.isfinite(steps).all():
        return False
    usual = float(np.median(steps))
    return usual != 0 and float((np.abs(steps - usual) <= 0.3 * abs(usual)).mean()) >= EVEN


def rises_evenly(table: Table, column: int) -> bool:
    """The same of all rows of a table, held or not."""
    return counts_evenly(table.values[:, column]) if table.facts is None else table.facts.evenly(column)


def _empty(table: Table, column: int) -> bool:
    return not np.isfinite(table.values[:, column]).any() if table.facts is None else table.facts.empty(column)


def _key(name: str) -> str:
    return " ".join(_spaced(name).lower().replace("_", " ").split())


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # "timeMs", "sampleIndex"


def _split(title: str, below: str | None) -> tuple[str, str | None]:
    """(name, unit) of a column: the unit from the row below, in brackets, or after the name if it is one of time or
    voltage."""
    title = _RUN.sub(r"\1", _SINCE.sub("", title))
    match = _WITH_UNIT.match(title)
    if match and (match[1].strip() or not match[2].strip()):
        name, unit = match[1].strip(), match[2].strip()
        if unit and _unit_like(unit) or below is None:
            return name, unit or below
        return name, below
    match = _AND_UNIT.match(title) or _AND_UNIT.match(_spaced(title))
    if match and match[1].strip() and below is None:
        word, name = match[2], match[1].strip()
        if len(word) > 1 and millivolts_per(word) is not None and word.lower() != "nv":
            return name, word
        if word.lower() in _TIME_UNITS and _TIME.match(_key(name)):
            return name, word
    title = title.strip()
    return title, title if below is None and title.lower() in ("mv", "uv", "\u00b5v", "\u03bcv") else below


def _unit_like(unit: str) -> bool:
    return millivolts_per(unit) is not None or unit.lower() in _TIME_UNITS


def _leads(
    table: Table, titles: Sequence[tuple[str, str | None]], columns: Sequence[int]
) -> tuple[list[int], list[str]]:
    """(columns that are leads, notes on the others)."""
    names = {column: titles[column][0] for column in columns}
    standard = any(lead_names.canonical(name) in lead_names.STANDARD for name in names.values())
    certain = any(lead_names.says_ecg(name) and not lead_names.is_other_signal(name) for name in names.values())
    other = None if not standard else lead_names.other_system([lead_names.canonical(name) for name in names.values()])
    of_other = () if other is None else [columns[row] for row in other.rows]  # E, A and S, which their I vouches for
    kept, notes = [], []
    for column in columns:
        name, unit = titles[column]
        fault = table.faults.get(column)
        lead = lead_names.canonical(name) in lead_names.STANDARD or column in of_other
        axis = (
            name.strip().lower() in ("x", "y", "z") and not standard
        )  # of an accelerometer, if not a Frank lead beside others
        usual = lead_names.may_be_lead(name) and not axis
        why = None
        if lead:
            pass
        elif fault is not None and 2 * fault.count > fault.of:
            why = "it is no column of numbers"
        elif lead_names.is_other_signal(name):
            why = "it is no ECG lead by its name"
        elif rises_evenly(table, column):
            why = "it counts up evenly, as a counter or a clock does"
        elif certain and not usual and (unit is None or millivolts_per(unit) is None):
            why = "it is no ECG lead by its name, as others are"
        elif certain and not usual and _empty(table, column):
            why = "it is empty"
        if why is None:
            kept.append(column)
        else:
            told = name if name and len(name) <= _TITLE and not may_name(name) else f"column {column + 1}"
            notes.append(f"{told} is left out: {why}")
    if not kept and columns:  # nothing is a lead by its name: let the reader say what is missing
        numbers = [column for column in columns if column not in table.faults]
        return numbers or list(columns), []
    return kept, notes


# -- times -------------------------------------------------------------------------------------------------------------


def _rate_of(path: Path, table: Table, column: int, key: str, unit: str | None, options: Options) -> float | None:
    try:
        if table.facts is not None:
            return table.facts.rate(path, table, column)
        return _rate(path, *_seconds(path, table, column, key, unit))
    except InputError:
        gap = _gap(table.values[:, column]) if table.facts is None else table.facts.gap(column)
        if options.rate is not None and not gap:
            return None  # the user says it
        raise


def _gap(times: np.ndarray) -> bool:
    """Whether rising times leave something out."""
    steps = np.diff(times)
    return (
        len(steps) > 1
        and bool(np.isfinite(steps).all())
        and steps.min() > 0
        and bool(steps.max() > 1.75 * np.median(steps))
    )


def _seconds(path: Path, table: Table, column: int, key: str, unit: str | None) -> tuple[np.ndarray, float]:
    """(times, seconds in one of them) of a column of times: numbers in a unit, a clock (0:00.004, 12:30:00.5), or dates
    with times."""
    times = table.values[:, column]
    if column in table.faults:
        times = moments(table.texts[column], times)
        if np.isfinite(times).all():
            times = times + 86400.0 * np.cumsum(np.concatenate([[0], np.diff(times) < -43200]))  # past midnight
            return times, 1.0
        check_cells(path, table, column)
    scale = time_unit(path, key, unit)
    if scale is None:
        scale = epoch_scale(float(np.nanmedian(np.abs(times))) if np.isfinite(times).any() else 0.0)
        return times - (times[0] if scale < 1 else 0), scale
    return times, scale


def time_unit(path: Path, key: str, unit: str | None) -> float | None:
    """Seconds in one of the times of a column, by what its title says; None where it does not say.

    Raises:
        InputError: an unknown unit.
    """
    word = (unit or "").lower().strip(" .")
    if not word and key.split()[-1] in _TIME_UNITS:
        word = key.split()[-1]
    if word and word not in _TIME_UNITS:
        raise InputError(f"{path} has a time column in an unknown unit; call it time (s) or time (ms)")
    return _TIME_UNITS[word] if word else None


def epoch_scale(size: float) -> float:
    """Seconds in one by how large times are: since 1970, seconds have ten digits in our days, in ms, us and ns three,
    six and nine more."""
    return next((10.0**-power for power in (9, 6, 3) if 5e8 < size * 10.0**-power < 5e9), 1.0)


def moments(texts: Sequence[str], numbers: np.ndarray) -> np.ndarray:
    """Seconds of the cells of a column; NaN from the first one on that is no time, since such a column is none.

    Args:
        texts: of the cells.
        numbers: those that they are; NaN for one that is no number.
    """
    found = np.full(len(texts), np.nan)
    form: str | None = None
    for row, (text, number) in enumerate(zip(texts, numbers.tolist(), strict=True)):
        found[row], form = (number, form) if math.isfinite(number) else _moment(text, form)
        if math.isnan(found[row]):
            break
    return found


def _moment(text: str, usual: str | None) -> tuple[float, str | None]:
    """(seconds of a cell, the form in which it is written), NaN where it is no time.

    Args:
        usual: the form of the cell above, which is tried first; no text is written in two of them.
    """
    text = re.sub(r"^-?0 days?,? \+?", "", text.strip("[]' \""))  # pandas writes spans of time so
    clock = _CLOCK.match(text.split(" ")[0])
    if clock:
        return 3600.0 * int(clock[1] or 0) + 60.0 * int(clock[2]) + float(clock[3].replace(",", ".")), usual
    text = re.sub(r"(\d{2}:\d{2}:\d{2}),(\d+)$", r"\1.\2", text)
    forms: Iterable[str | None] = (usual, None, *_DATE_FORMS)
    for form in forms:
        try:
            moment = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
            return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds(), form
        except ValueError:
            continue
    return math.nan, usual


def _rate(path: Path, times: np.ndarray, unit: float) -> float:
    """Hz from a column of times, which may be rounded but must not jump."""
    seconds = times * unit
    if len(seconds) < 2 or not np.isfinite(seconds).all() or seconds[-1] <= seconds[0]:
        raise InputError(f"{path} has a time column that does not rise; drop it and give --rate")
    changes = np.flatnonzero(np.diff(seconds)) + 1
    if (
        len(changes) < (len(seconds) - 1) * 0.6 and len(changes) > 2
    ):  # a clock that shows whole seconds: many samples have the same time
        counts, length = np.diff(changes), float(np.median(np.diff(seconds[changes])))
        if np.ptp(counts) <= max(2.0, 0.1 * float(np.median(counts))) and np.allclose(
            np.diff(seconds[changes]), length, rtol=0.01
        ):
            return nearly_whole(float(np.mean(counts)) / length)
    rate = (len(seconds) - 1) / (seconds[-1] - seconds[0])
    steps = np.diff(seconds) * rate
    if (
        steps.max() > 1.75 or steps.min() <= 0
    ):  # in mean steps: times rounded to a millisecond stay below, a lost sample makes 2
        worst = float(seconds[int(np.argmax(np.abs(steps - 1)))])
        raise InputError(
            f"{path} has uneven times after {worst:.3f} s; fill the gap, or drop the time column and give --rate"
        )
    return nearly_whole(rate, 2 * _quantum(seconds) / (seconds[-1] - seconds[0]))


def _quantum(seconds: np.ndarray) -> float:
    """What times are rounded to: the largest power of ten that all of them are multiples of."""
    since = seconds - seconds[0]
    for power in range(10):
        scaled = since * 10.0**power
        if bool((np.abs(scaled - np.rint(scaled)) < 1e-3).all()):
            return 10.0**-power
    return 0.0


def nearly_whole(rate: float, uncertain: float = 5e-4) -> float:
    """The rate, or the whole number that it is but for rounded times.

    Args:
        uncertain: how far off it may be by them, as a share of it.
    """
    near = abs(rate - round(rate)) < max(uncertain, 1e-5) * rate
    return float(round(rate)) if near else float(rate)
