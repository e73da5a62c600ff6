"""Bare arrays: .npy, .npz and .csv, whose rate, unit and leads come from the file, a JSON file beside it, or the user.

A sidecar ``record.json`` beside ``record.npy`` is ``{"rate": 500, "unit": "mV", "leads": ["I", "II", ...]}``; ``age`` and ``sex`` are taken
too (see `llava_ecg.ecg.person`), other keys are left alone. The order of trust is user, sidecar, file.

Axes: L leads, T samples.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, assemble, looks_like, millivolts_per, one_line, parse_leads
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_TIME_COLUMNS = {"time", "t", "seconds", "sec", "second"}
_INDEX_COLUMNS = {"", "index", "sample", "samples"}
_TIME_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6}
_RATE_KEYS = ("rate", "fs", "sampling_rate")
_SIGNAL_KEYS = ("signal", "ecg", "data", "arr_0")
_WITH_UNIT = re.compile(r"^(.*?)\s*[(\[]([^)\]]*)[)\]]$")  # "V1 (mV)", "time [ms]"


@dataclass(frozen=True)
class _Said:
    """What a file or its sidecar says about its values; None where it is silent."""

    rate: float | None = None
    unit: str | float | None = None
    leads: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def over(self, other: _Said) -> _Said:
        return _Said(
            self.rate if self.rate is not None else other.rate,
            self.unit if self.unit is not None else other.unit,
            self.leads or other.leads,
            {**other.metadata, **self.metadata},
        )


class Numpy:
    """The reader of .npy and .npz; an .npz may carry ``signal``, ``rate`` (or ``fs``), ``unit`` and ``leads``."""

    suffixes = (".npy", ".npz")

    def recognises(self, head: bytes, path: Path) -> bool:
        """NumPy's mark, or a zip archive whose first member is an array."""
        return head.startswith(b"\x93NUMPY") or (head.startswith(b"PK\x03\x04") and b".npy" in head[:256])

    def read(self, path: Path, options: Options) -> Recording:
        """The array, turned to [lead, sample].

        Raises:
            InputError: no array of numbers with two axes, an ambiguous orientation, or rate, unit or leads unknown.
        """
        try:
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                values, inside = loaded, _Said()
            else:
                with loaded:
                    values, inside = _unzip(path, {name: loaded[name] for name in loaded.files})
        except InputError:
            raise
        except Exception as error:  # NumPy raises whatever the bytes provoke: ValueError, EOFError, BadZipFile, MemoryError, ...
            with path.open("rb") as file:
                kind = looks_like(file.read(HEAD_BYTES))
            raise InputError(f"{path} is no NumPy file of numbers but {kind}: {one_line(error)}") from error
        return _from_table(path, values, _sidecar(path).over(inside), options)


class Csv:
    """The reader of tables of numbers as text: columns are leads (with a header row) or either way round (without)."""

    suffixes = (".csv", ".tsv", ".txt")

    def recognises(self, head: bytes, path: Path) -> bool:
        """Text under one of the suffixes: numbers as text have no mark of their own."""
        return path.suffix.lower() in self.suffixes and looks_like(head) == "text"

    def read(self, path: Path, options: Options) -> Recording:
        """The table; a column named time gives the rate, a unit in brackets after a lead's name its unit.

        Raises:
            InputError: not a table of numbers, uneven times, or rate, unit or leads unknown.
        """
        table = _table(path)
        said = _sidecar(path)
        if table.header is None:
            return _from_table(path, table.values, said, options)
        names, units, rate, columns = _columns(path, table.header, table.values)
        values = table.values[:, columns]
        if not any(names) or all(name.isdigit() for name in names):  # pandas' numbered columns name no leads
            return _from_table(path, values, said.over(_Said(rate=rate)), options)
        said = said.over(_Said(rate=rate, leads=tuple(names)))
        found = [said.unit if said.unit is not None else unit for unit in units]
        return _assemble(path, values.T, replace(said, unit=None), options, found)


def _from_table(path: Path, values: np.ndarray, said: _Said, options: Options) -> Recording:
    """A recording from an array of which either axis may be the leads."""
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path} holds values of type {values.dtype}, not real numbers")
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2:
        raise InputError(f"{path} holds an array of shape {values.shape}; save one recording as [lead, sample]")
    if not values.size:
        raise InputError(f"{path} holds no samples")
    leads = options.leads or said.leads
    values = _leads_first(path, values, leads)
    return _assemble(path, values, said, options, [said.unit] * len(values))


def _assemble(path: Path, values: np.ndarray, said: _Said, options: Options, units: Sequence[str | float | None]) -> Recording:
    return assemble(path, values, options, rate=said.rate, units=units, leads=said.leads, metadata=said.metadata, sidecar=True)


def _leads_first(path: Path, values: np.ndarray, leads: Sequence[str] | None) -> np.ndarray:
    """The array as [L, T], by the number of names, or without names by which side is as short as a set of leads."""
    rows, columns = values.shape
    if leads is None:
        return values if rows <= columns else values.T  # only to say what is missing: the caller refuses an unnamed lead
    if rows == columns:
        raise InputError(f"{path} is {rows} x {columns}, so its leads can't be told from its samples; name a file with more samples")
    if len(leads) not in (rows, columns):
        raise InputError(
            f"{path} is {rows} x {columns}, which fits no {len(leads)} leads ({', '.join(leads)}); give the names with --leads"
        )
    return values if len(leads) == rows else values.T


def _unzip(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, _Said]:
    """The signal of an .npz and what its other arrays say."""
    name = next((key for key in _SIGNAL_KEYS if key in arrays), None)
    if name is None:
        raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}, but no array called signal")
    values = {key: array.tolist() for key, array in arrays.items() if key in (*_RATE_KEYS, "unit", "leads")}
    return arrays[name], _said(path, values)


def _sidecar(path: Path) -> _Said:
    """What ``same-name.json`` says; silent where there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return _Said()
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{beside} beside {path.name} is no JSON: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(f'{beside} beside {path.name} is no JSON object such as {{"rate": 500, "unit": "mV", "leads": ["I", "II"]}}')
    return _said(beside, values)


def _said(where: Path, values: Mapping[str, Any]) -> _Said:
    """Checked values; a key with a value that can't be meant is an InputError that names the file and the key."""
    rate = next((values[key] for key in _RATE_KEYS if values.get(key) is not None), None)
    unit, leads = values.get("unit"), values.get("leads")
    if rate is not None and not (isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate) and rate > 0):
        raise InputError(f"{where} gives the rate {rate!r}, which is no number of samples a second")
    if unit is not None and (not isinstance(unit, str | int | float) or millivolts_per(unit) is None):
        raise InputError(f"{where} gives the unit {unit!r}; known are mV, uV, V, nV and a number of millivolts per value")
    if leads is not None and not (isinstance(leads, str) or (isinstance(leads, list) and all(isinstance(name, str) for name in leads))):
        raise InputError(f"{where} gives leads that are no list of names: {str(leads)[:60]}")
    metadata = person({key: values.get(key) for key in ("age", "sex")})
    return _Said(None if rate is None else float(rate), unit, parse_leads(leads) if leads else None, metadata)


@dataclass(frozen=True)
class _Table:
    header: list[str] | None
    values: np.ndarray  # float64 [rows, columns]


def _table(path: Path) -> _Table:
    """A text file as numbers; empty cells are NaN."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a table of numbers as text: {one_line(error)}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise InputError(f"{path} holds no samples")
    first = lines[0][1]
    separator = next((mark for mark in (";", "\t", ",") if mark in first), None)
    cells = _cells(first, separator)
    header = None
    if any(_number(cell, separator) is None for cell in cells):
        header = [cell.strip("\"' ") for cell in cells]
    elif _counts_up([cell for cell in cells if cell]):
        header = cells  # pandas numbers columns without names
    body = lines[1:] if header is not None else lines
    if not body:
        raise InputError(f"{path} holds no samples")
    return _Table(header, _numbers(path, body, separator, len(cells)))


def _numbers(path: Path, lines: Sequence[tuple[int, str]], separator: str | None, width: int) -> np.ndarray:
    try:
        values = np.loadtxt([line for _, line in lines], delimiter=separator, ndmin=2, comments=None)
        if values.shape[1] == width:
            return values
    except ValueError:
        pass  # an empty cell, a decimal comma, or a fault, which the slow way finds
    rows = []
    for number, line in lines:
        cells = _cells(line, separator)
        if len(cells) != width:
            raise InputError(f"{path} has {len(cells)} cells in line {number}, the first line {width}")
        row = [_number(cell, separator) for cell in cells]
        if None in row:
            column = row.index(None)
            raise InputError(f"{path} has {cells[column][:20]!r} in line {number}, column {column + 1}, where a number must be")
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _cells(line: str, separator: str | None) -> list[str]:
    return [cell.strip() for cell in line.split(separator)]


def _counts_up(cells: Sequence[str]) -> bool:
    return len(cells) > 1 and cells[0] in ("0", "1") and cells == [str(int(cells[0]) + n) for n in range(len(cells))]


def _number(cell: str, separator: str | None) -> float | None:
    """A cell's number, NaN where it is empty, None where it is neither; a decimal comma where the separator leaves it free."""
    if not cell:
        return math.nan
    try:
        return float(cell if separator == "," else cell.replace(",", "."))
    except ValueError:
        return None


def _columns(path: Path, header: Iterable[str], values: np.ndarray) -> tuple[list[str], list[str | None], float | None, list[int]]:
    """Names, units and positions of the columns that are leads, and the rate if one of the others is the time."""
    names: list[str] = []
    units: list[str | None] = []
    columns: list[int] = []
    rate = None
    for column, title in enumerate(header):
        match = _WITH_UNIT.match(title)
        name, unit = (match[1].strip(), match[2].strip()) if match else (title, None)
        if name.lower() in _TIME_COLUMNS:
            rate = _rate(path, values[:, column], _TIME_UNITS.get((unit or "").lower()))
        elif name.lower() in _INDEX_COLUMNS:
            continue
        else:
            names.append(name)
            units.append(unit)
            columns.append(column)
    return names, units, rate, columns


def _rate(path: Path, times: np.ndarray, unit: float | None) -> float:
    """Hz from a column of times, which may be rounded but must not jump."""
    if unit is None:
        raise InputError(f"{path} has a time column in an unknown unit; call it time (s) or time (ms)")
    seconds = times * unit
    if len(seconds) < 2 or not np.isfinite(seconds).all() or seconds[-1] <= seconds[0]:
        raise InputError(f"{path} has a time column that does not rise; drop it and give --rate")
    rate = (len(seconds) - 1) / (seconds[-1] - seconds[0])
    steps = np.diff(seconds) * rate
    if steps.max() > 1.75 or steps.min() <= 0:  # in mean steps: times rounded to a millisecond stay below, a lost sample makes 2
        worst = float(seconds[int(np.argmax(np.abs(steps - 1)))])
        raise InputError(f"{path} has uneven times after {worst:.3f} s; fill the gap, or drop the time column and give --rate")
    return float(round(rate)) if abs(rate - round(rate)) < 5e-4 * rate else float(rate)
