"""docs/extending.md is the package, explained: its blocks are the files as they stand, and its scripts run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import FENCE, commands
from tests.thirdparty.conftest import HERE, ROOT

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
NAMED = {
    found.group(1): block.removeprefix(found.group(0))
    for _, block in FENCE.findall(PAGE)
    if (found := re.match(r"# ([\w/]+\.(?:py|toml))\n", block))
}


def test_the_blocks_are_the_files() -> None:
    package = HERE / "llava-ecg-example"
    files = {str(path.relative_to(package)): path for path in package.rglob("*.*") if path.suffix in (".py", ".toml")}
    assert set(files) == {name for name in NAMED if name not in ("make_tower.py", "ask_it.py")}
    for name, path in files.items():
        assert NAMED[name] == path.read_text(encoding="utf-8"), f"{name} of docs/extending.md"


@pytest.fixture(scope="module")
def folder(environment: dict[str, str], base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts of the page have run, in its order, with a tiny language model in place of the page's."""
    folder = tmp_path_factory.mktemp("page")
    [training] = [words for words in commands(PAGE) if words[:3] == ["python", "-m", "llava_ecg.train"]]
    training[training.index("--model_name_or_path") + 1] = str(base)
    quiet = ["--report_to", "none", "--disable_tqdm", "true", "--save_strategy", "no"]
    for words in (["make_tower.py"], [*training[1:], *quiet], ["ask_it.py"]):
        if words[0] in NAMED:
            (folder / words[0]).write_text(NAMED[words[0]], encoding="utf-8")
        done = subprocess.run(
            [sys.executable, *words], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
    return folder


def test_its_scripts_and_its_training_run(folder: Path) -> None:
    assert (folder / "out/config.json").is_file()
    assert '"projector": "gated"' in (folder / "out/config.json").read_text()


def test_a_name_can_be_taken_without_a_package() -> None:
    [loose] = [block for language, block in FENCE.findall(PAGE) if language == "python" and block[0] != "#"]
    code = f"{loose}\nfrom llava_ecg.model.projectors import build_projector\nprint(build_projector('twice', 4, 2))\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith("Sequential"), done.stderr
