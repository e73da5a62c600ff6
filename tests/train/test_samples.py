"""Training refuses to start on what ``llava-ecg validate`` lists, keeps what it prepared, and changes ECGs as asked."""

# ruff: noqa: F811 (fixtures)
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.train.run import main

from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)


def spoilt(toy: Path, folder: Path) -> Path:
    """The toy's records, one of which names a file that is not there, and one that is one question."""
    records: list[dict[str, Any]] = json.loads((toy / "train.json").read_text())
    records[1]["ecg"] = "none.hea"
    records[2]["conversations"] = records[2]["conversations"] + [{"from": "human", "value": "And the axis?"}]
    path = folder / "train.json"
    path.write_text(json.dumps(records))
    return path


def test_a_set_with_a_problem_is_refused_and_may_be_skipped(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*flags(toy, parts, tmp_path / "out", "--max_steps", "1"), "--data_path", str(spoilt(toy, tmp_path))]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 4 records has a problem, the first: " in said
    assert "none.hea" in said
    assert "--skip_bad 1 trains without them" in said
    assert not list((tmp_path / "out").glob("*.safetensors"))
    assert main([*words, "--skip_bad", "1"]) == 0
    told = capsys.readouterr()
    assert "3 conversations from " in told.out
    assert "1 of 4 records have a problem and are left out" in told.err


def test_prepared_inputs_are_kept(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for name in ("first", "second"):
        words = flags(toy, parts, tmp_path / name, "--prepared_dir", str(tmp_path / "kept"))
        assert main(words) == 0
        found.append(losses(capsys.readouterr().out))
        assert list((tmp_path / "kept").glob("**/*.prepared"))
    assert found[0] == found[1]
    assert main(flags(toy, parts, tmp_path / "third", "--prepared_gb", "0")) == 2
    assert "--prepared_gb 0 means nothing" in capsys.readouterr().err


def test_augmented_ecgs_give_other_losses_and_the_same_again(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    more = ("--augment_noise_mv", "0.5", "--augment_gain", "0.5", "--learning_rate", "0.1")
    for number, given in enumerate((more[4:], more, more)):
        assert main(flags(toy, parts, tmp_path / str(number), *given)) == 0
        found.append(losses(capsys.readouterr().out))
    assert found[0] != found[1] == found[2]
    assert main(flags(toy, parts, tmp_path / "wrong", "--augment_gain", "2")) == 2
    assert "the augmentation gain must be from 0 to 0.9" in capsys.readouterr().err
