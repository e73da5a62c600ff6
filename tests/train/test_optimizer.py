"""The AdamW of bfloat16 weights is torch's where that is exact, and loses no small step where it is not."""

from __future__ import annotations

import torch

from llava_ecg.train.optimizer import StochasticAdamW, rounded


def test_in_float32_it_is_torchs() -> None:
    torch.manual_seed(0)
    begun = torch.randn(5, 7)
    ours, theirs = (torch.nn.Parameter(begun.clone()) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.2}
    one, other = StochasticAdamW([ours], **settings), torch.optim.AdamW([theirs], **settings)  # type: ignore[arg-type]
    for _ in range(5):
        for weight, optimizer in ((ours, one), (theirs, other)):
            optimizer.zero_grad()
            (weight.sin() * begun).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_rounding_is_right_on_average_and_keeps_what_fits() -> None:
    value = torch.full((200_000,), 1 + 2**-7 * 0.3)  # bfloat16 has steps of 2**-7 from 1 on
    generator = torch.Generator().manual_seed(0)
    up = rounded(value, generator).float()
    assert set(up.unique().tolist()) == {1.0, 1 + 2**-7}
    assert abs((up > 1).float().mean().item() - 0.3) < 0.01
    exact = torch.tensor([0.0, -1.5, 2.0**100, float("inf"), -float("inf")])
    assert torch.equal(rounded(exact, generator).float(), exact)
    assert rounded(torch.tensor([float("nan")])).isnan().all()


def test_small_steps_are_not_lost() -> None:
    torch.manual_seed(0)
    moved = {}
    for kind in (StochasticAdamW, torch.optim.AdamW):
        weight = torch.nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
        optimizer = kind([weight], lr=1e-4, weight_decay=0.0)
        for _ in range(50):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        moved[kind] = 1 - weight.float().mean().item()
    assert moved[torch.optim.AdamW] == 0
    assert abs(moved[StochasticAdamW] - 50 * 1e-4) < 5e-4
