"""EDF, EDF+ and BDF (European Data Format, Kemp 1992 and 2003; BioSemi). The one door to edfio."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.edf_pieces import interrupted, length, pieces, placed
from llava_ecg.ecg.formats.reader import Options, assemble, millivolts_per, one_line
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_AROUND_S = 2.0
_EDF, _BDF = b"0       ", b"\xffBIOSEMI"


class Edf:
    """The reader of EDF and BDF files."""

    suffixes = (".edf", ".bdf", ".rec")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The version field, and for EDF a number of signals where it belongs."""
        if head.startswith(_BDF):
            return True
        return head.startswith(_EDF) and len(head) >= 256 and head[252:256].strip().isdigit()

    def read(self, path: Path, options: Options) -> Recording:
        """The signals that are voltages, at the rate of the fastest; of a part no more is read than its data records.

        Raises:
            InputError: edfio is not installed, the file is damaged, or its recording ends before.
        """
        return _with(path, lambda edf: _recording(path, edf, options))

    def seconds(self, path: Path) -> float | None:
        """How long a recording is, by its header."""
        return _with(path, lambda edf: length(pieces(path, edf), edf) if interrupted(edf) else float(edf.duration))


def _with(path: Path, use: Callable[[Any], Any]) -> Any:
    """What is made of a file that edfio has opened: it reads samples when they are asked for."""
    if find_spec("edfio") is None:
        raise InputError(f"{path} is EDF, which needs edfio; get it with: pip install 'llava-ecg[formats]'")
    import edfio

    with path.open("rb") as file:
        bdf = file.read(8) == _BDF
    try:
        return use((edfio.read_bdf if bdf else edfio.read_edf)(path, header_encoding="latin-1"))
    except InputError:
        raise
    except Exception as error:  # edfio raises ValueError, OSError and others for damaged files
        raise InputError(f"{path} can't be read as {'BDF' if bdf else 'EDF'}: {one_line(error)}") from error


def _recording(path: Path, edf: Any, options: Options) -> Recording:
    signals = list(edf.signals)
    if not signals:
        raise InputError(f"{path} holds no signals, only annotations")
    notes: list[str] = []
    named = [str(each.label).strip() for each in signals]
    kept = list(range(len(signals)))
    if options.unit is None and options.leads is None:
        kept = [row for row in kept if millivolts_per(_unit(signals[row]) or "") is not None] or kept
        notes += [
            f"{named[row]} is left out: {_unit(signals[row]) or 'no unit'} is no unit of voltage"
            for row in sorted({*range(len(signals))} - {*kept})
        ]
    fastest = max(float(signals[row].sampling_frequency) for row in kept)
    rows = (_placed if interrupted(edf) else _part)(path, edf, kept, fastest, options, notes)
    start = _start(edf)
    return assemble(
        path,
        np.stack(rows),
        options,
        rate=fastest,
        units=[_unit(signals[row]) for row in kept],
        leads=[named[row] or None for row in kept],
        start=None if start is None else start + timedelta(seconds=options.start),
        metadata=_metadata(edf),
        notes=notes,
    )


def _part(
    path: Path, edf: Any, kept: Sequence[int], fastest: float, options: Options, notes: list[str]
) -> list[np.ndarray]:
    """The part that is asked for, of each signal that is kept, at the rate of the fastest."""
    every = edf.signals  # which edfio makes anew each time
    signals = [every[row] for row in kept]
    span = _span(path, edf, signals, options)
    rows = [_at(signal, fastest, str(signal.label).strip(), notes, span) for signal in signals]
    rate = options.rate or fastest
    first = round(options.start * rate) - (0 if span is None else round(span[0] * fastest))
    last = min(map(len, rows))
    if options.seconds is not None:
        last = min(last, first + round(options.seconds * rate))
    if first >= last and not options.whole:
        raise _beyond(path, edf.duration * fastest / rate, options)
    return [row[first:last] for row in rows]


def _placed(
    path: Path, edf: Any, kept: Sequence[int], fastest: float, options: Options, notes: list[str]
) -> list[np.ndarray]:
    """The same of an interrupted recording: NaN where nothing was recorded."""
    found = pieces(path, edf)
    rate, seconds = options.rate or fastest, length(found, edf)
    first, last = round(options.start * rate), round(seconds * fastest)
    if options.seconds is not None:
        last = min(last, first + round(options.seconds * rate))
    if first >= last:
        raise _beyond(path, seconds * fastest / rate, options)
    if len(found) > 1:
        missing = seconds - sum(piece.count for piece in found) * float(edf.data_record_duration)
        notes.append(
            f"the recording was interrupted: {len(found)} pieces, {missing:g} s between them were not recorded"
        )
    every = edf.signals  # which edfio makes anew each time
    return placed(path, edf, [every[row] for row in kept], found, first, last)


def _unit(signal: Any) -> str | None:
    return str(signal.physical_dimension).strip() or None


def _span(path: Path, edf: Any, signals: Sequence[Any], options: Options) -> tuple[float, float] | None:
    """Where to begin and to end, s: whole data records around the part, and more of them where a lead is resampled;
    None for all of the recording."""
    if options.whole or options.rate is not None:
        return None
    if options.start >= edf.duration:
        raise _beyond(path, edf.duration, options)
    around = _AROUND_S if len({float(signal.sampling_frequency) for signal in signals}) > 1 else 0.0
    record, count = float(edf.data_record_duration), int(edf.num_data_records)
    end = math.inf if options.seconds is None else options.start + options.seconds + around
    behind = count if end >= edf.duration else min(count, math.ceil(end / record))
    return max(0, math.floor((options.start - around) / record)) * record, behind * record


def _beyond(path: Path, seconds: float, options: Options) -> InputError:
    return InputError(f"{path} is {seconds:.1f} s long, so nothing is there from {options.start:g} s on")


def _at(signal: Any, rate: float, name: str, notes: list[str], span: tuple[float, float] | None) -> np.ndarray:
    """The samples between two times, s, at the rate of the fastest signal."""
    values = np.asarray(signal.data if span is None else signal.get_data_slice(*span), dtype=np.float64)
    own = float(signal.sampling_frequency)
    if own == rate:
        return values
    from llava_ecg.ecg.filters import resample

    notes.append(f"{name} is resampled from {own:g} to {rate:g} Hz")
    return np.asarray(resample(values[None].astype(np.float32), own, rate)[0], dtype=np.float64)


def _start(edf: Any) -> Any:
    try:
        return edf.startdatetime
    except Exception:  # a date that was made anonymous, or none
        return None


def _metadata(edf: Any) -> dict[str, Any]:
    """Sex, and age from the date of birth; nothing that names a person."""
    told: dict[str, Any] = {}
    try:
        told["sex"] = edf.patient.sex
        born, start = edf.patient.birthdate, _start(edf)
        if born is not None and start is not None:
            told["age"] = start.year - born.year - ((start.month, start.day) < (born.month, born.day))
    except Exception:  # plain EDF has free text there
        pass
    return {key: value for key, value in told.items() if value not in (None, "")}
