"""``llava-ecg doctor`` and ``completion``."""

from __future__ import annotations

import json
import subprocess
from collections import namedtuple
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from llava_ecg import doctor
from llava_ecg.cli import main


def found(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
    code = main(["doctor", "--json", *words])
    told = json.loads(capsys.readouterr().out)
    assert told["problems"] == sum(one["status"] == "problem" for one in told["findings"])
    return code, {(one["area"], one["name"]): one for one in told["findings"]}


def test_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    _, told = found(capsys)
    assert {area for area, _ in told} >= {"program", "packages", "devices", "attention", "storage", "model"}
    assert {name for area, name in told if area == "attention"} == {"packed", "continuing", "decoding"}
    assert told["packages", "base"]["status"] == "ok"
    assert told["devices", "cpu"]["values"]["memory"] > told["devices", "cpu"]["values"]["free"] > 0
    for one in told.values():
        assert bool(one["fix"]) == (one["status"] != "ok") or one["name"].startswith("cpu w8a8"), one


def test_what_is_missing_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = doctor.version

    def version(name: str) -> str:
        if name == "h5py":
            raise PackageNotFoundError(name)
        return "0.1" if name == "inspect_ai" else real(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-word")
    code, told = found(capsys, "--model", str(tmp_path / "none"))
    assert code == 1
    assert told["packages", "formats"]["text"].endswith("h5py is not installed")
    assert told["packages", "formats"]["fix"] == "pip install 'llava-ecg[formats]'"
    assert "inspect_ai 0.1 is older than >=" in told["packages", "eval"]["text"]
    assert told["storage", "smollm2-135m-instruct"]["fix"] == "llava-ecg fetch smollm2-135m-instruct"
    assert told["model", str(tmp_path / "none")]["status"] == "problem"
    assert told["environment", "WANDB_API_KEY"]["text"] == "is set"


@pytest.mark.parametrize(
    ("free", "status", "fix"),
    [(10**12, "ok", ""), (300 * 10**6, "missing", "take --quantization"), (1000, "problem", "close")],
)
def test_room_for_a_model(free: int, status: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_places", lambda: {"cpu": free})
    monkeypatch.setattr(doctor, "_embedding", lambda folder: 28_000_000)
    model, room = doctor.room_for("gem-tiny")
    if model.status != "ok":
        pytest.skip("gem-tiny's language model is not fetched")
    assert (room.status, room.fix[: len(fix)]) == (status, fix)
    needs = dict(room.values or {})
    assert 1.5 * needs["w8a8"] < needs["float32"]
    assert 4 * 148e6 < needs["float32"] < 6 * 148e6


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLAVA_ECG_CACHE", str(tmp_path / "not" / "yet"))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(10, 9, 10**6))
    cache = next(one for one in doctor.storage() if one.name == "cache")
    assert cache.status == "problem"
    assert "LLAVA_ECG_CACHE" in cache.fix


def test_the_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = doctor.Finding("packages", "base", "problem", "torch is not installed", "pip install torch")
    monkeypatch.setattr(doctor, "examine", lambda model: iter([broken]))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("packages\n  !!  base")
    assert "pip install torch" in text
    assert text.endswith("1 problem\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("measure", "doctor", "quantization", "w8a8"):
        assert word in text


def test_bash_completes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "llava-ecg"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "record.hea").touch()

    def completed(*words: str) -> list[str]:
        typed = " ".join(f"'{word}'" for word in words)
        line = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _shtab_llava_ecg; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash", "-c", f"source {script}; {line}"], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        return done.stdout.split()

    assert completed("llava-ecg", "mea") == ["measure"]
    assert completed("llava-ecg", "ask", "--quantization", "w8a") == ["w8a8", "w8a16"]
    assert completed("llava-ecg", "ask", "--ecg", "rec") == ["record.hea"]
