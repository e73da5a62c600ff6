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
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats import wfdb_header
from llava_ecg.ecg.formats.reader import Options, assemble, millivolts_per
from llava_ecg.ecg.formats.wfdb_header import DEFAULT_GAIN, DEFAULT_RATE, NO_FILE, Header
from llava_ecg.ecg.formats.wfdb_signals import Channel, check_gaps, is_there, length, named, read_signals
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_AROUND_S = 2.0
_IMPOSSIBLE = 1e9  # Hz
_REPEATED = 1 << 14  # signals of segments that are named again; no device does so, and a short file may for ever
_AGE_SEX_DX = re.compile(r"^#\s*<?(age|sex|dx)>?\s*:\s*(.*)$", re.IGNORECASE | re.MULTILINE)


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
        span = _span(header, frame_rate, options)
        channels = _read_segments(header, options, span) if header.segments else read_signals(header, span)
        values, frame, notes = _same_rate(channels, options)
        rate = options.rate or frame_rate * frame
        if not options.whole and 0 < rate < _IMPOSSIBLE:  # of another the end says what is wrong
            values = _cut(header_path, values, rate, 0 if span is None else span[0] * frame, options)
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

    def seconds(self, path: Path) -> float | None:
        """How long a record is, by its header; None where that does not say."""
        header = wfdb_header.parse(path if path.suffix.lower() == ".hea" else path.with_suffix(".hea"))
        rate = DEFAULT_RATE if header.rate is None else header.rate
        frames = header.samples or sum(samples for _, samples in header.segments)
        return frames / rate if frames and rate > 0 else None


def _span(header: Header, rate: float, options: Options) -> tuple[int, int] | None:
    """(first frame, frame behind the last) that hold the part that is asked for; None where all of the record has to be
    read, since neither header nor files tell its length, or the user's rate is another.

    A slower lead is resampled, and needs some of what is around the part.
    """
    if options.whole or not 0 < rate < _IMPOSSIBLE or options.rate is not None:
        return None
    frames = sum(samples for _, samples in header.segments) if header.segments else length(header)
    if frames is None:
        return None
    around = _AROUND_S * rate if header.segments or len({signal.frame for signal in header.signals}) > 1 else 0.0
    end = math.inf if options.seconds is None else options.start + options.seconds
    first, last = options.start * rate - around, end * rate + around
    if round(options.start * rate) >= frames:
        raise _beyond(header.path, frames / rate, options)
    return max(0, math.floor(first)), frames if last >= frames else math.ceil(last)


def _cut(path: Path, values: np.ndarray, rate: float, begin: int, options: Options) -> np.ndarray:
    """The part of [L, T] that is asked for, of what begins with the record's sample ``begin``."""
    first = round(options.start * rate) - begin
    if first >= values.shape[1]:
        raise _beyond(path, (begin + values.shape[1]) / rate, options)
    return values[:, first:] if options.seconds is None else values[:, first : first + round(options.seconds * rate)]


def _beyond(path: Path, seconds: float, options: Options) -> InputError:
    return InputError(f"{path} is {seconds:.1f} s long, so nothing is there from {options.start:g} s on")


def _same_rate(channels: Sequence[Channel], options: Options) -> tuple[np.ndarray, int, list[str]]:
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


def _is_lead(channel: Channel, options: Options) -> bool:
    if options.leads is None and lead_names.is_other_signal(channel.name):
        return False
    return options.unit is not None or millivolts_per(channel.unit) is not None


def _with_frame(values: np.ndarray, old: int, new: int) -> np.ndarray:
    """The values with ``new`` samples a frame in place of ``old``."""
    from llava_ecg.ecg.filters import resample

    return resample(values, float(old), float(new)).astype(np.float64)


# -- a record of several segments --------------------------------------------------------------------------------------


def _read_segments(header: Header, options: Options, span: tuple[int, int] | None) -> list[Channel]:
    """The signals of a record of several segments over its whole length, or over a span of frames; NaN where a segment
    has none of a signal. Of a segment that has nothing in the span no more than the header is read.

    Segments in which every signal has a name of its own are put together by name, else by position. Voltages are
    brought to mV.

    Raises:
        InputError: a segment is absent, cut, of another rate, or gives a lead in a unit that the others can't be put
            together with.
    """
    path = header.path
    begin, end = span or (0, sum(samples for _, samples in header.segments))
    parts: dict[str, list[tuple[int, Channel]]] = defaultdict(list)
    first = repeated = 0
    seen: set[str] = set()
    for number, (name, samples) in enumerate(header.segments):
        inside = max(begin - first, 0), min(end - first, samples)
        if samples and name != NO_FILE:
            channels = list(_keyed(_read_segment(header, name, samples, inside)))
            repeated += len(channels) if name in seen else 0
            if repeated > _REPEATED:
                raise InputError(f"{path} names the segment {name} and others too often; give a record without repeats")
            seen.add(name)
            for key, channel in channels:
                parts[key].append((max(first - begin, 0), channel))
        elif number == 0 and not samples and is_there(layout := named(path, f"{name}.hea")):  # names, in their order
            for signal in wfdb_header.parse(layout).signals:
                parts[lead_names.canonical(signal.name)] = []
        first += samples
    parts = {key: found for key, found in parts.items() if found}
    if not parts:
        raise InputError(f"{path} describes no samples")
    held = sum(channel.values.nbytes for found in parts.values() for _, channel in found)
    whole = (end - begin) * sum(max(channel.frame for _, channel in found) for found in parts.values())
    check_gaps(path, whole - held // 8, held)
    return [_join(path, found, end - begin, options) for found in parts.values()]


def _read_segment(master: Header, name: str, samples: int, span: tuple[int, int]) -> list[Channel]:
    """The signals of a segment that is so long, within a span of its frames; of no samples where that is empty."""
    path = named(master.path, f"{name}.hea")
    if not is_there(path):
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
    if span[0] >= span[1]:  # its header says which leads there are, and nothing else of it is needed
        return [Channel(signal.name, signal.unit, signal.frame, np.empty(0)) for signal in header.signals]
    held = length(header)
    whole = held is None  # neither header nor file tells
    channels = read_signals(header, None if whole else span)
    if held is None:
        held = max(len(channel.values) // channel.frame for channel in channels)
        channels = [replace(each, values=each.values[span[0] * each.frame : span[1] * each.frame]) for each in channels]
    if held < samples:
        raise InputError(
            f"{path} is cut short: it holds {held} of the {samples} samples a lead that {master.path.name} promises"
        )
    return channels


def _keyed(channels: Sequence[Channel]) -> Iterable[tuple[str, Channel]]:
    names = [lead_names.canonical(channel.name) for channel in channels]
    by_name = all(names) and len(set(names)) == len(names)
    return zip(names if by_name else map(str, range(len(channels))), channels, strict=True)


def _join(path: Path, parts: Sequence[tuple[int, Channel]], frames: int, options: Options) -> Channel:
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
    values = np.full(frames * frame, np.nan)
    for first, channel in parts:
        piece = (
            channel.values
            if channel.frame == frame or not len(channel.values)
            else _with_frame(channel.values, channel.frame, frame)
        )
        scale = millivolts_per(channel.unit) if together else None
        values[first * frame : first * frame + len(piece)] = piece if scale is None else piece * scale
    return Channel(name, unit, frame, values)


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
