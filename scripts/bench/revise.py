r"""What asking again is worth: contradicted claims an answer before and after `--revise`, and the time that it costs.

Hardware: two CPU cores. Time: about 7 s a record in 8 bits. Memory: 2 GB.

    python scripts/bench/revise.py --data ../shared/data --json scripts/bench/results/revise.json

Each recording of the 2021 challenge in the folder (but for PTB-XL's, whose patients it may have seen) is asked for
an interpretation; what the signal contradicts is sent back with the measured values.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.cli.flags import QUANTIZATIONS, REVISE
from llava_ecg.data.conversation import Turn
from llava_ecg.eval.intervals import Figure, bootstrap
from llava_ecg.revising import ask_revised, contradicted
from llava_ecg.train.tiny.sources import challenge_2021


def asked(assistant: Assistant, data: Path, limit: int, most: int) -> list[dict[str, Any]]:
    """Per record: contradicted and settled claims of the first draft and of the answer, seconds of both."""
    sources = list(challenge_2021(data / "cinc2021"))
    rows = []
    for source in sources[:: max(1, math.ceil(len(sources) / limit))] if limit else sources:
        case = Case(source.recording)
        drafts: list[Any] = []
        began = time.perf_counter()
        turns = [Turn("user", "Interpret this ECG.")]
        answer = ask_revised(assistant, turns, case, Decoding(max_new_tokens=200), most=most, on_again=drafts.append)
        seconds = time.perf_counter() - began
        first = drafts[0] if drafts else answer
        assert first.audit is not None and answer.audit is not None
        rows.append(
            {
                "record": source.name,
                "before": contradicted(first),
                "after": contradicted(answer),
                "supported before": first.audit.counts["supported"],
                "supported after": answer.audit.counts["supported"],
                "asked again": bool(drafts),
                "seconds once": first.seconds["total"],
                "seconds": round(seconds, 2),
                "first": first.text,
                "answer": answer.text,
            }
        )
        print(f"{source.name}: {rows[-1]['before']} -> {rows[-1]['after']} contradicted", flush=True)
    return rows


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Figure]:
    """Means over the records with their intervals."""

    def mean(name: str) -> Figure:
        values = np.array([float(row[name]) for row in rows])
        return bootstrap(lambda at: float(values[at].mean()), len(values))

    names = ("before", "after", "supported before", "supported after", "asked again", "seconds once", "seconds")
    before, after = (np.array([float(row[name]) for row in rows]) for name in ("before", "after"))
    share = bootstrap(lambda at: float(after[at].sum() / before[at].sum()) if before[at].sum() else None, len(rows))
    return {**{name: mean(name) for name in names}, "after / before": share}


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, count, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gem-tiny")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="auto", help="default: auto")
    parser.add_argument("--data", type=Path, required=True, help="folder with cinc2021/")
    parser.add_argument("--revise", type=int, default=REVISE, help=f"drafts after the first (default {REVISE})")
    parser.add_argument("--limit", type=int, default=0, help="so many records, evenly (0: all)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    if not any((options.data / "cinc2021").glob("*.hea")):
        parser.error(f"--data {options.data} has no records in cinc2021/")
    rows = asked(
        Assistant.open(options.model, quantization=options.quantization), options.data, options.limit, options.revise
    )
    found = figures(rows)
    for name, figure in found.items():
        shown = "none" if figure.value is None else f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
        print(f"{name}: {shown}, of {figure.count}")
    if options.json:
        machine = f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}"
        content = {
            "model": str(options.model),
            "quantization": options.quantization,
            "revise": options.revise,
            "machine": machine,
        }
        content |= {"figures": {name: asdict(figure) for name, figure in found.items()}, "records": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
