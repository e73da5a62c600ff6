#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: a record that wrsamp has written in microvolts is in microvolts when rdrecord reads it, whether the unit is spelled uV or µV.
# Seen:     wrsamp takes µV and writes it into the header; rdheader drops what is not ASCII from every line, so that rdrecord gives the unit
#           V with the numbers of microvolts: a million times too much for whoever goes by the unit. No error, no warning. The same is lost
#           of a signal's name. Headers with µV are about, since nothing keeps one from writing them.
# Output:
#   written in uV  -> read in uV, largest 950
#   written in µV  -> read in V, largest 950
#   named Ableitung_für_I -> Ableitung_fr_I
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet wfdb==4.3.1 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import numpy as np
import wfdb

signal = (np.arange(2500) % 20 * 50.0)[:, None]
seen = []
for unit, name in (("uV", "I"), ("\u00b5V", "I"), ("uV", "Ableitung_f\u00fcr_I")):
    wfdb.wrsamp("ecg", fs=250, units=[unit], sig_name=[name], p_signal=signal, fmt=["16"])
    record = wfdb.rdrecord("ecg")
    seen.append((record.units[0], record.sig_name[0], round(float(record.p_signal.max()))))
print(f"written in uV  -> read in {seen[0][0]}, largest {seen[0][2]}")
print(f"written in \u00b5V  -> read in {seen[1][0]}, largest {seen[1][2]}")
print(f"named Ableitung_f\u00fcr_I -> {seen[2][1]}")
if seen != [("uV", "I", 950), ("V", "I", 950), ("uV", "Ableitung_fr_I", 950)]:
    raise SystemExit("changed: the unit or the name is read otherwise than stated")
print("as stated")
PY
