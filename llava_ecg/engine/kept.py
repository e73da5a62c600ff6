"""What was read already: keys and values of finished sequences, found again by what stands at their places.

Places are compared by their embeddings, number by number, so whatever an embedding comes from (a token, a signal, a
page, the weights of a tower) takes part, and a place that is NaN is like none.

Axes: S places of a sequence, D width, L layers, K key heads, d width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from llava_ecg.engine.state import State

KEPT_BYTES = 1 << 30
"""What finished sequences take at most; a 7B with 32 key heads keeps about 2,000 places in it."""

WORTH = 64
"""Fewer places in common are read anew: a chat template's opening alone is no reason to read prompts one by one."""

MOST = 64
"""Sequences that are kept at most: each new prompt is compared with all of them."""

_SAME = 0.75  # a sequence takes the place of one of which it has this share


@dataclass(frozen=True)
class Finished:
    """A finished sequence: embeddings [S, D], keys and values [2, L, K, S, d]."""

    embeddings: torch.Tensor
    held: torch.Tensor

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.numel() * each.element_size() for each in (self.embeddings, self.held))


class Kept:
    """The last finished sequences, within a limit of bytes; what was used longest ago goes first.

    Attributes:
        limit: in bytes.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._sequences: list[Finished] = []
        self._state: State | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.size for each in self._sequences)

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Finished]:
        return iter(self._sequences)

    def clear(self) -> None:
        """Drop everything."""
        self._sequences.clear()

    def hold_for(self, model: Any) -> None:
        """Drop everything unless it came from these weights, as they are now."""
        now = State(model)
        if self._state is None or not now.same(self._state):
            self._sequences.clear()
        self._state = now

    def used(self, sequence: Finished) -> None:
        """It goes last from now on."""
        self._sequences = [*(each for each in self._sequences if each is not sequence), sequence]

    def add(self, sequence: Finished) -> None:
        """Keep it, and drop those that it has nearly all of, and then as many as are too many."""
        if sequence.size > self.limit:
            return
        new = sequence.embeddings
        self._sequences = [
            each for each in self._sequences if shared(each.embeddings, new) < _SAME * len(each.embeddings)
        ]
        self._sequences.append(sequence)
        while self.size > self.limit or len(self) > MOST:
            self._sequences.pop(0)


def shared(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many places two sequences [S, D] have in common from the first on; 0 where these are fewer than `WORTH`."""
    most = min(len(one), len(other))
    if most < WORTH or not torch.equal(one[:WORTH], other[:WORTH]):
        return 0
    differ = (one[:most] != other[:most]).any(dim=1)
    return int(differ.int().argmax()) if bool(differ.any()) else most


def worth(more: int, than: int) -> bool:
    """Whether it is worth a pass of its own to have `more` places at hand, where `than` are already."""
    return more - than >= WORTH
