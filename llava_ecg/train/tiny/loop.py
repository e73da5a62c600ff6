"""The one optimisation loop of the tiny model's own trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

CLIP_NORM = 1.0
"""The gradient's norm is brought down to this."""


def optimise(
    parts: Sequence[tuple[nn.Module, float]],
    costs: Iterable[Callable[[], torch.Tensor]],
    done: Callable[[int], float],
    *,
    warm_up: int,
    weight_decay: float,
) -> Iterator[tuple[int, float]]:
    """AdamW with warm-up and cosine, a step for each cost.

    Args:
        parts: what learns, each with its learning rate.
        costs: each gives the loss of one step, computed when it is called.
        done: the number of steps taken -> the share of the training that is over, 0 to 1; it ends at 1.
        warm_up: steps until the full rate.

    Yields:
        The number of the step, from 0, and its loss.
    """
    groups = [{"params": list(part.parameters()), "rate": rate} for part, rate in parts]
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, betas=(0.9, 0.98))
    for step, cost_of in enumerate(costs):
        share = done(step)
        if share >= 1:
            return
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * share))
        cost = cost_of()
        optimizer.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_([value for group in optimizer.param_groups for value in group["params"]], CLIP_NORM)
        optimizer.step()
        yield step, cost.item()
