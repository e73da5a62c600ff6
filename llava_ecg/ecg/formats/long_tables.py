"""A part of a long table as text, read some rows at a time: memory goes by the part, not by the file.

The file is read three times. First its lines are counted, and those above the table, comments and encoding found; then
every cell is read, for what has to be known of whole columns (rate, counters, faults); then the rows of the part. What
comes out is what the whole gives, once cut. Where that can't be promised, the table is to be read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats import tables
from llava_ecg.ecg.formats.column_facts import Unsure, gathered
from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, looks_like
from llava_ecg.ecg.formats.tables import Layout, Line, Table
from llava_ecg.ecg.formats.windows import span_of
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_SHORT_BYTES = 1 << 20  # so much is read whole: faster, and no more memory than reading by batches
_FEW_LINES = 500  # a table of fewer may have its leads in its lines
_HEAD_LINES = 200  # more than are looked at to find the beginning of a table
_BATCH = 4096
_COMMENTS = 1 << 20  # letters


@dataclass(frozen=True)
class _Text:
    """The lines of a file: how they are read, the first of them, all comments, and how many lines there are."""

    path: Path
    encoding: str
    head: Sequence[Line]
    comments: Sequence[str]
    separator: str | None
    count: int

    def lines(self, first: int, last: int | None = None) -> Iterator[list[Line]]:
        """Batches of the lines from one to another, counted without comments and empty ones."""
        at = 0
        for lines, _, _ in _batches(self.path, self.encoding):
            if last is not None and at >= last:
                return
            if chosen := lines[max(0, first - at) : None if last is None else last - at]:
                yield chosen
            at += len(lines)


def part(path: Path, options: Options, make: Callable[[Table], Recording]) -> Recording | None:
    """The part that is asked for; None where the table has to be read whole.

    Args:
        make: gives the recording of a table, of which no more than some rows need to be held.

    Raises:
        InputError: as `make`, a row of another length, or the table ends before.
    """
    try:
        text = None if path.stat().st_size < _SHORT_BYTES else _scan(path)
        if text is None or text.count < _FEW_LINES:
            return None
        table, layout, begin, rate = _found(text, make)
        first, last = span_of(path, options, rate, table.rows)
        batches = text.lines(begin + first, begin + last)
        values = np.concatenate([tables.numbers(path, lines, layout).values for lines in batches])
        return make(replace(table, values=values))
    except Unsure:
        return None


def _scan(path: Path) -> _Text | None:
    """What the lines of a file are; None where they are no text that is read by lines."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = looks_like(head)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif kind in ("text", "binary data"):
        encodings = ["utf-8-sig", *(["cp1252"] if kind == "text" else [])]
    else:
        return None
    for encoding in encodings:
        try:
            return _scanned(path, encoding)
        except UnicodeError:
            continue
    return None


def _scanned(path: Path, encoding: str) -> _Text:
    first: list[Line] = []
    comments: list[str] = []
    count, separator = 0, None
    for lines, said, named in _batches(path, encoding):
        first += lines[: max(0, _HEAD_LINES - len(first))]
        comments += said
        separator = separator or named
        count += len(lines)
        if sum(map(len, said)) and sum(map(len, comments)) > _COMMENTS:
            raise Unsure
    return _Text(path, encoding, first, comments, separator, count)


def _batches(path: Path, encoding: str) -> Iterator[tuple[list[Line], list[str], str | None]]:
    """Some lines of a file at a time, as `tables.sift` gives them."""
    errors = "replace" if encoding == "cp1252" else "strict"
    number = 1
    with path.open(encoding=encoding, errors=errors, newline=None) as file:
        while raw := list(islice(file, _BATCH)):
            lines: list[Line] = []
            comments: list[str] = []
            separator = tables.sift((line.removesuffix("\n") for line in raw), number, lines, comments)
            number += len(raw)
            yield lines, comments, separator


def _found(text: _Text, make: Callable[[Table], Recording]) -> tuple[Table, Layout, int, float]:
    """The table with some of its rows, how it is laid out, at which line its numbers begin, and its rate, Hz."""
    try:
        return _table(text, 0, text.comments, text.separator, "\n".join(text.comments), make)
    except InputError:  # as where a table is read whole
        below = tables.begin_of(text.head, text.separator)
        if below is None:
            raise
        begin, separator = below
        before = tables.lines_above(text.head[:begin], text.comments)
        return _table(text, begin, [], separator, before, make)


def _table(
    text: _Text,
    begin: int,
    comments: Sequence[str],
    separator: str | None,
    before: str,
    make: Callable[[Table], Recording],
) -> tuple[Table, Layout, int, float]:
    """The same of the table that begins with a certain line."""
    layout = tables.layout_of(text.path, text.head[begin:], comments, separator)
    begin += layout.skip

    def batches() -> Iterator[Table]:
        for lines in text.lines(begin):
            batch = tables.numbers(text.path, lines, layout, before)
            if len(batch.values) != len(lines):
                raise Unsure  # a cell in quotes that goes on in the next line
            yield batch

    table = gathered(text.path, batches())
    assert table is not None, "there are lines behind those that were looked at"
    return table, layout, begin, make(table).rate
