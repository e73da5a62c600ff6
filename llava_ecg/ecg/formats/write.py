"""`written`: a `Recording` as the bytes of a file of another format, by the format's own library where there is one.

Voltages come back within half a step of what the format can tell: 1 uV, or coarser for a lead beyond 32 mV; csv and npz
hold them as they are. Who the patient is is not written, sex and age neither. What else a format can't hold, of lead
names and the time of recording, `as_written` says.

Axes: L leads, T samples.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats.write_dicom import dicom_bytes
from llava_ecg.ecg.formats.write_edf import YEARS, edf_bytes
from llava_ecg.ecg.formats.write_names import Limits, fitted
from llava_ecg.ecg.formats.write_wfdb import wfdb_bytes
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError


def written(recording: Recording, path: Path) -> dict[Path, bytes]:
    """The files to write, in the order in which to write them: a header comes last.

    Args:
        path: its suffix says the format: ``.hea``, ``.dcm``, ``.csv``, ``.npz`` or ``.edf``.

    Raises:
        InputError: another suffix, or something that the format can't hold.
    """
    return WRITERS[_suffix(path)](as_written(recording, path), path)


def as_written(recording: Recording, path: Path) -> Recording:
    """The recording with lead names, and a time of recording, that the format holds; a note says what is another.

    Raises:
        InputError: another suffix, or nothing to write.
    """
    suffix = _suffix(path)
    if recording.signal.shape[1] == 0:
        raise InputError(f"{recording.source or 'the recording'} holds no samples to write")
    names, notes = fitted(recording.leads, LIMITS.get(suffix, ANY_NAME))
    start = recording.start
    if suffix == ".edf" and start is not None and start.year not in YEARS:
        span = f"from {YEARS[0]} to {YEARS[-1]}"
        notes += (f"the time of recording is left out: EDF holds years {span}, not {start.year}",)
        start = None
    return replace(recording, leads=names, start=start, notes=(*recording.notes, *notes))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise InputError(f"{path} does not end in {', '.join(WRITERS)}; choose such a name")
    return suffix


def _csv(recording: Recording, path: Path) -> dict[Path, bytes]:
    """A row of titles with the unit, then a row a sample, its time first; an empty cell where nothing was recorded.

    When it began stands where netCDF has it by the CF conventions, in the unit of the times: a line of its own would be
    a row to pandas and to spreadsheets.
    """
    unit = "s" if recording.start is None else f"s since {recording.start.isoformat()}"
    titles = [f"time ({unit})", *(f"{name} (mV)" for name in recording.leads)]
    lines = [",".join(map(_cell, titles))]
    for number, values in enumerate(recording.signal.T):
        cells = ["" if np.isnan(value) else format(value, ".9g") for value in values]
        lines.append(",".join([format(number / recording.rate, ".9g"), *cells]))
    return {path: ("\n".join(lines) + "\n").encode()}


def _cell(title: str) -> str:
    """A title in quotes where a letter of it might be taken for what keeps cells apart."""
    quoted = title.replace('"', '""')
    return f'"{quoted}"' if set(title) & set(",;|\"'") else title


def _npz(recording: Recording, path: Path) -> dict[Path, bytes]:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "signal": recording.signal,
        "rate": recording.rate,
        "unit": np.array("mV"),
        "leads": np.array(recording.leads),
    }
    if recording.start is not None:
        arrays["start"] = np.array(recording.start.isoformat())
    np.savez_compressed(buffer, **arrays)
    return {path: buffer.getvalue()}


WRITERS: dict[str, Callable[[Recording, Path], dict[Path, bytes]]] = {
    ".hea": wfdb_bytes,
    ".dcm": dicom_bytes,
    ".csv": _csv,
    ".npz": _npz,
    ".edf": edf_bytes,
}
"""Suffix -> what writes such a file."""

ANY_NAME = Limits("a name is one line without marks around it")
LIMITS = {
    ".dcm": Limits("DICOM holds up to 64 letters of a name, and no \\", longest=64, apart="\\"),
    ".edf": Limits("EDF holds up to 16 letters of a name, of ASCII", longest=16, plain=True),
}
"""Suffix -> what such a file holds of a lead's name; the others hold any name."""
