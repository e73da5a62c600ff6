"""The layers of a Llama, Mistral or Qwen2 over the weights that transformers loaded: one pass over places that lie one
behind the other, whatever sequences they are of.

`Decoder` is handed a language model of transformers and knows no tokenizer, no tower and no model of ours.

Axes: T places of all sequences, D width, H query heads, K key heads, d width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import rms_norm

from llava_ecg.engine.joined import Joined

WINDOWS: dict[str, Callable[[Any], int | None]] = {
    "LlamaForCausalLM": lambda attention: None,
    "MistralForCausalLM": lambda attention: attention.config.sliding_window,
    "Qwen2ForCausalLM": lambda attention: attention.sliding_window,
}
"""Classes of transformers that the step knows -> how many places back an attention layer sees; None for all."""

MOVING = ("dynamic", "longrope")
"""Kinds of rotary positions whose frequencies follow from the length of a sequence, and so from one sequence alone."""

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor, float, int | None], torch.Tensor]
"""Number of the layer, query [T, H, d], key and value [T, K, d], scale, window -> [T, H, d]."""


def refusal(language_model: Any) -> str | None:
    """Why the step can't run this language model, as the end of a sentence; None where it can.

    It reads weights and passes by the modules' own forwards, so whatever else hangs on those would be lost.
    """
    model = _unwrapped(language_model)
    if model is None:
        kinds = sorted({str(each.peft_type).split(".")[-1] for each in language_model.peft_config.values()})
        return f"it has an adapter of kind {', '.join(kinds)}, and LoRA is the only one that it knows"
    name = type(model).__name__
    if name not in WINDOWS or not type(model).__module__.startswith("transformers."):
        return f"it is a {name}, and {', '.join(WINDOWS)} are known"
    if model.training:
        return "it is in training mode"
    decoder = model.get_decoder()
    for label, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks or "_hf_hook" in vars(module):
            return f"{label or 'it'} has a hook"
    if any(value.is_meta for value in model.parameters()):
        return "a part of its weights is not in memory"
    if len({value.device for value in model.parameters()}) > 1:
        return "its weights lie on several devices"
    if 2 * decoder.rotary_emb.inv_freq.shape[-1] != decoder.layers[0].self_attn.head_dim:
        return "its positions turn a part of each head only"
    return None


def _unwrapped(language_model: Any) -> Any:
    """The model inside PEFT's wrapping, where that only put LoRA beside its layers; None where it did more."""
    if not hasattr(type(language_model), "get_base_model"):
        return language_model
    kinds = {str(each.peft_type).split(".")[-1] for each in language_model.peft_config.values()}
    return language_model.get_base_model() if kinds == {"LORA"} else None


@dataclass
class Layer:
    """One layer's parts, joined where they read the same input."""

    before: nn.Module
    qkv: Joined
    out: Joined
    after: nn.Module
    gate_up: Joined
    activation: Callable[[torch.Tensor], torch.Tensor]
    down: Joined
    scale: float
    window: int | None

    @classmethod
    def of(cls, module: Any, window: int | None) -> Layer:
        """Of a decoder layer of transformers."""
        groups = [Joined(*group) for group in _groups(module)]
        return cls(
            before=module.input_layernorm,
            qkv=groups[0],
            out=groups[1],
            after=module.post_attention_layernorm,
            gate_up=groups[2],
            activation=module.mlp.act_fn,
            down=groups[3],
            scale=module.self_attn.scaling,
            window=window,
        )

    def holds(self, module: Any) -> bool:
        """Whether its parts are still those of the module."""
        joined = (self.qkv, self.out, self.gate_up, self.down)
        return all(each.holds(*group) for each, group in zip(joined, _groups(module), strict=True))


def _groups(module: Any) -> tuple[tuple[nn.Module, ...], ...]:
    attention, mlp = module.self_attn, module.mlp
    return (
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (mlp.gate_proj, mlp.up_proj),
        (mlp.down_proj,),
    )


class Decoder:
    """The layers, the embedding and the head of a language model.

    Args:
        language_model: of one of the classes in `WINDOWS`, or PEFT's LoRA around one.

    Raises:
        ValueError: see `refusal`.
    """

    def __init__(self, language_model: Any) -> None:
        if (why := refusal(language_model)) is not None:
            raise ValueError(f"the step can't run this language model: {why}")
        model = _unwrapped(language_model)
        self.model = model.get_decoder()
        self._output = model.get_output_embeddings()
        self.head: nn.Module = self._output
        self._seen: tuple[Any, ...] = ()  # where the head's weight lay when it was last looked at
        self._window = WINDOWS[type(model).__name__]
        config = self.model.config
        self.query_heads: int = config.num_attention_heads
        self.key_heads: int = config.num_key_value_heads
        self.head_width: int = self.model.layers[0].self_attn.head_dim
        self.moving = any(kind in self.model.rotary_emb.rope_type for kind in MOVING)
        self.layers: list[Layer] = []
        self.refresh()

    @property
    def weight(self) -> torch.Tensor:
        """A tensor that says device and kind of number of what is computed."""
        found: torch.Tensor = self.model.norm.weight
        return found

    def refresh(self) -> None:
        """Join what is not joined, or no longer: after ``model.to(...)``, or a LoRA that was put beside a layer."""
        kept = len(self.layers) == len(self.model.layers)
        self.layers = [
            self.layers[number]
            if kept and self.layers[number].holds(module)
            else Layer.of(module, self._window(module.self_attn))
            for number, module in enumerate(self.model.layers)
        ]
        self._refresh_head()

    def _refresh_head(self) -> None:
        """A head in 8 bits beside layers that are: of a small language model it is a fifth of what a step reads. The
        model's own, which may be its embedding, stays."""
        weight = self._output.weight
        seen = (weight.data_ptr(), weight._version, weight.device)
        kinds = [type(layer.down.whole) for layer in self.layers if layer.down.whole is not None]
        if not kinds or type(self._output) is not nn.Linear:
            self.head = self._output
        elif self.head is self._output or seen != self._seen:
            self.head = kinds[0].of(self._output)
        self._seen = seen

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """int64 [T] -> [T, D]"""
        found: torch.Tensor = self.model.embed_tokens(ids)
        return found

    def hidden(
        self, values: torch.Tensor, positions: torch.Tensor, counts: Sequence[int], attend: Attend
    ) -> torch.Tensor:
        """One pass.

        Args:
            values: [T, D], embeddings.
            positions: int64 [T], of each in its own sequence.
            counts: how many of the T places each sequence has, one behind the other.
            attend: keeps keys and values, and lets queries look at them.

        Returns:
            [T, D], normalised: what the head reads.
        """
        cos, sin = self._turns(values, positions, counts)
        for number, layer in enumerate(self.layers):
            seen = self._attended(number, layer, _normal(layer.before, values), cos, sin, attend)
            values = values + layer.out(seen)
            gate, up = layer.gate_up(_normal(layer.after, values)).chunk(2, dim=-1)
            values = values + layer.down(layer.activation(gate) * up)
        return _normal(self.model.norm, values)

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n, D] -> float32 [n, V]"""
        found: torch.Tensor = self.head(hidden)
        return found.float()

    def _attended(
        self, number: int, layer: Layer, values: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, attend: Attend
    ) -> torch.Tensor:
        """[T, D] -> [T, H * d]"""
        turned = self.query_heads + self.key_heads
        heads = layer.qkv(values).view(values.shape[0], turned + self.key_heads, self.head_width)
        both = heads[:, :turned]
        left, right = both.chunk(2, dim=-1)
        both = torch.addcmul(both * cos, torch.cat((-right, left), dim=-1), sin)
        query, key = both.split((self.query_heads, self.key_heads), dim=1)
        out = attend(number, query, key, heads[:, turned:], layer.scale, layer.window)
        return out.reshape(values.shape[0], -1)

    def _turns(
        self, values: torch.Tensor, positions: torch.Tensor, counts: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [T, 1, d], from the model's own module, so that every scaling of theirs is right."""
        rotary = self.model.rotary_emb
        if not self.moving:
            cos, sin = rotary(values, positions[None])
            return cos[0, :, None], sin[0, :, None]
        found = []
        for own in positions.split(list(counts)):
            rotary(values, own[None, :1] * 0)  # frequencies that a longer sequence left behind are put back
            found.append(rotary(values, own[None]))
        cos, sin = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        return cos[0, :, None], sin[0, :, None]


def _normal(norm: Any, values: torch.Tensor) -> torch.Tensor:
    """RMSNorm."""
    return rms_norm(values, (values.shape[-1],), norm.weight, norm.variance_epsilon)
