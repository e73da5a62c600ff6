"""The scripts hand on what they are given, once, and do what is done not again."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUB = """
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"; VENV="$ROOT/venv"; PY="$VENV/bin/python"
say() { printf 'said: %s\\n' "$*"; }
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """demo.sh beside stand-ins for env.sh, python and llava-ecg, which print what they are called with."""
    for folder in ("scripts", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "demo.sh", tmp_path / "scripts")
    (tmp_path / "scripts" / "env.sh").write_text(STUB)
    for name, text in (("llava-ecg", "printf '<%s>' \"$@\"; echo"), ("python", "echo packaged.dcm")):
        (tmp_path / "venv" / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "venv" / "bin" / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "<ask><--ecg><packaged.dcm><--out>{out}"),
        (["my.hea"], "<ask><--ecg><my.hea><--out>{out}"),
        (["my.hea", "Which rhythm?", "--seed", "1"], "<ask><--ecg><my.hea><--out>{out}<Which rhythm?><--seed><1>"),
        (["my.hea", "--out", "a b"], "<ask><--ecg><my.hea><--out><a b>"),
        (["--out=there"], "<ask><--ecg><packaged.dcm><--out=there>"),
        (["--ecg", "my.hea"], "<ask><--out>{out}<--ecg><my.hea>"),
        (["--image", "page.png", "--out", "there"], "<ask><--image><page.png><--out><there>"),
    ],
)
def test_the_demo_passes_every_flag_once(words: list[str], expected: str, checkout: Path) -> None:
    ended = subprocess.run(
        ["bash", str(checkout / "scripts" / "demo.sh"), *words], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == expected.format(out=f"<{checkout / 'playground' / 'output'}>")


PYTHON = """#!/bin/bash
echo "$*"
while [ $# -gt 0 ]; do # what a module leaves behind, in the folder after its name or --out
    case "$1" in
    llava_ecg.train.tiny.records) mkdir -p "$2"; touch "$2/records.json" ;;
    --out)
        mkdir -p "$2/ecg" "$2/image"
        touch "$2/model.safetensors" "$2/projectors.safetensors" "$2/train.json"
        touch "$2/ecg/heads.safetensors" "$2/image/heads.safetensors"
        ;;
    --output_dir) mkdir -p "$2" ;;
    esac
    shift
done
"""
TOWERS = "-m llava_ecg.train.tiny.towers"
TRAINING = f"""-m llava_ecg.train.tiny.records OUT/set --simulated 200 --seed 11
{TOWERS} ecg --out OUT/ecg-plain --minutes 1 --data OUT/set
{TOWERS} ecg --init OUT/ecg-plain --grow 2 --write --out OUT/ecg --minutes 1 --learning_rate 8e-4 --data OUT/set
{TOWERS} image --out OUT/image-plain --teacher OUT/ecg --minutes 1 --data OUT/set
{TOWERS} image --init OUT/image-plain --grow 2 --write --teacher OUT/ecg --out OUT/image --minutes 1 \
--learning_rate 8e-4 --data OUT/set
"""


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """The scripts that train gem-tiny, and env.sh without its last line, which installs.

    Its Python prints what it is called with.
    """
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("pretrain_tower.sh", "train_tiny.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    told = (ROOT / "scripts" / "env.sh").read_text(encoding="utf-8")
    last = 'ready "${EXTRA:-}"\n'
    assert told.endswith(last)
    (tmp_path / "scripts" / "env.sh").write_text(told.removesuffix(last))
    for name in ("python", "llava-ecg"):
        (tmp_path / ".venv/bin" / name).write_text(PYTHON)
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    return tmp_path


def ran(checkout: Path, script: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(checkout / "scripts" / script), *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "OUT": str(checkout / "a b"), "TRIAL": "1", **settings},
    )


@pytest.mark.parametrize(("words", "count"), [(["set"], 1), ([], 3), (["ecg"], 3), (["image"], 5)])
def test_towers_are_trained_after_what_they_need(words: list[str], count: int, training: Path) -> None:
    expected = TRAINING.replace("OUT", f"{training}/a b").splitlines()[:count]
    ended = ran(training, "pretrain_tower.sh", *words)
    assert (ended.returncode, ended.stdout.splitlines()) == (0, expected)
    assert ended.stderr.count("llava-ecg: ") == count
    again = ran(training, "pretrain_tower.sh", *words)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_tower_that_was_broken_off_is_gone_on_with(training: Path) -> None:
    ran(training, "pretrain_tower.sh")
    (training / "a b" / "ecg" / "model.safetensors").unlink()
    assert (
        ran(training, "pretrain_tower.sh").stdout
        == TRAINING.replace("OUT", f"{training}/a b").splitlines(keepends=True)[2]
    )


def test_settings_of_a_tower(training: Path) -> None:
    told = ran(training, "pretrain_tower.sh", TRIAL="", COUNT="7", ECG_MINUTES="3").stdout
    assert [f"--{flag} " in told for flag in ("simulated 7", "minutes 3", "minutes 60", "minutes 1")] == [True] * 3 + [
        False
    ]
    for words in (["cnn"], ["ecg", "image"], ["--minutes"]):
        refused = ran(training, "pretrain_tower.sh", *words)
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("begins_with", [None, "gem-tiny"])
def test_gem_tiny_is_made_in_order(begins_with: str | None, training: Path) -> None:
    out = training / "a b"
    settings = {} if begins_with is None else {"FROM": begins_with}
    lines = ran(training, "train_tiny.sh", "--bf16", **settings).stdout.splitlines()
    towers = TRAINING.replace("OUT", str(out)).splitlines()[: 5 if begins_with is None else 1]
    assert lines[: len(towers) + 1] == ["fetch gem-tiny", *towers]
    modules = [line.split()[1] for line in lines[len(towers) + 1 :]]
    made_of = "align" if begins_with is None else "unpack"
    assert modules == [*(f"llava_ecg.train.tiny.{name}" for name in (made_of, "reading")), "llava_ecg.train"]
    assert lines[-1].endswith(f"--output_dir {out}/gem-tiny --bf16")
    assert ("--pretrain_mm_mlp_adapter" in lines[-1]) == (begins_with is None)
    assert sorted(path.name for path in (out / "gem-tiny" / "heads").iterdir()) == [
        "ecg.safetensors",
        "image.safetensors",
    ]
