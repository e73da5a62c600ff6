"""The signals of a WFDB record of one segment, in their units.

The samples of plain records are read by `llava_ecg.ecg.formats.wfdb_format16`. Those of all others wfdb reads, from a
record made for it in a temporary folder: a header of plain fields, gain 1, beside links to the signal files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats.reader import most_numbers, one_line
from llava_ecg.ecg.formats.wfdb_format16 import is_plain, read_steps
from llava_ecg.ecg.formats.wfdb_header import DEFAULT_GAIN, NO_FILE, Header, Signal
from llava_ecg.errors import InputError

# bytes a sample of the formats that keep a fixed number; 310 and 311 pack three samples into four bytes, 212 two into
# three
_SAMPLE_BYTES = {8: 1.0, 16: 2.0, 24: 3.0, 32: 4.0, 61: 2.0, 80: 1.0, 160: 2.0, 212: 1.5, 310: 4 / 3, 311: 4 / 3}
_GAPS = 1 << 26  # samples that were not recorded take half a gigabyte, and a header of one line promises any


@dataclass(frozen=True)
class Channel:
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


def read_signals(header: Header, span: tuple[int, int] | None = None) -> list[Channel]:
    """The signals of a record of one segment, in their units.

    Args:
        span: the first frame that is asked for and the one behind the last; all where it is None. No more is read.

    Raises:
        InputError: a signal file is absent, empty or cut, or wfdb can't read it.
    """
    files = check_files(header)
    filed = [signal for signal in header.signals if signal.file != NO_FILE]
    frames = length(header, files)
    if frames == 0:
        raise InputError(f"{header.path} describes no samples: its signal files are shorter than one of each signal")
    if span is None or frames is None:
        first, count = 0, frames
    else:
        first, count = span[0], min(span[1], frames) - span[0]
    absent = sum(signal.frame for signal in header.signals if signal.file == NO_FILE) * (count or 0)
    check_gaps(header.path, absent, sum(file.stat().st_size for file in files))
    steps = iter(_samples(header.path, filed, files, frames, first, count) if filed else [])
    channels = []
    for signal in header.signals:
        if signal.file == NO_FILE:
            values = np.full((count or 0) * signal.frame, np.nan)
        else:
            values = next(steps)
            if signal.baseline:
                values -= signal.baseline
            values /= signal.gain or DEFAULT_GAIN
        channels.append(Channel(signal.name, signal.unit, signal.frame, values))
    if not any(len(channel.values) for channel in channels):
        raise InputError(f"{header.path} describes no samples")
    return channels


def length(header: Header, files: dict[Path, list[Signal]] | None = None) -> int | None:
    """The frames of a record of one segment; None where neither its header nor its files tell."""
    held = frames_held(check_files(header) if files is None else files).values() if header.samples is None else ()
    return header.samples or min((each for each in held if each is not None), default=None)


def check_gaps(path: Path, absent: int, held: int) -> None:
    """Raise where more samples were not recorded than ``held`` bytes of signal make likely."""
    if absent > max(_GAPS, most_numbers(held)):
        raise InputError(
            f"{path} promises {absent:,} samples that were not recorded, too many to read at once; read a part of it "
            "(--start, --seconds)"
        )


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
    for file, held in frames_held(files).items():
        if held is not None and header.samples and held < header.samples:
            raise InputError(
                f"{file} is cut short: it holds {held} of the {header.samples} samples a lead that {path.name} promises"
            )
    return files


def named(path: Path, name: str) -> Path:
    """The place of a file that a header names.

    Raises:
        InputError: it is not in the header's folder or below: a file from elsewhere must not reach what else is here.
    """
    asked = Path(name)
    if asked.is_absolute() or asked.drive or ".." in asked.parts:
        raise InputError(f"{path} names {name}, which is outside its folder; put that file into {path.parent}")
    return path.parent / asked


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Whether there is such a file or folder; a name that no system takes is none."""
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return False


def _beside(path: Path, name: str) -> Path:
    """The signal file that a header names; with capitals and small letters as they are on disk, if only they differ."""
    file = named(path, name)
    if not is_there(file):
        folder = file.parent.glob("*") if file.parent == path.parent or is_there(file.parent, folder=True) else ()
        alike = [other for other in folder if other.name.lower() == file.name.lower()]
        if len(alike) != 1:
            raise InputError(f"{path} names the signal file {name}, which is not beside it; put it into {path.parent}")
        file = alike[0]
    return file


def frames_held(files: dict[Path, list[Signal]]) -> dict[Path, int | None]:
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
    path: Path,
    signals: Sequence[Signal],
    files: dict[Path, list[Signal]],
    frames: int | None,
    first: int,
    count: int | None,
) -> list[np.ndarray]:
    """As `_steps`, without wfdb where the signals are plain ones of format 16."""
    by_file = [signal for held in files.values() for signal in held]
    in_turn = all(one is other for one, other in zip(by_file, signals, strict=True))
    if count is None or not in_turn or not is_plain(files, count):
        return _steps(path, signals, files, frames, first, count)
    try:
        read = [
            read_steps(file, len(held), held[0].offset + 2 * first * len(held), count) for file, held in files.items()
        ]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a WFDB record: {one_line(error)}") from error
    return [row for rows in read for row in rows]


def _steps(
    path: Path,
    signals: Sequence[Signal],
    files: dict[Path, list[Signal]],
    frames: int | None,
    first: int,
    count: int | None,
) -> list[np.ndarray]:
    """float64 [count * frame] of each signal from the first frame on, in steps of the converter, NaN where nothing was
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
            # wfdb (4.3.1) adds up the differences of format 8 from the place where it begins to read
            begin = 0 if any(signal.format == 8 for signal in signals) else first
            last = None if count is None else first + count
            record = wfdb.rdrecord(f"{folder}/r", sampfrom=begin, sampto=last, smooth_frames=False)
        pairs = zip(record.e_p_signal, signals, strict=True)
        return [values[(first - begin) * signal.frame :] for values, signal in pairs]
    except Exception as error:  # wfdb raises whatever the bytes provoke: IndexError, KeyError, HeaderSyntaxError, ...
        raise InputError(f"{path} can't be read as a WFDB record: {one_line(error)}") from error


def _link(link: Path, file: Path) -> None:
    try:
        link.symlink_to(file)
    except OSError:  # a system that lets nobody make links
        shutil.copyfile(file, link)
