"""What was read is read once: the same tokens and scores as without, from fewer places, and never after a change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llava_ecg.engine import kept as kept_module
from llava_ecg.engine.attention import extend, varlen
from llava_ecg.engine.decoder import Decoder
from llava_ecg.engine.features import Features
from llava_ecg.engine.kept import Finished, Kept, shared
from llava_ecg.engine.run import Engine, Request
from llava_ecg.engine.sampling import Sampling
from llava_ecg.engine.state import State
from tests.engine.models import CONFIGS, WIDTH, built
from tests.engine.test_run import watched

pytestmark = pytest.mark.usefixtures("steps")

MOVING = ("llama, dynamic", "llama, longrope")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny prompts are worth it."""
    monkeypatch.setattr(kept_module, "WORTH", 4)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many places each pass over more than one place a sequence had, by sequence."""
    passes: list[list[int]] = []
    hidden = Decoder.hidden

    def counting(self: Decoder, values: torch.Tensor, positions: torch.Tensor, counts: Any, attend: Any) -> Any:
        if max(counts) > 1:
            passes.append(list(counts))
        return hidden(self, values, positions, counts, attend)

    monkeypatch.setattr(Decoder, "hidden", counting)
    return passes


def values(places: int, seed: int) -> torch.Tensor:
    return torch.randn(places, WIDTH, generator=torch.Generator().manual_seed(seed))


def run(engine: Engine, given: list[torch.Tensor], slots: int = 1, tokens: int = 12, **more: Any) -> Any:
    """Ids and scores of each, in the order of the prompts."""
    requests = [Request(prompt, tokens, **more) for prompt in given]
    seen = watched(requests)
    list(engine.run(requests, slots))
    return [request.ids for request in requests], [torch.stack(each) for each in seen]


def chat(model: Any, engine: Engine) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Three turns; each begins with all that was read and said before, but the last token and one that was written
    otherwise."""
    prompt, said, scores = values(20, 1), [], []
    for turn in range(3):
        (ids,), (found,) = run(engine, [prompt])
        said.append(ids)
        scores.append(found)
        prompt = torch.cat([prompt, Decoder(model).embed(torch.tensor(ids[:-2])).detach(), values(5, 10 + turn)])
    return said, scores


@pytest.mark.parametrize("name", CONFIGS)
def test_turns_of_a_chat_are_read_once(name: str, read: list[list[int]]) -> None:
    model = built(name)
    wanted, slow = chat(model, Engine(model))
    assert read == [[20], [35], [50]]
    read.clear()
    found, scores = chat(model, Engine(model, Kept()))
    assert read == ([[20], [35], [50]] if name in MOVING else [[20], [5], [5]])
    assert found == wanted
    torch.testing.assert_close(scores, slow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("slots", [1, 4])
def test_a_beginning_in_common_is_read_once(name: str, slots: int, read: list[list[int]]) -> None:
    """Five questions on one ECG and one on another; beyond the window of those that have one."""
    model, begin = built(name), values(25, 2)
    given = [torch.cat([begin, values(3 + number, 20 + number)]) for number in range(5)]
    given.insert(1, values(17, 3))
    wanted, slow = run(Engine(model), given, slots)
    read.clear()
    found, scores = run(Engine(model, Kept()), given, slots)
    if name not in MOVING:
        assert sum(map(sum, read)) == 25 + 3 + 4 + 5 + 6 + 7 + 17
        assert slots == 1 or read[:2] == [[28, 17], [4, 5]], "those that wait are read in one pass"
    assert found == wanted
    torch.testing.assert_close(scores, slow, atol=1e-4, rtol=1e-4)


def test_a_few_places_more_in_common_are_not_waited_for(read: list[list[int]]) -> None:
    """Of three that share 20 places, two share 3 more, or 4 more, which is worth a pass of its own here."""
    for more, passes in ((3, [[25], [9, 9]]), (4, [[25], [9], [5]])):
        begin, own = values(20, 40 + more), values(more, 50)
        given = [torch.cat([begin, values(5, 60)])]
        given += [torch.cat([begin, own, values(9 - more, seed)]) for seed in (61, 62)]
        read.clear()
        run(Engine(built("llama"), Kept()), given, 3)
        assert read == passes


def test_the_same_question_again_reads_its_last_place_only(read: list[list[int]]) -> None:
    engine, prompt = Engine(built("llama"), Kept()), values(30, 4)
    first = run(engine, [prompt, prompt.clone()], 2)
    again = run(engine, [prompt.clone()])
    assert read == [[30]]
    assert first[0][0] == first[0][1] == again[0][0]


def test_drawn_tokens_are_the_same() -> None:
    model, begin = built("qwen2"), values(20, 5)
    given = [torch.cat([begin, values(4, seed)]) for seed in range(6)]
    chance: Any = {"sampling": Sampling(temperature=1.5, top_p=0.9, seed=3)}
    wanted = run(Engine(model), given, 3, **chance)[0]
    assert run(Engine(model, Kept()), given, 3, **chance)[0] == wanted


def test_one_place_of_other_content_is_another_beginning(read: list[list[int]]) -> None:
    """By content: the same numbers in other memory count, a number changed in the same memory too."""
    model, prompt = built("llama"), values(30, 6)
    engine = Engine(model, Kept())
    run(engine, [prompt])
    prompt[12, 3] += 0.5
    read.clear()
    found, scores = run(engine, [prompt])
    assert read == [[18]], "twelve places are as before"
    wanted, slow = run(Engine(model), [prompt])
    assert found == wanted
    torch.testing.assert_close(scores, slow, atol=1e-4, rtol=1e-4)


def test_nothing_is_kept_of_scores_that_are_no_number() -> None:
    engine = Engine(built("llama"), Kept())
    bad = values(20, 7)
    bad[10:] = float("nan")
    assert [request.finished for request in engine.run([Request(bad, 5)])] == ["error"]
    assert engine.kept is not None and len(engine.kept) == 0


def changed(model: Any, how: str) -> Any:
    weight = model.model.layers[1].mlp.down_proj.weight
    if how == "a step of training":
        with torch.no_grad():
            weight[0, 0] += 0.5
    elif how == "merged past torch's count":
        weight.data += 0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    elif how == "a norm past torch's count":
        model.model.norm.weight.data[5] *= 1.5
    elif how == "dtype":
        model.to(torch.bfloat16)
    elif how == "there and back":
        model.to(torch.bfloat16).to(torch.float32)
    return model


@pytest.mark.parametrize(
    "how", ["a step of training", "merged past torch's count", "a norm past torch's count", "dtype", "there and back"]
)
def test_other_weights_read_anew(how: str, read: list[list[int]]) -> None:
    model, prompt = built("mistral"), values(20, 8)
    engine = Engine(model, Kept())
    run(engine, [prompt])
    changed(model, how)
    read.clear()
    found = run(engine, [prompt])[0]
    assert read == [[20]]
    assert found == run(Engine(model), [prompt])[0]
    run(engine, [prompt])
    assert read == [[20], [20]], "and from then on they are kept again"


def test_a_lora_that_is_put_on_and_off_reads_anew(read: list[list[int]]) -> None:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    model: Any = get_peft_model(
        built("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    ).eval()
    engine, prompt = Engine(model, Kept()), values(20, 9)
    on = run(engine, [prompt])[0]
    read.clear()
    assert run(engine, [prompt])[0] == on and read == []
    model.base_model.disable_adapter_layers()
    off = run(engine, [prompt])[0]
    assert read == [[20]] and off == run(Engine(model), [prompt])[0] != on
    model.base_model.enable_adapter_layers()
    read.clear()
    assert run(engine, [prompt])[0] == on and read == [[20]]
    model.merge_adapter()
    read.clear()
    run(engine, [prompt])
    assert read == [[20]]


def test_the_limit_holds_and_the_oldest_goes(read: list[list[int]]) -> None:
    """A place of 2 layers of 2 heads of 8: 256 bytes of keys and values, 128 of its embedding."""
    one = (20 + 11) * (256 + 128)
    engine = Engine(built("llama"), Kept(2 * one))
    first, second, third = (values(20, seed) for seed in (30, 31, 32))
    for prompt in (first, second, first, third):
        run(engine, [prompt])
    assert engine.kept is not None and engine.kept.size == 2 * one
    read.clear()
    run(engine, [first])
    assert read == [], "it was used after the second"
    run(engine, [second])
    assert read == [[20]]
    small = Engine(engine.language_model, Kept(one - 1))
    run(small, [first])
    assert small.kept is not None and len(small.kept) == 0


def test_a_longer_sequence_takes_the_place_of_its_beginning() -> None:
    kept, long = Kept(), values(40, 33)
    held = torch.zeros(2, 1, 1, 1, 1)
    for each in (long[:20], values(20, 34), long, long[:29]):
        kept.add(Finished(each, held))
    assert [len(sequence.embeddings) for sequence in kept] == [20, 40, 29]


def test_places_in_common() -> None:
    one = values(30, 35)
    other = one.clone()
    other[9, 31] += 1
    assert (shared(one, one[:20].clone()), shared(one, other), shared(one, values(30, 36))) == (20, 9, 0)
    assert shared(one, one[:3]) == 0, "too few to be worth it"
    other[2] = float("nan")
    assert shared(other, other) == 0


def test_what_weights_are() -> None:
    model = built("llama, tied")
    assert State(model).same(State(model))
    before = State(model)
    assert not State(changed(model, "a step of training")).same(before)


@pytest.mark.parametrize("window", [None, 1, 5, 50])
@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_extend_is_the_end_of_varlen(backend: str, window: int | None, heads: int) -> None:
    """Two sequences in slots 2 and 0, of which 4 of 11 and 6 of 6 places are new; what lies beyond is NaN."""
    chance = torch.Generator().manual_seed(1)
    lengths, counts, rows = [11, 6], [4, 6], [2, 0]
    query, key, value = (torch.randn(17, each, 8, generator=chance) for each in (heads, 2, 2))
    segments = torch.tensor([0, 11, 17], dtype=torch.int32)
    wanted = varlen(query, key, value, segments, 11, window=window, backend="math")
    keys, values = (torch.full((3, 2, 16, 8), float("nan")) for _ in range(2))
    for held, new in ((keys, key), (values, value)):
        for row, own in zip(rows, new.split(lengths), strict=True):
            held[row, :, : len(own)] = own.transpose(0, 1)
    newest = torch.cat([query[7:11], query[11:]])
    found = extend(newest, keys, values, rows, counts, lengths, window=window, backend=backend)
    torch.testing.assert_close(found, torch.cat([wanted[7:11], wanted[11:]]), atol=1e-5, rtol=1e-5)


def test_features_are_found_by_content_within_a_limit() -> None:
    tower, calls = torch.nn.Linear(4, 2), []

    def compute(name: str, given: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        calls.append(name)
        return tower(given)[index]

    features = Features(2 * 3 * 2 * 4)  # two of three places of two numbers
    features.hold_for(tower)
    find = features.through(compute)
    first, index = torch.randn(5, 4), torch.tensor([2, 0, 1])
    assert torch.equal(find("a", first, index), compute("", first, index))
    assert find("a", first.clone(), index.clone()) is find("a", first, index)
    assert calls == ["a", ""]
    for name, given, at in (("b", first, index), ("a", first, index.flip(0)), ("a", first * 2, index)):
        assert torch.equal(find(name, given, at), compute("", given, at))
    assert calls[2:] == ["b", "", "a", "", "a", ""], "another stream, other places and other values are others"
    assert features.size == features.limit
    find("a", first, index)
    assert calls[-1] == "a" and len(calls) == 9, "the oldest was dropped"
    find("c", first, torch.tensor([0] * 7))
    find("a", first, index)
    assert calls[9:] == ["c"], "what alone is over the limit is not kept, and drops nothing"
    with torch.no_grad():
        tower.weight[0, 0] += 1
    features.hold_for(tower)
    assert features.size == 0
    assert torch.equal(find("a", first, index), compute("", first, index))
    assert calls[10:] == ["a", ""]


def test_features_outlast_a_change_of_the_part_that_has_none_in_them() -> None:
    model: Any = torch.nn.ModuleList([torch.nn.Linear(4, 2), torch.nn.Linear(4, 2)])
    features = Features()
    for part, left in ((1, True), (0, False)):
        features.hold_for(model, without=model[1])
        features.through(lambda name, given, index: model[0](given)[index])("a", torch.ones(1, 4), torch.tensor([0]))
        with torch.no_grad():
            model[part].bias += 1
        features.hold_for(model, without=model[1])
        assert bool(features.size) is left
