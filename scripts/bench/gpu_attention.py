"""How fast attention of one new place of each of many sequences reads keys and values on a GPU: each backend of the
door by itself, on the same slots.

Hardware: one GPU of 40 GB or more; 1 minute. `--preset tiny --device cpu --dtype float32` tries the script.

    python scripts/bench/gpu_attention.py --json scripts/bench/results/gpu_attention_h100.json

Beside them flash attention for sequences of unlike lengths (`torch_varlen`) on keys that were laid one behind the
other before the clock began, which a decoder could not have; and the definition in float64, which all are held to.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import gpu_common as common
import torch

from llava_ecg.engine.attention import decode
from llava_ecg.engine.kernels import DECODE, VARLEN


def slots(options: argparse.Namespace) -> tuple[torch.Tensor, ...]:
    """Query [B, H, D], keys and values [B, K, P, D] with NaN beyond lengths, rows and lengths int32 [B]."""
    config, kind = common.PRESETS[options.preset], getattr(torch, options.dtype)
    heads, own = config.num_attention_heads, config.num_key_value_heads
    width = config.hidden_size // heads
    chance = torch.Generator(options.device).manual_seed(options.seed)
    places = -(-(options.context + options.spread) // 256) * 256
    made = {"device": options.device, "dtype": kind, "generator": chance}
    key, value = (torch.randn(options.batch, own, places, width, **made) for _ in range(2))
    lengths = torch.linspace(options.context - options.spread, options.context + options.spread, options.batch).int()
    for row, length in enumerate(lengths.tolist()):
        key[row, :, length:] = value[row, :, length:] = torch.nan
    rows = torch.arange(options.batch, dtype=torch.int32)
    query = torch.randn(options.batch, heads, width, **made)
    return query, key, value, rows.to(options.device), lengths.to(options.device)


def packed(key: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """[sum of lengths, K, D]"""
    return torch.cat([each[:, :length].transpose(0, 1) for each, length in zip(key, lengths, strict=True)])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Each backend: its error, then its time."""
    limits = common.Ceilings(options.device)
    query, key, value, rows, lengths = slots(options)
    known = lengths.tolist()
    wanted = decode(*(each.double().cpu() for each in (query, key, value)), rows.cpu(), lengths.cpu(), backend="views")
    every: dict[str, Callable[[], torch.Tensor]] = {
        name: lambda name=name: decode(query, key, value, rows, lengths, backend=name)
        for name, backend in DECODE.items()
        if backend.usable(options.device, query.dtype)
    }
    if VARLEN["torch_varlen"].usable(options.device, query.dtype):
        from torch.nn.attention.varlen import varlen_attn

        laid = [packed(each, known) for each in (key, value)]
        single = torch.arange(len(known) + 1, device=options.device, dtype=torch.int32)
        ends = torch.tensor([0, *known], device=options.device).cumsum(0).int()
        repeat = query.shape[1] // key.shape[1]
        laid = [each.repeat_interleave(repeat, dim=1) for each in laid]
        every["torch_varlen, laid out before"] = lambda: varlen_attn(query, *laid, single, ends, 1, max(known))
    errors = {name: float((way().double().cpu() - wanted).abs().max()) for name, way in every.items()}
    took: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(options.repeats + 1):
        for name, way in every.items():
            took[name].append(common.seconds(lambda way=way: [way() for _ in range(20)], options.device) / 20)
    size = 2 * sum(known) * key.shape[1] * key.shape[3] * key.element_size()
    flop = 4.0 * sum(known) * query.shape[1] * query.shape[2]
    median = {name: statistics.median(times[1:]) for name, times in took.items()}
    return {
        "batch": options.batch,
        "context": options.context,
        "ceilings": limits.told(),
        "TB/s": {name: size / time / 1e12 for name, time in median.items()},
        "percent of the ceilings": {name: limits.percent(time, flop=flop, read=size) for name, time in median.items()},
        "largest error": errors,
    }


def main(words: list[str] | None = None) -> None:
    """See the module."""
    parser = common.parser(__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--context", type=int, default=850, help="places of a sequence, on the average")
    parser.add_argument("--spread", type=int, default=100, help="how far lengths lie from that, at most")
    options = common.flags(parser, words)
    common.tell(measure(options), options)


if __name__ == "__main__":
    main()
