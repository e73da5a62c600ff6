"""Several processes make the step that one would make over the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.train.run import main

from .test_run import flags, parts, toy  # noqa: F401  (fixtures)

STREAMS = "streams.safetensors"


def one_step(toy: Path, parts: Path, out: Path, data: Path, batch: int, *more: str) -> list[str]:  # noqa: F811
    step = (
        "--max_steps",
        "1",
        "--optim",
        "sgd",
        "--learning_rate",
        "0.1",
        "--max_grad_norm",
        "0",
        "--tune_mm_mlp_adapter",
    )
    sizes = ("--per_device_train_batch_size", str(batch), "--data_path", str(data))
    return [*flags(toy, parts, out), *step, *sizes, *more]


def several(words: list[str], script: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m llava_ecg.train``, or a script, in two processes, as torchrun starts them."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")
    }  # of runs in this process
    environment = {
        **inherited,
        "OMP_NUM_THREADS": "1",
        "PYTHONFAULTHANDLER": "1",  # where a process was when it was aborted
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    launch += ["-m", "llava_ecg.train", *words] if script is None else [str(script), *words]
    return subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False, env=environment)


def mixed_data(toy: Path, folder: Path) -> Path:  # noqa: F811
    """Four records, one of them of text alone, so that one process has a batch without a gradient for projectors."""
    records = json.loads((toy / "train.json").read_text())[:4]
    assert len(records) == 4
    for key in ("ecg", "image"):
        records[1].pop(key, None)
    records[1]["conversations"] = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "yes, a long yes"}]
    data = folder / "train.json"
    data.write_text(json.dumps(records))
    return data


def test_two_processes_step_as_one(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("accelerate")
    data = mixed_data(toy, tmp_path)
    begun = tmp_path / "begun"
    assert main([*one_step(toy, parts, begun, data, 4), "--learning_rate", "0"]) == 0
    assert main(one_step(toy, parts, tmp_path / "one", data, 4)) == 0
    words = one_step(
        toy, parts, tmp_path / "two", data, 1, "--gradient_accumulation_steps", "2", "--ddp_backend", "gloo"
    )
    ended = several(words)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("saved to ") == ended.stdout.count(" conversations from ") == 1
    assert not list(tmp_path.glob(".two.*"))
    start, one, two = (load_file(tmp_path / name / STREAMS) for name in ("begun", "one", "two"))
    moved = [name for name in one if name.startswith("projectors.")]
    assert moved
    for name in moved:
        step = one[name] - start[name]
        assert step.abs().max() > 1e-4
        torch.testing.assert_close(two[name] - start[name], step, rtol=1e-4, atol=1e-4 * float(step.abs().max()))


def test_several_processes_end_their_run_of_wandb(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("wandb", reason="the extra train brings it")
    for name, value in (("MODE", "offline"), ("DIR", str(tmp_path)), ("SILENT", "false")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    words = ("--max_steps", "2", "--report_to", "wandb", "--ddp_backend", "gloo")
    ended = several(flags(toy, parts, tmp_path / "out", *words))
    assert ended.returncode == 0, ended.stderr[-3000:]
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"train/loss" in kept.read_bytes()
    assert "wandb sync" in ended.stderr + ended.stdout  # what it says when a run is ended
