"""Samples know what was cut from them, and how long they are is known without reading every file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from llava_ecg.data.conversation import MARKER, Conversation, Turn
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import encode
from llava_ecg.data.grouping import EpochSampler, GroupedSampler
from llava_ecg.data.templates import Template
from llava_ecg.errors import InputError
from llava_ecg.streams import Prepared

from ..conftest import letter_tokenizer

SIMPLE = Template(system="", first_user="Q{}A", user="Q{}A", answer="{};", stop=";")
TOKENS = {"ecg": 5, "image": 3}


class Fixed:
    """A preparer whose sources are all of one length; it notes what it reads."""

    def __init__(self, stream: str) -> None:
        self.stream, self.read_files = stream, list[str]()

    def read(self, path: Path) -> Any:
        if path.name == "broken":
            raise InputError("broken can't be read")
        self.read_files.append(path.name)
        return path.name

    def derive(self, sources: Mapping[str, Any]) -> Any:
        return "page" if self.stream == "image" and "ecg" in sources else None

    def prepare(self, source: Any) -> Prepared:
        return Prepared(torch.zeros(1, 2), TOKENS[self.stream], torch.arange(TOKENS[self.stream]))


def dataset(*conversations: Conversation, length: int = 1000, **more: Any) -> ConversationDataset:
    preparers: dict[str, Any] = {name: Fixed(name) for name in TOKENS}
    return ConversationDataset(conversations, SIMPLE, letter_tokenizer(), preparers, {}, length, **more)


def told(question: str, answer: str, name: str = "", **sources: str) -> Conversation:
    turns = [Turn("user", question), *([Turn("assistant", answer)] if answer else [])]
    return Conversation(tuple(turns), {stream: (file,) for stream, file in sources.items()}, name)


def test_what_is_needed_and_what_is_cut() -> None:
    turns = [Turn("user", f"{MARKER}b"), Turn("assistant", "long"), Turn("user", "more")]
    prepared = Prepared(torch.zeros(1, 2), 4, torch.arange(4))
    # Q x x x x b A l o n g ; Q m o r e A
    for length, cut, taught in (
        (None, False, True),
        (12, False, True),
        (11, True, True),
        (8, True, True),
        (7, True, False),
    ):
        sample = encode(turns, SIMPLE, letter_tokenizer(), {"ecg": [prepared]}, max_length=length)
        assert (sample.needed, sample.cut, sample.taught) == (12, cut, taught)
    silent = encode([Turn("user", "b")], SIMPLE, letter_tokenizer(), {})
    assert (silent.needed, silent.cut, silent.taught) == (0, False, False)


def test_the_advice_holds_the_whole_record() -> None:
    turns = [Turn("user", f"{MARKER}b"), Turn("assistant", "long")]
    prepared = Prepared(torch.zeros(1, 2), 4, torch.arange(4))
    with pytest.raises(InputError, match="reach to place 5 .* limit of 3 .* raise --model_max_length to 12,"):
        encode(turns, SIMPLE, letter_tokenizer(), {"ecg": [prepared]}, max_length=3)
    assert len(encode(turns, SIMPLE, letter_tokenizer(), {"ecg": [prepared]}, max_length=12)) == 12


def test_lengths_are_those_of_the_samples() -> None:
    records = [
        told("why", "so", "text"),
        told(f"{MARKER}\nwhy", "because", "ecg", ecg="1"),
        told(f"{MARKER}\nwhy", "because it is", "ecg again", ecg="2"),
        told(f"{MARKER}\nwhy", "so", "image", image="3"),
        told(f"{MARKER}\nwhy", "so", "both", ecg="4", image="5"),
        told(f"{MARKER}\nwhy", "so " * 50, "long", ecg="6"),
        Conversation((Turn("user", f"{MARKER}{MARKER}?"), Turn("assistant", "so")), {"ecg": ("7", "8")}, "two"),
    ]
    for derive in (False, True):
        for limit in (1000, 60):
            data = dataset(*records, length=limit, derive=derive)
            assert data.lengths() == [len(data[number]) for number in range(len(data))]
    data = dataset(*records, modality_dropout=1.0)
    data.lengths()
    read: Any = data.preparers["ecg"]
    assert read.read_files == ["1", "4"]  # one of each kind
    with pytest.raises(InputError, match="record 'bad': broken"):
        dataset(told(f"{MARKER}\nwhy", "so", "bad", ecg="broken")).lengths()


def test_a_record_that_teaches_nothing_is_told_once() -> None:
    said: list[str] = []
    data = dataset(
        told("why", "so", "cut\u202eoff"), told("why", "", "mute"), told("y", "so", "well"), length=5, tell=said.append
    )
    for _ in range(2):
        for number in range(3):
            data[number]
    assert said == [
        "record 'cut\\u202eoff': its answer lies behind the first 5 tokens, so nothing is learnt from it; "
        "raise --model_max_length to 8, which holds the whole record",
        "record 'mute': it has no answer, so nothing is learnt from it",
    ]


def test_what_is_dropped_follows_from_seed_epoch_and_record_alone() -> None:
    data = dataset(
        *[told(f"{MARKER}\nwhy", "so", ecg=str(number), image="a") for number in range(40)],
        modality_dropout=0.5,
        seed=3,
    )

    def streams(number: int) -> tuple[bool, ...]:
        return tuple(bool(given) for given in data[number].streams.values())

    first = [streams(number) for number in range(40)]
    assert [streams(number) for number in reversed(range(40))][::-1] == first, "whatever was asked for before"
    second = [streams(40 + number) for number in range(40)]
    assert first != second and len(set(first)) == 3
    loader = DataLoader(data, batch_size=1, sampler=EpochSampler(40, seed=3), num_workers=2, collate_fn=_streams_of)
    for epoch, expected in enumerate((first, second)):  # workers are started anew for each round
        found = [each for batch in loader for each in batch]
        order = [number - 40 * epoch for number in _order(40, epoch)]
        assert found == [expected[number] for number in order]


def _streams_of(samples: list[Any]) -> list[tuple[bool, ...]]:
    return [tuple(bool(given) for given in sample.streams.values()) for sample in samples]


def _order(count: int, epoch: int) -> list[int]:
    sampler = EpochSampler(count, seed=3)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_an_order_that_tells_the_epoch() -> None:
    sampler = EpochSampler(7, seed=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == list(range(7)) and sorted(second) == list(range(7, 14)) and [n - 7 for n in second] != first
    sampler.set_epoch(1)
    assert list(sampler) == second, "a run that is resumed goes on as it would have"
    grouped = EpochSampler(7, GroupedSampler([5, 1, 4, 2, 3, 6, 9], 2, seed=1))
    assert sorted(grouped) == list(range(7)) and sorted(grouped) == list(range(7, 14))


def test_a_set_that_goes_without_pages_is_told() -> None:
    bare, whole = told(f"{MARKER}\nwhy", "so", ecg="1"), told(f"{MARKER}\nwhy", "so", ecg="2", image="a")
    image_alone = told(f"{MARKER}\nwhy", "so", image="a")
    assert dataset(whole, bare).goes_without()
    assert not dataset(whole, bare, derive=True).goes_without()
    assert not dataset(whole, image_alone, told("why", "so")).goes_without()
