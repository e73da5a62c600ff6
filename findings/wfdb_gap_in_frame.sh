#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: in signal format 16 the sample -32768 means that nothing was recorded; rdrecord makes it NaN. Where a lead has several samples
#           a frame, rdrecord averages them (smooth_frames, on by default), and a frame with a missing sample would be NaN, or the mean of
#           the samples that are there.
# Seen:     the -32768 is averaged with its neighbour as if it were a voltage, so a gap becomes a spike of -81.9 mV, and nothing is NaN.
# Output:
#   one sample a frame:           mV 0.5 0.5 nan 0.5 0.5 0.5
#   two a frame, frames kept:     mV 0.5 0.5 nan 0.5 0.5 0.5
#   two a frame, as by default:   mV 0.5 -81.67 0.5
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

np.array([100, 100, -32768, 100, 100, 100], "<i2").tofile("ecg.dat")


def record(rate, frames, storage):
    Path("ecg.hea").write_text(f"ecg 1 {rate} {frames}\necg.dat {storage} 200/mV 16 0 0 0 0 I\n")


def show(what, values):
    print(f"{what:29} mV", *(f"{value:.4g}" for value in values))
    return values


record(500, 6, "16")
single = show("one sample a frame:", wfdb.rdrecord("ecg").p_signal[:, 0])
record(250, 3, "16x2")
kept = show("two a frame, frames kept:", wfdb.rdrecord("ecg", smooth_frames=False).e_p_signal[0])
smooth = show("two a frame, as by default:", wfdb.rdrecord("ecg").p_signal[:, 0])

gap = [0.5, 0.5, np.nan, 0.5, 0.5, 0.5]
same = np.array_equal(single, gap, equal_nan=True) and np.array_equal(kept, gap, equal_nan=True)
if not same or not np.allclose(smooth, [0.5, -81.67, 0.5]):
    raise SystemExit("changed: a gap in a frame is read otherwise than stated")
print("as stated")
PY
