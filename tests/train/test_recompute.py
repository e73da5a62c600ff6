"""Selective checkpointing: the same gradients for less of the work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llava_ecg.data.batch import counted, pack
from llava_ecg.engine.attention import PACKED
from llava_ecg.train.recompute import contexts
from tests.model.test_packed import FAMILIES, build, samples


class Products(TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
def test_the_same_gradients_and_fewer_products() -> None:
    model = build(FAMILIES["llama"]).train()
    model.language_model.set_attn_implementation(PACKED)
    batch = counted(pack(samples(model)), ["ecg"])
    slopes, products = [], []
    for kept in (None, {}, {"context_fn": contexts}):
        model.gradient_checkpointing_disable()
        if kept is not None:
            model.gradient_checkpointing_enable({"use_reentrant": False} | kept)
        model.zero_grad()
        loss = model(**batch, supervised_only=True).loss
        with Products() as seen:
            loss.backward()
        products.append(seen.count)
        slopes.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
    for other in slopes[1:]:
        for one, two in zip(slopes[0], other, strict=True):
            torch.testing.assert_close(one, two)
    nothing, everything, some = products
    assert nothing < some < everything
    assert some - nothing <= 0.6 * (everything - nothing)
