"""Tiny language models on random weights, and what transformers generates on them: the slow path."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedModel, Qwen2Config

SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.35,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": 0,
}
WIDTH: int = SIZES["hidden_size"]


def rope(kind: str, **more: Any) -> dict[str, Any]:
    """A way of scaling positions."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **more}}


_BANDS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
_LONG = {"short_factor": [1.0] * 4, "long_factor": [1.5, 2.0, 2.5, 3.0], "original_max_position_embeddings": 40}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "llama, one key head for each query head": LlamaConfig(**SIZES | {"num_key_value_heads": 4}),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, biases, wide heads": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=12),
    "llama, linear": LlamaConfig(**SIZES, **rope("linear", factor=4.0)),
    "llama, dynamic": LlamaConfig(**SIZES, **rope("dynamic", factor=2.0)),
    "llama, yarn": LlamaConfig(**SIZES, **rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama, llama3": LlamaConfig(**SIZES, **rope("llama3", factor=8.0, **_BANDS)),
    "llama, longrope": LlamaConfig(**SIZES, **rope("longrope", **_LONG)),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral, window": MistralConfig(**SIZES, sliding_window=9),
    "qwen2": Qwen2Config(**SIZES),
    "qwen2, window in some layers": Qwen2Config(
        **SIZES, use_sliding_window=True, sliding_window=9, max_window_layers=1
    ),
    "qwen2, tied": Qwen2Config(**SIZES, tie_word_embeddings=True),
}


def built(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """One of `CONFIGS` on random weights, biases and norms too."""
    torch.manual_seed(3)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[name], dtype=dtype)
    with torch.no_grad():
        for label, value in model.named_parameters():
            if "norm" in label:
                value.copy_(1 + 0.2 * torch.randn_like(value))
            elif "bias" in label:
                value.copy_(0.3 * torch.randn_like(value))
    return model.eval()


def prompts(count: int, longest: int = 30, seed: int = 5) -> list[torch.Tensor]:
    """Embeddings [S, WIDTH] of several lengths."""
    chance = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=chance).tolist()
    return [torch.randn(length, WIDTH, generator=chance) for length in lengths]


def slow(model: Any, given: list[torch.Tensor], tokens: int) -> list[tuple[list[int], torch.Tensor]]:
    """transformers' greedy ids of each prompt, and the scores [tokens, V] that they were taken from."""
    if len(given) > 1 and model.config.rope_parameters["rope_type"] in ("dynamic", "longrope"):
        return [
            one for prompt in given for one in slow(copy.deepcopy(model), [prompt], tokens)
        ]  # the batch decides there
    longest = max(map(len, given))
    values, mask = torch.zeros(len(given), longest, WIDTH), torch.zeros(len(given), longest, dtype=torch.long)
    for row, prompt in enumerate(given):
        values[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, 1
    found = model.generate(
        inputs_embeds=values,
        attention_mask=mask,
        max_new_tokens=tokens,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    return list(zip(found.sequences.tolist(), torch.stack(found.scores, dim=1), strict=True))
