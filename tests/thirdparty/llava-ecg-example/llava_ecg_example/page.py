"""An image tower through open_clip, which is imported when this tower is asked for, and never before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import VisionTransformer
from PIL import Image
from torch import nn

from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import render
from llava_ecg.streams import Prepared, Preparer

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's CLIP


@dataclass(frozen=True)
class PagePreparer:
    """PIL image -> float32 [1, 3, size, size]."""

    size: int
    tokens: int

    def read(self, path: Path) -> Image.Image:
        return read_image(path)

    def derive(self, sources: Mapping[str, Any]) -> Image.Image | None:
        """The page of a recording that comes without one."""
        recording = sources.get("ecg")
        return render(recording) if isinstance(recording, Recording) else None

    def prepare(self, source: Image.Image) -> Prepared:
        small = source.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        values = (np.asarray(small, dtype=np.float32) / 255 - MEAN) / SPREAD  # [size, size, 3]
        pixels = torch.from_numpy(values.transpose(2, 0, 1).astype(np.float32))[None]
        return Prepared(pixels, self.tokens, torch.arange(self.tokens))


class OpenClipTower(nn.Module):
    """A vision transformer of open_clip; its tokens are those of the patches, as wide as its pooled output."""

    def __init__(self, size: int = 224, patch: int = 32, width: int = 768, layers: int = 12, heads: int = 12) -> None:
        super().__init__()
        self.width, self.tokens, self.size = width, (size // patch) ** 2, size
        self.vision = VisionTransformer(
            size, patch, width, layers, heads, mlp_ratio=4.0, output_dim=width, output_tokens=True
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[n, 3, size, size] -> [n, (size / patch)^2, width]"""
        _, tokens = self.vision(values)
        return tokens

    def preparer(self) -> Preparer:
        return PagePreparer(self.size, self.tokens)
