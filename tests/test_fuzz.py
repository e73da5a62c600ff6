"""A small part of scripts/fuzz.py: mutated files are a result or one sentence, and what is no sentence is found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import parts_of, read
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


def written(seed: fuzz.Seed, folder: Path) -> Path:
    folder.mkdir()
    for name, content in seed.files.items():
        (folder / name).write_bytes(content)
    return folder / seed.main


def test_seeds_are_sound_whole_and_in_parts(tmp_path: Path) -> None:
    """A seed that is refused as it is would never lead behind the first check."""
    seeds = {seed.name: seed for seed in fuzz.seeds_of_readers(None)}
    assert {"segments.hea", "packed.hea", "groups.dcm"} <= seeds.keys()
    for name in seeds:
        path = written(seeds[name], tmp_path / name)
        whole, (seconds, part) = read(path), parts_of(path)
        assert seconds == whole.duration >= 2
        np.testing.assert_allclose(part(0.5, 1.0).signal, whole.window(0.5, 1.0).signal, atol=1e-6, err_msg=name)
    assert np.isnan(read(tmp_path / "segments.hea/segments.hea").signal[:, 500:550]).all()


def test_readers_are_asked_for_wholes_and_for_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(fuzz, "read", lambda path, **part: asked.append(tuple(part)))

    def parts(path: Path) -> tuple[float, Callable[[float, float], None]]:
        return 2.0, lambda start, seconds: asked.append((start, seconds))

    monkeypatch.setattr(fuzz, "parts_of", parts)
    for number in range(60):
        fuzz.read_one(written(fuzz.Seed("a", {"a": bytes([number])}, "a"), tmp_path / str(number)))
    assert all(asked.count(what) > 10 for what in ((), ("start", "seconds"), (0.0, 0.5), (1.5, 0.5)))
    before = list(asked)
    fuzz.read_one(tmp_path / "7" / "a")
    fuzz.read_one(tmp_path / "7" / "a")
    assert len(set(asked[len(before) :])) in (1, 3), "the same input is read in the same way"


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
