"""Packs hold every sample once and little air."""

from __future__ import annotations

import numpy as np
import torch

from llava_ecg.data.batch import counted, pack, pad
from llava_ecg.data.encode import IGNORE, Encoded
from llava_ecg.data.packing import packs_of
from llava_ecg.streams import Prepared


def test_every_sample_once_and_none_over_the_room() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 1000, 500).tolist()
    packs = packs_of(lengths, 2048, seed=1)
    assert sorted(number for each in packs for number in each) == list(range(500))
    sums = [sum(lengths[number] for number in each) for each in packs]
    assert max(sums) <= 2048
    assert sum(sums) / (2048 * len(packs)) > 0.97
    assert packs == packs_of(lengths, 2048, seed=1)
    assert packs != packs_of(lengths, 2048, seed=2)


def test_a_sample_that_is_longer_is_alone() -> None:
    packs = packs_of([10, 3, 4, 3], 8)
    assert [0] in packs
    assert len(packs) == 3, "of 3, 4 and 3 two fit into 8"
    assert sorted(number for each in packs for number in each) == [0, 1, 2, 3]
    assert packs_of([], 8) == []


def sample(length: int, tokens: int, first: int) -> Encoded:
    ids = torch.arange(first, first + length)
    labels = ids.clone()
    labels[1 : 1 + tokens] = IGNORE
    slots = torch.zeros(length, dtype=torch.int8)
    slots[1 : 1 + tokens] = 2
    prepared = Prepared(torch.full((1, 3), float(first)), tokens, torch.arange(tokens))
    return Encoded(ids, labels, slots, {"ecg": (), "image": (prepared,)})


def test_a_pack_is_its_samples_in_a_row() -> None:
    samples = [sample(6, 2, 100), sample(4, 1, 200)]
    batch = counted(pack(samples), ["ecg", "image"])
    assert batch["input_ids"].tolist() == [[*range(100, 106), *range(200, 204)]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3]]
    assert batch["segments"].tolist() == [0, 6, 10]
    assert batch["longest"] == 6
    assert batch["labels"][0].tolist() == [IGNORE, IGNORE, IGNORE, 103, 104, 105, IGNORE, IGNORE, 202, 203]
    assert batch["rows"].tolist() == [2, 3, 4, 7, 8]
    assert batch["targets"].tolist() == [103, 104, 105, 202, 203]
    assert list(batch["streams"]) == ["image"]
    assert batch["streams"]["image"]["places"].tolist() == [1, 2, 7]
    assert batch["streams"]["image"]["index"].tolist() == [0, 1, 2]
    assert samples[1].labels[0] == 200, "the samples stay as they were"


def test_a_padded_batch_is_counted_too() -> None:
    batch = counted(pad([sample(4, 1, 200), sample(6, 2, 100)], 0), ["ecg", "image"])
    assert batch["rows"].tolist() == [1, 2, 8, 9, 10]
    assert batch["targets"].tolist() == [202, 203, 103, 104, 105]
    assert batch["streams"]["image"]["places"].tolist() == [1, 7, 8]
