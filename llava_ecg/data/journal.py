"""A file of JSON lines that only grows: what is in it is on the disk, whole, whenever the program ends.

One process writes to it at a time. A line that a broken-off write left unfinished is taken away when the file is opened
again; it was never said to be there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llava_ecg.errors import InputError


class Journal:
    """An open file of JSON lines, as a context.

    Args:
        path: of the file; it is made if it is not there, its folder too.
        first: the key that each line begins with, by which an unfinished one is told from what is none of ours.

    Attributes:
        lines: the objects that it held when it was opened.
        torn: how many bytes of an unfinished last line were taken away then.

    Raises:
        InputError: it can't be written, another process has it open, or a line of it is no JSON object.
    """

    def __init__(self, path: Path, first: str) -> None:
        self.path = path
        self._begin = json.dumps({first: ""}).encode()[:-3]
        self.torn = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"can't write {path} ({error.strerror}); choose another place") from error
        try:
            self._lock()
            self.lines = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def add(self, value: Mapping[str, Any]) -> None:
        """Append a line, and return when it is on the disk.

        Raises:
            InputError: it can't be written; then nothing of it is left.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
        line = memoryview(text.encode("utf-8", "backslashreplace"))
        size = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise InputError(
                f"can't write {self.path} ({error.strerror}); what is in it is kept, and the same command goes on there"
            ) from error

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another run is writing to {self.path}; wait for it, or choose another file for this one"
            ) from error

    def _read(self) -> list[dict[str, Any]]:
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = []
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise InputError(f"line {number} of {self.path} is no JSON object; choose another file")
            lines.append(value)
        last = content[whole:]
        if not last.startswith(self._begin[: len(last)]):
            raise InputError(f"{self.path} ends in something that this command did not write; choose another file")
        self.torn = len(last)
        if self.torn:
            os.ftruncate(self._file, whole)
        os.fsync(self._file)
        place = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(place)  # the name too
        finally:
            os.close(place)
        return lines
