"""Conversations for gem-tiny, by ``python -m llava_ecg.train.tiny.reading``.

The language model has to read what the streams write (`llava_ecg.train.tiny.align`), so its answers are written from
what the towers make of each line's own input, by their heads: the signal's where there is a signal, else the page's;
with both, rate and regularity are the page's (`FROM_PAGE`). What a stream writes is near to that and often not the
same: between 95 and 105 ms the digits of both are in it, 0 and 1, then 9 and 0. Held against the number that was meant,
the language model learns to read such a mixture; held against the nearest digits, which may be 195, it could not.

Each line shows the signal alone, signal and page, or the page alone. What comes out, ``train.json`` with its files, is
LLaVA JSON for ``python -m llava_ecg.train``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import draw_page
from llava_ecg.errors import InputError
from llava_ecg.model.loading import tower_stream
from llava_ecg.train.tiny.augment import Batch, augmented
from llava_ecg.train.tiny.captions import read_caption
from llava_ecg.train.tiny.probe import Probe, load_probe
from llava_ecg.train.tiny.questions import about_labels, conversation
from llava_ecg.train.tiny.records import RATE
from llava_ecg.train.tiny.sets import DPI, Signals, load
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO
from llava_ecg.train.tiny.towers import SIZES, build_probe

KINDS, SHARES = ("signal", "both", "page"), (0.45, 0.3, 0.25)
"""What a line shows, and how many of the lines."""
FROM_PAGE = ("heart_rate_bpm", "rhythm_regular")
"""What is read off the page where both are shown: a patch of the page is long enough for a beat and the next, a token
of the signal is not."""
REAL = 0.6
ABOUT_LABELS = 0.25
"""How many of the conversations ask about labels alone. At a half, the notes had become worse."""
RARE, OFTEN = ("atrial fibrillation", "left bundle branch block", "right bundle branch block"), 0.4
"""Labels that few records have and notes have to name, and how many of the lines are drawn from records with one."""


@dataclass
class Reader:
    """A tower with its heads, and what prepares its input."""

    probe: Probe
    preparer: Any

    @torch.no_grad()
    def read(self, source: Any) -> dict[str, Any]:
        """What the tower makes of one recording or page, as facts; see `llava_ecg.train.tiny.captions`."""
        told = self.probe(self.preparer.prepare(source).values)
        return read_caption(self.probe.captions(told)[0].tolist())


def reader(stream: str, folder: Path) -> Reader:
    """Of a tower that ``llava_ecg.train.tiny.towers`` wrote.

    Raises:
        InputError: there is none in the folder, or it has no heads.
    """
    probe = build_probe(stream, tower_stream(folder).tower_config)
    load_probe(probe, folder)
    tower: Any = probe.eval().tower
    return Reader(probe, tower.preparer(**SIZES[stream]["preparation"]))


def joined(signal: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    """What is said of a signal with its page."""
    facts = {**signal, **{name: page[name] for name in FROM_PAGE}}
    if facts["p_present"] and facts["pr_ms"] is None:
        facts["pr_ms"] = page["pr_ms"]
    if not facts["p_present"]:
        facts["pr_ms"] = None
    return facts


def drawn(records: Signals, rng: np.random.Generator) -> int:
    """The record of a line: for `OFTEN` of them one with a label of `RARE`, each of these as often; real for `REAL`."""
    pool = records.rows("train")
    if rng.random() < OFTEN:
        column = len(QUANTITIES) + YES_NO.index(str(rng.choice(RARE)))
        pool = [row for row in pool if records.targets[row, column] > 0.5] or pool
    simulated = bool(rng.random() >= REAL)
    return int(rng.choice([row for row in pool if records.simulated[row] == simulated] or pool))


def line(number: int, readers: Mapping[str, Reader], records: Signals, args: Any) -> dict[str, Any]:
    """One conversation with its files written; it depends on the number alone."""
    rng, generator = np.random.default_rng([args.seed, number]), torch.Generator().manual_seed(args.seed + number)
    row = torch.tensor([drawn(records, rng)])
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
        facts = readers["ecg"].read(recording)
    if kind != "signal":
        page = draw_page(recording, dpi=float(rng.choice(DPI))).image
        out["image"] = f"image/{number:05d}.png"
        page.save(args.out / out["image"])
        seen = readers["image"].read(page)
        facts = joined(facts, seen) if kind == "both" else seen
    turns = []
    for asked, answer in about_labels(facts, rng) if rng.random() < ABOUT_LABELS else conversation(facts, rng):
        turns += [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    turns[0]["value"] = "<image>\n" + turns[0]["value"]
    return {**out, "conversations": turns}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.reading", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that llava_ecg.train.tiny.records wrote")
    for stream, name in (("ecg", "ecg_tower"), ("image", "vision_tower")):
        parser.add_argument(
            f"--{name}", type=Path, required=True, help=f"folder of the {stream} tower, by llava_ecg.train.tiny.towers"
        )
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
        readers = {"ecg": reader("ecg", args.ecg_tower), "image": reader("image", args.vision_tower)}
        records = load(args.data, None, SIZES["ecg"], 0, 0)
        assert isinstance(records, Signals)
        lines = []
        for number in range(args.count):
            lines.append(line(number, readers, records, args))
            if number % 200 == 199:
                print(f"  {number + 1} of {args.count}", flush=True)
        (args.out / "train.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError, ValueError, KeyError) as error:
        print(f"llava_ecg.train.tiny.reading: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(lines)} conversations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
