#!/usr/bin/env bash
# Version:  wfdb 4.3.1 (Python)
# Expected: rdrecord(channel_names=[...]) of leads that are not in the record says so, or gives a column for each name that was asked for.
# Seen:     names that are not there are passed over, and so are those in another case: the array has fewer columns than names, and a lead
#           stands in another column than asked for. Where none is there, the record comes without any signal (None). No error, no warning.
# Output:
#   asked for II, V1, I  -> II, V1, I      (1000, 3)
#   asked for avF, V1, I -> V1, I          (1000, 2)
#   asked for avF        -> no signal
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

leads = ["I", "II", "aVF", "V1"]
signal = np.arange(4000).reshape(1000, 4) / 4000
wfdb.wrsamp("ecg", fs=250, units=["mV"] * 4, sig_name=leads, p_signal=signal, fmt=["16"] * 4)
seen = {}
for asked in (("II", "V1", "I"), ("avF", "V1", "I"), ("avF",)):
    record = wfdb.rdrecord("ecg", channel_names=list(asked))
    if record.p_signal is None:
        seen[asked] = None
        print(f"asked for {', '.join(asked):10} -> no signal")
    else:
        seen[asked] = (tuple(record.sig_name), record.p_signal.shape)
        print(f"asked for {', '.join(asked):10} -> {', '.join(record.sig_name):14} {record.p_signal.shape}")
stated = {
    ("II", "V1", "I"): (("II", "V1", "I"), (1000, 3)),
    ("avF", "V1", "I"): (("V1", "I"), (1000, 2)),
    ("avF",): None,
}
if seen != stated:
    raise SystemExit("changed: names that are not there are treated otherwise than stated")
print("as stated")
PY
