"""The language model in 4 and 8 bits: what is quantised and what is not, how near it stays, and that a LoRA learns on
top."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.quantize import (
    check,
    is_quantized,
    is_quantized_place,
    place,
    quantization,
    refuse_quantized,
    replace_linears,
)
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.streams import StreamConfig

TEXT: dict[str, Any] = {
    **{"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128},
    **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
}
FAMILIES = {"llama": (LlamaForCausalLM, LlamaConfig), "qwen2": (Qwen2ForCausalLM, Qwen2Config)}
LINEARS = [
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]
# Relative distance of the logits from the float model's, measured on these seeds: nf4 0.100 (llama) and 0.108 (qwen2)
# in float32 and bfloat16; int8 0.008 in float32 and 0.010 in bfloat16.
NEAR = {"nf4": 0.13, "int8": 0.015}
IDS = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(3))

needs_library = pytest.mark.usefixtures("library")
THEIRS = ("nf4", "int8")  # bitsandbytes'; tests/checkpoint/test_w8a8.py has the other
both = pytest.mark.parametrize("kind", THEIRS)
families = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="session")
def library() -> Any:
    """bitsandbytes."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return pytest.importorskip("bitsandbytes")


def float_model(family: str = "llama", **more: Any) -> PreTrainedModel:
    torch.manual_seed(4)
    make, config = FAMILIES[family]
    model = make(config(**TEXT | more))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(std=0.1)  # they are born as zeros, which would hide one that was left out
    return model.eval()


def empty_like(source: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):
        model: PreTrainedModel = type(source)(source.config)
    return model.eval()


def fill(model: nn.Module, source: nn.Module, dtype: torch.dtype, device: str = "cpu") -> None:
    """As the loader does it: tensor by tensor; the buffers (rotary frequencies) are no part of a checkpoint."""
    for name, value in source.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        place(model.get_submodule(owner), leaf, value, device, dtype)
    for name, value in source.named_buffers():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = value.to(device)


def quantised(source: PreTrainedModel, kind: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
    model = empty_like(source)
    replace_linears(model, kind, dtype)
    fill(model, source, dtype, device)
    return model


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    device = next(model.parameters()).device
    return model(input_ids=IDS.to(device)).logits.float().cpu()


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).norm() / two.norm())


def dequantised(layer: Any) -> torch.Tensor:
    """The weight [out, in] that a layer stands for, from its codes and scales by the published formulas, without
    bitsandbytes' own."""
    weight = layer.weight
    if quantization(layer) == "int8":
        return weight.CB.float() * weight.SCB[:, None] / 127
    state = weight.quant_state
    codes = torch.stack([weight.data.flatten() >> 4, weight.data.flatten() & 15], dim=1).flatten().long()
    scales = (
        state.state2.code[state.absmax.long()] * state.state2.absmax.repeat_interleave(256)[: state.absmax.numel()]
        + state.offset
    )
    return (state.code[codes] * scales.repeat_interleave(64)).reshape(state.shape)


@needs_library
@both
@families
def test_the_linears_of_the_language_model_and_nothing_else(kind: str, family: str, library: Any) -> None:
    model = empty_like(float_model(family))
    replace_linears(model, kind, torch.bfloat16)
    kinds = {"nf4": library.nn.Linear4bit, "int8": library.nn.Linear8bitLt}
    found = [name for name, module in model.named_modules() if isinstance(module, tuple(kinds.values()))]
    assert sorted(found) == sorted(f"model.layers.{layer}.{name}" for layer in range(2) for name in LINEARS)
    assert all(type(model.get_submodule(name)) is kinds[kind] for name in found)
    assert type(model.get_submodule("lm_head")) is nn.Linear
    assert not any(module.training for module in model.modules()), (
        "a layer is born in training, where int8 computes otherwise"
    )
    assert all(value.is_meta for value in model.parameters()), "nothing may be allocated before the tensors come"
    shapes = {name: value.shape for name, value in empty_like(float_model(family)).named_parameters()}
    assert {name: value.shape for name, value in model.named_parameters()} == shapes, "the loader checks against these"
    places = [
        name
        for name in shapes
        if is_quantized_place(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
    ]
    assert sorted(places) == sorted(f"{name}.weight" for name in found)


@needs_library
@both
def test_a_tensor_is_placed_alone_and_the_rest_stays_float(kind: str) -> None:
    source = float_model("qwen2")
    model = empty_like(source)
    replace_linears(model, kind, torch.bfloat16)
    name = "model.layers.0.self_attn.q_proj"
    place(model.get_submodule(name), "weight", source.get_parameter(f"{name}.weight"), "cpu", torch.bfloat16)
    assert [key for key, value in model.named_parameters() if not value.is_meta] == [f"{name}.weight"]
    fill(model, source, torch.bfloat16)
    for key, value in model.named_parameters():
        owner, _, leaf = key.rpartition(".")
        if is_quantized_place(model.get_submodule(owner), leaf):
            assert value.dtype == {"nf4": torch.uint8, "int8": torch.int8}[kind]
            assert not value.requires_grad
        else:
            assert torch.equal(value, source.get_parameter(key).to(torch.bfloat16)), key
            assert value.requires_grad != key.endswith("proj.bias")


@needs_library
@both
def test_a_place_that_no_file_filled_can_be_drawn_and_placed(kind: str) -> None:
    """A loader that is not strict draws what is missing into an ordinary parameter first; placing it quantises it all
    the same."""
    layer: Any = quantize._layer(kind, 128, 32, False, torch.float32).eval()
    drawn = torch.randn(32, 128)
    layer._parameters["weight"] = nn.Parameter(torch.empty(32, 128))
    place(layer, "weight", drawn, "cpu", torch.float32)
    inputs = torch.randn(3, 128)
    with torch.no_grad():
        assert distance(layer(inputs), inputs @ drawn.T) < NEAR[kind]


@needs_library
@both
@pytest.mark.parametrize("filed", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_codes_are_those_of_bitsandbytes(kind: str, filed: torch.dtype, library: Any) -> None:
    """Of the tensor in the file, whatever dtype is computed in."""
    torch.manual_seed(6)
    tensor = (torch.randn(96, 128) * torch.rand(96, 1)).to(filed)
    known = tensor.float() if filed == torch.float64 else tensor
    layer: Any = quantize._layer(kind, 128, 96, False, torch.bfloat16)
    place(layer, "weight", tensor, "cpu", torch.bfloat16)
    functional = library.functional
    if kind == "nf4":
        codes, state = functional.quantize_4bit(known, blocksize=64, compress_statistics=True, quant_type="nf4")
        assert torch.equal(layer.weight.data, codes)
        state.dtype = torch.bfloat16
        theirs, ours = (
            functional.dequantize_4bit(codes, state),
            functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state),
        )
        assert ours.dtype == torch.bfloat16
    else:
        codes, scales, _ = functional.int8_vectorwise_quant(known.to(torch.float16))
        assert torch.equal(layer.weight.data, codes)
        theirs, ours = (
            functional.int8_vectorwise_dequant(codes, scales),
            functional.int8_vectorwise_dequant(layer.weight, layer.weight.SCB),
        )
    assert torch.equal(ours, theirs)
    error = distance(dequantised(layer), tensor.float())  # measured: 0.092 and 0.0063 for normal weights
    assert error < {"nf4": 0.1, "int8": 0.008}[kind]
    torch.testing.assert_close(ours.float(), dequantised(layer), rtol=0.01, atol=1e-6)


@needs_library
@both
@families
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_the_logits_stay_near_the_float_models(kind: str, family: str, dtype: torch.dtype) -> None:
    source = float_model(family)
    expected = logits(source)
    model = quantised(source, kind, dtype)
    found = logits(model)
    assert distance(found, expected) < NEAR[kind]
    with torch.no_grad():
        assert model(input_ids=IDS).logits.dtype == dtype
    assert torch.equal(logits(model), found), "a second pass takes the same way"
    for layer in [module for module in model.modules() if is_quantized_place(module, "weight")]:
        if kind == "int8":
            layer.state.SCB *= 1.5
        else:
            layer.weight.quant_state.state2.absmax *= 1.5
            layer.weight.quant_state.offset *= 1.5
    assert distance(logits(model), expected) > 2 * NEAR[kind], "a wrong scale must not pass for rounding"


@needs_library
@both
def test_a_layer_multiplies_by_the_weight_it_stands_for(kind: str) -> None:
    """In evaluation and in training, and the gradient too: these are four code paths of bitsandbytes."""
    torch.manual_seed(7)
    layer: Any = quantize._layer(kind, 192, 40, True, torch.float32)
    place(layer, "weight", torch.randn(40, 192), "cpu", torch.float32)
    place(layer, "bias", torch.randn(40), "cpu", torch.float32)
    weight, inputs = dequantised(layer), torch.randn(2, 3, 192, requires_grad=True)
    expected = inputs.detach() @ weight.T + layer.bias
    with torch.no_grad():
        assert (
            distance(layer.eval()(inputs), expected) < {"nf4": 1e-5, "int8": 0.01}[kind]
        )  # int8 rounds the inputs as well
    layer.train()
    output = layer(inputs)
    assert distance(output.detach(), expected) < 1e-5
    output.sum().backward()
    torch.testing.assert_close(inputs.grad, weight.sum(0).expand(2, 3, 192), rtol=1e-4, atol=1e-4)
    assert layer.bias.grad is None


@needs_library
def test_outliers_of_the_input_do_not_drown_the_rest_in_eight_bits() -> None:
    """LLM.int8(): a column beyond 6.0 is multiplied in 16 bits, else the step of the row would grow with it."""
    torch.manual_seed(8)
    layer: Any = quantize._layer("int8", 64, 64, False, torch.float32).eval()
    place(layer, "weight", torch.randn(64, 64), "cpu", torch.float32)
    weight, inputs = dequantised(layer), torch.randn(4, 64)
    inputs[0, 5] = 500.0
    rest = inputs[0].clone()
    rest[5] = 0.0
    with torch.no_grad():
        found = layer(inputs)[0] - inputs[0, 5] * weight[:, 5]
    assert distance(found, rest @ weight.T) < 0.02  # measured 0.0043; 0.94 with a threshold of 0


@needs_library
def test_nf4_leaves_a_width_alone_that_its_blocks_do_not_divide() -> None:
    """bitsandbytes 0.50 gives such a layer wrong scales on AVX512 CPUs: 20 % off."""
    source = float_model(intermediate_size=160)
    model = quantised(source, "nf4")
    assert [type(model.model.layers[0].mlp.get_submodule(name)).__name__ for name in ("up_proj", "down_proj")] == [
        "Linear4bit",
        "Linear",
    ]
    assert distance(logits(model), logits(source)) < NEAR["nf4"]
    eight = empty_like(source)
    replace_linears(eight, "int8", torch.float32)
    assert is_quantized_place(eight.get_submodule("model.layers.0.mlp.down_proj"), "weight")
    with pytest.raises(InputError, match="LlamaForCausalLM has no linear layer of a width that 64 divides"):
        replace_linears(empty_like(float_model(hidden_size=48, intermediate_size=80)), "nf4", torch.float32)


@needs_library
@pytest.mark.parametrize(("kind", "most"), [("nf4", 0.53), ("int8", 1.02)])
def test_bytes(kind: str, most: float) -> None:
    """A weight takes half a byte and an 8-bit scale every 64 (0.516 and the scales' own), or one byte and a float32
    every row."""
    layer: Any = quantize._layer(kind, 1024, 1024, False, torch.bfloat16)
    place(layer, "weight", torch.randn(1024, 1024), "cpu", torch.bfloat16)
    weight = layer.weight
    parts = [weight.data]
    if kind == "nf4":
        parts += [weight.quant_state.absmax, weight.quant_state.state2.absmax]
    else:
        assert weight.CB.data_ptr() == weight.data.data_ptr(), "one copy of the codes"
        parts += [weight.SCB]
    stored = sum(each.numel() * each.element_size() for each in parts)
    assert weight.data.numel() * weight.data.element_size() == {"nf4": 2**19, "int8": 2**20}[kind]
    assert most - 0.02 < stored / 2**20 < most


@needs_library
@both
@families
def test_a_lora_learns_on_top(kind: str, family: str) -> None:
    """QLoRA: PEFT makes its own layers for bitsandbytes, the adapter has gradients, the base has none and stays."""
    peft = pytest.importorskip("peft")
    base = quantised(float_model(family), kind)
    assert base.is_quantized
    assert (base.is_loaded_in_4bit, base.is_loaded_in_8bit) == (kind == "nf4", kind == "int8")
    before = logits(
        base
    )  # an evaluation first: bitsandbytes re-packs at it on some CPUs, after which no gradient would come through
    codes = {name: value.detach().clone() for name, value in base.named_parameters()}
    model: Any = peft.get_peft_model(
        base, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    )
    kinds = {
        type(module).__module__
        for name, module in model.named_modules()
        if name.endswith(("q_proj", "v_proj", "down_proj"))
    }
    assert kinds == {"peft.tuners.lora.bnb"}
    assert quantization(model) == kind
    assert distance(logits(model), before) < 1e-6, "B is zero at first"
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.5)
    losses = []
    for _ in range(3):
        model.train()
        loss = model(input_ids=IDS, labels=IDS).loss
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        for name, value in model.named_parameters():
            assert (value.grad is not None) == ("lora_" in name), name
        assert all(value.grad.abs().sum() > 0 for name, value in model.named_parameters() if "lora_B" in name), (
            "from the first layer on"
        )
        optimizer.step()
        logits(model.eval())
    assert losses[2] < losses[1] < losses[0]
    assert distance(logits(model), before) > 0.01
    with model.disable_adapter():
        assert distance(logits(model), before) < 1e-6
    for name, value in model.get_base_model().named_parameters():
        plain = name.replace(".base_layer", "")
        assert "lora_" in name or torch.equal(value, codes[plain]), name


@needs_library
@both
def test_towers_and_projectors_are_left_alone(kind: str) -> None:
    ecg = {"layers": 1, "width": 64, "head_width": 8, "embed_dim": 8}
    vision = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    streams = {
        "ecg": StreamConfig("ecg_coca", ecg, "linear", "image"),
        "image": StreamConfig("clip", {"vision_config": vision}, "mlp2x_gelu"),
    }
    torch.manual_seed(2)
    source = LlavaEcgForCausalLM(LlavaEcgConfig({"model_type": "llama", **TEXT}, streams)).eval()
    with torch.device("meta"):
        model = LlavaEcgForCausalLM(LlavaEcgConfig({"model_type": "llama", **TEXT}, streams)).eval()
    parts = {name: type(module) for name, module in model.named_modules() if not name.startswith("language_model.")}
    assert not is_quantized(model)
    replace_linears(model.language_model, kind, torch.float32)
    fill(model, source, torch.float32)
    assert {
        name: type(module) for name, module in model.named_modules() if not name.startswith("language_model.")
    } == parts
    assert nn.Linear in parts.values()
    for name, value in model.named_parameters():
        if not name.startswith("language_model."):
            assert torch.equal(value, source.get_parameter(name)), name
    assert quantization(model) == kind
    nn.Module.to(model, "cpu")  # as a loader does at its end
    slots = torch.zeros(1, 120, dtype=torch.int8)
    slots[0, 2:103], slots[0, 103:107] = 1, 2
    torch.manual_seed(5)
    given = {
        "ecg": {"values": torch.randn(1, 12, 5000), "index": torch.arange(101)},
        "image": {"values": torch.randn(1, 3, 28, 28), "index": torch.arange(4)},
    }
    with torch.no_grad():
        one, two = (
            each(input_ids=torch.arange(120)[None] % 96, slots=slots, streams=given).logits for each in (model, source)
        )
    assert distance(one, two) < NEAR[kind]
    moved = nn.Module.to(model, "cpu")  # as a Trainer does
    with torch.no_grad():
        assert torch.equal(moved(input_ids=torch.arange(120)[None] % 96, slots=slots, streams=given).logits, one)


@needs_library
@both
def test_a_config_that_is_saved_says_nothing_of_it(kind: str) -> None:
    model = empty_like(float_model())
    replace_linears(model, kind, torch.bfloat16)
    values = model.config.to_dict()
    assert not [key for key in values if "quant" in key]
    assert model.config._is_quantized  # what flash attention asks for
    assert values["dtype"] == "bfloat16"


@needs_library
def test_eight_bits_in_bfloat16_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """bitsandbytes would log a line for every layer of every token."""
    logits(quantised(float_model(), "int8", torch.bfloat16))
    assert caplog.records == []


@needs_library
def test_repacking_is_asked_for(library: Any) -> None:
    source = float_model()
    model = quantised(source, "nf4")
    expected = logits(model)
    layers = [module for module in model.modules() if is_quantized_place(module, "weight")]
    assert not any(vars(each.weight.quant_state).get("packing_format_for_cpu") for each in layers)
    fresh = vars(library.nn.Linear4bit(64, 32, device="meta")).get("support_avx512bf16_for_cpu")
    assert quantize.repack_for_cpu(model) == (14 if fresh else 0)
    assert distance(logits(model), expected) < 0.02  # it computes in bfloat16; measured 0.004
    assert all(vars(each.weight.quant_state).get("packing_format_for_cpu", False) == bool(fresh) for each in layers)
    assert quantize.repack_for_cpu(quantised(source, "int8")) == 0
    assert quantize.repack_for_cpu(source) == 0
    narrow: Any = quantize._layer("nf4", 64, 40, False, torch.float32)
    place(narrow, "weight", torch.randn(40, 64), "cpu", torch.float32)
    assert quantize.repack_for_cpu(narrow) == 0, "bitsandbytes asserts that 32 divides the outputs"


@needs_library
@both
def test_what_needs_full_precision_is_refused(kind: str) -> None:
    source = float_model()
    refuse_quantized(source, "be saved whole")
    with pytest.raises(
        InputError, match=f"^a language model that is quantised to {kind} can't be saved whole; load it without quant"
    ):
        refuse_quantized(quantised(source, kind), "be saved whole")


@needs_library
@both
def test_check_passes_on_a_cpu_and_names_a_device_that_is_not_there(kind: str) -> None:
    check(kind, "cpu")
    check(kind, torch.device("cpu"))
    with pytest.raises(InputError, match=f"can't compute {kind} on the device 'xla' .*; choose another device"):
        check(kind, "xla")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown quantization 'int4'; known are: nf4, int8"):
        check("int4")


def test_without_bitsandbytes_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = float_model()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    for ask in (lambda: check("nf4"), lambda: replace_linears(model, "int8", torch.float32)):
        with pytest.raises(InputError, match=r"not installed; get it with: pip install 'llava-ecg\[quant\]'"):
            ask()
    assert not is_quantized(model)
    refuse_quantized(model, "be saved whole")


def test_a_bitsandbytes_that_can_not_be_imported_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "bitsandbytes.py").write_text(
        "raise OSError('libcudart.so.12: cannot open shared object file\\nand more')\n"
    )
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        InputError, match=r"can't be imported \(libcudart.so.12: cannot open shared object file\); install it again"
    ):
        check("nf4")


@needs_library
def test_a_model_that_has_weights_or_no_linears() -> None:
    with pytest.raises(ValueError, match="q_proj holds weights already"):
        replace_linears(float_model(), "nf4", torch.float32)
    gpt = empty_like(
        GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=16))
    )  # it has transformers' Conv1D instead
    with pytest.raises(InputError, match="GPT2LMHeadModel has no linear layer to be quantised to int8"):
        replace_linears(gpt, "int8", torch.float32)


@needs_library
@both
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(kind: str) -> None:
    check(kind, "cuda")
    source = float_model("qwen2")
    model = quantised(source, kind, torch.bfloat16, "cuda")
    assert {value.device.type for value in model.parameters()} == {"cuda"}
    assert distance(logits(model), logits(source)) < NEAR[kind]
