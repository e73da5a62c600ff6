r"""How well the audit reads and judges: claims found in the test sentences, and verdicts on simulated ECGs of known
truth.

Hardware: any CPU, one core. Time: about 20 s. Memory: 1 GB. Run from the root of the repository, whose tests hold the
sentences:

    python -m scripts.bench.audit
    python -m scripts.bench.audit --reports ../shared/data/ptbxl/labels.csv --hearts 300 \
        --json scripts/bench/results/claims.json
    git worktree add /tmp/before COMMIT && python -m scripts.bench.audit --pace --against /tmp/before

`--against` times the audit of the same texts with another checkout too, in turns, each in a process of its own, so that
what else the machine does touches both; the ratios are of the medians.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.waves import net
from llava_ecg.grounding.audit import Status, audit
from tests.grounding.scoring import Score, load, score
from tests.grounding.statements import cases, judge_case


def sentences(reports: Path | None) -> dict[str, Any]:
    """Precision, recall and F1 of the claims found: by part, by kind of text, by quantity (of the part ``test``)."""
    every = load(reports=reports)
    out: dict[str, Any] = {}
    for part in ("dev", "test"):
        chosen = [sentence for sentence in every if sentence.part == part]
        out[part] = {"texts": len(chosen), **_figures(score(chosen))}
        out[f"{part} by kind"] = {
            kind: _figures(score(sentence for sentence in chosen if sentence.file == kind))
            for kind in sorted({s.file for s in chosen})
        }
    counts = score(sentence for sentence in every if sentence.part == "test").by_quantity
    out["test by quantity"] = {
        name: {
            "said": each["said"], "found": each["found"], "right": each["right"],
            "recall": interval(each["right"], each["said"]), "precision": interval(each["right"], each["found"]),
        }
        for name, each in sorted(counts.items())
    }  # fmt: skip
    return out


def interval(right: int, total: int) -> tuple[float, float, float] | None:
    """A share in % with the ends of its 95 % interval by Wilson; None of nothing."""
    if not total:
        return None
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return round(100 * share, 1), round(100 * low, 1), round(100 * high, 1)


def _figures(found: Score) -> dict[str, float]:
    return {
        "claims": found.said,
        "precision": round(found.precision, 4),
        "recall": round(found.recall, 4),
        "F1": round(found.f1, 4),
    }


def verdicts(hearts: int, first_seed: int) -> dict[str, Any]:
    """Shares of true statements called wrong, of false ones found, and of planted numbers found, on simulated hearts,
    with their intervals (of statements, as if each stood alone; those of one heart do not quite)."""
    seen = [
        judge_case(case, measure(case.recording), np.random.default_rng(case.seed), "test")
        for case in cases(hearts, first_seed)
    ]
    true, false, right = (
        sum((getattr(each, name) for each in seen), Counter()) for name in ("true", "false", "planted_right")
    )
    planted = sum(each.planted for each in seen)
    return {
        "hearts": hearts,
        "true statements": sum(true.values()),
        "false alarms %": interval(true[Status.CONTRADICTED], sum(true.values())),
        "true supported %": interval(true[Status.SUPPORTED], sum(true.values())),
        "false statements": sum(false.values()),
        "contradicted found %": interval(false[Status.CONTRADICTED], sum(false.values())),
        "planted numbers": planted,
        "planted found %": interval(sum(each.planted_found for each in seen), planted),
        "right numbers beside them called wrong %": interval(right[Status.CONTRADICTED], sum(right.values())),
    }


def _told(share: tuple[float, float, float] | None) -> str:
    return f"{'-':<20}" if share is None else f"{f'{share[0]} [{share[1]}, {share[2]}]':<20}"


def pace() -> dict[str, float]:
    """Seconds of processor time of `audit` for texts of so many words."""
    measured = measure(next(iter(cases(1))).recording)
    out = {}
    for words in (500, 5_000, 50_000):
        text = "The PR interval is 160 ms and the rhythm is regular . " * (words // 11)
        start = time.process_time()
        audit(text, measured)
        out[f"{words} words, s"] = time.process_time() - start
    return out


_TIMED = """
import json, sys, time
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.grounding.audit import audit
measured = measure(simulate(Heart(rate_bpm=72), seed=1)[0])
out = {}
for name, text in json.load(open(sys.argv[1])).items():
    audit(text, measured)
    times = []
    for _ in range(5):
        begin = time.process_time()
        found = audit(text, measured)
        times.append(time.process_time() - begin)
    out[name] = sorted(times)[2], len(found.verdicts)
print(json.dumps(out))
"""


def against(other: Path, rounds: int) -> dict[str, float]:
    """Seconds of processor time of `audit` here and in another checkout, and how many times faster this one is; texts:
    the sentences of the set (no two alike), once as a long answer and ten times over."""
    said = [sentence.text for sentence in load()]
    texts = {"one answer": "\n".join(said[:60]), "the whole set": "\n".join(said), "ten times": "\n".join(said * 10)}
    seconds: dict[str, list[float]] = {}
    verdicts_of: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        for _ in range(rounds):
            for name, root in (("here", Path(__file__).resolve().parents[2]), ("there", other.resolve())):
                environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
                done = subprocess.run(
                    [sys.executable, "-c", _TIMED, str(file)],
                    env=environment, cwd=root, capture_output=True, text=True, check=True,
                )  # fmt: skip
                for text, (time_s, count) in json.loads(done.stdout).items():
                    seconds.setdefault(f"{text}, {name}", []).append(time_s)
                    verdicts_of[f"{text}, {name}"] = count
    out: dict[str, float] = {}
    for text, content in texts.items():
        here, there = (statistics.median(seconds[f"{text}, {name}"]) for name in ("here", "there"))
        told = f"{text}, {len(content.split())} words"
        out |= {f"{told}, ms": 1000 * here, f"{told}, ms there": 1000 * there, f"{told}, times faster": there / here}
        out |= {f"{told}, verdicts {name}": verdicts_of[f"{text}, {name}"] for name in ("here", "there")}
    return out


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Score, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path, help="PTB-XL's labels.csv, for the sentences that are real reports")
    parser.add_argument("--hearts", type=int, default=100, help="simulated ECGs (default: %(default)s)")
    parser.add_argument(
        "--first-seed", type=int, default=20_000, help="of the first one (default: %(default)s, those of the tests)"
    )
    parser.add_argument("--pace", action="store_true", help="only how fast")
    parser.add_argument("--against", type=Path, help="another checkout, such as a git worktree of an older commit")
    parser.add_argument("--rounds", type=int, default=5, help="of both, with --against (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args(arguments)
    out: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "weights": net.load().digest,
    }
    if not options.pace:
        out |= {
            "sentences": sentences(options.reports),
            "verdicts": verdicts(options.hearts, options.first_seed),
        }
        for part in ("dev", "test"):
            print(f"{part:<6}", out["sentences"][part])
            for kind, figures in out["sentences"][f"{part} by kind"].items():
                print(f"  {kind:<16}", figures)
        print("test, by kind of statement: said, found, right; recall and precision % with 95 % intervals")
        for name, each in out["sentences"]["test by quantity"].items():
            shares = f"{_told(each['recall'])}   {_told(each['precision'])}"
            print(f"  {name:<20}{each['said']:>5}{each['found']:>5}{each['right']:>5}   {shares}")
    out["pace"] = pace()
    if options.against:
        out["against"] = against(options.against, options.rounds)
    for section in ("verdicts", "pace", "against"):
        if section not in out:
            continue
        print(section)
        for name, value in out[section].items():
            shown = f"{value:.2f}" if isinstance(value, float) else _told(value) if isinstance(value, tuple) else value
            print(f"  {name:<44}{shown}")
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")
    return out


if __name__ == "__main__":
    main()
