"""Linear layers in 8 bits for a CPU: weights int8 with a scale for each output, inputs rounded to int8 as they come,
with a scale for each place, products summed exactly in int32.

This is the scheme that is called W8A8 with dynamic activations (per channel, per token). One matrix product serves a
single place and a whole prompt; torch has it for CPUs (`torch._int_mm`, which oneDNN computes), so nothing is compiled
and no other library is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

_LARGEST = 127
_ROWS = 256
"""Of a weight that are rounded together."""


class Int8Linear(nn.Module):
    """[.., in] -> [.., out], in the dtype of its input.

    Attributes:
        scheme: what it is called by.
        weight: int8 [out, in].
        scale: float32 [out]: of each row of the weight.
        bias: [out] or None.
    """

    scheme = "w8a8"

    def __init__(self, in_features: int, out_features: int, bias: bool, device: str | torch.device = "meta") -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        codes = torch.empty(out_features, in_features, dtype=torch.int8, device=device)
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.scale: torch.Tensor
        self.register_buffer("scale", torch.empty(out_features, device=device), persistent=False)
        self.bias = nn.Parameter(torch.empty(out_features, device=device), requires_grad=False) if bias else None

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """Of a layer of any kind of floating number, whose bias is shared."""
        made = cls(layer.in_features, layer.out_features, False)
        made.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)
        made.take(layer.weight.detach())
        return made

    @classmethod
    def joined(cls, layers: Sequence[Self]) -> Self:
        """Several that read the same input, all with a bias or none, as one [.., in] -> [.., sum of out].

        Codes and scales are not held twice: theirs become views of the whole one's.
        """
        if len(layers) == 1:
            return layers[0]
        rows = [each.out_features for each in layers]
        whole = cls(layers[0].in_features, sum(rows), False)
        whole.weight = nn.Parameter(torch.cat([each.weight.data for each in layers]), requires_grad=False)
        whole.scale = torch.cat([each.scale for each in layers])
        for each, codes, scale in zip(layers, whole.weight.data.split(rows), whole.scale.split(rows), strict=True):
            each.weight.data, each.scale = codes, scale
        if biases := [each.bias.data for each in layers if each.bias is not None]:
            whole.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
        return whole

    def take(self, weight: torch.Tensor) -> None:
        """Round a weight [out, in] and hold that; some rows at a time, so that only these stand in memory twice."""
        codes = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scale = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
        for begin in range(0, len(weight), _ROWS):
            part = slice(begin, begin + _ROWS)
            codes[part], each = rounded(weight[part].to(torch.float32))
            scale[part] = each[:, 0]
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.scale = scale

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[.., in] -> [.., out]

        Raises:
            RuntimeError: a gradient is asked for, which would be lost in the rounding.
        """
        if values.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                f"a layer in 8 bits ({self.scheme}) passes no gradient on; train over int8, nf4 or none of them"
            )
        rows = values.reshape(-1, self.in_features)
        found = self.product(rows, self.weight.t(), self.scale, self.bias)
        return found.reshape(*values.shape[:-1], self.out_features)

    @staticmethod
    def product(
        values: torch.Tensor, turned: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """[n, in] -> [n, out]; see `product`."""
        return product(values, turned, scale, bias)

    def extra_repr(self) -> str:
        """As `nn.Linear`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


def product(values: torch.Tensor, turned: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[n, in] -> [n, out], in the dtype of the values.

    Args:
        values: of any kind of floating number.
        turned: int8 [in, out].
        scale, bias: [out]; bias may be None.
    """
    codes, own = rounded(values if values.dtype is torch.float32 else values.to(torch.float32))
    found = torch.mul(torch._int_mm(codes, turned), scale).mul_(own)
    if bias is not None:
        found += bias
    return found if values.dtype is torch.float32 else found.to(values.dtype)


def works() -> bool:
    """Whether this CPU's sums are exact: some that lack instructions for int8 let large ones overflow."""
    codes = torch.full((8, 64), _LARGEST, dtype=torch.int8)
    codes[1::2] = -_LARGEST
    wanted = codes.to(torch.int64) @ codes.to(torch.int64).t()
    try:
        return bool(torch.equal(torch._int_mm(codes, codes.t()).to(torch.int64), wanted))
    except RuntimeError:  # a torch that was built without it
        return False


def rounded(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [n, m] -> int8 [n, m] and scale float32 [n, 1], such that codes times scale are the values, each to half
    a scale. Codes of zeros may be anything, since their scale is 0; where a value is no number, the scale is none."""
    scale = values.abs().amax(1, keepdim=True).mul_(1 / _LARGEST)
    return torch.div(values, scale).round_().to(torch.int8), scale
