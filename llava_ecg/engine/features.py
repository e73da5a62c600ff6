"""Towers' features by content: what came of the same values through the same weights is not computed again.

It knows no tower; it is handed what computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch

from llava_ecg.engine.state import State

FEATURE_BYTES = 256 << 20

Compute = Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor]
"""Name of a stream, its values and index -> its features; see `llava_ecg.model.llava.LlavaEcgForCausalLM.features`."""


class Features:
    """The last features, within a limit of bytes; what was used longest ago goes first.

    Attributes:
        limit: in bytes.
        size: of what is kept, in bytes.
    """

    def __init__(self, limit: int = FEATURE_BYTES) -> None:
        self.limit, self.size = limit, 0
        self._found: dict[tuple[Any, ...], torch.Tensor] = {}
        self._state: State | None = None

    def hold_for(self, model: Any, *, without: Any = None) -> None:
        """Drop everything unless it came from these weights, as they are now.

        Args:
            without: a part of the model that has no part in the features.
        """
        now = State(model, without=without)
        if self._state is None or not now.same(self._state):
            self._found.clear()
            self.size = 0
        self._state = now

    def through(self, compute: Compute) -> Compute:
        """The same function, that looks here first; what it returns must not be written to."""

        def looked_up(name: str, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            key = (name, _digest(values), _digest(index))
            found = self._found.pop(key, None)
            if found is None:
                found = compute(name, values, index).detach()
                if _size(found) > self.limit:
                    return found
                self.size += _size(found)
            self._found[key] = found
            while self.size > self.limit:
                self.size -= _size(self._found.pop(next(iter(self._found))))
            return found

        return looked_up


def _size(values: torch.Tensor) -> int:
    return values.numel() * values.element_size()


def _digest(values: torch.Tensor) -> tuple[Any, ...]:
    """Shape, kind of number, and a hash of all numbers' bits."""
    whole: Any = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tuple(values.shape), values.dtype, hashlib.blake2b(whole, digest_size=32).digest()
