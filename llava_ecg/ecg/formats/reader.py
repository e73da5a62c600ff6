"""What every reader of a file format shares: its contract, the user's options, units, and the making of a `Recording`.

Axes: L leads, T samples.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats.quoting import without_values
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

HEAD_BYTES = 4096
"""How much of a file `Reader.recognises` gets to see."""

# Spans below are the median over leads of the median over seconds of max - min, so drift, spikes and a lost lead or two
# don't move them. The 219 records of CinC 2021 and LUDB lie between 0.37 and 2.96 mV, the worst of CinC 2011 at 1.86
# mV.
LARGEST_SPAN_MV = 20.0
LARGEST_INTEGER_SPAN_MV = 5.0  # millivolts that are all whole numbers would be a 1 mV step: ADC steps or microvolts
SMALLEST_SPAN_MV = 0.02
_NO_SIGNAL_MV = 1e-6
LOWEST_RATE, HIGHEST_RATE = 20.0, 100_000.0  # Hz, of an ECG

_FEW_NUMBERS = 1 << 22  # 12 leads of 12 minutes at 500 Hz: so many need no file to vouch for them
_NUMBERS_A_BYTE = 16  # compressed voltages take a byte or more each, so that even one lead among flat ones has fewer

_MILLIVOLTS = {
    "v": 1e3,
    "mv": 1.0,
    "uv": 1e-3,
    "nv": 1e-6,
    "volt": 1e3,
    "millivolt": 1.0,
    "microvolt": 1e-3,
    "nanovolt": 1e-6,
    **{f"{prefix}volt": each for prefix, each in (("m", 1.0), ("u", 1e-3), ("n", 1e-6))},
    **{f"{prefix}v": each for prefix, each in (("milli", 1.0), ("micro", 1e-3), ("nano", 1e-6))},
}
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x93NUMPY": "a NumPy array",
    b"MATLAB": "a MATLAB file",
    b"<?xml": "XML",
}


@dataclass(frozen=True)
class Options:
    """What the user says about a file, over what the file says itself.

    Attributes:
        rate: samples a second, Hz.
        unit: ``mV``, ``uV``, ``V``, ``nV``, or a float: millivolts per value of the file (0.005).
        leads: canonical lead names in the order of the file.
        record: which of several recordings in the file, as it stands behind its name (``exams.hdf5#1234``).
        start: where to begin, s.
        seconds: how much to read from there; None for the rest.
    """

    rate: float | None = None
    unit: str | float | None = None
    leads: tuple[str, ...] | None = None
    record: str | None = None
    start: float = 0.0
    seconds: float | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the recording is asked for."""
        return self.start == 0 and self.seconds is None

    @classmethod
    def of(
        cls, rate: float | None = None, unit: str | float | None = None, leads: str | Sequence[str] | None = None
    ) -> Options:
        """Options from loose values: ``leads`` also as ``"standard"`` or ``"I, II, V2"``.

        Raises:
            InputError: an impossible rate, an unknown unit.
        """
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise InputError(f"a sampling rate of {rate:g} Hz is impossible; give samples a second, as in --rate 500")
        if unit is not None and millivolts_per(unit) is None:
            raise InputError(
                f"unknown unit {unit!r}; give --unit mV, uV, V or nV, or the millivolts per step as in --unit 0.005"
            )
        return cls(rate, _number(unit) or unit, None if leads is None else parse_leads(leads))


class Reader(Protocol):
    """A file format, registered in `llava_ecg.plugins.readers` as a class without constructor arguments.

    `read` gives all of the recording, of which a part is then taken. A reader that holds little more than the part has
    ``parts = True``, heeds ``options.start`` and ``options.seconds``, and tells by ``seconds(path)`` how long a
    recording is, or None where only reading would tell, or where part after part would take too long. One whose files
    hold several recordings has ``many = True`` and heeds ``options.record``; where ``records(path)`` tells what may
    stand there (nothing for a file of one), a folder of files stands for each of them.

    The reader that recognises a file's content gets it; where none does, the one with its suffix, whose `read` says
    what is wrong.
    """

    suffixes: tuple[str, ...]

    def recognises(self, head: bytes, path: Path) -> bool:
        """Whether the first `HEAD_BYTES` bytes say that the file is of this format."""

    def read(self, path: Path, options: Options) -> Recording:
        """The recording in the file, in mV. Raises InputError, and nothing else, for a file that can't be read."""


def parse_leads(leads: str | Sequence[str]) -> tuple[str, ...]:
    """Canonical names from ``"standard"``, from names separated by commas or blanks, or from a sequence of names."""
    if isinstance(leads, str):
        if leads.strip().lower() == "standard":
            return lead_names.STANDARD
        leads = [name for name in re.split(r"[,;\s]+", leads) if name]
    return tuple(lead_names.canonical(str(name)) for name in leads)


def millivolts_per(unit: str | float) -> float | None:
    """Millivolts in one ``unit`` (a name or a number of millivolts); None where it is no unit of voltage."""
    number = _number(unit)
    if number is None:
        key = str(unit).strip(" ()[]{}.").lower().replace("\u00b5", "u").replace("\u03bc", "u")
        return _MILLIVOLTS.get(key) or _MILLIVOLTS.get(key.removesuffix("s"))
    return number if math.isfinite(number) and number > 0 else None


def _number(unit: str | float | None) -> float | None:
    try:
        return None if unit is None else float(unit)
    except ValueError:
        return None


def can(reader: Reader, what: str) -> bool:
    """Whether a reader says that it does more than it has to: ``parts`` or ``many``, see `Reader`."""
    return bool(vars(type(reader)).get(what, False))


def split_record(path: Path) -> tuple[Path, str | None]:
    """``exams.hdf5#1234`` -> the file and ``1234``; a path that is there, or has no such mark, and None."""
    stem, mark, record = path.name.rpartition("#")
    if not mark or path.exists() or not record or not path.with_name(stem).is_file():
        return path, None
    return path.with_name(stem), record


def most_numbers(size: int) -> int:
    """How many numbers a file of so many bytes is believed to hold: a damaged or hostile one may promise any, and
    compressed zeros are as many as one likes."""
    return max(_FEW_NUMBERS, _NUMBERS_A_BYTE * size)


def looks_like(head: bytes) -> str:
    """What kind of file begins with ``head``, in words for a message."""
    if not head:
        return "empty"
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if head[128:132] == b"DICM":
        return "a DICOM file"
    return "binary data" if b"\0" in head or sum(byte > 126 or byte < 9 for byte in head) > len(head) // 10 else "text"


def one_line(error: BaseException) -> str:
    """A library's message on one line, short enough to stand in a sentence."""
    return without_values(" ".join(str(error).split()))[:160] or type(error).__name__


def assemble(
    path: Path,
    values: np.ndarray,
    options: Options,
    *,
    rate: float | None,
    units: Sequence[str | float | None],
    leads: Sequence[str | None] | None,
    start: datetime | None = None,
    metadata: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    sidecar: bool = False,
) -> Recording:
    """A `Recording` from what the file says and what the user says; the user is believed where both speak.

    Args:
        values: real numbers [L, T] as the file has them, after its own gain, in ``units``; NaN or Inf where nothing was
            recorded.
        rate: Hz; None where the file does not say.
        units: L names of units or millivolts per value; None where the file does not say.
        leads: L names; None where the file does not say.
        sidecar: whether this format reads a JSON file beside it, which the message then offers.

    Raises:
        InputError: no samples, something is missing, or a name, a unit or a count can't be right.
    """
    notes = list(notes)
    if values.shape[0] == 0 or values.shape[1] == 0:
        raise InputError(f"{path} holds no samples")
    if options.rate is not None and rate is not None and abs(options.rate - rate) > 1e-3 * rate:
        notes.append(f"the sampling rate is {options.rate:g} Hz as given, the file says {rate:g} Hz")
    rate = options.rate if options.rate is not None else rate
    rate = None if rate is None else plain_rate(rate)
    names = _names(path, values.shape[0], options, leads)
    if options.leads is not None and leads and all(leads):
        said = tuple(lead_names.canonical(str(name)) for name in leads)
        if said != names:
            notes.append(f"the leads are named as given, the file says {', '.join(said)}")
    if options.unit is not None and any(
        unit is not None and millivolts_per(unit) != millivolts_per(options.unit) for unit in units
    ):
        notes.append(
            f"the unit is {options.unit} as given, the file says {next(unit for unit in units if unit is not None)}"
        )
    if options.unit is not None:
        units = [options.unit] * values.shape[0]
    _complain_of_missing(path, values.shape[0], rate, units, names, sidecar)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:  # type: ignore[operator]  # a missing rate has been refused above; NaN is refused here
        raise InputError(
            f"{path} gives an impossible sampling rate of {rate:g} Hz (a time column in ms must be called "
            "'time (ms)'); give the right one as in --rate 500"
        )
    scales = [millivolts_per(unit) for unit in units]  # type: ignore[arg-type]
    voltages = [row for row, scale in enumerate(scales) if scale is not None]
    others = [] if options.leads is not None else [row for row in voltages if lead_names.is_other_signal(names[row])]
    kept = sorted({*voltages} - {*others})  # by sets: a file may name many thousands of signals
    if voltages and not kept:
        raise InputError(
            f"{path} holds no ECG, only {', '.join(names)}; if they are leads, name them as in --leads II,V5"
        )
    if not kept:
        raise InputError(
            f"{path} is in {units[0]}, which is no unit of voltage; give --unit mV, uV or V, or the millivolts per step"
        )
    notes += [
        f"{names[row]} is left out: {units[row]} is no unit of voltage"
        for row, scale in enumerate(scales)
        if scale is None
    ]
    notes += [f"{names[row]} is left out: it is no ECG lead by its name" for row in others]
    names = tuple(names[row] for row in kept)
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(
            f"{path} names {', '.join(twice)} more than once; name its {values.shape[0]} leads as in --leads I,II,V1"
        )
    signal = values[kept].astype(np.float64) * np.array([scales[row] for row in kept])[:, None]
    signal[~np.isfinite(signal)] = np.nan
    millivolts, told = signal.astype(np.float32), dict(metadata or {})
    return Recording(millivolts, float(rate), names, start=start, metadata=told, notes=tuple(notes))  # type: ignore[arg-type]


def plain_rate(rate: float) -> float:
    """A rate as it is meant: 499.9999999 is 1 / 0.002 in a program's arithmetic."""
    whole = math.isfinite(rate) and math.isclose(rate, round(rate), rel_tol=1e-6)
    return float(round(rate)) if whole else rate


def leads_in_words(count: int) -> str:
    """How many leads: ``1 lead``, ``2 leads``."""
    return f"{count} lead{'s'[: count != 1]}"


def _names(path: Path, count: int, options: Options, leads: Sequence[str | None] | None) -> tuple[str, ...]:
    """L canonical names, empty where neither the user nor the file names the leads."""
    if options.leads is not None:
        if len(options.leads) != count:
            given = f"{len(options.leads)} {'is' if len(options.leads) == 1 else 'are'} named"
            raise InputError(f"{path} holds {leads_in_words(count)}, but {given}: {', '.join(options.leads)}")
        return options.leads
    if leads is None or not all(leads):
        return ()
    if len(leads) != count:
        raise InputError(
            f"{path} holds {leads_in_words(count)}, but names {len(leads)}: {', '.join(map(str, leads))}; give --leads"
        )
    return tuple(lead_names.canonical(str(name)) for name in leads)


def _complain_of_missing(
    path: Path, count: int, rate: float | None, units: Sequence[str | float | None], names: Sequence[str], sidecar: bool
) -> None:
    standard = count == len(lead_names.STANDARD)
    known = {
        "sampling rate": (rate is not None, "--rate 500"),
        "unit": (None not in units, "--unit mV"),
        "leads": (
            bool(names),
            "--leads standard" if standard else f"--leads with {count} name{'s'[: count > 1]} such as II",
        ),
    }
    missing = [word for word, (there, _) in known.items() if not there]
    if not missing:
        return
    words = ", ".join(missing[:-1]) + " and " * (len(missing) > 1) + missing[-1]
    flags = " ".join(flag for there, flag in known.values() if not there)
    if standard and "leads" in missing:
        flags += f" (for {' '.join(lead_names.STANDARD)})"
    example = f'{{"rate": 500, "unit": "mV", "leads": {json.dumps(list(lead_names.STANDARD[:2]))[:-1]}, ...]}}'
    beside = f" or a {path.with_suffix('.json').name} with {example}" if sidecar else ""
    raise InputError(f"{path} does not say its {words}; give {flags}{beside}")


def span_mv(signal: np.ndarray, rate: float) -> float:
    """The typical peak-to-peak voltage of a second: the median over seconds, then over the leads that carry a signal.

    Args:
        signal: [L, T] in mV, NaN where nothing was recorded.
        rate: Hz.

    Returns:
        mV; 0 where no lead carries a signal.
    """
    length = min(signal.shape[1], max(2, round(rate)))
    whole = signal.shape[1] // length * length
    seconds = signal[:, :whole].reshape(signal.shape[0], -1, length)  # [L, seconds, T]
    there = np.isfinite(seconds)
    spans = np.where(there, seconds, -np.inf).max(-1) - np.where(there, seconds, np.inf).min(
        -1
    )  # -inf where a second is all NaN
    counts = (spans > _NO_SIGNAL_MV).sum(axis=1)
    ordered, counts = spans[counts > spans.shape[1] // 4], counts[counts > spans.shape[1] // 4]
    if not len(ordered):
        return 0.0
    ordered = np.sort(
        ordered, axis=1
    )  # those with a signal are the last; twelve calls of np.median take longer than this
    first, rows = ordered.shape[1] - counts, np.arange(len(ordered))
    medians = (ordered[rows, first + (counts - 1) // 2] + ordered[rows, first + counts // 2]) / 2
    return float(np.median(medians))


def check_millivolts(recording: Recording, path: Path, options: Options) -> Recording:
    """The recording, unless its voltages say that it is not in millivolts.

    A unit given as a number is the user's own calibration: it is believed, and an implausible span only noted.

    Raises:
        InputError: the signal looks like microvolts, ADC steps or volts.
    """
    span = span_mv(recording.signal, recording.rate)
    finite = recording.signal[np.isfinite(recording.signal)]
    whole_numbers = span > LARGEST_INTEGER_SPAN_MV and bool((finite == np.round(finite)).all())
    if span == 0 or (SMALLEST_SPAN_MV <= span <= LARGEST_SPAN_MV and not whole_numbers):
        return recording
    if isinstance(options.unit, float):
        return replace(
            recording, notes=(*recording.notes, f"the leads span {span:.3g} mV within a second, which is implausible")
        )
    why = "whole numbers at that" if whole_numbers and span <= LARGEST_SPAN_MV else "an ECG some 0.4 to 3"
    per_value = millivolts_per(options.unit or "mV") or 1.0
    fitting = [name for name in ("V", "mV", "uV", "nV") if 0.1 <= span / per_value * _MILLIVOLTS[name.lower()] <= 10]
    fixes = [f"--unit {name}" for name in fitting if name != (options.unit or "mV")]
    fixes.append(
        "--unit 1 if they are millivolts after all"
        if span < SMALLEST_SPAN_MV
        else "the millivolts per ADC step as in --unit 0.005"
    )
    said = f"its leads span {span:.3g} mV within a second (median), {why}"
    raise InputError(
        f"{path} can't be in {'the unit given' if options.unit else 'millivolts'}: {said}; give {' or '.join(fixes)}"
    )
