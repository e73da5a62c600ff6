"""How fast a page is drawn and prepared, a file measured and a recording asked about, against another checkout.

Hardware: any CPU, one core is used, two with `--answer`. Time: two minutes, five with `--ask` or `--answer`. Memory:
2 GB. Both versions run in turns, each in a process of its own, so that what else the machine does touches both; the
ratios are of the medians.

    git worktree add /tmp/before COMMIT && python scripts/bench/speed.py --against /tmp/before --ask

`--ask` needs the language model of gem-tiny (``llava-ecg fetch gem-tiny``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parents[2]
PAGE = """
import sys, time
import numpy as np, torch
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.render import render
from llava_ecg.model.towers.image import ImagePreparation
torch.set_num_threads(1)
preparation = ImagePreparation(size=336, side=24, tokens=576)
signal = np.load(sys.argv[1])
whole = []
for turn in range(12):
    recording = Recording(signal[:, :5000], 500.0, STANDARD)
    begin = time.perf_counter()
    preparation.prepare(render(recording))
    whole.append(time.perf_counter() - begin)
print(sorted(whole[2:])[5])
"""
DRAW = """
import sys, time
import numpy as np
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.render import render
signal = np.load(sys.argv[1])
whole = []
for turn in range(22):
    recording = Recording(np.roll(signal[:, :5000], 37 * turn, axis=1), 500.0, STANDARD)
    begin = time.process_time()
    page = render(recording, dpi=200)
    whole.append(time.process_time() - begin)
print(sorted(whole[2:])[10], np.mean(np.asarray(page.convert("L")) < 96))
"""
ANSWER = """
import os, sys, time
os.environ.setdefault(*sys.argv[1].split("="))
from pydicom.data import get_testdata_file
from llava_ecg.assistant import Assistant
from llava_ecg.case import Case
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import read
assistant = Assistant.open("gem-tiny", device="cpu", **({"quantization": sys.argv[2]} if sys.argv[2] else {}))
case = Case(read(get_testdata_file("waveform_ecg.dcm", download=False)))
came = []
begin = time.perf_counter()
assistant.ask([Turn("user", "Interpret this ECG.")], case, on_text=lambda piece: came.append(time.perf_counter()))
print(came[0] - begin, time.perf_counter() - begin)
"""
ASK = "import sys; from llava_ecg.cli import main; sys.exit(main(sys.argv[1:]))"


def run(root: Path, code: str, *words: str, threads: int = 1) -> tuple[float, str]:
    """(seconds of the whole process, what it printed) of Python code with the package of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(threads)}
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{root}: {done.stderr[-600:]}")
    return time.perf_counter() - begin, done.stdout


def main() -> None:
    """Run what was asked for, print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--against", type=Path, help="another checkout, such as a git worktree of an older commit")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--ask", action="store_true", help="ask gem-tiny about 115 s and about its first 10 s")
    parser.add_argument("--answer", action="store_true", help="with --against: ask gem-tiny about pydicom's DICOM file")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    roots = {"now": HERE, **({"before": options.against.resolve()} if options.against else {})}
    from llava_ecg.ecg.simulate import Heart, simulate

    seconds: dict[str, list[float]] = {}
    ink: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        long, short = Path(folder) / "long.npy", Path(folder) / "short.npy"
        signal = simulate(Heart(rate_bpm=72), seed=1, seconds=115.0)[0].signal
        np.save(long, signal)
        np.save(short, signal[:, :5000])
        given = ("--rate", "500", "--unit", "mV", "--leads", "standard")
        for _ in range(options.rounds):
            for name, root in roots.items():
                seconds.setdefault(f"page, {name}", []).append(float(run(root, PAGE, str(short))[1]))
                drawn, ink[name] = map(float, run(root, DRAW, str(short))[1].split())
                seconds.setdefault(f"draw at 200 dpi, {name}", []).append(drawn)
                seconds.setdefault(f"measure, {name}", []).append(run(root, ASK, "measure", str(short), *given)[0])
        for _ in range(2 if options.ask else 0):
            for name, file in (("10 s", short), ("115 s", long)):
                words = ("ask", "--ecg", str(file), *given, "--max-new-tokens", "40", "--device", "cpu")
                seconds.setdefault(f"ask, {name}", []).append(run(HERE, ASK, *words)[0])
    ways = {"before": ("OMP_WAIT_POLICY=PASSIVE", ""), "now": ("GOMP_SPINCOUNT=4000", "")}
    ways["now, w8a8"] = ("GOMP_SPINCOUNT=4000", "w8a8")
    for _ in range(options.rounds if options.answer and options.against else 0):
        for name, words in ways.items():
            whole, told = run(roots[name.partition(",")[0]], ANSWER, *words, threads=2)
            for what, each in zip(("first", "answer", "whole"), (*map(float, told.split()), whole), strict=True):
                seconds.setdefault(f"{what}, {name}", []).append(each)
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    for name, value in middle.items():
        print(f"{name:<28} {1000 * value:8.1f} ms")
    ratios = {}
    if options.against:
        ratios["page, times faster"] = middle["page, before"] / middle["page, now"]
        ratios["draw at 200 dpi, times faster"] = middle["draw at 200 dpi, before"] / middle["draw at 200 dpi, now"]
        ratios["ink, of before"] = ink["now"] / ink["before"]
        ratios["measure, of before"] = middle["measure, now"] / middle["measure, before"]
    if options.answer and options.against:
        for what in ("first", "answer", "whole"):
            for name in ("now", "now, w8a8"):
                ratios[f"{what}, {name}, of before"] = middle[f"{what}, {name}"] / middle[f"{what}, before"]
    if options.ask:
        ratios["ask, 115 s of 10 s"] = middle["ask, 115 s"] / middle["ask, 10 s"]
    for name, value in ratios.items():
        print(f"{name:<28} {value:8.2f}")
    if options.json:
        told = {
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "ms": {name: 1000 * each for name, each in middle.items()},
            "ratios": ratios,
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
