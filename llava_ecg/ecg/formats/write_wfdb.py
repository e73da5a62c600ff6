"""A recording as a WFDB record of format 16, through wfdb."""

from __future__ import annotations

import tempfile
from pathlib import Path

import wfdb

from llava_ecg.ecg.formats.steps import steps_of
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError


def wfdb_bytes(recording: Recording, path: Path) -> dict[Path, bytes]:
    """The signal file, then the header.

    Raises:
        InputError: a name that WFDB can't have, or that does not fit the format.
    """
    name = path.stem
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise InputError(f"a WFDB record can't be called {name!r}: letters, digits, - and _ alone; choose another name")
    steps, size = steps_of(recording.signal)
    with tempfile.TemporaryDirectory() as folder:
        wfdb.wrsamp(
            name,
            fs=recording.rate,
            units=["mV"] * len(steps),
            sig_name=list(recording.leads),
            d_signal=steps.T.astype("int64"),
            fmt=["16"] * len(steps),
            adc_gain=[1000 / each for each in size],
            baseline=[0] * len(steps),
            base_date=None if recording.start is None else recording.start.date(),
            base_time=None if recording.start is None else recording.start.time(),
            write_dir=folder,
        )
        made = Path(folder)
        return {
            path.with_suffix(".dat"): (made / f"{name}.dat").read_bytes(),
            path: (made / f"{name}.hea").read_bytes(),
        }
