"""WFDB records of PhysioNet: a text header (.hea) and its signal files (.dat, or .mat as in the CinC challenges). The one door to wfdb.

The header is checked here before wfdb reads the samples: wfdb (4.3.1) drops a non-ASCII micro sign, so that ``1000/µV`` becomes volts,
and answers a cut file with a message that names neither the file nor the numbers. Format: https://physionet.org/physiotools/wag/header-5.htm
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.ecg.formats.reader import Options, assemble, looks_like, one_line
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_RECORD = re.compile(
    r"^(?P<name>[^\s/]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)(?:\s+(?P<rate>[\d.]+)\S*(?:\s+(?P<samples>\d+))?)?(?:\s|$)"
)
_SIGNAL = re.compile(
    r"^(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<frame>\d+))?(?::\d+)?(?:\+(?P<offset>\d+))?"
    r"(?:\s+(?P<gain>[-+\d.eE]+)?(?:\(-?\d+\))?(?:/(?P<unit>\S+))?)?(?:\s|$)"
)
# bytes a sample of the formats that keep a fixed number; 310 and 311 pack three samples into four bytes, 212 two into three
_SAMPLE_BYTES = {8: 1.0, 16: 2.0, 24: 3.0, 32: 4.0, 61: 2.0, 80: 1.0, 160: 2.0, 212: 1.5, 310: 4 / 3, 311: 4 / 3}
_DEFAULT_RATE = 250.0  # Hz, where a header names none
_AGE_SEX_DX = re.compile(r"^#\s*<?(age|sex|dx)>?\s*:\s*(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class _Signal:
    file: str
    format: int
    frame: int
    offset: int
    gain: float
    unit: str


@dataclass(frozen=True)
class _Header:
    signals: tuple[_Signal, ...]  # empty for a record of several segments
    samples: int | None
    says_rate: bool
    text: str


class Wfdb:
    """The reader of WFDB records."""

    suffixes = (".hea", ".dat", ".mat")

    def recognises(self, head: bytes, path: Path) -> bool:
        """A header by its first line, a signal file by the header beside it."""
        if path.suffix.lower() == ".hea":
            return _RECORD.match(_first_line(head.decode("utf-8", "replace"))) is not None
        return path.suffix.lower() in self.suffixes and path.with_suffix(".hea").is_file()

    def read(self, path: Path, options: Options) -> Recording:
        """The record, each signal by its own unit; signals that are no voltage are left out with a note.

        Raises:
            InputError: no header, a header that is none, no signal file or a cut one, no samples.
        """
        header_path = path if path.suffix.lower() == ".hea" else path.with_suffix(".hea")
        if not header_path.is_file():
            raise InputError(f"{path} is the signal file of a WFDB record; put its header {header_path.name} beside it")
        header = _parse(header_path)
        _check_files(header_path, header)
        record = _load(header_path)
        if record.p_signal is None or not record.sig_len:
            raise InputError(f"{header_path} describes no samples")
        notes = [] if header.says_rate else [f"the header names no sampling rate: {_DEFAULT_RATE:g} Hz by WFDB's default"]
        if any(signal.gain == 0 for signal in header.signals):
            notes.append("the header names no gain for some leads: 200 steps per mV by WFDB's default")
        return assemble(
            header_path,
            record.p_signal.T,
            options,
            rate=float(record.fs),
            units=[signal.unit for signal in header.signals] or list(record.units),
            leads=record.sig_name,
            start=record.base_datetime,
            metadata=_metadata(header.text),
            notes=notes,
        )


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")


def _parse(path: Path) -> _Header:
    """The parts of a header that are checked before the samples are read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    record = _RECORD.match(lines[0]) if lines else None
    if record is None:
        raise InputError(f"{path} is no WFDB header: it is {looks_like(raw[:1024])}, and its first line is not like 'name 12 500 5000'")
    count = int(record["signals"])
    if count == 0:
        raise InputError(f"{path} describes no signals")
    if record["samples"] is not None and int(record["samples"]) == 0:
        raise InputError(f"{path} describes a record of 0 samples")
    signals = []
    for number, line in enumerate([] if record["segments"] else lines[1 : 1 + count], start=1):
        match = _SIGNAL.match(line)
        if match is None:
            raise InputError(f"{path} is no sound WFDB header: its line for signal {number} is not like 'name.dat 16 1000/mV ... I'")
        signals.append(_signal(match))
    if not record["segments"] and len(signals) != count:
        raise InputError(f"{path} is no sound WFDB header: it promises {count} signals and describes {len(signals)}")
    return _Header(tuple(signals), int(record["samples"]) if record["samples"] else None, record["rate"] is not None, text)


def _signal(match: re.Match[str]) -> _Signal:
    try:
        gain = float(match["gain"] or 0)
    except ValueError:
        gain = math.nan
    return _Signal(match["file"], int(match["format"]), int(match["frame"] or 1), int(match["offset"] or 0), gain, match["unit"] or "mV")


def _check_files(path: Path, header: _Header) -> None:
    """Raise where a signal file is absent or shorter than the header promises."""
    by_file: dict[str, list[_Signal]] = defaultdict(list)
    for signal in header.signals:
        by_file[signal.file].append(signal)
        if not math.isfinite(signal.gain):
            raise InputError(f"{path} is no sound WFDB header: a gain is not a number")
    for name, signals in by_file.items():
        file = path.parent / name
        if not file.is_file():
            raise InputError(f"{path} names the signal file {name}, which is not beside it; put it into {path.parent}")
        size = file.stat().st_size - signals[0].offset
        if size <= 0:
            raise InputError(f"{file} holds no samples")
        per_frame = sum(signal.frame for signal in signals) * _SAMPLE_BYTES.get(signals[0].format, 0)
        if header.samples and size < math.floor(header.samples * per_frame):
            held = int(size // per_frame)
            raise InputError(f"{file} is cut short: it holds {held} of the {header.samples} samples a lead that {path.name} promises")


def _load(path: Path) -> Any:
    """wfdb's record in physical units, its errors as InputError."""
    import wfdb  # half a second to import

    try:
        return wfdb.rdrecord(str(path.with_suffix("")))
    except Exception as error:  # wfdb raises whatever the bytes provoke: IndexError, KeyError, HeaderSyntaxError, ...
        raise InputError(f"{path} can't be read as a WFDB record: {one_line(error)}") from error


def _metadata(text: str) -> dict[str, Any]:
    """Age in years, sex and SNOMED CT codes from the comments of a header; nothing else of them, for they may name the patient."""
    found: dict[str, Any] = {}
    for key, value in _AGE_SEX_DX.findall(text):
        value = value.strip()
        if key.lower() != "dx":
            found |= person({key.lower(): value})
        elif codes := re.findall(r"\b\d{6,18}\b", value):
            found["snomed"] = tuple(codes)
    return found


def read_annotations(path: Path, extension: str) -> tuple[list[int], list[str]]:
    """(samples, symbols) of a WFDB annotation file, such as the marks of one lead of LUDB.

    Args:
        path: of the record, without suffix; `extension`: of the annotation file, without the dot.

    Raises:
        InputError: no such file, or no annotations in it.
    """
    import wfdb

    file = path.with_name(f"{path.name}.{extension}")
    try:
        found = wfdb.rdann(str(path), extension)
    except FileNotFoundError:
        raise InputError(f"there is no annotation file {file}") from None
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{file} could not be read as WFDB annotations ({error})") from error
    if not len(found.sample):
        raise InputError(f"{file} holds no annotations")
    return found.sample.tolist(), list(found.symbol)
