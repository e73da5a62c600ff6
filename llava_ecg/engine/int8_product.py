"""Products of a few rows of 16-bit numbers with an int8 weight, in Triton; see `llava_ecg.engine.w8a16`.

Without CUDA it runs in Triton's interpreter (TRITON_INTERPRET=1), which the tests use where Triton is installed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

OUTS, INS = 32, 256
"""Outputs of a program, and inputs that it reads at once; with many rows fewer inputs, so that all fits."""


@triton.jit
def int8_weight_product(  # type: ignore[no-untyped-def]  # Triton reads these arguments, not Python
    values, codes, scale, bias, out, rows, width, outs,
    has_bias: tl.constexpr, row_block: tl.constexpr, out_block: tl.constexpr, in_block: tl.constexpr,
):  # fmt: skip
    """Some outputs of every row."""
    at_out = tl.program_id(0) * out_block + tl.arange(0, out_block)
    at_row = tl.arange(0, row_block)
    at_in = tl.arange(0, in_block)
    found = tl.zeros([row_block, out_block], tl.float32)
    for begin in range(0, width, in_block):
        here = begin + at_in
        there = (at_out[:, None] < outs) & (here[None, :] < width)
        weight = tl.load(codes + at_out[:, None].to(tl.int64) * width + here[None, :], mask=there, other=0)
        given = (at_row[:, None] < rows) & (here[None, :] < width)
        read = tl.load(values + at_row[:, None] * width + here[None, :], mask=given, other=0.0)
        if row_block == 1:  # a product of a matrix and a vector; the tensor cores need 16 rows
            found += tl.sum(read.to(tl.float32) * weight.to(tl.float32), axis=1)[None, :]
        else:
            found += tl.dot(read, tl.trans(weight.to(read.dtype)), input_precision="ieee").to(tl.float32)
    found *= tl.load(scale + at_out, mask=at_out < outs, other=0.0)[None, :]
    if has_bias:
        found += tl.load(bias + at_out, mask=at_out < outs, other=0.0).to(tl.float32)[None, :]
    inside = (at_row[:, None] < rows) & (at_out[None, :] < outs)
    tl.store(out + at_row[:, None] * outs + at_out[None, :], found.to(out.dtype.element_ty), mask=inside)


def product(values: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """[n, in] -> [n, out], in the dtype of the values.

    Args:
        values: a few rows.
        codes: int8 [out, in], without gaps.
        scale: float32 [out].
        bias: [out] or None.
    """
    rows, width = values.shape
    outs = codes.shape[0]
    out = values.new_empty(rows, outs)
    int8_weight_product[(triton.cdiv(outs, OUTS),)](
        *(values.contiguous(), codes, scale, codes if bias is None else bias, out, rows, width, outs),
        has_bias=bias is not None,
        row_block=1 if rows == 1 else max(16, triton.next_power_of_2(rows)),
        out_block=OUTS,
        in_block=INS if rows <= 16 else INS // 4,
    )
    return out
