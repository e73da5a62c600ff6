"""An order of samples in which those of a step are about equally long, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

_STEPS_IN_A_POOL = 50


class GroupedSampler(Sampler[int]):
    """Every sample once an epoch, in a random order of steps; the same in every process and every repeated run.

    Args:
        lengths: of each sample, in tokens.
        kinds: of each sample; a step has one kind, as far as there are enough of it. None where all are alike.
        group: samples in a step, those of all processes and of all batches whose gradient is accumulated.
        seed: of the order, together with the number of the epoch.
    """

    def __init__(
        self, lengths: Sequence[int], group: int, *, kinds: Sequence[object] | None = None, seed: int = 0
    ) -> None:
        self.lengths, self.group, self.seed, self.epoch = lengths, group, seed, 0
        self.kinds = kinds if kinds is not None else [None] * len(lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next round is of; without it each round is the next one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        return iter(grouped(self.lengths, self.kinds, self.group, rng))


class EpochSampler(Sampler[int]):
    """An order that tells the epoch with each number: number + epoch * count, for data that differ from epoch to epoch.

    Args:
        count: of the samples.
        own: the order, such as a `GroupedSampler`; None for a random one.
        seed: of the random one, together with the number of the epoch.
    """

    def __init__(self, count: int, own: GroupedSampler | None = None, *, seed: int = 0) -> None:
        self.count, self.own, self.seed, self.epoch = count, own, seed, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next round is of; without it each round is the next one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.count
        if self.own is not None:
            self.own.set_epoch(self.epoch)
            order = list(self.own)
        else:
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        self.epoch += 1
        return iter([first + number for number in order])


def grouped(lengths: Sequence[int], kinds: Sequence[object], group: int, rng: torch.Generator) -> list[int]:
    """Numbers 0 to n - 1 in groups of like kind and like length.

    Within pools of fifty groups, drawn at random, samples are sorted by length; whole groups are then shuffled. The one
    with the longest sample comes first, so that too little memory shows at the first step; what fills no group of its
    kind comes last.
    """
    shuffled = torch.randperm(len(lengths), generator=rng).tolist()
    groups: list[list[int]] = []
    rest: list[int] = []
    for kind in dict.fromkeys(kinds):
        same = [number for number in shuffled if kinds[number] == kind]
        pool = _STEPS_IN_A_POOL * group
        for begin in range(0, len(same), pool):
            by_length = sorted(same[begin : begin + pool], key=lambda number: -lengths[number])
            whole = len(by_length) // group * group
            groups += [by_length[at : at + group] for at in range(0, whole, group)]
            rest += by_length[whole:]
    order = [groups[at] for at in torch.randperm(len(groups), generator=rng).tolist()]
    order.sort(
        key=lambda numbers: lengths[numbers[0]] < max((lengths[each[0]] for each in groups), default=0)
    )  # stable
    return [number for numbers in [*order, rest] for number in numbers]
