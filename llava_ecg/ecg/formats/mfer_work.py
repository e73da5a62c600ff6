"""How much an MFER file makes the library do, told before the library does it.

A definition can be two bytes long, and the library keeps something of each, or warns. This goes through them in the
same way and counts, in microseconds of a slow machine, as measured with ecgdatakit 2.0. What stops the library, stops
the counting: then the library says what is wrong.
"""

from __future__ import annotations

import re
from pathlib import Path

from llava_ecg.ecg.formats.mfer_definitions import CHANNEL, CHANNELS, END, ORDER, SEQUENCES, WAVEFORM, Order
from llava_ecg.errors import InputError

MOST_CHANNELS = 1024
"""Maps of the body's surface have 256 leads at most."""
_SET = 0x67
_DEEPEST = 8  # sets in sets
_FRAME, _OF_CHANNEL = 30, 8
_COSTS = dict.fromkeys((0x15, 0x41, 0x42), 4) | dict.fromkeys((0x83, 0x85), 10)
"""Events and values, which are kept, and dates, which may be wrong; any other definition costs 1."""
_SET_BYTE = re.compile(rb"[^\0]")  # zeros between definitions mean nothing
_UNKNOWN = 10  # of a definition for a channel that is not there, which is a warning


class _Stopped(Exception):
    """The library says what is wrong here."""


def most_work(size: int) -> int:
    """How much a file of so many bytes may ask for: half a second, and a second for each 16 MB."""
    return (1 << 19) + size // 16


def check(path: Path) -> None:
    """Raise InputError where a file has more definitions, frames or channels than its length vouches for."""
    content = path.read_bytes()
    try:
        _Work(path, content).walk(0, len(content), 0, inside=False)
    except _Stopped:
        return


class _Work:
    """What has been asked for so far."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content
        self._left = most_work(len(content))
        self._order: Order = "big"
        self._channels = 1
        self._lengths: set[bytes] = set()  # numbers of sequences that single channels have

    def walk(self, at: int, end: int, deep: int, *, inside: bool) -> None:
        """The definitions between two places.

        Args:
            inside: whether they are those of one channel.
        """
        while found := _SET_BYTE.search(self._content, at, end):
            tag, channel, at = self._tag(found.start(), end)
            if tag == END:
                return
            length, at = self._length(at, end)
            if length is None:
                stop, behind = self._end_of_set(at, end, deep)
            else:
                stop = behind = at + length
            if stop > end:
                raise _Stopped
            self._take(tag, channel, at, stop, deep, inside)
            at = behind

    def _take(self, tag: int, channel: int, at: int, stop: int, deep: int, inside: bool) -> None:
        if tag == CHANNEL:
            if inside:
                raise _Stopped
            self._count(1 if channel < self._channels else _UNKNOWN)
            if channel < self._channels:
                self.walk(at, stop, self._deeper(deep), inside=True)
            return
        self._count(_COSTS.get(tag, 1))
        value = self._content[at : min(stop, at + 5)]
        if tag == _SET:
            self.walk(at, stop, self._deeper(deep), inside=inside)
        elif tag == WAVEFORM:
            self._count(_FRAME + _OF_CHANNEL * self._channels * (1 + len(self._lengths)))
        elif tag == SEQUENCES and inside:
            self._lengths.add(value)
        elif tag == ORDER:
            self._order = "little" if value[:1] == b"\1" else "big"
        elif tag == CHANNELS and not inside:
            self._channels = int.from_bytes(value, self._order) if value else 1
            if self._channels > MOST_CHANNELS:
                raise InputError(
                    f"{self._path} promises {self._channels:,} channels, where at most {MOST_CHANNELS:,} are read; it "
                    "may be damaged: get it again from where it was recorded"
                )

    def _count(self, work: int) -> None:
        self._left -= work
        if self._left < 0:
            raise InputError(
                f"{self._path} has more definitions and frames than {len(self._content):,} bytes of MFER can need; it "
                "may be damaged: get it again from where it was recorded"
            )

    def _deeper(self, deep: int) -> int:
        if deep == _DEEPEST:
            raise InputError(
                f"{self._path} has definitions in definitions, more than {_DEEPEST} deep; it may be damaged: get it "
                "again from where it was recorded"
            )
        return deep + 1

    def _tag(self, at: int, end: int) -> tuple[int, int, int]:
        """(tag, the channel that it is of, first byte behind both)."""
        tag, channel, at = self._content[at], 0, at + 1
        more = tag == CHANNEL
        while more:
            if at >= end:
                raise _Stopped
            channel, more, at = channel << 7 | self._content[at] & 0x7F, self._content[at] >= 0x80, at + 1
            if channel >= 1 << 32:  # numbers without end; no file has so many channels
                raise _Stopped
        return tag, channel, at

    def _length(self, at: int, end: int) -> tuple[int | None, int]:
        """(length, None for up to an end mark; first byte of the value)."""
        if at >= end:
            raise _Stopped
        first = self._content[at]
        if first <= 0x80:
            return first if first < 0x80 else None, at + 1
        count = first - 0x80
        if count > 4 or at + 1 + count > end:
            raise _Stopped
        return int.from_bytes(self._content[at + 1 : at + 1 + count], "big"), at + 1 + count

    def _end_of_set(self, at: int, end: int, deep: int) -> tuple[int, int]:
        """(end of definitions up to an end mark of two zeros, first byte behind that)."""
        while at + 1 < end:
            self._count(1)
            if self._content[at] == 0:
                if self._content[at + 1] == 0:
                    return at, at + 2
                at += 1
                continue
            _, _, at = self._tag(at, end)
            length, at = self._length(at, end)
            at = self._end_of_set(at, end, self._deeper(deep))[1] if length is None else at + length
        raise _Stopped
