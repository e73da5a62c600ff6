"""The step gives transformers' tokens and scores: every family, every scaling of positions, alone and in a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llava_ecg.engine import slots as slots_module
from llava_ecg.engine.decoder import Decoder, refusal
from llava_ecg.engine.run import Engine, Request
from llava_ecg.engine.sampling import Sampling
from llava_ecg.errors import InputError
from tests.engine.models import CONFIGS, SIZES, WIDTH, built, prompts, slow

pytestmark = pytest.mark.usefixtures("steps")


def watched(requests: list[Request]) -> list[list[torch.Tensor]]:
    """The scores of each request's tokens, as they come."""
    seen: list[list[torch.Tensor]] = [[] for _ in requests]
    for number, request in enumerate(requests):
        request.tag = number

        def taking(scores: torch.Tensor, *more: Any, take: Any = request.take, to: Any = seen[number]) -> None:
            to.append(scores.clone())
            take(scores, *more)

        vars(request)["take"] = taking
    return seen


def answers(model: Any, requests: list[Request], slots: int = 1) -> list[Request]:
    """In the order of the requests."""
    for number, request in enumerate(requests):
        request.tag = number
    return sorted(Engine(model).run(requests, slots), key=lambda request: request.tag)


@pytest.fixture(scope="module")
def llama() -> Any:
    return built("llama")


@pytest.mark.parametrize("name", CONFIGS)
def test_200_greedy_tokens_are_those_of_transformers(name: str) -> None:
    model = built(name)
    given = prompts(8)
    wanted = slow(copy.deepcopy(model), given, 200)
    for slots in (1, 3, 8):
        requests = [Request(prompt, 200) for prompt in given]
        seen = watched(requests)
        list(Engine(model).run(requests, slots))
        for request, scores, (ids, slow_scores) in zip(requests, seen, wanted, strict=True):
            assert request.ids == ids
            assert len(set(ids)) > 5, "an answer that repeats itself shows little"
            torch.testing.assert_close(torch.stack(scores), slow_scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_slots_are_filled_anew_and_nothing_is_left_in_them(
    llama: Any, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve requests of unlike lengths through fewer slots, which grow while they are full: each as alone."""
    given, lengths = prompts(12), [3, 60, 7, 25, 1, 40, 2, 90, 5, 11, 30, 4]
    alone = [answers(llama, [Request(each, tokens)])[0].ids for each, tokens in zip(given, lengths, strict=True)]
    monkeypatch.setattr(slots_module, "CHUNK", 16)
    together = answers(llama, [Request(each, tokens) for each, tokens in zip(given, lengths, strict=True)], slots)
    assert [request.ids for request in together] == alone
    assert {request.finished for request in together} == {"length"}


def test_a_slot_goes_on_as_soon_as_it_is_free(llama: Any) -> None:
    taken: list[int] = []

    def requests() -> Iterator[Request]:
        for number, (prompt, tokens) in enumerate(zip(prompts(4), (50, 2, 2, 2), strict=True)):
            taken.append(number)
            yield Request(prompt, tokens, tag=number)

    finished = []
    for request in Engine(llama).run(requests(), 2):
        finished.append(request.tag)
        assert len(taken) <= len(finished) + 2, "no request is made before there is a slot for it"
    assert finished == [1, 2, 3, 0], "the short ones passed through the second slot while the long one went on"


@pytest.mark.parametrize("name", ["llama", "mistral, window", "qwen2"])
def test_drawn_tokens_do_not_depend_on_the_batch(name: str) -> None:
    model, given = built(name), prompts(8)
    settings = [
        Sampling(temperature=1.0 + number / 4, top_p=0.95, top_k=20 * (number % 2), repetition_penalty=1.1, seed=number)
        for number in range(8)
    ]
    torch.manual_seed(11)
    state = torch.get_rng_state()
    alone = [answers(model, [Request(p, 40, sampling=s)])[0].ids for p, s in zip(given, settings, strict=True)]
    together = answers(model, [Request(p, 40, sampling=s) for p, s in zip(given, settings, strict=True)], 8)
    assert [request.ids for request in together] == alone
    assert torch.equal(torch.get_rng_state(), state), "the global source of chance is left alone"
    other = answers(model, [Request(given[0], 40, sampling=Sampling(temperature=1.0, seed=99))])[0].ids
    assert other != alone[0]


def test_what_ends_an_answer(llama: Any) -> None:
    (prompt,) = prompts(1)
    ids = answers(llama, [Request(prompt, 30)])[0].ids
    stop = next(token for token in ids[5:] if token not in ids[:5])
    stopped = answers(llama, [Request(prompt, 30, stops=frozenset([stop]))])[0]
    assert (stopped.ids, stopped.finished) == (ids[: ids.index(stop) + 1], "stop")
    came: list[int] = []

    def enough(token: int) -> bool:
        came.append(token)
        return len(came) == 4

    over = answers(llama, [Request(prompt, 30, on_token=enough)])[0]
    assert (over.ids, over.finished, came) == (ids[:4], "over", ids[:4])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_no_number_end_their_request_alone(llama: Any, wrong: float) -> None:
    good, bad = prompts(2, seed=6)
    alone = answers(llama, [Request(good, 9)])[0].ids
    told: list[torch.Tensor] = []
    requests = [Request(bad * wrong, 9, on_no_number=told.append), Request(good, 9)]
    failed, fine = answers(llama, requests, 2)
    assert failed.finished == "error" and failed.ids == [] and isinstance(failed.error, InputError)
    assert len(told) == 1 and bool(told[0].isnan().any())
    assert fine.ids == alone and fine.error is None


def test_a_callback_that_raises_ends_the_run(llama: Any) -> None:
    def stopping(token: int) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(llama, [Request(prompts(1)[0], 5, on_token=stopping)])
    assert len(answers(llama, [Request(prompts(1)[0], 5)])[0].ids) == 5


def test_what_can_not_be_run_is_refused(llama: Any) -> None:
    with pytest.raises(ValueError, match="0 slots"):
        list(Engine(llama).run([], 0))
    with pytest.raises(ValueError, match="at least one place"):
        list(Engine(llama).run([Request(torch.zeros(0, WIDTH), 3)]))


def test_language_models_that_it_does_not_know() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, LlamaForCausalLM

    other = AutoModelForCausalLM.from_config(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)).eval()
    assert "GPT2LMHeadModel" in str(refusal(other))
    with pytest.raises(ValueError, match="GPT2LMHeadModel"):
        Engine(other)

    class Own(LlamaForCausalLM):
        pass

    small = LlamaConfig(**SIZES)
    assert "Own" in str(refusal(Own(small).eval()))
    assert "training" in str(refusal(built("llama").train()))
    hooked = built("llama")
    handle = hooked.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert refusal(hooked) == "model.layers.1.mlp has a hook"
    handle.remove()
    assert refusal(hooked) is None
    with torch.device("meta"):
        assert "not in memory" in str(refusal(LlamaForCausalLM(small).eval()))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_bfloat16_is_near_to_float32(name: str) -> None:
    """Read in one pass, all scores of the last place within what bfloat16 can say."""
    (prompt,) = prompts(1)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        request = Request(prompt, 1)
        seen = watched([request])
        list(Engine(built(name).to(dtype)).run([request]))
        found.append(seen[0][0])
    torch.testing.assert_close(found[1], found[0], atol=0.05 * float(found[0].abs().max()), rtol=0)


def test_scores_are_those_of_a_pass_over_everything(llama: Any) -> None:
    """The last of a whole sequence, read at once, against step by step: a slot's places are what they should be."""
    (prompt,) = prompts(1)
    request = Request(prompt, 20)
    seen = watched([request])
    list(Engine(llama).run([request]))
    decoder = Decoder(llama)
    whole = torch.cat([prompt, decoder.embed(torch.tensor(request.ids[:-1]))])
    with torch.no_grad():
        wanted = llama(inputs_embeds=whole[None]).logits[0, len(prompt) - 1 :]
    torch.testing.assert_close(torch.stack(seen[0]), wanted, atol=1e-4, rtol=1e-4)
