"""The first gradients and the losses of three SGD steps are the original's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.checkpoint.keymaps import to_ours
from llava_ecg.data.batch import pad

from .closeness import close
from .conftest import tiny_model
from .test_assembly import encoded

Tensors = dict[str, torch.Tensor]
TRAINED = {"projectors": ("projectors.",), "llm_and_projectors": ("projectors.", "language_model.")}


@pytest.mark.parametrize("what", TRAINED)
def test_gradients_and_losses(what: str, golden: Path, tensors: Tensors, inputs: Tensors, tmp_path: Path) -> None:
    theirs = load_file(golden / "train_step.safetensors")
    model = tiny_model(golden, tmp_path / "gem")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED[what]))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    batch = pad(encoded("right", model, tensors, inputs), 0)
    losses = []
    for step in range(3):
        loss = model(**batch).loss
        losses.append(loss.detach().double())
        model.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
            start = f"{what}.grad."
            names = to_ours(name.removeprefix(start) for name in theirs if name.startswith(start))
            assert len(names) >= 6
            for name, ours in names.items():
                close(gradients[ours], theirs[start + name])
            assert all(gradients[name] is None for name in gradients if name.startswith("towers."))
        with torch.no_grad():
            for parameter in trained:
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
    close(torch.stack(losses), theirs[f"{what}.losses"])
