"""Weights alone in 8 bits: the layer, the kernel (on CUDA, or in Triton's interpreter), and a model of such layers."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.quantize import place, quantization, replace_linears
from llava_ecg.engine.joined import Joined
from llava_ecg.engine.run import Engine, Request
from llava_ecg.engine.w8a16 import WeightOnlyLinear
from llava_ecg.errors import InputError
from tests.engine.models import CONFIGS, built, prompts, slow

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"


@pytest.mark.parametrize("bias", [False, True])
def test_only_the_weight_is_rounded(bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = nn.Linear(48, 20, bias), torch.randn(2, 3, 48)
    ours = WeightOnlyLinear.of(layer)
    with torch.no_grad():
        weight = ours.weight.float() * ours.scale[:, None]
        torch.testing.assert_close(ours(values), nn.functional.linear(values, weight, layer.bias))
        assert ((weight - layer.weight).abs() <= ours.scale[:, None] / 2 + 1e-7).all()
        # inputs are not: a value far beyond the others costs them nothing
        values[..., 0] = 1e4
        torch.testing.assert_close(ours(values), nn.functional.linear(values, weight, layer.bias), rtol=1e-5, atol=1e-3)
    with pytest.raises(RuntimeError, match="w8a16"):
        ours(torch.ones(1, 48, requires_grad=True))


def test_joined_layers_are_the_layers() -> None:
    torch.manual_seed(2)
    layers = [WeightOnlyLinear.of(nn.Linear(48, out, False)) for out in (16, 8, 8)]
    values = torch.randn(5, 48)
    with torch.no_grad():
        wanted = torch.cat([layer(values) for layer in layers], dim=-1)
        joined = Joined(*layers)
        assert type(joined.whole) is WeightOnlyLinear
        torch.testing.assert_close(joined(values), wanted)


def test_a_model_of_such_layers() -> None:
    """The engine's tokens are transformers' on the same layers, and its head is such a layer too."""
    source: Any = built("qwen2")
    with torch.device("meta"):
        model: Any = type(source)(CONFIGS["qwen2"]).eval()
    replace_linears(model, "w8a16", torch.float32)
    modules = dict(model.named_modules())
    for name, value in source.named_parameters():
        owner, _, leaf = name.rpartition(".")
        place(modules[owner], leaf, value.data, "cpu", torch.float32)
    model.model.rotary_emb = source.model.rotary_emb
    assert quantization(model) == "w8a16"
    engine = Engine(model)
    assert type(engine.decoder.head) is WeightOnlyLinear
    given = prompts(2)
    requests = [Request(each, 12) for each in given]
    list(engine.run(requests, 2))
    head = model.get_output_embeddings()
    rounded = WeightOnlyLinear.of(head)
    with torch.no_grad():
        head.weight.copy_(rounded.weight.float() * rounded.scale[:, None])
    assert [request.ids for request in requests] == [ids for ids, _ in slow(model, given, 12)]


def test_where_it_can_not_work_is_said() -> None:
    with pytest.raises(InputError, match="made for CUDA .* take w8a8 on a CPU"):
        quantize.check("w8a16", "cpu")


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed; torch for CUDA brings it")
@pytest.mark.skipif(
    not CUDA and os.environ.get("TRITON_INTERPRET") != "1",
    reason="without CUDA it needs TRITON_INTERPRET=1 in the environment",
)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_the_kernel(rows: int, bias: bool) -> None:
    from llava_ecg.engine.int8_product import product

    torch.manual_seed(0)
    layer = WeightOnlyLinear.of(nn.Linear(300, 70, bias))
    values = torch.randn(rows, 300)
    with torch.no_grad():
        wanted = layer(values)
        given = (None if each is None else each.to(DEVICE) for each in (layer.weight.data, layer.scale, layer.bias))
        out = product(values.to(DEVICE), *given)
    torch.testing.assert_close(out.cpu(), wanted, atol=1e-4, rtol=1e-4)
