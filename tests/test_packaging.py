"""What pip is told: setup.py, constraints.txt and the names behind the sockets fit the package that is here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from venv import EnvBuilder

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import llava_ecg
from llava_ecg.plugins import SOCKETS

ROOT = Path(__file__).resolve().parent.parent


# In a Python of its own: setuptools refuses to be imported where something has brought the standard library's
# distutils.
TELL = """
import json, runpy, setuptools
setuptools.setup = lambda **words: print(json.dumps(words))
runpy.run_path("setup.py")
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """The arguments that setup.py gives to setuptools; nothing is built."""
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed; pip install -e .[test] brings it")
    done = subprocess.run([sys.executable, "-c", TELL], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def pins() -> dict[str, Version]:
    """constraints.txt as name -> version; every line is an exact pin."""
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    found: dict[str, Version] = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            found[canonicalize_name(name)] = Version(version)
    return found


def test_version_and_text(told: dict[str, Any]) -> None:
    assert told["name"] == "llava-ecg"
    assert told["version"] == llava_ecg.__version__
    assert "not a medical device" in told["description"]
    assert told["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_every_package_travels(told: dict[str, Any]) -> None:
    here = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "llava_ecg").rglob("*.py")}
    assert set(told["packages"]) == here, "a folder with modules has no __init__.py, or something else is packaged"
    assert (ROOT / "llava_ecg/py.typed").is_file()
    assert "py.typed" in told["package_data"]["llava_ecg"]


def test_the_embedded_checkpoint_travels(told: dict[str, Any]) -> None:
    folder = ROOT / "checkpoints/gem-tiny"
    if not folder.is_dir():
        pytest.skip("checkpoints/gem-tiny is not in this checkout")
    files = [name for _, names in told["data_files"] for name in names]
    assert sorted(files) == sorted(str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file())
    assert all(
        target == f"share/llava_ecg/{Path(name).parent}" for target, names in told["data_files"] for name in names
    )
    assert {"checkpoints/gem-tiny/config.json", "checkpoints/gem-tiny/README.md"} < set(files)
    assert any(name.endswith(".safetensors") for name in files)
    assert sum((ROOT / name).stat().st_size for name in files) < 40e6


def test_constraints_hold_what_ci_installs(told: dict[str, Any]) -> None:
    held = pins()
    assert held["torch"] == Version("2.13.0"), "local labels such as +cpu do not belong here"
    for line in [*told["install_requires"], *told["extras_require"]["dev"]]:
        need = Requirement(line)
        assert canonicalize_name(need.name) in held, f"{need.name} has no line in constraints.txt; run make constraints"
        assert held[canonicalize_name(need.name)] in need.specifier, (
            f"constraints.txt and setup.py disagree on {need.name}"
        )
        assert [bound.operator for bound in need.specifier] == [">="], (
            f"{need.name} wants a lower bound and nothing else"
        )


def test_poison_stays_out(told: dict[str, Any]) -> None:
    """Where their CUDA libraries are missing, torchvision and what requires it break every transformers model
    import."""
    asked = {canonicalize_name(Requirement(line).name) for lines in told["extras_require"].values() for line in lines}
    asked |= {canonicalize_name(Requirement(line).name) for line in told["install_requires"]}
    assert not (asked | set(pins())) & {"torchvision", "torchaudio", "timm", "open-clip-torch"}


@pytest.fixture(scope="module")
def beside_a_clone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder that holds a clone, which is called as git clone calls it, and a Python into which it was installed
    with pip's -e.

    That Python is a new environment, which borrows the packages of the one that runs the tests.
    """
    for name in ("pip", "setuptools"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed here")
    folder = tmp_path_factory.mktemp("beside")
    clone, env = folder / "llava_ecg", folder / "env"
    shutil.copytree(ROOT / "llava_ecg", clone / "llava_ecg", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    EnvBuilder(symlinks=True).create(env)
    [site] = env.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    python = env / "bin/python"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", "-q", *offline, "-e", clone], cwd=folder, check=True)
    return folder, python


@pytest.mark.parametrize("where", [".", "llava_ecg", "env"])
def test_an_editable_install_runs_from_every_folder(where: str, beside_a_clone: tuple[Path, Path]) -> None:
    """Beside the clone, too, where Python finds the clone's own folder first and would take it for a package without
    modules."""
    folder, python = beside_a_clone
    done = subprocess.run([python, "-m", "llava_ecg", "--version"], cwd=folder / where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"llava-ecg {llava_ecg.__version__}"


def test_an_editable_install_is_imported_beside_the_clone(beside_a_clone: tuple[Path, Path]) -> None:
    folder, python = beside_a_clone
    words = "import llava_ecg; llava_ecg.load; print(llava_ecg.__file__)"
    done = subprocess.run([python, "-c", words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == folder / "llava_ecg/llava_ecg/__init__.py"


def test_extras(told: dict[str, Any]) -> None:
    extras = told["extras_require"]
    named = {"deepspeed", "docs", "eval", "flash", "formats", "quant", "ray", "remote", "serve", "train", "test", "dev"}
    assert set(extras) == named
    assert set(extras["test"]) < set(extras["dev"])


def test_console_script(told: dict[str, Any]) -> None:
    [(name, module, attribute)] = [re.split(r"\s*=\s*|:", line) for line in told["entry_points"]["console_scripts"]]
    assert name == "llava-ecg"
    assert find_spec(module) is not None
    assert callable(getattr(__import__(module, fromlist=[attribute]), attribute))


def test_inspect_ai_is_told_of_us(told: dict[str, Any]) -> None:
    """Its tasks and its provider are registered as the module is imported, by the name of the package."""
    assert told["entry_points"]["inspect_ai"] == ["llava_ecg = llava_ecg.eval.harness"]
    assert find_spec("llava_ecg.eval.harness") is not None


@pytest.mark.parametrize(
    ("socket", "name"), [(socket, name) for socket, registry in SOCKETS.items() for name in registry]
)
def test_every_name_behind_a_socket_can_be_had(socket: str, name: str) -> None:
    assert SOCKETS[socket].get(name) is not None
