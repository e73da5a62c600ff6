"""`written`: a `Recording` as the bytes of a file of another format, by the format's own library where there is one.

Voltages come back within half a step of what the format can tell: 1 uV, or coarser for a lead beyond 32 mV; csv and npz
hold them as they are. Who the patient is is not written, sex and age neither.

Axes: L leads, T samples.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats.edf import edf_bytes
from llava_ecg.ecg.formats.write_dicom import dicom_bytes
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
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path} does not end in {', '.join(WRITERS)}; choose such a name")
    if recording.signal.shape[1] == 0:
        raise InputError(f"{recording.source or 'the recording'} holds no samples to write")
    return WRITERS[path.suffix.lower()](recording, path)


def _csv(recording: Recording, path: Path) -> dict[Path, bytes]:
    """A row of titles with the unit, then a row a sample, its time first; an empty cell where nothing was recorded."""
    lines = [",".join(["time (s)", *(f"{name} (mV)" for name in recording.leads)])]
    for number, values in enumerate(recording.signal.T):
        cells = ["" if np.isnan(value) else format(value, ".9g") for value in values]
        lines.append(",".join([format(number / recording.rate, ".9g"), *cells]))
    return {path: ("\n".join(lines) + "\n").encode()}


def _npz(recording: Recording, path: Path) -> dict[Path, bytes]:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, signal=recording.signal, rate=recording.rate, unit=np.array("mV"), leads=np.array(recording.leads)
    )
    return {path: buffer.getvalue()}


WRITERS: dict[str, Callable[[Recording, Path], dict[Path, bytes]]] = {
    ".hea": wfdb_bytes,
    ".dcm": dicom_bytes,
    ".csv": _csv,
    ".npz": _npz,
    ".edf": edf_bytes,
}
"""Suffix -> what writes such a file."""
