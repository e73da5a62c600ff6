"""A small part of scripts/fuzz.py: mutated files are a result or one sentence, and what is no sentence is found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from scripts import fuzz


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_mutations_are_results_or_sentences(name: str) -> None:
    seeds, target = fuzz.TARGETS[name][0](None), fuzz.TARGETS[name][1]
    fuzz.target_once(seeds, target)
    found = {number: fuzz.attempt(seeds[number % len(seeds)], target, number, None) for number in range(300)}
    assert set(found.values()) <= {"result", "refused"}, {
        n: said for n, said in found.items() if said not in ("result", "refused")
    }
    assert len(set(found.values())) == 2 or name == "claims", "mutations reach behind the first check"


def test_some_seeds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fuzz.py", "--targets", "claims", "--count", "6", "--json", str(tmp_path / "a.json"), "--seeds"]
    monkeypatch.setattr(sys, "argv", [*words, "0.txt", "2.txt"])
    assert fuzz.main() == 0
    told = json.loads((tmp_path / "a.json").read_text())["targets"]["claims"]
    assert (told["inputs"], told["seeds"]) == (6, 2)
    monkeypatch.setattr(sys, "argv", [*words, "0.txt", "9.txt"])
    with pytest.raises(SystemExit):
        fuzz.main()
    assert "claims has no such seed; it has 0.txt, 1.txt, 2.txt" in capsys.readouterr().err


def test_what_is_no_sentence_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = fuzz.Seed("a", {"a": b"0123456789"}, "a")

    def tried(target: object) -> str:
        return fuzz.attempt(seed, target, 1, tmp_path)  # type: ignore[arg-type]

    def refuse(path: Path) -> None:
        raise InputError(f"{path} \x1b[2J")

    assert tried(lambda path: None) == "result"
    assert tried(lambda path: 1 / 0).startswith("ZeroDivisionError at test_fuzz.py")
    assert tried(refuse) == "a message with control characters"
    assert tried(lambda path: (path.parent / "b").write_text("")) == "another file beside the input"
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    assert tried(lambda path: time.sleep(5)) == "over 1 s"
    assert (tmp_path / "a-1" / "a").is_file(), "finds are kept"


def test_what_a_reader_made_a_sentence_of_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers make a sentence of whatever a library raises, which must hide neither time nor memory."""
    monkeypatch.setattr(fuzz, "SECONDS", 1)

    def outcome(work: Callable[[], object]) -> str:
        def target(path: Path) -> None:
            try:
                work()
            except Exception as error:
                raise InputError("it can't be read") from error

        return fuzz.outcome_of({"a": b""}, "a", target, None)

    def full() -> None:
        raise MemoryError

    def deaf() -> None:
        signal.alarm(0)
        time.sleep(2.1)

    assert outcome(lambda: 1 / 0) == "refused"
    assert outcome(full) == "over 1024 MB"
    assert outcome(lambda: time.sleep(5)) == "over 1 s"
    assert outcome(deaf) == "over 1 s", "as where a library does not return"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to see what another process holds")
def test_memory_of_another_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "BYTES", 64 << 20)
    words = [sys.executable, "-c", "held = bytearray(99 << 20); del held; print('full', flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        read = process.stdout.readline
        assert fuzz.outcome_of({"a": b""}, "a", lambda path: read(), None).startswith("over 64 MB in another process (")
        assert fuzz.outcome_of({"a": b""}, "a", lambda path: None, None) == "result", "only what the input did"
        process.kill()
