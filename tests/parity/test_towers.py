"""Towers and projectors give what the original's give, in float32 (closeness.py says how near)."""

from __future__ import annotations

import torch

from llava_ecg.model.llava import LlavaEcgForCausalLM

from .closeness import close

Tensors = dict[str, torch.Tensor]


@torch.no_grad()
def test_ecg_tower(model: LlavaEcgForCausalLM, inputs: Tensors) -> None:
    tower = model.towers["ecg"]
    close(tower.conv1(inputs["ecgs"]).transpose(1, 2), inputs["ecg_conv1"])
    tokens = tower(inputs["ecgs"])
    close(tokens, inputs["ecg_last_layer"])
    close(tokens, inputs["ecg_tower_out"])
    pooled, rest = tower.embed(inputs["ecgs"])
    close(pooled, inputs["ecg_pooled"])
    close(rest, inputs["ecg_tokens"])


@torch.no_grad()
def test_ecg_projection_passes_the_image_projector(model: LlavaEcgForCausalLM, inputs: Tensors) -> None:
    close(model.projectors["ecg"](inputs["ecg_tower_out"]), inputs["ecg_projector_out"])
    features = model.features("ecg", inputs["ecgs"], torch.arange(3 * 101))
    close(features.view(3, 101, -1), inputs["ecg_features"])


@torch.no_grad()
def test_image_tower(model: LlavaEcgForCausalLM, inputs: Tensors) -> None:
    tower = model.towers["image"]
    states = tower.vision_tower(inputs["images"], output_hidden_states=True).hidden_states
    close(states[-2], inputs["clip_hidden_m2"])
    close(tower(inputs["images"]), inputs["image_tower_out"])
    close(model.features("image", inputs["images"], torch.arange(3 * 16)).view(3, 16, -1), inputs["image_features"])
