"""The original's tiny random model and its inputs and outputs (../shared/golden/README.md), in our classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_ecg.data.encode import IGNORE, Encoded, place
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.model.towers.image import tile_order
from llava_ecg.streams import Prepared
from tests.model import released

THEIR_MARKER = -200


def tiny_model(golden: Path, folder: Path, merge: str | None = None) -> LlavaEcgForCausalLM:
    """The original's weights, opened from a folder in the released layout.

    Args:
        folder: to write into.
        merge: for the anyres cases, how config.json says that tiles are merged; their image_newline is then among the
            weights.
    """
    released.gem_golden(folder, golden)
    if merge is not None:
        path = folder / "config.json"
        more = {
            "image_aspect_ratio": "anyres",
            "mm_patch_merge_type": merge,
            "image_grid_pinpoints": "[(56, 112), (112, 56), (112, 112)]",
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | more))
    if merge == "spatial_unpad":
        newline = load_file(golden / "assembly.safetensors")["anyres.image_newline"]
        weights = load_file(folder / "model.safetensors") | {"model.image_newline": newline}
        save_file(weights, folder / "model.safetensors")
    return open_checkpoint(folder).model


@pytest.fixture(scope="session")
def model(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> LlavaEcgForCausalLM:
    """The tiny model, one page an image."""
    return tiny_model(golden, tmp_path_factory.mktemp("released") / "gem")


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
    model: LlavaEcgForCausalLM,
    ids: torch.Tensor,
    labels: torch.Tensor | None,
    mask: torch.Tensor | None,
    given: dict[str, list[Prepared]],
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


def prepared_images(
    tiles: list[torch.Tensor], grids: list[tuple[int, int]], sizes: list[Any], merge: str, side: int
) -> list[Prepared]:
    """One an image from its tiles [n, 3, 56, 56]."""
    return [
        Prepared(values, side * side, tile_order(grid, side, tuple(size), merge))
        for values, grid, size in zip(tiles, grids, sizes, strict=True)
    ]
