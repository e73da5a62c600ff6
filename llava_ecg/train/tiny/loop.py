"""The one optimisation loop of the tiny model's own trainings: for a time, in pieces if need be."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from llava_ecg.errors import InputError

CLIP_NORM = 1.0
"""The gradient's norm is brought down to this."""
SAVE_EVERY_S = 240.0
"""Seconds of training between two states."""


@dataclass
class Clock:
    """How much of the minutes of a training is over; it stands still between its pieces.

    Attributes:
        minutes: of training in all.
        piece: minutes of this run.
        before: seconds of the runs before it.
    """

    minutes: float
    piece: float = math.inf
    before: float = 0.0
    began: float = field(default_factory=time.time)

    @property
    def passed(self) -> float:
        """Seconds of training, with those of the runs before."""
        return self.before + time.time() - self.began

    def share(self, _: int = 0) -> float:
        """0 to 1, and 1 where this run's piece is over."""
        ended = time.time() - self.began >= 60 * self.piece
        return 1.0 if ended else min(1.0, self.passed / (60 * self.minutes))

    @property
    def over(self) -> bool:
        """Whether all minutes are."""
        return self.passed >= 60 * self.minutes


def optimise(
    parts: Sequence[tuple[nn.Module, float]],
    costs: Iterable[Callable[[], torch.Tensor]],
    done: Callable[[int], float],
    *,
    warm_up: int,
    weight_decay: float,
    state: Path | None = None,
    clock: Clock | None = None,
) -> Iterator[tuple[int, float]]:
    """AdamW with warm-up and cosine, a step for each cost.

    Args:
        parts: what learns, each with its learning rate.
        costs: each gives the loss of one step, computed when it is called.
        done: the number of steps taken -> the share of the training that is over, 0 to 1; it ends at 1.
        warm_up: steps until the full rate.
        state: a file to go on from, and to write from time to time and at the end; it holds the parts, the optimizer,
            the number of steps and the clock.
        clock: of ``done``, set to what the state says.

    Yields:
        The number of the step, from 0, and its loss.

    Raises:
        InputError: the state is of another training, or damaged.
    """
    groups = [{"params": list(part.parameters()), "rate": rate} for part, rate in parts]
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, betas=(0.9, 0.98))
    first = _restore(state, parts, optimizer, clock)
    saved, step = time.time(), first - 1
    for step, cost_of in enumerate(costs, first):
        share = done(step)
        if share >= 1:
            step -= 1
            break
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * share))
        cost = cost_of()
        optimizer.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_([value for group in optimizer.param_groups for value in group["params"]], CLIP_NORM)
        optimizer.step()
        if state is not None and time.time() - saved > SAVE_EVERY_S:
            _save(state, parts, optimizer, step + 1, clock)
            saved = time.time()
        yield step, cost.item()
    if state is not None:
        _save(state, parts, optimizer, step + 1, clock)


def _save(
    state: Path,
    parts: Sequence[tuple[nn.Module, float]],
    optimizer: torch.optim.Optimizer,
    steps: int,
    clock: Clock | None,
) -> None:
    """Write the state whole or not at all."""
    content = {
        "parts": [part.state_dict() for part, _ in parts],
        "optimizer": optimizer.state_dict(),
        "steps": steps,
        "passed": clock.passed if clock else 0.0,
    }
    torch.save(content, state.with_suffix(".part"))
    state.with_suffix(".part").replace(state)


def _restore(
    state: Path | None,
    parts: Sequence[tuple[nn.Module, float]],
    optimizer: torch.optim.Optimizer,
    clock: Clock | None,
) -> int:
    """The number of steps taken before; 0 where there is no state."""
    if state is None or not state.is_file():
        return 0
    try:
        content = torch.load(state, weights_only=True)
        for (part, _), values in zip(parts, content["parts"], strict=True):
            part.load_state_dict(values)
        optimizer.load_state_dict(content["optimizer"])
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        told = " ".join(str(error).split())[:120]
        raise InputError(f"{state} is no state of this training ({told}); delete it to begin anew") from error
    if clock is not None:
        clock.before = content["passed"]
    return int(content["steps"])
