"""A question and its sources become a model's inputs, the same ones for Assistant, for a batch, and by any way of
giving them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import MARKER, Turn
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import render
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.model.towers.tower import preparers
from llava_ecg.processor import Processor
from llava_ecg.streams import StreamConfig

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
QUESTION = "Interpret this ECG."


def config(streams: tuple[str, ...] = ("ecg", "image"), **more: Any) -> LlavaEcgConfig:
    known = {
        "ecg": StreamConfig("ecg_coca", ECG, "linear", "image" if "image" in streams else None),
        "image": StreamConfig("clip", {"vision_config": CLIP}, "mlp2x_gelu"),
    }
    return LlavaEcgConfig(
        {"model_type": "llama", **TEXT}, {name: known[name] for name in streams}, **{"template": "v1"} | more
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """A tiny whole checkpoint of ours."""
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("processor") / "model"
    save_checkpoint(LlavaEcgForCausalLM(config()), letters, path)
    return path


@pytest.fixture(scope="module")
def processor(folder: Path) -> Processor:
    return Processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [simulate(seed=seed)[0] for seed in (1, 2)]


def page(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for name in one:
        if hasattr(one[name], "keys"):
            same(one[name], other[name])
        else:
            torch.testing.assert_close(one[name], other[name], atol=0, rtol=0)


def test_it_makes_what_the_assistant_asks_with(folder: Path, processor: Processor, recordings: list[Recording]) -> None:
    assistant = Assistant.open(str(folder), device="cpu")
    encoded, notes = assistant.processor.encode([Turn("user", QUESTION)], Case(recordings[0]).sources())
    batch = pad([encoded], 0)
    del batch["labels"]
    assert notes == []
    same(processor(QUESTION, ecg=recordings[0]), batch)


def test_preparers_need_no_weights(letters: Any) -> None:
    settings = config()
    built = LlavaEcgForCausalLM(settings).preparers()
    assert built == preparers(settings)
    assert list(built) == ["ecg", "image"]
    assert all(
        not value.is_meta
        for value in Processor.of(settings, letters)(QUESTION, images=page())["streams"]["image"].values()
    )
    settings.streams["ecg"]["preparation"] = {"speed": 3}
    with pytest.raises(InputError, match="preparation of the stream 'ecg' does not fit.*speed"):
        preparers(settings)


def test_an_ecg_in_any_form(tmp_path: Path, processor: Processor, recordings: list[Recording]) -> None:
    wanted = processor(QUESTION, ecg=recordings[0])
    assert wanted["streams"]["ecg"]["values"].shape == (1, 12, 5000)
    signal, rate = recordings[0].select().signal, recordings[0].rate
    np.save(tmp_path / "ecg.npy", signal)
    same(processor(QUESTION, ecg=signal, rate=rate), wanted)
    same(processor(QUESTION, ecg=torch.from_numpy(signal), rate=rate), wanted)
    same(processor(QUESTION, ecg=str(tmp_path / "ecg.npy"), rate=rate, unit="mV", leads="standard"), wanted)
    same(processor(QUESTION, ecg=signal[::-1].copy(), rate=rate, leads=recordings[0].select().leads[::-1]), wanted)
    micro = processor(QUESTION, ecg=signal * 1000, rate=rate, unit="uV")["streams"]["ecg"]["values"]
    torch.testing.assert_close(micro, wanted["streams"]["ecg"]["values"], atol=1e-5, rtol=1e-5)


def test_an_image_in_any_form_and_the_page_where_none_is(
    tmp_path: Path, processor: Processor, recordings: list[Recording]
) -> None:
    page().save(tmp_path / "page.png")
    same(processor(QUESTION, images=tmp_path / "page.png"), processor(QUESTION, images=page()))
    drawn, given = processor(QUESTION, ecg=recordings[0]), processor(QUESTION, ecg=recordings[0], images=page())
    same(drawn, processor(QUESTION, ecg=recordings[0], images=render(recordings[0])))
    assert not torch.equal(drawn["streams"]["image"]["values"], given["streams"]["image"]["values"])


def test_a_model_that_sees_images_alone_gets_the_page(letters: Any, recordings: list[Recording]) -> None:
    blind = Processor.of(config(("image",)), letters)
    same(blind(QUESTION, ecg=recordings[0]), blind(QUESTION, images=render(recordings[0])))


@torch.no_grad()
def test_a_batch_answers_as_its_samples_do(folder: Path, processor: Processor, recordings: list[Recording]) -> None:
    from llava_ecg.model.loading import open_checkpoint

    model = open_checkpoint(folder).model
    questions = ["Rate?", "What is the rhythm, and what else do you see?", "Is the image alone enough?"]
    ecgs, images = [*recordings, None], [None, page(), page(1)]
    batch = processor(questions, ecg=ecgs, images=images, return_tensors="pt", padding=True)
    assert batch["input_ids"].shape == batch.slots.shape == batch.attention_mask.shape
    together = model.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=None)
    for row, (question, ecg, image) in enumerate(zip(questions, ecgs, images, strict=True)):
        alone = model.generate(
            **processor(question, ecg=ecg, images=image), max_new_tokens=6, do_sample=False, eos_token_id=None
        )
        assert together[row].tolist() == alone[0].tolist()
    assert [processor.decode(row) for row in together] == processor.batch_decode(together)


def test_one_source_goes_with_all_questions_and_one_question_with_all_sources(
    processor: Processor, recordings: list[Recording]
) -> None:
    two = processor(["Rate?", "Axis?"], ecg=recordings[0])
    same(two, processor(["Rate?", "Axis?"], ecg=[recordings[0]] * 2))
    assert two["streams"]["ecg"]["values"].shape[0] == 2
    same(processor("Rate?", ecg=recordings), processor(["Rate?"] * 2, ecg=recordings))
    with pytest.raises(InputError, match="a batch of 3 of text, 2 of ecg does not fit together"):
        processor(["a", "b", "c"], ecg=recordings)


def test_conversations(processor: Processor, recordings: list[Recording]) -> None:
    turns = [Turn("user", "Rate?"), Turn("assistant", "72 bpm."), Turn("user", f"And {MARKER} the axis?")]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Rate?"}]},
        {"role": "assistant", "content": "72 bpm."},
        {"role": "user", "content": "And  the axis?"},
    ]
    wanted = processor(turns, ecg=recordings[0])
    same(processor(messages, ecg=recordings[0]), wanted)
    same(processor([messages, turns], ecg=recordings[0]), processor([turns] * 2, ecg=recordings[0]))
    assert wanted["input_ids"].shape[1] > processor("Rate?", ecg=recordings[0])["input_ids"].shape[1] + 20


def test_the_two_steps_that_transformers_users_take(processor: Processor, recordings: list[Recording]) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert prompt.count(MARKER) == 1
    assert prompt.endswith(f"{QUESTION} ASSISTANT:")
    wanted = processor(QUESTION, ecg=recordings[0])
    same(processor(prompt, ecg=recordings[0]), wanted)  # not written into the template twice
    same(
        processor.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_tensors="pt", ecg=recordings[0]
        ),
        wanted,
    )


def test_all_tensors_move_together(processor: Processor) -> None:
    moved = processor(QUESTION, images=page()).to("meta", torch.float16)
    assert {moved["input_ids"].device.type, moved["streams"]["image"]["values"].device.type} == {"meta"}
    assert moved["streams"]["image"]["values"].dtype == torch.float16
    assert moved["input_ids"].dtype == moved["streams"]["image"]["index"].dtype == torch.int64


def test_what_was_left_out_is_said(processor: Processor, recordings: list[Recording]) -> None:
    long = replace(recordings[0], signal=np.tile(recordings[0].signal, 2))
    with pytest.warns(UserWarning, match="the first 10 s of 20.0 s"):
        processor(QUESTION, ecg=long)


def test_sources_are_prepared_once(processor: Processor, recordings: list[Recording]) -> None:
    sources = Case(recordings[0]).sources()
    first = processor.encode([Turn("user", "Rate?")], sources)[0]
    again = processor.encode([Turn("user", "Axis?")], sources)[0]
    assert again.streams["image"][0] is first.streams["image"][0]
    for seed in range(10):
        processor.encode([Turn("user", "Rate?")], {"image": page(seed)})
    assert len(processor._kept) == 8
    assert processor.encode([Turn("user", "Rate?")], sources)[0].streams["image"][0] is not first.streams["image"][0]


def test_it_goes_to_disk_and_back(tmp_path: Path, folder: Path, processor: Processor) -> None:
    processor.save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    again = Processor.from_pretrained(tmp_path, template="llava_v1", preparation={"image": {"aspect": "pad"}})
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert (again.template_name, again.preparers["image"].aspect) == ("llava_v1", "pad")  # type: ignore[attr-defined]
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        Processor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": None}, "a question is needed"),
        ({"text": []}, "a question is needed"),
        ({"text": "a"}, "takes ecg, image, and the question came with nothing"),
        ({"text": "a", "ecg": np.zeros((12, 5000))}, "does not say how it was sampled"),
        ({"text": "a", "ecg": np.zeros((5000, 12)), "rate": 500}, r"shape \(5000, 12\) does not fit 12 leads"),
        ({"text": "a", "ecg": np.zeros((12, 5000)), "rate": -1}, "rate of -1 Hz is impossible"),
        ({"text": "a", "ecg": np.full((12, 5000), "x"), "rate": 500}, "holds no numbers"),
        (
            {"text": "a", "ecg": np.random.default_rng(0).normal(0, 300, (12, 5000)), "rate": 500},
            "can't be in millivolts",
        ),
        ({"text": "a", "ecg": 7}, "this is a int"),
        ({"text": "a", "ecg": "absent.hea"}, "no such file: absent.hea"),
        ({"text": "a", "images": "absent.png"}, "no such image: absent.png"),
        ({"text": "a", "images": np.zeros((9, 9, 3))}, "path or a PIL image, and this is a ndarray"),
        ({"text": "a", "ppg": "x"}, "no stream 'ppg'; its streams are ecg, image"),
        ({"text": "a", "return_tensors": "np"}, "return_tensors='pt'"),
        ({"text": "a" * 5000, "images": page()}, r"has \d+ tokens and the model reads 4096"),
        ({"text": [{"role": "system", "content": "x"}], "images": page()}, "a turn is"),
        ({"text": [{"role": "user", "content": 3}], "images": page()}, "content of a turn is text"),
        (
            {"text": [Turn("user", "a"), Turn("assistant", "b")], "images": page()},
            "ends with a user, and this is user, assistant",
        ),
    ],
)
def test_mistakes_are_one_sentence(processor: Processor, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        processor(**given)


def test_several_ecgs_in_one_question(processor: Processor, recordings: list[Recording]) -> None:
    both = processor("Compare them.", ecg=[recordings], images=[[page(1), None]])
    alone = [
        processor("Compare them.", ecg=recordings[0], images=page(1)),
        processor("Compare them.", ecg=recordings[1]),
    ]
    for name in ("ecg", "image"):
        values = [each["streams"][name]["values"] for each in alone]
        assert torch.equal(both["streams"][name]["values"], torch.cat(values)), "the second gets the page drawn"
    assert both["slots"].bool().sum() == sum(int(each["slots"].bool().sum()) for each in alone)
    first = int((both["slots"][0] == 1).nonzero()[0])
    runs = both["slots"][0][first:]
    order = [int(slot) for slot, before in zip(runs[1:], runs[:-1], strict=True) if slot and slot != before]
    assert order == [2, 1, 2], "ECG first at each place"


def test_a_model_trained_without_pages_is_asked_without(letters: Any, recordings: list[Recording]) -> None:
    settings = config()
    settings.derive = False
    bare = Processor.of(settings, letters)
    assert set(bare(QUESTION, ecg=recordings[0])["streams"]) == {"ecg"}
    assert set(bare(QUESTION, ecg=recordings[0], images=page())["streams"]) == {"ecg", "image"}
    assert LlavaEcgConfig(**settings.to_dict()).derive is False


def test_a_page_is_drawn_once_a_question(processor: Processor, recordings: list[Recording], monkeypatch: Any) -> None:
    drawn: list[Recording] = []
    monkeypatch.setattr("llava_ecg.model.towers.image.render", lambda recording: drawn.append(recording) or page())
    processor(QUESTION, ecg=recordings[0])
    assert len(drawn) == 1
