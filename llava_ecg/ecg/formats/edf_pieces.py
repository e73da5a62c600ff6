"""EDF+ and BDF+ of an interrupted recording (EDF+D, BDF+D): where its data records stand in time.

Each data record begins its annotations with its own time, in seconds from the start that the header tells (Kemp 2003).
Records that follow each other without a gap are one piece; what lies between pieces was not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.reader import most_numbers
from llava_ecg.errors import InputError

_ANNOTATIONS = (b"EDF Annotations", b"BDF Annotations")


@dataclass(frozen=True)
class Piece:
    """Data records without a gap between them."""

    first: int
    """The first of them, counted from the file's first."""
    count: int
    begin: float
    """Seconds from the first of the file."""


def interrupted(edf: Any) -> bool:
    """Whether the header says so. What it calls continuous is taken as that, whatever rounding is in the times."""
    return str(edf.reserved).strip()[:5] in ("EDF+D", "BDF+D")


def pieces(path: Path, edf: Any) -> list[Piece]:
    """The pieces of an interrupted recording, in the order of time.

    Raises:
        InputError: a data record has no time of its own, or one before the end of the record in front of it.
    """
    count, record = int(edf.num_data_records), float(edf.data_record_duration)
    found: list[Piece] = []
    slack = record / max(2.0, 2 * max(float(each.sampling_frequency) * record for each in edf.signals))
    times = _times(path, count)
    for number, time in enumerate(times):
        begin = time - times[0]
        if found and begin < (end := found[-1].begin + found[-1].count * record) - slack:
            raise InputError(
                f"{path} is damaged: data record {number + 1} is of {begin:g} s, before the end of the one in front"
            )
        if found and begin <= end + slack:
            found[-1] = Piece(found[-1].first, found[-1].count + 1, found[-1].begin)
        else:
            found.append(Piece(number, 1, begin))
    return found


def length(found: Sequence[Piece], edf: Any) -> float:
    """Seconds from the beginning of the first piece to the end of the last."""
    return found[-1].begin + found[-1].count * float(edf.data_record_duration)


def placed(
    path: Path, edf: Any, signals: Sequence[Any], found: Sequence[Piece], first: int, last: int
) -> list[np.ndarray]:
    """The samples from one place to another of each signal, NaN where nothing was recorded.

    Args:
        path: of the file.
        edf: the file that edfio has opened.
        signals: of one rate.
        found: what `pieces` gave.
        first: a place, counted in samples from the beginning.
        last: the place behind the last.

    Raises:
        InputError: signals of several rates, or pieces so far apart that the file does not answer for the length.
    """
    if len({float(signal.sampling_frequency) for signal in signals}) > 1:
        raise InputError(f"{path} is interrupted (EDF+D) and its leads have several rates; export it as continuous EDF")
    rate, record = float(signals[0].sampling_frequency), float(edf.data_record_duration)
    if (last - first) * len(signals) > most_numbers(path.stat().st_size):
        raise InputError(
            f"{path} is interrupted (EDF+D) and lasts {(last - first) / rate:.0f} s with what was not recorded; read a "
            "part of it with --start and --seconds"
        )
    rows = [np.full(max(0, last - first), np.nan) for _ in signals]
    for piece in found:
        begin = round(piece.begin * rate)
        size = round(record * rate)
        early = max(0, math.floor((first - begin) / size))
        late = min(piece.count, math.ceil((last - begin) / size))
        if early >= late:
            continue
        place = begin + early * size - first
        for row, signal in zip(rows, signals, strict=True):
            values = signal.get_data_slice((piece.first + early) * record, (piece.first + late) * record)
            skipped = max(0, -place)
            values = values[skipped : skipped + len(row) - max(0, place)]
            row[max(0, place) : max(0, place) + len(values)] = values
    return rows


def _times(path: Path, count: int) -> list[float]:
    """When each data record begins, s, as it says itself."""
    with path.open("rb") as file:
        head = file.read(256)
        signals = int(head[252:256])
        about = file.read(256 * signals)
    labels = [about[16 * place : 16 * place + 16].strip() for place in range(signals)]
    sizes = [int(about[216 * signals + 8 * place :][:8]) for place in range(signals)]
    column = next((place for place, label in enumerate(labels) if label in _ANNOTATIONS), None)
    if column is None:
        raise InputError(f"{path} says that it is interrupted (EDF+D), and not when its data records were recorded")
    width = 2 if head.startswith(b"0") else 3
    before, size = width * sum(sizes[:column]), width * sizes[column]
    stored = np.memmap(path, np.uint8, "r", 256 * (signals + 1), (count, width * sum(sizes)))
    times = []
    for number in range(count):
        told = stored[number, before : before + min(size, 32)].tobytes().partition(b"\x14")[0].partition(b"\x15")[0]
        try:
            times.append(float(told))
        except ValueError:
            raise InputError(f"{path} is damaged: data record {number + 1} does not say when it begins") from None
        if not math.isfinite(times[-1]):
            raise InputError(f"{path} is damaged: data record {number + 1} does not say when it begins")
    return times
