"""Draws the speeds of docs/speed.md as bars, from the JSON of the benches.

Each bar is how many times as fast as something else a thing runs, on a logarithmic axis; a thin line is the span of the
rounds where the bench kept them, and a black mark the target where there is one. Hardware: any. Time: a second.

    python scripts/bench/plot.py --out speed.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

RESULTS = Path(__file__).resolve().parent / "results"
WIDTH, ROW, TOP, LEFT, RIGHT, BELOW = 1100, 34, 56, 500, 90, 34
LOW, HIGH = 0.5, 10.0
TICKS = (0.5, 1, 2, 3, 5, 10)
FASTER, SLOWER, DARK, GRID = (43, 108, 176), (192, 86, 33), (26, 32, 44), (214, 219, 226)


@dataclass(frozen=True)
class Bar:
    """One comparison."""

    words: str
    file: str
    ratios: Callable[[Any], Sequence[float]]
    """The ratio, then those of its rounds if they were kept."""
    target: float | None = None


def _runs(name: str) -> Callable[[Any], Sequence[float]]:
    def found(told: Any) -> Sequence[float]:
        run = next(each for each in told["runs"] if each["threads"] == 2)
        return (run[name], *run[name.replace("ratio", "ratios")])

    return found


def _of_before(name: str) -> Callable[[Any], Sequence[float]]:
    return lambda told: (1 / told["ratios"][name],)


BARS = (
    Bar(
        "training, real tokens a second, against GEM's way",
        "train_cpu",
        lambda told: (told["ratio"]["median"], told["ratio"]["lowest"], told["ratio"]["highest"]),
        2,
    ),
    Bar("64 questions in batches, against one at a time", "batch_cpu", lambda told: (told["ratio"],), 3),
    Bar("64 tokens, float32, against transformers", "decode_cpu", _runs("ratio")),
    Bar("64 tokens, w8a8, against transformers bfloat16", "decode_w8a8_cpu", _runs("ratio to transformers"), 2.5),
    Bar("64 tokens, w8a8, against llama.cpp Q8_0", "decode_w8a8_cpu", _runs("ratio to llama.cpp"), 1 / 1.5),
    Bar("8 questions on one ECG, against no reuse", "reuse_cpu", lambda told: (told["anew_over_eight"],)),
    Bar("first token, against the build before", "speed_cpu", _of_before("first, now, of before"), 2),
    Bar("one answer with its audit, against the build before", "speed_cpu", _of_before("answer, now, of before")),
    Bar("llava-ecg ask, whole process, against the build before", "speed_cpu", _of_before("whole, now, of before"), 2),
    Bar(
        "llava-ecg measure, whole process, against the build before",
        "speed_cpu",
        _of_before("measure, of before"),
        1 / 0.6,
    ),
    Bar("reading WFDB, against wfdb", "read_formats_cpu", lambda told: (1 / told["files"]["simulated.hea"]["ratio"],)),
)


def across(ratio: float) -> float:
    """Pixels from the left of a ratio, on the logarithmic axis."""
    share = log(min(HIGH, max(LOW, ratio)) / LOW) / log(HIGH / LOW)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def plot(results: Path) -> Image.Image:
    """The picture of what lies in a folder of results.

    Raises:
        FileNotFoundError: a result that `BARS` names is not there.
    """
    font, bold = (ImageFont.load_default(size) for size in (17, 19))
    image = Image.new("RGB", (WIDTH, TOP + ROW * len(BARS) + BELOW), "white")
    draw = ImageDraw.Draw(image)
    draw.text((14, 14), "Times as fast as what it is compared with (two CPU cores; black mark: target)", DARK, bold)
    bottom = TOP + ROW * len(BARS)
    for tick in TICKS:
        x = across(tick)
        draw.line((x, TOP, x, bottom), DARK if tick == 1 else GRID, 1)
        draw.text((x, bottom + 6), f"{tick:g}", DARK, font, anchor="ma")
    for place, bar in enumerate(BARS):
        ratio, *rounds = bar.ratios(json.loads((results / f"{bar.file}.json").read_text()))
        y = TOP + ROW * place + ROW // 2
        draw.text((LEFT - 12, y), bar.words, DARK, font, anchor="rm")
        ends = sorted((across(1), across(ratio)))
        draw.rectangle((ends[0], y - 9, ends[1], y + 9), FASTER if ratio >= 1 else SLOWER)
        far = max(ends[1], across(1))
        if rounds:
            draw.line((across(min(rounds)), y, across(max(rounds)), y), DARK, 2)
            far = max(far, across(max(rounds)))
        if bar.target is not None:
            draw.rectangle((across(bar.target) - 2, y - 14, across(bar.target) + 2, y + 14), DARK)
            far = max(far, across(bar.target))
        draw.text((far + 8, y), f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}", DARK, bold, anchor="lm")
    return image


def main(words: Sequence[str] | None = None) -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the benches' JSON")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(words)
    plot(asked.results).save(asked.out)


if __name__ == "__main__":
    main()
