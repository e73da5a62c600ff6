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
from llava_ecg.ecg.formats.write import written
from llava_ecg.ecg.simulate import Heart, simulate
from tests.model import released
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
    assert all(0 < loss < 2.5 for loss in losses)  # it knows this kind of text; one that knows nothing begins near 11
    assert "6 conversations from " in trained
    assert "bpm" in said[-1]


def ptbxl(folder: Path) -> None:
    """Six simulated recordings under the names, and with the table, of PTB-XL."""
    rows = ["ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr"]
    for number in range(1, 7):
        recording = simulate(Heart(rate_bpm=50.0 + 12 * number), seed=number, seconds=10.0)[0]
        place = folder / "records500" / "00000" / f"{number:05}_hr.hea"
        place.parent.mkdir(parents=True, exist_ok=True)
        for path, content in written(recording, place).items():
            path.write_bytes(content)
        names = f"records100/00000/{number:05}_lr,records500/00000/{number:05}_hr"
        rows.append(f"{number},{number},61,{number % 2},sinus rhythm,\"{{'SR': 0.0}}\",{number},{names}")
    (folder / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")


def test_from_ptbxl_and_a_released_gem_to_the_chat(golden: Path, tmp_path: Path) -> None:
    """The block's commands as they stand, on six recordings and the golden GEM; a script is what it launches."""
    pytest.importorskip("peft")
    ptbxl(tmp_path / "ptb-xl")
    released.gem_golden(tmp_path / "GEM", golden)
    _, block = next(each for each in FENCE.findall(PAGE) if "ptbxl_database.csv" in each[1])
    recipe = ["-m", "llava_ecg.train", "--config", str(ROOT / "scripts" / "recipes" / "finetune_lora.yaml")]
    small = ["--dataloader_num_workers", "0", "--max_steps", "2", "--use_cpu"]  # the recipe is for a GPU
    place = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    place = {name: value for name, value in place.items() if not name.startswith("ACCELERATE_")}
    said = []
    for words in commands(f"```bash\n{block}```\n"):
        if words[:2] == ["bash", "scripts/finetune_lora.sh"]:
            line = [sys.executable, *recipe, *words[2:], *small]
        else:
            line = [sys.executable, "-m", "llava_ecg", *words[1:]]
            assert words[0] == "llava-ecg"
        typed = "Is it regular?\n/quit\n" if "chat" in words else None
        ended = subprocess.run(
            line, cwd=tmp_path, env=place, input=typed, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, (words, ended.stdout[-1500:], ended.stderr[-1500:])
        said.append(ended.stdout)
    assert "no problems" in said[1]
    assert "a dry run" in said[2] and "together" in said[2]
    assert "saved to tuned" in said[3]
    assert list((tmp_path / "prepared").rglob("*.prepared"))
    assert (tmp_path / "tuned" / "adapter").is_dir()
