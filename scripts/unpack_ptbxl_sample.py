"""The sample of PTB-XL in ../shared (one table of signals, one of labels) -> a file a recording and a list for
``llava-ecg instruct``.

The values are scaled lead by lead and in no unit, so the list says ``volts: no``: nothing that rests on amplitudes, ST
levels or the axis is measured on them.

    python scripts/unpack_ptbxl_sample.py ../shared/data/ptbxl ptbxl-sample
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
RATE = 250
# Where a row has no scp_codes: names of the columns `rhythm`, `form` and `sub_class` that are codes of one meaning.
SPELLED = {"STD": "STD_", "NST": "NST_", "NT": "NT_", "STE": "STE_", "TAB": "TAB_"}
OF_SUBCLASS = {"NORM", "CLBBB", "CRBBB", "IRBBB", "ILBBB", "IVCD", "LVH", "RVH", "WPW", "IMI", "LMI", "PMI"}


def codes(row: dict[str, str]) -> str:
    """``scp_codes`` of a row, from its own column or from the others."""
    if row["scp_codes"]:
        return row["scp_codes"]
    names = [SPELLED.get(name, name) for name in f"{row['rhythm']}|{row['form']}".split("|") if name]
    names += [name for name in row["sub_class"].split("|") if name in OF_SUBCLASS]
    return str(dict.fromkeys(names, 0.0)) if names else ""


def main(source: Path, target: Path) -> None:
    """Write ``target/records.csv`` and the files that it names."""
    signals = np.load(source / "signals_250hz_int16.npy", mmap_mode="r")
    target.mkdir(parents=True, exist_ok=True)
    sidecar = json.dumps({"rate": RATE, "unit": 0.001, "leads": LEADS})
    with (
        (source / "labels.csv").open(encoding="utf-8", newline="") as labels,
        (target / "records.csv").open("w", encoding="utf-8", newline="") as out,
    ):
        lines = csv.writer(out)
        lines.writerow(["record", "report", "scp_codes", "patient", "sex", "age", "strat_fold", "volts"])
        for row in csv.DictReader(labels):
            name = f"{int(row['ecg_id']):05d}"
            np.save(target / f"{name}.npy", signals[int(row["row"])])
            (target / f"{name}.json").write_text(sidecar, encoding="utf-8")
            given = [row[key] for key in ("sex", "age", "strat_fold")]
            lines.writerow([f"{name}.npy", row["report"], codes(row), row["patient_id"], *given, "no"])
    print(f"{target}: {len(signals)} recordings")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python scripts/unpack_ptbxl_sample.py ../shared/data/ptbxl FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
