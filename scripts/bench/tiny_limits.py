r"""What the embedded model costs on a laptop: opening, one answer of signal and page, memory at its most.

Hardware: two CPU cores. Time: a minute. Memory: 2 GB. Each repetition is a process of its own; medians are told.

    python scripts/bench/tiny_limits.py --ecg ../shared/data/cinc2021/A0001.hea \
        --json scripts/bench/results/tiny_limits.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from llava_ecg.cli.flags import QUANTIZATIONS

QUESTION = "Interpret this ECG."
LIMITS = {"answer_s": 6.0, "load_s": 4.0, "peak_gb": 1.5}


def once(model: str, ecg: Path, quantization: str) -> dict[str, float]:
    """One opening and one answer in this process, imports not counted."""
    import torch  # noqa: F401

    from llava_ecg.assistant import Answer, Assistant, Question
    from llava_ecg.case import Case, Decoding
    from llava_ecg.data.conversation import Turn
    from llava_ecg.ecg.formats import read

    began = time.perf_counter()
    assistant = Assistant.open(model, quantization=quantization)
    opened = time.perf_counter()
    question = Question([Turn("user", QUESTION)], Case(read(ecg)))
    (_, answer), *_ = assistant.ask_many([question], Decoding(max_new_tokens=200))
    if not isinstance(answer, Answer):
        raise answer
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    tokens = answer.tokens["new"]
    return {"load_s": opened - began, "answer_s": ended - opened, "peak_gb": peak, "tokens": tokens}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default="gem-tiny")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="auto", help="default: auto")
    parser.add_argument("--ecg", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not options.ecg.exists():
        parser.error(f"--ecg {options.ecg}: no such file")
    if options.repeats < 1:
        parser.error("--repeats has to be 1 or more")
    if options.once:
        print(json.dumps(once(options.model, options.ecg, options.quantization)))
        return
    rows = []
    environment = {"GOMP_SPINCOUNT": "4000", **os.environ}  # as `llava-ecg ask` sets it before torch is loaded
    for number in range(options.repeats + 1):
        command = [sys.executable, __file__, "--once", "--model", options.model, "--ecg", str(options.ecg)]
        command += ["--quantization", options.quantization]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        if number:  # the first warms the disk's cache
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    figures = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    for name, value in figures.items():
        print(f"{name:10} {value:7.2f}" + (f"   limit {LIMITS[name]:g}" if name in LIMITS else ""))
    if options.json:
        machine = f"{platform.machine()}, CPU, {os.cpu_count()} cores, Python {platform.python_version()}"
        told = {
            "model": options.model,
            "quantization": options.quantization,
            "machine": machine,
            "repeats": options.repeats,
            "figures": figures,
        }
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
