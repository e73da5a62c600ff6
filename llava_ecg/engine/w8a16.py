"""Linear layers whose weights alone are in 8 bits, for a GPU: int8 with a scale for each output, inputs and products in
16 bits. One answer's step is bound by reading weights, and these are half of them.

A few places (a step of some answers) go through a kernel in Triton that reads the codes as they are; for many (a
prompt), and on a CPU, the weight is put back into 16 bits and multiplied by torch.
"""

from __future__ import annotations

import torch

from llava_ecg.engine.w8a8 import Int8Linear

FEW = 64
"""Places, at most, for the kernel."""


class WeightOnlyLinear(Int8Linear):
    """[.., in] -> [.., out], in the dtype of its input; weight, scale and bias as in `Int8Linear`."""

    scheme = "w8a16"

    @staticmethod
    def product(
        values: torch.Tensor, turned: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """[n, in] -> [n, out], in the dtype of the values.

        Args:
            values: of any kind of floating number.
            turned: int8 [in, out], a view of the codes.
            scale, bias: [out]; bias may be None.
        """
        if values.is_cuda and values.shape[0] <= FEW:
            from llava_ecg.engine.int8_product import product

            return product(values, turned.t(), scale, bias)
        return plain(values, turned, scale, bias)


def plain(values: torch.Tensor, turned: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """See `WeightOnlyLinear.product`: the weight put back, then torch's product."""
    found = torch.matmul(values, turned.to(values.dtype)) * scale.to(values.dtype)
    return found if bias is None else found + bias
