"""scripts/bench/evaluate.py measures what it says: the same answers every way, and a share of time that adds up."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("inspect_ai", reason="the harness is the extra eval")

from llava_ecg.assistant import Assistant
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.eval import harness
from llava_ecg.eval.marking import Labels
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.provider import AssistantAPI
from llava_ecg.eval.tasks import EvalTask
from scripts.bench import evaluate as bench
from tests.test_assistant import folder


def test_the_time_in_which_something_is_answered_counts_once() -> None:
    assert bench.union([]) == 0.0
    assert bench.union([(5.0, 6.0), (1.0, 3.0), (2.0, 2.5), (2.0, 4.0)]) == 4.0


def asked_slowly(_: Any, *asked: Any) -> Any:
    time.sleep(0.02)
    return asked


def test_spans_are_those_of_the_answers_and_the_provider_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AssistantAPI, "_ask", asked_slowly)
    before = AssistantAPI._ask
    with bench.spans() as found:
        assert AssistantAPI._ask(object(), 1, 2, 3) == (1, 2, 3)  # type: ignore[arg-type]
    assert AssistantAPI._ask is before
    [(begun, ended)] = found
    assert ended - begun >= 0.02


def test_every_way_gives_the_same_answers(tmp_path: Path, letters: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = folder(tmp_path / "model", letters, ("ecg",), derive=False)
    blocks = []
    for number, rate in enumerate((50.0, 75.0, 120.0)):
        recording, _ = simulate(Heart(rate_bpm=rate), seed=3)
        path = tmp_path / f"{number}.npz"
        np.savez(path, signal=recording.signal, rate=recording.rate, unit="mV", leads=np.array(recording.leads))
        blocks.append({"ecg": str(path)})
    rows = [
        {"name": f"q{number}", "question": "Which?", "truth": ("NORM",), "sources": (block,)}
        for number, block in enumerate(blocks)
    ]
    task = EvalTask("bench_try", "three hearts", "", lambda data: rows, "{question}", Labels((Label("NORM"),)))
    monkeypatch.setattr(harness, "chosen", lambda name: [task])
    opener = functools.partial(Assistant.open, str(model), device="cpu")
    found = bench.measured(opener, task, tmp_path, questions=3, batch=2, rounds=2, tokens=5)
    assert found["same_answers"] == 3
    assert [len(each) for each in found["seconds"].values()] == [2, 2, 2]
    assert 0 < found["harness_percent"] < 100, "something is always the harness's, and never all of it"
    assert found["eval_over_loop"] == pytest.approx(
        found["questions_a_second"]["eval"] / found["questions_a_second"]["loop"], rel=0.1
    )
    with pytest.raises(SystemExit, match="has 3 questions below .* not 4"):
        bench.measured(opener, task, tmp_path, questions=4, batch=2, rounds=1, tokens=5)
