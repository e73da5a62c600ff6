"""Answers a second on a GPU: the engine's batches against transformers' generate, one at a time and in padded batches,
on the same weights in one run.

- short: 757 places and 8 tokens; - reports: 850 places and 300 tokens; - one ECG: 8 questions each on ECGs of 700
  places, with what was read used again, and without.

Hardware: one GPU of 80 GB; 8 minutes on an H100. `--preset tiny --device cpu --dtype float32` tries the script.

    python scripts/bench/gpu_requests.py --json scripts/bench/results/gpu_requests_h100.json

transformers' ways answer fewer requests, since they are slower; what counts is answers a second. "percent of the
ceilings" is what was used of the products and of the reading that the device was seen to do in this run, of the work
that has to be done: prompts once, and weights once for each token of those that are answered together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gpu_common as common
import torch

from llava_ecg.engine.attention import strictly
from llava_ecg.engine.kept import Kept
from llava_ecg.engine.run import Engine, Request

QUESTIONS = 8
"""On one ECG."""


def engine_ids(model: Any, given: list[torch.Tensor], tokens: int, slots: int, *, reuse: bool) -> list[list[int]]:
    """Greedy ids of each prompt."""
    engine = Engine(model, Kept() if reuse else None)
    requests = [Request(each, tokens) for each in given]
    list(engine.run(requests, slots))
    return [request.ids for request in requests]


def agreement(one: list[list[int]], other: list[list[int]]) -> float:
    """The share of tokens that are the same."""
    pairs = [(a, b) for mine, theirs in zip(one, other, strict=True) for a, b in zip(mine, theirs, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


def task(
    model: Any, limits: common.Ceilings, options: argparse.Namespace, places: int, tokens: int, few: int
) -> dict[str, Any]:
    """Three ways of answering prompts of one length."""
    given = common.prompts(model, options.requests, places, options.seed + places)
    whole = torch.stack(given)
    batch = min(options.batch, options.requests)
    ids: dict[str, list[list[int]]] = {}
    every: dict[str, tuple[int, Callable[[], list[list[int]]]]] = {
        "engine": (options.requests, lambda: engine_ids(model, given, tokens, options.slots, reuse=False)),
        "padded batch": (batch, lambda: common.generate(model, whole[:batch], tokens).tolist()),
        "one at a time": (
            few,
            lambda: [common.generate(model, each[None], tokens)[0].tolist() for each in given[:few]],
        ),
    }
    rates: dict[str, float] = {}
    for name, (count, way) in every.items():
        ids[name] = way()  # to warm up
        rates[name] = count / min(common.seconds(lambda way=way: way(), options.device) for _ in range(options.repeats))
    same = {name: agreement(ids["engine"][: len(own)], own) for name, own in ids.items()}
    ratio = {name: rates["engine"] / rate for name, rate in rates.items() if name != "engine"}
    flop = common.answer_flop(model, places, tokens)
    together = {"engine": min(options.slots, options.requests), "padded batch": batch, "one at a time": 1}
    used = {
        name: limits.percent(
            count / rates[name],
            flop=flop * count,
            read=common.answers_read(model, count, together[name], places, tokens),
        )
        for name, (count, _) in every.items()
    }
    return {
        "places": places,
        "tokens": tokens,
        "answers a second": rates,
        "percent of the ceilings": used,
        "ratio": ratio,
        "same tokens": same,
    }


def reuse(model: Any, limits: common.Ceilings, options: argparse.Namespace) -> dict[str, Any]:
    """Eight questions on each of some ECGs."""
    given: list[torch.Tensor] = []
    places, own = (757, 700) if options.preset != "tiny" else (90, 80)
    for number in range(max(1, options.requests // QUESTIONS)):
        given += common.prompts(model, QUESTIONS, places, options.seed + number, shared=own)
    found, rates = {}, {}
    for name, again in (("reading all", False), ("using it again", True)):
        found[name] = engine_ids(model, given, 8, options.slots, reuse=again)
        rates[name] = len(given) / min(
            common.seconds(lambda again=again: engine_ids(model, given, 8, options.slots, reuse=again), options.device)
            for _ in range(options.repeats)
        )
    whole, rest = (common.answer_flop(model, places, 8, known) for known in (0, own))
    flop = {
        "reading all": whole * len(given),
        "using it again": (whole + (QUESTIONS - 1) * rest) * len(given) / QUESTIONS,
    }
    read = common.answers_read(model, len(given), min(options.slots, len(given)), places, 8)
    return {
        "answers a second": rates,
        "percent of the ceilings": {
            name: limits.percent(len(given) / rate, flop=flop[name], read=read) for name, rate in rates.items()
        },
        "ratio": rates["using it again"] / rates["reading all"],
        "same tokens": agreement(*found.values()),
    }


def main(words: list[str] | None = None) -> None:
    """See the module."""
    parser = common.parser(__doc__)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32, help="of transformers' padded batches")
    options = common.flags(parser, words)
    strictly(options.device != "cpu")
    limits = common.Ceilings(options.device)
    model = common.language_model(options)
    small = options.preset == "tiny"
    told = {
        "short": task(model, limits, options, 90 if small else 757, 4 if small else 8, 16),
        "reports": task(model, limits, options, 90 if small else 850, 6 if small else 300, 2),
        "one ECG": reuse(model, limits, options),
    }
    common.tell(told | {"ceilings": limits.told()}, options)


if __name__ == "__main__":
    main()
