"""What is known of a CLIP's image tower on disk: its shapes, its released forms, its words. Needs no torch.

The tower itself is `llava_ecg.model.towers.clip.ClipTower`; tests hold what is said here equal to it.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.arithmetic import (
    MOST_LAYERS,
    Shapes,
    divides,
    known,
    layer_count,
    layers_of,
    linear,
    mapping,
    norm,
    repeated,
    size_of,
)
from llava_ecg.checkpoint.files.headers import read_json
from llava_ecg.checkpoint.keymaps import CLIP
from llava_ecg.checkpoint.towers.facts import TowerFacts, Words, folder_named, shown
from llava_ecg.errors import InputError

MODEL_TYPES = ("clip", "clip_vision_model")
"""What config.json of a CLIP's own folder says."""
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

# OpenAI's CLIP vision transformers, (width, layers, patch, image size) -> what their shapes do not say. All use quick
# GELU.
_CLIPS = {
    (768, 12, 32, 224): {"num_attention_heads": 12, "projection_dim": 512},
    (768, 12, 16, 224): {"num_attention_heads": 12, "projection_dim": 512},
    (1024, 24, 14, 224): {"num_attention_heads": 16, "projection_dim": 768},
    (1024, 24, 14, 336): {"num_attention_heads": 16, "projection_dim": 768},
}


def shapes_of(given: Mapping[str, Any], where: str) -> tuple[int, Shapes]:
    """`llava_ecg.model.towers.clip.ClipTower`: its width, and its parameters."""
    settings = known(given, ["vision_config", "select_layer", "select_feature"], f"the tower of {where}")
    vision = mapping(settings.get("vision_config") or {}, f"the vision_config of {where}")
    where = f"the vision_config of {where}"
    # of CLIPVisionConfig (ViT-B/32); a tower without any vision_config is ViT-L/14-336
    defaults = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_channels": 3,
    }
    defaults |= {"image_size": 224, "patch_size": 32}
    if not vision:
        defaults |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        defaults |= {"image_size": 336, "patch_size": 14}
    layers = layers_of(vision, "num_hidden_layers", defaults["num_hidden_layers"], where)
    check_selection(settings.get("select_layer", -2), settings.get("select_feature", "patch"), layers)
    size = {key: size_of(vision, key, default, where) for key, default in defaults.items()}
    width, inner, patch = size["hidden_size"], size["intermediate_size"], size["patch_size"]
    divides(width, "hidden_size", size["num_attention_heads"], "num_attention_heads", where)
    if patch > size["image_size"]:
        raise InputError(
            f"{where} has patch_size {patch} and image_size {size['image_size']}; a patch must fit into the image"
        )
    layer = {
        **linear("self_attn.k_proj", width, width),
        **linear("self_attn.v_proj", width, width),
        **linear("self_attn.q_proj", width, width),
        **linear("self_attn.out_proj", width, width),
        **norm("layer_norm1", width),
        **linear("mlp.fc1", width, inner),
        **linear("mlp.fc2", inner, width),
        **norm("layer_norm2", width),
    }
    shapes = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, size["num_channels"], patch, patch),
        "embeddings.position_embedding.weight": ((size["image_size"] // patch) ** 2 + 1, width),
        **norm("pre_layrnorm", width),
        **repeated("encoder.layers", layers, layer),
        **norm("post_layernorm", width),
    }
    return width, {f"vision_tower.{name}": shape for name, shape in shapes.items()}


def check_selection(layer: Any, feature: Any, layers: int) -> None:
    """Raise `InputError` for a hidden state that a CLIP of so many layers has not, or tokens of it that nobody can
    name.

    Args:
        layer: number of the hidden state, 0 (the embedding) to `layers`, or counted from the last as -1.
        feature: ``patch`` or ``cls_patch``.
    """
    if type(layer) is not int or not -layers - 1 <= layer <= layers:
        raise InputError(
            f"the hidden state {reprlib.repr(layer)} of the image tower is asked for (mm_vision_select_layer, "
            "select_layer), and it has "
            f"{layers + 1}: {-layers - 1} to {layers}, whole numbers; put right what the config says"
        )
    if feature not in ("patch", "cls_patch"):
        raise InputError(f"a CLIP tower has no feature {reprlib.repr(feature)} to select; known are patch, cls_patch")


def _page(config: Mapping[str, Any], preparation: Mapping[str, Any], shapes: Shapes) -> Words:
    """`ImagePreparation` and `ClipTower`."""
    vision = config.get("vision_config") or {}
    patches = shapes["vision_tower.embeddings.position_embedding.weight"][0] - 1
    size = vision.get("image_size", math.isqrt(patches) * shapes["vision_tower.embeddings.patch_embedding.weight"][2])
    whole = config.get("select_feature", "patch") == "cls_patch"
    aspect = preparation.get("aspect", "squash")
    square = f"{size} x {size} pixels"
    ways = {
        "squash": f"the whole page squashed to {square}",
        "pad": f"the page padded to a square with the mean colour and brought to {square}",
        "ori": f"the page's shorter edge brought to {size} pixels and the middle, {square}, cropped (ori)",
        "anyres": f"the whole page squashed to {square}, and the page in tiles of that size (anyres)",
    }
    made, views = ways.get(aspect if isinstance(aspect, str) else "", f"the page made {shown(aspect)}, {square}"), ""
    grids = _pairs(preparation.get("pinpoints"))
    if aspect == "anyres":
        made += f"; grids of tiles: {', '.join(f'{wide} x {high}' for wide, high in grids) or 'none'}"
        tiles = max((wide // size * (high // size) for wide, high in grids), default=0)
        views = f" for each of up to {1 + tiles} views, merged {shown(preparation.get('merge', 'flat'))}"
    for key, what in (("mean", "mean"), ("std", "standard deviation")):
        made += f"; {what} {shown(preparation[key])}" if key in preparation else ""
    layer = f" (hidden state {shown(config.get('select_layer', -2))}, {'with' if whole else 'without'} the class token)"
    crop = ("a landscape page loses its sides to that crop: what is drawn there, the model never sees",)
    unknown = (
        f"a page can't be prepared with the aspect {shown(aspect)}, so nothing can be asked before another is "
        "chosen, such as "
        f"--prepare image.aspect={'anyres' if grids else 'pad'}",
    )
    warnings = crop if aspect == "ori" else () if isinstance(aspect, str) and aspect in ways else unknown
    return Words(made, patches + whole, layer + views, warnings)


def _pairs(value: Any) -> list[tuple[int, int]]:
    """[width, height] pairs, if they are that."""
    pairs = value if isinstance(value, list) else []
    whole = all(isinstance(pair, list) and len(pair) == 2 and all(type(edge) is int for edge in pair) for pair in pairs)
    return [(wide, high) for wide, high in pairs] if whole else []


def clip_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """``vision_config`` of a CLIP from the shapes of its weights (names as in `ClipTower`); None if it is none of
    OpenAI's.

    Raises:
        InputError: no CLIP at all.
    """
    prefix = "vision_tower.embeddings."
    try:
        width, _, patch, _ = shapes[f"{prefix}patch_embedding.weight"]
        places = shapes[f"{prefix}position_embedding.weight"][0]
        inner = shapes["vision_tower.encoder.layers.0.mlp.fc1.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"the image tower has no CLIP weights where they should be ({error})") from error
    layers = layer_count(shapes, "vision_tower.encoder.layers.")
    size = math.isqrt(max(0, places - 1)) * patch
    known = _CLIPS.get((width, layers, patch, size))
    if known is None:
        return None
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "image_size": size,
        "patch_size": patch,
        "hidden_act": "quick_gelu",
    } | known


def clip_settings(folder: Path) -> dict[str, Any]:
    """A CLIP's vision config, and its mean and standard deviation where they are not OpenAI's."""
    values = read_json(folder / "config.json")
    vision = values.get("vision_config", values)
    if not isinstance(vision, Mapping):
        raise InputError(f"{folder / 'config.json'} describes no CLIP: its vision_config is {vision!r}")
    dropped = ("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path")
    settings = {key: value for key, value in vision.items() if key not in dropped}
    preparation = {}
    if (folder / "preprocessor_config.json").is_file():
        pixels = read_json(folder / "preprocessor_config.json")
        for key, ours, usual in (("image_mean", "mean", _CLIP_MEAN), ("image_std", "std", _CLIP_STD)):
            if isinstance(pixels.get(key), list) and pixels[key] != usual:
                preparation[ours] = pixels[key]
    return {"tower_config": {"vision_config": settings}, "preparation": preparation}


def _width(config: Mapping[str, Any]) -> int:
    vision = config.get("vision_config") or {"hidden_size": 1024}
    width: int = vision.get("hidden_size", 768)
    return width


def inside(folder: Path, values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The settings of a CLIP whose weights lie in a released checkpoint: of its own folder, or told by the shapes.

    Raises:
        InputError: nothing tells its heads.
    """
    named = folder_named(folder, str(values.get("mm_vision_tower", "")))
    if named is not None:
        return clip_settings(named)
    vision = clip_config(shapes)
    if vision is None:
        raise InputError(
            f"the image tower inside {folder} is none of OpenAI's, and its heads can't be read from its weights; "
            f"give the folder of {values.get('mm_vision_tower')!r} with --vision-tower"
        )
    return {"tower_config": {"vision_config": vision}}


def _guessed(width: int) -> dict[str, Any]:
    """Any hidden state may be there."""
    layers = {"hidden_size": width, "num_attention_heads": 1, "num_hidden_layers": MOST_LAYERS}
    return {} if width == 1024 else {"vision_config": layers}


FACTS = TowerFacts(
    stream="image",
    key="mm_vision_tower",
    flag="--vision-tower",
    through=None,
    prepares=True,
    shapes=shapes_of,
    words=_page,
    inside=inside,
    guessed=_guessed,
    table=CLIP,
    width=_width,
)
