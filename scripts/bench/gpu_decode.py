"""Tokens a second of one answer, and the time to its first token, on a GPU: the engine's captured steps against
transformers' generate, with its growing cache and with its static one compiled, on the same weights in one run.

Hardware: one GPU of 24 GB or more; 6 minutes on an H100. `--preset tiny --device cpu --dtype float32` tries the script.

    python scripts/bench/gpu_decode.py --json scripts/bench/results/gpu_decode_h100.json

"of the roofline" is the share of the time that reading weights, keys and values would take at the rate at which the
device was seen to read in this run. The first token is that of `--places` places, without towers.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from typing import Any

import gpu_common as common
import torch

from llava_ecg.checkpoint.quantize import KINDS, check, place, replace_linears
from llava_ecg.engine.attention import strictly
from llava_ecg.engine.run import Engine, Request


def quantised(model: Any, options: argparse.Namespace) -> Any:
    """The same weights in fewer bits; the full ones go."""
    check(options.quantization, options.device)
    config = copy.deepcopy(model.config)
    with torch.device("meta"):
        small = type(model)(config).to(model.dtype).eval()
    replace_linears(small, options.quantization, model.dtype)
    modules = dict(small.named_modules())
    for name, value in list(model.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        place(modules[owner], leaf, value.data, options.device, model.dtype)
        value.data = value.data.new_empty(0)
    small.model.rotary_emb = model.model.rotary_emb
    small.generation_config = model.generation_config
    return small


def ways(model: Any, values: torch.Tensor, options: argparse.Namespace) -> dict[str, Callable[[int], list[int]]]:
    """Name -> greedy ids of so many tokens."""
    engine = Engine(model)

    def ours(tokens: int) -> list[int]:
        (done,) = engine.run([Request(values, tokens)])
        return done.ids

    def theirs(**more: Any) -> Callable[[int], list[int]]:
        return lambda tokens: common.generate(model, values[None], tokens, **more)[0].tolist()

    found = {"engine": ours, "transformers": theirs()}
    if options.static:
        found["transformers, static and compiled"] = theirs(cache_implementation="static")
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens first, then time, the ways in turns."""
    limits = common.Ceilings(options.device)
    model = common.language_model(options)
    if options.quantization:
        model = quantised(model, options)
    (values,) = common.prompts(model, 1, options.places, options.seed + 1)
    every = ways(model, values, options)
    ids = {name: way(options.tokens) for name, way in every.items()}
    for way in every.values():
        way(options.tokens)  # a second time to warm up: graphs and plans are there
    took: dict[str, list[float]] = {name: [] for name in every}
    first: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(options.repeats):
        for name, way in every.items():
            begun = common.seconds(lambda way=way: way(1), options.device)
            whole = common.seconds(lambda way=way: way(options.tokens), options.device)
            first[name].append(begun)
            took[name].append(whole - begun)
    read = common.weight_bytes(model) + common.kv_bytes(model) * (options.places + options.tokens / 2)
    rates = {name: (options.tokens - 1) / statistics.median(times) for name, times in took.items()}
    return {
        "quantization": options.quantization,
        "places": options.places,
        "tokens": options.tokens,
        "ceilings": limits.told(),
        "tokens a second": rates,
        "ratio": {name: rates["engine"] / rate for name, rate in rates.items() if name != "engine"},
        "of the roofline": rates["engine"] * read / (limits.before["read TB/s"] * 1e12),
        "first token, ms": {name: 1e3 * statistics.median(times) for name, times in first.items()},
        "same tokens": {
            name: sum(one == other for one, other in zip(ids["engine"], own, strict=True)) / options.tokens
            for name, own in ids.items()
        },
    }


def main(words: list[str] | None = None) -> None:
    """See the module."""
    parser = common.parser(__doc__)
    parser.add_argument("--places", type=int, default=757, help="of the prompt")
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--quantization", choices=KINDS, help="of the language model's linear layers")
    parser.add_argument("--static", action=argparse.BooleanOptionalAction, default=True)
    options = common.flags(parser, words)
    strictly(options.device != "cpu")
    common.tell(measure(options), options)


if __name__ == "__main__":
    main()
