"""Linear layers that read the same input, as one: a matrix for query, key and value, a matrix for gate and up.

Weights are not held twice: the joined matrix takes the place of the layers' own, whose parameters become views of its
rows. So transformers' forward, saving, and an optimizer's steps go on as before, on the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from llava_ecg.engine.w8a8 import Int8Linear


class Joined:
    """Several layers [.., D] -> [.., out], as one [.., D] -> [.., sum of out].

    So are layers in 8 bits of ours. Others (a LoRA kept beside its layer, one that bitsandbytes quantised, several
    kinds of number) are called one by one instead, as they are.

    Attributes:
        weight, bias: of all; None where they are called one by one, or in 8 bits.
        whole: all of them in 8 bits, else None.
    """

    def __init__(self, *layers: nn.Module) -> None:
        self.layers = layers
        self.weight: torch.Tensor | None = None
        self.bias: torch.Tensor | None = None
        self.whole: Int8Linear | None = None
        self._seen: list[tuple[Any, ...]] = []
        eight = [layer for layer in layers if isinstance(layer, Int8Linear)]
        if len(eight) == len(layers) and len({(type(layer), layer.bias is None) for layer in eight}) == 1:
            self.whole = type(eight[0]).joined(eight)
            self._product = self.whole.product
            # as plain attributes: to look them up in a module takes a tenth of a small product's time
            self._parts = (self.whole.weight.data.t(), self.whole.scale, self.whole.bias)
        plain = [layer for layer in layers if type(layer) is nn.Linear]
        kinds = {(layer.weight.dtype, layer.weight.device, layer.bias is None) for layer in plain}
        if len(plain) == len(layers) and len(kinds) == 1:
            self.weight = _stacked([layer.weight for layer in plain])
            self.bias = None if plain[0].bias is None else _stacked([layer.bias for layer in plain])
        self._seen = self._places()

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """[.., D] -> [.., sum of out]"""
        if self.weight is not None:
            return linear(values, self.weight, self.bias)
        if self.whole is not None:
            return self._product(values, *self._parts) if values.ndim == 2 else self.whole.forward(values)
        if len(self.layers) == 1:
            found: torch.Tensor = self.layers[0](values)
            return found
        return torch.cat([layer(values) for layer in self.layers], dim=-1)

    def holds(self, *layers: nn.Module) -> bool:
        """Whether these are still the layers, and their parameters still where they were joined: not after
        ``model.to(...)``, nor where a LoRA was put around one."""
        return all(one is other for one, other in zip(self.layers, layers, strict=True)) and (
            self._places() == self._seen
        )

    def _places(self) -> list[tuple[Any, ...]]:
        if self.weight is None and self.whole is None:
            return []
        owned = [value for layer in self.layers for value in layer._parameters.values() if value is not None]
        return [(value.data_ptr(), value.dtype, value.device) for value in owned]


def _stacked(parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """[sum of out, ..] of parameters [out, ..], which become views of it; those that are so already stay."""
    first = parameters[0].data
    if len(parameters) == 1:
        return first
    rows = [each.shape[0] for each in parameters]
    ends = [first.data_ptr(), *(each.data_ptr() + each.numel() * each.element_size() for each in parameters)]
    storages = {each.untyped_storage().data_ptr() for each in parameters}
    behind = all(each.data_ptr() == end for each, end in zip(parameters, ends[:-1], strict=True))
    if len(storages) == 1 and behind and all(each.is_contiguous() for each in parameters):
        return first.as_strided((sum(rows), *first.shape[1:]), first.stride())
    whole = torch.cat([each.data for each in parameters])
    for each, own in zip(parameters, whole.split(rows), strict=True):
        each.data = own
    return whole
