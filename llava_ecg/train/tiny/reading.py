"""Conversations for gem-tiny: ``python -m llava_ecg.train.tiny.reading --data SET --aligned A --out O``.

The language model has to read what the streams write (`llava_ecg.train.tiny.align`), so its answers are written from
what they do write, for each line's own input: the signal's caption where there is a signal, else the page's; with both,
the rhythm is the page's (`FROM_PAGE`). Each line shows the signal alone, signal and page, or the page alone. What comes
out, ``train.json`` with its files, is LLaVA JSON for ``python -m llava_ecg.train``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llava_ecg.checkpoint.places.find import find
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import draw_page
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, load_projectors, load_tokenizer, tower_stream
from llava_ecg.train.tiny.align import distance, word_embeddings, write
from llava_ecg.train.tiny.augment import Batch, augmented
from llava_ecg.train.tiny.captions import read_caption
from llava_ecg.train.tiny.questions import conversation
from llava_ecg.train.tiny.records import RATE
from llava_ecg.train.tiny.sets import Signals, load
from llava_ecg.train.tiny.towers import SIZES

KINDS, SHARES = ("signal", "both", "page"), (0.45, 0.3, 0.25)
"""What a line shows, and how many of the lines."""
FROM_PAGE = ("heart_rate_bpm", "rhythm_regular", "p_present", "atrial fibrillation")
"""What is read off the page where both are shown: a patch of the page is long enough for a beat and the next, a token
of the signal is not, and on recordings of other devices the image tower tells the rate better."""
REAL = 0.6


def aligned(base: str, folder: Path) -> LlavaEcgForCausalLM:
    """The model that ``llava_ecg.train.tiny.align`` wrote, on its language model."""
    streams = {
        "ecg": tower_stream(folder / "ecg", projector="linear", through="image"),
        "image": tower_stream(folder / "image", projector="mlp2x_gelu"),
    }
    towers = {name: folder / name for name in streams}
    model = compose(base, streams, template="plain", tower_folders=towers)
    load_projectors(model, folder / "projectors.safetensors")
    return model.eval()


@torch.no_grad()
def read_stream(model: LlavaEcgForCausalLM, name: str, source: Any, words: torch.Tensor) -> dict[str, Any]:
    """What a stream writes of one recording or page, as facts."""
    values = model.preparers()[name].prepare(source).values
    nearest = distance(write(model, name, values), words).argmin(dim=-1)
    return read_caption(nearest[0].tolist())


def joined(signal: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    """What is said of a signal with its page."""
    facts = {**signal, **{name: page[name] for name in FROM_PAGE}}
    if facts["p_present"] and facts["pr_ms"] is None:
        facts["pr_ms"] = page["pr_ms"]
    if not facts["p_present"]:
        facts["pr_ms"] = None
    return facts


def line(number: int, model: LlavaEcgForCausalLM, words: torch.Tensor, records: Signals, args: Any) -> dict[str, Any]:
    """One conversation with its files written; it depends on the number alone."""
    rng, generator = np.random.default_rng([args.seed, number]), torch.Generator().manual_seed(args.seed + number)
    wanted = bool(rng.random() >= REAL)
    pool = [row for row in records.rows("train") if records.simulated[row] == wanted] or records.rows("train")
    row = torch.tensor([int(rng.choice(pool))])
    marks = torch.from_numpy(records.marks[row.numpy()])
    batch = Batch(records.values(row), marks, records.targets[row], records.scaled[row])
    if rng.random() < 0.6:
        batch = augmented(batch, generator)
    stored = np.clip(np.rint(batch.values[0].numpy() * 1000), -32768, 32767).astype(np.int16)
    recording = Recording(stored.astype(np.float32) / 1000, float(RATE), STANDARD)
    kind = str(rng.choice(KINDS, p=SHARES))
    out: dict[str, Any] = {"id": f"{number:05d}-{records.names[int(row)]}"}
    if kind != "page":
        out["ecg"] = f"ecg/{number:05d}.npz"
        values = {"signal": stored, "rate": np.float64(RATE), "unit": np.array("uV"), "leads": np.array(STANDARD)}
        np.savez_compressed(args.out / out["ecg"], **values)
        facts = read_stream(model, "ecg", recording, words)
    if kind != "signal":
        page = draw_page(recording, dpi=100).image
        out["image"] = f"image/{number:05d}.png"
        page.save(args.out / out["image"])
        seen = read_stream(model, "image", page, words)
        facts = joined(facts, seen) if kind == "both" else seen
    known = all(facts[name] is not None for name in ("heart_rate_bpm", "qrs_ms", "qt_ms", "qtc_bazett_ms", "axis_deg"))
    if not known:  # a caption that is not all numbers says nothing that could be read
        return {}
    turns = []
    for asked, answer in conversation(facts, rng):
        turns += [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    turns[0]["value"] = "<image>\n" + turns[0]["value"]
    return {**out, "conversations": turns}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.reading", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that llava_ecg.train.tiny.records wrote")
    parser.add_argument("--aligned", type=Path, required=True, help="folder that llava_ecg.train.tiny.align wrote")
    parser.add_argument("--base", default="smollm2-135m-instruct", help="the language model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1500, help="conversations (default 1500)")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the conversations."""
    args = build_parser().parse_args(argv)
    try:
        for folder in ("ecg", "image"):
            (args.out / folder).mkdir(parents=True, exist_ok=True)
        model = aligned(args.base, args.aligned)
        words = word_embeddings(model, load_tokenizer(find(args.base)))
        records = load(args.data, None, SIZES["ecg"], 0, 0)
        assert isinstance(records, Signals)
        lines = []
        for number in range(args.count):
            lines.append(line(number, model, words, records, args))
            if number % 200 == 199:
                print(f"  {number + 1} of {args.count}", flush=True)
        kept = [each for each in lines if each]
        (args.out / "train.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"llava_ecg.train.tiny.reading: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(kept)} conversations, {len(lines) - len(kept)} captions could not be read")
    return 0


if __name__ == "__main__":
    sys.exit(main())
