"""Bare arrays: .npy, .npz and .csv, whose rate, unit and leads come from the file, a JSON file beside it, or the user.

A sidecar ``record.json`` beside ``record.npy`` is ``{"rate": 500, "unit": "mV", "leads": ["I", "II", ...]}``; ``age``
and ``sex`` are taken too (see `llava_ecg.ecg.person`), and when it began, ``"start": "2025-05-31T22:30:05"``; other
keys are left alone. The order of trust is user, sidecar, file.

Axes: L leads, T samples.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats import columns, device, long_tables, npy, tables
from llava_ecg.ecg.formats.reader import (
    HEAD_BYTES,
    HIGHEST_RATE,
    LOWEST_RATE,
    Options,
    assemble,
    leads_in_words,
    looks_like,
    millivolts_per,
    one_line,
    parse_leads,
    plain_rate,
)
from llava_ecg.ecg.formats.windows import begun, part_of, span_of
from llava_ecg.ecg.leads import STANDARD, canonical
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_MAGIC = b"\x93NUMPY"
_RATE_KEYS = ("rate", "fs", "sampling_rate")
SIGNAL_KEYS = ("signal", "ecg", "data", "arr_0")
# of the lines before a table: "Sample Rate,512 hertz", "# fs = 500", "Unit,\u00b5V", "Lead,Lead I", and in German
# "Messrate,511,422 Hertz", "Einheit,\u00b5V", "Ableitung,Ableitung I"; not "Heart rate: 72"
_RATE_LINE = re.compile(
    r"(?:\bsampl\w{0,40}[ _-]{0,40}(?:rate|freq\w*)|\b(?:mess|abtast)(?:rate|frequenz)|\bfs|"
    r"^[^\w\n]*(?:rate|frequency))\b[^\d\n]{1,12}(\d+(?:[.,]\d+)?)",
    re.IGNORECASE | re.MULTILINE,
)
_UNIT_LINE = re.compile(r"^[^\w\n]*(?:units?|einheit)\W+([^\s,;\"']+)", re.IGNORECASE | re.MULTILINE)
_LEAD_LINE = re.compile(r"^[^\w\n]*(?:leads?|ableitung)\b[ \t]*[,;:=\t]\W*([^\n,;\"']+)", re.IGNORECASE | re.MULTILINE)
# of Apple's export, in its languages
_CLASS_LINE = re.compile(
    r"^[^\w\n]*(?:classification|klassifizierung|clasificaci[o\u00f3]n|classificazione)[ \t]*[,;:\t]([^\n]{1,120})$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Said:
    """What a file or its sidecar says about its values; None where it is silent."""

    rate: float | None = None
    unit: str | float | None = None
    leads: tuple[str, ...] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    start: datetime | None = None

    def over(self, other: Said) -> Said:
        return Said(
            self.rate if self.rate is not None else other.rate,
            self.unit if self.unit is not None else other.unit,
            self.leads or other.leads,
            {**other.metadata, **self.metadata},
            self.start or other.start,
        )


class Numpy:
    """The reader of .npy and .npz; an .npz has ``signal``, and ``rate`` (or ``fs``), ``unit``, ``leads``, ``start``."""

    suffixes = (".npy", ".npz")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """NumPy's mark, or a zip archive whose first member is an array."""
        return head.startswith(_MAGIC) or (head.startswith(b"PK\x03\x04") and b".npy" in head[:256])

    def read(self, path: Path, options: Options) -> Recording:
        """The array, turned to [lead, sample].

        Raises:
            InputError: no array of numbers with two axes, an ambiguous orientation, or rate, unit or leads unknown.
        """
        try:
            with path.open("rb") as file:
                bare = file.read(len(_MAGIC)) == _MAGIC
            taken = _Taken(path, options)
            if bare:
                said = _sidecar(path)
                values = npy.load_npy(path, taken.choice(said))
            else:
                values, said = _unzip(path, taken)
        except InputError:
            raise
        except (
            Exception
        ) as error:  # NumPy raises whatever the bytes provoke: ValueError, EOFError, BadZipFile, MemoryError, ...
            with path.open("rb") as file:
                kind = looks_like(file.read(HEAD_BYTES))
            raise InputError(f"{path} is no NumPy file of numbers but {kind}: {one_line(error)}") from error
        recording = from_array(path, values, said, options, taken.of)
        if options.whole:
            return recording
        return part_of(path, recording, options) if taken.of is None else begun(recording, options)

    def seconds(self, path: Path) -> float | None:
        """How long the array of a .npy is whose sidecar tells rate and leads; None of any other, which the user may
        have to tell, and of an .npz, whose parts would each be unpacked from the beginning."""
        try:
            said, shape = _sidecar(path), npy.shape_of(path)
            if said.rate is None or said.leads is None or len(shape) not in (1, 2) or 0 in shape:
                return None
            rows, columns = (1, *shape) if len(shape) == 1 else shape
            count = columns if _leads_first(path, (rows, columns), said.leads) else rows
        except Exception:  # no .npy, or reading says what is wrong
            return None
        rate = plain_rate(said.rate)
        return count / rate if LOWEST_RATE <= rate <= HIGHEST_RATE else None


class _Taken:
    """Which part is taken of an array, if rate and leads are known before it is read."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._options = path, options
        self.of: tuple[int, int] | None = None
        """The shape of the array of which a part was taken; None where all of it was."""

    def choice(self, said: Said) -> npy.Choose | None:
        """What chooses the part of an array of which a file and its sidecar say this."""
        options = self._options
        rate, leads = options.rate or said.rate, options.leads or said.leads
        if options.whole or rate is None or leads is None or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            return None  # what is missing or wrong is said of the whole

        def choose(shape: tuple[int, ...]) -> npy.Part | None:
            if len(shape) not in (1, 2) or 0 in shape:
                return None
            rows, columns = (1, *shape) if len(shape) == 1 else shape
            leads_first = _leads_first(self._path, (rows, columns), leads)
            first, last = span_of(self._path, options, plain_rate(rate), columns if leads_first else rows)
            self.of = rows, columns
            return npy.Part(len(shape) - 1 if leads_first else 0, first, last)

        return choose


class Csv:
    """The reader of tables of numbers as text: columns are leads (with a header row) or either way round (without)."""

    suffixes = (".csv", ".tsv", ".txt")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """Text under one of the suffixes: numbers as text have no mark of their own."""
        return path.suffix.lower() in self.suffixes and looks_like(head) == "text"

    def read(self, path: Path, options: Options) -> Recording:
        """The table; a column of times gives the rate, a unit in brackets after a lead's name, or below it, its unit.

        Raises:
            InputError: not a table of numbers, uneven times, or rate, unit or leads unknown.
        """
        if options.whole:
            return self._whole(path, options)
        part = long_tables.part(path, options, lambda table: from_columns(path, table, options))
        return part_of(path, self._whole(path, options), options) if part is None else begun(part, options)

    def seconds(self, path: Path) -> float | None:
        """None: no more than reading tells how long a table is, and all of it can be held then."""
        return None

    def _whole(self, path: Path, options: Options) -> Recording:
        lines, comments, separator = tables.read_lines(path)
        try:
            return from_columns(path, tables.parse(path, lines, comments, separator), options)
        except InputError:
            below = tables.find(path, lines, comments, separator)  # lines of text above the table are no fault of it
            if below is None:
                raise
            return from_columns(path, below, options)


def from_columns(path: Path, table: tables.Table, options: Options, inside: Said | None = None) -> Recording:
    """A recording from a table; the sidecar is believed before the columns, and these before the lines above them.

    Args:
        inside: what the file says otherwise.

    Raises:
        InputError: uneven times, a lead that is no column of numbers, or rate, unit or leads unknown.
    """
    said, before = _sidecar(path), _said_before(table).over(inside or Said())
    named = len(options.leads or said.leads or ())
    if table.header is None:
        for column in range(table.values.shape[1]):
            columns.check_cells(path, table, column)
        values = table.values
        if table.rows > values.shape[1] == named + 1 > 1 and columns.rises_evenly(table, 0):
            values = values[:, 1:]  # a counter or a clock before the leads
        return from_array(path, values, said.over(before), options, (table.rows, values.shape[1]))
    found = columns.sort(path, table, options, named or None)
    values = table.values[:, found.positions]
    told = said.over(Said(rate=found.rate, start=columns.start_of(table))).over(before)
    if not any(found.names) or all(name.isdigit() for name in found.names):  # pandas' numbered columns name no leads
        return from_array(path, values, told, options, (table.rows, values.shape[1]))
    units = [said.unit if said.unit is not None else unit or before.unit for unit in found.units]
    told = replace(told, unit=None, leads=said.leads or tuple(found.names))
    return _assemble(path, values.T, told, options, units, found.notes)


def _said_before(table: tables.Table) -> Said:
    """The rate, the unit, what the device stated and, for a single column, the lead that the lines before a table
    give."""
    rate, unit, lead = (pattern.search(table.before) for pattern in (_RATE_LINE, _UNIT_LINE, _LEAD_LINE))
    stated = _CLASS_LINE.search(table.before)
    return Said(
        rate=float(rate[1].replace(",", ".")) or None if rate else None,
        unit=unit[1] if unit and millivolts_per(unit[1]) is not None else None,
        leads=(canonical(lead[1]),) if lead and table.values.shape[1] == 1 and canonical(lead[1]) in STANDARD else None,
        metadata=device.metadata({}, [stated[1].strip(' \t",;')] if stated else []),
    )


def from_array(
    path: Path, values: np.ndarray, said: Said, options: Options, of: tuple[int, int] | None = None
) -> Recording:
    """A recording from an array of which either axis may be the leads.

    Args:
        of: the shape of the whole array, where `values` is a part of it.
    """
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path} holds values of type {values.dtype}, not real numbers")
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2:
        raise InputError(f"{path} holds an array of shape {values.shape}; save one recording as [lead, sample]")
    if not values.size:
        raise InputError(f"{path} holds no samples")
    leads = options.leads or said.leads
    values = values if _leads_first(path, of or values.shape, leads) else values.T
    return _assemble(path, values, said, options, [said.unit] * len(values))


def _assemble(
    path: Path,
    values: np.ndarray,
    said: Said,
    options: Options,
    units: Sequence[str | float | None],
    notes: Sequence[str] = (),
) -> Recording:
    return assemble(
        path,
        values,
        options,
        rate=said.rate,
        units=units,
        leads=said.leads,
        start=said.start,
        metadata=said.metadata,
        notes=notes,
        sidecar=True,
    )


def _leads_first(path: Path, shape: tuple[int, ...], leads: Sequence[str] | None) -> bool:
    """Whether an array is [L, T], not [T, L]: by the number of names, or without names by which side is as short as a
    set of leads."""
    rows, columns = shape
    if leads is None:
        return rows <= columns  # only to say what is missing: the caller refuses an unnamed lead
    if rows == columns:
        raise InputError(
            f"{path} is {rows} x {columns}, so its leads can't be told from its samples; name a file with more samples"
        )
    if len(leads) not in (rows, columns):
        raise InputError(
            f"{path} is {rows} x {columns}, which fits no {leads_in_words(len(leads))} ({', '.join(leads)}); "
            "give the names with --leads"
        )
    return len(leads) == rows


def _unzip(path: Path, taken: _Taken) -> tuple[np.ndarray, Said]:
    """The signal of an .npz, or a part of it, and what its other arrays and its sidecar say."""
    with npy.open_npz(path) as archive:
        name = next((key for key in SIGNAL_KEYS if key in archive.names), None)
        if name is None:
            raise InputError(f"{path} holds {', '.join(archive.names) or 'nothing'}, but no array called signal")
        keys = [key for key in (*_RATE_KEYS, "unit", "leads", "start") if key in archive.names]
        inside = said_by(path, {key: archive.load(key).tolist() for key in keys})
        said = _sidecar(path).over(inside)
        return archive.load(name, taken.choice(said)), said


def _sidecar(path: Path) -> Said:
    """What ``same-name.json`` says; silent where there is none."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return Said()
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{beside} beside {path.name} is no JSON: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(
            f'{beside} beside {path.name} is no JSON object such as {{"rate": 500, "unit": "mV", "leads": ["I", "II"]}}'
        )
    return said_by(beside, values)


def said_by(where: Path, values: Mapping[str, Any]) -> Said:
    """Checked values; a key with a value that can't be meant is an InputError that names the file and the key."""
    rate = next((values[key] for key in _RATE_KEYS if values.get(key) is not None), None)
    unit, leads = values.get("unit"), values.get("leads")
    if rate is not None and not (
        isinstance(rate, int | float) and not isinstance(rate, bool) and math.isfinite(rate) and rate > 0
    ):
        raise InputError(f"{where} gives the rate {rate!r}, which is no number of samples a second")
    if unit is not None and (not isinstance(unit, str | int | float) or millivolts_per(unit) is None):
        raise InputError(
            f"{where} gives the unit {unit!r}; known are mV, uV, V, nV and a number of millivolts per value"
        )
    if leads is not None and not (
        isinstance(leads, str) or (isinstance(leads, list) and all(isinstance(name, str) for name in leads))
    ):
        raise InputError(f"{where} gives leads that are no list of names: {str(leads)[:60]}")
    metadata = person({key: values.get(key) for key in ("age", "sex")})
    names = parse_leads(leads) if leads else None
    return Said(None if rate is None else float(rate), unit, names, metadata, columns.start(values.get("start")))
