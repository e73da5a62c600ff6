"""The tiny trainings' one loop: it learns, warms up, and ends when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch import nn

from llava_ecg.errors import InputError
from llava_ecg.train.tiny.loop import Clock, optimise


def test_it_learns_and_ends() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(1, 1), torch.linspace(-1, 1, 32)[:, None]
    costs = repeat(lambda: (layer(x) - 3 * x - 1).pow(2).mean())
    found = list(optimise([(layer, 0.1)], costs, lambda step: step / 200, warm_up=10, weight_decay=0.0))
    assert [step for step, _ in found] == list(range(200))
    assert found[-1][1] < 0.01 * found[0][1]
    assert layer.weight.item() == pytest.approx(3, abs=0.1)


def test_each_part_has_its_own_rate_and_the_first_steps_are_small() -> None:
    slow, fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    begun = slow.weight.item(), fast.weight.item()
    costs = repeat(lambda: -slow.weight.sum() - fast.weight.sum())
    steps = optimise([(slow, 0.01), (fast, 0.04)], costs, lambda step: 0.0, warm_up=4, weight_decay=0.0)
    moved = []
    for _ in range(2):
        next(steps)
        moved.append((slow.weight.item() - begun[0], fast.weight.item() - begun[1]))
    assert moved[0] == pytest.approx((0.0025, 0.01), rel=1e-3)  # Adam's first steps are as long as the rate
    assert moved[1] == pytest.approx((0.0075, 0.03), rel=1e-3)


def test_costs_may_run_out() -> None:
    layer = nn.Linear(1, 1)

    def two() -> Iterator[object]:
        yield from [lambda: layer.weight.sum()] * 2

    assert len(list(optimise([(layer, 0.1)], two(), lambda step: 0.0, warm_up=1, weight_decay=0.0))) == 2  # type: ignore[arg-type]


def test_a_training_goes_on_from_its_state_and_refuses_another_s(tmp_path: Path) -> None:
    def steps(layer: nn.Linear, clock: Clock, count: int) -> list[int]:
        costs = repeat(lambda: layer.weight.pow(2).sum(), count)
        made = optimise(
            [(layer, 0.1)], costs, clock.share, warm_up=1, weight_decay=0.0, state=tmp_path / "state.pt", clock=clock
        )
        return [step for step, _ in made]

    layer, clock = nn.Linear(1, 1), Clock(minutes=10)
    assert steps(layer, clock, 5) == [0, 1, 2, 3, 4]
    again = Clock(minutes=10)
    other = nn.Linear(1, 1)
    assert steps(other, again, 3) == [5, 6, 7]
    assert again.before > 0 and other.weight.item() == pytest.approx(layer.weight.item(), abs=0.5)
    with pytest.raises(InputError, match="delete it to begin anew"):
        steps(nn.Linear(2, 1), Clock(minutes=10), 1)
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match="delete it to begin anew"):
        steps(layer, Clock(minutes=10), 1)
