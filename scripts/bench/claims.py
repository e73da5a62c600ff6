r"""How well the audit reads and judges: claims found in the test sentences, and verdicts on simulated ECGs of known
truth.

Hardware: any CPU, one core. Time: about 20 s. Memory: 1 GB. Run from the root of the repository, whose tests hold the
sentences:

    python -m scripts.bench.claims
    python -m scripts.bench.claims --reports ../shared/data/ptbxl/labels.csv --hearts 300 \
        --json scripts/bench/results/claims.json
"""

from __future__ import annotations

import argparse
import json
import platform
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
        name: {"said": each["said"], "found": each["found"], "right": each["right"]}
        for name, each in sorted(counts.items())
    }
    return out


def _figures(found: Score) -> dict[str, float]:
    return {
        "claims": found.said,
        "precision": round(found.precision, 4),
        "recall": round(found.recall, 4),
        "F1": round(found.f1, 4),
    }


def verdicts(hearts: int, first_seed: int) -> dict[str, float]:
    """Shares of true statements called wrong, of false ones found, and of planted numbers found, on simulated
    hearts."""
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
        "false alarms %": 100 * true[Status.CONTRADICTED] / sum(true.values()),
        "true supported %": 100 * true[Status.SUPPORTED] / sum(true.values()),
        "false statements": sum(false.values()),
        "contradicted found %": 100 * false[Status.CONTRADICTED] / sum(false.values()),
        "planted numbers": planted,
        "planted found %": 100 * sum(each.planted_found for each in seen) / planted,
        "right numbers beside them called wrong %": 100 * right[Status.CONTRADICTED] / sum(right.values()),
    }


def pace() -> dict[str, float]:
    """Seconds of `audit` for texts of so many words."""
    measured = measure(next(iter(cases(1))).recording)
    out = {}
    for words in (500, 5_000, 50_000):
        text = "The PR interval is 160 ms and the rhythm is regular . " * (words // 11)
        start = time.perf_counter()
        audit(text, measured)
        out[f"{words} words, s"] = time.perf_counter() - start
    return out


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Score, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path, help="PTB-XL's labels.csv, for the sentences that are real reports")
    parser.add_argument("--hearts", type=int, default=100, help="simulated ECGs (default: %(default)s)")
    parser.add_argument(
        "--first-seed", type=int, default=20_000, help="of the first one (default: %(default)s, those of the tests)"
    )
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args(arguments)
    out = {
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "weights": net.load().digest,
        "sentences": sentences(options.reports),
        "verdicts": verdicts(options.hearts, options.first_seed),
        "pace": pace(),
    }
    for part in ("dev", "test"):
        print(f"{part:<6}", out["sentences"][part])
        for kind, figures in out["sentences"][f"{part} by kind"].items():
            print(f"  {kind:<16}", figures)
    for section in ("verdicts", "pace"):
        print(section)
        for name, value in out[section].items():
            print(f"  {name:<44}{value:.2f}" if isinstance(value, float) else f"  {name:<44}{value}")
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")
    return out


if __name__ == "__main__":
    main()
