r"""How fast `measure` is beside neurokit2 and openecg, on the same records, in turns, all on the same one core.

Hardware: any CPU, one core is used. Time: two minutes for twelve records, most of it neurokit2's. Memory: 2 GB.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python scripts/bench/measure_speed.py --ludb ../shared/data/ludb \
        --base BASE/bin/python

BASE is the environment of ``scripts/bench/baseline_waves.py``, which says how it is made. Of each record ours does
everything that a report needs (waves, rhythm, intervals, amplitudes, ST, findings); the others find the waves of its
twelve leads, no more. Reading the file is not counted, nor a first record that each warms up with. Times are processor
times, which what else the machine does touches least.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.waves.marks import record_names

HERE = Path(__file__).resolve().parent
OTHERS = ("neurokit2", "openecg")
# What runs in the other environment: a line "which path" in, milliseconds out.
WORKER = """
import sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, wfdb
from baseline_waves import LEADS, by_neurokit2, openecg
find = {"neurokit2": by_neurokit2, "openecg": openecg()}
for line in sys.stdin:
    which, path = line.rstrip("\\n").split(" ", 1)
    record = wfdb.rdrecord(path)
    columns = {lead.lower(): at for at, lead in enumerate(record.sig_name)}
    leads = [np.ascontiguousarray(record.p_signal[:, columns[lead]]) for lead in LEADS]
    begin, failed = time.process_time(), 0
    for lead in leads:
        try:
            find[which](lead, int(record.fs))
        except Exception:
            failed += 1
    print((time.process_time() - begin) * 1000, failed, flush=True)
"""


def timed(paths: list[Path], base: Path) -> dict[str, list[float]]:
    """Name -> milliseconds of each record but the first."""
    if hasattr(os, "sched_setaffinity"):  # onnxruntime starts as many threads as it sees cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    out: dict[str, list[float]] = {"ours": [], **{name: [] for name in OTHERS}}
    command = [str(base), "-c", WORKER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        for path in paths:
            recording = read(path.with_suffix(".hea"))
            begin = time.process_time()
            measure(recording)
            out["ours"].append((time.process_time() - begin) * 1000)
            for name in OTHERS:
                worker.stdin.write(f"{name} {path}\n")
                answer = worker.stdout.readline().split()
                if len(answer) != 2:
                    raise SystemExit(f"{name} ended at {path.name}; is {base} the environment of baseline_waves.py?")
                out[name].append(float(answer[0]))
        worker.stdin.close()
    return {name: times[1:] for name, times in out.items()}


def main() -> None:
    """Time, print, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--ludb", type=Path, required=True, help="folder of LUDB")
    parser.add_argument("--base", type=Path, required=True, help="the Python of the other libraries' environment")
    parser.add_argument("--records", type=int, default=12, help="how many are timed (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    names = record_names(options.ludb)
    chosen = names[:: max(1, len(names) // (options.records + 1))][: options.records + 1]
    times = timed([(options.ludb / name).resolve() for name in chosen], options.base)
    middle = {name: statistics.median(each) for name, each in times.items()}
    print(f"{options.records} records of 10 s, twelve leads; median, ms")
    for name, value in middle.items():
        print(f"{name:<10} {value:8.1f}" + ("" if name == "ours" else f"   {value / middle['ours']:.1f} times ours"))
    if options.json:
        told = {"machine": platform.processor() or platform.machine(), "records": chosen[1:], "ms": times}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
