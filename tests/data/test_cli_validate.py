"""``llava-ecg validate`` as a person types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.cli.validate import Bar
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate

from ..ecg.test_check import write as write_ecg
from ..test_assistant import folder
from .test_validate import said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ECGs, one without V6, and records of them."""
    place = tmp_path_factory.mktemp("validate")
    signal: np.ndarray = simulate(Heart(rate_bpm=72), seed=3)[0].select().signal
    write_ecg(place, "whole", signal)
    write_ecg(place, "eleven", signal[:11], STANDARD[:11])
    good = [said("Rate?", "72", id=1, ecg="whole.hea"), said("Hello?", "Hello.", id=2)]
    (place / "good.jsonl").write_text("\n".join(map(json.dumps, good)))
    bad = [*good, said("Rate?", "72", id="x", ecg="none.hea"), said("Rate?", "72", id="y\x1b[2J", ecg="eleven.hea")]
    (place / "bad.jsonl").write_text("\n".join(map(json.dumps, bad)) + "\n{\n")
    return place


def test_sound_records(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(place / "good.jsonl"), "--ecg_folder", str(place)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "2 records, no problems\n" and shown.err == ""


def test_problems_as_text_and_as_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", str(place / "bad.jsonl"), "--ecg-folder", str(place), "--processes", "1"]
    assert main(words) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "3 of 5 records with problems: missing 1, leads 1, json 1"
    assert lines[0] == f"{place / 'bad.jsonl'}:3: record 3 'x': missing: there is no {place / 'none.hea'}"
    assert "lacks V6" in lines[1] and "\x1b" not in lines[1] and ":5: record 5: json: " in lines[2]
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["records"], found["bad_records"]) == (5, 3)
    assert found["kinds"] == {"missing": 1, "leads": 1, "json": 1}
    assert [(each["record"], each["line"], each["kind"]) for each in found["problems"]] == [
        (3, 3, "missing"),
        (4, 4, "leads"),
        (5, 5, "json"),
    ]


def test_with_a_model(place: Path, tmp_path: Path, letters: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder(tmp_path, letters))
    words = ["validate", str(place / "good.jsonl"), "--ecg_folder", str(place), "--model", model, "--json"]
    assert main([*words, "--max_length", "2000"]) == 0
    assert main([*words, "--max_length", "60"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {each["kind"] for each in found["problems"]} == {"long", "untaught"}
    assert main([*words, "--max_length", "2000", "--render_pages"]) == 0
    capsys.readouterr()
    bad = ["validate", str(place / "bad.jsonl"), "--ecg_folder", str(place), "--model", model, "--json"]
    assert main([*bad, "--max_length", "2000"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["kinds"] == {"missing": 1, "leads": 1, "json": 1}


def test_progress_is_shown_when_it_takes_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar = Bar()
    for second in range(5):
        now[0] = 100.0 + second
        for _ in range(3):
            bar(1000 * (second + 1), 10_000)
    bar.clear()
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.split("\r")[1] == "3,000 of 10,000 records, 5 s left\x1b[K"
    assert shown.err.count("records") == 3 and shown.err.endswith("\r\x1b[K"), "taken away at the end"
    quick = Bar()
    quick(1, 1)
    quick.clear()
    assert capsys.readouterr().err == ""


def test_several_processes_from_the_command_line(place: Path) -> None:
    data = place / "many.jsonl"
    data.write_text((place / "bad.jsonl").read_text() * 30)
    words = [sys.executable, "-m", "llava_ecg", "validate", str(data), "--ecg_folder", str(place), "--processes", "2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines()[-1] == "90 of 150 records with problems: missing 30, leads 30, json 30"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--max_length", "5"], "--max_length needs a model"),
        (["--render_pages"], "--render_pages needs a model"),
        (["--base", "x"], "--base needs a model"),
    ],
)
def test_flags_that_come_to_nothing(
    place: Path, words: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(place / "good.jsonl"), *words]) == 2
    assert fault in capsys.readouterr().err


def test_no_such_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validate", str(tmp_path / "none.json")]) == 2
    assert "can't read" in capsys.readouterr().err
