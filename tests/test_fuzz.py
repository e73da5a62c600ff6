"""A small part of scripts/fuzz.py: mutated files are a result or one sentence, and what is no sentence is found."""

from __future__ import annotations

import time
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
