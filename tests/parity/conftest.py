"""The original's tiny random model and its inputs and outputs (../shared/golden/README.md), in our classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.data.encode import IGNORE, Encoded, place
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.keymaps import to_ours
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.towers.image import tile_order
from llava_ecg.prepared import Prepared

ATOL = 1e-5
THEIR_MARKER = -200


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """The folder of golden outputs."""
    return shared / "golden"


def tiny_config(golden: Path, merge: str = "flat") -> LlavaEcgConfig:
    """Our configuration of the original's tiny model."""
    theirs = json.loads((golden / "tiny_gem_config.json").read_text())
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    more = ("max_position_embeddings", "rms_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")
    text = {"model_type": "llama", "rope_theta": theirs["rope_theta"], **{name: theirs[name] for name in names + more}}
    ecg = json.loads((golden / "ecg_tower_config.json").read_text())
    clip = json.loads((golden / "clip_tiny" / "config.json").read_text())
    for name in ("architectures", "model_type", "torch_dtype", "transformers_version"):
        clip.pop(name)
    return LlavaEcgConfig(
        text_config=text,
        streams={
            "ecg": {
                "tower": "ecg_coca",
                "tower_config": {
                    **{name: ecg["ecg_cfg"][name] for name in ("seq_length", "lead_num", "layers", "width", "head_width", "patch_size")},
                    "embed_dim": ecg["embed_dim"],
                },
                "projector": theirs["ecg_projector_type"],
                "through": "image",
                "preparation": {"leads": "as_filed", "rate": None},
            },
            "image": {
                "tower": "clip",
                "tower_config": {"vision_config": clip, "select_layer": theirs["mm_vision_select_layer"]},
                "projector": theirs["mm_projector_type"],
                "preparation": {"aspect": "pad", "merge": merge},
            },
        },
        template="llava_v1",
    )


def tiny_model(golden: Path, merge: str = "flat") -> LlavaEcgForCausalLM:
    """The original's weights in our model; every key used, none missing."""
    model = LlavaEcgForCausalLM(tiny_config(golden, merge)).eval()
    theirs = load_file(golden / "tiny_gem_state.safetensors")
    names = to_ours(theirs)
    assert len(names) == len(theirs)
    missing, unexpected = model.load_state_dict({names[name]: value for name, value in theirs.items()}, strict=False)
    assert not unexpected
    assert set(missing) <= {"image_newline"}
    return model


@pytest.fixture(scope="session")
def model(golden: Path) -> LlavaEcgForCausalLM:
    """The tiny model, flat merge."""
    return tiny_model(golden)


@pytest.fixture(scope="session")
def tensors(golden: Path) -> dict[str, torch.Tensor]:
    """Everything of assembly.safetensors."""
    return load_file(golden / "assembly.safetensors")


@pytest.fixture(scope="session")
def inputs(golden: Path) -> dict[str, torch.Tensor]:
    """Everything of towers_projectors.safetensors."""
    return load_file(golden / "towers_projectors.safetensors")


@pytest.fixture(scope="session")
def meta(golden: Path) -> dict[str, Any]:
    """assembly_meta.json"""
    return json.loads((golden / "assembly_meta.json").read_text())


def samples(
    model: LlavaEcgForCausalLM, ids: torch.Tensor, labels: torch.Tensor | None, mask: torch.Tensor | None, given: dict[str, list[Prepared]]
) -> list[Encoded]:
    """The original's batch, a row at a time, as our `place` makes it."""
    out = []
    for row in range(ids.shape[0]):
        keep = mask[row].bool() if mask is not None else torch.ones(ids.shape[1], dtype=torch.bool)
        row_ids = ids[row][keep].tolist()
        row_labels = labels[row][keep].tolist() if labels is not None else [IGNORE] * len(row_ids)
        places = [at for at, token in enumerate(row_ids) if token == THEIR_MARKER]
        text = [at for at, token in enumerate(row_ids) if token != THEIR_MARKER]
        here = {name: [prepared[row]] * len(places) for name, prepared in given.items()}
        out.append(
            place(
                [row_ids[at] for at in text],
                [row_labels[at] for at in text],
                [at - number for number, at in enumerate(places)],
                here,
                pad=model.config.text_config.pad_token_id,
            )
        )
    return out


def prepared_ecg(ecgs: torch.Tensor, model: LlavaEcgForCausalLM) -> list[Prepared]:
    """One a row of [B, 12, 5000]."""
    tokens = model.towers["ecg"].tokens
    return [Prepared(ecg[None], tokens, torch.arange(tokens)) for ecg in ecgs]


def prepared_images(tiles: list[torch.Tensor], grids: list[tuple[int, int]], sizes: list[Any], merge: str, side: int) -> list[Prepared]:
    """One an image from its tiles [n, 3, 56, 56]."""
    return [
        Prepared(values, side * side, tile_order(grid, side, tuple(size), merge))
        for values, grid, size in zip(tiles, grids, sizes, strict=True)
    ]
