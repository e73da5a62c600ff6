"""Keys and values of the sequences that are being answered, each in a slot of its own.

Axes: N slots, K key heads, P places, D width of a head, T places of all sequences.
"""

from __future__ import annotations

import torch

CHUNK = 256
"""Places come by this number, so that shapes change seldom."""


class Slots:
    """Keys and values [N, K, P, D] of each layer.

    Attributes:
        lengths: how many places of each slot are filled.
        places: P.
        moves: how often they came to lie elsewhere.
    """

    def __init__(self, layers: int, count: int, heads: int, width: int, like: torch.Tensor) -> None:
        self.lengths = [0] * count
        self.places = self.moves = 0
        self._shape = (2, layers, count, heads, width)
        self._held = like.new_empty(2, layers, count, heads, 0, width)
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def reserve(self, places: int) -> None:
        """Let each slot have room for so many places; what they hold stays."""
        if places <= self.places:
            return
        two, layers, count, heads, width = self._shape
        wanted = self.rounded(places)
        grown = self._held.new_empty(two, layers, count, heads, wanted, width)
        filled = max(self.lengths)
        grown[:, :, :, :, :filled] = self._held[:, :, :, :, :filled]
        self._held, self.places, self.moves = grown, wanted, self.moves + 1
        self.layers = list(zip(*(each.unbind(0) for each in grown), strict=True))

    @staticmethod
    def rounded(places: int) -> int:
        """How many places are taken where so many are needed."""
        return -(-places // CHUNK) * CHUNK

    def write(self, layer: int, slot: int, keys: torch.Tensor, values: torch.Tensor, begin: int = 0) -> None:
        """Keys and values [S, K, D] of a whole sequence, or of what follows its first `begin` places."""
        for held, new in zip(self.layers[layer], (keys, values), strict=True):
            held[slot, :, begin : begin + new.shape[0]] = new.transpose(0, 1)

    def held(self, slot: int, places: int) -> torch.Tensor:
        """A view [2, layers, K, places, D] of what a slot holds first: keys and values."""
        return self._held[:, :, slot, :, :places]

    def put(self, slot: int, held: torch.Tensor) -> None:
        """Fill a slot's first places with what another holds, or held: [2, layers, K, places, D]."""
        self._held[:, :, slot, :, : held.shape[3]] = held
        self.lengths[slot] = held.shape[3]

    def append(
        self, layer: int, rows: torch.Tensor, at: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """One place more of each of B sequences: keys and values [B, K, D], slots and places int64 [B]."""
        for held, new in zip(self.layers[layer], (keys, values), strict=True):
            held[rows, :, at] = new
