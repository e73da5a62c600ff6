"""The scripts hand on what they are given, once."""

from __future__ import annotations

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
