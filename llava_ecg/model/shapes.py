"""The parameters that a model of a given config has: their names and shapes by arithmetic, without building anything.

`llava-ecg inspect` holds the tensors of a folder against this table; building the model on the meta device says the same, but takes
seconds of imports. That model is the slow, obvious truth: tests/model/test_shapes.py holds this file equal to it, defaults included.

Standard library only: no torch, no transformers, no numpy in here.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from llava_ecg.errors import InputError

Shapes = dict[str, tuple[int, ...]]

MOST_LAYERS = 10_000
LARGEST = 2**31 - 1  # no dimension of a real model is near; keeps a made-up config from overflowing whoever reads the table


@dataclass(frozen=True)
class _Family:
    """What transformers assumes for a key that a text config leaves out (None: it follows from the others), and what it makes of it.

    Attributes:
        optional: the keys that may also be null.
        query_bias, output_bias, feed_forward_bias: which linears have one: always, never, or as the key of that name says.
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
        vocab_size=151936, intermediate_size=22016, num_key_value_heads=32, optional=("num_key_value_heads",), query_bias=True
    ),
}


def expected(config: Mapping[str, Any]) -> Shapes | None:
    """Our parameter names, and their shapes, of the `LlavaEcgForCausalLM` that this config describes.

    A tied head (``tie_word_embeddings`` of the text config) is not listed: it is the embedding again, and checkpoints don't hold it.
    Values that no parameter depends on (template, select_layer, most of a preparation, ...) are not looked at.

    Args:
        config: the arguments of `LlavaEcgConfig` as plain JSON values.

    Returns:
        name -> shape; None where a part is of a kind that is not known here (another text family, a plug-in's tower or projector):
        then only the model itself can tell.

    Raises:
        InputError: a setting that no model can be built from, named by its key.
    """
    text = _mapping(config.get("text_config") or {"model_type": "llama"}, "the text_config")
    streams = {name: _stream(name, values) for name, values in _mapping(config.get("streams") or {}, "the config's streams").items()}
    if not isinstance(text.get("model_type"), str):
        raise InputError(
            f"the text_config has model_type {reprlib.repr(text.get('model_type'))}; a name like {', '.join(FAMILIES)} is needed"
        )
    if text["model_type"] not in FAMILIES or any(stream.tower not in TOWERS for stream in streams.values()):
        return None
    hidden, language_model = _language_model(text, FAMILIES[text["model_type"]])
    shapes = {f"language_model.{name}": shape for name, shape in language_model.items()}
    widths = {}
    for name, stream in streams.items():
        widths[name], tower = TOWERS[stream.tower](stream.tower_config, f"the stream {name!r}")
        shapes |= {f"towers.{name}.{inner}": shape for inner, shape in tower.items()}
    for name, stream in streams.items():
        if stream.through not in (None, *streams):
            raise InputError(f"the stream {name!r} leads through {reprlib.repr(stream.through)}, which is none of {', '.join(streams)}")
        layers = _projector(stream.projector, widths[name], hidden if stream.through is None else widths[stream.through])
        if layers is None:
            return None
        shapes |= {f"projectors.{name}.{inner}": shape for inner, shape in layers.items()}
    newline = any(stream.preparation.get("merge") == "spatial_unpad" for stream in streams.values())
    if newline if config.get("image_newline") is None else _flag(config, "image_newline", "the config"):
        shapes["image_newline"] = (hidden,)
    return shapes


@dataclass(frozen=True)
class _Stream:
    """`llava_ecg.model.config.StreamConfig`, which can't be had without transformers."""

    tower: str
    tower_config: Mapping[str, Any]
    preparation: Mapping[str, Any]
    projector: str = "linear"
    through: str | None = None


def _stream(name: str, values: Any) -> _Stream:
    where = f"the stream {name!r}"
    settings = _known(_mapping(values, where), [item.name for item in fields(_Stream)], where)
    if "tower" not in settings:
        raise InputError(f"{where} needs a tower; known are {', '.join(TOWERS)}")
    for key in ("tower", "projector"):
        if not isinstance(settings.get(key, ""), str):
            raise InputError(f"{where} has {key} {reprlib.repr(settings[key])}; a name is needed")
    if not isinstance(settings.get("through"), str | None):
        raise InputError(f"{where} has through {reprlib.repr(settings['through'])}; the name of a stream, or null, is needed")
    for key in ("tower_config", "preparation"):
        settings[key] = _mapping(settings.get(key, {}), f"the {key} of {where}")
    return _Stream(**settings)


def _language_model(text: Mapping[str, Any], family: _Family) -> tuple[int, Shapes]:
    """Its width, and its parameters."""
    where = "the text_config"
    hidden = _size(text, "hidden_size", family.hidden_size, where)
    heads = _size(text, "num_attention_heads", family.num_attention_heads, where)
    if family.whole_heads:
        _divides(hidden, "hidden_size", heads, "num_attention_heads", where)
    derived = {"num_key_value_heads": heads, "head_dim": hidden // heads}
    text = {**text, **{key: derived[key] for key in family.optional if key in text and text[key] is None}}
    head = _size(text, "head_dim", derived["head_dim"], where)
    groups = _size(text, "num_key_value_heads", family.num_key_value_heads or heads, where)
    _divides(heads, "num_attention_heads", groups, "num_key_value_heads", where)
    inner = _size(text, "intermediate_size", family.intermediate_size, where)
    vocabulary = _size(text, "vocab_size", family.vocab_size, where)

    def bias(rule: bool | str) -> bool:
        return rule if isinstance(rule, bool) else _flag(text, rule, where)

    layer = {
        **_linear("self_attn.q_proj", hidden, heads * head, bias(family.query_bias)),
        **_linear("self_attn.k_proj", hidden, groups * head, bias(family.query_bias)),
        **_linear("self_attn.v_proj", hidden, groups * head, bias(family.query_bias)),
        **_linear("self_attn.o_proj", heads * head, hidden, bias(family.output_bias)),
        **_linear("mlp.gate_proj", hidden, inner, bias(family.feed_forward_bias)),
        **_linear("mlp.up_proj", hidden, inner, bias(family.feed_forward_bias)),
        **_linear("mlp.down_proj", inner, hidden, bias(family.feed_forward_bias)),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    shapes |= _repeated("model.layers", _layers(text, "num_hidden_layers", family.num_hidden_layers, where), layer)
    shapes["model.norm.weight"] = (hidden,)
    if not _flag(text, "tie_word_embeddings", where):
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return hidden, shapes


def _ecg_coca(given: Mapping[str, Any], where: str) -> tuple[int, Shapes]:
    """`llava_ecg.model.towers.ecg_coca.EcgCoCaTower`: its width, and its parameters."""
    sizes = {"seq_length": 5000, "lead_num": 12, "layers": 12, "width": 768, "head_width": 64, "patch_size": 50, "embed_dim": 512}
    settings = _known(given, [*sizes, "mlp_ratio"], f"the tower of {where}")
    where = f"the tower_config of {where}"
    layers = _layers(settings, "layers", sizes["layers"], where)
    size = {key: _size(settings, key, default, where) for key, default in sizes.items()}
    _divides(size["seq_length"], "seq_length", size["patch_size"], "patch_size", where)
    width, patch = size["width"], size["patch_size"]
    _divides(width, "width", size["head_width"], "head_width", where)
    ratio = settings.get("mlp_ratio", 4.0)
    number = isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0 < ratio <= LARGEST
    inner = int(width * ratio) if number else 0
    if not inner:
        raise InputError(f"{where} has mlp_ratio {reprlib.repr(ratio)}, which gives width {width} no hidden channel; 4 is usual")
    block = {
        **_norm("ln_1", width),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **_linear("attn.out_proj", width, width),
        **_norm("ln_2", width),
        **_linear("mlp.c_fc", width, inner),
        **_linear("mlp.c_proj", inner, width),
    }
    return width, {
        "class_embedding": (width,),
        "positional_embedding": (size["seq_length"] // patch + 1, width),
        "proj": (width, size["embed_dim"]),
        "conv1.weight": (width, size["lead_num"], patch),
        **_norm("ln_pre", width),
        **_repeated("transformer.resblocks", layers, block),
        **_norm("ln_post", width),
    }


def _clip(given: Mapping[str, Any], where: str) -> tuple[int, Shapes]:
    """`llava_ecg.model.towers.clip.ClipTower`: its width, and its parameters."""
    settings = _known(given, ["vision_config", "select_layer", "select_feature"], f"the tower of {where}")
    vision = _mapping(settings.get("vision_config") or {}, f"the vision_config of {where}")
    where = f"the vision_config of {where}"
    # of CLIPVisionConfig (ViT-B/32); a tower without any vision_config is ViT-L/14-336
    defaults = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "num_channels": 3}
    defaults |= {"image_size": 224, "patch_size": 32}
    if not vision:
        defaults |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        defaults |= {"image_size": 336, "patch_size": 14}
    layers = _layers(vision, "num_hidden_layers", defaults["num_hidden_layers"], where)
    check_selection(settings.get("select_layer", -2), settings.get("select_feature", "patch"), layers)
    size = {key: _size(vision, key, default, where) for key, default in defaults.items()}
    width, inner, patch = size["hidden_size"], size["intermediate_size"], size["patch_size"]
    _divides(width, "hidden_size", size["num_attention_heads"], "num_attention_heads", where)
    if patch > size["image_size"]:
        raise InputError(f"{where} has patch_size {patch} and image_size {size['image_size']}; a patch must fit into the image")
    layer = {
        **_linear("self_attn.k_proj", width, width),
        **_linear("self_attn.v_proj", width, width),
        **_linear("self_attn.q_proj", width, width),
        **_linear("self_attn.out_proj", width, width),
        **_norm("layer_norm1", width),
        **_linear("mlp.fc1", width, inner),
        **_linear("mlp.fc2", inner, width),
        **_norm("layer_norm2", width),
    }
    shapes = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, size["num_channels"], patch, patch),
        "embeddings.position_embedding.weight": ((size["image_size"] // patch) ** 2 + 1, width),
        **_norm("pre_layrnorm", width),
        **_repeated("encoder.layers", layers, layer),
        **_norm("post_layernorm", width),
    }
    return width, {f"vision_tower.{name}": shape for name, shape in shapes.items()}


def check_selection(layer: Any, feature: Any, layers: int) -> None:
    """Raise `InputError` for a hidden state that a CLIP of so many layers has not, or tokens of it that nobody can name.

    Args:
        layer: number of the hidden state, 0 (the embedding) to `layers`, or counted from the last as -1.
        feature: ``patch`` or ``cls_patch``.
    """
    if type(layer) is not int or not -layers - 1 <= layer <= layers:
        raise InputError(
            f"the hidden state {reprlib.repr(layer)} of the image tower is asked for (mm_vision_select_layer, select_layer), and it has "
            f"{layers + 1}: {-layers - 1} to {layers}, whole numbers; put right what the config says"
        )
    if feature not in ("patch", "cls_patch"):
        raise InputError(f"a CLIP tower has no feature {reprlib.repr(feature)} to select; known are patch, cls_patch")


TOWERS = {"ecg_coca": _ecg_coca, "clip": _clip}


def _projector(kind: str, width: int, out: int) -> Shapes | None:
    """The parameters of `llava_ecg.model.projectors.build_projector`; None for a name that is a plug-in's, or nobody's."""
    if kind == "linear":
        return {"weight": (out, width), "bias": (out,)}
    if kind == "identity":
        if width != out:
            raise InputError(f"the projector 'identity' can't bring width {width} to {out}; choose linear or mlp2x_gelu")
        return {}
    mlp = re.fullmatch(r"mlp([1-9]x|)_gelu", kind)
    if mlp is None:
        return None
    depth = int(mlp.group(1)[:-1] or 2)
    shapes = _linear("0", width, out)
    for layer in range(1, depth):
        shapes |= _linear(str(2 * layer), out, out)  # a GELU stands between two of them
    return shapes


def _linear(name: str, width: int, out: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, width)} | ({f"{name}.bias": (out,)} if bias else {})


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _repeated(name: str, count: int, layer: Shapes) -> Shapes:
    return {f"{name}.{number}.{inner}": shape for number in range(count) for inner, shape in layer.items()}


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} should be an object of settings and is {reprlib.repr(value)}")
    return value


def _known(given: Mapping[str, Any], known: list[str], what: str) -> dict[str, Any]:
    """`given`, if it has no other keys than these."""
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(f"{what} has no setting {', '.join(map(reprlib.repr, unknown[:5]))}; it has {', '.join(known)}")
    return dict(given)


def _size(values: Mapping[str, Any], key: str, default: int | None, where: str) -> int:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise InputError(f"{where} has {key} {reprlib.repr(value)}; a positive whole number (at most {LARGEST}) is needed")
    return value


def _layers(values: Mapping[str, Any], key: str, default: int, where: str) -> int:
    count = _size(values, key, default, where)
    if count > MOST_LAYERS:
        raise InputError(f"{where} has {key} {count}, and no model has more than {MOST_LAYERS} layers; look at that number")
    return count


def _flag(values: Mapping[str, Any], key: str, where: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{where} has {key} {reprlib.repr(value)}; true or false is needed")
    return value


def _divides(whole: int, whole_key: str, part: int, part_key: str, where: str) -> None:
    if whole % part:
        raise InputError(f"{where} has {whole_key} {whole}, which is no whole multiple of its {part_key} {part}")
