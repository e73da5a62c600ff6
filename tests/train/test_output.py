"""Where a result is saved: never in the place of what it stands on, and whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.errors import InputError
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.model.saving import save_checkpoint, whole_folder
from llava_ecg.train.run import main

from .test_run import flags, parts, toy  # noqa: F401  (fixtures)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def over(model: Path, toy: Path, parts: Path, out: Path, *more: str) -> list[str]:  # noqa: F811
    """Flags that go on from a checkpoint."""
    words = flags(toy, parts, out, *more)
    return ["--model_name_or_path", str(model), *words[words.index("--data_path") :]]


@pytest.fixture(scope="module")
def whole(toy: Path, parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A whole checkpoint of ours."""
    out = tmp_path_factory.mktemp("whole") / "model"
    assert main(flags(toy, parts, out, "--max_steps", "1")) == 0
    return out


@pytest.mark.parametrize("what", ["--lora_enable", "--tune_mm_mlp_adapter"])
def test_a_result_never_replaces_what_it_stands_on(
    what: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if what == "--lora_enable":
        pytest.importorskip("peft")
    base = tmp_path / "runs" / "base"
    shutil.copytree(whole, base)
    language_model = tmp_path / "runs" / "words"
    shutil.copytree(parts / "base", language_model)
    (tmp_path / "link").symlink_to(base)
    (tmp_path / "base_by_link").symlink_to(base)
    new = ["--model_name_or_path", str(language_model)]
    before = files(tmp_path / "runs")
    for words in (
        over(base, toy, parts, base, what),
        over(base, toy, parts, base.parent, what),
        over(base, toy, parts, tmp_path / "link", what),
        over(tmp_path / "base_by_link", toy, parts, base, what),
        [*flags(toy, parts, language_model, what), *new],
    ):
        assert main(words) == 2
        captured = capsys.readouterr()
        assert "choose another --output_dir" in captured.err.splitlines()[-1]
        assert "{'loss'" not in captured.out
    assert files(tmp_path / "runs") == before
    assert main(over(base, toy, parts, tmp_path / "beside", what, "--max_steps", "1")) == 0
    # what stands on it in its turn: through the base of its base
    assert main(over(tmp_path / "beside", toy, parts, base, what, "--max_steps", "1")) == 2
    # a result that goes on over the same base may take the place of the one that it came from
    assert main(over(tmp_path / "beside", toy, parts, tmp_path / "beside", what, "--max_steps", "1")) == 0
    open_checkpoint(tmp_path / "beside")


def test_towers_and_projectors_that_training_begins_with_are_kept(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(parts / "ecg", tmp_path / "out")
    before = files(tmp_path / "out")
    assert (
        main([*flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter"), "--ecg_tower", str(tmp_path / "out")]) == 2
    )
    assert "would delete" in capsys.readouterr().err
    assert files(tmp_path / "out") == before


def test_saving_by_itself_refuses_too(whole: Path, tmp_path: Path, letters: Any) -> None:
    shutil.copytree(whole, tmp_path / "base")
    model = open_checkpoint(tmp_path / "base").model
    model.config.base = str(tmp_path / "base")
    with pytest.raises(InputError, match="stand on"):
        save_checkpoint(model, letters, tmp_path / "base")
    assert (tmp_path / "base" / "model.safetensors").is_file()


def test_a_folder_that_exists_is_swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "out"
    for name in ("checkpoint-2", "adapter"):
        (old / name).mkdir(parents=True)
    for name in (
        "config.json",
        "model-00001-of-00002.safetensors",
        "notes.txt",
        "checkpoint-2/model.safetensors",
        "adapter/a",
    ):
        (old / name).write_text("old")
    (tmp_path / "link").symlink_to(old)
    with whole_folder(tmp_path / "link") as temporary:
        assert temporary.parent == tmp_path
        (temporary / "config.json").write_text("new")
        (temporary / "model.safetensors").write_text("new")
    expected = {
        "config.json": b"new",
        "model.safetensors": b"new",
        "notes.txt": b"old",
        "checkpoint-2/model.safetensors": b"old",
    }
    assert files(old) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]
    assert (tmp_path / "link").is_symlink()
    monkeypatch.chdir(old)  # whoever stands in it still does afterwards
    with whole_folder(Path()) as temporary:
        (temporary / "config.json").write_text("newer")
    assert Path("config.json").read_text() == "newer"
    assert old.samefile(".")
    assert files(old).keys() == {"config.json", "notes.txt", "checkpoint-2/model.safetensors"}


KILLED = """
import os, signal, sys
from pathlib import Path
from llava_ecg.model import saving
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "between": 
    rename = Path.rename
    Path.rename = lambda self, to: die() if ".new-" in self.name else rename(self, to)
if sys.argv[2] == "after":
    saving._carry_over = die
with saving.whole_folder(Path(sys.argv[1])) as temporary:
    (temporary / "config.json").write_text("killed")
    if sys.argv[2] == "writing":
        die()
"""


@pytest.mark.parametrize(("moment", "left"), [("writing", "old"), ("between", None), ("after", "killed")])
def test_a_killed_save_is_put_right_by_the_next(moment: str, left: str | None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("config.json", "model.safetensors", "notes.txt"):
        (out / name).write_text("old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(out), moment], check=False)
    assert ended.returncode == -9
    assert len(list(tmp_path.iterdir())) > 1 or moment == "after"
    assert ((out / "config.json").read_text() if out.exists() else None) == left
    with pytest.raises(KeyboardInterrupt), whole_folder(out):
        raise KeyboardInterrupt
    expected = "killed" if moment == "after" else "old"
    assert (out / "config.json").read_text() == expected
    assert (out / "notes.txt").read_text() == "old"
    assert (out / "model.safetensors").exists() == (moment != "after")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_save_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as first:
        (first / "config.json").write_text("first")
        with whole_folder(tmp_path / "out") as second:
            (second / "config.json").write_text("second")
        assert first.is_dir()
    assert (tmp_path / "out" / "config.json").read_text() == "first"
