"""Supervised pre-training of a tower: ``python -m llava_ecg.train.tiny.towers ecg|image --data TOY --out FOLDER``.

A tower on random weights has nothing to say to a language model. Here it learns to tell, from its own tokens, what is
known of each recording: rate, intervals and axis as bins (so that every value has a direction of its own for the
projector to find), regularity and P waves as yes or no. What is not known of a recording costs nothing. The heads are
thrown away.

The records come from ``playground/make_toy.py``: ``train.json``, ``test.json`` (to report on), ``truth.json``.

Axes: B batch, L leads, T samples, P tokens, W width, K bins of all heads.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import Page, draw_page
from llava_ecg.errors import InputError
from llava_ecg.model.saving import save_tower
from llava_ecg.model.towers.tower import build_tower
from llava_ecg.train.tiny.loop import optimise


@dataclass(frozen=True)
class Quantity:
    """A measured value and its bins."""

    name: str
    low: float
    high: float
    step: float
    circular: bool = False

    @property
    def centres(self) -> torch.Tensor:
        return torch.arange(self.low, self.high + 1e-6 - (self.step if self.circular else 0), self.step)

    def soft(self, values: torch.Tensor) -> torch.Tensor:
        """[B] -> [B, bins]: a bell of one bin's width around the value; NaN rows stay NaN."""
        distance = values[:, None] - self.centres
        if self.circular:
            distance = (distance + 180) % 360 - 180
        return torch.softmax(-0.5 * (distance / self.step) ** 2, dim=1)

    def expect(self, logits: torch.Tensor) -> torch.Tensor:
        """[B, bins] -> [B]: the mean value of the predicted distribution."""
        weight = torch.softmax(logits, dim=1)
        if not self.circular:
            return weight @ self.centres
        angle = torch.deg2rad(self.centres)
        return torch.rad2deg(torch.atan2(weight @ angle.sin(), weight @ angle.cos()))


QUANTITIES = (
    Quantity("heart_rate_bpm", 30, 200, 2.5),
    Quantity("pr_ms", 80, 320, 10),
    Quantity("qrs_ms", 60, 200, 5),
    Quantity("qt_ms", 240, 600, 10),
    Quantity("axis_deg", -180, 180, 10, circular=True),
)
PARTS = 7  # vertical strips of a page's patch in which beats are looked for
BEAT_WEIGHT = 4.0  # beats are rare
YES_NO = ("rhythm_regular", "p_present")
BINS = sum(len(quantity.centres) for quantity in QUANTITIES) + len(YES_NO)

SIZES: dict[str, dict[str, Any]] = {
    "ecg": {
        "tower": "ecg_coca",
        "tower_config": {"layers": 5, "width": 256, "head_width": 32, "embed_dim": 128},
        "preparation": {"leads": "standard", "rate": 500},
    },
    "image": {
        "tower": "clip",
        "tower_config": {
            "vision_config": {
                "hidden_size": 256,
                "intermediate_size": 1024,
                "num_hidden_layers": 5,
                "num_attention_heads": 8,
                "image_size": 336,
                "patch_size": 28,
                "projection_dim": 128,
            },
        },
        "preparation": {"aspect": "squash"},
    },
}


class Probe(nn.Module):
    """A tower and its heads: the class token's for the ECG tower, the mean token's where there is no class token."""

    def __init__(self, tower: Any, pooled: str, parts: int) -> None:
        super().__init__()
        self.tower, self.pooled = tower, pooled
        self.heads = nn.Sequential(nn.LayerNorm(tower.width), nn.Linear(tower.width, BINS))
        self.beat = nn.Linear(tower.width, parts)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> [B, K] logits of all heads, [B, P, parts] logits of a beat in each part of a token's span."""
        tokens = self.tower(values)
        pooled = tokens[:, 0] if self.pooled == "class" else tokens.mean(dim=1)
        return self.heads(pooled).float(), self.beat(tokens).float()


@dataclass
class Records:
    """What is trained on, prepared: values [N, ...] in a small dtype, targets float32 [N, quantities + yes/no] (NaN
    where unknown), beats bool [N, P, parts]: whether a QRS complex lies in that part of what a token covers."""

    values: torch.Tensor
    targets: torch.Tensor
    beats: torch.Tensor

    def __len__(self) -> int:
        return self.values.shape[0]


def load_records(data: Path, split: str, stream: str, tower: Any, preparer: Any, dpi: float, limit: int = 0) -> Records:
    """Read and prepare one split of a folder that make_toy wrote; of more than `limit` records (0: no limit), every
    n-th."""
    records = json.loads((data / f"{split}.json").read_text())
    records = records[:: math.ceil(len(records) / limit)] if limit else records
    truth = json.loads((data / "truth.json").read_text())
    values, targets, beats = [], [], []
    for number, record in enumerate(records):
        recording, facts = read(data / record["ecg"]), truth[record["id"]]["facts"]
        times = truth[record["id"]]["beats_s"]
        if stream == "ecg":
            source: Any = recording
            flags = beats_in_signal(recording, times, tower.tokens)
        else:
            page = draw_page(recording, dpi=dpi)
            source, flags = page.image, beats_on_page(page, times, tower.side)
        values.append(preparer.prepare(source).values[0].half())
        row = [facts.get(name) for name in (*(quantity.name for quantity in QUANTITIES), *YES_NO)]
        targets.append([math.nan if value is None else float(value) for value in row])
        beats.append(flags)
        if number % 500 == 499:
            print(f"  {split}: {number + 1} of {len(records)} prepared", flush=True)
    if not values:
        raise InputError(f"{data / split}.json has no records")
    return Records(torch.stack(values), torch.tensor(targets), torch.stack(beats))


def beats_in_signal(recording: Recording, times: Sequence[float], tokens: int) -> torch.Tensor:
    """bool [P, 1]: which token after the class token has a QRS complex in its tenth of a second."""
    flags = torch.zeros(tokens, 1, dtype=torch.bool)
    for beat in times:
        if int(beat * 10) + 1 < tokens:
            flags[int(beat * 10) + 1] = True
    return flags


def beats_on_page(page: Page, times: Sequence[float], side: int) -> torch.Tensor:
    """bool [P, PARTS]: which vertical strips of which patches of the squashed page have a QRS complex of a recorded
    lead in them."""
    flags = torch.zeros(side, side * PARTS, dtype=torch.bool)
    for box in page.boxes:
        row = int(box.baseline / page.image.height * side)
        for beat in times:
            if box.recorded and box.t0 <= beat < box.t1:
                x, _ = page.at(box, beat, box.level_mv)
                flags[row, int(x / page.image.width * side * PARTS)] = True
    return flags.view(side, side, PARTS).flatten(0, 1)


def loss(logits: torch.Tensor, beat_logits: torch.Tensor, targets: torch.Tensor, beats: torch.Tensor) -> torch.Tensor:
    """Cross entropy to the soft bins, binary cross entropy to yes/no and to the beats; unknown targets cost nothing."""
    total, start = logits.new_zeros(()), 0
    for column, quantity in enumerate(QUANTITIES):
        width = len(quantity.centres)
        known = ~targets[:, column].isnan()
        if known.any():
            soft = quantity.soft(targets[known, column])
            total = total + nn.functional.cross_entropy(logits[known, start : start + width], soft)
        start += width
    for column in range(len(QUANTITIES), targets.shape[1]):
        known = ~targets[:, column].isnan()
        if known.any():
            total = total + nn.functional.binary_cross_entropy_with_logits(logits[known, start], targets[known, column])
        start += 1
    weight = torch.tensor(BEAT_WEIGHT)
    return total + 2 * nn.functional.binary_cross_entropy_with_logits(beat_logits, beats.float(), pos_weight=weight)


def augment(values: torch.Tensor, stream: str, generator: torch.Generator) -> torch.Tensor:
    """Gain, noise and dropped leads for signals; brightness, contrast and small shifts for pages."""
    batch = values.shape[0]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    if stream == "ecg":
        values = values * uniform(0.6, 1.6, batch, 1, 1)
        values = values + uniform(0, 0.03, batch, 1, 1) * torch.randn(values.shape, generator=generator)
        drop = (uniform(0, 1, batch, values.shape[1], 1) < 0.08) & (uniform(0, 1, batch, 1, 1) < 0.3)
        return values.masked_fill(drop, 0.0)
    values = values * uniform(0.85, 1.1, batch, 1, 1, 1) + uniform(-0.2, 0.2, batch, 1, 1, 1)
    shift = torch.randint(-3, 4, (2,), generator=generator).tolist()
    return torch.roll(values, shift, dims=(2, 3))


@torch.no_grad()
def evaluate(probe: Probe, records: Records, batch: int = 64) -> dict[str, float]:
    """Mean absolute errors of the quantities and accuracy of yes/no, on what is known."""
    probe.eval()
    logits = torch.cat([probe(records.values[at : at + batch].float())[0] for at in range(0, len(records), batch)])
    out: dict[str, float] = {}
    start = 0
    for column, quantity in enumerate(QUANTITIES):
        width = len(quantity.centres)
        known = ~records.targets[:, column].isnan()
        if known.any():
            error = quantity.expect(logits[known, start : start + width]) - records.targets[known, column]
            if quantity.circular:
                error = (error + 180) % 360 - 180
            out[quantity.name] = float(error.abs().mean())
        start += width
    for offset, name in enumerate(YES_NO):
        known = ~records.targets[:, len(QUANTITIES) + offset].isnan()
        if known.any():
            right = (logits[known, start + offset] > 0) == (records.targets[known, len(QUANTITIES) + offset] > 0.5)
            out[name] = float(right.float().mean())
    probe.train()
    return {name: round(value, 3) for name, value in out.items()}


def blind_to_background(tower: Any) -> None:
    """Start an image tower's patch filters without a response to a plain colour: a page is nearly all background, and
    what is drawn on it would else be lost in the first layer norm."""
    weight = tower.vision_tower.get_input_embeddings().weight
    with torch.no_grad():
        weight -= weight.mean(dim=(1, 2, 3), keepdim=True)
        weight *= 5.0


def train(probe: Probe, train_set: Records, test_set: Records, stream: str, args: argparse.Namespace) -> None:
    """AdamW, warm-up and cosine, for ``args.epochs`` or until ``args.minutes`` are over (the schedule follows whichever
    ends first)."""
    generator = torch.Generator().manual_seed(args.seed)
    per_epoch = len(train_set) // args.batch_size
    began, running = time.time(), 0.0

    def cost(rows: torch.Tensor) -> torch.Tensor:
        values = augment(train_set.values[rows].float(), stream, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, beat_logits = probe(values)
        return loss(logits, beat_logits, train_set.targets[rows], train_set.beats[rows])

    def batches() -> Iterator[torch.Tensor]:
        for _ in range(args.epochs):
            order = torch.randperm(len(train_set), generator=generator)
            yield from order[: per_epoch * args.batch_size].split(args.batch_size)

    def done(step: int) -> float:
        over = (time.time() - began) / (60 * args.minutes) if args.minutes else 0.0
        return max(step / (args.epochs * per_epoch), over)

    costs = (partial(cost, rows) for rows in batches())
    for step, found in optimise([(probe, args.learning_rate)], costs, done, warm_up=100, weight_decay=0.05):
        running = 0.98 * running + 0.02 * found if step else found
        epoch, left = divmod(step + 1, per_epoch)
        if not left and ((epoch - 1) % args.report_every == 0 or epoch == args.epochs):
            passed = time.time() - began
            told = evaluate(probe, test_set)
            print(f"epoch {epoch} step {step + 1} {passed:.0f} s loss {running:.3f} {told}", flush=True)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.towers", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("stream", choices=sorted(SIZES), help="which tower")
    parser.add_argument("--data", type=Path, required=True, help="folder that playground/make_toy.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tower")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end after so many minutes of training (0: after the epochs)"
    )
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--dpi", type=float, default=100.0, help="at which pages are rendered (image tower)")
    parser.add_argument("--limit", type=int, default=0, help="at most so many records of each split (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report_every", type=int, default=1, help="epochs between reports on test.json")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train one tower and write it."""
    args = build_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    size = SIZES[args.stream]
    try:
        tower = build_tower(size["tower"], size["tower_config"])
        preparer = tower.preparer(**size["preparation"])
        sets = [
            load_records(args.data, split, args.stream, tower, preparer, args.dpi, args.limit)
            for split in ("train", "test")
        ]
        if len(sets[0]) < args.batch_size or not len(sets[1]):
            raise InputError(
                f"{args.data} has {len(sets[0])} training and {len(sets[1])} test records; at least "
                f"{args.batch_size} and 1 are needed"
            )
        args.out.mkdir(parents=True, exist_ok=True)  # what can't be written to is found before the training
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"llava_ecg.train.tiny.towers: {error}", file=sys.stderr)
        return 2
    if args.stream == "image":
        blind_to_background(tower)
    probe = Probe(tower, *(("class", 1) if args.stream == "ecg" else ("mean", PARTS)))
    print(
        f"{args.stream} tower: {sum(p.numel() for p in tower.parameters()):,} parameters, {len(sets[0])} records",
        flush=True,
    )
    train(probe, sets[0], sets[1], args.stream, args)
    result = evaluate(probe, sets[1])
    print(json.dumps({"stream": args.stream, "test_records": len(sets[1]), "mean_absolute_error_or_accuracy": result}))
    save_tower(tower, size["tower"], size["tower_config"], size["preparation"], args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
