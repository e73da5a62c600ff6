"""Steps that begin before the one before them was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from llava_ecg.engine.decoder import Decoder
from llava_ecg.engine.run import Engine, Request
from llava_ecg.engine.sampling import Sampling
from llava_ecg.engine.slots import Slots
from llava_ecg.engine.step import Ahead, Known, Steps, size_of
from tests.engine.models import built, prompts


def room(model: Any, count: int) -> tuple[Decoder, Slots]:
    """Slots with a few places of noise in each."""
    decoder = Decoder(model)
    slots = Slots(2, count, decoder.key_heads, decoder.head_width, decoder.weight.detach())
    slots.reserve(20)
    torch.manual_seed(1)
    for row in range(count):
        slots.put(row, torch.randn(2, 2, decoder.key_heads, 3 + row, decoder.head_width))
    return decoder, slots


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 1, 4], [2]])
def test_both_ways_give_the_same_steps(rows: list[int]) -> None:
    """Three steps of five sequences, and of three in a buffer for four."""
    found = []
    for kind in (Known, Ahead):
        decoder, slots = room(built("qwen2, window in some layers"), 5)
        steps: Steps = kind(decoder, slots)
        lengths, ids = [3 + row for row in rows], [7] * len(rows)
        seen = []
        for number in range(3):
            told = steps.launch(rows, lengths, ids if number == 0 or kind is Known else None)
            seen.append(told.scores.clone())
            ids = [token for token, _ in told.read()]
            assert ids == told.scores.argmax(dim=-1).tolist()
            lengths = [length + 1 for length in lengths]
        found.append(torch.stack(seen))
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_sizes() -> None:
    assert [size_of(count, 48) for count in (1, 2, 3, 5, 31, 33, 48)] == [1, 2, 4, 8, 32, 48, 48]


def test_a_step_that_does_not_follow_needs_its_ids() -> None:
    steps = Ahead(*room(built("llama"), 3))
    steps.launch([0, 1], [3, 4], [5, 5]).read()
    with pytest.raises(ValueError, match="not the sequences of the step before"):
        steps.launch([0, 2], [4, 5], None)
    with pytest.raises(ValueError, match="not the sequences of the step before"):
        steps.launch([0, 1], [3, 4], None)
    with pytest.raises(ValueError, match="when its ids are known"):
        Known(*room(built("llama"), 3)).launch([0], [3], None)


def test_the_next_step_begins_before_this_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """But where a token is drawn, and not beyond the last token."""
    launched: list[bool] = []
    launch = Ahead.launch

    def watched(self: Ahead, rows: Sequence[int], lengths: Sequence[int], ids: Sequence[int] | None) -> Any:
        launched.append(ids is None)
        return launch(self, rows, lengths, ids)

    monkeypatch.setattr(Ahead, "launch", watched)
    engine = Engine(built("llama"), ahead=True)
    came: list[int] = []

    def on_token(token: int) -> bool:
        came.append(len(launched))
        return False

    list(engine.run([Request(prompts(1)[0], 6, on_token=on_token)]))
    assert launched == [False, True, True, True, True], "a token of the prompt, then five steps"
    assert came == [0, 2, 3, 4, 5, 5], "each step but the last was begun before the one before it was told"
    launched.clear()
    list(engine.run([Request(prompts(1)[0], 6, sampling=Sampling(temperature=1.0))]))
    assert launched == [False] * 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["llama", "mistral, window", "qwen2, window in some layers"])
def test_a_captured_graph_gives_the_steps_of_the_slow_way(name: str) -> None:
    """In float32, where attention is masked; slots are filled anew and grow meanwhile."""
    model, given, lengths = built(name).cuda(), prompts(7), (300, 3, 60, 7, 25, 1, 40)
    found = []
    for ahead in (False, True):
        engine = Engine(model, ahead=ahead)
        for _ in range(2):  # the second run takes over the first one's graphs
            requests = [Request(each.cuda(), tokens) for each, tokens in zip(given, lengths, strict=True)]
            list(engine.run(requests, 3))
            found.append([request.ids for request in requests])
    assert all(ids == found[0] for ids in found)
