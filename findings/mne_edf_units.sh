#!/usr/bin/env bash
# Version:  mne 1.13.2 (Python)
# Expected: read_raw_edf gives volts: 1000 steps of 1 microvolt are 0.001 V, however the unit is written; a unit that it does not know is said.
# Seen:     "uV", "mV" and the micro sign with V are right. With "uv" or "UV" it reports the unit as microvolts (_orig_units) and takes the numbers as
#           volts all the same, a million times too much: an R wave of 1000 V. "nV" and "mv" are taken as volts too. It logs nothing at level WARNING.
# Output:
#   'uV': 0.001 V, unit told as µV
#   'uv': 1000.0 V, unit told as µV
#   'UV': 1000.0 V, unit told as µV
#   'nV': 1000.0 V, unit told as nV
#   'mv': 1000.0 V, unit told as mv
#   'mV': 1.0 V, unit told as mV
#   warnings: 0
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet mne==1.13.2 numpy==2.4.6 scipy==1.17.1 || { echo "could not install the packages"; exit 2; }
MNE_DONTWRITE_HOME=true venv/bin/python - <<'PY'
import logging
import warnings
from pathlib import Path

import mne
import numpy as np


class Counter(logging.Handler):
    count = 0

    def emit(self, record):
        Counter.count += record.levelno >= logging.WARNING


mne.utils.logger.addHandler(Counter())


def edf(unit):
    """Ten seconds of one lead at 500 Hz, every other sample 1000 of the unit, one step of the unit a digit."""
    texts = [("0", 8), ("X X X X", 80), ("Startdate X X X X", 80), ("01.01.25", 8), ("00.00.00", 8), ("512", 8), ("", 44)]
    texts += [("10", 8), ("1", 8), ("1", 4), ("ECG II", 16), ("", 80), (unit, 8)]
    texts += [("-32768", 8), ("32767", 8), ("-32768", 8), ("32767", 8), ("", 80), ("500", 8), ("", 32)]
    header = b"".join(text.encode("ascii").ljust(size) for text, size in texts)
    return header + np.tile(np.array([0, 1000], "<i2"), 2500).tobytes()


told = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for unit in ("uV", "uv", "UV", "nV", "mv", "mV"):
        Path("a.edf").write_bytes(edf(unit))
        raw = mne.io.read_raw_edf("a.edf", preload=True, verbose="WARNING")
        told[unit] = float(raw.get_data().max()), raw._orig_units["ECG II"]
        print(f"{unit!r}: {told[unit][0]:.6g} V, unit told as {told[unit][1]}".replace("1000 V", "1000.0 V").replace(" 1 V", " 1.0 V"))
print("warnings:", len(caught) + Counter.count)

wanted = {"uV": 1e-3, "uv": 1e3, "UV": 1e3, "nV": 1e3, "mv": 1e3, "mV": 1.0}
if {unit: round(value, 9) for unit, (value, _) in told.items()} != wanted or len(caught) + Counter.count:
    raise SystemExit("changed: mne reads other voltages than stated, or warns")
print("as stated")
PY
