"""What a run leaves beside the model: its recipe, what it stood on, and a log of every step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.train import arguments
from llava_ecg.train.run import main
from llava_ecg.train.run_folder import commit, recipe_text

from .test_recipes import RECIPES
from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_its_recipe_its_ground_and_its_log(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llava_ecg.train.trainer import Collator

    lengths: list[int] = []
    collate = Collator.__call__

    def noted(self: Collator, samples: Any) -> dict[str, Any]:
        lengths.extend(len(each) for each in samples)
        return collate(self, samples)

    monkeypatch.setattr(Collator, "__call__", noted)
    out = tmp_path / "out"
    words = flags(toy, parts, out, "--tune_mm_mlp_adapter", "--max_steps", "3")
    assert main([*words, "--save_strategy", "steps", "--save_steps", "2"]) == 0
    text = capsys.readouterr().out
    begun, *steps, end = entries(out)
    assert begun["steps"] == 3
    assert [each["loss"] for each in steps] == pytest.approx(losses(text), abs=1e-3)
    assert [each["step"] for each in steps] == [1, 2, 3]
    assert steps[-1]["tokens"] == sum(lengths[:6]) > 0  # a batch more is made ahead
    assert all(each["tokens_per_s"] > 0 and each["seconds"] > 0 for each in steps)
    assert all(each["learning_rate"] >= 0 for each in steps)
    assert "train_runtime" in end
    assert "'tokens_per_s': " in text
    assert "'left': '0:00:00'" in text
    ground = json.loads((out / "run.json").read_text())
    content = (toy / "train.json").read_bytes()
    assert ground["data"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert ground["data"]["records"] == len(json.loads(content))
    assert {"python", "torch", "transformers", "accelerate"} <= set(ground["versions"])
    assert ground["attention"] is None
    for name in ("recipe.yaml", "run.json"):
        assert (out / "checkpoint-2" / name).read_text() == (out / name).read_text()
    # the same run again, from the recipe alone, in another folder: the same losses
    assert main(["--config", str(out / "recipe.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    assert losses(capsys.readouterr().out) == losses(text)
    # and in its own, whose last checkpoint is lost: it goes on from the one before, and so does its log
    shutil.rmtree(out / "checkpoint-3")
    assert main(["--config", str(out / "recipe.yaml")]) == 0
    assert losses(capsys.readouterr().out) == losses(text)[2:]
    assert [each["steps"] for each in entries(out) if "begun" in each] == [3, 3]


def test_wandb_without_a_network(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("wandb", reason="the extra train brings it")
    words = flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter", "--max_steps", "2", "--report_to", "wandb")
    place = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "llava_ecg.train", *words],
        env=os.environ | place,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = kept.read_bytes()
    for name in ("train/loss", "train/learning_rate", "tokens_per_s"):
        assert name.encode() in content, name
    assert len(entries(tmp_path / "out")) == 4  # the plain log, all the same


def test_the_fingerprint_tells_files_apart(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    words = flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter", "--max_steps", "1")
    found = []
    records = json.loads((toy / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps(records[:3]))
    for change in ([], ["--data_path", str(tmp_path / "train.json")]):
        assert main([*words, *change]) == 0
        data = json.loads((tmp_path / "out" / "run.json").read_text())["data"]
        assert data["files"]["looked at"] == data["records"]  # an ECG each
        found.append((data["sha256"], data["files"]["sha256 of names and sizes"]))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--lora_enable", "--lora_r", "8", "--report_to", "none", "--warmup_ratio", "0.03"),
        ("--gradient_checkpointing", "--save_strategy", "no", "--lr_scheduler_type", "cosine_with_min_lr"),
        ("--lr_scheduler_kwargs", '{"min_lr": 0.1}', "--optim", "adafactor", "--group_by_modality_length"),
        ("--mm_vision_select_layer", "-2", "--image_grid_pinpoints", "[[1, 2]]", "--max_steps", "5", "--bf16"),
        ("--config", str(RECIPES / "finetune_qlora.yaml")),
        ("--config", str(RECIPES / "train_gem.yaml"), "--render_pages", "False", "--num_train_epochs", "2"),
    ],
)
def test_a_recipe_is_read_again_as_it_was(words: tuple[str, ...], tmp_path: Path) -> None:
    words = ("--model_name_or_path", "m", "--data_path", "d", "--output_dir", str(tmp_path / "out"), *words)
    first = arguments.parse(["--use_cpu", *words])
    (tmp_path / "recipe.yaml").write_text(recipe_text(*first))
    second = arguments.parse(["--config", str(tmp_path / "recipe.yaml")])
    pairs: Any = zip(first, second, strict=True)
    for one, two in pairs:
        for item in fields(one):
            if item.name not in ("given", "notices", "config", "accelerator_config", "logging_dir"):
                assert getattr(one, item.name) == getattr(two, item.name), item.name
    assert first[2].given <= second[2].given


def test_a_refused_run_leaves_nothing_of_this(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    assert main([*flags(toy, parts, tmp_path / "out"), "--ecg_folder", str(tmp_path)]) == 2
    assert not list((tmp_path / "out").iterdir())


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    line = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*line, "init", "--quiet"], check=True)
    (tmp_path / "a").write_text("1")
    subprocess.run([*line, "add", "a"], check=True)
    subprocess.run([*line, "commit", "--quiet", "-m", "a"], check=True)
    told = commit(tmp_path)
    assert told is not None
    assert len(told["commit"]) == 40
    assert told["changed"] is False
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path) == told | {"changed": True}
