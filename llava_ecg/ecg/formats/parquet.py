"""Parquet: a table whose columns are leads, or one whose rows are recordings (``ecgs.parquet#1234``).

Columns of numbers are sorted as those of a text table are: times give the rate, units stand behind names, counters and
other signals are left out. In a table of recordings a row holds a list of samples for each lead, or one list of lists
(``signal``, ``ecg``); rate and unit may stand in columns of their own. What reads the file is a process of its own
(`llava_ecg.ecg.formats.parquet_worker`), which goes on from file to file.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.arrays import Said, from_array, from_columns, said_by
from llava_ecg.ecg.formats.column_facts import Unsure, gathered
from llava_ecg.ecg.formats.reader import Options, most_numbers
from llava_ecg.ecg.formats.tables import Fault, Table
from llava_ecg.ecg.formats.windows import begun, part_of, span_of
from llava_ecg.ecg.leads import STANDARD, canonical
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_MAGIC = b"PAR1"
_LARGEST = 1 << 26  # numbers that are read at once: 0.5 GB of them
_PATIENCE_S = 120.0
_SHORT = 1 << 16  # rows of a table that is read whole
_BATCH = 1 << 15  # rows


class Parquet:
    """The reader of Parquet."""

    suffixes = (".parquet", ".pq")
    many = parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The magic number."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, options: Options) -> Recording:
        """The table, or the row that ``options.record`` names: by its id, or by its number where there are no ids.

        Raises:
            InputError: pyarrow is not installed, no such row, or no column of numbers.
        """
        _check_library(path)
        if not options.whole:
            part = _part(path, options)
            return part_of(path, self._whole(path, options), options) if part is None else part
        return self._whole(path, options)

    def seconds(self, path: Path) -> float | None:
        """None: no more than reading tells how long a table is, and all of it can be held then."""
        return None

    def records(self, path: Path) -> list[str]:
        """What may stand behind ``#``: ids, or numbers where the file has none; nothing of a file of one recording.

        Raises:
            InputError: as `read`.
        """
        _check_library(path)
        ids: list[str] = _WORKER.ask(path, None, ids=True)[0]["ids"]
        return ids if len(ids) > 1 else []

    def _whole(self, path: Path, options: Options) -> Recording:
        told, values = _WORKER.ask(path, options.record)
        inside = said_by(path, told["said"])
        if "header" in told:
            return from_columns(path, _table(told, values), options, inside)
        names = [canonical(name) for name in told["names"]]
        own = said_by(path, told["own"]).over(inside)
        if len(names) == len(values) and all(name in STANDARD for name in names):
            own = own.over(Said(leads=tuple(names)))
        return from_array(path, values, own, options)


def _check_library(path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise InputError(f"{path} is Parquet, which needs pyarrow; get it with: pip install 'llava-ecg[formats]'")


def _part(path: Path, options: Options) -> Recording | None:
    """The part of a table that is asked for, which is read some rows at a time; None where it has to be read whole."""
    first, values = _WORKER.ask(path, options.record, (0, 1))
    count, width = first.get("count", 0), values.shape[-1]
    if options.record is not None or count < _SHORT or count * width > most_numbers(path.stat().st_size):
        return None
    inside = said_by(path, first["said"])

    def rows(begin: int, end: int) -> Iterator[Table]:
        for at in range(begin, end, _BATCH):
            yield _table(*_WORKER.ask(path, None, (at, min(at + _BATCH, end))), at)

    try:
        table = gathered(path, rows(0, count))
        assert table is not None
        rate = from_columns(path, table, options, inside).rate
        begin, end = span_of(path, options, rate, count)
        if (end - begin) * width > _LARGEST:
            return None
        part = np.concatenate([each.values for each in rows(begin, end)])
        return begun(from_columns(path, replace(table, values=part), options, inside), options)
    except Unsure:
        return None


def _table(told: dict[str, Any], values: np.ndarray, before: int = 0) -> Table:
    """As a table of text is: columns of words are faults, with their text.

    Args:
        before: how many rows come before these.
    """
    faults, texts = {}, {}
    for key, cells in told["texts"].items():
        column = int(key)
        values[:, column] = [_number(cell) for cell in cells]
        filled = [(line, cell) for line, cell in enumerate(cells, 1) if cell]
        bad = [(line, cell) for line, cell in filled if np.isnan(values[line - 1, column])]
        if bad:
            faults[column] = Fault(bad[0][1], before + bad[0][0], len(bad), len(filled))
            texts[column] = cells
    return Table(told["header"], [None] * len(told["header"]), values, faults, texts)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


class _Worker:
    """The process that reads, begun when it is first needed and anew when it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""  # what came behind the line
        self._of = 0  # the process that began it: a fork has to begin its own

    def ask(
        self, path: Path, record: str | None, rows: tuple[int, int] | None = None, *, ids: bool = False
    ) -> tuple[dict[str, Any], np.ndarray]:
        """See `llava_ecg.ecg.formats.parquet_worker.answer`.

        Raises:
            InputError: the file can't be read, or ended or stopped the process.
        """
        largest = min(_LARGEST, most_numbers(path.stat().st_size))
        request = {"path": str(path), "record": record, "largest": largest, "rows": rows, "ids": ids}
        with self._lock:
            try:
                process = self._started()
                assert process.stdin is not None
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                until = time.monotonic() + _PATIENCE_S
                told = json.loads(self._line(process, until))
                if "refused" in told:
                    raise InputError(f"{path} {told['refused']}")
                shape = tuple(map(int, told["shape"]))
                content = self._bytes(process, 8 * int(np.prod(shape)), until)
            except (OSError, ValueError, EOFError) as error:
                if isinstance(error, InputError):
                    raise
                self._end()
                why = "takes too long" if isinstance(error, TimeoutError) else "ends pyarrow"
                raise InputError(f"{path} {why}, which happens with damaged files; write it anew") from error
            except BaseException:  # interrupted: what it still says must not be taken for the next file's numbers
                self._end()
                raise
        return told, np.frombuffer(content, np.float64).reshape(shape).copy()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._of != os.getpid() or self._process.poll() is not None:
            words = [sys.executable, "-m", "llava_ecg.ecg.formats.parquet_worker"]
            home = str(Path(__file__).resolve().parents[3])
            place = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}
            self._process = subprocess.Popen(
                words, bufsize=0, env=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            self._of = os.getpid()
        return self._process

    def _end(self) -> None:
        if self._process is not None and self._of == os.getpid():
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._process = None

    def _line(self, process: subprocess.Popen[bytes], until: float) -> bytes:
        found = bytearray()
        while b"\n" not in found:
            found += self._some(process, 1 << 16, until)
        line, _, self._rest = bytes(found).partition(b"\n")
        return line

    def _bytes(self, process: subprocess.Popen[bytes], count: int, until: float) -> bytes:
        found = bytearray(self._rest)
        while len(found) < count:
            found += self._some(process, min(count - len(found), 1 << 20), until)
        return bytes(found)

    @staticmethod
    def _some(process: subprocess.Popen[bytes], count: int, until: float) -> bytes:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        found: bytes = process.stdout.read(count)
        if not found:
            raise EOFError("it ended")
        return found


_WORKER = _Worker()
