"""What the tests of the server share; without the extra ``serve`` they are skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for _name in ("fastapi", "uvicorn", "httpx", "openai"):
    pytest.importorskip(_name, reason=f"needs {_name}, which the extra test brings")

import torch  # noqa: E402

from llava_ecg.assistant import Assistant  # noqa: E402
from llava_ecg.ecg.recording import Recording  # noqa: E402
from llava_ecg.ecg.simulate import Heart, simulate  # noqa: E402
from llava_ecg.engine import run as engine_run  # noqa: E402
from llava_ecg.model.saving import save_checkpoint  # noqa: E402
from tests.serve.running import NAME, Running, serving  # noqa: E402
from tests.test_assistant import folder  # noqa: E402


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """The folder of a tiny model that sees signals, and answers each with other words."""
    place = tmp_path_factory.mktemp("serve")
    model: Any = Assistant.open(folder(place, letters, ("ecg",), derive=False), device="cpu").checkpoint.model
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.mul_(30 if name.startswith("projectors") else 6)
    save_checkpoint(model, letters, place / NAME)
    return place / NAME


@pytest.fixture(scope="session")
def assistant(tiny: Path) -> Assistant:
    """It, for answers alone; the server has one of its own."""
    return Assistant(Assistant.open(tiny, device="cpu").checkpoint, reuse=False)


@pytest.fixture(scope="session")
def served(tiny: Path) -> Assistant:
    """It, for servers that run one after the other."""
    return Assistant.open(tiny, device="cpu")


@pytest.fixture(scope="session")
def running(tiny: Path) -> Iterator[Running]:
    """A server over it."""
    with serving(Assistant.open(tiny, device="cpu")) as found:
        yield found


@pytest.fixture(scope="session")
def recordings() -> list[Recording]:
    """Several hearts."""
    return [simulate(Heart(rate_bpm=50 + 9 * seed), seed=seed)[0] for seed in range(6)]


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token takes 10 ms."""
    step = engine_run._Run._go_on

    def slow(self: Any, given: Any) -> None:
        time.sleep(0.01)
        step(self, given)

    monkeypatch.setattr(engine_run._Run, "_go_on", slow)
