"""How fast a WFDB record of format 16 is read, against wfdb.rdsamp on the same record, in turns in one process.

Hardware: any CPU, one core is used. Time: half a minute. Memory: 0.3 GB.

    OMP_NUM_THREADS=1 python scripts/bench/read.py ../shared/data/cinc2021 ../shared/data/ludb

Prints one JSON object: median milliseconds of rdsamp, of our samples and header (what rdsamp gives: float64 in the
record's units), and of `llava_ecg.ecg.read` (leads named, brought to mV, looked at for plausible voltages), and the
median over the records of the ratios. A record whose values differ ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

from llava_ecg.ecg.formats import read, wfdb_format16, wfdb_header, wfdb_signals


def samples(path: Path) -> list[np.ndarray]:
    """L leads, each float64 [T] in the record's units, as wfdb.rdsamp gives them in [T, L], by our own reader."""
    return [each.values for each in wfdb_signals.read_signals(wfdb_header.parse(path))]


def is_plain(path: Path) -> bool:
    """Whether the record is read without wfdb."""
    header = wfdb_header.parse(path)
    return not header.segments and wfdb_format16.is_plain(wfdb_signals.check_files(header), header.samples)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(milliseconds, what it gave) of one call."""
    begin = time.perf_counter()
    found = call()
    return 1000 * (time.perf_counter() - begin), found


def main() -> int:
    """Read every record in turns and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="with WFDB headers in them or below")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options = parser.parse_args()
    paths = [path for folder in options.folders for path in sorted(folder.rglob("*.hea")) if is_plain(path)]
    if not paths:
        print("no record of format 16 in these folders", file=sys.stderr)
        return 2
    taken: dict[str, list[float]] = {"rdsamp": [], "samples": [], "read": []}
    for _ in range(options.rounds):
        for path in paths:
            name = str(path.with_suffix(""))
            for kind, call in (
                ("rdsamp", lambda name=name: wfdb.rdsamp(name)[0]),
                ("samples", lambda path=path: samples(path)),
                ("read", lambda path=path: read(path)),
            ):
                seconds, found = timed(call)
                taken[kind].append(seconds)
                if kind == "rdsamp":
                    expected = found
                elif kind == "samples" and not np.array_equal(np.stack(found, axis=1), expected, equal_nan=True):
                    print(f"{path}: the values differ from those of wfdb", file=sys.stderr)
                    return 1
    told = {
        "records": len(paths),
        "rounds": options.rounds,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "wfdb": wfdb.__version__,
        "ms": {kind: round(statistics.median(each), 3) for kind, each in taken.items()},
        "times_faster": {
            kind: round(statistics.median(a / b for a, b in zip(taken["rdsamp"], taken[kind], strict=True)), 1)
            for kind in ("samples", "read")
        },
    }
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
