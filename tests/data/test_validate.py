"""Every problem of a set is found, each with its record and line, by one process or by two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.data.checker import KINDS, MILD, Checker
from llava_ecg.data.conversation import MARKER
from llava_ecg.data.encoder import Encoder
from llava_ecg.data.mixture import Mixture
from llava_ecg.data.validate import Checked, sound_conversations, validate
from llava_ecg.errors import InputError

from ..conftest import letter_tokenizer
from .test_dataset import SIMPLE, Fixed


def check_file(path: Path) -> tuple[str | None, list[tuple[str, str]]]:
    """A file is what its name says."""
    name = path.name
    if name in ("missing", "unreadable", "unit"):
        return None, [(name, f"{path} is {name}")]
    return name, [("leads", f"{path} lacks V6")] if name == "leads" else []


class Choosy(Fixed):
    """Takes no file that is called so."""

    def prepare(self, source: Any) -> Any:
        if source == "refused":
            raise InputError(f"{source} can't be prepared")
        return super().prepare(source)


def said(*turns: str, **more: Any) -> dict[str, Any]:
    speakers = ("human", "gpt")
    return {"conversations": [{"from": speakers[n % 2], "value": text} for n, text in enumerate(turns)], **more}


RECORDS: list[tuple[dict[str, Any] | str, list[str]]] = [
    (said("q", "a", id=1), []),
    (said("q", "a", id="two", ecg="fine", image="fine"), []),
    ("{nothing", ["json"]),
    ("[]", ["json"]),
    (said("q", "a", id=True), ["record"]),
    (said("q", "a", id=6, ecg=6), ["record"]),
    ({"id": 7}, ["turns"]),
    (said("q", "a", "r", id=8), ["unanswered"]),
    (
        {"id": 9, "conversations": [{"from": "human", "value": "a"}] * 2, "ecg": ["missing", "fine"]},
        ["turns", "missing"],
    ),
    (said("q", "a", id=10, ecg=["fine", "fine"]), ["markers"]),
    (said(f"{MARKER}{MARKER}", "a", id=11, ecg=["fine", None]), ["markers"]),
    (said(MARKER, "a", id=12), ["markers"]),
    (said("q", "a", id=13, ecg="missing", image="unreadable"), ["missing", "unreadable"]),
    (said("q", "a", id=14, ecg="unit"), ["unit"]),
    (said("q", "a", id=15, ecg="leads"), ["leads"]),
    (said("q", "", id=16), ["untaught"]),
    (said("q" * 50, "a", id=17), ["untaught"]),
    (said("q", "a" * 50, id=18), ["cut"]),
    (said("q" * 50 + MARKER * 2, "a", id=19, ecg=["fine", "fine"]), ["long"]),
    (said("q", "a", id=20, ecg="refused"), ["preparation"]),
    (said("q", "a", id=21, image="fine"), []),
]


def write(path: Path, count: int = 1) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record, _ in RECORDS]
    path.write_text("\n\n".join(lines * count) + "\n")
    return path


def encoder(derive: bool = False, *streams: str) -> Encoder:
    preparers: dict[str, Any] = {name: Choosy(name) for name in streams or ("ecg", "image")}
    return Encoder(SIMPLE, letter_tokenizer(), preparers, derive)


FILES = {"ecg": check_file, "image": check_file}


def kinds(found: Checked) -> list[list[str]]:
    return [[each.kind for each in found.problems if each.record == number + 1] for number in range(found.records)]


def test_every_problem_has_record_line_and_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    found = validate(path, Checker(FILES, {"ecg": Path("ecgs")}))
    alone: dict[int, list[str]] = {16: [], 17: [], 18: [], 19: []}  # what only a model can say; numbers from 0
    expected = [alone.get(number, wrong) for number, (_, wrong) in enumerate(RECORDS)]
    assert kinds(found) == expected
    assert {each.kind for each in found.problems} <= set(KINDS)
    assert all(each.line == 2 * each.record - 1 and each.file == str(path) for each in found.problems)
    assert found.bad == sum(map(bool, expected)) == found.records - len(found.conversations)
    assert [each.id for each in found.conversations] == ["1", "two", "17", "18", "19", "20", "21"]
    [first] = [each for each in found.problems if each.record == 13 and each.kind == "missing"]
    assert str(first) == f"{path}:25: record 13 '13': missing: ecgs/missing is missing"
    assert first.to_dict()["line"] == 25


def test_a_model_is_asked_too(tmp_path: Path) -> None:
    found = validate(write(tmp_path / "a.jsonl"), Checker(FILES, {}, encoder(), max_length=40))
    expected = [wrong for _, wrong in RECORDS]
    expected[14] = []  # its preparation takes the leads that are there
    assert kinds(found) == expected
    texts = {each.record: each.text for each in found.problems}
    assert texts[17].startswith("all of its answer is cut at 40 tokens") and "--model_max_length 54" in texts[17]
    assert "raise --model_max_length" in texts[19]
    alone = validate(write(tmp_path / "a.jsonl"), Checker(FILES, {}, encoder(False, "ecg"), max_length=40))
    assert kinds(alone)[20] == ["streams"] and kinds(alone)[12] == ["missing"], "files of no stream are not opened"
    # Q q A a ; with ECG 5 and a page 3: what is derived counts
    longest = tmp_path / "b.jsonl"
    longest.write_text(json.dumps(said("q", "a", ecg="fine")))
    for derive, fits in ((False, 11), (True, 14)):
        for length, expected_kinds in ((fits - 1, ["cut"]), (fits, [])):
            one = validate(longest, Checker(FILES, {}, encoder(derive), max_length=length))
            assert [each.kind for each in one.problems] == expected_kinds, (derive, length)


def test_lengths_are_those_of_training(tmp_path: Path) -> None:
    """What is found too long is what the dataset cuts."""
    from llava_ecg.data.dataset import ConversationDataset

    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(said("q" * n, "a" * (12 - n), id=n, ecg=f"{n}")) for n in range(1, 12)))
    model = encoder(True)
    for length in range(18, 30):
        found = validate(path, Checker(FILES, {}, model, length))
        data = ConversationDataset(
            found.conversations, SIMPLE, model.tokenizer, model.preparers, {}, length, derive=True
        )
        assert all(data[number].taught and not data[number].cut for number in range(len(data)))
        whole = ConversationDataset(
            validate(path, Checker(FILES)).conversations, SIMPLE, model.tokenizer, model.preparers, {}, 99, derive=True
        )
        assert len(data) == sum(len(whole[number]) <= length for number in range(len(whole)))


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    path, told = write(tmp_path / "a.jsonl", 20), list[tuple[int, int]]()
    one = validate(path, Checker(FILES), progress=lambda *each: told.append(each))
    assert told == [(number + 1, len(RECORDS) * 20) for number in range(len(RECORDS) * 20)]
    told.clear()
    two = validate(path, Checker(FILES), processes=2, progress=lambda *each: told.append(each))
    assert told[-1] == (len(RECORDS) * 20,) * 2 and len(told) == len(RECORDS) * 20
    assert two.problems == one.problems and len(one.problems) > 100
    assert [kept.tolist() for kept in two.kept] == [kept.tolist() for kept in one.kept]
    assert list(two.conversations) == list(one.conversations)


def test_files_are_looked_at_once(tmp_path: Path) -> None:
    seen: list[Path] = []

    def noted(path: Path) -> Any:
        seen.append(path)
        return check_file(path)

    path = tmp_path / "a.json"
    path.write_text(json.dumps([said("q", "a", ecg="missing")] * 5))
    assert validate(path, Checker({"ecg": noted}, {"ecg": Path("x")})).bad == 5
    assert seen == [Path("x/missing")]


def test_training_refuses_more_than_it_may_skip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    bad = validate(path, Checker(FILES), mild=MILD).bad
    assert bad == validate(path, Checker(FILES)).bad - 2, "the question without an answer, and the empty answer"
    with pytest.raises(
        InputError, match=rf"{bad} of 21 records have problems, the first: .*a.jsonl:5: .*--skip_bad {bad}"
    ):
        sound_conversations(path, Checker(FILES), skip_bad=bad - 1)
    found = sound_conversations(path, Checker(FILES), skip_bad=bad)
    assert found.kept[0].tolist() == [0, 1, 7, 15, 16, 17, 18, 19, 20] and len(found.conversations) == 9
    (tmp_path / "b.jsonl").write_text("{")
    with pytest.raises(InputError, match="no record to train on; the first: .*b.jsonl:1"):
        sound_conversations(tmp_path / "b.jsonl", Checker(FILES), skip_bad=5)
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(InputError, match="no record to train on$"):
        sound_conversations(tmp_path / "c.json", Checker(FILES))


def test_a_mixture_is_looked_at_set_by_set(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    (tmp_path / "b.json").write_text(
        json.dumps([said("q", "a", id="b", ecg="missing"), said("q", "a", id="c", ecg="d")])
    )
    path = tmp_path / "data.yaml"
    path.write_text("sets:\n- path: a.jsonl\n- path: b.json\n  ecg_folder: deep\n  weight: 3\n")
    found = validate(path, Checker(FILES))
    assert found.records == 23 and [len(kept) for kept in found.kept] == [7, 1]
    assert found.problems[-1].text == f"{tmp_path / 'deep/missing'} is missing"
    assert isinstance(found.conversations, Mixture) and len(found.conversations) == 10
    assert found.conversations[9].sources == {"ecg": (str(tmp_path / "deep/d"),)}
