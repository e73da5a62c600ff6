"""Milliseconds from a prepared ECG and page to the first token on a GPU: both towers, projectors, prompt and choice,
against transformers' generate on the same model in one run.

Hardware: one GPU of 24 GB or more; 2 minutes on an H100. `--preset tiny --device cpu --dtype float32` tries the script.

    python scripts/bench/gpu_first_token.py --json scripts/bench/results/gpu_first_token_h100.json

"percent of the ceilings" is what was used of the products and of the reading that the device was seen to do in this
run: operations as torch counts them in transformers' way (all of attention, although half is masked), and each weight
read once.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import gpu_common as common
import torch
import train

from llava_ecg.data.batch import pad
from llava_ecg.data.encode import Encoded
from llava_ecg.engine.attention import strictly
from llava_ecg.engine.run import Engine, Request

SIZES = {"vicuna": "h100", "tiny": "cpu"}


def sample(model: Any, text: int, options: argparse.Namespace) -> Encoded:
    """A random ECG and page in front of so many tokens of text."""
    preset = train.smaller(train.PRESETS[SIZES[options.preset]], None, 1)
    (made,) = train.make(model, train.replace(preset, dtype=getattr(torch, options.dtype)))
    places = torch.nonzero(made.slots)[:, 0]
    begin = max(0, int(places[0]) - text // 2)
    part = slice(begin, begin + len(places) + text)
    return Encoded(made.ids[part], made.labels[part], made.slots[part], made.streams)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways in turns."""
    limits = common.Ceilings(options.device)
    torch.manual_seed(options.seed)
    preset = train.replace(train.PRESETS[SIZES[options.preset]], dtype=getattr(torch, options.dtype))
    model = train.build(preset, options.device).eval()
    batch = train.moved(pad([sample(model, options.text, options)], 0), options.device)
    given = (batch["input_ids"], batch["slots"], batch["streams"])
    engine = Engine(model.language_model)
    ids: dict[str, int] = {}

    @torch.no_grad()
    def ours() -> None:
        (done,) = engine.run([Request(model.embed(*given)[0], 1)])
        ids["engine"] = done.ids[0]

    @torch.no_grad()
    def theirs() -> None:
        ids["transformers"] = int(common.generate(model.language_model, model.embed(*given), 1)[0, -1])

    ways = {"engine": ours, "transformers": theirs}
    for way in ways.values():
        way()
    flop = common.counted_flop(theirs)
    own = {id(each) for each in model.language_model.parameters()}
    read = sum(each.numel() * each.element_size() for each in model.parameters() if id(each) not in own)
    read += common.weight_bytes(model.language_model)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5 * options.repeats):
        for name, way in ways.items():
            took[name].append(1e3 * common.seconds(way, options.device))
    found = {name: statistics.median(times) for name, times in took.items()}
    return {
        "places": batch["input_ids"].shape[1],
        "ceilings": limits.told(),
        "first token, ms": found,
        "percent of the ceilings": {
            name: limits.percent(each / 1e3, flop=flop, read=read) for name, each in found.items()
        },
        "ratio": found["transformers"] / found["engine"],
        "same token": ids["engine"] == ids["transformers"],
    }


def main(words: list[str] | None = None) -> None:
    """See the module."""
    parser = common.parser(__doc__)
    parser.add_argument("--text", type=int, default=80, help="tokens of text behind the ECG and its page")
    options = common.flags(parser, words)
    if options.preset not in SIZES:
        parser.error(f"no towers go with --preset {options.preset}; take {' or '.join(SIZES)}")
    strictly(options.device != "cpu")
    common.tell(measure(options), options)


if __name__ == "__main__":
    main()
