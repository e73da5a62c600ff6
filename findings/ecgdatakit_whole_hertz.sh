#!/usr/bin/env bash
# Version:  ecgdatakit 2.0.3 (Python)
# Expected: the sampling rate that a MFER file gives, an interval or a frequency with a power of ten, is the rate of the leads.
# Seen:     it is rounded to whole hertz: 62.5 Hz is 62 (and 12.5 Hz is 12), so that a recording of 80 s lasts 80.6 s and each interval measured in
#           it is 0.8 % (4 %) too long. Nothing says so.
# Output:
#   16 ms: 62 Hz, 5000 samples, 80.645 s instead of 80.000
#   625 x 10^-1 Hz: 62 Hz, 5000 samples, 80.645 s instead of 80.000
#   80 ms: 12 Hz, 5000 samples, 416.667 s instead of 400.000
#   8 ms: 125 Hz, 5000 samples, 40.000 s instead of 40.000
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet ecgdatakit==2.0.3 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
from pathlib import Path

import numpy as np
from ecgdatakit.parsing import parsers  # noqa: F401
from ecgdatakit.parsing.parser import FileParser


def tag(number, value):
    size = bytes([len(value)]) if len(value) < 128 else b"\x84" + len(value).to_bytes(4, "big")
    return bytes([number]) + size + value


def mfer(interval):
    """One lead (II), 5000 samples of int16 in steps of 5 uV, big-endian."""
    wave = np.tile(np.arange(200, dtype=">i2"), 25).tobytes()
    parts = [(0x40, b"MFR  Long-term ECG\0"), (0x01, b"\0"), (0x08, b"\2"), (0x0B, interval), (0x0C, b"\0\xfa\0\5")]
    parts += [(0x04, (5000).to_bytes(4, "big")), (0x05, b"\0\1")]
    lead = b"\x3f\0\4" + tag(0x09, b"\0\2")
    return b"".join(tag(*part) for part in parts) + lead + tag(0x06, b"\0\1") + tag(0x1E, wave) + b"\x80\0"


told = []
for name, interval, rate in (
    ("16 ms", b"\1\xfd\0\x10", 62.5),
    ("625 x 10^-1 Hz", b"\0\xff\2\x71", 62.5),
    ("80 ms", b"\1\xfd\0\x50", 12.5),
    ("8 ms", b"\1\xfd\0\x08", 125.0),
):
    Path("a.mwf").write_bytes(mfer(interval))
    lead = FileParser.parse("a.mwf").leads[0]
    found, count = lead.sampling_rate, len(lead.samples)
    told.append(found)
    print(f"{name}: {found} Hz, {count} samples, {count / found:.3f} s instead of {count / rate:.3f}")

if told != [62, 62, 12, 125]:
    raise SystemExit("changed: ecgdatakit gives other rates than stated")
print("as stated")
PY
