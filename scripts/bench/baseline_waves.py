r"""Waves of LUDB by other libraries, for ``scripts/bench/measure.py --baselines``. Runs in an environment of its own.

Hardware: any CPU. Time: neurokit2 about 16 minutes, openecg about 2 minutes, for 159 records on one core. Memory: 1 GB.

    python -m venv BASE && BASE/bin/pip install neurokit2==0.2.13 wfdb==4.3.1
    BASE/bin/pip install openecg==0.11.0 onnxruntime==1.32.0
    BASE/bin/python scripts/bench/baseline_waves.py --data ../shared/data/ludb \
        --which neurokit2 --out BASE/neurokit2.json
    BASE/bin/python scripts/bench/baseline_waves.py --data ../shared/data/ludb --which openecg --out BASE/openecg.json
    git worktree add /tmp/before 3007bbc && PYTHONPATH=/tmp/before python scripts/bench/baseline_waves.py \
        --data ../shared/data/ludb --which older --out BASE/older.json

Both see one lead at a time, as their documentation shows them used. ``older`` is this project before it had a network
(commit 3007bbc, run by this project's environment): all leads have the bounds of one representative beat. A file that
is there already is continued.

Axes: T samples.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")
Found = dict[str, list[list[float]]]  # "p", "qrs", "t" -> [onset, peak, end] in s


def by_neurokit2(lead: np.ndarray, rate: int) -> Found:
    """`ecg_clean`, `ecg_peaks`, `ecg_delineate` by wavelets; waves without both bounds are left out."""
    import neurokit2 as nk

    clean = nk.ecg_clean(lead, sampling_rate=rate)
    _, peaks = nk.ecg_peaks(clean, sampling_rate=rate)
    _, found = nk.ecg_delineate(clean, peaks["ECG_R_Peaks"], sampling_rate=rate, method="dwt")

    def waves(onsets: str, middles: list[Any], ends: str) -> list[list[float]]:
        rows = zip(found[onsets], middles, found[ends], strict=False)
        return [
            [float(a) / rate, float(b) / rate, float(c) / rate]
            for a, b, c in rows
            if np.isfinite([a, b, c]).all() and a < c
        ]

    return {
        "p": waves("ECG_P_Onsets", found["ECG_P_Peaks"], "ECG_P_Offsets"),
        "qrs": waves("ECG_R_Onsets", list(peaks["ECG_R_Peaks"]), "ECG_R_Offsets"),
        "t": waves("ECG_T_Onsets", found["ECG_T_Peaks"], "ECG_T_Offsets"),
    }


def openecg() -> Callable[[np.ndarray, int], Found]:
    """The layered codec v6 of openecg by onnxruntime; runs of its frame labels."""
    from openecg.deploy import OnnxCodec
    from openecg.eval import ALL_SUPER_QRS_CLASSES, SUPER_P, SUPER_T

    codec = OnnxCodec()

    def find(lead: np.ndarray, rate: int) -> Found:
        frame = codec.encode(lead, rate).frame
        classes = {"p": [SUPER_P], "qrs": list(ALL_SUPER_QRS_CLASSES), "t": [SUPER_T]}
        out: Found = {}
        for name, values in classes.items():
            edges = np.flatnonzero(np.diff(np.concatenate([[False], np.isin(frame, values), [False]]).astype(np.int8)))
            out[name] = [
                [a / rate, (a + b) / 2 / rate, (b - 1) / rate]
                for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
            ]
        return out

    return find


def by_older_build(leads: np.ndarray, rate: int) -> list[Found]:
    """The waves of each lead of [12, T] by this project's build before the network, whose folder is on the path."""
    highpass = importlib.import_module("llava_ecg.ecg.filters").highpass
    found = importlib.import_module("llava_ecg.ecg.delineate").delineate(highpass(leads, float(rate)))
    out: Found = {"p": [], "qrs": [], "t": []}
    for r in found.dominant:
        for name, bounds in (("p", found.p), ("qrs", found.qrs), ("t", found.t)):
            if bounds is not None:
                onset, end = ((r - found.r + edge) / rate for edge in bounds)
                out[name].append([float(onset), float(onset + end) / 2, float(end)])
    return [out if alive else {"p": [], "qrs": [], "t": []} for alive in found.live]


def main() -> None:
    """Find, save after every tenth record, go on where an earlier run stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LUDB")
    parser.add_argument("--which", choices=("neurokit2", "openecg", "older"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    find = openecg() if options.which == "openecg" else by_neurokit2
    done: dict[str, Any] = (
        json.loads(options.out.read_text()) if options.out.exists() else {"which": options.which, "records": {}}
    )
    names = sorted((path.stem for path in options.data.glob("*.hea")), key=int)
    for number, name in enumerate(names):
        if name in done["records"]:
            continue
        record = wfdb.rdrecord(str(options.data / name))
        start, leads, failures = time.perf_counter(), [], 0
        by_name = {lead.lower(): column for column, lead in enumerate(record.sig_name)}
        if options.which == "older":
            leads = by_older_build(record.p_signal[:, [by_name[lead] for lead in LEADS]].T, int(record.fs))
        for lead in () if options.which == "older" else LEADS:
            try:
                leads.append(find(np.ascontiguousarray(record.p_signal[:, by_name[lead]]), int(record.fs)))
            except Exception:  # the library's own failure is what is counted
                failures += 1
                leads.append({"p": [], "qrs": [], "t": []})
        done["records"][name] = {"leads": leads, "failures": failures, "ms": (time.perf_counter() - start) * 1000}
        if number % 10 == 9 or number == len(names) - 1:
            options.out.write_text(json.dumps(done))
            print(f"{options.which}: {len(done['records'])} of {len(names)}", flush=True)


if __name__ == "__main__":
    main()
