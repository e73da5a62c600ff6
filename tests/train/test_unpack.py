"""A checkpoint is taken apart, and heads are learned for towers that have none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import llava_ecg
from llava_ecg.model.loading import compose, load_projectors, tower_stream
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.train.tiny import reading, towers, unpack
from llava_ecg.train.tiny.probe import load_probe

from .test_align import made, small, tower  # noqa: F401  (fixtures)
from .test_run import parts  # noqa: F401  (fixture)


@pytest.fixture
def checkpoint(small: None, parts: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A tiny model over a base, with both streams and the heads of one."""
    base = str(parts / "base")
    streams = {
        name: {"tower": size["tower"], "tower_config": size["tower_config"], "preparation": size["preparation"]}
        for name, size in towers.SIZES.items()
    }
    ecg = streams["ecg"] | {"projector": "linear", "through": "image"}
    image = streams["image"] | {"projector": "mlp2x_gelu"}
    model = compose(base, {"image": image, "ecg": ecg}, template="ecg_chatml")
    save_checkpoint(model, None, tmp_path / "whole")
    (tmp_path / "whole" / "heads").mkdir()
    probe = towers.build_probe("ecg")
    own = {name: value for name, value in probe.state_dict().items() if not name.startswith("tower.")}
    save_file(own, tmp_path / "whole" / "heads" / "ecg.safetensors")
    return tmp_path / "whole"


def test_a_checkpoint_is_taken_apart(
    checkpoint: Path,
    made: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "apart"
    assert unpack.main([str(checkpoint), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "no heads of the image tower" in said and "of the ecg tower" not in said
    whole = llava_ecg.load(checkpoint, device="cpu").model
    streams = {"ecg": tower_stream(out / "ecg", projector="linear", through="image")}
    streams["image"] = tower_stream(out / "image", projector="mlp2x_gelu")
    folders = {name: out / name for name in streams}
    again = compose(str(whole.config.base), streams, template="ecg_chatml", tower_folders=folders)
    load_projectors(again, out / "projectors.safetensors")
    for part in ("towers", "projectors"):
        mine, theirs = getattr(again, part).state_dict(), getattr(whole, part).state_dict()
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], value) for name, value in theirs.items())
    assert reading.reader("ecg", out / "ecg").probe.heads is not None
    assert unpack.main([str(out / "ecg"), "--out", str(tmp_path / "no")]) == 2
    assert "is a tower alone" in capsys.readouterr().err

    # heads of the other tower, which itself stays as it is
    learn = ["--init", str(out / "image"), "--heads_only", "--minutes", "0.05"]
    assert tower("image", made, tmp_path / "taught", *learn) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (out / "image", tmp_path / "taught"))
    assert before.keys() == after.keys() and all(torch.equal(after[name], value) for name, value in before.items())
    probe, fresh = towers.build_probe("image"), towers.build_probe("image")
    load_probe(probe, tmp_path / "taught")
    assert not torch.allclose(probe.heads[0].weight, fresh.heads[0].weight)  # type: ignore[index]


def test_heads_alone_need_a_tower(
    made: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tower("ecg", made, tmp_path / "a", "--heads_only") == 2
    assert "give it with --init" in capsys.readouterr().err
    assert tower("ecg", made, tmp_path / "a", "--heads_only", "--grow", "1", "--init", str(tmp_path)) == 2
    assert "give one of them" in capsys.readouterr().err
