"""A model whose output is no number says so, and which weights are none; nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_ecg.cli import main
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.processor import Processor
from tests.model import released as write


def spoiled(folder: Path, name: str, value: float, row: int | None = None) -> None:
    state = load_file(folder / "model.safetensors")
    state[name][... if row is None else row] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("filed", "ours", "row"),
    [
        ("model.ecg_projector.weight", "projectors.ecg.weight", None),
        ("model.mm_projector.2.bias", "projectors.image.2.bias", None),
        ("model.layers.1.mlp.down_proj.weight", "language_model.model.layers.1.mlp.down_proj.weight", 3),
        ("model.norm.weight", "language_model.model.norm.weight", 0),
        ("model.ecg_tower.ecg_tower.conv1.weight", "towers.ecg.conv1.weight", 1),
    ],
)
@pytest.mark.parametrize("sampled", [False, True])
def test_weights_that_are_no_number(
    filed: str, ours: str, row: int | None, value: float, sampled: bool, golden: Path, tmp_path: Path
) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    recording, _ = simulate(Heart(), seed=0)
    inputs = Processor.from_pretrained(folder)("Rhythm?", ecg=recording)
    open_checkpoint(folder).model.generate(**inputs, max_new_tokens=2, do_sample=sampled)
    spoiled(folder, filed, value, row)
    with pytest.raises(
        InputError, match=f"the model's output is no number: its weights hold NaN or infinity in {ours};"
    ):
        open_checkpoint(folder).model.generate(**inputs, max_new_tokens=2, do_sample=sampled)


def test_one_row_of_the_head(golden: Path, tmp_path: Path) -> None:
    """A single NaN among the scores is what argmax would choose."""
    folder = write.gem(tmp_path / "x", golden).folder
    spoiled(folder, "lm_head.weight", float("nan"), 17)
    with pytest.raises(InputError, match="in language_model.lm_head.weight"):
        open_checkpoint(folder).model.generate(input_ids=torch.tensor([[1, 5]]), max_new_tokens=1)


def test_finite_weights_that_run_over(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    model = open_checkpoint(folder, dtype="float16").model
    with torch.no_grad():
        model.language_model.lm_head.weight.fill_(60000)
        model.language_model.model.norm.weight.fill_(60000)
    with pytest.raises(
        InputError, match="all its weights are finite, so it has run over the range of float16; load it as float32"
    ):
        model.generate(input_ids=torch.tensor([[1, 5]]), max_new_tokens=1)


def test_nothing_is_written(golden: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    spoiled(folder, "model.ecg_projector.weight", float("nan"))
    record = str(shared / "data" / "cinc2021" / "A0001.hea")
    assert (
        main(
            [
                "ask",
                "--model",
                str(folder),
                "--ecg",
                record,
                "--out",
                str(tmp_path / "out"),
                "--max-new-tokens",
                "2",
                "Rhythm?",
            ]
        )
        == 2
    )
    assert "no number" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
