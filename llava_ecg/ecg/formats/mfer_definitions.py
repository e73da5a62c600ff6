"""The definitions that an MFER file is a row of (ISO 22077-1): a tag, a length, a value."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from typing import IO, Literal

ORDER, CHANNELS, SEQUENCES, INTERVAL, WAVEFORM, CHANNEL, END = 0x01, 0x05, 0x06, 0x0B, 0x1E, 0x3F, 0x80
Order = Literal["big", "little"]
_FEW, _MANY = 16, 1 << 16  # bytes that are looked through at once: zeros between definitions, and behind the last one


class NotEven(Exception):
    """The file is laid out in a way that is left to the library."""


def definitions(file: IO[bytes], size: int) -> Iterator[tuple[int, int, int, int]]:
    """(first byte, tag, first byte of the value, its length) of one definition after the other.

    Raises:
        NotEven: a definition without a length, or one beyond the end of the file.
    """
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(10)
        if head[0] == 0:
            at = _behind_zeros(file, at)
            continue
        if head[0] == END:
            return
        place = 2 if head[0] == CHANNEL else 1
        if len(head) <= place or (head[0] == CHANNEL and head[1] >= 0x80) or head[place] == 0x80:
            raise NotEven
        long = max(0, head[place] - 0x80)
        length = int.from_bytes(head[place + 1 : place + 1 + long], "big") if long else head[place]
        begin = at + place + 1 + long
        if long > 4 or begin + length > size:
            raise NotEven
        yield at, head[0], begin, length
        at = begin + length


def _behind_zeros(file: IO[bytes], at: int) -> int:
    """The place of the next byte that is no zero; the end of the file where there is none."""
    file.seek(at)
    chunk, length = file.read(_FEW), _FEW
    while chunk and not chunk.strip(b"\0"):
        at, length = at + len(chunk), min(2 * length, _MANY)
        chunk = file.read(length)
    return at + len(chunk) - len(chunk.lstrip(b"\0"))


def rates(content: bytes) -> Iterator[float]:
    """Hz: the sampling rates that are defined for all channels before the first samples."""
    order: Order = "big"
    try:
        for _, tag, begin, length in definitions(BytesIO(content), len(content)):
            if tag == WAVEFORM:
                return
            value = content[begin : begin + length]
            if tag == ORDER and value:
                order = "little" if value[0] else "big"
            if tag == INTERVAL and (rate := rate_of(value, order)):
                yield rate
    except NotEven:
        return


def rate_of(value: bytes, order: Order) -> float | None:
    """Hz, of a sampling interval: 0 for Hz or 1 for seconds, an exponent of ten, and the number of at most 4 bytes."""
    if not 3 <= len(value) <= 6:
        return None
    number = Fraction(int.from_bytes(value[2:], order)) * Fraction(10) ** int.from_bytes(value[1:2], "big", signed=True)
    return float(number if value[0] == 0 else 1 / number) if number > 0 else None
