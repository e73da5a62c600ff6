#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: header(5) of WFDB allows any number that scanf reads as the sampling frequency, so 2.5e2 is 250 Hz.
# Seen:     rdheader reads 2.5 Hz and drops the number of samples; no error, no warning. rdrecord then gives ten seconds as 1000. A gain
#           with a large E loses its exponent too, and the rest of the line becomes the unit and the signal's name. A gain with a small e
#           is read as it should be.
# Output:
#   rate 250    gain 200/mV        -> 250 Hz, 2500 samples, gain 200, unit 'mV', name 'I'
#   rate 2.5e2  gain 200/mV        -> 2.5 Hz, no number of samples, gain 200, unit 'mV', name 'I'
#   rate 250    gain 2.0e2/mV      -> 250 Hz, 2500 samples, gain 200, unit 'mV', name 'I'
#   rate 250    gain 2.0E+02/mV    -> 250 Hz, 2500 samples, gain 2, unit 'E', name '+02/mV 16 0 0 0 0 I'
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet wfdb==4.3.1 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
from pathlib import Path

import numpy as np
import wfdb

(np.arange(2500) % 400).astype("<i2").tofile("ecg.dat")
seen = {}
for rate, gain in [("250", "200/mV"), ("2.5e2", "200/mV"), ("250", "2.0e2/mV"), ("250", "2.0E+02/mV")]:
    Path("ecg.hea").write_text(f"ecg 1 {rate} 2500\necg.dat 16 {gain} 16 0 0 0 0 I\n")
    header = wfdb.rdheader("ecg")
    samples = "no number of" if header.sig_len is None else header.sig_len
    about = (header.fs, header.sig_len, header.adc_gain[0], header.units[0], header.sig_name[0])
    print(f"rate {rate:6} gain {gain:13} -> {about[0]:g} Hz, {samples} samples, gain {about[2]:g}, unit {about[3]!r}, name {about[4]!r}")
    seen[rate, gain] = about

right = (250, 2500, 200.0, "mV", "I")
stated = {
    ("250", "200/mV"): right,
    ("2.5e2", "200/mV"): (2.5, None, 200.0, "mV", "I"),
    ("250", "2.0e2/mV"): right,
    ("250", "2.0E+02/mV"): (250, 2500, 2.0, "E", "+02/mV 16 0 0 0 0 I"),
}
if seen != stated:
    raise SystemExit("changed: the header is read otherwise than stated")
print("as stated")
PY
