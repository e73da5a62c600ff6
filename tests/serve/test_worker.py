"""The worker: who is in a run that breaks is told, and the next is answered; memory that is full costs slots, once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llava_ecg.assistant import Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.recording import Recording
from llava_ecg.engine import run as engine_run
from llava_ecg.errors import InputError
from tests.serve.running import asking, file_part, packed, serving


def test_a_run_that_breaks_is_told_and_begun_anew(
    served: Assistant, assistant: Assistant, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = file_part("a.npz", packed(recordings[0]))
    step = engine_run._Run._go_on
    broken = [True]

    def breaking(self: Any, given: Any) -> None:
        if broken[0]:
            raise RuntimeError("of Jane Doe")
        step(self, given)

    monkeypatch.setattr(engine_run._Run, "_go_on", breaking)
    with serving(served) as running:
        for _ in range(3):
            found = running.post(asking(part))
            assert (found.status_code, found.json()["error"]["code"]) == (500, "broken")
        assert running.get("/health").status_code == 503, "a balancer sends nobody here any more"
        assert "run broke" in running.post(asking(part, stream=True)).text
        assert sum("begins anew" in line for line in running.lines) == 4
        assert not [line for line in running.lines if "Jane" in line]
        broken[0] = False
        wanted = assistant.ask([Turn("user", "Rate?")], Case(recordings[0]), Decoding(max_new_tokens=12)).text
        assert running.post(asking(part)).json()["choices"][0]["message"]["content"] == wanted
        assert running.get("/health").status_code == 200


def test_memory_that_is_full_costs_slots_and_no_answer(
    tiny: Any, assistant: Assistant, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and values of two find room, and four ask: streamed answers go on where they were, and one line says it."""
    served = Assistant.open(tiny, device="cpu")
    engine = served._runner()
    assert engine is not None
    room = 2 * 512 * engine.place_bytes
    monkeypatch.setattr(engine, "free_bytes", lambda: room)
    wanted = [
        assistant.ask([Turn("user", "Rate?")], Case(each), Decoding(max_new_tokens=40, temperature=1, seed=n)).text
        for n, each in enumerate(recordings)
    ]
    with serving(served, slots=4) as running, ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(running.post, asking(file_part("a.npz", packed(each)), max_tokens=40, temperature=1, seed=n))
            for n, each in enumerate(recordings)
        ]
        found = [each.result().json()["choices"][0]["message"]["content"] for each in asked]
        assert found == wanted
        assert running.service.worker.slots == 2
        assert [line for line in running.lines if "memory" in line] == [
            "memory is full: 2 requests at once from now on"
        ]
        assert "llava_ecg_memory_full_total 1" in running.get("/metrics").text
        assert running.get("/health").json()["slots"] == 2


def test_what_has_no_room_alone_fails_alone(
    tiny: Any, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Assistant.open(tiny, device="cpu")
    engine = served._runner()
    assert engine is not None
    room = 512 * engine.place_bytes
    monkeypatch.setattr(engine, "free_bytes", lambda: room)
    part = file_part("a.npz", packed(recordings[0]))
    with serving(served, slots=2) as running, ThreadPoolExecutor() as pool:
        long = pool.submit(running.post, asking(part, text="x " * 200))
        short = pool.submit(running.post, asking(part))
        assert (long.result().status_code, long.result().json()["error"]["code"]) == (503, "memory_full")
        assert long.result().headers["x-should-retry"] == "false"
        assert short.result().status_code == 200
        assert running.post(asking(part)).status_code == 200


def test_a_language_model_that_the_engine_does_not_know(
    tiny: Any, assistant: Assistant, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = file_part("a.npz", packed(recordings[0]))
    wanted = assistant.ask([Turn("user", "Rate?")], Case(recordings[0]), Decoding(max_new_tokens=12)).text
    monkeypatch.setattr("llava_ecg.assistant.refusal", lambda model: "it is another one")
    with serving(Assistant.open(tiny, device="cpu")) as running:
        found = running.post(asking(part)).json()
        assert found["choices"][0]["message"]["content"] == wanted
        assert "it is another one" in found["llava_ecg"]["notes"][0]
        streamed = running.post(asking(part, stream=True)).text
        assert streamed.endswith("data: [DONE]\n\n") and streamed.count("data: ") > 4


def test_questions_are_prepared_by_several_threads(assistant: Assistant, recordings: list[Recording]) -> None:
    """Each gets the sequence that it gets alone, whoever prepares beside."""
    alone = [assistant.prepare(Question([Turn("user", "a")], Case(each))) for each in recordings]

    def prepared(number: int) -> Any:
        case = Case(recordings[number % len(recordings)])
        return assistant.prepare(Question([Turn("user", "a")], case)).request

    with ThreadPoolExecutor(8) as pool:
        for number, request in enumerate(pool.map(prepared, range(80))):
            wanted = alone[number % len(alone)].request
            assert wanted is not None and (request.embeddings == wanted.embeddings).all()
    with pytest.raises(InputError):
        assistant.prepare(Question([Turn("user", "a")], Case()))
