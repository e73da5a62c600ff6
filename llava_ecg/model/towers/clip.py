"""The page image's encoder: transformers' CLIPVisionModel, one hidden state, class token dropped or kept, as LLaVA
takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from llava_ecg.checkpoint.towers.clip import check_selection
from llava_ecg.model.towers.image import ImagePreparation


class ClipTower(nn.Module):
    """A CLIP vision transformer.

    Args:
        vision_config: the fields of `transformers.CLIPVisionConfig` (ViT-L/14-336 if empty).
        select_layer: which hidden state is taken (-2: the last but one).
        select_feature: ``patch`` drops the class token, ``cls_patch`` keeps it.

    Raises:
        InputError: a hidden state that it has not.
    """

    def __init__(
        self,
        vision_config: Mapping[str, Any] | None = None,
        select_layer: int = -2,
        select_feature: Literal["patch", "cls_patch"] = "patch",
    ) -> None:
        super().__init__()
        settings: dict[str, Any] = {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
        }
        settings |= {"image_size": 336, "patch_size": 14, "projection_dim": 768}
        config: Any = CLIPVisionConfig(**(dict(vision_config) if vision_config else settings))
        check_selection(select_layer, select_feature, config.num_hidden_layers)
        self.vision_tower = CLIPVisionModel(config)
        self.select_layer, self.select_feature = select_layer, select_feature
        self.depth = select_layer if select_layer >= 0 else config.num_hidden_layers + 1 + select_layer
        self.width: int = config.hidden_size
        self.image_size: int = config.image_size
        self.side: int = config.image_size // config.patch_size
        self.tokens = self.side**2 + (select_feature == "cls_patch")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [B, 3, H, W], normalised -> [B, P, D]."""
        parts: Any = self.vision_tower  # its own forward also runs the layers behind the selected one
        tokens = parts.pre_layrnorm(parts.embeddings(images.to(parts.get_input_embeddings().weight.dtype)))
        for layer in parts.encoder.layers[: self.depth]:
            out = layer(tokens, attention_mask=None)
            tokens = out[0] if isinstance(out, tuple) else out
        return tokens if self.select_feature == "cls_patch" else tokens[:, 1:]

    def preparer(self, **preparation: Any) -> ImagePreparation:
        """How this tower's input is made from a PIL image; the arguments are `ImagePreparation`'s."""
        return ImagePreparation(size=self.image_size, side=self.side, tokens=self.tokens, **preparation)
