"""A tiny model on random weights behind the provider: likelihoods, answers together, and what a log says of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llava_ecg.assistant import Answer, Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.eval import fingerprint
from llava_ecg.eval.likelihood import likelihoods
from llava_ecg.eval.together import Together
from tests.test_assistant import folder

TURNS = [Turn("user", "Which?")]
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    return folder(tmp_path_factory.mktemp("eval"), letters, ("ecg",), derive=False)


@pytest.fixture(scope="module")
def assistant(model: Path) -> Assistant:
    return Assistant.open(str(model), device="cpu")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [Case(simulate(Heart(rate_bpm=rate), seed=3)[0]) for rate in (50.0, 75.0, 120.0)]


def test_likelihoods_are_those_of_one_answer_at_a_time(assistant: Assistant, cases: list[Case]) -> None:
    """The slow, obvious way: each answer in a sequence of its own, token by token."""
    answers = ("NORM", "MI", "STTC")
    found = likelihoods(assistant, TURNS, cases[0], answers)
    sample, _ = assistant.processor.encode(TURNS, cases[0].sources(False))
    inputs = assistant._batch(sample)
    network: Any = assistant.checkpoint.model
    logs = []
    with torch.no_grad():
        for answer in answers:
            embeddings = network.embed(inputs["input_ids"], inputs["slots"], inputs["streams"])
            total = 0.0
            for token in assistant.checkpoint.tokenizer.encode(answer, add_special_tokens=False):
                scores = network.language_model(inputs_embeds=embeddings).logits[0, -1]
                total += float(scores.log_softmax(-1)[token])
                more = network.get_input_embeddings()(torch.tensor([[token]]))
                embeddings = torch.cat([embeddings, more], dim=1)
            logs.append(total)
    expected = np.exp(np.array(logs) - max(logs))
    np.testing.assert_allclose(list(found.values()), expected / expected.sum(), rtol=1e-4)
    assert list(found) == list(answers)
    assert likelihoods(assistant, TURNS, cases[2], answers) != found
    with pytest.raises(InputError, match="none or an empty one"):
        likelihoods(assistant, TURNS, cases[0], ["NORM", ""])


def test_together_gives_each_its_own_answer(assistant: Assistant, cases: list[Case]) -> None:
    alone = [assistant.ask(TURNS, case, SHORT).text for case in cases]
    together = Together(assistant, 3)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda case: together.ask(TURNS, case, SHORT), cases * 2))
    assert [answer.text for answer in found] == alone * 2
    with pytest.raises(InputError, match="nothing"):
        together.ask(TURNS, Case(), SHORT)
    assert together.ask(TURNS, cases[1], SHORT).text == alone[1]


def test_together_really_answers_several_at_once(assistant: Assistant, cases: list[Case]) -> None:
    """The first of three is held until all three wait; one at a time would hang here."""
    most = 0
    all_there = threading.Barrier(3, timeout=20)
    together = Together(assistant, 3)
    real = together._next

    def counted() -> Any:
        nonlocal most
        for asked in real():
            most = max(most, len(together._active))
            yield asked

    together._next = counted  # type: ignore[method-assign]

    def ask(case: Case) -> Answer:
        all_there.wait()
        return together.ask(TURNS, case, Decoding(max_new_tokens=40))

    with ThreadPoolExecutor(3) as pool:
        assert len(list(pool.map(ask, cases))) == 3
    assert most > 1


def test_what_breaks_a_run_is_told_to_all_who_wait(cases: list[Case]) -> None:
    class Broken:
        def prepare(self, question: Any, decoding: Any) -> Any:
            return question

        def run(self, asked: Any, slots: int) -> Any:
            next(iter(asked))
            raise RuntimeError("the memory is gone")

    together = Together(Broken(), 2)  # type: ignore[arg-type]
    for case in cases[:2]:
        with pytest.raises(RuntimeError, match="the memory is gone"):
            together.ask(TURNS, case, SHORT)


def test_fingerprints(model: Path, assistant: Assistant, tmp_path: Path) -> None:
    told = fingerprint.of_assistant(assistant)
    assert (told["template"], told["dtype"], told["device"]) == ("v1", "float32", "cpu")
    assert "samples=" in told["preparation"]["ecg"]
    again = fingerprint.of_assistant(Assistant.open(str(model), device="cpu"))
    assert again["checkpoint_fingerprint"] == told["checkpoint_fingerprint"]
    other = Assistant.open(str(model), device="cpu")
    with torch.no_grad():
        next(iter(other.checkpoint.model.parameters())).add_(1)
    assert fingerprint.of_assistant(other)["checkpoint_fingerprint"] != told["checkpoint_fingerprint"]
    (tmp_path / "a.json").write_text("1")
    one = fingerprint.of_files([tmp_path])
    (tmp_path / "a.json").write_text("2")
    assert fingerprint.of_files([tmp_path]) != one


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/ptbxl").mkdir(parents=True)
    recordings = [simulate(Heart(rate_bpm=rate), seed=3)[0].resample(250) for rate in (50, 75, 99)]
    steps = [np.round(each.signal[:, :2500] * 1000) for each in recordings]
    np.save(tmp_path / "data/ptbxl/signals_250hz_int16.npy", np.array(steps, dtype=np.int16))
    rows = ["row,ecg_id,patient_id,strat_fold,super_class,rhythm"]
    rows += ["0,10,1,9,NORM,SR", "1,11,2,9,MI|STTC,AFIB", "2,12,3,9,NORM,SR"]
    (tmp_path / "data/ptbxl/labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "data"


def test_a_run_with_batches_and_likelihoods(
    data: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through the command: the true AUC is there, batches give the same answers, and the log names the checkpoint."""
    pytest.importorskip("inspect_ai", reason="the extra eval brings it")
    import json

    from llava_ecg.cli import main

    given = ["eval", "--tasks", "ptbxl_super", "--data", str(data), "--model", str(model), "--max-new-tokens", "5"]
    more = ["--json", "--device", "cpu"]
    assert main([*given, *more, "--out", str(tmp_path / "one"), "--likelihoods"]) == 0
    [one] = json.loads(capsys.readouterr().out)["tasks"]
    assert 0 <= one["scores"]["figures"]["auc"]["value"] <= 1
    assert one["stands_on"]["template"] == "v1" and len(one["stands_on"]["checkpoint_fingerprint"]) == 16
    waiting: list[int] = []
    real = Together.ask
    count = threading.Semaphore(0)

    def counted(self: Together, *told: Any) -> Answer:
        count.release()
        waiting.append(count._value)
        try:
            return real(self, *told)
        finally:
            count.acquire()

    monkeypatch.setattr(Together, "ask", counted)
    assert main([*given, *more, "--out", str(tmp_path / "two"), "--batch", "2"]) == 0
    assert max(waiting) == 2  # of three questions
    [two] = json.loads(capsys.readouterr().out)["tasks"]
    assert "auc" not in two["scores"]["figures"]
    from llava_ecg.eval.runs import outcomes

    [first], [second] = outcomes(tmp_path / "one"), outcomes(tmp_path / "two")
    assert [each.text for each in first.told] == [each.text for each in second.told]
    assert sum(first.told[0].more["likelihoods"].values()) == pytest.approx(1)
