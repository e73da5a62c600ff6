"""`llava-ecg ask` and `chat` with checkpoints in the released layouts, by the command line alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.cli import main
from tests.model import released as write


@pytest.fixture(scope="module")
def record(shared: Path) -> Path:
    """A real recording."""
    return next(iter(sorted((shared / "data").rglob("*.hea"))))


def ask(record: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    command = [
        "ask",
        "--ecg",
        str(record),
        "--missing-leads",
        "zero",
        "--max-new-tokens",
        "4",
        "--device",
        "cpu",
        "--json",
        *words,
        "Rhythm?",
    ]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)


def test_every_layout_answers(record: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write.clip_folder(tmp_path / "clip", golden)
    gem = write.gem_golden(tmp_path / "gem", golden).folder
    lm = write.language_model(tmp_path / "lm", golden).folder
    lora = write.lora(tmp_path / "lora", golden, gem).folder
    projectors = write.projectors(tmp_path / "projectors", golden, lm, vision_tower=tmp_path / "clip").folder
    llava = write.llava_15(tmp_path / "llava", golden, "openai/clip-tiny").folder
    for words, streams in (
        ([str(gem)], {"ecg", "image"}),
        ([str(write.gem_qwen(tmp_path / "qwen", golden).folder)], {"ecg", "image"}),
        ([str(write.pulse(tmp_path / "pulse", golden).folder)], {"image"}),
        ([str(write.llava_16(tmp_path / "16", golden, family="mistral").folder)], {"image"}),
        ([str(lora)], {"ecg", "image"}),
        ([str(llava), "--vision-tower", str(tmp_path / "clip")], {"image"}),
        ([str(projectors), "--base", str(lm)], {"image"}),
    ):
        found = ask(record, capsys, "--model", *words)
        assert streams | {"prompt", "new"} == set(found["tokens"]), words
        assert found["tokens"]["new"] > 0
        assert set(found["overrides"]) == {word[2:].replace("-", "_") for word in words[1::2]}


def test_overrides_are_in_the_answer(
    record: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write.gem(tmp_path / "x", golden).folder)
    found = ask(record, capsys, "--model", folder)
    assert found["overrides"] == {}
    assert sum("crops the page" in note for note in found["notes"]) == 1
    changed = ["--prepare", "image.aspect=pad", "--prepare", "ecg.rate=500", "--template", "vicuna_v1"]
    found = ask(record, capsys, "--model", folder, *changed)
    assert found["overrides"] == {"template": "vicuna_v1", "image": {"aspect": "pad"}, "ecg": {"rate": 500}}
    assert not any("crops the page" in note for note in found["notes"])
    assert any("template=vicuna_v1, image.aspect=pad, ecg.rate=500" in note for note in found["notes"])


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantised(kind: str, record: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("bitsandbytes")
    folder = str(write.gem(tmp_path / "x", golden).folder)
    found = ask(record, capsys, "--model", folder, "--quantization", kind)
    assert found["overrides"] == {"quantization": kind}
    assert found["tokens"]["new"] > 0


def test_auto_is_told_in_the_json_and_is_no_note(
    record: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(write.gem(tmp_path / "x", golden).folder)
    for kind, told, noted in (("auto", "auto: w8a8", False), ("w8a8", "w8a8", True)):
        found = ask(record, capsys, "--model", folder, "--quantization", kind)
        assert found["overrides"] == {"quantization": told}
        assert any("not as the checkpoint brings it" in note for note in found["notes"]) == noted


def test_the_crop_is_said_once_in_a_chat(
    record: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    folder = str(write.gem(tmp_path / "x", golden).folder)
    monkeypatch.setattr("sys.stdin", io.StringIO("Rate?\nRhythm?\nAxis?\n"))
    assert (
        main(
            [
                "chat",
                "--ecg",
                str(record),
                "--missing-leads",
                "zero",
                "--model",
                folder,
                "--device",
                "cpu",
                "--max-new-tokens",
                "3",
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.count("crops the page") == 1
