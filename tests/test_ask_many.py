"""`llava-ecg ask --out answers.jsonl`: a line for each of many ECGs, kept whatever ends the run."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg import cli
from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.data.journal import Journal
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.files import read_recording, records_of
from tests.test_assistant import folder

Run = Callable[..., tuple[int, str, str]]
COUNT = 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    return folder(tmp_path_factory.mktemp("many"), letters, ("ecg",), derive=False)


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ECGs, one of them broken, and what is none."""
    place = tmp_path_factory.mktemp("ecgs")
    (place / "deeper").mkdir()
    for number in range(COUNT):
        recording = simulate(seed=number)[0]
        at = place / "deeper" if number % 2 else place
        np.savez(at / f"{number}.npz", signal=recording.signal, rate=500, unit="mV", leads=recording.leads)
    (place / "broken.npy").write_bytes(b"none")
    (place / "README.txt").write_text("no ECG")
    (place / "0.json").write_text("{}")
    (place / ".hidden.npy").write_bytes(b"none")
    return place


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Run ``ask`` on the tiny model: (exit code, standard output, standard error)."""

    def run(*words: Any) -> tuple[int, str, str]:
        try:
            code = cli.main([str(word) for word in ("ask", "--model", model, "--max-new-tokens", 9, *words)])
        except SystemExit as left:
            code = int(str(left.code))
        return code, *capsys.readouterr()

    return run


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert (code, out) == (2, ""), result
    assert all(word in err.splitlines()[-1] for word in words), err


def test_a_line_for_each_also_for_the_broken_one(run: Run, ecgs: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "new" / "answers.jsonl"
    code, said, err = run("--ecg", ecgs, "--out", out, "--batch", 3, "Rate?")
    assert code == 1 and f"{COUNT + 1} ECGs, a line each in {out}, 1 of them failed" in said
    assert f"{COUNT + 1} of {COUNT + 1}, " in err and " a minute, 0:00 left" in err
    lines = {line["file"]: line for line in lines_of(out)}
    assert len(lines_of(out)) == len(lines) == COUNT + 1
    broken = lines.pop(str(ecgs / "broken.npy"))
    assert broken["answer"] is None and "broken.npy" in broken["error"]
    assistant = Assistant.open(model, device="cpu")
    for path, line in lines.items():
        alone = assistant.ask([Turn("user", "Rate?")], Case(read_recording(Path(path))), Decoding(max_new_tokens=9))
        assert (line["answer"], line["question"], line["error"]) == (alone.text, "Rate?", None)
        assert line["measurements"]["heart_rate_bpm"] > 30 and line["finished"] == "length"
    again = out.read_bytes()
    code, said, err = run("--ecg", ecgs, "--out", out, "Rate?")
    assert (code, out.read_bytes()) == (1, again) and "7 of 7 are there already" in err
    assert "loading" not in err, "with nothing to ask no model is opened"


def test_another_question_or_other_settings_do_not_mix(run: Run, ecgs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert run("--ecg", ecgs / "0.npz", "--out", out, "Rate?")[0] == 0
    refused(run("--ecg", ecgs / "0.npz", "--out", out, "Axis?"), "holds answers to 'Rate?'")
    refused(run("--ecg", ecgs / "0.npz", "--out", out, "--seed", 4, "Rate?"), "other settings (seed)")
    refused(run("--ecg", ecgs / "0.npz", "--out", out, "--prepare", "ecg.rate=400", "Rate?"), "(preparation)")
    refused(run("--ecg", ecgs / "0.npz", "--out", out, "--stop", "x", "Rate?"), "other settings (stop)")
    assert "stop" not in lines_of(out)[0]["settings"], "runs of before there was --stop go on"
    assert run("--ecg", ecgs, "--out", out, "Rate?")[0] == 1, "more ECGs are no other setting"
    assert len(lines_of(out)) == COUNT + 1


def test_stop_texts_are_a_setting(run: Run, ecgs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    assert run("--ecg", ecgs / "0.npz", "--out", tmp_path / "whole.jsonl", "Rate?")[0] == 0
    whole = lines_of(tmp_path / "whole.jsonl")[0]["answer"]
    stops = ("--stop", whole[4:6], "--stop", "never")
    assert run("--ecg", ecgs / "0.npz", "--out", out, *stops, "Rate?")[0] == 0
    (line,) = lines_of(out)
    assert (line["answer"], line["finished"]) == (whole[: whole.index(whole[4:6])].strip(), "stop")
    assert line["settings"]["stop"] == [whole[4:6], "never"]
    code, _, err = run("--ecg", ecgs / "0.npz", "--out", out, *stops, "Rate?")
    assert code == 0 and "1 of 1 are there already" in err
    refused(run("--ecg", ecgs / "0.npz", "--out", out, *stops[:2], "Rate?"), "other settings (stop)")
    refused(run("--ecg", ecgs / "0.npz", "--out", out, "Rate?"), "other settings (stop)")


def test_what_stands_for_many(ecgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["0.npz", "2.npz", "4.npz", "broken.npy", "deeper/1.npz", "deeper/3.npz", "deeper/5.npz"]
    assert records_of(ecgs) == [ecgs / name for name in names]
    assert records_of(ecgs / "*.npz") == [ecgs / name for name in names[:3]]
    assert records_of(ecgs / "**" / "[13].npz") == [ecgs / name for name in names[4:6]]
    monkeypatch.chdir(ecgs)
    assert records_of(Path("*.npz")) == [Path(name) for name in names[:3]]
    listed = tmp_path / "list.txt"
    listed.write_text("0.npz\n\n none.npz \n")
    assert records_of(listed) == [Path("0.npz"), Path("none.npz")]
    assert records_of(Path("0.npz")) == [Path("0.npz")]
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no list of files"):
        records_of(listed)
    with pytest.raises(InputError, match="no such file or folder"):
        records_of(ecgs / "none")


def test_headers_stand_for_their_signal_files(tmp_path: Path) -> None:
    for name in ("a.hea", "a.dat", "b.hea", "b.mat", "notes.json"):
        (tmp_path / name).touch()
    assert [path.name for path in records_of(tmp_path)] == ["a.hea", "b.hea"]


def test_a_listed_file_that_is_not_there_fails_alone(run: Run, ecgs: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{ecgs / 'none.npz'}\n{ecgs / '0.npz'}\n{ecgs / '0.npz'}\n")
    assert run("--ecg", listed, "--out", tmp_path / "a.jsonl")[0] == 1
    first, second = lines_of(tmp_path / "a.jsonl")
    assert first["error"].startswith("no such file") and second["error"] is None, (
        "and one that stands twice is asked once"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ecg", "E", "--batch", 4], "--batch is for many ECGs"),
        (["--ecg", "E"], "stands for many ECGs; with --out FILE.jsonl"),
        (["--ecg", "E/*.npz"], "stands for many ECGs; with --out FILE.jsonl"),
        (["--ecg", "E", "--ecg", "E", "--out", "O"], "takes one --ecg"),
        (["--image", "E/a.png", "--out", "O"], "--image is for one ECG"),
        (["--ecg", "E", "--out", "O", "--page", "p.png"], "--page is for one ECG"),
        (["--ecg", "E", "--out", "O", "--json"], "--json is for one ECG"),
        (["--ecg", "E/none*", "--out", "O"], "holds no ECG"),
        (["--ecg", "E/0.npz", "--top-k", 3], "nothing is drawn at --temperature 0"),
        (["--ecg", "E", "--out", "O", "--batch", 0], "batch must be a whole number from 1"),
    ],
)
def test_flags_that_do_not_go_together(words: list[Any], said: str, run: Run, ecgs: Path, tmp_path: Path) -> None:
    named = [str(word).replace("E", str(ecgs)).replace("O", str(tmp_path / "a.jsonl")) for word in words]
    refused(run(*named), said)
    assert not (tmp_path / "a.jsonl").exists()


def test_two_runs_do_not_write_one_file(run: Run, ecgs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    with out.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(run("--ecg", ecgs, "--out", out), "another run is writing to")
    assert run("--ecg", ecgs / "0.npz", "--out", out)[0] == 0


def test_a_foreign_file_stays_as_it_is(run: Run, ecgs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    for content in ('{"mine": 1}', '{"mine": 1}\n', "words", "[1]\n", '{"file": "a"}\n'):
        out.write_text(content)
        refused(run("--ecg", ecgs, "--out", out), "choose another file")
        assert out.read_text() == content


def test_a_broken_off_line_is_taken_away_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path, "file") as journal:
        journal.add({"file": "ä", "n": 1})
        kept = path.stat().st_size
        journal.add({"file": "b", "n": 2})
    whole = path.read_bytes()
    for size in range(kept, len(whole)):
        path.write_bytes(whole[:size])
        with Journal(path, "file") as journal:
            assert (journal.lines, journal.torn) == ([{"file": "ä", "n": 1}], size - kept)
            journal.add({"file": "b", "n": 2})
        assert path.read_bytes() == whole


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write = os.write

    def full(file: int, data: Any) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return write(file, data[:-5])

    with Journal(path, "file") as journal:
        journal.add({"file": "a"})
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"No space left.*what is in it is kept"):
            journal.add({"file": "b" * 20})
        monkeypatch.setattr(os, "write", write)
    assert path.read_text() == '{"file": "a"}\n'


@pytest.mark.parametrize("given", [None, "PASSIVE"])
def test_threads_wait_awake_for_a_moment_only(
    given: str | None, run: Run, ecgs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")  # and put back what was there
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert run("--ecg", ecgs / "0.npz", "--out", tmp_path / "a.jsonl")[0] == 0
    assert os.environ.get("GOMP_SPINCOUNT") == ("4000" if given is None else None)
    assert os.environ.get("OMP_WAIT_POLICY") == given


def test_killed_at_any_time_nothing_is_lost_and_nothing_doubled(
    run: Run, ecgs: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    words = ["ask", "--model", model, "--max-new-tokens", 9, "--ecg", ecgs, "--out", out, "--batch", 2, "Rate?"]
    program = [sys.executable, "-m", "llava_ecg", *map(str, words)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if out.exists() and out.read_bytes().count(b"\n") >= 2:
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = out.read_bytes()
    assert before.count(b"\n") >= 2
    out.write_bytes(before + b'{"file": "half a li')
    code, _, err = run("--ecg", ecgs, "--out", out, "--batch", 2, "Rate?")
    assert code == 1 and ("an unfinished last line was taken away" in err)
    assert out.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    assert Counter(line["file"] for line in lines_of(out)) == Counter(map(str, records_of(ecgs)))
