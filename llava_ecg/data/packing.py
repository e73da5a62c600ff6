"""Samples into packs: several samples one behind the other, together about as long as the model's context.

Attention keeps the samples of a pack apart (`llava_ecg.engine.attention`), so a pack is a batch without padding.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import Encoded


def packs_of(lengths: Sequence[int], room: int, *, seed: int = 0) -> list[list[int]]:
    """Every sample in one pack: the longest first, each where it leaves the least room, among equals by chance.

    Args:
        lengths: of each sample, in tokens.
        room: of a pack, in tokens; a sample that is longer is a pack of its own.
        seed: of the order among samples of the same length.
    """
    shuffled = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    packs: list[list[int]] = []
    left: list[tuple[int, int]] = []  # (room that is left, number of the pack), sorted
    for number in sorted(shuffled, key=lambda each: -lengths[each]):  # stable
        at = bisect_left(left, (lengths[number], -1))
        if at < len(left):
            free, pack = left.pop(at)
            packs[pack].append(number)
        else:
            free, pack = room, len(packs)
            packs.append([number])
        if free - lengths[number] > 0:
            insort(left, (free - lengths[number], pack))
    return packs


class PackedDataset(Dataset[list[Encoded]]):
    """Packs of a `ConversationDataset`; which samples lie together is the same in every epoch and process.

    Args:
        dataset: the samples.
        seed: of the packs.

    Raises:
        InputError: a record can't be read whose signal or image has to be counted.
    """

    def __init__(self, dataset: ConversationDataset, *, seed: int = 0) -> None:
        self.dataset = dataset
        self.packs = packs_of(dataset.lengths(), dataset.max_length, seed=seed)

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, number: int) -> list[Encoded]:
        """The samples of a pack.

        Args:
            number: of the pack, and in later epochs plus the number of packs for each epoch
                (`llava_ecg.data.grouping.EpochSampler`).
        """
        epoch, number = divmod(number, len(self.packs))
        return [self.dataset[epoch * len(self.dataset) + each] for each in self.packs[number]]
