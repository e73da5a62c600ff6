"""More layers for a tower of gem-tiny before it learns to write: what a caption says is the mean of all tokens of the
last layer, which no token of that layer can see."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from llava_ecg.model.loading import tower_stream
from llava_ecg.model.saving import save_tower
from llava_ecg.model.towers.tower import build_tower

ENDS = ("attn.out_proj", "mlp.c_proj", "self_attn.out_proj", "mlp.fc2")
"""What a layer adds its results with; of zeros, the layer changes nothing."""


def grow(folder: Path, out: Path, more: int) -> None:
    """Write a tower with ``more`` layers behind its own, which change nothing yet: the tokens are the same.

    Args:
        folder: a tower that `llava_ecg.train.tiny.towers` wrote.
        out: the folder to write.
    """
    stream = tower_stream(folder)
    config = copy.deepcopy(dict(stream.tower_config))
    if stream.tower == "clip":
        config["vision_config"]["num_hidden_layers"] += more
    else:
        config["layers"] += more
    tower: Any = build_tower(stream.tower, config)
    own = load_file(folder / "model.safetensors")
    used = layers_used(build_tower(stream.tower, stream.tower_config))
    kept = {name: value for name, value in own.items() if (layer := _layer(name)) is None or layer < used}
    tower.load_state_dict(kept, strict=False)
    with torch.no_grad():
        for name, value in tower.named_parameters():
            layer = _layer(name)
            if layer is not None and layer >= used and any(f".{end}." in name for end in ENDS):
                value.zero_()
    save_tower(tower, stream.tower, config, stream.preparation, out)


def layers_used(tower: Any) -> int:
    """How many layers of a tower its tokens go through; CLIP's last one is left out by GEM's selection."""
    return int(getattr(tower, "depth", 0)) or len(tower.transformer.resblocks)


def _layer(name: str) -> int | None:
    """The number of the layer that a parameter is of; None for one of none."""
    parts = name.split(".")
    numbers = [
        part
        for before, part in zip(parts, parts[1:], strict=False)
        if before in ("resblocks", "layers") and part.isdigit()
    ]
    return int(numbers[0]) if numbers else None
