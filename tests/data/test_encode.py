"""The joint sequence: where streams stand, what is trained on, what is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import MARKER, Conversation, Turn, marker_first, parse, to_record
from llava_ecg.data.dataset import load_conversations
from llava_ecg.data.encode import IGNORE, Encoded, encode, place, truncate
from llava_ecg.data.templates import Template
from llava_ecg.errors import InputError
from llava_ecg.plugins import templates
from llava_ecg.streams import NEWLINE, Prepared

from ..conftest import letter_tokenizer

TOKENIZER = letter_tokenizer()
SIMPLE = Template(system="", first_user="Q{}A", user="Q{}A", answer="{};", stop=";")


def some(count: int, values: int = 1) -> Prepared:
    return Prepared(torch.zeros(values, 2), count, torch.arange(count * values))


def test_streams_stand_at_the_marker_in_order() -> None:
    turns = [Turn("user", f"a{MARKER}b"), Turn("assistant", "c")]
    sample = encode(turns, SIMPLE, TOKENIZER, {"ecg": [some(3)], "image": [some(2)]})
    assert sample.slots.tolist() == [0, 0, 1, 1, 1, 2, 2, 0, 0, 0, 0]
    assert sample.labels.tolist()[:9] == [IGNORE] * 9
    assert TOKENIZER.decode(sample.labels[9:]).replace(" ", "") == "c;"
    assert (sample.ids[2:7] == TOKENIZER.pad_token_id).all()


def test_a_stream_may_be_left_out() -> None:
    turns = [Turn("user", f"{MARKER}b")]
    sample = encode(turns, SIMPLE, TOKENIZER, {"ecg": [None], "image": [some(2)]})
    assert sample.slots.tolist() == [0, 2, 2, 0, 0]
    assert sample.streams["ecg"] == ()


def test_two_markers_take_two_sources() -> None:
    turns = [Turn("user", f"{MARKER}b{MARKER}")]
    sample = encode(turns, SIMPLE, TOKENIZER, {"ecg": [some(1), some(2)]})
    assert sample.slots.tolist() == [0, 1, 0, 1, 1, 0]
    with pytest.raises(InputError, match="1 sources .* 2"):
        encode(turns, SIMPLE, TOKENIZER, {"ecg": [some(1)]})


def test_truncation_cuts_text_and_never_a_stream() -> None:
    turns = [Turn("user", f"{MARKER}b"), Turn("assistant", "long answer")]
    whole = encode(turns, SIMPLE, TOKENIZER, {"ecg": [some(4)]})
    cut = encode(turns, SIMPLE, TOKENIZER, {"ecg": [some(4)]}, max_length=9)
    assert len(cut) == 9
    assert torch.equal(cut.ids, whole.ids[:9])
    with pytest.raises(InputError, match="reach to place 5 .* limit of 4"):
        truncate(whole, 4)
    assert truncate(whole, 4, streams="cut").streams["ecg"][0].index.tolist() == [0, 1, 2]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.integers(0, 6), min_size=2, max_size=5))
def test_slots_count_the_tokens(counts: list[int], texts: list[int]) -> None:
    places = [sum(texts[: n + 1]) for n in range(len(texts) - 1)]
    streams = {f"s{n}": [some(count)] * len(places) for n, count in enumerate(counts)}
    ids = list(range(1, sum(texts) + 1))
    sample = place(ids, ids, places, streams, pad=0)
    for slot, (name, count) in enumerate(zip(streams, counts, strict=True), 1):
        assert (sample.slots == slot).sum() == count * len(places) == sum(len(p.index) for p in sample.streams[name])
    assert sample.ids[sample.slots == 0].tolist() == ids
    assert (sample.labels[sample.slots != 0] == IGNORE).all()


def batch_of(side: Any) -> tuple[list[Encoded], dict[str, Any]]:
    tiled = Prepared(torch.ones(3, 2), 2, torch.tensor([0, 5, NEWLINE, 1]))
    texts = ["one", "three and"]
    samples = [
        encode([Turn("user", MARKER + text)], SIMPLE, TOKENIZER, {"a": [given]})
        for text, given in zip(texts, [some(2), tiled], strict=True)
    ]
    return samples, pad(samples, pad_id=96, side=side)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(side: Any) -> None:
    samples, batch = batch_of(side)
    assert batch["streams"]["a"]["index"].tolist() == [0, 1, 2, 7, NEWLINE, 3]
    for row, sample in enumerate(samples):
        here = batch["attention_mask"][row]
        assert torch.equal(batch["input_ids"][row][here], sample.ids)
        assert batch["position_ids"][row][here].tolist() == list(range(len(sample)))
        assert (batch["labels"][row][~here] == IGNORE).all()
        assert (batch["slots"][row][~here] == 0).all()
    assert batch["attention_mask"][0][0 if side == "right" else -1]


def test_records_both_ways() -> None:
    record = {
        "id": "7",
        "ecg": "a.hea",
        "image": "a.png",
        "conversations": [{"from": "human", "value": "<image>\nRhythm?"}, {"from": "gpt", "value": "Sinus."}],
    }
    assert to_record(parse(record)) == record


def test_a_missing_marker_is_added_and_a_text_record_has_none() -> None:
    said = [{"from": "human", "value": "Rhythm?"}, {"from": "gpt", "value": "Sinus."}]
    assert parse({"ecg": "a.hea", "conversations": said}).turns[0].text == "<image>\nRhythm?"
    assert parse({"conversations": said}).markers == 0


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"id": "1"}, "no conversations"),
        ({"id": "1", "conversations": [{"from": "robot", "value": "x"}]}, "turn 1"),
        ({"id": "1", "conversations": [{"from": "human", "value": "x"}] * 2}, "must alternate"),
        ({"id": "1", "conversations": [{"from": "gpt", "value": "x"}]}, "no human turn"),
        ({"id": "1", "ecg": 5, "conversations": [{"from": "human", "value": "x"}]}, "neither a file name"),
        ({"id": "1", "conversations": [{"from": "human", "value": "<image>"}]}, "1 <image> markers for 0"),
        (
            {"id": "1", "ecg": ["a", "b"], "conversations": [{"from": "human", "value": "<image>"}]},
            "1 <image> markers for 2",
        ),
    ],
)
def test_bad_records(record: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        parse(record)


def test_bad_files(tmp_path: Path) -> None:
    for name, content, fault in (
        ("a.json", "{", "no JSON"),
        ("b.json", '{"id": 1}', "not a list"),
        ("c.jsonl", '{"id": "1"}\n', "record 1"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=fault):
            load_conversations(tmp_path / name)
    with pytest.raises(InputError, match="can't read"):
        load_conversations(tmp_path / "none.json")


def test_marker_first_is_stable() -> None:
    assert marker_first("Describe. <image>") == "<image>\nDescribe."
    assert marker_first(marker_first("Describe. <image>")) == "<image>\nDescribe."


@pytest.mark.parametrize("name", list(templates))
def test_every_template_trains_on_the_answers_alone(name: str) -> None:
    template = templates.get(name)
    turns = (
        Turn("user", f"{MARKER}\nfirst question"),
        Turn("assistant", "first answer"),
        Turn("user", "next"),
        Turn("assistant", "last"),
    )
    spans = template.spans(turns)
    trained = [span.text for span in spans if span.trained]
    assert ["first answer" in trained[0], "last" in trained[1], len(trained)] == [True, True, 2]
    assert not any("question" in text for text in trained)
    assert template.prompt(turns).count(MARKER) == 1


def test_conversation_counts_markers() -> None:
    assert Conversation((Turn("user", "<image> and <image>"),)).markers == 2
