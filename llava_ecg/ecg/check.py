"""What is wrong with the file of an ECG or of a page, without asking for anything else than that it can be read.

Both functions return (the source or None, findings), a finding being a kind and a sentence; see
`llava_ecg.data.validate.FileCheck`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.reader import split_record
from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


def check_ecg(path: Path) -> tuple[Recording | None, list[tuple[str, str]]]:
    """An ECG file: ``missing``, ``unreadable``, ``unit`` (its values can't be millivolts) or ``leads`` (some of the
    twelve are neither recorded nor implied by others, or hold nothing but gaps)."""
    if not split_record(path)[0].exists() and not Path(f"{path}.hea").is_file():  # WFDB users name a record by its stem
        return None, [("missing", f"there is no {path}")]
    try:
        recording = read(path)
    except InputError as error:
        return None, [("unit" if _reads_with_a_unit(path) else "unreadable", str(error))]
    whole = recording.with_derived()
    found = []
    if whole.missing:
        found.append(("leads", f"{path} lacks {', '.join(whole.missing)}; it has {', '.join(recording.leads)}"))
    empty = [name for name, row in zip(recording.leads, recording.signal, strict=True) if not np.isfinite(row).any()]
    if empty:
        found.append(("leads", f"{path} holds no recorded sample of {', '.join(empty)}"))
    return recording, found


def _reads_with_a_unit(path: Path) -> bool:
    """Whether a unit is all that keeps the file from being read: one given as a number is believed."""
    try:
        read(path, unit=1.0)
    except InputError:
        return False
    return True


def check_image(path: Path) -> tuple[Image | None, list[tuple[str, str]]]:
    """An image file: ``missing`` or ``unreadable``."""
    if not path.exists():
        return None, [("missing", f"there is no {path}")]
    try:
        return read_image(path), []
    except InputError as error:
        return None, [("unreadable", str(error))]
