"""Alignment: ``python -m llava_ecg.train.tiny.align --data SET --ecg_tower A --vision_tower B --out FOLDER``.

Before a language model is trained, the streams learn to write a short caption in its own token embeddings
(`llava_ecg.train.tiny.captions`): the first tokens of each stream, projected, come to lie where the words " rate 0 7 2"
lie. A language model then has only to read them, which it learns from a few hundred answers instead of many thousands;
no pass through the language model is needed here, only its embedding. (CoCa's captioner, cut down to a fixed form: Yu
et al. 2022.) All other tokens of a stream are free.

What is to be written is what the tower's own heads make of the same input, as they stood before this training. So every
augmented input has a caption, and its digits agree with each other. The towers get a few layers more to write with
(`llava_ecg.train.tiny.grow`); these and the projectors learn, and what is below stays as it is.

Axes: B batch, M slots of the caption, C words that a caption may have, D width of the language model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from llava_ecg.model.towers.tower import build_tower
from llava_ecg.train.tiny.captions import FORM, WORDS, borders_of, captions, read_caption
from llava_ecg.train.tiny.grow import added_layers, grow, layers_used, rest, trunk
from llava_ecg.train.tiny.loop import Clock, optimise
from llava_ecg.train.tiny.sets import PARTS, Pages, Signals, load
from llava_ecg.train.tiny.sources import LABELS
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO, Probe, roc_area
from llava_ecg.train.tiny.towers import load_probe, tell


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
    features: torch.Tensor, wanted: torch.Tensor, words: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far written captions lie from those that were to be written.

    Args:
        features: float [B, M, D], what the projector gave.
        wanted: int64 [B, M], numbers of words.
        words: float [C, D].

    Returns:
        The loss (cross entropy over distances, and the distance to the wanted word), and bool [B, M]: the nearest word
        is the wanted one.
    """
    apart = distance(features, words)
    entropy = nn.functional.cross_entropy(-6.0 * apart.flatten(0, 1), wanted.flatten())
    away = apart.gather(2, wanted[..., None]).mean()
    return entropy + 0.3 * away, apart.argmin(dim=-1) == wanted


def distance(features: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """[B, M, C]: squared distances, in the words' mean square."""
    size = words.pow(2).sum(dim=1).mean()
    return (features.pow(2).sum(-1, keepdim=True) - 2 * features @ words.T + words.pow(2).sum(-1)) / size


def slots_of(model: LlavaEcgForCausalLM, name: str, tokens: torch.Tensor) -> torch.Tensor:
    """A stream's tower tokens [n, P, W] -> float32 [n, M, D]: the part that holds the caption (after the ECG's class
    token), projected."""
    first = 1 if name == "ecg" else 0
    projected = model.projectors[name](tokens[:, first : first + len(FORM)])
    through = model.config.streams[name]["through"]
    return (projected if through is None else model.projectors[through](projected)).float()


def write(model: LlavaEcgForCausalLM, name: str, values: torch.Tensor) -> torch.Tensor:
    """[n, ...] prepared inputs -> float32 [n, M, D]: what a stream writes of them."""
    towers: Any = model.towers
    return slots_of(model, name, towers[name](values))


@dataclass
class Stream:
    """A stream of the model, the records it learns from, and what it is to write.

    Attributes:
        records: signals or pages.
        teacher: the tower and its heads before this training.
        borders: of `captions`.
        used: layers of the teacher, which the grown tower begins with.
    """

    records: Signals | Pages
    teacher: Probe
    borders: list[float]
    used: int

    @torch.no_grad()
    def read(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, ...] -> float16 [B, P, W], the teacher's tokens with the class token, and int64 [B, M], its caption."""
        tokens = trunk(self.teacher.tower, values)
        own = tokens[:, -self.teacher.tower.tokens :]
        return tokens.half(), captions(self.teacher.tell(own), self.borders)

    def versions(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """`read` of each record for training, ``count`` times with other augmentations."""
        tokens, wanted = [], []
        rows = torch.tensor(self.records.rows("train"))
        for _ in range(count):
            for some in rows.split(50):
                found = self.read(self.records.batch(some, generator)[0])
                tokens.append(found[0])
                wanted.append(found[1])
        return torch.cat(tokens), torch.cat(wanted)


def streams_of(model: LlavaEcgForCausalLM, folders: Mapping[str, Path], args: argparse.Namespace) -> dict[str, Stream]:
    """Each stream with its records and its teacher."""
    towers: Any = model.towers
    out = {}
    for name, folder in folders.items():
        stream = model.config.stream(name)
        size = {"tower": stream.tower, "preparation": stream.preparation}
        records = load(args.data, towers[name], size, args.pages, args.pages_seed)
        own = tower_stream(folder)
        teacher = Probe(build_tower(own.tower, own.tower_config), PARTS[name], paces=name == "ecg")
        load_probe(teacher, folder)
        teacher.requires_grad_(False)
        rows = [row for row in records.rows("val") if not records.simulated[row]] or records.rows("val")
        borders = borders_of(tell(teacher, records, rows), records.targets[rows])
        print(f"{name}: borders {dict(zip(LABELS, (round(border, 2) for border in borders), strict=True))}", flush=True)
        out[name] = Stream(records, teacher.eval(), borders, layers_used(teacher.tower))
    return out


def train(model: LlavaEcgForCausalLM, streams: Mapping[str, Stream], words: torch.Tensor, args: Any) -> bool:
    """The added layers and the projectors, on batches of the streams in turn, for ``args.minutes``; whether they are
    over. The layers below stay, so what they make of each record is computed once."""
    generator = torch.Generator().manual_seed(args.seed)
    read = {name: stream.versions(args.versions, generator) for name, stream in streams.items()}
    for name, (tokens, _) in read.items():
        print(f"{name}: {len(tokens)} records read", flush=True)
    clock = Clock(args.minutes, args.piece)
    towers: Any = model.towers
    right: dict[str, float] = {}

    def cost(name: str) -> torch.Tensor:
        tokens, wanted = read[name]
        rows = torch.randint(len(tokens), (args.batch_size,), generator=generator)
        written = rest(towers[name], tokens[rows].float(), streams[name].used)
        found, hits = caption_loss(slots_of(model, name, written), wanted[rows], words)
        right[name] = float(hits.float().mean())
        return found

    def costs() -> Iterator[Callable[[], torch.Tensor]]:
        for name in cycle(streams):
            yield partial(cost, name)

    added = nn.ModuleList(
        layer for name, stream in streams.items() for layer in added_layers(towers[name], stream.used)
    )
    steps = optimise(
        [(added, args.learning_rate), (model.projectors, args.learning_rate)],
        costs(),
        clock.share,
        warm_up=50 * len(streams),
        weight_decay=0.01,
        state=args.out / "state.pt",
        clock=clock,
    )
    for step, found in steps:
        name = list(streams)[step % len(streams)]
        if step // len(streams) % 50 == 0:
            print(f"step {step} {clock.passed:.0f} s {name} loss {found:.3f}, right {right[name]:.3f}", flush=True)
    return clock.over


@torch.no_grad()
def report(model: LlavaEcgForCausalLM, name: str, stream: Stream, words: torch.Tensor) -> dict[str, Any]:
    """On the real records for validation: the share of the words that are those the teacher would write, how far the
    written numbers are off what is measured, and the areas under the ROC curves of the written digits."""
    records = stream.records
    rows = [row for row in records.rows("val") if not records.simulated[row]] or records.rows("val")
    read, right = [], []
    for at in range(0, len(rows), 50):
        values = records.values(torch.tensor(rows[at : at + 50]))
        nearest = distance(write(model, name, values), words).argmin(dim=-1)
        right.append(nearest == captions(stream.teacher(values), stream.borders))
        read += [read_caption(row) for row in nearest.tolist()]
    found: dict[str, Any] = {"records": len(rows), "words right": float(torch.cat(right).float().mean())}
    for column, quantity in enumerate((*(each.name for each in QUANTITIES), *YES_NO)):
        wanted = records.targets[rows, column]
        pairs = [
            (float(said[quantity]), value)
            for said, value in zip(read, wanted.tolist(), strict=True)
            if said[quantity] is not None and not math.isnan(value)
        ]
        if not pairs:
            continue
        says, true = (torch.tensor(each) for each in zip(*pairs, strict=True))
        if column < len(QUANTITIES):
            off = says - true
            off = (off + 180) % 360 - 180 if quantity == "axis_deg" else off
            found[quantity] = round(float(off.abs().mean()), 2)
        elif (area := roc_area(says, true > 0.5)) is not None:
            found[quantity] = round(area, 3)
    return found


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.align", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that llava_ecg.train.tiny.records wrote")
    parser.add_argument("--ecg_tower", type=Path, required=True)
    parser.add_argument("--vision_tower", type=Path, required=True)
    parser.add_argument("--base", default="smollm2-135m-instruct", help="language model whose embedding is written in")
    parser.add_argument("--out", type=Path, required=True, help="folder for ecg/, image/ and projectors.safetensors")
    parser.add_argument("--grow", type=int, default=2, help="layers that are added to each tower (default 2)")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--piece", type=float, default=math.inf, help="end this run after so many minutes")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--versions", type=int, default=3, help="augmentations of each record (default 3)")
    parser.add_argument("--pages", type=int, default=3600, help="at most so many pages are drawn")
    parser.add_argument(
        "--pages_seed", type=int, default=0, help="--seed of the image tower's training, whose pages these are"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Align both towers and write them with their projectors."""
    args = build_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    try:
        folders = {"ecg": args.ecg_tower, "image": args.vision_tower}
        grown = {name: args.out / f"grown-{name}" for name in folders}
        for name, folder in folders.items():
            grow(folder, grown[name], args.grow)
        made = {"ecg": tower_stream(grown["ecg"], projector="linear", through="image")}
        made["image"] = tower_stream(grown["image"], projector="mlp2x_gelu")
        model = compose(args.base, made, template="plain", tower_folders=grown)
        model.language_model.requires_grad_(False)
        words = word_embeddings(model, load_tokenizer(find(args.base)))
        streams = streams_of(model, folders, args)
        if not train(model, streams, words, args):
            print("broken off; the same command goes on", flush=True)
            return 0
        for name, stream in streams.items():
            print(json.dumps({"stream": name, **report(model, name, stream, words)}), flush=True)
        for name, each in made.items():
            save_tower(model.towers[name], each.tower, each.tower_config, each.preparation, args.out / name)
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
