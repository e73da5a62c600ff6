"""The image tower runs the layers up to the selected one, and no more."""

from __future__ import annotations

import pytest
import torch

from llava_ecg.model.towers.clip import ClipTower

CONFIG = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"image_size": 56, "patch_size": 14},
}


@pytest.mark.parametrize("layer", [-3, -2, -1, 0, 1, 3])
def test_the_selected_state_is_that_of_transformers(layer: int) -> None:
    torch.manual_seed(0)
    tower = ClipTower(CONFIG, select_layer=layer, select_feature="cls_patch").eval()
    images = torch.randn(2, 3, 56, 56)
    states = tower.vision_tower(images, output_hidden_states=True).hidden_states
    torch.testing.assert_close(tower(images), states[layer])


def test_layers_behind_it_are_not_run() -> None:
    tower = ClipTower(CONFIG, select_layer=-2)
    run = []
    for number, each in enumerate(tower.vision_tower.encoder.layers):
        each.register_forward_hook(lambda *_, number=number: run.append(number))
    tower(torch.randn(1, 3, 56, 56))
    assert run == [0, 1]
