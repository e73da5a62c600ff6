"""The loss in chunks is the loss in one piece, with its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from llava_ecg.model import loss
from llava_ecg.model.loss import plain_loss, summed_loss


def results(
    which: object, head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> list[torch.Tensor]:
    head, hidden = copy.deepcopy(head), hidden.clone().requires_grad_()
    value = which(head, hidden, targets, smoothing=smoothing)  # type: ignore[operator]
    (value * 0.5).backward()
    return [value.detach(), hidden.grad, *[each.grad for each in head.parameters() if each.requires_grad]]  # type: ignore[list-item]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [False, True])
def test_chunks(monkeypatch: pytest.MonkeyPatch, bias: bool, smoothing: float) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(loss, "CHUNK_BYTES", 4 * 32_000 * 3 if bias else 4 * 50 * 3)  # three places a chunk
    head, hidden, targets = nn.Linear(8, 50, bias=bias), torch.randn(10, 8), torch.randint(50, (10,))
    for one, other in zip(
        results(summed_loss, head, hidden, targets, smoothing),
        results(plain_loss, head, hidden, targets, smoothing),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_frozen_head_and_no_place() -> None:
    head = nn.Linear(8, 50, bias=False).requires_grad_(False)
    hidden = torch.randn(3, 8, requires_grad=True)
    summed_loss(head, hidden, torch.tensor([1, 2, 3])).backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    none = summed_loss(head, hidden[:0], torch.empty(0, dtype=torch.long))
    assert none == 0
    none.backward()


def test_under_autocast_as_in_bfloat16() -> None:
    torch.manual_seed(0)
    head, hidden, targets = nn.Linear(64, 50, bias=False), torch.randn(10, 64), torch.randint(50, (10,))
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (results(which, head, hidden, targets, 0.0) for which in (summed_loss, plain_loss))
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)


def test_the_full_logits_are_never_there() -> None:
    """The largest tensor that is made on the way is a chunk's."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, tuple | list) else [out]:
                if isinstance(each, torch.Tensor):
                    Largest.size = max(Largest.size, each.numel())
            return out

    rows, vocabulary = 4096, 32_000
    head, hidden = nn.Linear(4, vocabulary, bias=False), torch.randn(rows, 4, requires_grad=True)
    with Largest():
        summed_loss(head, hidden, torch.zeros(rows, dtype=torch.long)).backward()
    assert 0 < Largest.size <= loss.CHUNK_BYTES // 4
