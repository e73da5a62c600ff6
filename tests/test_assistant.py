"""The one inference: streams in any combination, decoding that repeats, text as it comes, errors before anything is
lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from llava_ecg import assistant as assistant_module
from llava_ecg import report
from llava_ecg.assistant import NO_SIGNAL, SEVERAL, Answer, Assistant, Question, audit_of
from llava_ecg.case import Case, Decoding
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.engine.decoder import Decoder
from llava_ecg.engine.run import Engine
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.streams import StreamConfig
from llava_ecg.writer import Writer

ECG = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
TEXT = {
    "vocab_size": 98,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "eos_token_id": 97,
}
QUESTION = [Turn("user", "Interpret this ECG.")]


def folder(tmp_path: Path, letters: Any, streams: tuple[str, ...] = ("ecg", "image"), **more: Any) -> Path:
    """A tiny model on random weights, on disk."""
    torch.manual_seed(4)
    known = {
        "ecg": StreamConfig("ecg_coca", ECG, "linear", "image" if "image" in streams else None),
        "image": StreamConfig("clip", {"vision_config": CLIP}, "mlp2x_gelu"),
    }
    config = LlavaEcgConfig(
        {"model_type": "llama", **TEXT}, {name: known[name] for name in streams}, template="v1", **more
    )
    save_checkpoint(LlavaEcgForCausalLM(config), letters, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Assistant:
    return Assistant.open(str(folder(tmp_path_factory.mktemp("assistant"), letters)), device="cpu")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(seed=1)[0]


def page() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def ask(assistant: Assistant, case: Case, **more: Any) -> Answer:
    return assistant.ask(QUESTION, case, Decoding(max_new_tokens=12, **more))


def test_signal_alone_is_rendered_for_a_model_that_sees_images(assistant: Assistant, recording: Recording) -> None:
    case = Case(recording)
    answer = ask(assistant, case)
    assert (answer.tokens["ecg"], answer.tokens["image"], answer.tokens["new"]) == (101, 4, 12)
    assert case.page is not None
    assert case.page.size == (2200, 1700)
    assert NO_SIGNAL not in answer.notes
    assert answer.finished == "length"
    assert answer.tokens["prompt"] > 105


def test_image_alone_leaves_the_signal_out(assistant: Assistant) -> None:
    case = Case(image=page())
    answer = ask(assistant, case)
    assert (answer.tokens["ecg"], answer.tokens["image"]) == (0, 4)
    assert NO_SIGNAL in answer.notes
    assert case.measurements is None


def test_both_streams_matter(assistant: Assistant, recording: Recording) -> None:
    other = simulate(seed=2)[0]

    @torch.no_grad()
    def seen(case: Case) -> torch.Tensor:
        return assistant.checkpoint.model(**pad([assistant.processor.encode(QUESTION, case.sources())[0]], 0)).logits[
            :, -1
        ]

    both = seen(Case(recording, page()))
    assert not torch.allclose(both, seen(Case(other, page())), atol=1e-4)
    assert not torch.allclose(both, seen(Case(recording)), atol=1e-4)


def test_greedy_repeats_and_so_does_a_seed(assistant: Assistant, recording: Recording) -> None:
    case = Case(recording)
    assert ask(assistant, case).text == ask(assistant, case).text
    drawn = [ask(assistant, case, temperature=2.0, seed=seed).text for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_text_comes_in_pieces(assistant: Assistant, recording: Recording) -> None:
    pieces: list[str] = []
    answer = assistant.ask(QUESTION, Case(recording), Decoding(max_new_tokens=12), on_text=pieces.append)
    assert "".join(pieces).strip() == answer.text
    assert len(pieces) > 3


def test_it_can_be_stopped(assistant: Assistant, recording: Recording) -> None:
    seen: list[str] = []
    answer = assistant.ask(
        QUESTION, Case(recording), Decoding(max_new_tokens=100), on_text=seen.append, cancelled=lambda: len(seen) >= 3
    )
    assert answer.finished == "cancelled"
    assert answer.tokens["new"] < 20


def test_earlier_turns_are_read(assistant: Assistant, recording: Recording) -> None:
    one = ask(assistant, Case(recording))
    more = [*QUESTION, Turn("assistant", "Sinus rhythm."), Turn("user", "And <image> the axis?")]
    three = assistant.ask(more, Case(recording), Decoding(max_new_tokens=2))
    assert three.tokens["prompt"] > one.tokens["prompt"] + 20
    assert three.tokens["image"] == 4  # a marker in a question is only text


def test_too_long_a_conversation_is_refused(tmp_path: Path, letters: Any, recording: Recording) -> None:
    small = Assistant.open(str(folder(tmp_path, letters, model_max_length=400)), device="cpu")
    with pytest.raises(InputError, match=r"has \d+ tokens and the model reads 400"):
        small.ask([Turn("user", "word " * 100)], Case(recording))
    tokens = small.ask(QUESTION, Case(recording), Decoding(max_new_tokens=500)).tokens
    assert tokens["prompt"] + tokens["new"] <= 400


def test_a_model_without_images_refuses_them(tmp_path: Path, letters: Any, recording: Recording) -> None:
    signal_only = Assistant.open(str(folder(tmp_path, letters, ("ecg",))), device="cpu")
    assert signal_only.streams == ("ecg",)
    assert ask(signal_only, Case(recording)).tokens["ecg"] == 101
    with pytest.raises(InputError, match="takes ecg, and the question came with image"):
        ask(signal_only, Case(image=page()))


def test_missing_leads_are_refused(assistant: Assistant, recording: Recording) -> None:
    with pytest.raises(InputError, match="lacks V1"):
        ask(assistant, Case(Recording(recording.signal[:3], recording.rate, recording.leads[:3])))


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": 0}])
def test_impossible_decoding(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="need temperature"):
        Decoding(**wrong)


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"repetition_penalty": 0.0}])
def test_impossible_choices(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="need top_k"):
        Decoding(**wrong)


def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine refuse every language model."""
    monkeypatch.setattr(assistant_module, "refusal", lambda language_model: "this test says so")


@pytest.mark.parametrize("more", [{}, {"repetition_penalty": 1.7}])
def test_the_engine_says_what_transformers_says(
    assistant: Assistant, recording: Recording, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    decoding, cases = Decoding(max_new_tokens=150, **more), [Case(recording), Case(image=page())]
    engine = [assistant.ask(QUESTION, case, decoding) for case in cases]
    slowly(monkeypatch)
    slow = [assistant.ask(QUESTION, case, decoding) for case in cases]
    assert [answer.text for answer in engine] == [answer.text for answer in slow]
    assert [answer.tokens for answer in engine] == [answer.tokens for answer in slow]
    assert [answer.finished for answer in engine] == [answer.finished for answer in slow]
    said = "transformers' generate runs the language model, an answer at a time: this test says so"
    assert all(said in answer.notes for answer in slow)
    assert not any("generate" in note for answer in engine for note in answer.notes)


def test_chance_is_each_questions_own(
    assistant: Assistant, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither way touches the global source of chance, and both draw otherwise than the likeliest."""
    greedy = ask(assistant, Case(recording)).text
    for _ in range(2):
        state = torch.get_rng_state()
        drawn = ask(assistant, Case(recording), temperature=2.0, seed=1).text
        assert torch.equal(torch.get_rng_state(), state)
        assert drawn == ask(assistant, Case(recording), temperature=2.0, seed=1).text != greedy
        assert ask(assistant, Case(recording), temperature=2.0, seed=1, top_k=1).text == greedy
        slowly(monkeypatch)


def test_as_many_at_once_as_memory_holds(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers of two heads of 16, keys and values in float32: 512 bytes a place."""
    slot = 512 * (1024 + 100)
    for free, slots in ((0, 1), (4 * 3 * slot, 3), (4 * 4 * slot - 1, 3), (10**12, 32)):
        monkeypatch.setattr(Engine, "free_bytes", lambda self, free=free: free)
        assert assistant.slots(Decoding(max_new_tokens=100)) == slots
    slowly(monkeypatch)
    assert assistant.slots() == 1


def test_free_memory_is_told(assistant: Assistant) -> None:
    assert 10**6 < Engine(assistant.checkpoint.model.language_model).free_bytes() < 10**15


@pytest.mark.parametrize("way", ["engine", "generate"])
def test_many_are_answered_as_each_alone(
    assistant: Assistant, recording: Recording, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """In three slots, with questions between them that can't be asked: those fail alone."""
    if way == "generate":
        slowly(monkeypatch)
    lacking = Recording(recording.signal[:3], recording.rate, recording.leads[:3])
    cases = [Case(recording), Case(lacking), Case(simulate(seed=2)[0]), Case(image=page()), Case(simulate(seed=3)[0])]
    texts = ["Rate?", "Rate?", "What is the rhythm of this ECG, and its axis?", "Axis?", "Is the QT long?"]
    questions = [
        Question([Turn("user", text)], case, tag) for tag, (text, case) in enumerate(zip(texts, cases, strict=True))
    ]
    decoding = Decoding(max_new_tokens=25, temperature=1.0, seed=3)
    found = {question.tag: answer for question, answer in assistant.ask_many(iter(questions), decoding, slots=3)}
    assert sorted(found) == [0, 1, 2, 3, 4]
    failed = found.pop(1)
    assert isinstance(failed, InputError) and "lacks V1" in str(failed)
    for tag, answer in found.items():
        assert isinstance(answer, Answer)
        alone = assistant.ask(questions[tag].turns, cases[tag], decoding)
        assert (answer.text, answer.tokens, answer.notes) == (alone.text, alone.tokens, alone.notes)
        assert answer.audit == alone.audit
    assert len({answer.text for answer in found.values() if isinstance(answer, Answer)}) > 1


def places_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many places each pass over more than one of a sequence had."""
    passes: list[int] = []
    hidden = Decoder.hidden

    def counting(self: Decoder, values: torch.Tensor, positions: torch.Tensor, counts: Any, attend: Any) -> Any:
        if max(counts) > 1:
            passes.append(len(values))
        return hidden(self, values, positions, counts, attend)

    monkeypatch.setattr(Decoder, "hidden", counting)
    return passes


def test_turns_of_a_chat_are_read_once(
    assistant: Assistant, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against an assistant that reads everything anew, over three turns and another ECG between them."""
    both = [Assistant(assistant.checkpoint, reuse=reuse) for reuse in (True, False)]
    said: list[list[Answer]] = []
    counts: list[list[int]] = []
    for each in both:
        with monkeypatch.context() as patch:
            passes, turns, answers = places_read(patch), list(QUESTION), []
            for text in ("And the axis?", "And the rate?", ""):
                answers.append(each.ask(turns, Case(recording), Decoding(max_new_tokens=12)))
                turns += [Turn("assistant", answers[-1].text), Turn("user", text)]
                each.ask(QUESTION, Case(simulate(seed=2)[0]), Decoding(max_new_tokens=2))
            said.append(answers)
            counts.append(passes)
    assert [(one.text, one.tokens) for one in said[0]] == [(one.text, one.tokens) for one in said[1]]
    prompts = [answer.tokens["prompt"] for answer in said[1]]
    assert counts[1][::2] == prompts
    first, second, third = counts[0][0], *counts[0][2:4]
    assert first == prompts[0] and max(second, third) < 60 < prompts[0], "only what is new"


def test_questions_on_one_ecg_read_it_once(
    assistant: Assistant, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever object the ECG is: the same content in another recording is the same ECG."""
    texts = [f"What is measure {number} of it?" for number in range(6)]
    cases = [Case(Recording(recording.signal.copy(), recording.rate, recording.leads)) for _ in texts]
    questions = [Question([Turn("user", text)], case, text) for text, case in zip(texts, cases, strict=True)]
    decoding = Decoding(max_new_tokens=12)
    slow, fast = (Assistant(assistant.checkpoint, reuse=reuse) for reuse in (False, True))
    wanted = {text: slow.ask(asked.turns, asked.case, decoding) for text, asked in zip(texts, questions, strict=True)}
    passes = places_read(monkeypatch)
    model, seen = assistant.checkpoint.model, []
    features = model.features
    monkeypatch.setattr(model, "features", lambda name, *given: seen.append(name) or features(name, *given))
    for asked, answer in fast.ask_many(questions, decoding, slots=3):
        assert isinstance(answer, Answer)
        assert (answer.text, answer.tokens) == (wanted[asked.tag].text, wanted[asked.tag].tokens)
    assert sum(passes) < 2 * wanted[texts[0]].tokens["prompt"]
    assert seen == ["ecg", "image"], "each tower has worked once"


def test_other_weights_of_a_tower_give_other_features(tmp_path: Path, letters: Any, recording: Recording) -> None:
    own = Assistant.open(str(folder(tmp_path, letters)), device="cpu")
    ask(own, Case(recording))
    with torch.no_grad():
        for value in own.checkpoint.model.towers.parameters():
            value.mul_(-1.5)
    requests = [
        each._request(each._prepare(Question(QUESTION, Case(recording)), Decoding()))
        for each in (own, Assistant(own.checkpoint, reuse=False))
        if each._runner() is not None
    ]
    found, wanted = (request.embeddings for request in requests)
    assert found is not None and wanted is not None and torch.equal(found, wanted)


def test_unusable_device_and_dtype(tmp_path: Path, letters: Any) -> None:
    with pytest.raises(InputError, match="unknown dtype"):
        Assistant.open(str(folder(tmp_path, letters)), dtype="int3")
    with pytest.raises(InputError, match="device 'warp:9'"):
        Assistant.open(str(folder(tmp_path, letters)), device="warp:9")


def write(letters: Any, text: str, stop: str) -> tuple[Writer, list[str]]:
    pieces: list[str] = []
    writer = Writer(letters, stop, (), pieces.append, None)
    letters_of = letters.get_vocab()
    for mark in text:
        writer.put(torch.tensor([letters_of[mark]]))
    writer.end()
    return writer, pieces


class Joined:
    """The letters tokenizer, decoding without spaces between tokens."""

    eos_token_id = None

    def __init__(self, letters: Any) -> None:
        self.letters = letters

    def get_vocab(self) -> dict[str, int]:
        return self.letters.get_vocab()

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(self.letters.convert_ids_to_tokens(ids))

    def encode(self, text: str, **_: Any) -> list[int]:
        return [0, 0]


def test_a_stop_text_is_never_shown(letters: Any) -> None:
    writer, pieces = write(Joined(letters), "one<e>two", "<e>")
    assert writer.text == "one"
    assert "".join(pieces) == "one"
    assert writer.finished() == "stop"
    writer, pieces = write(Joined(letters), "one <e", "<e>")
    assert "".join(pieces) == writer.text == "one <e"


class Counting:
    """A tokenizer that counts how many ids it was given to decode."""

    def __init__(self, own: Any) -> None:
        self.own, self.decoded = own, 0

    def decode(self, ids: list[int], **options: Any) -> str:
        self.decoded += len(ids)
        text: str = self.own.decode(ids, **options)
        return text


@pytest.mark.parametrize("seed", range(12))
def test_pieces_are_what_all_ids_together_say(seed: int, shared: Path) -> None:
    """Against decoding all ids at once: any ids but single bytes, and text of more than one alphabet, which is bytes in
    part."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "golden/tokenizer")
    rng = np.random.default_rng(seed)
    whole = [one for name, one in tokenizer.get_vocab().items() if not name.startswith("<")]
    ids = [int(one) for one in rng.choice(whole, 120)]
    if seed % 3 == 0:
        ids = (
            tokenizer("The QRS is 90 ms. Der Puls ist gleichmäßig, 心電図 ♥ normal.\n- ok", add_special_tokens=False)[
                "input_ids"
            ]
            * 3
        )
    counting, pieces = Counting(tokenizer), []
    writer = Writer(counting, "</never>", (), pieces.append, None)
    for one in ids:
        writer.put(torch.tensor([one]))
    writer.end()
    assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True).lstrip()
    if seed % 3 == 0:
        assert counting.decoded < 20 * len(ids), "the time is linear in the length of an answer"


def test_several_ecgs_are_asked_about_and_not_audited(assistant: Assistant, recording: Recording) -> None:
    case = Case(recording, more=(Case(simulate(seed=2)[0]), Case(image=page())))
    answer = ask(assistant, case)
    one = ask(assistant, Case(recording))
    assert answer.tokens["ecg"] == 2 * one.tokens["ecg"] and answer.tokens["image"] == 3 * one.tokens["image"]
    assert any("several ECGs" in note for note in answer.notes)
    assert report.beside(answer, case) is None
    found = audit_of("Rate?", "The rate is 72 bpm.", case, None, whole=True)
    assert [(v.status.value, v.reason) for v in found.verdicts] == [("unmeasurable", SEVERAL)]


def test_the_audit_measures_what_was_shown(assistant: Assistant) -> None:
    slow, fast = (simulate(Heart(rate_bpm=rate, muscle_mv=0.0), seed=1)[0].signal for rate in (60, 110))
    long = Recording(np.concatenate([slow, fast, fast], axis=1), 500.0, STANDARD)
    case = Case(long)
    answer = ask(assistant, case)
    assert answer.shown == (0.0, 10.0)
    (verdict,) = audit_of("Rate?", "The rate is 60 bpm.", case, answer.shown, whole=True).verdicts
    assert verdict.status.value == "supported"
    assert (
        case.measurements is not None
        and case.measurements.heart_rate_bpm is not None
        and case.measurements.heart_rate_bpm > 80
    )
    said = report.beside(answer, case)
    assert said is not None and "0 to 10 s" in said and "over the whole 30.0 s: rate 9" in said
    assert report.beside(ask(assistant, Case(long.window(0, 10))), Case(long.window(0, 10))) is None
    assert report.answer_dict("Rate?", answer, case, None)["measurements_shown"]["heart_rate_bpm"] == pytest.approx(
        60, abs=1
    )
