"""The parameters that a model of a given config has: their names and shapes by arithmetic, without building anything.

`llava-ecg inspect` holds the tensors of a folder against this table; building the model on the meta device says the
same, but takes seconds of imports. That model is the slow, obvious truth: tests/checkpoint/test_shapes.py holds this
file equal to it, defaults included.

Standard library only: no torch, no transformers, no numpy in here.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from llava_ecg.checkpoint.arithmetic import Shapes, divides, flag, known, layers_of, linear, mapping, repeated, size_of
from llava_ecg.checkpoint.towers.known import TOWERS
from llava_ecg.errors import InputError
from llava_ecg.streams import StreamConfig


@dataclass(frozen=True)
class _Family:
    """What transformers assumes for a key that a text config leaves out (None: it follows from the others), and what it
    makes of it.

    Attributes:
        optional: the keys that may also be null.
        query_bias, output_bias, feed_forward_bias: which linears have one: always, never, or as the key of that name
            says.
        whole_heads: whether hidden_size must be a multiple of num_attention_heads.
    """

    vocab_size: int
    intermediate_size: int
    num_key_value_heads: int | None
    optional: tuple[str, ...]
    query_bias: bool | str = False
    output_bias: bool | str = False
    feed_forward_bias: bool | str = False
    whole_heads: bool = False
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32


FAMILIES = {
    "llama": _Family(
        vocab_size=32000,
        intermediate_size=11008,
        num_key_value_heads=None,
        optional=("num_key_value_heads", "head_dim"),
        query_bias="attention_bias",
        output_bias="attention_bias",
        feed_forward_bias="mlp_bias",
        whole_heads=True,
    ),
    "mistral": _Family(vocab_size=32000, intermediate_size=14336, num_key_value_heads=8, optional=("head_dim",)),
    "qwen2": _Family(
        vocab_size=151936,
        intermediate_size=22016,
        num_key_value_heads=32,
        optional=("num_key_value_heads",),
        query_bias=True,
    ),
}


def expected(config: Mapping[str, Any]) -> Shapes | None:
    """Our parameter names, and their shapes, of the `LlavaEcgForCausalLM` that this config describes.

    A tied head (``tie_word_embeddings`` of the text config) is not listed: it is the embedding again, and checkpoints
    don't hold it. Values that no parameter depends on (template, select_layer, most of a preparation, ...) are not
    looked at.

    Args:
        config: the arguments of `LlavaEcgConfig` as plain JSON values.

    Returns:
        name -> shape; None where a part is of a kind that is not known here (another text family, a plug-in's tower or
        projector): then only the model itself can tell.

    Raises:
        InputError: a setting that no model can be built from, named by its key.
    """
    text = mapping(config.get("text_config") or {"model_type": "llama"}, "the text_config")
    streams = {
        name: _stream(name, values)
        for name, values in mapping(config.get("streams") or {}, "the config's streams").items()
    }
    if not isinstance(text.get("model_type"), str):
        raise InputError(
            f"the text_config has model_type {reprlib.repr(text.get('model_type'))}; a name like "
            f"{', '.join(FAMILIES)} is needed"
        )
    if text["model_type"] not in FAMILIES or any(stream.tower not in TOWERS for stream in streams.values()):
        return None
    hidden, language_model = _language_model(text, FAMILIES[text["model_type"]])
    shapes = {f"language_model.{name}": shape for name, shape in language_model.items()}
    widths = {}
    for name, stream in streams.items():
        widths[name], tower = TOWERS[stream.tower].shapes(stream.tower_config, f"the stream {name!r}")
        shapes |= {f"towers.{name}.{inner}": shape for inner, shape in tower.items()}
    for name, stream in streams.items():
        if stream.through not in (None, *streams):
            raise InputError(
                f"the stream {name!r} leads through {reprlib.repr(stream.through)}, which is none of "
                f"{', '.join(streams)}"
            )
        layers = _projector(
            stream.projector, widths[name], hidden if stream.through is None else widths[stream.through]
        )
        if layers is None:
            return None
        shapes |= {f"projectors.{name}.{inner}": shape for inner, shape in layers.items()}
    newline = any(stream.preparation.get("merge") == "spatial_unpad" for stream in streams.values())
    if newline if config.get("image_newline") is None else flag(config, "image_newline", "the config"):
        shapes["image_newline"] = (hidden,)
    return shapes


def _stream(name: str, values: Any) -> StreamConfig:
    where = f"the stream {name!r}"
    settings = known(mapping(values, where), [item.name for item in fields(StreamConfig)], where)
    if "tower" not in settings:
        raise InputError(f"{where} needs a tower; known are {', '.join(TOWERS)}")
    for key in ("tower", "projector"):
        if not isinstance(settings.get(key, ""), str):
            raise InputError(f"{where} has {key} {reprlib.repr(settings[key])}; a name is needed")
    if not isinstance(settings.get("through"), str | None):
        raise InputError(
            f"{where} has through {reprlib.repr(settings['through'])}; the name of a stream, or null, is needed"
        )
    for key in ("tower_config", "preparation"):
        settings[key] = mapping(settings.get(key, {}), f"the {key} of {where}")
    return StreamConfig(**settings)


def _language_model(text: Mapping[str, Any], family: _Family) -> tuple[int, Shapes]:
    """Its width, and its parameters."""
    where = "the text_config"
    hidden = size_of(text, "hidden_size", family.hidden_size, where)
    heads = size_of(text, "num_attention_heads", family.num_attention_heads, where)
    if family.whole_heads:
        divides(hidden, "hidden_size", heads, "num_attention_heads", where)
    derived = {"num_key_value_heads": heads, "head_dim": hidden // heads}
    text = {**text, **{key: derived[key] for key in family.optional if key in text and text[key] is None}}
    head = size_of(text, "head_dim", derived["head_dim"], where)
    groups = size_of(text, "num_key_value_heads", family.num_key_value_heads or heads, where)
    divides(heads, "num_attention_heads", groups, "num_key_value_heads", where)
    inner = size_of(text, "intermediate_size", family.intermediate_size, where)
    vocabulary = size_of(text, "vocab_size", family.vocab_size, where)

    def bias(rule: bool | str) -> bool:
        return rule if isinstance(rule, bool) else flag(text, rule, where)

    layer = {
        **linear("self_attn.q_proj", hidden, heads * head, bias(family.query_bias)),
        **linear("self_attn.k_proj", hidden, groups * head, bias(family.query_bias)),
        **linear("self_attn.v_proj", hidden, groups * head, bias(family.query_bias)),
        **linear("self_attn.o_proj", heads * head, hidden, bias(family.output_bias)),
        **linear("mlp.gate_proj", hidden, inner, bias(family.feed_forward_bias)),
        **linear("mlp.up_proj", hidden, inner, bias(family.feed_forward_bias)),
        **linear("mlp.down_proj", inner, hidden, bias(family.feed_forward_bias)),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    shapes |= repeated("model.layers", layers_of(text, "num_hidden_layers", family.num_hidden_layers, where), layer)
    shapes["model.norm.weight"] = (hidden,)
    if not flag(text, "tie_word_embeddings", where):
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return hidden, shapes


def _projector(kind: str, width: int, out: int) -> Shapes | None:
    """The parameters of `llava_ecg.model.projectors.build_projector`; None for a name that is a plug-in's, or
    nobody's."""
    if kind == "linear":
        return {"weight": (out, width), "bias": (out,)}
    if kind == "identity":
        if width != out:
            raise InputError(
                f"the projector 'identity' can't bring width {width} to {out}; choose linear or mlp2x_gelu"
            )
        return {}
    mlp = re.fullmatch(r"mlp([1-9]x|)_gelu", kind)
    if mlp is None:
        return None
    depth = int(mlp.group(1)[:-1] or 2)
    shapes = linear("0", width, out)
    for layer in range(1, depth):
        shapes |= linear(str(2 * layer), out, out)  # a GELU stands between two of them
    return shapes
