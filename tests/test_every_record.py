"""``llava-ecg ask`` on every real recording there is: read, measured, rendered, answered (by a tiny model on random
weights), audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.cli import main

from .test_assistant import folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> str:
    return str(folder(tmp_path_factory.mktemp("every"), letters))


def answer(path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert (
        main(["ask", "--ecg", str(path), "--model", model, "--max-new-tokens", "2", "--device", "cpu", "--json"]) == 0
    )
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("source", ["A", "E", "HR", "JS", "Q", "S"])
def test_cinc2021(source: str, shared: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted((shared / "data" / "cinc2021").glob(f"{source}[0-9]*.hea"))
    assert len(paths) >= 5
    for path in paths:
        found = answer(path, model, capsys)
        assert set(found) >= {
            "question",
            "answer",
            "model",
            "recording",
            "measurements",
            "audit",
            "page",
            "tokens",
            "seconds",
        }
        assert found["tokens"]["ecg"] == 101
        rate = found["measurements"]["heart_rate_bpm"]
        assert rate is None or 25 < rate < 250, path


def test_dicom(shared: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(shared / "data" / "formats" / "dicom_12lead_1000hz.dcm", model, capsys)
    assert 55 < found["measurements"]["heart_rate_bpm"] < 70
    assert found["recording"]["format"] == "dicom"
