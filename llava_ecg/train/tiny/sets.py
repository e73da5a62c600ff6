"""The set of ``llava_ecg.train.tiny.records`` as tensors: signals for the ECG tower, drawn pages for the image tower.

Axes: N records, B batch, P tokens, R parts of a token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llava_ecg.ecg.distort import distort
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import LAYOUTS, Page, draw_page
from llava_ecg.errors import InputError
from llava_ecg.train.tiny.augment import Batch, augmented, augmented_pages
from llava_ecg.train.tiny.records import MARKS, RATE, SAMPLES
from llava_ecg.train.tiny.targets import target_row

PARTS = {"ecg": 10, "image": 14}
"""Parts of a token whose waves are told: 10 ms of signal each, two columns of a page's pixels."""
DISTORTIONS = ("blur", "noise", "jpeg", "shadow")
"""What may be done lightly to a page, without moving anything on it; photographs of paper are out of gem-tiny's
claims."""


@dataclass
class Described:
    """What records.json says.

    Attributes:
        names, splits: of the N records.
        simulated, scaled: bool, N each.
        targets: float32 [N, ...], see `target_row`.
    """

    names: list[str]
    splits: list[str]
    simulated: list[bool]
    scaled: torch.Tensor
    targets: torch.Tensor

    def rows(self, split: str) -> list[int]:
        """The records of a split."""
        return [row for row, own in enumerate(self.splits) if own == split]


def described(records: Sequence[dict[str, Any]]) -> Described:
    """`Described` of the JSON's content."""
    return Described(
        [record["name"] for record in records],
        [record["split"] for record in records],
        [record["name"].startswith("simulated") for record in records],
        torch.tensor([record["scaled"] for record in records]),
        torch.tensor([target_row(record["facts"], record["labels"]) for record in records]),
    )


DPI = (100, 150, 200, 200, 250)
"""Of pages for training, drawn by chance; those for validation have 200, as pages that are drawn for an answer."""


@dataclass
class Signals(Described):
    """The signals: int16 [N, 12, T] in uV, and marks uint8 [N, MARKS]."""

    signals: np.ndarray = field(default_factory=lambda: np.zeros((0, 12, SAMPLES), dtype=np.int16))
    marks: np.ndarray = field(default_factory=lambda: np.zeros((0, MARKS), dtype=np.uint8))

    def values(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [B, 12, T] in mV, as they are."""
        return torch.from_numpy(self.signals[rows.numpy()].astype(np.float32) / 1000)

    def batch(self, rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Augmented values, waves int64 [B, P, R] and targets."""
        marks = torch.from_numpy(self.marks[rows.numpy()])
        found = augmented(Batch(self.values(rows), marks, self.targets[rows], self.scaled[rows]), generator)
        return found.values, waves_of_tokens(found.marks), found.targets


@dataclass
class Pages(Described):
    """Drawn pages: float16 [N, 3, H, W] as the image tower takes them, and waves uint8 [N, P, R]."""

    pages: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 1, 1), dtype=np.float16))
    waves: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 1), dtype=np.uint8))

    def values(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, H, W], as they are."""
        return torch.from_numpy(self.pages[rows.numpy()].astype(np.float32))

    def batch(self, rows: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Augmented values, waves int64 [B, P, R] and targets."""
        values = augmented_pages(self.values(rows), generator)
        return values, torch.from_numpy(self.waves[rows.numpy()]).long(), self.targets[rows]


def waves_of_tokens(marks: torch.Tensor) -> torch.Tensor:
    """uint8 [B, MARKS] -> int64 [B, 1 + 100, 10]: what each token after the class token covers; none for that."""
    tokens = marks.long().unflatten(1, (-1, PARTS["ecg"]))
    return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)


def waves_on_page(page: Page, marks: np.ndarray, side: int) -> np.ndarray:
    """uint8 [P, R]: which wave of a recorded lead lies in which vertical strip of which patch of the squashed page; QRS
    comes before P, and P before T."""
    parts = PARTS["image"]
    waves = np.zeros((side, side * parts), dtype=np.uint8)
    for box in page.boxes:
        row = min(side - 1, int(box.baseline / page.image.height * side))
        if not box.recorded:
            continue
        for wave in (3, 1, 2):
            times = np.flatnonzero(marks == wave) / 100 + 0.005
            times = times[(times >= box.t0) & (times < box.t1)]
            x = box.x0 + (times - box.t0) * (box.x1 - box.x0) / (box.t1 - box.t0)
            waves[row, np.clip(x / page.image.width * side * parts, 0, side * parts - 1).astype(int)] = wave
    return waves.reshape(side, side, parts).reshape(side * side, parts)


def load(data: Path, tower: Any, size: Mapping[str, Any], pages: int, seed: int) -> Signals | Pages:
    """The set for a tower: signals, or pages, which are drawn once and kept beside the signals.

    Args:
        data: what ``llava_ecg.train.tiny.records`` wrote.
        tower: of the size ``size``, an entry of `llava_ecg.train.tiny.towers.SIZES`.
        pages: at most so many, of real records first; the records for validation and testing are all among them.

    Raises:
        InputError: the folder holds no such set.
    """
    try:
        records = json.loads((data / "records.json").read_text(encoding="utf-8"))
        signals, marks = np.load(data / "signals.npy", mmap_mode="r"), np.load(data / "marks.npy")
        found = described(records)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing; make the set: python -m llava_ecg.train.tiny.records") from None
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise InputError(f"the set in {data} is damaged ({error}); make it anew") from error
    if len({len(found.names), len(signals), len(marks)}) > 1:
        counts = f"{len(found.names)} records, {len(signals)} signals, {len(marks)} rows of marks"
        raise InputError(f"the set in {data} is damaged ({counts}); make it anew")
    if size["tower"] == "ecg_coca":
        return Signals(**vars(found), signals=np.asarray(signals), marks=marks)
    chosen = sorted(range(len(records)), key=lambda row: records[row]["name"].startswith("simulated"))[:pages]
    found = described([records[row] for row in chosen])
    preparer = tower.preparer(**size["preparation"])
    drawn, waves = _drawn(data, chosen, records, signals, marks, tower, preparer, seed)
    return Pages(**vars(found), pages=drawn, waves=waves)


def _drawn(
    data: Path,
    chosen: Sequence[int],
    records: Sequence[dict[str, Any]],
    signals: np.ndarray,
    marks: np.ndarray,
    tower: Any,
    preparer: Any,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The pages and their waves, from the folder where they were drawn before."""
    places = data / f"pages-{len(chosen)}-{seed}.npy", data / f"pages-{len(chosen)}-{seed}.waves.npy"
    if all(place.is_file() for place in places):
        return np.load(places[0], mmap_mode="r"), np.load(places[1])
    pages, waves = [], []
    for number, row in enumerate(chosen):
        rng = np.random.default_rng([seed, row])
        plain = records[row]["split"] != "train"
        page, image = _page(signals[row], records[row]["scaled"], rng, plain)
        pages.append(preparer.prepare(image).values[0].half().numpy())
        waves.append(waves_on_page(page, marks[row], tower.side))
        if number % 500 == 499:
            print(f"  {number + 1} of {len(chosen)} pages drawn", flush=True)
    np.save(places[0], np.stack(pages))
    np.save(places[1], np.stack(waves))
    return np.load(places[0], mmap_mode="r"), np.stack(waves)


def _page(signal: np.ndarray, scaled: bool, rng: np.random.Generator, plain: bool) -> tuple[Page, Any]:
    """A page and its picture; for training in one of the layouts and of several sizes, at times lightly distorted.

    A page that was drawn twice as large and then reduced has another ink, which a tower that has seen one size alone
    reads wrongly.
    """
    values = signal.astype(np.float32) / 1000
    if scaled:
        values = values * np.float32(np.exp(rng.uniform(np.log(0.6), np.log(1.6))) if not plain else 1.0)
    recording = Recording(values, float(RATE), STANDARD)
    dpi = 200.0 if plain else float(rng.choice(DPI))
    if plain or rng.random() < 0.6:
        page = draw_page(recording, dpi=dpi)
        return page, page.image
    layout = str(rng.choice(sorted(LAYOUTS)))
    page = draw_page(recording, dpi=dpi, layout=layout, colour=str(rng.choice(["red", "grey"])))
    if rng.random() < 0.5:
        return page, page.image
    kinds = [str(rng.choice(DISTORTIONS))]
    return page, distort(page, int(rng.integers(2**31)), 0.15, kinds).image
