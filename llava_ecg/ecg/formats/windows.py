"""Which samples the part is that a user asks for, and how it is taken of a recording that was read whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from llava_ecg.ecg.formats.reader import Options
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError


def span_of(path: Path, options: Options, rate: float, count: int) -> tuple[int, int]:
    """The first sample of the part that is asked for, and that behind its last.

    Args:
        rate: Hz.
        count: how many samples there are.

    Raises:
        InputError: the recording ends before.
    """
    first = round(options.start * rate)
    last = count if options.seconds is None else min(count, first + round(options.seconds * rate))
    if first >= last:
        raise InputError(f"{path} is {count / rate:.1f} s long, so nothing is there from {options.start:g} s on")
    return first, last


def part_of(path: Path, recording: Recording, options: Options) -> Recording:
    """The part that is asked for of a recording that was read whole.

    Raises:
        InputError: it ends before.
    """
    first, last = span_of(path, options, recording.rate, recording.signal.shape[1])
    signal = recording.signal[:, first:last].copy()  # the rest need not be kept
    return begun(replace(recording, signal=signal), options)


def begun(recording: Recording, options: Options) -> Recording:
    """A part, with the time at which it begins in place of that of the whole."""
    start = recording.start
    return recording if start is None else replace(recording, start=start + timedelta(seconds=options.start))
