"""The tables of gem-tiny's card: of its answers, from what `tiny_quality.py` wrote, a missed target in bold; and of its
towers' heads beside the plain CNN, from what ``python -m llava_ecg.train.tiny.towers`` printed of each.

python scripts/bench/card.py scripts/bench/results/tiny_quality.json --towers scripts/bench/results/tiny_towers.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = "| | reached | target | chance, majority, shuffled answers |\n|---|---|---|---|"


def told(figure: Mapping[str, float], digits: int = 2, missed: bool = False) -> str:
    """``value [low, high]``."""
    value, low, high = (f"{figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{f'**{value}**' if missed else value} [{low}, {high}]"


def rows(figures: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What each line of the table says."""
    rate, everywhere, ground = figures["rate, cinc2021"], figures["rate, all"], figures["grounding"]
    ways, floors = figures["superclasses"], figures["superclasses, floors"]
    both, error = ways["both"], "mean absolute error, bpm"
    intervals = {name: figures[f"{name}_ms, error"] for name in ("pr", "qrs", "qt")}
    limits = {"pr": 20, "qrs": 14, "qt": 25}
    numbers = ", ".join(told(each, 1, each["value"] > limits[name]) for name, each in intervals.items())
    block, fibrillation = figures["complete bundle branch block, F1"], figures["atrial fibrillation, F1"]
    drop = both["macro F1"]["value"] - ways["image"]["macro F1"]["value"]
    alone = "; ".join(f"{told(ways[way]['macro F1'])}, {told(ways[way]['macro AUC'])}" for way in ("signal", "image"))
    three = ", ".join(f"{floors[name]:.2f}" for name in ("chance", "majority", "shuffled"))
    constant, shuffled = ground["constant"]["value"], ground["shuffled"]["value"]
    broken, answers = figures["broken answers"], figures["answers"]
    return [
        ("heart rate, cinc2021: share of answers that state it", _least(rate["stated"], 0.95), "0.95", ""),
        (
            "its mean absolute error there; on all",
            f"{told(rate[error], 1, rate[error]['value'] > 4)}; {told(everywhere[error], 1)} bpm",
            "4 bpm",
            _floors(figures, ("cinc2021", "all"), ("heart_rate_bpm",), 1),
        ),
        (
            "slow, normal or fast, cinc2021; on all: share right",
            f"{_least(rate['category right'], 0.95)}; {told(everywhere['category right'])}",
            "0.95",
            _floors(figures, ("cinc2021", "all"), ("category right",), 2),
        ),
        (
            "PR, QRS, QT, mean absolute error",
            f"{numbers} ms",
            "20, 14, 25 ms",
            _floors(figures, ("all",), ("pr_ms", "qrs_ms", "qt_ms"), 1),
        ),
        (
            "measured grounding: supported of the claims that are settled",
            _least(ground["score"], 0.9),
            "0.90",
            f"one normal text for all {constant:.2f}; shuffled {shuffled:.2f}",
        ),
        ("its lift over the higher of these floors", told(ground["lift"]), "", ""),
        ("settled claims an answer", told(ground["settled claims an answer"], 1), "6", ""),
        (f"atrial fibrillation, F1 (of {fibrillation['count']})", _least(fibrillation, 0.85), "0.85", ""),
        ("complete bundle branch block, F1", _least(block, 0.75), "0.75", ""),
        ("PTB-XL superclasses, fold 9, macro F1", _least(both["macro F1"], 0.6), "0.60", three),
        ("the same, macro AUC of what it says is likely", _least(both["macro AUC"], 0.85), "0.85", ""),
        (
            "macro F1, AUC by the signal alone; by the page alone",
            alone,
            "page at most 0.12 below both",
            f"{drop:.2f} below" if drop <= 0.12 else f"**{drop:.2f}** below",
        ),
        ("empty, repetitive or ill-formed answers", f"{broken} of {answers:,}", "0", ""),
    ]


def _floors(figures: Mapping[str, Any], of: Sequence[str], names: Sequence[str], digits: int) -> str:
    """What one normal text for all reaches, and shuffled answers; a dash where it says no such number."""
    held = figures["numbers, floors"]
    both = {
        kind: "; ".join(
            ", ".join("-" if (at := held[where][kind][name]) is None else f"{at:.{digits}f}" for name in names)
            for where in of
        )
        for kind in ("normal", "shuffled")
    }
    return f"one normal text for all {both['normal']}; shuffled {both['shuffled']}"


def _least(figure: Mapping[str, float], target: float) -> str:
    return told(figure, missed=figure["value"] < target)


def table(content: Mapping[str, Any]) -> str:
    """The whole of it, as Markdown."""
    lines = ("".join(f"| {cell} " if cell else "| " for cell in row) + "|" for row in rows(content["figures"]))
    return "\n".join([HEAD, *lines])


TOWERS = {"ecg": "signal", "image": "page at 200 dpi", "cnn": "plain CNN of the signal"}
TOLD = (
    (("macro F1",), 2, "PTB-XL superclasses, macro F1", ""),
    (("macro AUC",), 2, "the same, macro AUC", ""),
    (("atrial fibrillation", "rhythm_regular", "p_present"), 2, "fibrillation, regular, P waves, AUC", ""),
    (("left bundle branch block", "right bundle branch block"), 2, "left and right bundle branch block, AUC", ""),
    (("heart_rate_bpm",), 1, "mean absolute error of the rate", " bpm"),
    (("pr_ms", "qrs_ms", "qt_ms"), 1, "of PR, QRS, QT", " ms"),
)


def heads_table(content: Mapping[str, Any]) -> str:
    """What the heads of the towers tell, as Markdown."""
    lines = [f"| | {' | '.join(TOWERS.values())} |", "|---" * (len(TOWERS) + 1) + "|"]
    for names, digits, row, unit in TOLD:
        cells = (", ".join(f"{content['test'][tower][name]:.{digits}f}" for name in names) + unit for tower in TOWERS)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("json", type=Path, help="by scripts/bench/tiny_quality.py")
    parser.add_argument("--towers", type=Path, help='JSON: what each training printed last, under "test"')
    options = parser.parse_args(argv)
    for path, made in ((options.json, table), (options.towers, heads_table)):
        try:
            if path is not None:
                print(made(json.loads(path.read_text(encoding="utf-8"))), end="\n\n")
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{path} holds no such figures ({error})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
