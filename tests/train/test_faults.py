"""What goes wrong in the middle of a run is one sentence, and what was saved before stays whole."""

# ruff: noqa: F811 (fixtures)
from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.train.resume import last_checkpoint
from llava_ecg.train.run import main
from llava_ecg.train.trainer import LlavaEcgTrainer

from .test_run import flags, parts, toy  # noqa: F401  (fixtures)

SAVED = ("--save_strategy", "steps", "--save_steps", "1")


def test_a_loss_that_is_no_number(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = flags(
        toy, parts, tmp_path / "out", "--learning_rate", "1e30", "--max_grad_norm", "0", "--optim", "sgd", *SAVED
    )
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the loss is no number at step 2, in the batch of records '0" in said
    assert f"the last checkpoint, {tmp_path / 'out' / 'checkpoint-1'}, is whole" in said
    assert last_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-1"
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_disk_leaves_the_checkpoint_before(
    toy: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = LlavaEcgTrainer._save_optimizer_and_scheduler

    def full(self: Any, folder: Any) -> None:
        if self.state.global_step == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, folder)

    monkeypatch.setattr(LlavaEcgTrainer, "_save_optimizer_and_scheduler", full)
    assert main(flags(toy, parts, tmp_path / "out", *SAVED, "--save_total_limit", "1")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the checkpoint of step 3 can't be saved" in said
    assert "No space left" in said
    assert f"the last whole checkpoint is {tmp_path / 'out' / 'checkpoint-2'}" in said
    monkeypatch.undo()
    assert main(flags(toy, parts, tmp_path / "out", *SAVED, "--save_total_limit", "1")) == 0
    assert "goes on from" in capsys.readouterr().out
    assert last_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-4"


def test_too_little_memory(
    toy: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def out(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(LlavaEcgTrainer, "training_step", out)
    assert main(flags(toy, parts, tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--per_device_train_batch_size 1 --gradient_accumulation_steps 2, --selective_checkpointing" in said
    assert "--lora_enable" in said
    monkeypatch.setattr(
        LlavaEcgTrainer, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("something else"))
    )
    with pytest.raises(RuntimeError, match="something else"):
        main(flags(toy, parts, tmp_path / "out"))
