"""The released layouts as config.json, key names and shapes, and the real 7B checkpoints as files of true size that
take no disk.

This is the other side of the loading tests and their documentation of the layouts: nothing here imports llava_ecg.
Written from shared/reference/released-checkpoints.md and from public copies of the released config.json files; [inf]
marks what was inferred. `released.py` writes the same layouts small, with weights in them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Shapes = dict[str, tuple[int, ...]]

# --- config.json ------------------------------------------------------------------------------------------------------
LLAMA_7B = {  # Vicuna-7B v1.5
    **{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 32, "hidden_act": "silu", "max_position_embeddings": 4096},
    **{
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
    },
    **{"attention_dropout": 0.0, "pretraining_tp": 1, "tie_word_embeddings": False, "use_cache": True},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}
MISTRAL_7B = {  # Mistral-7B-Instruct v0.2: no sliding window, 8 key/value heads
    **{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_act": "silu", "max_position_embeddings": 32768},
    **{
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "attention_dropout": 0.0,
    },
    **{"tie_word_embeddings": False, "use_cache": True, "bos_token_id": 1, "eos_token_id": 2},
}
CLIP_L_336 = {
    **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    **{"image_size": 336, "patch_size": 14, "hidden_act": "quick_gelu", "projection_dim": 768, "num_channels": 3},
}
COCA_VIT_B_32 = {  # ECG-CoCa's open_clip config; the text parts have no use for an encoder
    "embed_dim": 512,
    "ecg_cfg": {
        "seq_length": 5000,
        "lead_num": 12,
        "layers": 12,
        "width": 768,
        "head_width": 64,
        "mlp_ratio": 4.0,
        "patch_size": 50,
    },
}

# language model -> (model_type, class). The first LLaVA releases (1.5, 1.6 on Vicuna) said model_type "llava", which
# transformers has since taken for another layout; the code of today writes "llava_llama" and the hub shows that for
# PULSE.
LLAVA_CLASSES = {
    "llama": ("llava_llama", "LlavaLlamaForCausalLM"),
    "mistral": ("llava_mistral", "LlavaMistralForCausalLM"),
    "qwen2": ("llava_qwen", "LlavaQwenForCausalLM"),
}
TRAINED = {"tune_mm_mlp_adapter": False, "freeze_mm_mlp_adapter": False, "mm_projector_lr": None}
RESAMPLER = {"mm_resampler_type": None, "freeze_mm_vision_resampler": False, "tune_mm_vision_resampler": False}
# what each kind says beside the keys that all of them have; "anyres" adds its pinpoints
OWN: dict[str, dict[str, Any]] = {
    "gem": {
        **{
            "mm_patch_merge_type": "flat",
            "image_aspect_ratio": "ori",
            "ecg_projector_type": "linear",
            "ecg_projector_lr": None,
        },
        **{"tokenizer_padding_side": "right", "torch_dtype": "bfloat16", "transformers_version": "4.37.2"} | TRAINED,
    },
    "pulse": {  # flat by its training script [inf]
        **{
            "mm_patch_merge_type": "flat",
            "image_aspect_ratio": "anyres",
            "unfreeze_mm_vision_tower": True,
            "mm_vision_tower_lr": 2e-06,
        },
        **{"tokenizer_padding_side": "right", "torch_dtype": "bfloat16", "transformers_version": "4.37.2"}
        | TRAINED
        | RESAMPLER,
    },
    "llava-1.5": {  # older: no merge type, no tokenizer_* keys
        **{"image_aspect_ratio": "pad", "unfreeze_mm_vision_tower": False, "max_length": 4096, "model_type": "llava"},
        **{
            "torch_dtype": "float16",
            "transformers_version": "4.31.0",
            "tune_mm_mlp_adapter": False,
            "freeze_mm_mlp_adapter": False,
        },
        **RESAMPLER,
    },
    "llava-1.6-vicuna": {
        **{
            "mm_patch_merge_type": "spatial_unpad",
            "image_aspect_ratio": "anyres",
            "model_type": "llava",
            "mm_vision_tower_lr": 2e-06,
        },
        **{"image_crop_resolution": 224, "image_split_resolution": 224, "unfreeze_mm_vision_tower": True},
        **{"tokenizer_padding_side": "right", "torch_dtype": "bfloat16", "transformers_version": "4.36.2"}
        | TRAINED
        | RESAMPLER,
    },
}
OWN["gem-qwen"] = OWN["gem"]
OWN["llava-1.6-mistral"] = {key: value for key, value in OWN["llava-1.6-vicuna"].items() if key != "model_type"}
FAMILY = {"gem-qwen": "qwen2", "llava-1.6-mistral": "mistral"}  # the others are llama


def pinpoints(size: int) -> list[list[int]]:
    """The five page sizes of anyres, [width, height], in pixels of a tile."""
    return [[wide * size, high * size] for wide, high in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


def llava_config(
    kind: str, text: Mapping[str, Any], clip: Mapping[str, Any], *, vision_tower: str, max_length: int
) -> dict[str, Any]:
    """config.json of one `kind` (a key of `OWN`): the language model's own keys, flat, and beside them the ``mm_``
    ones."""
    model_type, name = LLAVA_CLASSES[FAMILY.get(kind, "llama")]
    values = {"architectures": [name], "model_type": model_type, **text}
    values |= {
        "mm_vision_tower": vision_tower,
        "mm_hidden_size": clip["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "use_mm_proj": True,
    } | OWN[kind]
    if kind == "llava-1.5":
        for later in ("rope_theta", "attention_bias", "attention_dropout"):  # transformers 4.31 did not write them
            values.pop(later, None)
    else:
        values["tokenizer_model_max_length"] = max_length
    if values["image_aspect_ratio"] == "anyres":
        values["image_grid_pinpoints"] = pinpoints(clip["image_size"])
    if kind.startswith("gem"):  # a path of the machine it was trained on
        values |= {
            "mm_ecg_tower": "/home/gem/ecg_coca/open_clip/checkpoint/cpt_wfep_epoch_20.pt",
            "open_clip_config": "coca_ViT-B-32",
        }
    return values


# --- key names and shapes ---------------------------------------------------------------------------------------------
def language_model_shapes(text: Mapping[str, Any], biases: bool = False) -> Shapes:
    """Llama's names, which Mistral and Qwen2 share; `biases` of q, k and v are Qwen2's. No ``lm_head`` where it is
    tied."""
    width, inner = text["hidden_size"], text["intermediate_size"]
    head = text.get("head_dim") or width // text["num_attention_heads"]
    q, kv = head * text["num_attention_heads"], head * text["num_key_value_heads"]
    shapes: Shapes = {"model.embed_tokens.weight": (text["vocab_size"], width)}
    for layer in (f"model.layers.{number}." for number in range(text["num_hidden_layers"])):
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            shapes[f"{layer}self_attn.{name}_proj.weight"] = (rows, width)
            if biases:
                shapes[f"{layer}self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{layer}self_attn.o_proj.weight"] = (width, q)
        shapes |= {f"{layer}mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes[f"{layer}mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"{layer}{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    shapes["model.norm.weight"] = (width,)
    return shapes if text.get("tie_word_embeddings") else shapes | {"lm_head.weight": (text["vocab_size"], width)}


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def clip_layers(prefix: str, width: int, inner: int, layers: int) -> Shapes:
    """The encoder layers that CLIP's image and text towers share."""
    shapes: Shapes = {}
    for layer in (f"{prefix}encoder.layers.{number}." for number in range(layers)):
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{layer}self_attn.{name}", width, width)
        shapes |= _norm(f"{layer}layer_norm1", width) | _norm(f"{layer}layer_norm2", width)
        shapes |= _linear(f"{layer}mlp.fc1", inner, width) | _linear(f"{layer}mlp.fc2", width, inner)
    return shapes


def clip_shapes(vision: Mapping[str, Any], prefix: str = "vision_model.") -> Shapes:
    """CLIP's image tower (``pre_layrnorm`` is spelled so). No projection: LLaVA keeps none."""
    width, patch = vision["hidden_size"], vision["patch_size"]
    return {
        f"{prefix}embeddings.class_embedding": (width,),
        f"{prefix}embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{prefix}embeddings.position_embedding.weight": ((vision["image_size"] // patch) ** 2 + 1, width),
        **_norm(f"{prefix}pre_layrnorm", width),
        **clip_layers(prefix, width, vision["intermediate_size"], vision["num_hidden_layers"]),
        **_norm(f"{prefix}post_layernorm", width),
    }


def ecg_shapes(coca: Mapping[str, Any], prefix: str = "") -> Shapes:
    """ECG-CoCa's encoder from its open_clip config: one-dimensional patches, one class token."""
    tower = coca["ecg_cfg"]
    width, patch = tower["width"], tower["patch_size"]
    inner = int(width * tower.get("mlp_ratio", 4.0))
    shapes: Shapes = {
        f"{prefix}class_embedding": (width,),
        f"{prefix}positional_embedding": (tower["seq_length"] // patch + 1, width),
        f"{prefix}proj": (width, coca["embed_dim"]),
        f"{prefix}conv1.weight": (width, tower["lead_num"], patch),
        **_norm(f"{prefix}ln_pre", width),
    }
    for block in (f"{prefix}transformer.resblocks.{number}." for number in range(tower["layers"])):
        shapes |= {f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,)}
        shapes |= (
            _linear(f"{block}attn.out_proj", width, width) | _norm(f"{block}ln_1", width) | _norm(f"{block}ln_2", width)
        )
        shapes |= _linear(f"{block}mlp.c_fc", inner, width) | _linear(f"{block}mlp.c_proj", width, inner)
    return shapes | _norm(f"{prefix}ln_post", width)


def projector_shapes(name: str, kind: str, columns: int, rows: int) -> Shapes:
    """``linear``: one layer. ``mlpNx_gelu``: a Sequential in which every second member is a GELU, so layers 0, 2, 4,
    ..."""
    if kind == "linear":
        return _linear(name, rows, columns)
    depth = int(kind.removeprefix("mlp").removesuffix("x_gelu"))
    return {
        k: v for n in range(depth) for k, v in _linear(f"{name}.{2 * n}", rows, columns if n == 0 else rows).items()
    }


def llava_shapes(
    config: Mapping[str, Any], clip: Mapping[str, Any] | None, coca: Mapping[str, Any] | None, newline: bool = False
) -> dict[str, Shapes]:
    """The parts of a LLaVA state dict for a config.json, by name; together they are the checkpoint.

    Args:
        clip: of the image tower, if its weights lie inside.
        coca: of the ECG tower (GEM); its features are brought to ``mm_hidden_size`` and then pass ``mm_projector``.
        newline: whether there is ``model.image_newline``.
    """
    wide = config["mm_hidden_size"]
    parts = {"language_model": language_model_shapes(config, biases=config["model_type"] == "llava_qwen")}
    parts["mm_projector"] = projector_shapes(
        "model.mm_projector", config["mm_projector_type"], wide, config["hidden_size"]
    )
    if newline:
        parts["image_newline"] = {"model.image_newline": (config["hidden_size"],)}
    if clip is not None:
        parts["vision_tower"] = clip_shapes(clip, "model.vision_tower.vision_tower.vision_model.")
    if coca is not None:
        parts["ecg_tower"] = ecg_shapes(coca, "model.ecg_tower.ecg_tower.")
        parts["ecg_projector"] = projector_shapes(
            "model.ecg_projector", config["ecg_projector_type"], coca["ecg_cfg"]["width"], wide
        )
    return parts


def joined(parts: Mapping[str, Shapes]) -> Shapes:
    """All parts as one dict."""
    return {name: shape for part in parts.values() for name, shape in part.items()}


# --- the real ones ----------------------------------------------------------------------------------------------------
SEVEN_B = ("gem", "pulse", "llava-1.6-vicuna", "llava-1.6-mistral")


def seven_b_config(kind: str) -> dict[str, Any]:
    """config.json of the released 7B checkpoint of that `kind` (one of `SEVEN_B`)."""
    text = MISTRAL_7B if kind == "llava-1.6-mistral" else LLAMA_7B
    return llava_config(kind, text, CLIP_L_336, vision_tower="openai/clip-vit-large-patch14-336", max_length=4096)


def seven_b(kind: str) -> Shapes:
    """Key names and shapes of the released 7B checkpoint. PULSE started from LLaVA-1.6, whose image_newline it still
    has [inf]."""
    return joined(
        llava_shapes(seven_b_config(kind), CLIP_L_336, COCA_VIT_B_32 if kind == "gem" else None, newline=kind != "gem")
    )


def sparse_seven_b(folder: Path, kind: str) -> Path:
    """The 7B folder, bfloat16 in shards of at most 5 GB with an index: true headers over holes, 14 GB that take no
    disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(seven_b_config(kind), indent=2))
    shards: list[dict[str, Any]] = [{}]
    end, total = 0, 0
    for name, shape in seven_b(kind).items():
        size = 2
        for length in shape:
            size *= length
        if end + size > 5e9:
            shards.append({})
            end = 0
        shards[-1][name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end, total = end + size, total + size
    where: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
        header += b" " * (-len(header) % 8)
        with (folder / file).open("wb") as stream:
            stream.write(struct.pack("<Q", len(header)) + header)
            stream.truncate(8 + len(header) + max(item["data_offsets"][1] for item in tensors.values()))
        where |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    return folder
