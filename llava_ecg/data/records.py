"""Files of records -> a sequence of `Conversation` that costs a few bytes a record: the text stays on disk, and a
record is parsed when it is asked for.

A worker process holds 24 bytes of every record (where it lies and in which line), so a million of them are 24 MB,
whatever they say.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, overload

import numpy as np

from llava_ecg.data.conversation import STREAMS, Conversation, parse
from llava_ecg.errors import InputError, refuse_streams

_BLANK = re.compile(r"[ \t\r\n]*")
_BOM = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One record of a file as it was found.

    Attributes:
        start, end: its bytes in the file.
        line: where it begins, from 1.
        record: what JSON makes of it; None where `fault` says why it is none.
        fault: a sentence without the file's name, or None.
    """

    start: int
    end: int
    line: int
    record: Any
    fault: str | None = None


def scan(path: Path) -> Iterator[Entry]:
    """The records of a file, one at a time, those included that are no JSON.

    Args:
        path: JSONL where its name ends so (a record a line, empty lines passed over), otherwise a JSON list, whose
            text is held in memory meanwhile; what follows a mistake in a list can't be told and is left out.

    Raises:
        InputError: the file can't be opened, or is no list.
    """
    refuse_streams(path)
    try:
        with path.open("rb") as file:
            yield from _lines(file) if path.suffix.lower() == ".jsonl" else _elements(path, file.read())
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error


def _lines(file: IO[bytes]) -> Iterator[Entry]:
    start = 0
    for number, line in enumerate(file, 1):
        end = start + len(line)
        first = start + (len(_BOM) if number == 1 and line.startswith(_BOM) else 0)
        if text := line[first - start :].strip():
            yield _entry(first, end, number, text)
        start = end


def _entry(start: int, end: int, line: int, text: bytes) -> Entry:
    """An entry of JSONL."""
    try:
        record, fault = json.loads(text.decode("utf-8")), None
    except (ValueError, RecursionError) as error:
        record, fault = None, f"no JSON: {_where(error)}"
    if fault is None and not isinstance(record, Mapping):
        fault = f"a record is an object in braces, and this is {_kind(record)}"
    return Entry(start, end, line, record, fault)


def _elements(path: Path, content: bytes) -> Iterator[Entry]:
    """The entries of a JSON list."""
    offset = len(_BOM) if content.startswith(_BOM) else 0
    try:
        text = content[offset:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no JSON: {_where(error)}") from error
    narrow = text.isascii()
    decoder, at, line = json.JSONDecoder(), _after_blank(text, 0), 1
    if text[at : at + 1] != "[":
        raise InputError(f"{path} {_no_list(text)}")
    line += text.count("\n", 0, at)
    counted, begin_bytes, at = at, offset + at, at + 1
    first = True
    while True:
        at = _after_blank(text, at)
        if first and text[at : at + 1] == "]":
            at += 1
            break
        line += text.count("\n", counted, at)
        begin_bytes += at - counted if narrow else len(text[counted:at].encode())
        try:
            record, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            yield Entry(begin_bytes, begin_bytes, line, None, f"no JSON: {_where(error)}")
            return
        size = end - at if narrow else len(text[at:end].encode())
        fault = None if isinstance(record, Mapping) else f"a record is an object in braces, and this is {_kind(record)}"
        yield Entry(begin_bytes, begin_bytes + size, line, record, fault)
        counted, first = at, False
        at = _after_blank(text, end)
        sign = text[at : at + 1]
        at += 1
        if sign == "]":
            break
        if sign != ",":
            line += text.count("\n", counted, at)
            yield Entry(begin_bytes, begin_bytes, line, None, "no JSON: a comma or the end of the list is missing here")
            return
    at = _after_blank(text, at)
    if at != len(text):
        line += text.count("\n", counted, at)
        yield Entry(begin_bytes, begin_bytes, line, None, "no JSON: something stands behind the end of the list")


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _no_list(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {_where(error)}"
    return f"is not a list of records but {_kind(found)}; a file with a record a line must be called .jsonl"


def _where(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (line {error.lineno}, column {error.colno} of it)"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} of it is no UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


@dataclass(frozen=True, eq=False)
class Records(Sequence[Conversation]):
    """The conversations of one file.

    Attributes:
        path: of the file.
        spans: int64 [R, 2] first byte of each record, and the one behind its last.
        lines: int64 [R] the line in which it begins, from 1.
        stamp: size in bytes and time of change in ns of the file when it was looked through.
        streams: the fields that name files.
    """

    path: Path
    spans: np.ndarray
    lines: np.ndarray
    stamp: tuple[int, int] = field(repr=False)
    streams: tuple[str, ...] = STREAMS

    @classmethod
    def open(
        cls, path: Path, progress: Callable[[int, int], None] | None = None, streams: tuple[str, ...] = STREAMS
    ) -> Records:
        """Look through a file once and refuse what `llava_ecg.data.conversation.parse` refuses.

        Args:
            path: JSON or JSONL, as for `scan`.
            progress: is told after each record how many bytes of how many have been read.
            streams: the fields that name files.

        Raises:
            InputError: the first mistake in it, with the record's number and line.
        """
        spans, lines = array("q"), array("q")
        stamp = stamp_of(path)
        for number, entry in enumerate(scan(path), 1):
            try:
                if entry.fault is not None:
                    raise InputError(entry.fault)
                parse(entry.record, streams)
            except InputError as error:
                raise InputError(f"{path}, record {number} (line {entry.line}): {error}") from error
            spans.extend((entry.start, entry.end))
            lines.append(entry.line)
            if progress is not None:
                progress(entry.end, stamp[0])
        places = np.array(spans, dtype=np.int64).reshape(-1, 2)
        return cls(path, places, np.array(lines, dtype=np.int64), stamp, streams)

    def keep(self, numbers: Sequence[int]) -> Records:
        """Those of these numbers (from 0), in this order."""
        chosen = np.asarray(numbers, dtype=np.int64)
        return Records(self.path, self.spans[chosen], self.lines[chosen], self.stamp, self.streams)

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, number: int) -> Conversation: ...
    @overload
    def __getitem__(self, number: slice) -> list[Conversation]: ...
    def __getitem__(self, number: int | slice) -> Conversation | list[Conversation]:
        """A record, parsed from the file; `InputError` where that has changed since."""
        if isinstance(number, slice):
            return list(self._read(range(*number.indices(len(self)))))
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        return next(self._read([number % len(self)]))

    def __iter__(self) -> Iterator[Conversation]:
        return self._read(range(len(self)))

    def _read(self, numbers: Sequence[int]) -> Iterator[Conversation]:
        # Opened anew for each request: workers that share an open file would move each other's place in it.
        if stamp_of(self.path) != self.stamp:
            raise InputError(f"{self.path} has changed since it was opened; begin anew, or put the old file back")
        try:
            with self.path.open("rb") as file:
                for number in numbers:
                    start, end = self.spans[number].tolist()
                    file.seek(start)
                    yield parse(json.loads(file.read(end - start).strip()), self.streams)  # as `_lines` does
        except OSError as error:
            raise InputError(f"can't read {self.path}: {error.strerror}") from error


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns of a file; `InputError` where there is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns
