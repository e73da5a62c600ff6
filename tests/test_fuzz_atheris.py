"""The coverage-guided fuzzer: what it does without atheris, and a second of it where atheris is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from scripts import fuzz, fuzz_atheris

SEED = fuzz.Seed("pair", {"a.hea": b"head", "a.dat": b"samples"}, "a.hea")


def test_every_target_is_there_and_watches_code_of_ours() -> None:
    assert set(fuzz_atheris.WATCHED) == set(fuzz.TARGETS)
    for target, packages in fuzz_atheris.WATCHED.items():
        assert all(find_spec(package) is not None for package in packages)
        left = fuzz_atheris.unwatched(target)
        assert "llava_ecg" in left and "llava_ecg.errors" in left
        assert not any(name == package or name.startswith(f"{package}.") for name in left for package in packages)
    assert "llava_ecg.ecg.formats.npy" in fuzz_atheris.unwatched("claims")


def test_an_input_is_a_place_and_a_content() -> None:
    places = fuzz_atheris.places_of([SEED, fuzz.Seed("one", {"b": b"b"}, "b")])
    assert [(seed.name, name) for seed, name in places] == [("pair", "a.dat"), ("pair", "a.hea"), ("one", "b")]
    assert fuzz_atheris.corpus_of(places) == [b"\0samples", b"\1head", b"\2b"]
    for data, seed in zip(fuzz_atheris.corpus_of(places), (SEED, SEED, places[2][0]), strict=True):
        assert fuzz_atheris.files_of(data, places) == (seed.files, seed.main), "a seed stands for itself"
    assert fuzz_atheris.files_of(b"\4new", places) == ({"a.hea": b"new", "a.dat": b"samples"}, "a.hea")
    assert fuzz_atheris.files_of(b"", places) == ({"a.hea": b"head", "a.dat": b""}, "a.hea")


def test_finds_are_counted_kept_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def target(path: Path) -> None:
        content = path.read_bytes()
        if content == b"bad":
            raise InputError("it is bad")
        assert content != b"worse"

    monkeypatch.setitem(fuzz.TARGETS, "claims", (lambda _: [SEED], target))
    words = ["--target", "claims", "--seconds", "1000", "--keep", str(tmp_path), "--json", str(tmp_path / "a.json")]
    ended: list[int] = []
    options = fuzz_atheris.parser().parse_args(words)
    count = fuzz_atheris.Count(options, fuzz_atheris.places_of([SEED]), fuzz, ended.append)
    for data in (b"\1good", b"\1bad", b"\1worse"):
        count(data)
    assert not ended and sorted(count.outcomes) == [
        f"AssertionError at test_fuzz_atheris.py:{target.__code__.co_firstlineno + 4}",
        "refused",
        "result",
    ]
    assert [each.read_bytes() for each in tmp_path.glob("atheris-*/a.hea")] == [b"worse"]
    count._until = 0.0
    count(b"\1good")
    assert ended == [1] and "claims: 4 inputs" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["outcomes"]["result"] == 2


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fuzz_atheris.main(["--target", "nothing"])
    assert caught.value.code == 2 and "invalid choice: 'nothing'" in capsys.readouterr().err
    if find_spec("atheris") is None:
        assert fuzz_atheris.main([]) == 2
        assert capsys.readouterr().err.rstrip().endswith("use: make fuzz-atheris")


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed; make fuzz-atheris brings it")
def test_a_second_of_it(tmp_path: Path) -> None:
    words = [
        "--target",
        "claims",
        "--seconds",
        "1",
        "--json",
        str(tmp_path / "a.json"),
        "--corpus",
        str(tmp_path / "c"),
    ]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "scripts.fuzz_atheris", *words],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "INFO: Instrumenting llava_ecg.grounding.claims" in run.stderr
    assert "Instrumenting llava_ecg.ecg" not in run.stderr
    assert json.loads((tmp_path / "a.json").read_text())["outcomes"]["result"] > 0
