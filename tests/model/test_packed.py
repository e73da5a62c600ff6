"""A pack gives each of its samples what it gets alone, for every family of language model that is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, MistralConfig, Qwen2Config

from llava_ecg.data.batch import counted, pack, pad
from llava_ecg.data.encode import IGNORE, Encoded
from llava_ecg.engine.attention import PACKED
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.streams import Prepared

ECG = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
SIZES: dict[str, Any] = {
    **{"vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2},
}
FAMILIES = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral with a window": MistralConfig(**SIZES, sliding_window=50),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
}


def build(text: Any) -> LlavaEcgForCausalLM:
    torch.manual_seed(0)
    stream = {"tower": "ecg_coca", "tower_config": ECG, "projector": "linear"}
    return LlavaEcgForCausalLM(LlavaEcgConfig(text_config=text.to_dict(), streams={"ecg": stream})).eval()


def sample(model: Any, length: int, seed: int, ecg: bool = True) -> Encoded:
    rng = torch.Generator().manual_seed(seed)
    tokens = model.towers["ecg"].tokens if ecg else 0
    ids = torch.randint(1, 128, (length + tokens,), generator=rng)
    slots = torch.zeros(length + tokens, dtype=torch.int8)
    slots[2 : 2 + tokens] = 1
    labels = ids.clone()
    labels[: 2 + tokens + 3] = IGNORE
    given = (Prepared(torch.randn(1, 12, 5000, generator=rng), tokens, torch.arange(tokens)),) if ecg else ()
    return Encoded(ids, labels, slots, {"ecg": given})


def samples(model: Any) -> list[Encoded]:
    return [sample(model, 20, 1), sample(model, 9, 2), sample(model, 31, 3, ecg=False), sample(model, 12, 4)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_weighted_mean_of_the_single_ones(family: str) -> None:
    model = build(FAMILIES[family])
    alone = []
    for each in samples(model):
        out = model(**pad([each], 0))
        alone.append((out.loss, int((each.labels[1:] != IGNORE).sum())))
    wanted = sum(loss * count for loss, count in alone) / sum(count for _, count in alone)
    wanted.backward()
    slopes = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    model.language_model.set_attn_implementation(PACKED)
    out = model(**counted(pack(samples(model)), ["ecg"]), supervised_only=True)
    torch.testing.assert_close(out.loss, wanted, atol=1e-5, rtol=0)
    out.loss.backward()
    for name, slope in slopes.items():
        torch.testing.assert_close(model.get_parameter(name).grad, slope, atol=1e-5, rtol=1e-4, msg=name)


def test_a_sample_does_not_see_its_neighbours() -> None:
    model = build(FAMILIES["llama"])
    model.language_model.set_attn_implementation(PACKED)
    given = samples(model)
    before = model(**pack(given)).logits
    other = sample(model, 9, 7)
    assert len(other) == len(given[1])
    after = model(**pack([given[0], other, *given[2:]])).logits
    begin, end = len(given[0]), len(given[0]) + len(given[1])
    assert torch.equal(before[:, :begin], after[:, :begin])
    assert torch.equal(before[:, end:], after[:, end:])
    assert not torch.equal(before[:, begin:end], after[:, begin:end])

    batch = pack(given)
    embeds = model.embed(batch["input_ids"], batch["slots"], batch["streams"]).detach().requires_grad_()
    borders = {name: batch[name] for name in ("position_ids", "segments", "longest")}
    model(inputs_embeds=embeds, **borders).logits[:, begin:end].square().sum().backward()
    assert embeds.grad is not None
    outside = torch.ones(embeds.shape[1], dtype=torch.bool)
    outside[begin:end] = False
    assert not embeds.grad[:, outside].any()
    assert embeds.grad[:, ~outside].any()


def test_attention_that_would_leak_is_refused() -> None:
    model = build(FAMILIES["llama"])
    with pytest.raises(ValueError, match="keeps its samples apart"):
        model(**pack(samples(model)))


def test_with_recomputed_layers_and_an_adapter() -> None:
    peft = pytest.importorskip("peft")
    model = build(FAMILIES["llama"])
    given = counted(pack(samples(model)), ["ecg"])
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model.language_model = peft.get_peft_model(model.language_model, settings)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value)
    model.language_model.set_attn_implementation(PACKED)
    model.train()
    found = []
    for recompute in (False, True):
        if recompute:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad()
        loss = model(**given, supervised_only=True).loss
        loss.backward()
        found.append([loss] + [value.grad.clone() for value in model.parameters() if value.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert len(found[0]) > 8
