"""`read`: an ECG file of any known format -> `Recording`. The formats are the entries of
`llava_ecg.plugins.readers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.formats.reader import (
    HEAD_BYTES,
    Options,
    Reader,
    can,
    check_millivolts,
    looks_like,
    split_record,
)
from llava_ecg.ecg.formats.windows import part_of
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError, refuse_streams
from llava_ecg.plugins import readers

__all__ = ["Options", "Reader", "read"]

_LONGEST = 1000  # letters of a message


def read(
    path: str | PathLike[str],
    *,
    rate: float | None = None,
    unit: str | float | None = None,
    leads: str | Sequence[str] | None = None,
    reader: str | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> Recording:
    """The ECG in a file, in millivolts, with what the user knows about it over what the file says.

    Args:
        path: the file; for WFDB the header, its signal file, or the record's name without suffix.
        rate: samples a second, Hz.
        unit: of the file's values: ``mV``, ``uV``, ``V``, ``nV``, or millivolts per value.
        leads: names in the order of the file, as a sequence or ``"I, II, V2"``; ``"standard"`` for I II III aVR aVL aVF
            V1 ... V6.
        start: where to begin, s; little more than the part that is asked for is held, where the format allows it (WFDB,
            EDF, ISHNE, MFER, DICOM, tables as text, Parquet, HDF5, NumPy).
        seconds: how much to read from there; the rest where it is None.
        reader: the name of a format in `llava_ecg.plugins.readers`; by content, then by suffix where it is None.

    Raises:
        InputError: no such file, no readable format, something missing or impossible, or voltages that can't be
            millivolts.
    """
    try:
        return _read(path, Options.of(rate, unit, leads), reader, start, seconds)
    except InputError as error:  # what a file says of itself may hold anything
        told = str(error)
        if len(told) > _LONGEST:
            told = f"{told[: _LONGEST // 2]} ... {told[-_LONGEST // 2 :]}"
        if told.isprintable() and told == str(error):
            raise
        raise InputError("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in told)) from error


def _read(
    path: str | PathLike[str], options: Options, reader: str | None, start: float, seconds: float | None
) -> Recording:
    whole, record = split_record(Path(path))
    found, head = _open(whole)
    name = reader if reader is not None else _recognise(found, head)
    if record is not None and not can(readers.get(name)(), "many"):
        raise InputError(f"{found} holds one recording, so #{record} behind it means nothing; leave it away")
    recording = _part(readers.get(name)(), found, replace(options, record=record, start=start, seconds=seconds))
    recording = replace(
        recording, source=str(path), format=recording.format or name, metadata=person(recording.metadata)
    )
    return _in_words(check_millivolts(recording, found, options))


def _in_words(recording: Recording) -> Recording:
    """The recording, with a note where its leads are those of another system than the standard one."""
    other = lead_names.other_system(recording.leads)
    return recording if other is None else replace(recording, leads=other.names, notes=(*recording.notes, other.note))


def parts_of(path: str | PathLike[str], **reading: Any) -> tuple[float, Callable[[float, float], Recording]]:
    """A long recording, to be read part by part: how long it is, s, and what gives a part from its start and length.

    Where the reader can read a part, as that of WFDB, no more is read; any other recording is held whole.

    Args:
        reading: as `read`.

    Raises:
        InputError: as `read`.
    """
    whole, _ = split_record(Path(path))
    found, head = _open(whole)
    reader: Any = readers.get(reading.get("reader") or _recognise(found, head))()
    seconds = reader.seconds(found) if can(reader, "parts") and reading.get("rate") is None else None
    if seconds is not None:
        return seconds, lambda start, length: read(path, **reading, start=start, seconds=length)
    recording = read(path, **reading)
    return recording.duration, recording.window


def _part(reader: Reader, path: Path, options: Options) -> Recording:
    """What is asked of a recording, with a note of which part it is.

    Raises:
        InputError: it ends before.
    """
    if options.start < 0 or (options.seconds is not None and options.seconds <= 0):
        raise InputError(f"a part from {options.start:g} s that is {options.seconds or 0:g} s long can't be read")
    recording = reader.read(path, options)
    if options.whole:
        return recording
    if not can(reader, "parts"):
        recording = part_of(path, recording, options)
    end = options.start + recording.duration
    return replace(recording, notes=(*recording.notes, f"read from {options.start:g} s to {end:g} s"))


def _open(path: str | PathLike[str]) -> tuple[Path, bytes]:
    """The file that is meant, and its first bytes."""
    found = Path(path)
    shown = str(found) if str(found).isprintable() else repr(str(found))
    try:
        if not found.exists():
            header = Path(f"{found}.hea")  # WFDB users name a record by its stem
            if not header.is_file():
                raise InputError(f"no such file: {shown}")
            found = header
        if found.is_dir():
            raise InputError(f"{shown} is a folder; give one ECG file in it")
        refuse_streams(found)
        with found.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not head:
            raise InputError(f"{shown} is empty: there is not a byte in it; export or copy it again")
        return found, head
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown} can't be opened: {getattr(error, 'strerror', None) or error}") from error


def _recognise(path: Path, head: bytes) -> str:
    """The name of the reader for a file: the one that knows the content, else the one that has the suffix."""
    known: dict[str, Reader] = {}
    broken = []
    for name in readers.outside_first():
        try:
            candidate = readers.get(name)()
            if candidate.recognises(head, path):
                return name
            known[name] = candidate
        except Exception as error:  # a plug-in may fail in any way, and must not stop the others
            told = (
                str(error)
                if isinstance(error, InputError)
                else f"the reader {name!r} fails: {' '.join(str(error).split())}"
            )
            broken.append(f"; {told}")
    for name, candidate in known.items():
        if path.suffix.lower() in candidate.suffixes:
            return name
    formats = ", ".join(f"{name} ({' '.join(candidate.suffixes)})" for name, candidate in known.items())
    raise InputError(f"{path} is {looks_like(head)} and in no format that can be read: {formats}{''.join(broken)}")
