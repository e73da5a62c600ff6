"""Requests that come while others are answered; and memory that is full: fewer slots, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llava_ecg.engine import kept as kept_module
from llava_ecg.engine import slots as slots_module
from llava_ecg.engine.kept import Finished, Kept
from llava_ecg.engine.request import MemoryFull, memory_full
from llava_ecg.engine.run import Engine, Request, _Run
from llava_ecg.engine.sampling import Sampling
from tests.engine.models import built, prompts

pytestmark = pytest.mark.usefixtures("steps")


@pytest.fixture(scope="module")
def llama() -> Any:
    return built("llama")


def made(tokens: int = 30, count: int = 6) -> list[Request]:
    settings = [Sampling(temperature=n % 2 * 1.2, seed=n) for n in range(count)]
    each = enumerate(zip(prompts(count), settings, strict=True))
    return [Request(prompt, tokens + 5 * n, sampling=sampling, tag=n) for n, (prompt, sampling) in each]


def ids(requests: Any) -> dict[int, list[int]]:
    return {request.tag: request.ids for request in requests}


@pytest.fixture(scope="module")
def alone(llama: Any) -> dict[int, list[int]]:
    return {request.tag: request.ids for each in made() for request in Engine(llama).run([each])}


def test_others_go_on_where_nothing_waits(llama: Any, alone: dict[int, list[int]]) -> None:
    """Requests that come one by one, some steps apart, are answered as alone; with nothing to do it is asked again."""
    asked = []

    def coming() -> Iterator[Request | None]:
        yield None
        for request in made():
            yield request
            for _ in range(7):
                asked.append(sum(len(each) for each in given))
                yield None

    given = [request.ids for request in made()]
    requests = iter(coming())
    engine = Engine(llama)
    found = ids(engine.run(requests, 3))
    assert found == alone and len(asked) == 42


def test_a_request_that_comes_late_is_read_while_others_are_answered(llama: Any) -> None:
    one, two = prompts(2)
    first, second = Request(one, 20), Request(two, 3)

    def coming() -> Iterator[Request | None]:
        yield first
        while len(first.ids) < 5:
            yield None
        yield second

    finished = list(Engine(llama).run(coming(), 2))
    assert finished == [second, first] and len(first.ids) == 20


@pytest.mark.parametrize("reuse", [True, False])
def test_full_memory_halves_the_slots_and_changes_no_answer(
    llama: Any, alone: dict[int, list[int]], reuse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two while they grow: four are put back in the midst of their answers, drawn ones too."""
    monkeypatch.setattr(slots_module, "CHUNK", 16)
    engine = Engine(llama, Kept() if reuse else None)
    monkeypatch.setattr(engine, "free_bytes", lambda: 2 * 64 * engine.place_bytes)
    told: list[int] = []
    requests = made()
    assert ids(engine.run(requests, 4, on_fewer=told.append)) == alone
    assert told[0] == 2 and any(request.begun for request in requests)
    with pytest.warns(UserWarning, match="memory is full: . at once from now on"):
        assert ids(engine.run(made(), 4)) == alone


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), "torch"])
@pytest.mark.parametrize("where", ["_read", "_launch", "_keep"])
def test_memory_may_be_full_anywhere(
    llama: Any, alone: dict[int, list[int]], where: str, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, told = [0], []
    work = getattr(_Run, where)

    def failing(self: Any, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] in (2, 5):
            if error == "torch":
                torch.empty(10**15)  # what a CPU says
            raise error
        return work(self, *given)

    monkeypatch.setattr(_Run, where, failing)
    keeping = where == "_keep"
    assert ids(Engine(llama, Kept() if keeping else None).run(made(), 4, on_fewer=told.append)) == alone
    assert calls[0] > 5 and told == ([] if keeping else [2, 1]), "what can't be kept costs no slots"


def test_what_has_no_room_alone_fails_alone(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "CHUNK", 16)
    engine = Engine(llama, Kept())
    monkeypatch.setattr(engine, "free_bytes", lambda: 32 * engine.place_bytes)
    long, short = torch.randn(50, 32), torch.randn(5, 32)
    told: list[int] = []
    given = [Request(short, 4), Request(long, 4), Request(short, 4), Request(short, 60)]
    found = list(engine.run(given, 2, on_fewer=told.append))
    assert len(found) == 4 and told == [1]
    failed = [request for request in given if request.error is not None]
    assert failed == [given[1], given[3]] and all(isinstance(request.error, MemoryFull) for request in failed)
    assert given[0].ids == given[2].ids and len(given[0].ids) == 4
    assert len(given[3].ids) > 20, "what was answered is kept"


def test_other_errors_are_no_full_memory(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Any, ids: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(_Run, "_launch", failing)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(Engine(llama).run(made()))
    assert not memory_full(ValueError("memory")) and memory_full(MemoryError())


def test_so_many_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "MOST", 3)
    kept = Kept()
    for _ in range(5):
        kept.add(Finished(torch.randn(70, 4), torch.zeros(2, 1, 1, 70, 2)))
    assert len(kept) == 3
    kept.clear()
    assert len(kept) == 0 == kept.size
