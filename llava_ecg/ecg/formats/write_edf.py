"""A recording as EDF, through edfio."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats.reader import one_line
from llava_ecg.ecg.formats.steps import steps_of
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

YEARS = range(1985, 2085)
"""EDF's two digits of a year stand for one of these."""
_EXACT = 1e-12
_NEAR = (
    5e-7  # of the rate, what eight digits may leave off: 43 ms a day, a fortieth of what clocks of recorders are off by
)
_SHORTEST_S, _LONGEST_S = 1e-3, 99_999_999.0
_RECORD_BYTES = 61_440  # more is not recommended (Kemp 1992)
_DIGITS = 8  # of the field that says how long a data record is


def edf_bytes(recording: Recording, path: Path) -> dict[Path, bytes]:
    """EDF of a recording; EDF+ where it began between two seconds.

    Raises:
        InputError: edfio is not installed, a sample is missing, for which EDF has no sign, or length and rate don't go
            into its data records.
    """
    if find_spec("edfio") is None:
        raise InputError(f"{path} is EDF, which needs edfio; get it with: pip install 'llava-ecg[formats]'")
    import edfio

    if not np.isfinite(recording.signal).all():
        raise InputError(
            "the recording has gaps, and EDF has no sign for a missing sample; choose .hea, .dcm, .csv or .npz"
        )
    steps, size = steps_of(recording.signal)
    leads, count = steps.shape
    start = recording.start
    why = f"no data record that {_DIGITS} digits describe holds a whole share of them"
    for samples, seconds in data_records(leads, count, recording.rate):
        signals = [
            edfio.EdfSignal.from_digital(
                row,
                samples / seconds,
                label=name,
                physical_dimension="uV",
                physical_range=(float(-32768 * each), float(32767 * each)),
                digital_range=(-32768, 32767),
            )
            for row, name, each in zip(steps, recording.leads, size, strict=True)
        ]
        try:
            edf = edfio.Edf(
                signals,
                recording=None if start is None else edfio.Recording(startdate=start.date()),
                starttime=None if start is None else start.time(),
                data_record_duration=seconds,
                annotations=() if start is not None and start.microsecond else None,  # they hold the part of a second
            )
        except ValueError as error:  # its own sums are of rounded numbers: another length may do
            why = one_line(error)
            continue
        return {path: edf.to_bytes()}
    raise InputError(
        f"{count} samples at {recording.rate:g} Hz can't be filed as EDF ({why}); choose .hea, .dcm, .csv or .npz"
    )


def data_records(leads: int, count: int, rate: float) -> Iterator[tuple[int, float]]:
    """How many samples a data record may hold of each lead, and how long it is then, s: best first.

    All samples go into whole data records, and the rate that follows is that of the recording: exactly, or but for what
    the digits of the field leave off. Of those, one of the size that is recommended, nearest to the usual second.
    """
    found = []
    for samples in _divisors(count):
        seconds = _as_filed(samples / rate)
        off = abs(samples / seconds / rate - 1) if _SHORTEST_S <= seconds <= _LONGEST_S else math.inf
        if off <= _NEAR:
            large = 2 * leads * samples > _RECORD_BYTES
            found.append((0.0 if off <= _EXACT else off, large, abs(math.log(seconds)), samples, seconds))
    yield from ((samples, seconds) for *_, samples, seconds in sorted(found))


def _divisors(count: int) -> list[int]:
    small = [each for each in range(1, math.isqrt(count) + 1) if count % each == 0]
    return [*small, *(count // each for each in small)]


def _as_filed(seconds: float) -> float:
    """The nearest number of seconds that the field holds; 0 where it is too small for it."""
    before = len(str(int(seconds)))
    return round(seconds, max(0, _DIGITS - before - 1))
