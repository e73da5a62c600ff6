"""A run that is killed, at any point, goes on with the losses of one that was not."""

# ruff: noqa: F811 (fixtures)
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.train.resume import is_whole, last_checkpoint
from llava_ecg.train.run import main
from llava_ecg.train.trainer import LlavaEcgTrainer

from .test_run import flags, parts, toy  # noqa: F401  (fixtures)

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("--max_steps", "6", "--save_strategy", "steps", "--save_steps", "2", "--warmup_steps", "2", "--seed", "7")
KINDS = {
    "full": ("--modality_dropout", "0.5"),
    "packed": ("--packing", "--model_max_length", "1500", "--per_device_train_batch_size", "1"),
    "lora": ("--lora_enable", "--lora_r", "4", "--lora_dropout", "0.3", "--bf16"),
    "projectors": ("--tune_mm_mlp_adapter", "--group_by_length", "True"),
}


class Killed(BaseException):
    """Nothing catches it."""


def log_of(folder: Path) -> dict[int, float]:
    """Step -> loss, the last word on each."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{name}": value
        for path in sorted(folder.glob("**/*.safetensors"))
        if "checkpoint-" not in str(path.relative_to(folder))
        for name, value in load_file(path).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_an_unbroken_run(
    kind: str,
    toy: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind == "lora":
        pytest.importorskip("peft")
    more = (*STEPS, *KINDS[kind])
    assert main(flags(toy, parts, tmp_path / "whole" / "run", *more)) == 0
    steps = []
    step = LlavaEcgTrainer.training_step

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(LlavaEcgTrainer, "training_step", killed)
    with pytest.raises(Killed):
        main(flags(toy, parts, tmp_path / "broken" / "run", *more))
    monkeypatch.undo()
    capsys.readouterr()
    assert main(flags(toy, parts, tmp_path / "broken" / "run", *more)) == 0
    assert "goes on from" in capsys.readouterr().out
    whole, broken = (log_of(tmp_path / name / "run") for name in ("whole", "broken"))
    assert list(whole) == [1, 2, 3, 4, 5, 6]
    assert whole == broken
    one, other = (weights_of(tmp_path / name / "run") for name in ("whole", "broken"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


KILL = """
import os, sys
from llava_ecg.train import run, trainer
def killed(self, *args):
    if self.state.global_step == 4:
        os.kill(os.getpid(), 9)
    return save(self, *args)
save = trainer.LlavaEcgTrainer._save_optimizer_and_scheduler
trainer.LlavaEcgTrainer._save_optimizer_and_scheduler = killed
sys.exit(run.main(sys.argv[1:]))
"""


def test_killed_while_it_saves(toy: Path, parts: Path, tmp_path: Path) -> None:
    words = flags(toy, parts, tmp_path / "out", *STEPS, "--save_total_limit", "1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILL, *words], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == -9, done.stderr[-2000:]
    assert not is_whole(tmp_path / "out" / "checkpoint-4")
    assert last_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-2", (
        "the limit of one has not cost the good one"
    )
    assert main(words) == 0
    assert last_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-6"
    assert main(flags(toy, parts, tmp_path / "whole", *STEPS)) == 0
    one, other = (weights_of(tmp_path / name) for name in ("whole", "out"))
    assert one
    for name, value in one.items():
        assert torch.equal(value, other[name.replace("whole/", "out/")]), name


def test_another_run_is_not_gone_on_with(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*flags(toy, parts, tmp_path / "out", *STEPS), "--max_steps", "2"]
    assert main(words) == 0
    capsys.readouterr()
    begun = tmp_path / "out" / "checkpoint-2"
    assert main([*words, "--learning_rate", "1e-3"]) == 2
    assert "is of a run with --learning_rate 0.01, and now there is --learning_rate 0.001" in capsys.readouterr().err
    assert main([*words, "--resume_from_checkpoint", "False"]) == 2
    assert "to begin anew" in capsys.readouterr().err
    assert main([*words, "--resume_from_checkpoint", str(tmp_path)]) == 2
    assert "is no checkpoint that a run can go on from" in capsys.readouterr().err
    assert main([*words, "--logging_steps", "2", "--resume_from_checkpoint", str(begun)]) == 0
    assert "where the run ended" in capsys.readouterr().out
    assert list(log_of(tmp_path / "out")) == [1, 2], "no step is taken more"
    assert not (tmp_path / "out" / "checkpoint-3").exists()
    assert main([*flags(toy, parts, tmp_path / "new", *STEPS), "--resume_from_checkpoint", "True"]) == 2
    assert "holds no checkpoint to go on from" in capsys.readouterr().err


def test_records_that_have_changed_are_said(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "train.json"
    shutil.copy(toy / "train.json", data)
    words = [*flags(toy, parts, tmp_path / "out", *STEPS), "--max_steps", "2", "--data_path", str(data)]
    assert main(words) == 0
    data.write_text(json.dumps(json.loads(data.read_text())[:3]))
    capsys.readouterr()
    assert main(words) == 2
    assert "have changed since" in capsys.readouterr().err
