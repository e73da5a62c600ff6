"""WFDB records of PhysioNet: a text header (.hea) and its signal files (.dat, or .mat as in the CinC challenges). The
one door to wfdb.

`llava_ecg.ecg.formats.wfdb_header` reads the header, `llava_ecg.ecg.formats.wfdb_format16` the samples of plain
records. Those of all others wfdb reads, from a record made for it in a temporary folder: a header of plain fields, gain
1, beside links to the signal files. So a field that it can't parse is no reason to refuse a record, a signal keeps all
the samples of its frames (wfdb averages them, missing ones included), and the segments of a record are put together
here, each in its own unit.

Axes: L leads, T samples. A frame is the samples of all signals in one period of the header's rate.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats import wfdb_header
from llava_ecg.ecg.formats.reader import Options, assemble, millivolts_per, one_line
from llava_ecg.ecg.formats.wfdb_format16 import is_plain, read_steps
from llava_ecg.ecg.formats.wfdb_header import DEFAULT_GAIN, DEFAULT_RATE, NO_FILE, Header, Signal
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

# bytes a sample of the formats that keep a fixed number; 310 and 311 pack three samples into four bytes, 212 two into
# three
_SAMPLE_BYTES = {8: 1.0, 16: 2.0, 24: 3.0, 32: 4.0, 61: 2.0, 80: 1.0, 160: 2.0, 212: 1.5, 310: 4 / 3, 311: 4 / 3}
_LARGEST = 2**30  # samples of a signal: twelve days at 1000 Hz; a header that promises more is damaged
_AGE_SEX_DX = re.compile(r"^#\s*<?(age|sex|dx)>?\s*:\s*(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class _Channel:
    """The samples of one signal.

    Attributes:
        name: as filed; empty where the header gives none.
        unit: of the values.
        frame: samples a frame.
        values: float64 [frames * frame], NaN where nothing was recorded.
    """

    name: str
    unit: str
    frame: int
    values: np.ndarray


class Wfdb:
    """The reader of WFDB records."""

    suffixes = (".hea", ".dat", ".mat")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """A header by its first line, a signal file by the header beside it."""
        if path.suffix.lower() == ".hea":
            return wfdb_header.is_header(head.decode("utf-8", "replace"))
        return path.suffix.lower() in self.suffixes and path.with_suffix(".hea").is_file()

    def read(self, path: Path, options: Options) -> Recording:
        """The record, each signal by its own unit; signals that are no voltage are left out with a note.

        The rate is that of the lead with the most samples a frame; leads with fewer are resampled to it, with a note.

        Raises:
            InputError: no header, a header that is none, no signal or segment file or a cut one, no samples, segments
                that don't fit.
        """
        header_path = path if path.suffix.lower() == ".hea" else path.with_suffix(".hea")
        if not header_path.is_file():
            raise InputError(f"{path} is the signal file of a WFDB record; put its header {header_path.name} beside it")
        header = wfdb_header.parse(header_path)
        frame_rate = DEFAULT_RATE if header.rate is None else header.rate
        part = _part(header, frame_rate, options)
        channels = _read_segments(part, options) if part.segments else read_signals(part)
        values, frame, notes = _same_rate(channels, options)
        if part is header and not options.whole:
            values = _cut(header_path, values, frame_rate * frame, options)
        if header.rate is None:
            notes.insert(0, f"the header names no sampling rate: {DEFAULT_RATE:g} Hz by WFDB's default")
        if any(signal.gain == 0 and signal.file != NO_FILE for signal in header.signals):
            notes.append(f"the header names no gain for some leads: {DEFAULT_GAIN:g} steps per mV by WFDB's default")
        return assemble(
            header_path,
            values,
            options,
            rate=None if math.isnan(frame_rate) else frame_rate * frame,
            units=[channel.unit for channel in channels],
            leads=[channel.name or None for channel in channels],
            start=None if header.start is None else header.start + timedelta(seconds=options.start),
            metadata=_metadata(header.text),
            notes=notes,
        )


def length_s(path: Path) -> float | None:
    """How long a plain record is, by its header; None where that does not say, or only reading would tell."""
    header = wfdb_header.parse(path if path.suffix.lower() == ".hea" else path.with_suffix(".hea"))
    rate = DEFAULT_RATE if header.rate is None else header.rate
    frames = header.samples or sum(samples for _, samples in header.segments)
    return frames / rate if frames and rate > 0 else None


def _part(header: Header, rate: float, options: Options) -> Header:
    """The header of the part that is asked for, of a record whose samples lie in the file as they were taken; else the
    header itself, and all of the record has to be read."""
    if options.whole or header.segments or not rate > 0 or options.rate is not None:
        return header
    files = check_files(header)
    frames = header.samples or min((held for held in _held(files).values() if held is not None), default=0)
    if any(signal.file == NO_FILE for signal in header.signals) or not is_plain(files, frames):
        return header
    first = min(round(options.start * rate), frames)
    count = frames - first if options.seconds is None else min(round(options.seconds * rate), frames - first)
    if count <= 0:
        raise _beyond(header.path, frames / rate, options)
    width = {signal.file: sum(other.file == signal.file for other in header.signals) for signal in header.signals}
    moved = tuple(replace(each, offset=each.offset + 2 * first * width[each.file]) for each in header.signals)
    return replace(header, samples=count, signals=moved)


def _cut(path: Path, values: np.ndarray, rate: float, options: Options) -> np.ndarray:
    """The part of [L, T] that is asked for."""
    first = round(options.start * rate)
    if first >= values.shape[1]:
        raise _beyond(path, values.shape[1] / rate, options)
    return values[:, first:] if options.seconds is None else values[:, first : first + round(options.seconds * rate)]


def _beyond(path: Path, seconds: float, options: Options) -> InputError:
    return InputError(f"{path} is {seconds:.1f} s long, so nothing is there from {options.start:g} s on")


def _same_rate(channels: Sequence[_Channel], options: Options) -> tuple[np.ndarray, int, list[str]]:
    """(float64 [L, T], samples a frame, notes): all signals at the rate of the fastest lead; a signal that will be left
    out is NaN."""
    leads = [channel for channel in channels if _is_lead(channel, options)] or list(channels)
    frame = max(channel.frame for channel in leads)
    frames = max(len(channel.values) // channel.frame for channel in channels)
    values = np.full((len(channels), frames * frame), np.nan)
    slower = []
    for row, channel in enumerate(channels):
        if channel.frame == frame:
            values[row, : len(channel.values)] = channel.values
        elif channel in leads:
            resampled = _with_frame(channel.values, channel.frame, frame)
            values[row, : len(resampled)] = resampled
            slower.append(lead_names.canonical(channel.name) or f"signal {row + 1}")
    verb = "was" if len(slower) == 1 else "were"
    return values, frame, [f"{', '.join(slower)} {verb} recorded at a lower rate and resampled"] if slower else []


def _is_lead(channel: _Channel, options: Options) -> bool:
    if options.leads is None and lead_names.is_other_signal(channel.name):
        return False
    return options.unit is not None or millivolts_per(channel.unit) is not None


def _with_frame(values: np.ndarray, old: int, new: int) -> np.ndarray:
    """The values with ``new`` samples a frame in place of ``old``."""
    from llava_ecg.ecg.filters import resample

    return resample(values, float(old), float(new)).astype(np.float64)


# -- a record of several segments --------------------------------------------------------------------------------------


def _read_segments(header: Header, options: Options) -> list[_Channel]:
    """The signals of a record of several segments over its whole length; NaN where a segment has none of a signal.

    Segments in which every signal has a name of its own are put together by name, else by position. Voltages are
    brought to mV.

    Raises:
        InputError: a segment is absent, cut, of another rate, or gives a lead in a unit that the others can't be put
            together with.
    """
    path = header.path
    frames = sum(samples for _, samples in header.segments)
    parts: dict[str, list[tuple[int, _Channel]]] = defaultdict(list)
    first = 0
    for number, (name, samples) in enumerate(header.segments):
        if samples and name != NO_FILE:
            for key, channel in _keyed(_read_segment(header, name, samples)):
                parts[key].append((first, channel))
        elif (
            number == 0 and not samples and (path.parent / f"{name}.hea").is_file()
        ):  # the layout: names, in their order
            for signal in wfdb_header.parse(path.parent / f"{name}.hea").signals:
                parts[lead_names.canonical(signal.name)] = []
        first += samples
    parts = {key: found for key, found in parts.items() if found}
    if not parts:
        raise InputError(f"{path} describes no samples")
    return [_join(path, found, frames, options) for found in parts.values()]


def _read_segment(master: Header, name: str, samples: int) -> list[_Channel]:
    path = master.path.parent / f"{name}.hea"
    if not path.is_file():
        raise InputError(
            f"{master.path} names the segment {name}, whose header {path.name} is not beside it; put it into "
            f"{path.parent}"
        )
    header = wfdb_header.parse(path)
    if header.segments:
        raise InputError(f"{master.path} names the segment {name}, which has segments itself; WFDB has no such records")
    rate, whole = header.rate or master.rate, master.rate or DEFAULT_RATE
    if rate is not None and not math.isclose(rate, whole, rel_tol=1e-6):
        raise InputError(
            f"{path} is at {rate:g} Hz, and {master.path.name}, whose segment it is, at {whole:g} Hz; they must be "
            "the same"
        )
    channels = read_signals(header)
    held = max(len(channel.values) // channel.frame for channel in channels)
    if held < samples:
        raise InputError(
            f"{path} is cut short: it holds {held} of the {samples} samples a lead that {master.path.name} promises"
        )
    return [replace(channel, values=channel.values[: samples * channel.frame]) for channel in channels]


def _keyed(channels: Sequence[_Channel]) -> Iterable[tuple[str, _Channel]]:
    names = [lead_names.canonical(channel.name) for channel in channels]
    by_name = all(names) and len(set(names)) == len(names)
    return zip(names if by_name else map(str, range(len(channels))), channels, strict=True)


def _join(path: Path, parts: Sequence[tuple[int, _Channel]], frames: int, options: Options) -> _Channel:
    """One signal from its (first frame, samples) in each segment."""
    name, frame = parts[0][1].name, max(channel.frame for _, channel in parts)
    units = list(dict.fromkeys(channel.unit for _, channel in parts))
    scales = [millivolts_per(unit) for unit in units]
    together = len(units) > 1 and options.unit is None and None not in scales
    unit = "mV" if together else ", ".join(units)
    if (
        not together
        and len(units) > 1
        and any(scales)
        and not (options.unit is not None or lead_names.is_other_signal(name))
    ):
        raise InputError(
            f"{path} gives {name} in {' and '.join(units)}, which can't be put together; give --unit for all of it"
        )
    values = _nothing(path, frames * frame)
    for first, channel in parts:
        piece = channel.values if channel.frame == frame else _with_frame(channel.values, channel.frame, frame)
        scale = millivolts_per(channel.unit) if together else None
        values[first * frame : first * frame + len(piece)] = piece if scale is None else piece * scale
    return _Channel(name, unit, frame, values)


# -- a record of one segment -------------------------------------------------------------------------------------------


def read_signals(header: Header) -> list[_Channel]:
    """The signals of a record of one segment, in their units.

    Raises:
        InputError: a signal file is absent, empty or cut, or wfdb can't read it.
    """
    files = check_files(header)
    filed = [signal for signal in header.signals if signal.file != NO_FILE]
    frames = header.samples or min((held for held in _held(files).values() if held is not None), default=None)
    if frames == 0:
        raise InputError(f"{header.path} describes no samples: its signal files are shorter than one of each signal")
    steps = iter(_samples(header.path, filed, files, frames) if filed else [])
    channels = []
    for signal in header.signals:
        if signal.file == NO_FILE:
            values = _nothing(header.path, (frames or 0) * signal.frame)
        else:
            values = next(steps)
            if signal.baseline:
                values -= signal.baseline
            values /= signal.gain or DEFAULT_GAIN
        channels.append(_Channel(signal.name, signal.unit, signal.frame, values))
    if not any(len(channel.values) for channel in channels):
        raise InputError(f"{header.path} describes no samples")
    return channels


def _nothing(path: Path, count: int) -> np.ndarray:
    if count > _LARGEST:
        raise InputError(
            f"{path} promises {count:,} samples of one signal, more than {_LARGEST:,}; its header is damaged"
        )
    return np.full(count, np.nan)


def check_files(header: Header) -> dict[Path, list[Signal]]:
    """The signal files with their signals. Raises where one is absent or shorter than the header promises."""
    path = header.path
    files: dict[Path, list[Signal]] = defaultdict(list)
    beside: dict[str, Path] = {}  # the twelve signals of a record name the same file
    for signal in header.signals:
        if signal.file != NO_FILE:
            if signal.file not in beside:
                beside[signal.file] = _beside(path, signal.file)
            files[beside[signal.file]].append(signal)
    for file, held in _held(files).items():
        if held is not None and header.samples and held < header.samples:
            raise InputError(
                f"{file} is cut short: it holds {held} of the {header.samples} samples a lead that {path.name} promises"
            )
    return files


def _beside(path: Path, name: str) -> Path:
    """The signal file that a header names; with capitals and small letters as they are on disk, if only they differ."""
    file = path.parent / name
    if not file.is_file():
        alike = (
            [other for other in file.parent.glob("*") if other.name.lower() == file.name.lower()]
            if file.parent.is_dir()
            else []
        )
        if len(alike) != 1:
            raise InputError(f"{path} names the signal file {name}, which is not beside it; put it into {path.parent}")
        file = alike[0]
    return file


def _held(files: dict[Path, list[Signal]]) -> dict[Path, int | None]:
    """The frames in each file by its size, None for a format that does not tell. Raises where there is none."""
    found: dict[Path, int | None] = {}
    for file, signals in files.items():
        size = file.stat().st_size - signals[0].offset
        if size <= 0:
            raise InputError(f"{file} holds no samples")
        per_frame = sum(signal.frame for signal in signals) * _SAMPLE_BYTES.get(signals[0].format, 0)
        found[file] = (
            int((size + 0.999) // per_frame) if per_frame else None
        )  # the last packed sample may end within a byte
    return found


def _samples(
    path: Path, signals: Sequence[Signal], files: dict[Path, list[Signal]], frames: int | None
) -> list[np.ndarray]:
    """As `_steps`, without wfdb where the signals are plain ones of format 16."""
    by_file = [signal for held in files.values() for signal in held]
    in_turn = all(one is other for one, other in zip(by_file, signals, strict=True))
    if frames is None or not in_turn or not is_plain(files, frames):
        return _steps(path, signals, files, frames)
    try:
        read = [read_steps(file, len(held), held[0].offset, frames) for file, held in files.items()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a WFDB record: {one_line(error)}") from error
    return [row for rows in read for row in rows]


def _steps(
    path: Path, signals: Sequence[Signal], files: dict[Path, list[Signal]], frames: int | None
) -> list[np.ndarray]:
    """float64 [frames * frame] of each signal in steps of the converter, NaN where the format says that nothing was
    recorded."""
    import wfdb  # half a second to import

    names = {file: f"s{number}.dat" for number, file in enumerate(files)}
    lines = [f"r {len(signals)} 1{'' if frames is None else f' {frames}'}"]
    for number, signal in enumerate(signals):
        form = f"{signal.format}x{signal.frame}:{signal.skew}+{signal.offset}"
        lines.append(f"{names[_beside(path, signal.file)]} {form} 1(0)/mV 0 0 {signal.initial} 0 0 n{number}")
    try:
        with tempfile.TemporaryDirectory(prefix="llava-ecg.") as folder:
            for file, name in names.items():
                _link(Path(folder) / name, file.resolve())
            (Path(folder) / "r.hea").write_text("\n".join(lines) + "\n")
            record = wfdb.rdrecord(f"{folder}/r", smooth_frames=False)
        return list(record.e_p_signal)
    except Exception as error:  # wfdb raises whatever the bytes provoke: IndexError, KeyError, HeaderSyntaxError, ...
        raise InputError(f"{path} can't be read as a WFDB record: {one_line(error)}") from error


def _link(link: Path, file: Path) -> None:
    try:
        link.symlink_to(file)
    except OSError:  # a system that lets nobody make links
        shutil.copyfile(file, link)


def _metadata(text: str) -> dict[str, Any]:
    """Age in years, sex and SNOMED CT codes from the comments of a header; nothing else of them, for they may name the
    patient."""
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
