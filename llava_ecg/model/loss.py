"""The loss of the places that have a label, without ever holding all their logits.

Axes: M places with a label, D width of the language model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

CHUNK_BYTES = 64 << 20
"""About how much the logits of one chunk take, in float32."""


def summed_loss(
    head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0
) -> torch.Tensor:
    """The sum of the cross entropies, a chunk of places at a time.

    Args:
        head: [..., D] -> [..., V].
        hidden: [M, D]; M may be 0.
        targets: int64 [M].
        smoothing: share of the target that is spread evenly over the vocabulary.

    Returns:
        float32 []
    """
    if not is_plain(head):
        return _by_recomputation(head, hidden, targets, smoothing)
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    rows = max(1, CHUNK_BYTES // (4 * head.out_features))

    def chunked(hidden: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = _Chunked.apply(hidden, head.weight, targets, smoothing, rows)
        return loss

    return _as_forward_of(head, chunked, hidden.to(dtype))


def is_plain(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a head is one matrix, whose loss is made in one call of it."""
    return isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward and head.bias is None


@torch.compiler.disable  # a module's forward can't be exchanged in a traced graph
def _as_forward_of(
    module: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor
) -> torch.Tensor:
    """Call a module with another forward, so that what stands around its own stands around this one too.

    FSDP2 and ZeRO-3 hold a shard of the weight, and gather it in hooks before a module's forward.
    """
    own = module.__dict__.get("forward")  # a library may have put its own over the class's
    module.forward = forward
    try:
        out: torch.Tensor = module(given)
        return out
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def plain_loss(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """The same in one piece: what `summed_loss` is tested against."""
    return functional.cross_entropy(head(hidden).float(), targets, reduction="sum", label_smoothing=smoothing)


class _Chunked(torch.autograd.Function):
    """Cross entropy of a linear head whose gradients are made on the way forward, while a chunk's logits are there."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, smoothing: float, rows: int
    ) -> torch.Tensor:
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            head = weight.to(hidden.dtype)
            for begin in range(0, len(hidden), rows):
                part, target = hidden[begin : begin + rows], targets[begin : begin + rows, None]
                logits = (part @ head.T).float()
                total = logits.logsumexp(dim=-1, keepdim=True)
                loss += (total - (1 - smoothing) * logits.gather(1, target)).sum()
                if smoothing:
                    loss -= smoothing * logits.mean(dim=-1).sum()
                slope = logits.sub_(total).exp_()
                if smoothing:
                    slope -= smoothing / slope.shape[1]
                slope.scatter_add_(1, target, slope.new_full((1, 1), smoothing - 1).expand_as(target))
                slope = slope.to(hidden.dtype)
                if of_hidden is not None:
                    torch.mm(slope, head, out=of_hidden[begin : begin + rows])
                if of_weight is not None:
                    of_weight += slope.T @ part
        ctx.save_for_backward(of_hidden, of_weight)
        ctx.dtype = weight.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[Any, ...]:
        of_hidden, of_weight = ctx.saved_tensors
        slope = slopes[0]
        return (
            None if of_hidden is None else of_hidden * slope.to(of_hidden.dtype),
            None if of_weight is None else (of_weight * slope).to(ctx.dtype),
            *(None, None, None),
        )


def _by_recomputation(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """For heads of any kind (quantised, with a LoRA or a bias): logits are made again on the way back."""

    def part_of(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return plain_loss(head, hidden, targets, smoothing=smoothing)

    rows = max(1, CHUNK_BYTES // (4 * 32_000))
    if len(hidden) <= rows:
        return part_of(hidden, targets)
    parts = zip(hidden.split(rows), targets.split(rows), strict=True)
    losses: list[Any] = [checkpoint(part_of, *part, use_reentrant=False) for part in parts]
    return torch.stack(losses).sum()
