"""Alignment: ``python -m llava_ecg.train.tiny.align --data SET --ecg_tower A --vision_tower B --out FOLDER``.

Before a language model is trained, the projectors learn to put the captions that the towers write
(`llava_ecg.train.tiny.captions`) into its own token embeddings: the first tokens of each stream, projected, come to lie
where the words " rate 0 7 2" lie. A language model then has only to read them, which it learns from a few hundred
answers instead of many thousands; no pass through the language model is needed here, only its embedding. (CoCa's
captioner, cut down to a fixed form: Yu et al. 2022.) All other tokens of a stream are free.

The towers stay as they are, so their tokens are computed once. What is to be written is what the tower's own heads make
of the same input: every augmented input has a caption, and its digits agree with each other.

Axes: B batch, M slots of the caption, C words that a caption may have, D width of the language model, W of a tower.
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
from llava_ecg.train.tiny.captions import FORM, WORDS, read_caption
from llava_ecg.train.tiny.loop import Clock, optimise
from llava_ecg.train.tiny.probe import Probe, load_heads, save_heads
from llava_ecg.train.tiny.sets import PARTS, Pages, Signals, load
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO, roc_area


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


def projected(model: LlavaEcgForCausalLM, name: str, slots: torch.Tensor) -> torch.Tensor:
    """A tower's tokens [n, M, W] -> float32 [n, M, D], through the stream's projectors."""
    tokens = model.projectors[name](slots)
    through = model.config.streams[name]["through"]
    return (tokens if through is None else model.projectors[through](tokens)).float()


def write(model: LlavaEcgForCausalLM, name: str, values: torch.Tensor) -> torch.Tensor:
    """[n, ...] prepared inputs -> float32 [n, M, D]: what a stream writes of them."""
    towers: Any = model.towers
    first = int(name == "ecg")
    return projected(model, name, towers[name](values)[:, first : first + len(FORM)])


@dataclass
class Stream:
    """A stream of the model, the records it learns from, and what it is to write.

    Attributes:
        records: signals or pages.
        probe: the stream's tower with its heads.
    """

    records: Signals | Pages
    probe: Probe

    @torch.no_grad()
    def versions(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each record for training, ``count`` times with other augmentations: float16 [N, M, W], the tower's tokens
        that hold the caption, and int64 [N, M], the caption."""
        tokens, wanted = [], []
        rows = torch.tensor(self.records.rows("train"))
        for _ in range(count):
            for some in rows.split(50):
                found = self.probe.tower(self.records.batch(some, generator)[0])
                tokens.append(self.probe.slots(found).half())
                wanted.append(self.probe.captions(self.probe.tell(found)))
        return torch.cat(tokens), torch.cat(wanted)


def streams_of(model: LlavaEcgForCausalLM, folders: Mapping[str, Path], args: argparse.Namespace) -> dict[str, Stream]:
    """Each stream with its records, and its tower's heads."""
    towers: Any = model.towers
    out = {}
    for name, folder in folders.items():
        stream = model.config.stream(name)
        size = {"tower": stream.tower, "preparation": stream.preparation}
        probe = Probe(towers[name], PARTS[name], paces=name == "ecg", first=int(name == "ecg"))
        load_heads(probe, folder)
        if not probe.writes:
            raise InputError(f"the tower of {folder} has not learned to write captions; train it on with --write")
        out[name] = Stream(load(args.data, towers[name], size, args.pages, args.pages_seed), probe.eval())
    return out


def train(model: LlavaEcgForCausalLM, streams: Mapping[str, Stream], words: torch.Tensor, args: Any) -> bool:
    """The projectors, on batches of the streams in turn, for ``args.minutes``; whether they are over."""
    generator = torch.Generator().manual_seed(args.seed)
    read = {name: stream.versions(args.versions, generator) for name, stream in streams.items()}
    for name, (tokens, _) in read.items():
        print(f"{name}: {len(tokens)} records read", flush=True)
    clock = Clock(args.minutes, args.piece)
    right: dict[str, float] = {}

    def cost(name: str) -> torch.Tensor:
        tokens, wanted = read[name]
        rows = torch.randint(len(tokens), (args.batch_size,), generator=generator)
        found, hits = caption_loss(projected(model, name, tokens[rows].float()), wanted[rows], words)
        right[name] = float(hits.float().mean())
        return found

    def costs() -> Iterator[Callable[[], torch.Tensor]]:
        for name in cycle(streams):
            yield partial(cost, name)

    steps = optimise(
        [(model.projectors, args.learning_rate)],
        costs(),
        clock.share,
        warm_up=50 * len(streams),
        weight_decay=0.01,
        state=args.out / "state.pt",
        clock=clock,
    )
    for step, found in steps:
        name = list(streams)[step % len(streams)]
        if step // len(streams) % 100 == 0:
            print(f"step {step} {clock.passed:.0f} s {name} loss {found:.3f}, right {right[name]:.3f}", flush=True)
    return clock.over


@torch.no_grad()
def report(model: LlavaEcgForCausalLM, name: str, stream: Stream, words: torch.Tensor) -> dict[str, Any]:
    """On the real records for validation: the share of the words that its heads would write, how far the
    written numbers are off what is measured, and the areas under the ROC curves of the written digits."""
    records = stream.records
    rows = [row for row in records.rows("val") if not records.simulated[row]] or records.rows("val")
    read, right = [], []
    for at in range(0, len(rows), 50):
        values = records.values(torch.tensor(rows[at : at + 50]))
        nearest = distance(write(model, name, values), words).argmin(dim=-1)
        right.append(nearest == stream.probe.captions(stream.probe(values)))
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
    parser.add_argument("--minutes", type=float, default=6.0)
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
    """Align both streams, and write the towers with their projectors."""
    args = build_parser().parse_args(argv)
    torch.manual_seed(args.seed)
    try:
        folders = {"ecg": args.ecg_tower, "image": args.vision_tower}
        made = {"ecg": tower_stream(args.ecg_tower, projector="linear", through="image")}
        made["image"] = tower_stream(args.vision_tower, projector="mlp2x_gelu")
        model = compose(args.base, made, template="plain", tower_folders=folders)
        model.language_model.requires_grad_(False)
        words = word_embeddings(model, load_tokenizer(find(args.base)))
        args.out.mkdir(parents=True, exist_ok=True)
        streams = streams_of(model, folders, args)
        if not train(model, streams, words, args):
            print("broken off; the same command goes on", flush=True)
            return 0
        for name, stream in streams.items():
            print(json.dumps({"stream": name, **report(model, name, stream, words)}), flush=True)
        for name, each in made.items():
            save_tower(model.towers[name], each.tower, each.tower_config, each.preparation, args.out / name)
            save_heads(streams[name].probe, args.out / name)
        save_file(
            {name: value.contiguous() for name, value in model.projectors.state_dict().items()},
            args.out / "projectors.safetensors",
        )
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"llava_ecg.train.tiny.align: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
