#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python); the EDF files are written and checked with pyEDFlib 0.1.42
# Expected: wfdb.io.convert.edf.read_edf gives the physical values that the header of the EDF file defines.
# Seen:     every value is one digital step too low. And where the leads differ in rate, a lead with more samples a record, which is
#           averaged down, is not divided by its gain: its unit says mV, its values are digital steps.
# Output:
#   one rate:   lead I at 500 Hz from -1.000 to 1.000 mV by pyedflib, from -1.001 to 0.999 mV by wfdb
#   two rates:  lead I at 125 Hz from -993.001 to 996.999 mV by wfdb; lead II (125 Hz) from -0.999 to 0.997 mV
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet wfdb==4.3.1 pyEDFlib==0.1.42 numpy==2.4.6 || { echo "could not install the packages"; exit 2; }
venv/bin/python - <<'PY'
import numpy as np
import pyedflib
from wfdb.io.convert.edf import read_edf

SECONDS = 4


def write(path, leads):
    """leads: name -> rate; each a sine of 1 mV, kept in steps of 0.001 mV."""
    with pyedflib.EdfWriter(path, len(leads), file_type=pyedflib.FILETYPE_EDF) as file:
        steps = []
        for number, (name, rate) in enumerate(leads.items()):
            file.setSignalHeader(number, {
                "label": name, "dimension": "mV", "sample_frequency": rate, "physical_min": -2.048, "physical_max": 2.047,
                "digital_min": -2048, "digital_max": 2047, "prefilter": "", "transducer": "",
            })
            steps.append(np.round(1000 * np.sin(2 * np.pi * 5 * np.arange(SECONDS * rate) / rate)).astype(np.int32))
        file.writeSamples(steps, digital=True)


def span(values):
    return f"from {values.min():.3f} to {values.max():.3f} mV"


write("one.edf", {"ECG I": 500})
with pyedflib.EdfReader("one.edf") as file:
    true = file.readSignal(0)
one = read_edf("one.edf")
print(f"one rate:   lead I at {one.fs} Hz {span(true)} by pyedflib, {span(one.p_signal[:, 0])} by wfdb")

write("two.edf", {"ECG I": 500, "ECG II": 125})
two = read_edf("two.edf")
first, second = two.p_signal.T
print(f"two rates:  lead I at {two.fs} Hz {span(first)} by wfdb; lead II (125 Hz) {span(second)}")

low = np.allclose(one.p_signal[:, 0] - true, -0.001)
averaged = true.reshape(-1, 4).mean(axis=1)
undivided = np.allclose(first, 1000 * averaged, atol=1) and two.units == ["mV", "mV"] and np.abs(second).max() < 1.1
if not (low and undivided):
    raise SystemExit("changed: EDF values are read otherwise than stated")
print("as stated")
PY
