"""The package of ``llava-ecg-example/``, installed by pip as its users would have it, without a network."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.plugins import SOCKETS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "llava_ecg_example"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for site-packages and holds nothing but the package."""
    for name in ("pip", "setuptools"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed here")
    folder = tmp_path_factory.mktemp("thirdparty")
    source = folder / "source"  # a copy, since building leaves files behind
    shutil.copytree(HERE / "llava-ecg-example", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    words = ["-q", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *words, "--target", folder / "site", source], cwd=folder, check=True
    )
    return folder / "site"


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """The packages of a folder can be imported and are plugged in, until the block ends."""

    def forget() -> None:
        importlib.invalidate_caches()
        for registry in SOCKETS.values():
            vars(registry).pop("_points", None)

    sys.path.insert(0, str(folder))
    forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
        forget()


@pytest.fixture(scope="module")
def plugged(installed: Path) -> Iterator[Path]:
    """The package is there for the tests of a module."""
    with on_the_path(installed):
        yield installed


@pytest.fixture(scope="session")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package, with a cache of its own."""
    cache = str(tmp_path_factory.mktemp("cache"))
    path = os.pathsep.join([str(installed), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "LLAVA_ECG_CACHE": cache, "OMP_NUM_THREADS": "1"}


class Hollow(type):
    """The class of classes that have every attribute, which are names of things that nobody uses."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip, or a skip. It wants torchvision, whose wheels need CUDA's libraries; where that is absent, modules
    that hold nothing stand for it, since no tower needs it."""
    if find_spec("open_clip") is None:
        pytest.skip("open_clip_torch is not installed; the image tower of the package is imported with it alone")
    if find_spec("torchvision") is None:
        importlib.import_module("transformers")  # looks whether torchvision is there, and must not find these
        for name in ("", ".ops", ".ops.misc", ".transforms", ".transforms.functional"):
            module: Any = types.ModuleType(f"torchvision{name}")
            module.__path__, module.__getattr__ = [], lambda attribute: Hollow(attribute, (), {})
            monkeypatch.setitem(sys.modules, module.__name__, module)
            above, _, own = module.__name__.rpartition(".")
            if above:
                setattr(sys.modules[above], own, module)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """The folder of a language model of two small layers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(LlamaConfig(vocab_size=128, **sizes, tie_word_embeddings=True)).save_pretrained(folder)
    letters.save_pretrained(folder)
    return folder


def run(words: list[str], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", *words], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
