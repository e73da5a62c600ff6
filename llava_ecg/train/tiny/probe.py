"""`Probe`: a tower of gem-tiny with the heads that it learns by, and their way to and from the disk.

Axes: B batch, P tokens, W width, M slots of the caption.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from llava_ecg.errors import InputError
from llava_ecg.train.tiny.captions import FORM, WORDS, captions
from llava_ecg.train.tiny.records import WAVES
from llava_ecg.train.tiny.sources import LABELS
from llava_ecg.train.tiny.targets import OUTPUTS, QUANTITIES, Told

HEADS = "heads.safetensors"
"""Beside a tower, what its probe's own layers are."""


class Probe(nn.Module):
    """A tower and its heads. Values and labels are read from its first token and the mean of all, waves and paces from
    each token, and the caption from the tokens that hold it.

    Args:
        tower: any with ``width`` and ``tokens``.
        parts: of a token, whose waves are told.
        paces: whether each token tells the rate around it.
        first: the token that the caption begins at.
    """

    borders: torch.Tensor
    """[labels]: the logits from which labels count as there, in captions."""
    writes: torch.Tensor
    """Whether it has learned to write captions."""

    def __init__(self, tower: Any, parts: int, paces: bool = False, first: int = 0) -> None:
        super().__init__()
        self.tower, self.parts, self.first = tower, parts, first
        self.paces = nn.Linear(tower.width, len(QUANTITIES[0].centres)) if paces else None
        self.heads = nn.Sequential(nn.LayerNorm(2 * tower.width), nn.Linear(2 * tower.width, OUTPUTS))
        self.waves = nn.Linear(tower.width, parts * len(WAVES))
        self.words = nn.Linear(tower.width, len(WORDS))
        self.register_buffer("borders", torch.zeros(len(LABELS)))
        self.register_buffer("writes", torch.tensor(False))

    def forward(self, values: torch.Tensor) -> Told:
        """What it says of a batch of prepared inputs."""
        return self.tell(self.tower(values))

    def slots(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, P, W] -> [B, M, W]: the tokens that hold the caption."""
        return tokens[:, self.first : self.first + len(FORM)]

    def tell(self, tokens: torch.Tensor) -> Told:
        """What it says of a batch by the tower's tokens, float [B, P, W]."""
        pooled = torch.cat([tokens[:, 0], tokens.mean(dim=1)], dim=-1)
        waves = self.waves(tokens).float().unflatten(-1, (self.parts, len(WAVES)))
        paces = None if self.paces is None else self.paces(tokens).float()
        return Told(self.heads(pooled).float(), waves, paces, self.words(self.slots(tokens)).float())

    def captions(self, told: Told) -> torch.Tensor:
        """int64 [B, M]: the captions of what it says."""
        return captions(told, self.borders.tolist())


def load_heads(probe: Probe, folder: Path) -> None:
    """Fill a probe's heads (not its tower) from a tower's folder.

    Raises:
        InputError: there are none, of a tower of another width, or damaged.
    """
    path = folder / HEADS
    if not path.is_file():
        raise InputError(f"{path} is missing; give a folder that python -m llava_ecg.train.tiny.towers wrote")
    try:
        _, strange = probe.load_state_dict(load_file(path), strict=False)
    except (RuntimeError, SafetensorError) as error:  # another size; damaged
        raise InputError(
            f"{path} holds no heads of this kind of tower: {str(error).splitlines()[-1].strip()}"
        ) from error
    if strange:
        raise InputError(f"{path} has heads of another kind: {', '.join(strange)}")


def load_probe(probe: Probe, folder: Path, heads: Path | None = None) -> None:
    """Fill a probe with a tower and its heads, which may lie in another folder.

    Raises:
        InputError: there are none, of another size, or damaged.
    """
    load_heads(probe, heads or folder)
    load_tower(probe, folder)


def load_tower(probe: Probe, folder: Path) -> None:
    """Fill a probe's tower (not its heads).

    Raises:
        InputError: there is none, of another size, or damaged.
    """
    tower: Any = probe.tower
    try:
        tower.load_state_dict(load_file(folder / "model.safetensors"))
    except (FileNotFoundError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds no tower of this kind: {str(error).splitlines()[0]}") from error


def save_heads(probe: Probe, folder: Path) -> None:
    """Write the heads."""
    own = {name: value.contiguous() for name, value in probe.state_dict().items() if not name.startswith("tower.")}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(own, folder / HEADS)


def writing_loss(probe: Probe, told: Told) -> torch.Tensor:
    """Cross entropy of the caption to what the other heads say; of these it teaches nothing."""
    assert told.slots is not None
    with torch.no_grad():
        wanted = probe.captions(told)
    return nn.functional.cross_entropy(told.slots.flatten(0, 1), wanted.flatten())
