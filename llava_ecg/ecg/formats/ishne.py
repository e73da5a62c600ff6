"""ISHNE Holter recordings (Badilini 1998), of which a part is read without the rest.

Behind a header the file holds frames, a sample of 16 bits for each lead. So a file with the same header and some of the
frames is the recording's part, which ecgdatakit then parses (`llava_ecg.ecg.formats.vendor`). The standard's value for
a lead that had come off, -32768, is a missing sample.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llava_ecg.ecg.formats.reader import Options
from llava_ecg.ecg.formats.vendor import Vendor, read_as
from llava_ecg.ecg.formats.windows import begun, span_of
from llava_ecg.ecg.recording import Recording

_MAGIC = b"ISHNE1.0"
_HEADER, _LEADS, _RATE = 522, 156, 272  # bytes: its length, and where the number of leads and the rate stand
_FAULT = -32768


class _Layout(NamedTuple):
    """Where the frames begin, byte; leads, Hz, and how many frames there are."""

    begin: int
    leads: int
    rate: int
    frames: int


class Ishne:
    """The reader of ISHNE files."""

    suffixes = (".ecg",)
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The magic number."""
        return head.startswith(_MAGIC)

    def read(self, path: Path, options: Options) -> Recording:
        """The recording, or the part that is asked for, in mV.

        Raises:
            InputError: ecgdatakit is not installed, or the file is damaged or ends before.
        """
        layout = _layout(path)
        if layout is None:  # the library says what is wrong
            return Vendor().read(path, options)
        first, last = span_of(path, options, options.rate or layout.rate, layout.frames)
        size = 2 * layout.leads
        with path.open("rb") as file:
            header = file.read(layout.begin)
            file.seek(layout.begin + first * size)
            frames = file.read((last - first) * size)
        recording = Vendor().read(path, options) if options.whole else read_as(path, header + frames, options)
        return without_faults(begun(recording, options), np.frombuffer(frames, "<i2").reshape(-1, layout.leads))

    def seconds(self, path: Path) -> float | None:
        """How long a recording is, by the length of the file."""
        layout = _layout(path)
        return None if layout is None else layout.frames / layout.rate


def _layout(path: Path) -> _Layout | None:
    """What the header tells; None where it can't be so."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if len(head) < _HEADER:
        return None
    (more,), (leads,) = struct.unpack_from("<i", head, 10), struct.unpack_from("<h", head, _LEADS)
    (rate,) = struct.unpack_from("<h", head, _RATE)
    left = path.stat().st_size - _HEADER - more
    if more < 0 or not 0 < leads <= 12 or rate <= 0 or left < 2 * leads:
        return None
    return _Layout(_HEADER + more, leads, rate, left // (2 * leads))


def without_faults(recording: Recording, frames: np.ndarray) -> Recording:
    """NaN where a lead had come off.

    Args:
        frames: int16 [T, L], L the leads of the file in its order.
    """
    faults = frames.T == _FAULT
    if not faults.any():
        return recording
    if recording.signal.shape != faults.shape:  # a lead was left out, and which row is whose is not known
        faults = np.broadcast_to(faults.any(axis=0), recording.signal.shape)
    notes = (*recording.notes, f"{int(faults.sum())} samples are missing: the file says that a lead had come off")
    return replace(recording, signal=np.where(faults, np.nan, recording.signal), notes=notes)
