"""Whether a model's weights are those of before: what was computed with others is of no use.

It reads some numbers of each, not all of them: milliseconds, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

SAMPLED = 64
"""Numbers of each weight that are looked at to see whether it changed."""


class State:
    """What weights are: where they lie, of which kind, how often torch saw them written to, some of their numbers (what
    is written past torch's count, as by PEFT's merging, shows there), and which LoRA is on.

    Args:
        model: whose weights.
        without: a part of it that is not looked at.
    """

    @torch.no_grad()
    def __init__(self, model: Any, *, without: Any = None) -> None:
        others = set() if without is None else {id(each) for each in _tensors(without)}
        tensors = [each for each in _tensors(model) if id(each) not in others]
        self._told = [
            (each.data_ptr(), each.dtype, each.device, tuple(each.shape), 0 if each.is_inference() else each._version)
            for each in tensors
        ]
        self._training = bool(model.training)
        self._adapters = [_adapters(module) for module in model.modules() if hasattr(module, "merged_adapters")]
        # copied by cat: what is written later must not show in it
        devices = dict.fromkeys(each.device for each in tensors)
        self._numbers = [torch.cat([_some(each) for each in tensors if each.device == device]) for device in devices]

    def same(self, other: State) -> bool:
        """Whether nothing changed."""
        return (
            self._told == other._told
            and self._training == other._training
            and self._adapters == other._adapters
            and all(torch.equal(*both) for both in zip(self._numbers, other._numbers, strict=True))
        )


def _tensors(model: Any) -> Iterator[torch.Tensor]:
    return chain(model.parameters(), model.buffers())


def _adapters(module: Any) -> tuple[Any, ...]:
    scaling = tuple(sorted(getattr(module, "scaling", {}).items()))
    return tuple(module.active_adapters), tuple(module.merged_adapters), module.disable_adapters, scaling


def _some(values: torch.Tensor) -> torch.Tensor:
    """Bits of up to `SAMPLED` numbers from all over a tensor, as bytes."""
    flat = values.reshape(-1) if values.is_contiguous() else values.flatten()
    return flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED].contiguous().view(torch.uint8)
