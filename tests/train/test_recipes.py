"""``--config``, the recipes and the scripts: each runs on a tiny model, five steps, to the losses
that are written here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from llava_ecg.train import arguments
from llava_ecg.train.run import main

from .test_run import losses, parts, toy  # noqa: F401  (fixtures)

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "scripts" / "recipes"
# Five steps of each recipe on the tiny model, in float32: what `run` below printed when they were written.
LOSSES = {
    "finetune": [4.859, 4.858, 4.491, 4.238, 3.993],
    "finetune_lora": [4.859, 4.858, 4.715, 4.721, 4.706],
    "finetune_qlora": [4.859, 4.858, 4.714, 4.721, 4.706],
    "pretrain": [4.859, 4.858, 4.85, 4.843, 4.836],
    "train_gem": [4.86, 4.859, 4.494, 4.242, 3.998],
}
NEEDED = ("--model_name_or_path", "m", "--data_path", "d", "--use_cpu", "--report_to", "none")


def run(recipe: str, toy: Path, parts: Path, out: Path) -> list[str]:  # noqa: F811
    """The command line behind a script: what a user gives, and what makes five steps of it small and exact."""
    given = [
        *("--model_name_or_path", str(parts / "base"), "--ecg_tower", str(parts / "ecg")),
        *("--vision_tower", str(parts / "image"), "--data_path", str(toy / "train.json"), "--ecg_folder", str(toy)),
        *("--output_dir", str(out)),
    ]
    small = [
        *("--use_cpu", "--bf16", "False", "--max_steps", "5", "--per_device_train_batch_size", "2"),
        *("--gradient_accumulation_steps", "1", "--dataloader_num_workers", "0", "--disable_tqdm", "True"),
        *("--lr_scheduler_type", "constant_with_warmup", "--learning_rate", "1e-2"),
    ]
    return [*given, *small]


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_recipe_trains_to_its_losses(
    recipe: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("peft")
    if "qlora" in recipe:
        pytest.importorskip("bitsandbytes")
    assert main(["--config", str(RECIPES / f"{recipe}.yaml"), *run(recipe, toy, parts, tmp_path / "out")]) == 0
    found = losses(capsys.readouterr().out)
    assert found == pytest.approx(LOSSES[recipe], rel=1e-3)


def read(text: str, folder: Path, *typed: str) -> arguments.TrainingArguments:
    """The training flags of a recipe and what is typed beside it. Nothing is loaded."""
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    words = [*NEEDED, "--output_dir", str(folder / "out"), "--config", str(folder / "mine.yaml"), *typed]
    return arguments.parse(words)[2]


def test_what_is_typed_wins_over_the_recipe_and_both_are_given(tmp_path: Path) -> None:
    text = "learning_rate: 2e-5\nbf16: true\nsave_strategy: no\nmax_steps: 7\nlog_level: null\n"
    args = read(text, tmp_path, "--learning_rate", "1e-3", "--max_steps=9")
    assert (args.learning_rate, args.bf16, args.max_steps) == (1e-3, True, 9)
    assert str(args.save_strategy.value) == "no"  # type: ignore[attr-defined]  # the word, which YAML 1.1 takes for false
    assert {"bf16", "max_steps", "learning_rate", "model_name_or_path"} <= args.given
    assert not {"log_level", "seed"} & args.given
    assert not read("bf16: true", tmp_path, "--bf16", "False").bf16
    assert read('lr_scheduler_kwargs: {"num_cycles": 0.4}', tmp_path).lr_scheduler_kwargs == {"num_cycles": 0.4}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean learning_rate"),
        ("learning_rate: fast", "has learning_rate: 'fast', which can't be: argument --learning_rate"),
        ("max_steps: 2.5", "has max_steps: 2.5, which can't be"),
        ("bf16: 3", "has bf16: 3, which can't be"),
        ("lr_scheduler_type: cosin", "has lr_scheduler_type: 'cosin', which can't be"),
        ("seed: 1\nseed: 2", "'seed' stands there twice"),
        ("- seed", "is no list of settings"),
        ("seed: [", "is no YAML"),
        ("config: other.yaml", "unknown key 'config'"),
        ("report_to: []", "at least one"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_in_a_sentence(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(text, tmp_path)
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "mine.yaml") in str(refused.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    for words, fault in (
        (["--config", str(tmp_path / "none.yaml")], "can't read the recipe"),
        (["--config"], "--config needs a file"),
        (["--config=a", "--config=b"], "given 2 times"),
    ):
        with pytest.raises(InputError, match=fault):
            arguments.parse([*NEEDED, "--output_dir", str(tmp_path), *words])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts and recipes beside a stand-in for env.sh, which takes the Python of the tests."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "scripts" / "env.sh").write_text(
        f'ROOT="$(cd "$(dirname "${{BASH_SOURCE[0]}}")/.." && pwd)"; PY="${{FAKE:-{sys.executable}}}"\n'
    )
    return tmp_path


def bash(checkout: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    place = {key: value for key, value in os.environ.items() if not key.startswith("ACCELERATE_")}
    place |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | more
    line = ["bash", *words]
    return subprocess.run(line, cwd=checkout, env=place, capture_output=True, text=True, timeout=300, check=False)


def test_a_script_runs_whole(toy: Path, parts: Path, checkout: Path) -> None:  # noqa: F811
    pytest.importorskip("peft")
    ended = bash(checkout, "scripts/train_gem.sh", *run("train_gem", toy, parts, checkout / "out"))
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert losses(ended.stdout) == pytest.approx(LOSSES["train_gem"], rel=1e-3)
    assert (checkout / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("script", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_script_launches_as_its_head_says(script: str, checkout: Path) -> None:
    fake = checkout / "python"
    fake.write_text("#!/bin/bash\nprintf '<%s>' \"$@\"\n")
    fake.chmod(0o755)
    recipe = f"<-m><llava_ecg.train><--config><{checkout}/scripts/recipes/{script}.yaml>"
    file = f"scripts/{script}.sh"
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(f"bash {file}") == 3
    assert "Hardware" in text
    assert bash(checkout, file, "--seed", "a b", FAKE=str(fake)).stdout == f"{recipe}<--seed><a b>"
    several = bash(checkout, file, FAKE=str(fake), NPROC="8").stdout
    assert several == f"<-m><torch.distributed.run><--standalone><--nproc_per_node><8>{recipe}"
    two = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "host0", "NPROC": "8"}
    words = "<--nnodes><2><--nproc_per_node><8><--node_rank><1><--master_addr><host0><--master_port><29500>"
    assert bash(checkout, file, FAKE=str(fake), **two).stdout == f"<-m><torch.distributed.run>{words}{recipe}"
    alone = bash(checkout, file, FAKE=str(fake), NNODES="2")
    assert alone.returncode != 0
    assert re.search("which machine is this", alone.stderr)


def test_a_lora_over_four_bits_is_saved_over_its_base(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    from llava_ecg.checkpoint import quantize
    from llava_ecg.model.loading import open_checkpoint
    from llava_ecg.train import run as training

    seen: list[tuple[str | None, set[str]]] = []
    built = training.build_trainer

    def watched(model, *rest):  # type: ignore[no-untyped-def]
        trained = {name for name, value in model.named_parameters() if value.requires_grad}
        seen.append((quantize.quantization(model), trained))
        return built(model, *rest)

    monkeypatch.setattr(training, "build_trainer", watched)
    for bits, kind in (("4", "nf4"), ("8", "int8")):
        words = run("finetune_qlora", toy, parts, tmp_path / kind)
        assert main(["--config", str(RECIPES / "finetune_qlora.yaml"), *words, "--bits", bits]) == 0
        found, trained = seen.pop()
        assert found == kind
        assert any("lora_A" in name for name in trained)
        assert all("lora_" in name or name.startswith("projectors.") for name in trained)
        settings = json.loads((tmp_path / kind / "adapter" / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == str(parts / "base")
        assert not (tmp_path / kind / "model.safetensors").exists()
        model = open_checkpoint(tmp_path / kind).model  # the LoRA merged into the whole base
        assert quantize.quantization(model) is None
        assert model.language_model.model.layers[0].mlp.down_proj.weight.dtype.itemsize == 4


def test_parts_have_rates_of_their_own(toy: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from llava_ecg.train import run as training

    rates: dict[str, float] = {}
    built = training.build_trainer

    def watched(model, *rest):  # type: ignore[no-untyped-def]
        trainer = built(model, *rest)
        names = {id(value): name for name, value in model.named_parameters()}
        assert trainer.optimizer is not None
        for group in trainer.optimizer.param_groups:
            rates.update({names[id(value)]: group["lr"] for value in group["params"]})
        raise InputError("enough")

    monkeypatch.setattr(training, "build_trainer", watched)
    words = run("x", toy, parts, tmp_path / "out")
    words += ["--unfreeze_mm_vision_tower", "True", "--unfreeze_ecg_tower", "--mm_projector_lr", "3e-3"]
    words += ["--ecg_projector_lr", "4e-3", "--ecg_tower_lr", "5e-3", "--mm_vision_tower_lr", "6e-3"]
    assert main(words) == 2
    starts = {"projectors.ecg.": 4e-3, "projectors.image.": 3e-3, "towers.ecg.": 5e-3, "towers.image.": 6e-3}
    for start, rate in (starts | {"language_model.": 1e-2}).items():
        found = {each for name, each in rates.items() if name.startswith(start)}
        assert found == {rate}, start
