"""HDF5 files of many exams in one array, as CODE-15 % and CODE-test: ``exams_part0.hdf5#1234``. The one door to h5py.

``tracings`` is [exams, samples, leads] at 400 Hz; zeros before and behind fill a short exam up to 4,096 samples. Which
exam is meant stands behind the file's name: its id, as ``exam_id`` has it, or its number where the file has no ids. Of
a part no more is held at once than the part or some thousand samples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.reader import (
    HIGHEST_RATE,
    LOWEST_RATE,
    Options,
    assemble,
    most_numbers,
    one_line,
    plain_rate,
)
from llava_ecg.ecg.formats.windows import span_of
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_MAGIC = b"\x89HDF\r\n\x1a\n"
_RATE = 400.0
_TRACINGS, _IDS = ("tracings", "signal", "ecg"), ("exam_id", "exam_ids", "id")
_SHOWN = 3
_MOST_EXAMS = 1 << 20  # that are told by their number: an array that was never written may promise any
_BLOCK = 1 << 15  # samples of each lead that are looked at together
_UNIT = (
    "the file does not say its unit and the data set's documentation contradicts itself: millivolts are assumed, so "
    "voltages may be off (--unit)"
)


def exam_ids(path: Path) -> list[str]:
    """What may stand behind ``#`` of a file of exams; a row that only fills the array (id 0, as CODE-15 % has) is none.

    Raises:
        InputError: h5py is not installed, or the file can't be read.
    """

    def told(file: Any) -> np.ndarray | None:
        _check_inside(path, file)
        _check_sizes(path, file)
        return next((np.asarray(file[name]).ravel() for name in _IDS if name in file), None)

    ids = _with(path, told)
    return [] if ids is None else [str(each) for each in ids.tolist() if each != 0]


def _with(path: Path, use: Callable[[Any], Any]) -> Any:
    """What is made of a file that h5py has opened: it reads numbers when they are asked for."""
    if find_spec("h5py") is None:
        raise InputError(f"{path} is HDF5, which needs h5py; get it with: pip install 'llava-ecg[formats]'")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return use(file)
    except InputError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError and others for damaged files
        raise InputError(f"{path} can't be read as HDF5: {one_line(error)}") from error


class _Exam:
    """One exam in a file that is open: [samples, leads], or the other way round."""

    def __init__(self, array: Any, number: int | None) -> None:
        """Of an array of exams the one with this number, or an array that is an exam."""
        self._array, self._number = array, number
        rows, columns = array.shape[-2:]
        self._leads_first = rows <= 32 < columns
        self.leads, self.length = (rows, columns) if self._leads_first else (columns, rows)

    def read(self, first: int, last: int) -> np.ndarray:
        """The samples from one place to another, float64 [L, T]."""
        part = (slice(None), slice(first, last)) if self._leads_first else (slice(first, last), slice(None))
        values = self._array[part if self._number is None else (self._number, *part)]
        return np.asarray(values if self._leads_first else values.T, dtype=np.float64)

    def ends(self) -> tuple[int, int]:
        """Where the first sample is that is no zero in every lead, and the place behind the last; all where none is."""
        for begin in range(0, self.length, _BLOCK):
            there = _recorded(self.read(begin, min(begin + _BLOCK, self.length)))
            if len(there):
                break
        else:
            return 0, self.length
        first = begin + int(there[0])
        for end in range(self.length, 0, -_BLOCK):
            at = max(0, end - _BLOCK)
            there = _recorded(self.read(at, end))
            if len(there):
                break
        return first, at + int(there[-1]) + 1

    def blocks(self, first: int, last: int) -> Iterator[np.ndarray]:
        """The same as `read`, some samples at a time."""
        return (self.read(at, min(at + _BLOCK, last)) for at in range(first, last, _BLOCK))


class Hdf5:
    """The reader of exams in HDF5."""

    suffixes = (".hdf5", ".h5")
    many = parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The magic number."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, options: Options) -> Recording:
        """One exam; the only one, or the one that ``options.record`` names.

        Raises:
            InputError: h5py is not installed, no such exam, or no array of exams.
        """
        return _with(path, lambda file: _recording(path, *self._exam(path, file, options.record), options))

    def seconds(self, path: Path) -> float | None:
        """None: each part asks for a look at the whole exam, which is then better held."""
        return None

    def records(self, path: Path) -> list[str]:
        """What may stand behind ``#``: ids, or numbers where the file has none; nothing of a file of one exam."""

        def count(file: Any) -> int:
            _check_inside(path, file)
            _check_sizes(path, file)
            array = next((file[name] for name in _TRACINGS if name in file), None)
            return array.shape[0] if array is not None and len(array.shape) == 3 else 1

        number = _with(path, count)
        return [] if number == 1 else exam_ids(path) or [str(each) for each in range(min(number, _MOST_EXAMS))]

    def _exam(self, path: Path, file: Any, record: str | None) -> tuple[_Exam, float | None]:
        """An exam and its rate, Hz; None where the file does not say."""
        _check_inside(path, file)
        _check_sizes(path, file)
        array = next((file[name] for name in _TRACINGS if name in file), None)
        if array is None or len(array.shape) not in (2, 3):
            raise InputError(
                f"{path} holds no array {_TRACINGS[0]!r} of exams, samples and leads; it has "
                f"{', '.join(map(str, file)) or 'nothing'}"
            )
        number = None if len(array.shape) == 2 else self._number(path, file, array.shape[0], record)
        rate = array.attrs.get("rate", file.attrs.get("rate"))
        return _Exam(array, number), None if rate is None else float(rate)

    def _number(self, path: Path, file: Any, count: int, record: str | None) -> int:
        ids = next((np.asarray(file[name]).ravel() for name in _IDS if name in file), None)
        known = [str(each) for each in (range(count) if ids is None else ids.tolist())]
        if record is None:
            if count == 1:
                return 0
            shown = ", ".join(known[:_SHOWN])
            raise InputError(
                f"{path} holds {count} exams; name one behind it, as in {path.name}#{known[0]} ({shown}, ...)"
            )
        if record not in known:
            what = "exam number" if ids is None else "exam"
            raise InputError(f"{path} has no {what} {record}; it has {', '.join(known[:_SHOWN])} and {count} in all")
        return known.index(record)


def _check_inside(path: Path, file: Any) -> None:
    """HDF5 can say that an array's numbers lie in any other file: such a file shows its sender what it names.

    Raises:
        InputError: one of the arrays that are read is not in this file.
    """
    for name in (name for name in (*_TRACINGS, *_IDS) if name in file):
        array = file.get(name)
        if array is not None and (array.file.filename != file.filename or array.external or array.is_virtual):
            raise InputError(
                f"the array {name!r} of {path} lies in another file; give one that holds its numbers itself"
            )


def _check_sizes(path: Path, file: Any) -> None:
    """HDF5 stores no number that was never written, and equal ones as a few bytes: a small file may promise any.

    Raises:
        InputError: what would be read at once, an exam, the ids, or a chunk of either, is more than the file can mean.
    """
    most = most_numbers(path.stat().st_size)
    for name in (name for name in (*_TRACINGS, *_IDS) if name in file):
        array = file.get(name)
        shape = getattr(array, "shape", None)
        if shape is None:
            continue
        exam = shape[1:] if name in _TRACINGS and len(shape) == 3 else shape
        count = max(math.prod(exam), math.prod(array.chunks or ()))
        if count > most:
            raise InputError(
                f"{path} promises {count:,} numbers at once in {name!r}, more than a file of its size holds"
            )


def _recording(path: Path, exam: _Exam, rate: float | None, options: Options) -> Recording:
    """The exam, or the part of it that is asked for."""
    known = plain_rate(options.rate or rate or _RATE)
    refused = not (exam.length and LOWEST_RATE <= known <= HIGHEST_RATE)  # below
    if options.whole or refused:
        values = exam.read(0, exam.length)
        there = _recorded(values)
        first, last = (int(there[0]), int(there[-1]) + 1) if len(there) else (0, exam.length)
        values = values[:, first:last]
        blocks = iter([values])
    else:
        first, last = exam.ends()
        begin, end = span_of(path, options, known, last - first)
        values = exam.read(first + begin, first + end)
        blocks = exam.blocks(first, last)
    cut = exam.length - (last - first)
    notes = [f"{cut} samples of zeros at the ends are left out"] if cut else []
    leads: tuple[str, ...] | None = None
    if options.leads is None and exam.leads == len(STANDARD):
        leads, told = _order(blocks)
        notes += told
    unit = None
    if options.unit is None:
        unit = "mV"
        notes.append(_UNIT)
    if rate is None and options.rate is None:
        rate = _RATE
        notes.append(f"the file does not say its rate; {_RATE:g} Hz are assumed, as CODE has (--rate)")
    return assemble(path, values, options, rate=rate, units=[unit] * len(values), leads=leads, notes=notes)


def _recorded(values: np.ndarray) -> np.ndarray:
    """The places of [L, T] where a lead is neither zero nor missing."""
    return np.flatnonzero((np.nan_to_num(values) != 0).any(axis=0))


def _order(blocks: Iterable[np.ndarray]) -> tuple[tuple[str, ...], list[str]]:
    """Lead names; the augmented limb leads in the order in which they follow from I and II, since CODE's documents give
    two.

    Args:
        blocks: all of the exam, [L, T] each.
    """
    names = ("aVR", "aVL", "aVF")
    sums = dict.fromkeys(itertools.product(range(3), names), 0.0)
    counts = dict.fromkeys(sums, 0)
    for values in blocks:
        first, second = values[0], values[1]
        implied = {"aVR": -(first + second) / 2, "aVL": first - second / 2, "aVF": second - first / 2}
        for row, name in sums:  # a gap in I or II is one in all of them
            distances = np.abs(values[3 + row] - implied[name])
            sums[row, name] += float(np.nansum(distances))
            counts[row, name] += int((~np.isnan(distances)).sum())
    apart = {pair: total / counts[pair] if counts[pair] else math.nan for pair, total in sums.items()}

    def misfit(order: tuple[str, ...]) -> float:
        return sum(apart[row, name] for row, name in enumerate(order))

    best = min(itertools.permutations(names), key=misfit)
    if best == names or misfit(best) > 0.5 * misfit(names):
        return STANDARD, []
    told = f"the limb leads are in the order {', '.join(best)}, by what I and II imply of them"
    return (*STANDARD[:3], *best, *STANDARD[6:]), [told]
