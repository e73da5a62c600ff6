#!/usr/bin/env bash
# Version:  pyEDFlib 0.1.42 (Python)
# Expected: 9,765 samples at 976.5625 Hz that EdfWriter writes are 9,765 samples when EdfReader reads them, ten seconds, or the writer refuses them.
# Seen:     the data records are chosen so long that a whole number of samples fits exactly (16 s at 976.5625 Hz, 3 s at 1000/3 Hz, 30.3 s at 333.333 Hz),
#           and the last one is filled up with zeros, which the reader returns as if they had been recorded: 16 s, the last six of them a flat line.
#           Nothing says so. A whole rate, and a length of whole seconds, are left as they are.
# Output:
#   500 Hz: 5000 samples written, 5000 read, 10.0 s
#   976.5625 Hz: 9765 samples written, 15625 read, 16.0 s
#   333.333333 Hz: 3333 samples written, 4000 read, 12.0 s
#   333.333000 Hz: 3333 samples written, 10101 read, 30.3 s
#   the samples that were not written: all zero
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet pyedflib==0.1.42 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import numpy as np
import pyedflib

told, rest = [], []
for rate, name in ((500, "500"), (976.5625, "976.5625"), (1000 / 3, "333.333333"), (333.333, "333.333000")):
    wave = np.cos(np.arange(int(10 * rate)) / 20)
    header = {"label": "ECG II", "dimension": "mV", "sample_frequency": rate, "transducer": "", "prefilter": ""}
    header |= {"physical_max": 2, "physical_min": -2, "digital_max": 32767, "digital_min": -32768}
    writer = pyedflib.EdfWriter("a.edf", 1, file_type=pyedflib.FILETYPE_EDF)
    writer.setSignalHeader(0, header)
    writer.writeSamples([wave])
    writer.close()
    reader = pyedflib.EdfReader("a.edf")
    read = reader.readSignal(0)
    told.append((len(wave), len(read)))
    rest.append(np.abs(read[len(wave) :]).max(initial=0))
    print(f"{name} Hz: {len(wave)} samples written, {len(read)} read, {reader.getFileDuration():.1f} s")
    reader.close()

flat = max(rest) < 1e-3
print("the samples that were not written:", "all zero" if flat else "not zero")
if told != [(5000, 5000), (9765, 15625), (3333, 4000), (3333, 10101)] or not flat:
    raise SystemExit("changed: pyEDFlib writes or reads other lengths than stated")
print("as stated")
PY
