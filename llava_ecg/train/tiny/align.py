"""Alignment: ``python -m llava_ecg.train.tiny.align --data TOY --ecg_tower A --vision_tower B --base NAME --out
FOLDER``.

Before a language model is trained, towers and projectors learn to write a short caption in its own token embeddings:
the first tokens of each stream, projected, come to lie where the words "rate 0 7 2 regular ..." lie. A language model
then has only to read them, which it learns from a few hundred answers instead of many thousands; no pass through the
language model is needed here, only its embedding. (CoCa's captioner, cut down to a fixed form: Yu et al. 2022.) All
other tokens of a stream are free.

Axes: B batch, M slots of the caption, C words that a caption may have, D width of the language model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from llava_ecg.checkpoint.places.find import find
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, load_tokenizer, tower_stream
from llava_ecg.model.saving import save_tower
from llava_ecg.train.tiny.loop import optimise
from llava_ecg.train.tiny.towers import augment, load_records

DIGITS = tuple("0123456789")
# each slot's word where it is always the same, else the fact it depends on
FORM = (
    *(" rate", "rate:0", "rate:1", "rate:2", "regular", " wave", "wave"),
    *(" interval", "pr:0", "pr:1", "pr:2", " width", "qrs:0", "qrs:1", "qrs:2"),
    *(
        " corrected",
        "qtc:0",
        "qtc:1",
        "qtc:2",
        " total",
        "qt:0",
        "qt:1",
        "qt:2",
        " axis",
        "sign",
        "axis:0",
        "axis:1",
        "axis:2",
    ),
)
WORDS = (*DIGITS, *(word for word in FORM if word.startswith(" ")), " regular", " irregular", " yes", " no", "+", "-")
NUMBERS = {
    "rate": ("heart_rate_bpm", 1),
    "pr": ("pr_ms", 10),
    "qrs": ("qrs_ms", 5),
    "qtc": ("qtc_bazett_ms", 10),
    "qt": ("qt_ms", 10),
}
UNKNOWN = -1


def caption(facts: Mapping[str, Any]) -> list[int]:
    """The facts of a record as numbers of `WORDS`, one a slot of `FORM`; `UNKNOWN` where a fact is not known."""
    said: dict[str, str | None] = {
        "regular": {True: " regular", False: " irregular", None: None}[facts.get("rhythm_regular")],
        "wave": {True: " yes", False: " no", None: None}[facts.get("p_present")],
    }
    for name, (fact, step) in NUMBERS.items():
        value = facts.get(fact)
        for place in range(3):
            said[f"{name}:{place}"] = None if value is None else f"{step * math.floor(value / step + 0.5):03.0f}"[place]
    if facts.get("p_present") is False:
        said |= {f"pr:{place}": "-" for place in range(3)}
    axis = facts.get("axis_deg")
    rounded = None if axis is None else (10 * math.floor(axis / 10 + 0.5) + 179) % 360 - 179
    said["sign"] = None if rounded is None else "-" if rounded < 0 else "+"
    for place in range(3):
        said[f"axis:{place}"] = None if rounded is None else f"{abs(rounded):03d}"[place]
    words = [slot if slot.startswith(" ") else said[slot] for slot in FORM]
    return [UNKNOWN if word is None else WORDS.index(word) for word in words]


def word_embeddings(model: LlavaEcgForCausalLM, tokenizer: Any) -> torch.Tensor:
    """[C, D]: where each of `WORDS` lies.

    Raises:
        InputError: a word is not one token.
    """
    ids = [tokenizer.encode(word, add_special_tokens=False) for word in WORDS]
    split = [word for word, parts in zip(WORDS, ids, strict=True) if len(parts) != 1]
    if split:
        raise InputError(f"the tokenizer splits {', '.join(map(repr, split))}; captions need one token a word")
    weight: Any = model.get_input_embeddings().weight
    return weight.detach().float()[[parts[0] for parts in ids]]


def caption_loss(
    features: torch.Tensor, captions: torch.Tensor, words: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far written captions lie from the true ones.

    Args:
        features: float [B, M, D], what the projector gave.
        captions: int64 [B, M], numbers of words, `UNKNOWN` where there is nothing to compare with.
        words: float [C, D].

    Returns:
        The loss (cross entropy over distances, and the distance to the true word), and bool [B, M]: the nearest word is
        the true one.
    """
    size = words.pow(2).sum(dim=1).mean()
    distance = (
        features.pow(2).sum(-1, keepdim=True) - 2 * features @ words.T + words.pow(2).sum(-1)
    ) / size  # [B, M, C]
    known = captions != UNKNOWN
    entropy = nn.functional.cross_entropy(-6.0 * distance[known], captions[known])
    away = distance[known].gather(1, captions[known][:, None]).mean()
    return entropy + 0.3 * away, distance.argmin(dim=-1) == captions


def write(model: LlavaEcgForCausalLM, name: str, values: torch.Tensor) -> torch.Tensor:
    """[n, ...] -> float32 [n, M, D]: the part of a stream's projected tokens that holds the caption (after the ECG's
    class token)."""
    towers: Any = model.towers
    first = 1 if name == "ecg" else 0
    tokens = towers[name].tokens
    index = torch.arange(len(values))[:, None] * tokens + torch.arange(first, first + len(FORM))
    return model.features(name, values, index.flatten()).view(len(values), len(FORM), -1).float()


def load(
    data: Path, name: str, model: LlavaEcgForCausalLM, limit: int, dpi: float
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Split -> (values, captions) of one stream."""
    towers: Any = model.towers
    truth = json.loads((data / "truth.json").read_text())
    out = {}
    for split in ("train", "test"):
        records = json.loads((data / f"{split}.json").read_text())
        records = records[:: math.ceil(len(records) / limit)] if limit else records
        found = load_records(data, split, name, towers[name], model.preparers()[name], dpi, limit)
        out[split] = found.values, torch.tensor([caption(truth[record["id"]]["facts"]) for record in records])
    return out


@torch.no_grad()
def report(
    model: LlavaEcgForCausalLM, name: str, values: torch.Tensor, captions: torch.Tensor, words: torch.Tensor
) -> str:
    """Share of right words, and how far the written rate is off."""
    features = torch.cat([write(model, name, values[at : at + 50].float()) for at in range(0, len(values), 50)])
    _, right = caption_loss(features, captions, words)
    digits = torch.cdist(features[:, 1:4], words[None, :10]).argmin(dim=-1)  # [B, 3]
    scale = torch.tensor([100, 10, 1])
    off = ((digits * scale).sum(dim=1) - (captions[:, 1:4] * scale).sum(dim=1)).abs().float()
    share = right[captions != UNKNOWN].float().mean()
    return f"{name}: {share:.3f} of the words right, rate off by {off.mean():.1f} bpm (median {off.median():.0f})"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.align", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that playground/make_toy.py wrote")
    parser.add_argument("--ecg_tower", type=Path, required=True)
    parser.add_argument("--vision_tower", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m-instruct", help="language model whose embedding is written in")
    parser.add_argument("--out", type=Path, required=True, help="folder for ecg/, image/ and projectors.safetensors")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument(
        "--learning_rate", type=float, default=6e-4, help="of the towers; the projectors learn at three times that"
    )
    parser.add_argument("--ecg_limit", type=int, default=0, help="at most so many records (0: all)")
    parser.add_argument("--image_limit", type=int, default=2200)
    parser.add_argument("--dpi", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def train(model: LlavaEcgForCausalLM, sets: Mapping[str, Any], words: torch.Tensor, args: argparse.Namespace) -> None:
    """Batches of the streams in turn, for ``args.minutes``."""
    generator = torch.Generator().manual_seed(args.seed)
    right: dict[str, float] = {}

    def cost(name: str) -> torch.Tensor:
        values, captions = sets[name]["train"]
        rows = torch.randint(len(values), (args.batch_size,), generator=generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = write(model, name, augment(values[rows].float(), name, generator))
        found, hits = caption_loss(features, captions[rows], words)
        right[name] = float(hits.float().mean())
        return found

    began, streams = time.time(), len(sets)
    steps = optimise(
        [(model.towers, args.learning_rate), (model.projectors, 3 * args.learning_rate)],
        (partial(cost, name) for name in cycle(sets)),
        lambda _: (time.time() - began) / (60 * args.minutes),
        warm_up=40 * streams,
        weight_decay=0.01,
    )
    for step, found in steps:
        name = list(sets)[step % streams]
        if step // streams % 40 == 0:
            passed = time.time() - began
            print(f"step {step} {passed:.0f} s {name} loss {found:.3f}, right {right[name]:.3f}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Align both towers and write them with their projectors."""
    args = build_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    try:
        streams = {"ecg": tower_stream(args.ecg_tower, projector="linear", through="image")}
        streams["image"] = tower_stream(args.vision_tower, projector="mlp2x_gelu")
        folders = {"ecg": args.ecg_tower, "image": args.vision_tower}
        model = compose(args.base, streams, template="plain", tower_folders=folders)
        model.language_model.requires_grad_(False)
        words = word_embeddings(model, load_tokenizer(find(args.base)))
        limits = {"ecg": args.ecg_limit, "image": args.image_limit}
        sets = {name: load(args.data, name, model, limits[name], args.dpi) for name in streams}
        train(model, sets, words, args)
        for name in sets:
            print(report(model, name, *sets[name]["test"], words), flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        for name, stream in streams.items():
            save_tower(model.towers[name], stream.tower, stream.tower_config, stream.preparation, args.out / name)
        save_file(
            {name: value.contiguous() for name, value in model.projectors.state_dict().items()},
            args.out / "projectors.safetensors",
        )
    except (InputError, OSError) as error:
        print(f"llava_ecg.train.tiny.align: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
