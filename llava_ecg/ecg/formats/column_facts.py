"""What has to be known of all rows of a table, row batch by row batch: whether a column counts up evenly, and the rate
by a column of times.

The answers are those that `llava_ecg.ecg.formats.columns` gives of whole columns, to the last bit; where no such answer
can be given from what is kept, `Unsure` is raised, and the table has to be read whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats import columns
from llava_ecg.ecg.formats.tables import Fault, Table
from llava_ecg.errors import InputError

_MOST_KINDS = 1 << 14  # different steps that are kept; those of counters and clocks differ by rounding alone
_POWERS = range(10)  # of ten, that times may be rounded to


class Unsure(Exception):
    """What is kept does not tell; the whole would."""


class _Kinds:
    """How often each of some numbers occurred, unless these are too many."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = np.empty(0)
        self._counts: np.ndarray = np.empty(0)

    def add(self, values: np.ndarray) -> None:
        if self.values is None or not len(values):
            return
        new, times = np.unique(values, return_counts=True)
        merged, place = np.unique(np.concatenate([self.values, new]), return_inverse=True)
        self._counts = np.bincount(place, np.concatenate([self._counts, times]))
        self.values = merged if len(merged) <= _MOST_KINDS else None

    def known(self) -> np.ndarray:
        """The different numbers, ascending."""
        if self.values is None:
            raise Unsure
        return self.values

    def median(self) -> float:
        """As `numpy.median` of all of them."""
        known, until = self.known(), np.cumsum(self._counts)
        count = int(until[-1])
        middle = known[np.searchsorted(until, [(count - 1) // 2, count // 2], side="right")]
        return float(np.mean(middle)) if count % 2 == 0 else float(middle[0])

    def share(self, chosen: np.ndarray) -> float:
        """Of all of them, the share of the chosen kinds."""
        return float(self._counts[chosen].sum() / self._counts.sum())


class _Steps:
    """The steps from value to value of a column."""

    def __init__(self) -> None:
        self._last = np.empty(0)
        self._finite = True
        self._kinds = _Kinds()
        self._count = self._up = self._down = 0
        self._least, self._most = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        steps = np.diff(values, prepend=self._last)
        self._last = values[-1:].copy()
        self._count += len(steps)
        self._finite = self._finite and bool(np.isfinite(steps).all())
        if not self._finite or not len(steps):
            return
        self._up += int((steps > 0).sum())
        self._down += int((steps < 0).sum())
        self._least, self._most = min(self._least, float(steps.min())), max(self._most, float(steps.max()))
        self._kinds.add(steps)

    def evenly(self) -> bool:
        """As `columns.counts_evenly`."""
        if self._count < 8 or not self._finite:
            return False
        if max(self._up, self._down) / self._count < columns.EVEN:
            return False  # those that are like the usual one go its way
        usual, known = self._kinds.median(), self._kinds.known()
        return usual != 0 and self._kinds.share(np.abs(known - usual) <= 0.3 * abs(usual)) >= columns.EVEN

    def gap(self) -> bool:
        """Whether rising values leave something out."""
        if self._count < 2 or not self._finite or self._least <= 0 or self._most <= 1.75 * self._least:
            return False
        return self._most > 1.75 * self._kinds.median()


class _Times:
    """A column of times: numbers in a unit, or clocks and dates as text."""

    def __init__(self, key: str, unit: str | None) -> None:
        self._key, self._unit = key, unit
        self._count = 0
        self._scale: float | None = None
        self._given: float | None = None  # the first time as it is filed
        self._clock: bool | None = None
        self._before, self._days = np.empty(0), 0  # the last clock time, and how often midnight has passed
        self._finite = True
        self._first = self._last = 0.0
        self._longest, self._shortest = (-np.inf, 0.0, 0), (np.inf, 0.0, 0)  # a step, the time before it, its number
        self._multiples = np.ones(len(_POWERS), bool)  # of a power of ten
        self._changes, self._changed = 0, (0, 0)  # how many, and the places of the first and the last one
        self._runs, self._rises = _Kinds(), _Kinds()  # from change to change: rows, and seconds

    def add(self, path: Path, values: np.ndarray, texts: list[str] | None) -> None:
        """The next rows; with their text if a cell is no number."""
        if not self._finite:
            return
        if texts is not None and self._clock is False:
            raise Unsure  # of the whole, numbers would be in seconds too
        self._clock = texts is not None or bool(self._clock)
        seconds = self._by_clock(values, texts) if self._clock else self._by_number(path, values)
        if seconds is not None:
            self._add(seconds)

    def _by_clock(self, values: np.ndarray, texts: list[str] | None) -> np.ndarray | None:
        if texts is not None:
            values = columns.moments(texts, values)
        self._finite = bool(np.isfinite(values).all())
        if not self._finite:
            return None
        nights = np.cumsum(np.diff(values, prepend=self._before if self._count else values[:1]) < -43200) + self._days
        self._before, self._days = values[-1:].copy(), int(nights[-1])
        return values + 86400.0 * nights

    def _by_number(self, path: Path, values: np.ndarray) -> np.ndarray | None:
        self._finite = bool(np.isfinite(values).all())
        if not self._finite:
            return None
        try:
            scale = columns.time_unit(path, self._key, self._unit)
        except InputError:
            return None  # it is said when the rate is asked for
        if self._given is None:
            self._given = float(values[0])
        if scale is None:  # by the median of all, which lies between the smallest and the largest
            sizes = np.abs(values)
            scale = columns.epoch_scale(float(sizes.min()))
            if scale != columns.epoch_scale(float(sizes.max())) or self._scale not in (None, scale):
                raise Unsure
            if scale == 1.0 and not sizes.max() <= 5e11:
                raise Unsure  # between two of its ranges
            self._scale = scale
            values = values - (self._given if scale < 1 else 0)
        return values * scale

    def _add(self, seconds: np.ndarray) -> None:
        if not self._count:
            self._first = float(seconds[0])
        with_last = np.concatenate([[self._last], seconds]) if self._count else seconds
        number = max(0, self._count - 1)  # of the first of these steps
        steps = np.diff(with_last)
        if len(steps):
            most, least = int(np.argmax(steps)), int(np.argmin(steps))
            if steps[most] > self._longest[0]:
                self._longest = (float(steps[most]), float(with_last[most]), number + most)
            if steps[least] < self._shortest[0]:
                self._shortest = (float(steps[least]), float(with_last[least]), number + least)
        changes = np.flatnonzero(steps)
        if len(changes):
            places = number + changes
            rises = steps[changes]
            if self._changes:
                places = np.concatenate([[self._changed[1]], places])
            else:
                self._changed, rises = (int(places[0]), 0), rises[1:]
            self._runs.add(np.diff(places))
            self._rises.add(rises)
            self._changes, self._changed = self._changes + len(changes), (self._changed[0], int(places[-1]))
        for power in np.flatnonzero(self._multiples):
            scaled = (seconds - self._first) * 10.0 ** int(power)
            self._multiples[power] = (np.abs(scaled - np.rint(scaled)) < 1e-3).all()
        self._count, self._last = self._count + len(seconds), float(seconds[-1])

    def rate(self, path: Path, table: Table, column: int) -> float:
        """As `columns._rate` of all times."""
        if not self._finite:
            columns.check_cells(path, table, column)
        if not self._clock:
            columns.time_unit(path, self._key, self._unit)
        if self._count < 2 or not self._finite or self._last <= self._first:
            raise InputError(f"{path} has a time column that does not rise; drop it and give --rate")
        if 2 < self._changes < (self._count - 1) * 0.6:  # a clock that shows whole seconds
            runs, length = self._runs.known(), self._rises.median()
            even = np.allclose(self._rises.known(), length, rtol=0.01)
            if np.ptp(runs) <= max(2.0, 0.1 * self._runs.median()) and even:
                mean = (self._changed[1] - self._changed[0]) / (self._changes - 1)
                return columns.nearly_whole(mean / length)
        rate = (self._count - 1) / (self._last - self._first)
        if self._longest[0] * rate > 1.75 or self._shortest[0] * rate <= 0:
            _, _, worst = min(
                (-abs(step * rate - 1), at, before) for step, before, at in (self._longest, self._shortest)
            )
            raise InputError(
                f"{path} has uneven times after {worst:.3f} s; fill the gap, or drop the time column and give --rate"
            )
        quantum = next((10.0**-power for power in _POWERS if self._multiples[power]), 0.0)
        return columns.nearly_whole(rate, 2 * quantum / (self._last - self._first))


def gathered(path: Path, batches: Iterable[Table]) -> Table | None:
    """The table that comes batch by batch: the rows of the first one, and facts of all; None where none comes.

    Raises:
        Unsure: there is more to know than can be kept.
    """
    first, facts = None, None
    for batch in batches:
        if first is None or facts is None:
            first, facts = batch, BatchFacts(batch)
        facts.add(path, batch)
    return first if first is None or facts is None else replace(first, faults=facts.faults, texts={}, facts=facts)


class BatchFacts:
    """Facts of a table (`llava_ecg.ecg.formats.tables.Facts`) that is read some rows at a time."""

    def __init__(self, table: Table) -> None:
        """Of a table with these titles and units."""
        self.rows = 0
        self._faults: dict[int, Fault] = {}
        width = table.values.shape[1]
        self._filled = np.zeros(width, np.int64)
        self._some = np.zeros(width, bool)
        times = {} if table.header is None else columns.times_of(table)
        self._times = {column: _Times(*of) for column, of in times.items()}
        names = ["", *["I"] * (width - 1)]  # without titles the first column may be a counter
        if table.header is not None:
            names = [name for name, _ in columns.titles_of(table)]
        asked = (at for at, name in enumerate(names) if lead_names.canonical(name) not in lead_names.STANDARD)
        self._steps: Mapping[int, _Steps] = {at: _Steps() for at in {*asked, *times}}

    def add(self, path: Path, batch: Table) -> None:
        """The next rows."""
        values = batch.values
        self.rows += len(values)
        self._some |= np.isfinite(values).any(axis=0)
        filled = (~np.isnan(values)).sum(axis=0)
        for column, fault in batch.faults.items():
            filled[column] = fault.of
            first = self._faults.get(column, replace(fault, count=0))
            self._faults[column] = replace(first, count=first.count + fault.count)
        self._filled += filled
        for column, steps in self._steps.items():
            steps.add(values[:, column])
        for column, times in self._times.items():
            times.add(path, values[:, column], batch.texts.get(column))

    @property
    def faults(self) -> dict[int, Fault]:
        """As those of a `Table`, of all rows."""
        return {column: replace(fault, of=int(self._filled[column])) for column, fault in self._faults.items()}

    def evenly(self, column: int) -> bool:
        """As `columns.counts_evenly`."""
        return self._steps[column].evenly()

    def empty(self, column: int) -> bool:
        """Whether no cell is a finite number."""
        return not self._some[column]

    def gap(self, column: int) -> bool:
        """Whether rising times leave something out."""
        return self._steps[column].gap()

    def rate(self, path: Path, table: Table, column: int) -> float:
        """Hz by a column of times."""
        return self._times[column].rate(path, table, column)
