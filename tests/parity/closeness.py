"""What counts as equal to the original's float32 numbers; every test of this folder that holds numbers against it does
so here."""

from __future__ import annotations

import torch

OF_LARGEST = 1e-5
"""Of the largest absolute value of what the original gave. A value is what remains of a sum of larger terms, so that
its rounding follows the scale of the whole tensor and not its own; what the original gives on another CPU is up to a
quarter of this away."""


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Assert that two tensors have the same shape and dtype, and values within `OF_LARGEST` of the original's largest
    absolute value."""
    assert torch.isfinite(theirs).all(), "what the original gave is not finite, so it has no scale"
    torch.testing.assert_close(ours, theirs, atol=OF_LARGEST * theirs.abs().max().item(), rtol=0)
