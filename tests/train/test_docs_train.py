"""The command that docs/train.md starts with is run as it stands, in a folder that holds what a clone holds of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llava_ecg.checkpoint.places.fetch import base_folder
from tests.test_docs import FENCE, commands

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")


def test_the_first_command_trains_and_its_result_answers(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    if base_folder("gem-tiny") is None:
        pytest.skip("the language model of gem-tiny is not here; fetch it with: llava-ecg fetch gem-tiny")
    language, block = FENCE.findall(PAGE)[0]
    assert language == "bash"
    lines = list(commands(f"```bash\n{block}```\n"))
    assert not any("shared" in word for words in lines for word in words)
    (tmp_path / "playground").mkdir()
    shutil.copy(ROOT / "playground" / "make_toy.py", tmp_path / "playground")
    programs = {"python": [sys.executable], "llava-ecg": [sys.executable, "-m", "llava_ecg"]}
    place = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    place = {name: value for name, value in place.items() if not name.startswith("ACCELERATE_")}
    said: list[str] = []
    for words in lines:
        if words[0] == "pip":
            assert words == ["pip", "install", "-e", ".[train]"]  # the tests run where that is done
            continue
        line = [*programs[words[0]], *words[1:]]
        ended = subprocess.run(line, cwd=tmp_path, env=place, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
        said.append(ended.stdout)
    [trained] = [text for text in said if "saved to " in text]
    losses = [float(loss) for loss in re.findall(r"'loss': '([\d.]+)'", trained)]
    assert len(losses) == 2
    assert all(0 < loss < 2 for loss in losses)  # it knows this kind of text
    assert "6 conversations from " in trained
    assert "bpm" in said[-1]
