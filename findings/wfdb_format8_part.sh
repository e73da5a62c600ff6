#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: rdrecord(sampfrom=..., sampto=...) gives the same samples as that stretch of the whole record, in every signal format.
# Seen:     in format 8, which stores first differences, it begins to add them up at sampfrom, from the initial value of the header as if
#           that were the sample before: a part is off by what the signal did until there, without a word. Format 16 is right.
# Output:
#   format 16, whole, samples 1000 to 1003: 2502 2505 2507 2510
#   format 16, from sample 1000:            2502 2505 2507 2510
#   format 8,  whole, samples 1000 to 1003: 2502 2505 2507 2510
#   format 8,  from sample 1000:            2 5 7 10
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

steps = np.arange(1, 3001) * 5 // 2  # 2 5 7 10 12 ...: a ramp, whose differences are 2 and 3
steps.astype("<i2").tofile("f16.dat")
np.diff(steps, prepend=0).astype("i1").tofile("f8.dat")
found = {}
for form in (16, 8):
    Path(f"f{form}.hea").write_text(f"f{form} 1 250 3000\nf{form}.dat {form} 200(0)/mV 16 0 0 0 0 I\n")
    whole = wfdb.rdrecord(f"f{form}", physical=False).d_signal[1000:1004, 0].tolist()
    part = wfdb.rdrecord(f"f{form}", physical=False, sampfrom=1000, sampto=1004).d_signal[:, 0].tolist()
    found[form] = whole, part
    print(f"format {form},".ljust(10), "whole, samples 1000 to 1003:", *whole)
    print(f"format {form},".ljust(10), "from sample 1000:           ", *part)

right = [2502, 2505, 2507, 2510]
if found != {16: (right, right), 8: (right, [2, 5, 7, 10])}:
    raise SystemExit("changed: a part of format 8 is read otherwise than stated")
print("as stated")
PY
