"""Supervised pre-training of a tower: ``python -m llava_ecg.train.tiny.towers ecg|image|cnn --data SET --out FOLDER``.

A tower on random weights has nothing to say to a language model. Here it learns to tell what is known of each recording
(`llava_ecg.train.tiny.targets`), of the set that ``python -m llava_ecg.train.tiny.records`` wrote. The tower and its
heads are kept. With ``--write`` it also learns to write what its heads say as a caption into its first tokens, word by
word (`llava_ecg.train.tiny.captions`), which `llava_ecg.train.tiny.align` turns into the language model's words; a
tower of ``--init`` gets a few more layers for that (``--grow``), since what is told is the mean of all tokens of the
last layer, which no token of that layer can see. With ``--heads_only`` heads are learned for a tower that stays as it
is, such as one that ``llava_ecg.train.tiny.unpack`` took out of a checkpoint without them. ``--teacher`` is an ECG
tower for pages, and for signals the plain CNN, whose tokens a tower follows (`llava_ecg.train.tiny.following`).

It goes on where it was: ``--piece 20`` ends after twenty minutes with the state written, and the same command goes on.

Axes: B batch, P tokens, R parts of a token.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from llava_ecg.errors import InputError
from llava_ecg.model.loading import tower_stream
from llava_ecg.model.saving import save_tower
from llava_ecg.model.towers.tower import build_tower
from llava_ecg.train.tiny.captions import borders_of
from llava_ecg.train.tiny.following import FOLLOW_WEIGHT, Follower, mixed
from llava_ecg.train.tiny.grow import grow
from llava_ecg.train.tiny.loop import Clock, optimise
from llava_ecg.train.tiny.plain_cnn import PlainCnn
from llava_ecg.train.tiny.probe import Probe, load_probe, load_tower, save_heads, writing_loss
from llava_ecg.train.tiny.sets import PARTS, Pages, Signals, load
from llava_ecg.train.tiny.sources import LABELS, SUPERCLASSES
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO, Told, errors, loss

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
CNN = "cnn"
WRITING_WEIGHT = 10.0
"""Of the caption in the loss; the sum of all other heads begins near 30 and ends near 12."""


def blind_to_background(tower: Any) -> None:
    """Start an image tower's patch filters without a response to a plain colour: a page is nearly all background, and
    what is drawn on it would else be lost in the first layer norm."""
    weight = tower.vision_tower.get_input_embeddings().weight
    with torch.no_grad():
        weight -= weight.mean(dim=(1, 2, 3), keepdim=True)
        weight *= 5.0


def build_probe(stream: str, config: Mapping[str, Any] | None = None) -> Probe:
    """A new tower with its heads, of this config or that of `SIZES`, or the plain CNN that it is held against."""
    if stream == CNN:
        return Probe(PlainCnn(), PARTS["ecg"], paces=True, first=1)
    tower: Any = build_tower(SIZES[stream]["tower"], config or SIZES[stream]["tower_config"])
    if stream == "image":
        blind_to_background(tower)
    return Probe(tower, PARTS[stream], paces=stream == "ecg", first=int(stream == "ecg"))


def begun(args: argparse.Namespace) -> tuple[Probe, dict[str, Any]]:
    """The probe that a training begins with, and its tower's config: a new one, or that of ``--init``, grown; with
    ``--heads_only`` new heads on its tower, which stays as it is.

    Raises:
        InputError: there is none in the folder, or what goes on with one is asked for without.
    """
    if args.init is None:
        if args.grow or args.heads_only:
            raise InputError("--grow and --heads_only go on with a tower that has learned; give it with --init")
        return build_probe(args.stream), dict(SIZES.get(args.stream, {}).get("tower_config", {}))
    folder = args.init
    if args.heads_only:
        if args.grow:
            raise InputError("--grow changes the tower and --heads_only leaves it; give one of them")
        config = dict(tower_stream(folder).tower_config)
        probe = build_probe(args.stream, config)
        load_tower(probe, folder)
        probe.tower.requires_grad_(False)
        return probe, config
    if args.grow:
        folder = args.out / "grown"
        grow(args.init, folder, args.grow)
    config = dict(tower_stream(folder).tower_config)
    probe = build_probe(args.stream, config)
    load_probe(probe, folder, args.init)
    return probe, config


def save_probe(probe: Probe, stream: str, config: Mapping[str, Any], out: Path) -> None:
    """Write the heads, and the tower as checkpoints hold one; the plain CNN's weights have no config beside them."""
    save_heads(probe, out)
    tower: Any = probe.tower
    if stream == CNN:
        save_file(tower.state_dict(), out / "model.safetensors")
    else:
        save_tower(tower, SIZES[stream]["tower"], config, SIZES[stream]["preparation"], out)


@torch.no_grad()
def tell(probe: Probe, records: Signals | Pages, rows: Sequence[int], batch: int = 64) -> Told:
    """What a probe says of records as they are."""
    probe.eval()
    found = [probe(records.values(torch.tensor(rows[at : at + batch]))) for at in range(0, len(rows), batch)]
    probe.train()
    parts = {name: [getattr(each, name) for each in found] for name in ("heads", "waves", "slots")}
    return Told(**{name: torch.cat(each) for name, each in parts.items()})


def evaluate(probe: Probe, records: Signals | Pages, split: str = "val") -> dict[str, dict[str, float]]:
    """Errors and areas (`errors`) over the records of a split, real and simulated apart."""
    out = {}
    for name in ("real", "simulated"):
        rows = [row for row in records.rows(split) if (name == "simulated") == records.simulated[row]]
        if rows:
            told = tell(probe, records, rows)
            out[name] = errors(told, records.targets[rows])
            if told.slots is not None:
                right = told.slots.argmax(dim=-1) == probe.captions(told)
                out[name]["words right"] = round(float(right.float().mean()), 3)
    return out


def tested(probe: Probe, records: Signals | Pages) -> dict[str, float]:
    """On the real records for testing: `errors`, the superclasses' mean area, and their mean F1 at the borders that are
    best on the records for validation. Empty where there are none."""
    known = [row for row in records.rows("val") if not records.simulated[row]]
    rows = records.rows("test")
    if not known or not rows:
        return {}
    borders = torch.tensor(borders_of(tell(probe, records, known), records.targets[known]))[: len(SUPERCLASSES)]
    told, found = tell(probe, records, rows), errors(tell(probe, records, rows), records.targets[rows])
    first = len(YES_NO) - len(LABELS)
    scores = told.yes[:, first : first + len(borders)]
    wanted = records.targets[rows][:, len(QUANTITIES) + first :][:, : len(borders)]
    there = ~wanted.isnan().any(dim=1)
    said, so = scores[there] > borders, wanted[there] > 0.5
    f1 = 2 * (said & so).sum(dim=0) / (said.sum(dim=0) + so.sum(dim=0)).clamp(min=1)
    areas = [found[name] for name in SUPERCLASSES if name in found]
    return found | {"macro F1": round(float(f1.mean()), 3), "macro AUC": round(sum(areas) / len(areas), 3)}


def train(probe: Probe, records: Signals | Pages, args: argparse.Namespace, follower: Follower | None = None) -> bool:
    """AdamW, warm-up and cosine over ``args.minutes`` of training; whether they are over."""
    clock = Clock(args.minutes, args.piece)
    generator = torch.Generator().manual_seed(args.seed)
    rows, weights = records.rows("train"), []
    share = sum(not records.simulated[row] for row in rows) / len(rows)
    for row in rows:
        own = (1 - args.real) / (1 - share) if records.simulated[row] else args.real / share
        weights.append(own if 0 < share < 1 else 1.0)
    chances, places = torch.tensor(weights), torch.tensor(rows)
    running = math.nan

    def cost(picked: torch.Tensor) -> torch.Tensor:
        values, waves, targets = records.batch(picked, generator)
        if follower is not None:
            wanted, targets = follower.ask(values, targets)
        told = probe(values)
        found = loss(told, targets, waves)
        if follower is not None:
            found = found + FOLLOW_WEIGHT * follower.apart(wanted)
        return found + WRITING_WEIGHT * writing_loss(probe, told) if args.write else found

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield places[torch.multinomial(chances, args.batch_size, generator=generator)]

    costs = (partial(cost, picked) for picked in batches())
    parts = [(part, args.learning_rate) for part in (probe, follower) if part is not None]
    state = args.out / "state.pt"
    for step, found in optimise(parts, costs, clock.share, warm_up=200, weight_decay=0.05, state=state, clock=clock):
        running = found if math.isnan(running) else 0.98 * running + 0.02 * found
        if (step + 1) % args.report_every == 0:
            print(f"step {step + 1} {clock.passed:.0f} s loss {running:.3f} {evaluate(probe, records)}", flush=True)
    return clock.over


def taught(records: Pages, data: Path, teacher: Path) -> None:
    """Give pages the answers of an ECG tower on the same records (`mixed`). Only the records for training change.

    Raises:
        InputError: the folder holds no ECG tower.
    """
    probe = build_probe("ecg", tower_stream(teacher).tower_config)
    load_probe(probe, teacher)
    signals = load(data, probe.tower, SIZES["ecg"], 0, 0)
    of_name = {name: row for row, name in enumerate(signals.names)}
    rows = records.rows("train")
    said = tell(probe, signals, [of_name[records.names[row]] for row in rows]).yes
    records.targets[rows] = mixed(records.targets[rows], said)


def follow(probe: Probe, teacher: Path) -> Follower:
    """What makes an ECG tower follow the plain CNN in a folder, up to the layers that a tower has before it grows.

    Raises:
        InputError: the folder holds no plain CNN.
    """
    cnn = build_probe(CNN)
    load_probe(cnn, teacher)
    tower: Any = probe.tower
    return Follower(tower, min(SIZES["ecg"]["tower_config"]["layers"], len(tower.transformer.resblocks)), cnn)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.towers", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("stream", choices=[*SIZES, CNN], help="which tower, or the plain CNN")
    parser.add_argument("--data", type=Path, required=True, help="folder that llava_ecg.train.tiny.records wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tower")
    parser.add_argument("--minutes", type=float, default=40.0, help="of training in all (default 40)")
    parser.add_argument("--piece", type=float, default=math.inf, help="end this run after so many minutes")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--real", type=float, default=0.6, help="share of real records in a batch (default 0.6)")
    parser.add_argument("--pages", type=int, default=3600, help="at most so many pages are drawn (image tower)")
    parser.add_argument("--grow", type=int, default=0, help="layers that are added to the tower of --init")
    parser.add_argument(
        "--write", action="store_true", help="also learn to write a caption of what the heads say, for the alignment"
    )
    parser.add_argument("--init", type=Path, metavar="DIR", help="begin from a tower that this wrote, and its heads")
    parser.add_argument(
        "--heads_only",
        action="store_true",
        help="learn heads anew; the tower of --init, which needs none, stays as it is",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="DIR",
        help="an ECG tower that tells the image tower what is not known, or a plain CNN that the ECG tower follows",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report_every", type=int, default=1000, help="steps between reports")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Train one tower and write it."""
    args = build_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # what can't be written to is found before the training
        probe, config = begun(args)
        records = load(args.data, probe.tower, SIZES.get(args.stream, SIZES["ecg"]), args.pages, args.seed)
        follower = None
        if args.teacher is not None:
            if args.stream == CNN:
                raise InputError("--teacher is for a tower, and the plain CNN is none; leave it away")
            if isinstance(records, Pages):
                taught(records, args.data, args.teacher)
            else:
                follower = follow(probe, args.teacher)
        if len(records.rows("train")) < args.batch_size or not records.rows("val"):
            raise InputError(
                f"{args.data} has {len(records.rows('train'))} records for training and {len(records.rows('val'))} for "
                f"validation; at least {args.batch_size} and 1 are needed"
            )
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"llava_ecg.train.tiny.towers: {error}", file=sys.stderr)
        return 2
    if args.write:
        probe.writes.fill_(True)
        known = [row for row in records.rows("val") if not records.simulated[row]] or records.rows("val")
        probe.borders.copy_(torch.tensor(borders_of(tell(probe, records, known), records.targets[known])))
    size = sum(p.numel() for p in probe.tower.parameters())
    print(f"{args.stream} tower: {size:,} parameters, {len(records.rows('train'))} records", flush=True)
    began = time.time()
    try:
        over = train(probe, records, args, follower)
    except (InputError, OSError) as error:
        print(f"llava_ecg.train.tiny.towers: {error}", file=sys.stderr)
        return 2
    if not over:
        print(f"broken off after {time.time() - began:.0f} s of this run; the same command goes on", flush=True)
        return 0
    print(json.dumps({"stream": args.stream, "validation": evaluate(probe, records), "test": tested(probe, records)}))
    save_probe(probe, args.stream, config, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
