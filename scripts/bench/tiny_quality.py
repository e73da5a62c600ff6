r"""How good a model's interpretation of ECGs is that it has never seen: its own numbers against the measured signal.

Hardware: two CPU cores. Time: about 8 s a record and way of asking. Memory: 2 GB.

    python playground/make_toy.py /tmp/tiny --count 5000 --test-share 0.04 --seed 7 --real ../shared/data --ptbxl 1625
    python scripts/bench/tiny_quality.py --model gem-tiny --data /tmp/tiny --limit 40 \
        --json scripts/bench/results/tiny_quality.json

The records are those of test.json that are real recordings (patients apart from the training records); truth is what
`llava_ecg.ecg.measure` finds. Every record is asked "Interpret this ECG." with signal and page, the signal alone (the
page left out), and the page alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_ecg import __version__
from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.grounding.audit import audit
from llava_ecg.grounding.claims import find_claims

QUESTION = [Turn("user", "Interpret this ECG.")]
WAYS = ("both", "signal", "image")


class SignalOnly(Case):
    """A recording whose page the model is not shown."""

    def sources(self) -> dict[str, Any]:
        return {"ecg": self.recording}


def category(rate: float) -> str:
    """bradycardia < 60 <= normal <= 100 < tachycardia."""
    return "bradycardia" if rate < 60 else "normal" if rate <= 100 else "tachycardia"


def score(text: str, truth: Measurements) -> dict[str, Any]:
    """One answer against the measurements of its recording."""
    said = find_claims(text)
    rates = [
        float(claim.value)
        for claim in said
        if claim.quantity == "heart_rate_bpm" and isinstance(claim.value, (int, float))
    ]
    words = [claim.value for claim in said if claim.quantity == "rate_category"]
    steady = [claim.value for claim in said if claim.quantity == "rhythm_regular"]
    verdicts = audit(text, truth).verdicts
    measured = truth.heart_rate_bpm
    return {
        "form": bool(rates and words and steady and "Impression:" in text),
        "rate_error": abs(rates[0] - measured) if rates and measured else None,
        "rate_category_right": words[0] == category(round(measured)) if words and measured else False,
        "regular_right": None
        if truth.rhythm_regular is None
        else bool(steady) and (steady[0] == "regular") == truth.rhythm_regular,
        "statuses": Counter(str(verdict.status) for verdict in verdicts),
    }


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares and errors over the records."""
    errors = [row["rate_error"] for row in rows if row["rate_error"] is not None]
    regular = [row["regular_right"] for row in rows if row["regular_right"] is not None]
    statuses: Counter[str] = sum((row["statuses"] for row in rows), Counter())
    checked = statuses["supported"] + statuses["contradicted"]
    return {
        "records": len(rows),
        "right_form": statistics.mean(row["form"] for row in rows),
        "rate_category_right": statistics.mean(row["rate_category_right"] for row in rows),
        "rate_mean_absolute_error_bpm": statistics.mean(errors) if errors else None,
        "rate_within_10_percent_or_5_bpm": statistics.mean(row["rate_near"] for row in rows),
        "regularity_right": statistics.mean(regular) if regular else None,
        "claims_checked": checked,
        "claims_supported": statuses["supported"] / checked if checked else None,
        "seconds_median": statistics.median(row["seconds"] for row in rows),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, score, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gem-tiny")
    parser.add_argument("--data", type=Path, required=True, help="folder that make_toy.py wrote with --real")
    parser.add_argument("--limit", type=int, default=40, help="records, evenly from all sources")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    real = [record for record in json.loads((options.data / "test.json").read_text()) if not record["id"].isdigit()]
    if not real:
        parser.error(f"{options.data}/test.json has no real recordings; make the data set with --real")
    real = real[:: max(1, -(-len(real) // options.limit))]
    assistant = Assistant.open(options.model)
    results: dict[str, Any] = {}
    answers = []
    for way in options.ways:
        rows = []
        for record in real:
            whole = Case(replace(read(options.data / record["ecg"]), source=record["id"]))
            truth = whole.measurements
            if truth is None or truth.heart_rate_bpm is None:
                continue
            case = (
                whole if way == "both" else SignalOnly(whole.recording) if way == "signal" else Case(image=whole.page)
            )
            began = time.perf_counter()
            text = assistant.ask(QUESTION, case, Decoding(max_new_tokens=160)).text
            row = score(text, truth) | {"seconds": time.perf_counter() - began}
            near = row["rate_error"] is not None and row["rate_error"] <= max(5.0, 0.1 * truth.heart_rate_bpm)
            rows.append(row | {"rate_near": near})
            answers.append({"way": way, "id": record["id"], "measured_bpm": truth.heart_rate_bpm, "answer": text})
        results[way] = summarise(rows)
        print(way, json.dumps(results[way]), flush=True)
    if options.json:
        machine = f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}"
        content = {
            "model": options.model,
            "version": __version__,
            "machine": machine,
            "results": results,
            "answers": answers,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
