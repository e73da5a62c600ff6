"""An open file as pydicom reads it, of which the long values stay where they are.

pydicom takes a data set from whatever has ``read``, ``seek`` and ``tell``, and keeps each value as it was read until
somebody asks for it. So a long value may be a `Stretch`, which says how long it is and reads what is taken of it.
"""

from __future__ import annotations

import os
from typing import IO

LONG_BYTES = 1 << 20
"""A longer value is left in the file; all that describes a waveform is far shorter."""


class Stretch:
    """Bytes of an open file, of which a slice is read when it is taken.

    Args:
        file: open as long as this is used.
        begin: the first byte.
        end: the byte behind the last.
    """

    def __init__(self, file: IO[bytes], begin: int, end: int) -> None:
        self.file, self.begin, self.end = file, begin, end

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, part: slice) -> bytes:
        first, last, _ = part.indices(len(self))
        self.file.seek(self.begin + first)
        return self.file.read(max(0, last - first))


class Shallow:
    """A stretch of a file as a file of its own, which gives a `Stretch` where many bytes are read at once.

    Args:
        of: the stretch.
        given: takes note of what was given instead of bytes.
    """

    def __init__(self, of: Stretch, given: list[Stretch]) -> None:
        self._of, self._given, self._at = of, given, 0

    def read(self, size: int) -> bytes | Stretch:
        """The next bytes, as many as are there.

        Raises:
            ValueError: all of them are asked for, as of a compressed data set.
        """
        if size < 0:
            raise ValueError("the file is to be read at once")
        first = self._at
        self._at = max(first, min(first + size, len(self._of)))
        if self._at - first <= LONG_BYTES:
            return self._of[first : self._at]
        self._given.append(Stretch(self._of.file, self._of.begin + first, self._of.begin + self._at))
        return self._given[-1]

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, from the beginning or from here; it may lie behind the end, where nothing is read.

        Raises:
            ValueError: before the beginning, or from elsewhere.
        """
        at = place + {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence, -place - 1)
        if at < 0:
            raise ValueError(f"there is no place {place} ({whence}) to go to")
        self._at = at
        return at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at
