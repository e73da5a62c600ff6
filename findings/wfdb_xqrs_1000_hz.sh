#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: xqrs_detect takes the sampling rate as an argument, and finds in a clean ECG of normal voltage the same beats at any usual rate.
# Seen:     at 1000 Hz, the rate of many hospital recorders, not one of 59 beats; in every second sample of the same signal, at 500 Hz,
#           all 59. Twice the voltage brings them back at 1000 Hz.
# Output:
#   1000 Hz, R of 1.1 mV: 0 of 59 beats
#   500 Hz, every second sample of it: 59 of 59 beats
#   1000 Hz, twice the voltage: 59 of 59 beats
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet wfdb==4.3.1 numpy==2.4.6 scipy==1.17.1 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import numpy as np
from wfdb.processing import xqrs_detect

RATE, SECONDS = 1000, 60
beats = np.arange(0.7, SECONDS - 0.7, 1.0)  # s: 60 bpm
time = np.arange(RATE * SECONDS) / RATE
ecg = np.random.default_rng(0).normal(0, 0.005, len(time))  # mV
waves = [(0.12, -0.17, 0.022), (-0.1, -0.028, 0.009), (1.1, 0, 0.010), (-0.25, 0.03, 0.009), (0.3, 0.26, 0.05)]  # P Q R S T
for beat in beats:
    for height, at, width in waves:
        ecg += height * np.exp(-0.5 * ((time - beat - at) / width) ** 2)


def found(what, signal, rate):
    peaks = np.asarray(xqrs_detect(signal, rate, verbose=False)) / rate
    count = sum(bool(np.any(np.abs(peaks - beat) < 0.1)) for beat in beats)
    print(f"{what}: {count} of {len(beats)} beats")
    return count


counts = (
    found("1000 Hz, R of 1.1 mV", ecg, RATE),
    found("500 Hz, every second sample of it", ecg[::2], RATE // 2),
    found("1000 Hz, twice the voltage", 2 * ecg, RATE),
)
if counts != (0, len(beats), len(beats)):
    raise SystemExit("changed: other beats than stated are found")
print("as stated")
PY
