"""Augmentation in the dataset: another one for each epoch, record and marker, the same in any number of workers, and a
page shows what the signal shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from llava_ecg.data.conversation import MARKER, Conversation, Turn
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.grouping import EpochSampler
from llava_ecg.ecg.augment import Augmentation
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.model.towers.ecg_coca import EcgPreparation
from llava_ecg.model.towers.image import ImagePreparation
from llava_ecg.streams import Prepared

from ..conftest import letter_tokenizer
from .test_dataset import SIMPLE, TOKENS, Fixed


class Number(Fixed):
    """A source is a number, which is what is prepared of it; a page is the number of its signal."""

    def read(self, path: Path) -> float:
        return float(path.name)

    def derive(self, sources: Any) -> Any:
        return sources.get("ecg") if self.stream == "image" else None

    def prepare(self, source: Any) -> Prepared:
        return Prepared(torch.tensor([[source]]), TOKENS[self.stream], torch.arange(TOKENS[self.stream]))


def add(source: float, rng: np.random.Generator) -> float:
    return source + float(rng.random())


def dataset(count: int = 20, **more: Any) -> ConversationDataset:
    turns = (Turn("user", f"{MARKER} {MARKER}"), Turn("assistant", "so"))
    records = [Conversation(turns, {"ecg": (f"{n}", f"{n}")}, f"{n}") for n in range(1, count + 1)]
    preparers: dict[str, Any] = {name: Number(name) for name in TOKENS}
    return ConversationDataset(records, SIMPLE, letter_tokenizer(), preparers, {}, 1000, augment={"ecg": add}, **more)


def drawn(sample: Any) -> list[float]:
    return [float(each.values) for each in sample.streams["ecg"]]


def _drawn(samples: list[Any]) -> list[list[float]]:
    return [drawn(sample) for sample in samples]


def test_what_is_drawn_follows_from_seed_epoch_record_and_marker() -> None:
    data = dataset(seed=3)
    assert data.by_epoch
    epochs = [[drawn(data[number + 20 * epoch]) for number in range(20)] for epoch in range(3)]
    values = [value % 1 for epoch in epochs for pair in epoch for value in pair]
    assert len(set(values)) == len(values) == 120, "no two places share a draw"
    assert [drawn(data[number]) for number in reversed(range(20))][::-1] == epochs[0]
    assert drawn(dataset(seed=4)[0]) != epochs[0][0]
    loader = DataLoader(data, batch_size=3, sampler=EpochSampler(20, seed=3), num_workers=2, collate_fn=_drawn)
    for epoch in range(2):
        found = [each for batch in loader for each in batch]
        assert sorted(found) == sorted(epochs[epoch])


def test_lengths_need_no_draw() -> None:
    data = dataset()
    assert data.lengths() == [len(data[number]) for number in range(20)]


def test_a_page_shows_what_the_signal_shows() -> None:
    for sample in (dataset(derive=True)[0], dataset(derive=True)[25]):
        pages = [float(each.values) for each in sample.streams["image"]]
        assert pages == drawn(sample) and pages[0] % 1 > 0
    alone = dataset(derive=True, readers={"ecg": Number("ecg").read})
    alone.preparers = {"image": Number("image")}
    assert [float(each.values) for each in alone[0].streams["image"]] == drawn(dataset()[0]), "a page model sees it too"


def test_with_the_real_preparers() -> None:
    recording = simulate(Heart(rate_bpm=72), seed=3)[0].select()

    class Reads(EcgPreparation):
        def read(self, path: Path) -> Recording:
            return recording

    turns = (Turn("user", MARKER), Turn("assistant", "so"))
    preparers: dict[str, Any] = {"ecg": Reads(5000, 5, 12), "image": ImagePreparation(56, 2, 4)}

    def sample(augment: dict[str, Any], number: int = 0) -> list[torch.Tensor]:
        data = ConversationDataset(
            [Conversation(turns, {"ecg": ("a",)})], SIMPLE, letter_tokenizer(), preparers, {}, 99, True, augment=augment
        )
        return [each.values for given in data[number].streams.values() for each in given]

    plain, first, again, second = (
        sample({}),
        *(sample({"ecg": Augmentation(wander_mv=0.5, gain=0.3)}, n) for n in (0, 0, 1)),
    )
    for stream in range(2):
        assert torch.equal(first[stream], again[stream])
        assert not torch.equal(first[stream], plain[stream]) and not torch.equal(first[stream], second[stream])
