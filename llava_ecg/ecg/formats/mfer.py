"""MFER (ISO 22077-1), of which a part is read without the rest.

A file is a row of definitions: a tag, a length, a value. Those in force when waveform data come up say how these are
laid out: sequences, in each a block of samples for each channel in turn. So a file with the same definitions and one
sequence of the wanted samples is the recording's part, which ecgdatakit then parses
(`llava_ecg.ecg.formats.vendor`). That is done where every channel and every frame of the file is laid out and sampled
in the same way; any other file is read whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Literal

import numpy as np

from llava_ecg.ecg.formats import mfer_work
from llava_ecg.ecg.formats.mfer_definitions import (
    CHANNEL,
    CHANNELS,
    END,
    INTERVAL,
    ORDER,
    SEQUENCES,
    WAVEFORM,
    NotEven,
    definitions,
    rate_of,
)
from llava_ecg.ecg.formats.reader import Options
from llava_ecg.ecg.formats.vendor import Vendor, kind_of, read_as
from llava_ecg.ecg.formats.windows import begun, part_of, span_of
from llava_ecg.ecg.recording import Recording

_BLOCK, _POINTER, _TYPE, _PREAMBLE, _GROUP = 0x04, 0x07, 0x0A, 0x40, 0x67
_TOLD_OF_A_CHANNEL = {0x09, 0x0C, 0x0D, 0x12}
"""What may be defined for one channel: its lead, the size of its steps, their zero, and what stands for no value."""
_BETWEEN = {SEQUENCES, _BLOCK, _POINTER, 0x16, 0x41, 0x42}
"""What may be defined between two frames: the layout anew, comments, events, values."""
_BYTES = {0: 2, 1: 2, 2: 4, 3: 1, 4: 2, 5: 1, 6: 4, 7: 4, 8: 8}
"""Type of the samples -> bytes of one."""
_LONGEST_HEAD = 1 << 20
_AT_ONCE = 1 << 20
"""Bytes of a sequence up to which the sequences that the part lies in are read whole."""


@dataclass(frozen=True)
class _Frame:
    """Waveform data: their first byte, and how many sequences of how many samples a channel."""

    begin: int
    sequences: int
    block: int

    @property
    def samples(self) -> int:
        return self.sequences * self.block


@dataclass
class _Layout:
    """What of a file tells where its samples are.

    Attributes:
        head: the bytes before the first waveform data.
        order: ``"big"`` or ``"little"``.
        values: tag -> the value in force.
        samples: of a channel, in all frames.
    """

    head: bytes = b""
    order: Literal["big", "little"] = "big"
    values: dict[int, bytes] = field(default_factory=dict)
    frames: list[_Frame] = field(default_factory=list)
    samples: int = 0

    def number(self, tag: int, otherwise: int) -> int:
        """A definition as a number; ``otherwise`` where it is not there."""
        value = self.values.get(tag)
        return int.from_bytes(value, self.order) if value else otherwise

    @property
    def channels(self) -> int:
        return self.number(CHANNELS, 1)

    @property
    def width(self) -> int:
        """Bytes of a sample, by the first byte of the definition of its type, whatever else stands there."""
        size = _BYTES.get((self.values.get(_TYPE) or b"\0")[0])
        if size is None:
            raise NotEven
        return size

    @property
    def rate(self) -> float:
        """Hz."""
        rate = rate_of(self.values.get(INTERVAL, b""), self.order)
        if rate is None:
            raise NotEven
        return float(rate)

    def add(self, frame: _Frame) -> None:
        """Another frame behind the last."""
        self.frames.append(frame)
        self.samples += frame.samples


class Mfer:
    """The reader of MFER files."""

    suffixes = (".mwf", ".mfer", ".mfr")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The definition that a file begins with."""
        return kind_of(head) == "mfer"

    def read(self, path: Path, options: Options) -> Recording:
        """The recording, or the part that is asked for, in mV.

        Raises:
            InputError: ecgdatakit is not installed, or the file is damaged or ends before.
        """
        layout = None if options.whole else _layout(path)
        if layout is None:
            recording = Vendor().read(path, options)
            return recording if options.whole else part_of(path, recording, options)
        first, last = span_of(path, options, options.rate or layout.rate, layout.samples)
        with path.open("rb") as file:
            samples = b"".join(_samples(file, layout, first, last))
        content = b"".join(
            (
                layout.head,
                _definition(_BLOCK, (last - first).to_bytes(4, layout.order)),
                _definition(SEQUENCES, (1).to_bytes(2, layout.order)),
                _definition(WAVEFORM, samples),
                bytes((END, 0)),
            )
        )
        return begun(read_as(path, content, options), options)

    def seconds(self, path: Path) -> float | None:
        """How long a recording is, by the definitions; None where it is read whole."""
        layout = _layout(path)
        return None if layout is None else layout.samples / layout.rate


def _definition(tag: int, value: bytes) -> bytes:
    return bytes((tag, 0x84)) + len(value).to_bytes(4, "big") + value


def _layout(path: Path) -> _Layout | None:
    """Where the samples of a file are; None where it has to be read whole, which says what is wrong if something is."""
    state = path.stat()
    return _scanned(path, (state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=1)  # the parts of a long recording are read one after the other, and its frames may be many
def _scanned(path: Path, state: tuple[int, int, int]) -> _Layout | None:
    layout, size = _Layout(), state[1]
    try:
        with path.open("rb") as file:
            for number, (at, tag, begin, length) in enumerate(definitions(file, size)):
                if number > mfer_work.most_work(size):
                    raise NotEven
                _take(layout, file, at, tag, begin, length)
        rate, width = layout.rate, layout.width
    except NotEven:
        return None
    return layout if layout.frames and rate and width else None


def _take(layout: _Layout, file: IO[bytes], at: int, tag: int, begin: int, length: int) -> None:
    """Add a definition to what is known.

    Raises:
        NotEven: it makes channels or frames differ.
    """
    if tag == WAVEFORM:
        if not layout.frames:
            if at > _LONGEST_HEAD:
                raise NotEven
            file.seek(0)
            layout.head = file.read(at)
        layout.add(_frame(layout, begin, length))
        layout.values.pop(_POINTER, None)
        return
    if layout.frames and tag not in _BETWEEN:
        raise NotEven
    if tag in (SEQUENCES, _BLOCK, CHANNELS) and length > 4:
        raise NotEven  # the library refuses such a number
    if tag == _GROUP or length > _LONGEST_HEAD or (tag == ORDER and layout.values.keys() - {_PREAMBLE}):
        raise NotEven
    file.seek(begin)
    value = file.read(length)
    if tag == CHANNEL:
        inner = bytearray(value)
        while inner:
            if len(inner) < 2 or inner[0] not in _TOLD_OF_A_CHANNEL or inner[1] >= 0x80:
                raise NotEven
            del inner[: 2 + inner[1]]
        return
    if tag == ORDER:
        layout.order = "little" if value[:1] == b"\1" else "big"
    layout.values[tag] = value


def _frame(layout: _Layout, begin: int, length: int) -> _Frame:
    """The frame of waveform data under the definitions in force.

    Raises:
        NotEven: its data are more or less than these tell, or it does not begin where the one before it ends.
    """
    block, size = layout.number(_BLOCK, 1), layout.channels * layout.width * layout.number(_BLOCK, 1)
    sequences = layout.number(SEQUENCES, length // size if size else 0)
    if not size or not sequences or sequences * size != length:
        raise NotEven
    if layout.frames and layout.number(_POINTER, layout.samples) != layout.samples:
        raise NotEven
    return _Frame(begin, sequences, block)


def _samples(file: IO[bytes], layout: _Layout, first: int, last: int) -> Iterator[bytes]:
    """The samples from ``first`` to before ``last`` of one channel after the other."""
    pieces = []
    for frame in layout.frames:
        if first < frame.samples and last > 0:
            pieces.append(_cut(file, layout, frame, max(first, 0), min(last, frame.samples)))
        first, last = first - frame.samples, last - frame.samples
    for channel in range(layout.channels):
        yield from (piece[channel].tobytes() for piece in pieces)


def _cut(file: IO[bytes], layout: _Layout, frame: _Frame, first: int, last: int) -> np.ndarray:
    """[C, T]: the samples of a frame, as they are stored."""
    kind, channels, block = np.dtype(f"V{layout.width}"), layout.channels, frame.block
    begin, end = first // block, -(-last // block)
    size = channels * block * layout.width
    if size <= _AT_ONCE:
        file.seek(frame.begin + begin * size)
        read = np.frombuffer(file.read((end - begin) * size), kind).reshape(end - begin, channels, block)
        return read.transpose(1, 0, 2).reshape(channels, -1)[:, first - begin * block : last - begin * block]
    out = np.empty((channels, last - first), kind)
    for sequence in range(begin, end):
        low, high = max(first - sequence * block, 0), min(last - sequence * block, block)
        for channel in range(channels):
            file.seek(frame.begin + sequence * size + (channel * block + low) * layout.width)
            at = sequence * block + low - first
            out[channel, at : at + high - low] = np.frombuffer(file.read((high - low) * layout.width), kind)
    return out
