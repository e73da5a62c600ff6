"""config.json of the released LLaVA, PULSE and GEM checkpoints <-> the arguments of `LlavaEcgConfig`. Plain dicts;
needs no torch.

What their file does not say is read from the weights' shapes, and never from a folder's name: towers from a table of
the ones that were released, the chat template from what kind of checkpoint it is. What neither can say (our own
preparations, a template that was chosen) is filed under the key ``llava_ecg``, which the original code passes over.

Sources: LLaVA c121f04, PULSE a439b6c, GEM c8a580f; see docs/checkpoints.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llava_ecg.checkpoint.towers.clip import clip_config
from llava_ecg.checkpoint.towers.ecg_coca import ecg_config
from llava_ecg.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
EXTENSION = "llava_ecg"

FAMILIES = {"llama": "llama", "mistral": "mistral", "qwen": "qwen2", "qwen2": "qwen2"}
LANGUAGE_MODEL_KEYS = (
    *(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
    ),
    *(
        "hidden_act",
        "initializer_range",
        "rms_norm_eps",
        "max_position_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
    ),
    *(
        "attention_bias",
        "mlp_bias",
        "attention_dropout",
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "layer_types",
    ),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)

_NULL_SAYS_NONE = ("sliding_window", "bos_token_id", "eos_token_id", "pad_token_id")
"""Keys whose null is a value, and not the default that transformers has for them (Mistral's window of 4096, Llama's ids
1 and 2)."""


def is_released(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is of the LLaVA kind: by its model_type or by its ``mm_`` keys."""
    kind = str(values.get("model_type", ""))
    return (
        kind.startswith("llava_")
        and kind != "llava_ecg"
        or "mm_projector_type" in values
        or "mm_vision_tower" in values
    )


def text_config(values: Mapping[str, Any], shapes: Shapes, what: str) -> dict[str, Any]:
    """The language model's config out of a flat one.

    Args:
        values: of config.json.
        shapes: of the tensors, under our names.
        what: the file, for the message.

    Raises:
        InputError: a language model that is not Llama, Mistral or Qwen2.
    """
    named = str(values.get("model_type", "")).removeprefix("llava_")
    if named in ("", "llava"):  # LLaVA's first releases: the class says it, or the biases that only Qwen2 has
        classes = " ".join(values.get("architectures") or ()).lower()
        found = [family for family in ("mistral", "qwen") if family in classes]
        biased = any(name.startswith("language_model.") and name.endswith("q_proj.bias") for name in shapes)
        named = found[0] if found else "qwen2" if biased and not values.get("attention_bias") else "llama"
    if named not in FAMILIES:
        raise InputError(
            f"{what} is of model_type {values.get('model_type')!r}; of the LLaVA kind llama, mistral and qwen are known"
        )
    told = {
        key: values[key]
        for key in LANGUAGE_MODEL_KEYS
        if values.get(key) is not None or key in values and key in _NULL_SAYS_NONE
    }
    return {"model_type": FAMILIES[named], **told}


def projector_kind(shapes: Shapes, name: str, otherwise: str) -> str:
    """``linear``, ``mlpNx_gelu`` or `otherwise` (where there are no weights) of the projector of a stream."""
    prefix = f"projectors.{name}."
    own = [key[len(prefix) :] for key in shapes if key.startswith(prefix)]
    if "weight" in own:
        return "linear"
    depth = len({key.split(".")[0] for key in own if key.endswith(".weight")})
    return f"mlp{depth}x_gelu" if depth else otherwise


def image_stream(values: Mapping[str, Any], shapes: Shapes, tower: Mapping[str, Any]) -> dict[str, Any]:
    """The image stream as LLaVA prepares it.

    Args:
        tower: of its CLIP: ``tower_config`` and ``preparation`` (mean and std, where they are not CLIP's).
    """
    aspect = values.get("image_aspect_ratio")
    # A value that LLaVA c121f04 has no way for stays as it is, and `ImagePreparation` refuses it: cropping the page
    # would be a guess.
    preparation = dict(tower.get("preparation", {})) | {
        "aspect": "ori" if aspect in (None, "square", "ori") else aspect
    }
    if aspect == "anyres" or "anyres" in str(aspect) and values.get("image_grid_pinpoints"):
        preparation["pinpoints"] = _pinpoints(values.get("image_grid_pinpoints"))
        preparation["merge"] = values.get("mm_patch_merge_type", "flat")
    config = dict(tower["tower_config"])
    config["select_layer"] = values.get("mm_vision_select_layer", config.get("select_layer", -2))
    config["select_feature"] = values.get("mm_vision_select_feature", config.get("select_feature", "patch"))
    return {
        "tower": "clip",
        "tower_config": config,
        "projector": projector_kind(shapes, "image", values.get("mm_projector_type", "linear")),
        "through": None,
        "preparation": preparation,
    }


def ecg_stream(values: Mapping[str, Any], shapes: Shapes, tower: Mapping[str, Any]) -> dict[str, Any]:
    """The ECG stream as GEM prepares it: millivolts, leads and samples as they are filed."""
    return {
        "tower": "ecg_coca",
        "tower_config": dict(tower["tower_config"]),
        "projector": projector_kind(shapes, "ecg", values.get("ecg_projector_type", "linear")),
        "through": "image",
        "preparation": {"leads": "as_filed", "rate": None},
    }


def template(values: Mapping[str, Any], text: Mapping[str, Any], streams: Mapping[str, Any]) -> str:
    """The chat template that a checkpoint of this kind was trained with: nothing in its files names it.

    GEM and PULSE were trained with ``llava_v1``, LLaVA on Vicuna with ``vicuna_v1``; PULSE is told from LLaVA-1.6 by
    its flat tiles.
    """
    if text["model_type"] == "qwen2":
        return "qwen_2"
    if text["model_type"] == "mistral":
        return "mistral_instruct"
    if text.get("vocab_size") == 64000:  # Yi: LLaVA-1.6-34B
        return "chatml_direct"
    preparation = streams.get("image", {}).get("preparation", {})
    if "ecg" in streams or (preparation.get("aspect"), preparation.get("merge")) == ("anyres", "flat"):
        return "llava_v1"
    return "vicuna_v1"


def to_config(
    values: Mapping[str, Any], shapes: Shapes, towers: Mapping[str, Mapping[str, Any]], what: str
) -> dict[str, Any]:
    """The arguments of `LlavaEcgConfig` for a released config.json.

    Args:
        values: of config.json.
        shapes: of all tensors, under our names.
        towers: stream -> ``tower_config`` (and ``preparation``) of its tower, for the streams that there are.
        what: the file, for messages.

    Raises:
        InputError: a language model, or a setting, that is not known.
    """
    if values.get("mm_use_im_start_end"):
        raise InputError(
            f"{what} says mm_use_im_start_end, tokens around the image that only LLaVA's first version had; it "
            "isn't supported"
        )
    text = text_config(values, shapes, what)
    makers = {"ecg": ecg_stream, "image": image_stream}
    streams = {name: make(values, shapes, towers[name]) for name, make in makers.items() if name in towers}
    if "ecg" in streams and "image" not in streams:
        streams["ecg"]["through"] = None
    found = {
        "text_config": text,
        "streams": streams,
        "template": template(values, text, streams),
        "base": None,
        "model_max_length": values.get("tokenizer_model_max_length") or values.get("max_position_embeddings") or 2048,
        "image_newline": "image_newline" in shapes
        or any(s["preparation"].get("merge") == "spatial_unpad" for s in streams.values()),
    }
    own = values.get(EXTENSION)
    return found | dict(own) if isinstance(own, Mapping) else found


def to_llava(config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
    """config.json in the released layout for our config; what that layout can't say goes under `EXTENSION`.

    Raises:
        InputError: streams that the layout has no place for.
    """
    text, streams = dict(config["text_config"]), config["streams"]
    family = next((name for name, ours in FAMILIES.items() if ours == text["model_type"]), None)
    if family is None or family not in ("llama", "mistral", "qwen"):
        raise InputError(
            f"the LLaVA layout holds Llama, Mistral and Qwen2, not {text['model_type']!r}; convert --to ours keeps it"
        )
    for name, stream in streams.items():
        through = "image" if name == "ecg" and "image" in streams else None
        if {"ecg": "ecg_coca", "image": "clip"}.get(name) != stream["tower"] or stream["through"] != through:
            raise InputError(
                f"the LLaVA layout has no place for the stream {name!r} of tower {stream['tower']!r} through "
                f"{stream['through']!r}; "
                "it holds an ecg_coca tower (through the image's projector) and a clip tower; convert --to ours "
                "keeps it"
            )
    origin = config.get("origin") or {}
    values: dict[str, Any] = dict(origin.get("config") or {})
    values.pop(EXTENSION, None)
    if not origin:
        values |= {
            "architectures": [f"Llava{family.capitalize()}ForCausalLM"],
            "model_type": f"llava_{family}",
            "use_mm_proj": True,
        }
        values |= {"mm_use_im_start_end": False, "mm_use_im_patch_token": False, "tokenizer_padding_side": "right"}
        values |= {"mm_patch_merge_type": "flat"}
        values |= _old_rope({key: text[key] for key in LANGUAGE_MODEL_KEYS if key in text})
    if values.get("tokenizer_model_max_length", values.get("max_position_embeddings")) != config["model_max_length"]:
        values["tokenizer_model_max_length"] = config["model_max_length"]
    towers = {name: {"tower_config": stream["tower_config"]} for name, stream in streams.items()}
    if "image" in streams:
        _write_image(values, streams["image"])
    if "ecg" in streams:
        values.setdefault("mm_ecg_tower", "inside")  # the original asks for a name; the weights are in here
        values.setdefault("open_clip_config", "coca_ViT-B-32")
        values["ecg_projector_type"] = streams["ecg"]["projector"]
    plain = _as_json(to_config(values, shapes, towers, "config.json"))
    kept = _as_json({key: config[key] for key in ("streams", "template", "model_max_length", "image_newline")})
    if any(plain[key] != kept[key] for key in kept) or not _told_by_shapes(streams, shapes):
        values[EXTENSION] = kept
    return values


def _told_by_shapes(streams: Mapping[str, Any], shapes: Shapes) -> bool:
    """Whether who opens the weights again finds the same towers without being told."""
    for name, tell in (("ecg", ecg_config), ("image", clip_config)):
        own = {
            key.removeprefix(f"towers.{name}."): shape
            for key, shape in shapes.items()
            if key.startswith(f"towers.{name}.")
        }
        given = streams[name]["tower_config"] if name in streams else {}
        if own and tell(own) != (given.get("vision_config") if name == "image" else given):
            return False
    return True


def _old_rope(text: dict[str, Any]) -> dict[str, Any]:
    """transformers 5 writes ``rope_parameters`` where LLaVA's version read ``rope_theta`` and ``rope_scaling``."""
    rope = text.pop("rope_parameters", None)
    if not isinstance(rope, Mapping):
        return text
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    return text | {
        "rope_theta": rope.get("rope_theta", 10000.0),
        "rope_scaling": None if rope.get("rope_type") == "default" else scaling,
    }


def _write_image(values: dict[str, Any], stream: Mapping[str, Any]) -> None:
    preparation, tower = stream["preparation"], stream["tower_config"]
    vision = tower.get("vision_config") or {}
    values.setdefault("mm_vision_tower", "openai/clip-vit-large-patch14-336")
    values["mm_hidden_size"] = vision.get("hidden_size", 1024)
    values["mm_projector_type"] = stream["projector"]
    values["mm_vision_select_layer"] = tower.get("select_layer", -2)
    values["mm_vision_select_feature"] = tower.get("select_feature", "patch")
    aspect = preparation.get("aspect", "squash")
    if not (
        aspect == "ori"
        and values.get("image_aspect_ratio") in ("ori", "square", None)
        and "image_aspect_ratio" in values
    ):
        values["image_aspect_ratio"] = aspect
    if aspect == "anyres":
        values["image_grid_pinpoints"] = [list(pair) for pair in preparation["pinpoints"]]
        values["mm_patch_merge_type"] = preparation.get("merge", "flat")


def _pinpoints(value: Any) -> list[list[int]]:
    """LLaVA files them as a list, or as the text of one."""
    try:
        pairs = json.loads(value.replace("(", "[").replace(")", "]")) if isinstance(value, str) else value
        return [[int(wide), int(high)] for wide, high in pairs]
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"image_grid_pinpoints is {value!r}; anyres needs a list of [width, height]") from error


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
