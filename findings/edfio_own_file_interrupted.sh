#!/usr/bin/env bash
# Version:  edfio 0.4.18 (Python)
# Expected: a file that edfio writes as continuous EDF+ (its header says EDF+C) is continuous when edfio reads it: Edf.is_continuous is True.
# Seen:     with data records of 0.1, 0.2 or 0.7 s it is False. The times of the records are written as sums of floats ("+0.30000000000000004"),
#           and when read they are compared exactly, as decimals. A reader that refuses what is not continuous refuses sound recordings.
# Output:
#   records of 0.1 s: header EDF+C, is_continuous False, times +0 +0.1 +0.2 +0.30000000000000004
#   records of 0.2 s: header EDF+C, is_continuous False, times +0 +0.2 +0.4 +0.6000000000000001
#   records of 0.25 s: header EDF+C, is_continuous True, times +0 +0.25 +0.5 +0.75
#   records of 0.7 s: header EDF+C, is_continuous False, times +0 +0.7 +1.4 +2.0999999999999996
#   records of 1 s: header EDF+C, is_continuous True, times +0 +1 +2 +3
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet edfio==0.4.18 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import edfio
import numpy as np

told = {}
for seconds in (0.1, 0.2, 0.25, 0.7, 1):
    lead = edfio.EdfSignal(np.sin(np.arange(round(500 * seconds) * 20) / 25), 500, label="ECG II", physical_dimension="mV")
    mark = edfio.EdfAnnotation(0.0, None, "start")
    content = edfio.Edf([lead], data_record_duration=seconds, annotations=[mark]).to_bytes()
    read = edfio.read_edf(content)
    signals = int(content[252:256])
    sizes = [int(content[256 + 216 * signals + 8 * place :][:8]) for place in range(signals)]
    records = [content[256 * (signals + 1) + 2 * sum(sizes) * number :] for number in range(4)]
    times = [record[2 * sum(sizes[:-1]) :].split(b"\x14")[0].decode() for record in records]
    told[seconds] = read.is_continuous
    print(f"records of {seconds} s: header {read.reserved}, is_continuous {read.is_continuous}, times", *times)

if told != {0.1: False, 0.2: False, 0.25: True, 0.7: False, 1: True}:
    raise SystemExit("changed: edfio calls other files interrupted than stated")
print("as stated")
PY
