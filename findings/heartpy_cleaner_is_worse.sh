#!/usr/bin/env bash
# Version:  heartpy 1.2.7
# Expected: process() tells the rate of a regular ECG of 60 bpm, whose R peaks are nearly four times as high as its T waves, and tells it no
#           worse if there is less noise.
# Seen:     with noise of 20 uV it says 60 bpm; with 1 uV, or none, P and T waves are beats too, and it says 181 bpm, without a word.
#           That is more than its own bpmmax, which is 180 where it is not given.
# Output:
#   250 Hz, noise 20 uV: 60 bpm, 60 beats
#   250 Hz, noise  1 uV: 181 bpm, 177 beats
#   250 Hz, noise  0 uV: 181 bpm, 177 beats
#   500 Hz, noise 20 uV: 60 bpm, 59 beats
#   500 Hz, noise  1 uV: 181 bpm, 177 beats
#   500 Hz, noise  0 uV: 181 bpm, 177 beats
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet heartpy==1.2.7 numpy==2.4.6 scipy==1.17.1 || { echo "could not install the packages"; exit 2; }
venv/bin/python -W ignore - <<'PY'
import heartpy
import numpy as np

SECONDS = 60
WAVES = [(0.12, -0.17, 0.022), (-0.1, -0.028, 0.009), (1.1, 0, 0.010), (-0.25, 0.03, 0.009), (0.3, 0.26, 0.05)]  # P Q R S T
seen = {}
for rate in (250, 500):
    time = np.arange(rate * SECONDS) / rate
    clean = np.zeros(len(time))  # mV
    for beat in np.arange(0.7, SECONDS - 0.7, 1.0):
        for height, at, width in WAVES:
            clean += height * np.exp(-0.5 * ((time - beat - at) / width) ** 2)
    for noise in (20, 1, 0):  # uV
        ecg = clean + noise / 1000 * np.random.default_rng(0).normal(size=len(time))
        found, measured = heartpy.process(ecg, float(rate))
        print(f"{rate} Hz, noise {noise:2d} uV: {measured['bpm']:.0f} bpm, {len(found['peaklist'])} beats")
        seen[rate, noise] = measured["bpm"]

noisy = all(abs(bpm - 60) < 2 for (_, noise), bpm in seen.items() if noise == 20)
if not (noisy and all(bpm > 150 for (_, noise), bpm in seen.items() if noise < 20)):
    raise SystemExit("changed: other rates than stated are told")
print("as stated")
PY
