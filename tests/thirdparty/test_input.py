"""``ask`` and ``chat`` with ``--input NAME=PATH``: files for the streams of a package from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llava_ecg.case import Case
from llava_ecg.cli import main
from llava_ecg.ecg.simulate import simulate
from llava_ecg.streams import StreamConfig
from tests.thirdparty.conftest import run as in_a_process

COCA = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
RHYTHM = {"samples": 600, "patch": 50, "width": 16}
ASK = ["ask", "--device", "cpu", "--max-new-tokens", "2", "--model"]


@pytest.fixture(scope="module")
def model(plugged: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the released ECG tower's kind and the package's."""
    from llava_ecg.checkpoint.places.find import find
    from llava_ecg.checkpoint.tokenizer import load_tokenizer
    from llava_ecg.model.loading import compose
    from llava_ecg.model.saving import save_checkpoint

    torch.manual_seed(3)
    streams = {
        "ecg": StreamConfig("ecg_coca", COCA, preparation={"leads": "standard", "rate": 500}),
        "rhythm": StreamConfig("rhythm", RHYTHM, "gated", preparation={"rate": 100.0, "lead": "II"}),
    }
    folder = tmp_path_factory.mktemp("model") / "two"
    save_checkpoint(
        compose(str(base), streams, template="terse", model_max_length=1024), load_tokenizer(find(str(base))), folder
    )
    return folder


@pytest.fixture(scope="module")
def strips(plugged: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from llava_ecg_example.reader import write_strip

    folder = tmp_path_factory.mktemp("strips")
    for number in range(2):
        recording = simulate(seed=number, rate=250)[0]
        write_strip(folder / f"{number}.strip", recording, recording.leads)
    return [str(folder / f"{number}.strip") for number in range(2)]


@pytest.mark.parametrize(
    ("words", "ecg", "rhythm"),
    [
        (["--input", "rhythm={0}"], 0, 12),
        (["--ecg", "{0}", "--input", "rhythm={1}"], 101, 12),
        (["--ecg", "{0}", "--ecg", "{1}", "--input", "rhythm={0}", "--input", "rhythm={1}"], 202, 24),
        (["--ecg", "{0}", "--input", "rhythm={0}", "--input", "rhythm={1}"], 101, 24),
    ],
    ids=["alone", "beside an ECG", "two of each", "a second strip"],
)
def test_a_file_reaches_its_stream(
    words: list[str], ecg: int, rhythm: int, model: Path, strips: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ASK, str(model), "--json", *(word.format(*strips) for word in words), "Fast?"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["tokens"]["ecg"], told["tokens"]["rhythm"]) == (ecg, rhythm)
    assert [name for name, _ in told["files"]["input"]] == ["rhythm"] * (rhythm // 12)
    nothing = "no ECG was given, so measurements are not available and the answer can't be audited"
    assert (nothing in told["notes"]) == (ecg == 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "strip={0}"], "has no stream 'strip'; its streams are ecg, rhythm"),
        (["--input", "rhythm=none.strip"], "no such file: none.strip (of --input rhythm)"),
        (["--ecg", "{0}", "--out", "a.jsonl", "--input", "rhythm={0}"], "--input is for one question"),
        ([], "nothing to ask about"),
    ],
)
def test_what_can_not_be_meant(
    words: list[str], said: str, model: Path, strips: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ASK, str(model), *(word.format(*strips) for word in words), "Fast?"]) == 2
    err = capsys.readouterr().err
    assert said in err.splitlines()[-1]


@pytest.mark.parametrize("word", ["rhythm", "=a", "ecg=a.hea"])
def test_a_word_that_names_no_stream_and_file(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["ask", "--input", word])
    assert left.value.code == 2 and ("NAME=PATH" if word != "ecg=a.hea" else "--ecg a.hea") in capsys.readouterr().err


def test_a_chat_about_a_strip(
    model: Path, strips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    lines = iter(["Fast?", f"/save {tmp_path / 'said.json'}"])

    def read_line(_: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("llava_ecg.terminal.line_reader", lambda *_: read_line)
    chat = ["chat", "--device", "cpu", "--max-new-tokens", "2", "--model", str(model)]
    assert main([*chat, "--input", f"rhythm={strips[0]}"]) == 0
    out = capsys.readouterr().out
    assert f"rhythm   {strips[0]}" in out and "nothing is open yet" not in out
    told = json.loads((tmp_path / "said.json").read_text())
    assert told["input"] == {"rhythm": strips[0]} and len(told["exchanges"]) == 1
    assert main([*chat, "--input", f"rhythm={strips[0]}", "--input", f"rhythm={strips[1]}"]) == 2
    assert "twice" in capsys.readouterr().err


def test_the_command_line_finds_the_package(
    model: Path, strips: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    words = ["llava_ecg", *ASK, str(model), "--input", f"rhythm={strips[0]}", "Fast?"]
    done = in_a_process(words, environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"rhythm   {strips[0]}" in done.stdout


def test_what_was_measured_stays() -> None:
    case = Case(simulate(seed=1)[0])
    found = case.measurements
    assert case.with_inputs({"rhythm": 1}).measurements is found
