"""Joined weights are the model's own, held once: they save, load, train, move and take a LoRA as before."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from llava_ecg.engine.joined import Joined
from llava_ecg.engine.run import Engine, Request
from tests.engine.models import built, prompts, slow


def bytes_of(model: nn.Module) -> int:
    """Of all storages that its parameters lie in, each counted once."""
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in model.parameters()}
    return sum(storage.nbytes() for storage in storages.values())


def ids(engine: Engine, tokens: int = 12) -> list[int]:
    return next(iter(engine.run([Request(prompts(1)[0], tokens)]))).ids


@pytest.mark.parametrize("name", ["llama", "qwen2, tied"])
def test_weights_are_held_once_and_stay_the_models(name: str, tmp_path: Path) -> None:
    model = built(name)
    parameters = dict(model.named_parameters())
    before = {label: value.clone() for label, value in model.state_dict().items()}
    size = bytes_of(model)
    engine = Engine(model)
    joined = engine.decoder.layers[0].qkv.weight
    assert joined is not None and joined.shape[0] == (4 + 2 + 2) * 8
    assert joined.data_ptr() == model.model.layers[0].self_attn.q_proj.weight.data_ptr()
    assert bytes_of(model) == size
    assert all(one is parameters[label] for label, one in model.named_parameters())
    for label, value in model.state_dict().items():
        assert torch.equal(value, before[label])
    again = Engine(model).decoder.layers[0].qkv.weight
    assert again is not None and again.data_ptr() == joined.data_ptr(), "a second engine joins nothing anew"
    assert ids(engine) == slow(model, prompts(1), 12)[0][0]
    model.save_pretrained(tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    assert file.stat().st_size < size + 20_000
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    for label, value in loaded.state_dict().items():
        assert torch.equal(value, before[label])
    assert ids(Engine(loaded)) == ids(engine)


def test_a_change_of_the_weights_is_seen() -> None:
    model = built("llama")
    engine = Engine(model)
    before = ids(engine)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.k_proj.weight.mul_(-1)
            layer.mlp.up_proj.weight.mul_(1.5)
    assert ids(engine) == slow(model, prompts(1), 12)[0][0] != before
    other = built("qwen2").state_dict()
    model.load_state_dict({name: value for name, value in other.items() if not name.endswith("bias")})
    assert ids(engine) == slow(model, prompts(1), 12)[0][0]
    seed = copy.deepcopy(model)
    assert ids(Engine(seed)) == ids(engine)


def test_a_moved_model_is_joined_anew() -> None:
    model = built("llama")
    engine = Engine(model)
    before = ids(engine)
    model.to(torch.float64)
    assert ids(engine) == before
    joined = engine.decoder.layers[0].gate_up.weight
    assert joined is not None and joined.dtype == torch.float64
    with torch.no_grad():
        model.model.layers[0].mlp.gate_proj.weight = nn.Parameter(torch.zeros(48, 32, dtype=torch.float64))
    assert ids(engine) == slow(model.to(torch.float32), prompts(1), 12)[0][0]


def test_training_goes_on_where_it_was_joined() -> None:
    model, plain = built("llama"), built("llama")
    engine = Engine(model)
    for each in (model, plain):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        each(inputs_embeds=prompts(1)[0][None]).logits.square().mean().backward()
        optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert ids(engine) == slow(plain, prompts(1), 12)[0][0]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["gate_proj", "down_proj", "o_proj"]])
def test_a_lora_is_kept_beside_its_layer(targets: list[str], name: str) -> None:
    from peft import LoraConfig, get_peft_model

    model = built(name)
    plain = ids(Engine(model))
    wrapped: Any = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False)).eval()
    engine = Engine(wrapped)
    adapted = ids(engine, 200)
    assert adapted == slow(wrapped, prompts(1), 200)[0][0]
    assert adapted[:12] != plain and len(set(adapted)) > 5
    wrapped.merge_adapter()
    assert ids(engine, 200) == adapted
    wrapped.unmerge_adapter()
    with wrapped.disable_adapter():
        assert ids(engine) == plain


def test_another_kind_of_adapter_is_refused() -> None:
    from peft import PromptTuningConfig, TaskType, get_peft_model

    settings = PromptTuningConfig(num_virtual_tokens=2, task_type=TaskType.CAUSAL_LM)
    wrapped: Any = get_peft_model(built("llama"), settings).eval()
    with pytest.raises(ValueError, match="an adapter of kind PROMPT_TUNING"):
        Engine(wrapped)


def test_unlike_layers_are_called_one_by_one() -> None:
    one, two = nn.Linear(4, 3), nn.Linear(4, 5, bias=False)
    values = torch.randn(2, 4)
    joined = Joined(one, two)
    assert joined.weight is None
    torch.testing.assert_close(joined(values), torch.cat([one(values), two(values)], dim=-1))
    assert joined.holds(one, two) and not joined.holds(two, one)


def test_quantised_layers_are_called_as_they_are() -> None:
    pytest.importorskip("bitsandbytes")
    from transformers import LlamaConfig, LlamaForCausalLM

    from llava_ecg.checkpoint import quantize

    config = LlamaConfig(
        vocab_size=61, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(1)
    whole = LlamaForCausalLM(config).eval()
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config).eval()
    quantize.replace_linears(model, "nf4", torch.float32)
    for name, value in whole.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        quantize.place(model.get_submodule(owner), leaf, value, "cpu", torch.float32)
    model.model.rotary_emb = whole.model.rotary_emb
    prompt = torch.randn(7, 64)
    found = next(iter(Engine(model).run([Request(prompt, 20)]))).ids
    wanted = model.generate(inputs_embeds=prompt[None], max_new_tokens=20, do_sample=False, eos_token_id=None)
    assert found == wanted[0].tolist()
