"""``w8a8``: layers in 8 bits for a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.quantize import quantization, refuse_quantized, replace_linears
from llava_ecg.engine import w8a8
from llava_ecg.engine.decoder import Decoder
from llava_ecg.engine.joined import Joined
from llava_ecg.engine.run import Engine, Request
from llava_ecg.engine.w8a8 import Int8Linear
from llava_ecg.errors import InputError

from .test_quantize import LINEARS, distance, empty_like, families, float_model, logits, quantised


def plain(layer: Int8Linear, values: torch.Tensor) -> torch.Tensor:
    """The definition, in float64: each row of the input and of the weight rounded to 127 steps of its largest value."""
    rows = values.double().reshape(-1, layer.in_features)
    largest = rows.abs().amax(1, keepdim=True) / 127
    coarse = (rows / largest.clamp_min(1e-12)).round() * largest
    found = coarse @ (layer.weight.double() * layer.scale.double()[:, None]).t()
    if layer.bias is not None:
        found = found + layer.bias.double()
    return found.reshape(*values.shape[:-1], layer.out_features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_rows_that_are_rounded_in_pieces_are_those_rounded_at_once(dtype: torch.dtype) -> None:
    weight = torch.randn(2 * w8a8._ROWS + 7, 24, generator=torch.Generator().manual_seed(3)).to(dtype)
    layer = Int8Linear(24, len(weight), False)
    layer.take(weight)
    codes, scale = w8a8.rounded(weight.float())
    assert torch.equal(layer.weight, codes) and torch.equal(layer.scale, scale[:, 0])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 96), (7, 96), (2, 5, 96), (0, 96)])
def test_a_layer_is_its_definition(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias)
    layer = Int8Linear.of(linear)
    assert layer.weight.dtype == torch.int8
    steps = (layer.weight.float() * layer.scale[:, None] - linear.weight).abs() / layer.scale[:, None]
    assert steps.max() <= 0.5 + 1e-4
    assert layer.weight.abs().amax(1).eq(127).all()
    values = torch.randn(shape) * 10.0 ** torch.randint(-3, 3, (*shape[:-1], 1))
    with torch.no_grad():
        found = layer(values)
        torch.testing.assert_close(found.double(), plain(layer, values), rtol=1e-5, atol=1e-6)
        assert layer(values.bfloat16()).dtype == torch.bfloat16
        if found.numel():
            assert distance(found, linear(values)) < 0.02


def test_rows_do_not_meet() -> None:
    """What lies beside a place in a batch changes no bit of it."""
    torch.manual_seed(1)
    layer = Int8Linear.of(nn.Linear(64, 32))
    values = torch.randn(9, 64)
    values[4] *= 1e4
    with torch.no_grad():
        whole = layer(values)
        assert all(torch.equal(whole[number], layer(values[number : number + 1])[0]) for number in range(9))


def test_zeros_and_what_is_no_number() -> None:
    layer = Int8Linear.of(nn.Linear(32, 8, bias=False))
    with torch.no_grad():
        assert layer(torch.zeros(2, 32)).eq(0).all()
        values = torch.ones(2, 32)
        values[1, 3] = torch.nan
        found = layer(values)
    assert found[0].isfinite().all()
    assert found[1].isnan().all(), "a NaN must not become a number"


def test_a_gradient_is_refused() -> None:
    layer = Int8Linear.of(nn.Linear(32, 8))
    with pytest.raises(RuntimeError, match="w8a8"):
        layer(torch.ones(1, 32, requires_grad=True))


@pytest.mark.parametrize("bias", [False, True])
def test_joined_layers_are_the_layers(bias: bool) -> None:
    torch.manual_seed(2)
    layers = [Int8Linear.of(nn.Linear(48, out, bias)) for out in (16, 8, 8)]
    values = torch.randn(5, 48)
    with torch.no_grad():
        wanted = torch.cat([layer(values) for layer in layers], dim=-1)
        joined = Joined(*layers)
        assert joined.whole is not None
        assert torch.equal(joined(values), wanted)
        assert torch.equal(torch.cat([layer(values) for layer in layers], dim=-1), wanted)
    storage = joined.whole.weight.untyped_storage().data_ptr()
    assert {layer.weight.untyped_storage().data_ptr() for layer in layers} == {storage}, "held twice"
    assert joined.holds(*layers)
    layers[1].take(torch.randn(8, 48))
    assert not joined.holds(*layers)


@families
def test_the_linears_of_the_language_model(family: str) -> None:
    source = float_model(family)
    model = empty_like(source)
    replace_linears(model, "w8a8", torch.float32)
    found = [name for name, module in model.named_modules() if isinstance(module, Int8Linear)]
    assert sorted(found) == sorted(f"model.layers.{layer}.{name}" for layer in range(2) for name in LINEARS)
    assert all(value.is_meta for value in model.parameters())
    full = quantised(source, "w8a8")
    assert quantization(full) == "w8a8"
    assert distance(logits(full), logits(source)) < 0.02  # 0.011 (llama) and 0.010 (qwen2)
    with pytest.raises(InputError, match="quantised to w8a8 can't be saved whole"):
        refuse_quantized(full, "be saved whole")


@families
def test_the_engine_runs_it(family: str) -> None:
    """The tokens of the layers as transformers calls them, with a head in 8 bits."""
    model: Any = quantised(float_model(family), "w8a8")
    prompt = torch.randint(0, 96, (20,), generator=torch.Generator().manual_seed(5))
    embeddings = model.get_input_embeddings()(prompt).detach()
    engine = Engine(model)
    assert isinstance(engine.decoder.head, Int8Linear)
    (request,) = engine.run([Request(embeddings, 24)])
    head = Int8Linear.of(model.get_output_embeddings())
    ids = prompt.tolist()
    with torch.no_grad():
        for _ in range(24):
            hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1:]
            ids.append(int(head(hidden).argmax()))
    assert request.ids == ids[20:]


def test_a_head_that_was_changed_is_rounded_anew() -> None:
    model: Any = quantised(float_model(), "w8a8")
    decoder = Decoder(model)
    first = decoder.head
    decoder.refresh()
    assert decoder.head is first
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(2)
    decoder.refresh()
    assert isinstance(decoder.head, Int8Linear)
    torch.testing.assert_close(decoder.head.scale, 2 * first.scale)


def test_where_it_can_not_work_is_said_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    quantize.check("w8a8")
    with pytest.raises(InputError, match="made for CPUs .* take w8a16, int8 or nf4"):
        quantize.check("w8a8", "cuda")
    monkeypatch.setattr(w8a8.torch, "_int_mm", lambda one, other: (one.float() @ other.float()).clamp(-32768, 32767))
    with pytest.raises(InputError, match="exactly on this CPU; load without quantization"):
        quantize.check("w8a8")


def test_auto_is_w8a8_where_that_is_exact_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quantize.chosen("auto", "cpu") == quantize.chosen("w8a8", "cpu") == "w8a8"
    assert quantize.chosen("auto", "cuda:0") is quantize.chosen("none", "cpu") is quantize.chosen(None, "cpu") is None
    monkeypatch.setattr(w8a8.torch, "_int_mm", lambda one, other: (one.float() @ other.float()).clamp(-32768, 32767))
    assert quantize.chosen("auto", "cpu") is None
    with pytest.raises(InputError, match="exactly on this CPU"):
        quantize.chosen("w8a8", "cpu")
