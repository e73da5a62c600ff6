"""`expected` against the model itself on the meta device, which is the slow, obvious truth; and what it refuses."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.checkpoint.arithmetic import LARGEST
from llava_ecg.checkpoint.shapes import expected
from llava_ecg.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


def truth(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of the model that is built from this config."""
    from llava_ecg.model.config import LlavaEcgConfig
    from llava_ecg.model.llava import LlavaEcgForCausalLM

    with torch.device("meta"):
        model = LlavaEcgForCausalLM(LlavaEcgConfig(**copy.deepcopy(config)))
    return {
        name: tuple(value.shape) for name, value in model.named_parameters()
    }  # a tied head is one parameter, under its first name


def text(family: str = "llama", **more: Any) -> dict[str, Any]:
    sizes = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return {"model_type": family, **sizes, "num_key_value_heads": 2, **more}


def ecg(projector: str = "linear", through: str | None = None, **tower: Any) -> dict[str, Any]:
    sizes = {"layers": 2, "width": 24, "head_width": 8, "embed_dim": 10}
    return {"tower": "ecg_coca", "tower_config": sizes | tower, "projector": projector, "through": through}


def image(projector: str = "mlp2x_gelu", merge: str = "flat", **tower: Any) -> dict[str, Any]:
    vision = {
        "hidden_size": 20,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 30,
        "patch_size": 7,
    }
    return {
        "tower": "clip",
        "tower_config": {"vision_config": vision, **tower},
        "projector": projector,
        "preparation": {"merge": merge},
    }


GEM_STREAMS = {
    "ecg": {"tower": "ecg_coca", "projector": "linear", "through": "image"},
    "image": {"tower": "clip", "projector": "mlp2x_gelu"},
}
SMALL: dict[str, dict[str, Any]] = {
    "llama": {"text_config": text()},
    "llama, tied": {"text_config": text(tie_word_embeddings=True)},
    "tied outside only": {"text_config": text(), "tie_word_embeddings": True},
    "llama, biases and head_dim": {"text_config": text(attention_bias=True, mlp_bias=True, head_dim=6)},
    "llama, one bias": {"text_config": text(mlp_bias=True)},
    "llama, nulls": {"text_config": text(num_key_value_heads=None, head_dim=None)},
    "mistral with head_dim": {"text_config": text("mistral", head_dim=10)},
    "mistral, null head_dim, biases that it does not have": {
        "text_config": text("mistral", head_dim=None, attention_bias=True)
    },
    "mistral, odd width": {"text_config": text("mistral", hidden_size=35)},
    "qwen2": {"text_config": text("qwen2")},
    "qwen2, tied, head_dim": {"text_config": text("qwen2", tie_word_embeddings=True, head_dim=6)},
    "qwen2, null groups": {"text_config": text("qwen2", num_key_value_heads=None)},
    **{
        f"{family}, defaults": {"text_config": {"model_type": family, "num_hidden_layers": 1}}
        for family in ("llama", "mistral", "qwen2")
    },
    **{
        f"{family}, many heads": {
            "text_config": {
                "model_type": family,
                "hidden_size": 128,
                "num_attention_heads": 64,
                "num_hidden_layers": 1,
                "vocab_size": 9,
            }
        }
        for family in ("llama", "mistral", "qwen2")
    },
    "both, through": {"text_config": text(), "streams": {"ecg": ecg("linear", "image"), "image": image()}},
    "both, apart": {"text_config": text(), "streams": {"image": image("linear"), "ecg": ecg("mlp3x_gelu")}},
    "through, deep": {
        "text_config": text(),
        "streams": {"ecg": ecg("mlp2x_gelu", "image"), "image": image("mlp9x_gelu")},
    },
    "identity": {"text_config": text(hidden_size=24), "streams": {"ecg": ecg("identity")}},
    "identity through": {
        "text_config": text(),
        "streams": {"a": ecg("identity", "b", width=16), "b": ecg("mlp1x_gelu", width=16)},
    },
    "mlp_gelu": {"text_config": text(), "streams": {"ecg": ecg("mlp_gelu")}},
    "ecg, odd": {
        "text_config": text(),
        "streams": {"ecg": ecg(seq_length=777, lead_num=3, patch_size=7, mlp_ratio=2.7, head_width=12)},
    },
    "ecg, defaults": {"text_config": text(), "streams": {"ecg": {"tower": "ecg_coca"}}},
    "image, cls_patch": {
        "text_config": text(),
        "streams": {"image": image(select_feature="cls_patch", select_layer=-1)},
    },
    "image, defaults": {"text_config": text(), "streams": {"image": {"tower": "clip"}}},
    "image, null": {
        "text_config": text(),
        "streams": {"image": {"tower": "clip", "tower_config": {"vision_config": None}}},
    },
    "image, part of a vision_config": {
        "text_config": text(),
        "streams": {
            "image": {"tower": "clip", "tower_config": {"vision_config": {"num_hidden_layers": 1, "num_channels": 1}}}
        },
    },
    "newline": {"text_config": text(), "streams": {"image": image()}, "image_newline": True},
    "newline that the merging asks for": {"text_config": text(), "streams": {"image": image(merge="spatial_unpad")}},
    "newline that is refused": {
        "text_config": text(),
        "streams": {"image": image(merge="spatial_unpad")},
        "image_newline": False,
    },
}
# with the parameters that are published for Vicuna-7B, Mistral-7B and CLIP ViT-L/14-336, plus projectors, newline and
# ECG tower by hand
SEVEN = {
    "GEM": ({"text_config": {"model_type": "llama"}, "streams": GEM_STREAMS}, 7_149_680_128),
    "PULSE": (
        {"text_config": {"model_type": "llama"}, "streams": {"image": GEM_STREAMS["image"]}, "image_newline": True},
        7_062_906_880,
    ),
    "LLaVA-1.6-mistral": (
        {
            "text_config": {"model_type": "mistral", "sliding_window": None, "rope_theta": 1e6},
            "streams": {
                "image": {**GEM_STREAMS["image"], "preparation": {"aspect": "anyres", "merge": "spatial_unpad"}}
            },
        },
        7_566_223_360,
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_names_and_shapes_are_those_of_the_model(name: str) -> None:
    assert expected(SMALL[name]) == truth(SMALL[name])


@pytest.mark.parametrize("name", SEVEN)
def test_the_released_sizes(name: str) -> None:
    config, parameters = SEVEN[name]
    shapes = expected(config)
    assert shapes == truth(config)
    assert sum(map(math.prod, shapes.values())) == parameters


def test_the_embedded_default_and_what_a_config_becomes_when_it_is_saved() -> None:
    from llava_ecg.model.config import LlavaEcgConfig

    filed = json.loads((ROOT / "checkpoints/gem-tiny/config.json").read_text(encoding="utf-8"))
    assert expected(filed) == truth(filed)
    config = SMALL["both, through"]
    assert expected(json.loads(LlavaEcgConfig(**copy.deepcopy(config)).to_json_string(use_diff=False))) == expected(
        config
    )


@pytest.mark.parametrize(
    "config",
    [
        {"text_config": {"model_type": "gemma", "hidden_size": "wide"}},
        {"text_config": text(), "streams": {"ecg": {"tower": "third_party", "tower_config": {"anything": 1}}}},
        {"text_config": text(), "streams": {"ecg": ecg("resampler")}},
        {"text_config": text(), "streams": {"ecg": ecg("mlp0x_gelu")}},
    ],
)
def test_what_is_not_known_here_is_none(config: dict[str, Any]) -> None:
    assert expected(config) is None


BAD_NUMBERS: tuple[Any, ...] = (0, -1, 2.0, "2", True, [2], {}, LARGEST + 1, 10**30)
NUMBERS = [
    *(
        ("text_config", key)
        for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    ),
    *(("text_config", key) for key in ("num_key_value_heads", "head_dim")),
    *(
        ("streams", "ecg", "tower_config", key)
        for key in ("seq_length", "lead_num", "layers", "width", "head_width", "patch_size")
    ),
    ("streams", "ecg", "tower_config", "embed_dim"),
    *(
        ("streams", "image", "tower_config", "vision_config", key)
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    ),
    *(
        ("streams", "image", "tower_config", "vision_config", key)
        for key in ("num_attention_heads", "image_size", "patch_size")
    ),
    ("streams", "image", "tower_config", "vision_config", "num_channels"),
]


def changed(path: tuple[str, ...], value: Any, config: dict[str, Any] = SMALL["both, through"]) -> dict[str, Any]:
    """A copy of the config with another value at this place."""
    out: dict[str, Any] = copy.deepcopy(config)
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return out


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_a_number_that_is_none_is_refused_by_its_key(path: tuple[str, ...]) -> None:
    for value in BAD_NUMBERS:
        with pytest.raises(InputError, match=f"has {path[-1]} .*; a positive whole number"):
            expected(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("text_config", "num_hidden_layers"), 10_001, "num_hidden_layers 10001, and no model has more than 10000"),
        (("streams", "ecg", "tower_config", "layers"), 2**30, "the stream 'ecg' has layers 1073741824"),
        (("streams", "image", "tower_config", "vision_config", "num_hidden_layers"), 10_001, "more than 10000 layers"),
        (("text_config", "hidden_size"), 33, "hidden_size 33, which is no whole multiple of its num_attention_heads 4"),
        (
            ("text_config", "num_key_value_heads"),
            3,
            "num_attention_heads 4, which is no whole multiple of its num_key_value_heads 3",
        ),
        (("text_config", "tie_word_embeddings"), None, "tie_word_embeddings None; true or false"),
        (("text_config", "attention_bias"), 1, "attention_bias 1; true or false"),
        (("text_config", "model_type"), ["llama"], "model_type \\['llama'\\]"),
        (("text_config",), {"hidden_size": 3}, "has model_type None"),
        (("text_config",), "llama", "the text_config should be an object"),
        (("streams",), ["ecg"], "the config's streams should be an object"),
        (("streams", "ecg"), "ecg_coca", "the stream 'ecg' should be an object"),
        (("streams", "ecg"), {}, "the stream 'ecg' needs a tower"),
        (("streams", "ecg", "tower"), 3, "the stream 'ecg' has tower 3"),
        (("streams", "ecg", "projecter"), "linear", "no setting 'projecter'; it has tower"),
        (("streams", "ecg", "projector"), None, "the stream 'ecg' has projector None"),
        (("streams", "ecg", "projector"), "identity", "can't bring width 24 to 20"),
        (("streams", "ecg", "through"), "page", "leads through 'page', which is none of ecg, image"),
        (("streams", "ecg", "through"), 1, "the stream 'ecg' has through 1"),
        (("streams", "ecg", "tower_config"), 1, "the tower_config of the stream 'ecg' should be"),
        (("streams", "ecg", "tower_config", "depth"), 1, "the tower of the stream 'ecg' has no setting 'depth'"),
        (
            ("streams", "ecg", "tower_config", "seq_length"),
            501,
            "seq_length 501, which is no whole multiple of its patch_size 50",
        ),
        (
            ("streams", "ecg", "tower_config", "head_width"),
            7,
            "width 24, which is no whole multiple of its head_width 7",
        ),
        (("streams", "ecg", "tower_config", "mlp_ratio"), math.nan, "mlp_ratio nan"),
        (("streams", "ecg", "tower_config", "mlp_ratio"), math.inf, "mlp_ratio inf"),
        (
            ("streams", "ecg", "tower_config", "mlp_ratio"),
            0.01,
            "mlp_ratio 0.01, which gives width 24 no hidden channel",
        ),
        (
            ("streams", "image", "tower_config", "vision_config"),
            [1],
            "the vision_config of the stream 'image' should be",
        ),
        (("streams", "image", "tower_config", "vision_config", "patch_size"), 31, "patch_size 31 and image_size 30"),
        (
            ("streams", "image", "tower_config", "vision_config", "num_attention_heads"),
            3,
            "hidden_size 20, which is no whole multiple",
        ),
        (("image_newline",), "yes", "the config has image_newline 'yes'"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        expected(changed(path, value))


def places(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of nested dicts, as a path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from places(value, (*path, key))


def test_whatever_stands_anywhere_nothing_but_an_input_error() -> None:
    full = changed(("text_config", "head_dim"), 8) | {"image_newline": True}
    values: tuple[Any, ...] = (
        None,
        True,
        0,
        1,
        -(10**40),
        10**400,
        0.5,
        math.nan,
        "",
        "x" * 9999,
        [],
        [[]],
        {},
        {"": None},
        {"x": {"x": 1}},
    )
    outcomes: set[type] = set()
    for path in places(full):
        for value in values:
            try:
                outcomes.add(type(expected(changed(path, value, full))))
            except InputError as error:
                outcomes.add(InputError)
                assert len(str(error)) < 400
    assert outcomes == {dict, type(None), InputError}


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from llava_ecg.checkpoint.shapes import expected\n"
        "assert len(expected({'streams': {'ecg': {'tower': 'ecg_coca'}, 'image': {'tower': 'clip'}}})) > 800\n"
        "print(*sorted({'torch', 'transformers', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
