"""`read`: an ECG file of any known format -> `Recording`. The formats are the entries of
`llava_ecg.plugins.readers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from llava_ecg.ecg.formats.reader import HEAD_BYTES, Options, Reader, check_millivolts, looks_like, split_record
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError
from llava_ecg.plugins import readers

__all__ = ["Options", "Reader", "read"]

MANY = ("hdf5",)
"""Formats with several recordings in a file."""


def read(
    path: str | PathLike[str],
    *,
    rate: float | None = None,
    unit: str | float | None = None,
    leads: str | Sequence[str] | None = None,
    reader: str | None = None,
) -> Recording:
    """The ECG in a file, in millivolts, with what the user knows about it over what the file says.

    Args:
        path: the file; for WFDB the header, its signal file, or the record's name without suffix.
        rate: samples a second, Hz.
        unit: of the file's values: ``mV``, ``uV``, ``V``, ``nV``, or millivolts per value.
        leads: names in the order of the file, as a sequence or ``"I, II, V2"``; ``"standard"`` for I II III aVR aVL aVF
            V1 ... V6.
        reader: the name of a format in `llava_ecg.plugins.readers`; by content, then by suffix where it is None.

    Raises:
        InputError: no such file, no readable format, something missing or impossible, or voltages that can't be
            millivolts.
    """
    options = Options.of(rate, unit, leads)
    whole, record = split_record(Path(path))
    found, head = _open(whole)
    name = reader if reader is not None else _recognise(found, head)
    if record is not None and name not in MANY:
        raise InputError(f"{found} holds one recording, so #{record} behind it means nothing; leave it away")
    recording = readers.get(name)().read(found, replace(options, record=record))
    recording = replace(
        recording, source=str(path), format=recording.format or name, metadata=person(recording.metadata)
    )
    return check_millivolts(recording, found, options)


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
        with found.open("rb") as file:
            return found, file.read(HEAD_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown} can't be opened: {getattr(error, 'strerror', None) or error}") from error


def _recognise(path: Path, head: bytes) -> str:
    """The name of the reader for a file: the one that knows the content, else the one that has the suffix."""
    known: dict[str, Reader] = {}
    broken = []
    for name in readers:
        try:
            known[name] = readers.get(name)()
        except InputError as error:  # one plug-in that can't be imported must not stop the others
            broken.append(f"; {error}")
    for name, candidate in known.items():
        if candidate.recognises(head, path):
            return name
    for name, candidate in known.items():
        if path.suffix.lower() in candidate.suffixes:
            return name
    formats = ", ".join(f"{name} ({' '.join(candidate.suffixes)})" for name, candidate in known.items())
    raise InputError(f"{path} is {looks_like(head)} and in no format that can be read: {formats}{''.join(broken)}")
