"""The process in which Parquet is read (``python -m llava_ecg.ecg.formats.parquet_worker``), the one door to pyarrow.

pyarrow ends the whole process on some damaged files, so it gets one of its own (`llava_ecg.ecg.formats.parquet`). A
request is a line of JSON on standard input, an answer a line of JSON on standard output and behind it, where the line
has a ``shape``, so many float64 numbers as bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

SAID = ("rate", "fs", "sampling_rate", "unit", "leads")
"""Names of columns, or of what stands in the file's key-value metadata, that say something about the values."""

_IDS = ("id", "ecg_id", "exam_id", "record", "record_id", "study_id", "filename")
_SHOWN = 3
_BATCH = 1 << 13  # rows


class Refused(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its path."""


def answer(
    path: str, record: str | None, largest: int, rows: tuple[int, int] | None = None, *, ids: bool = False
) -> tuple[dict[str, Any], np.ndarray]:
    """What a file holds: its columns, or one of its rows.

    Args:
        record: id or number of the row, for a file whose rows are recordings.
        largest: so many numbers at most are read at once.
        rows: of a table of columns, the first one to read and that behind the last; all where it is None. How many
            there are is told with them.
        ids: tell the rows that are recordings (``ids``, none of a table of columns) and read none.

    Returns:
        what to say of the numbers, and these: float64 [rows, columns], or [leads, samples] of a row.

    Raises:
        Refused: it can't be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            listed = [field.name for field in schema if _is_list(field.type) and field.name not in SAID]
            held = {key.decode("utf-8", "replace"): value for key, value in (schema.metadata or {}).items()}
            said = {key: _plain(held[key]) for key in SAID if key in held}
            if ids:
                return {"ids": _ids(file, largest) if listed else [], "said": said}, np.empty(0)
            if listed:
                told, values = _row(file, listed, record, largest)
                return told | {"said": said}, values
            if record is not None:
                raise Refused(f"is one recording, so #{record} behind it means nothing; leave it away")
            if rows is None:
                _check_size(file, range(file.num_row_groups), largest)
                told, values = _columns(file.read(use_threads=False))
            else:
                told, values = _columns(_some_rows(file, *rows), _some_rows(file, 0, 1))
                told["count"] = file.metadata.num_rows
            return told | {"said": said}, values
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise Refused(f"is no Parquet file that can be read: {reason}") from error


def _row(file: Any, listed: list[str], record: str | None, largest: int) -> tuple[dict[str, Any], np.ndarray]:
    """The recording in one row: [leads, samples]."""
    known = _ids(file, largest)
    number = _number(known, record)
    row = _read_row(file, number, largest)
    values = {name: row[name] for name in listed}
    own = {key: row[key] for key in SAID if row.get(key) is not None}
    lists = next(iter(values.values())) if len(listed) == 1 else list(values.values())
    if len(listed) == 1 and not (lists and isinstance(lists[0], list)):
        lists = [lists]
    try:
        array = np.array([[np.nan if each is None else each for each in lead] for lead in lists], np.float64)
    except (TypeError, ValueError) as error:
        raise Refused(f"holds no list of numbers of the same length for each lead in row {known[number]}") from error
    if array.ndim != 2:
        raise Refused(f"holds no list of numbers for each lead in row {known[number]}")
    return {"names": listed, "own": own}, array


def _ids(file: Any, largest: int) -> list[str]:
    """What each row is called by: its id, or its number where there are no ids."""
    names = file.schema_arrow.names
    ids = next((name for name in _IDS if name in names), None)
    count = file.metadata.num_rows
    if count > largest:
        raise Refused(f"promises {count:,} rows, and {largest:,} are the most")
    if ids is None:
        return [str(number) for number in range(count)]
    return [str(each) for each in file.read([ids], use_threads=False).column(0).to_pylist()]


def _number(known: list[str], record: str | None) -> int:
    if record is None:
        if len(known) == 1:
            return 0
        if not known:
            raise Refused("holds no rows")
        shown = ", ".join(known[:_SHOWN])
        raise Refused(f"holds {len(known)} recordings; name one behind it, as in #{known[0]} ({shown}, ...)")
    if record not in known:
        raise Refused(f"has no recording {record}; it has {', '.join(known[:_SHOWN])} and {len(known)} in all")
    return known.index(record)


def _check_size(file: Any, groups: Iterable[int], largest: int) -> None:
    """Some bytes may stand for any number of equal values."""
    count = 0
    for group in groups:
        inside = file.metadata.row_group(group)
        count += sum(inside.column(number).num_values for number in range(inside.num_columns))
    if count > largest:
        raise Refused(
            f"holds {count:,} values to be read at once, and {largest:,} are the most; write it with fewer columns, or "
            "in smaller groups of rows"
        )


def _read_row(file: Any, number: int, largest: int) -> dict[str, Any]:
    """One row, of which no more than its group of rows is read."""
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if number < size:
            _check_size(file, [group], largest)
            part = file.read_row_group(group, use_threads=False).slice(number, 1)
            found: dict[str, Any] = part.to_pylist()[0]
            return found
        number -= size
    raise Refused("holds fewer rows than it says")


def _some_rows(file: Any, first: int, last: int) -> Any:
    """The rows of a table from one to another, of which little more is held."""
    import pyarrow

    found, at = [], 0
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if at + size > first and at < last:
            place = at
            for batch in file.iter_batches(_BATCH, row_groups=[group], use_threads=False):
                begin = max(0, first - place)
                if begin < len(batch):
                    found.append(batch.slice(begin, last - place - begin))
                place += len(batch)
                if place >= last:
                    break
        at += size
    return pyarrow.Table.from_batches(found, file.schema_arrow)


def _columns(table: Any, beginning: Any = None) -> tuple[dict[str, Any], np.ndarray]:
    """Columns of numbers [rows, columns]; what is none comes as text beside it.

    Args:
        beginning: the first row of all, where the table holds later ones: dates are counted from it.
    """
    import pyarrow

    kinds = pyarrow.types
    values, texts = [], {}
    for number, column in enumerate(table.columns):
        if kinds.is_timestamp(column.type) or kinds.is_duration(column.type):
            per = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[column.type.unit]
            counted = column.cast(pyarrow.int64()).to_numpy().astype(np.float64)
            first = (table if beginning is None else beginning).columns[number][:1].cast(pyarrow.int64()).to_numpy()
            values.append((counted - first.astype(np.float64).sum()) * per)
        elif kinds.is_integer(column.type) or kinds.is_floating(column.type):
            values.append(column.to_numpy().astype(np.float64))
        else:
            texts[str(number)] = ["" if each is None else str(each) for each in column.to_pylist()]
            values.append(np.full(len(column), np.nan))
    stacked = np.stack(values, axis=1) if values else np.empty((0, 0))
    return {"header": [str(name) for name in table.column_names], "texts": texts}, stacked


def _is_list(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _plain(value: bytes) -> Any:
    """A number where the bytes are one, else a text."""
    text = value.decode("utf-8", "replace")
    try:
        return float(text)
    except ValueError:
        return text


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one request after the other, until there are no more."""
    for line in iter(requests.readline, b""):
        values = np.empty(0)
        try:
            told, values = answer(**json.loads(line))
            told["shape"] = values.shape
        except Refused as error:
            told = {"refused": str(error)}
        answers.write(json.dumps(told, default=str).encode() + b"\n" + np.ascontiguousarray(values).tobytes())
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
