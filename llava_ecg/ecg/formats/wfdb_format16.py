"""The samples of WFDB format 16 (little-endian int16, signal by signal in turn), read without wfdb.

wfdb takes milliseconds for what is one array in a file. Everything but the plain case is left to it: another format,
formats mixed, signals of several samples a frame, skewed ones.

Axes: L signals of a file, T frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats.wfdb_header import Signal

NOTHING = -32768
"""The step that says that nothing was recorded."""


def is_plain(files: Mapping[Path, Sequence[Signal]], frames: int | None) -> bool:
    """Whether all signals of these files can be read here.

    Args:
        files: a file with its signals, in their order.
        frames: of the record; None where that is not known.
    """
    if not frames:
        return False
    return all(
        signal.format == 16 and signal.frame == 1 and signal.skew == 0 and signal.offset == signals[0].offset
        for signals in files.values()
        for signal in signals
    )


def read_steps(file: Path, count: int, offset: int, frames: int) -> np.ndarray:
    """float64 [L, T] in steps of the converter, NaN where nothing was recorded.

    Args:
        file: the signal file.
        count: L.
        offset: bytes before the first sample.
        frames: T; the file has been found long enough.

    Raises:
        OSError: it can't be opened.
        ValueError: it is shorter after all.
    """
    raw = np.fromfile(file, dtype="<i2", count=count * frames, offset=offset)
    steps = raw.reshape(frames, count).T.astype(np.float64, order="C")
    if raw.min(initial=0) == NOTHING:
        steps[steps == NOTHING] = np.nan
    return steps
