"""Several sets as one: weights, folders, and the same records for the same seed and epoch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from llava_ecg.data.dataset import load_conversations
from llava_ecg.data.grouping import EpochSampler
from llava_ecg.data.mixture import Mixture, Set
from llava_ecg.errors import InputError

from .test_dataset import dataset, told

A, B = (
    [told("q", f"{name}{number}", f"{name}{number}") for number in range(count)]
    for name, count in (("a", 10), ("b", 7))
)


def write(folder: Path, text: str) -> Path:
    for name, ids in (("a.json", "pq"), ("b.jsonl", "xyz")):
        records = [
            {"id": id, "ecg": "r", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": id}]}
            for id in ids
        ]
        whole = json.dumps(records) if name == "a.json" else "\n".join(map(json.dumps, records))
        (folder / name).write_text(whole)
    path = folder / "data.yaml"
    path.write_text(text)
    return path


def ids(mixture: Mixture, epoch: int) -> list[str]:
    return [mixture.at(number, epoch).id for number in range(len(mixture))]


def test_whole_weights_repeat() -> None:
    mixture = Mixture((Set(A, 2.0), Set(B)))
    assert not mixture.varies and len(mixture) == 27
    assert ids(mixture, 0) == [each.id for each in A + A + B] == ids(mixture, 5) == [each.id for each in mixture]
    assert mixture[-1] == B[-1] and mixture[9:11] == [A[9], A[0]]
    with pytest.raises(IndexError):
        mixture[27]


def test_a_part_goes_through_all_before_it_repeats() -> None:
    mixture = Mixture((Set(A, 0.4), Set(B, 1.5), Set((), 0.5)), seed=3)
    assert mixture.varies and len(mixture) == 4 + 10
    assert ids(mixture, 0) == [each.id for each in mixture] == [mixture[number].id for number in range(14)]
    epochs = [ids(mixture, epoch) for epoch in range(14)]
    assert epochs == [ids(Mixture(mixture.sets, seed=3), epoch) for epoch in range(14)]
    assert epochs[0] != epochs[1] and epochs != [ids(Mixture(mixture.sets, seed=4), epoch) for epoch in range(14)]
    first = Counter(id for epoch in epochs[:5] for id in epoch if id[0] == "a")
    assert set(first.values()) == {2} and len(first) == 10, "20 shown of 10, each twice"
    second = Counter(id for epoch in epochs[:7] for id in epoch if id[0] == "b")
    assert set(second.values()) == {10} and len(second) == 7
    assert max(Counter(id for id in epochs[0] if id[0] == "b").values()) <= 2


def test_workers_and_the_dataset_agree() -> None:
    data = dataset(*A)
    data = replace(data, conversations=Mixture((Set(A, 0.5), Set(B, 2.0))), seed=5)
    assert data.by_epoch and len(data) == 5 + 14
    with pytest.raises(InputError, match="whole weights"):
        data.lengths()
    expected = {epoch: ids(Mixture(data.conversations.sets, 5), epoch) for epoch in (0, 1)}  # type: ignore[attr-defined]
    assert [each.id for each in data.conversations] == expected[0]
    for workers in (0, 2):
        sampler = EpochSampler(len(data), seed=1)
        loader = DataLoader(data, batch_size=1, sampler=sampler, num_workers=workers, collate_fn=_answers)
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            numbers = [number - epoch * len(data) for number in sampler]
            sampler.set_epoch(epoch)
            assert [each for batch in loader for each in batch] == [expected[epoch][number] for number in numbers]
    whole = dataset(*A)
    assert not whole.by_epoch and dataset(*A, modality_dropout=0.5).by_epoch


def _answers(samples: list[Any]) -> list[str]:
    """What was taught: a letter a token, without the mark of the end."""
    return ["".join(chr(32 + int(token)) for token in each.labels if token >= 0)[:-1] for each in samples]


def test_a_file_of_sets(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    path = write(folder, "sets:\n- path: a.json\n  ecg_folder: ../ecgs\n  weight: 2\n- path: b.jsonl\n")
    found = load_conversations(path)
    assert isinstance(found, Mixture)
    assert [each.id for each in found] == ["p", "q", "p", "q", "x", "y", "z"]
    assert found[0].sources == {"ecg": (str(folder / "../ecgs/r"),)} and found[4].sources == {"ecg": ("r",)}
    read: list[Path] = []

    class Reads:
        def read(self, file: Path) -> Any:
            read.append(file)
            raise InputError("no")

        def derive(self, sources: Any) -> None: ...

        def prepare(self, source: Any) -> Any: ...

    data = dataset()
    data.conversations, data.preparers, data.folders = found, {"ecg": Reads()}, {"ecg": tmp_path / "other"}
    for number in (0, 4):
        with pytest.raises(InputError):
            data[number]
    assert read == [folder / "../ecgs/r", tmp_path / "other" / "r"]


def test_a_file_may_be_two_sets(tmp_path: Path) -> None:
    found = load_conversations(write(tmp_path, "sets: [{path: b.jsonl}, {path: b.jsonl, weight: 0.34}]"))
    assert [each.id for each in found][:3] == ["x", "y", "z"] and len(list(found)) == len(found) == 4


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a", "must have a list called sets"),
        ("sets: []", "must have a list called sets"),
        ("sets: [", "is no YAML"),
        ("sets: [{path: a.json}]\nset: 1", "unknown setting 'set'; did you mean sets"),
        ("sets: [a.json]", "set 1 of .* must have settings such as path"),
        ("sets: [{weight: 1}]", "set 1 of .* has no path"),
        ("sets: [{path: a.json, wieght: 2}]", "set 1 of .* unknown setting 'wieght'; did you mean weight"),
        ("sets: [{path: a.json, ecg_folders: x}]", "did you mean ecg_folder"),
        ("sets: [{path: a.json, weight: 0}]", "weight of set 1 .* above 0"),
        ("sets: [{path: a.json, weight: .nan}]", "weight of set 1 .* above 0"),
        ("sets: [{path: a.json, weight: true}]", "weight of set 1 .* above 0"),
        ("sets: [{path: a.json, weight: 50%}]", "weight of set 1 .* not '50%'"),
        ("sets: [{path: 3}]", "path of set 1 of .* must be a path, not 3"),
        ("sets: [{path: a.json}, {path: none.json}]", "can't read .*none.json"),
        ("sets: [{path: data.yaml}]", "is a mixture itself"),
    ],
)
def test_a_bad_file_of_sets(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        load_conversations(write(tmp_path, text))
