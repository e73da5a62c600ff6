"""Records stay on disk until they are asked for, whatever file they come in, and a mistake has its line."""

from __future__ import annotations

import gc
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.data.conversation import MARKER, Conversation, Turn, parse, to_record
from llava_ecg.data.dataset import load_conversations
from llava_ecg.data.records import Records, scan
from llava_ecg.errors import InputError


def record(number: int, text: str = "why", **more: Any) -> dict[str, Any]:
    said = [{"from": "human", "value": text}, {"from": "gpt", "value": f"so {number}"}]
    return {"id": number, "conversations": said, **more}


SEVERAL: list[dict[str, Any]] = [
    record(0),
    record(1, "µV \u2028 \U0001f600?", ecg="é.hea"),
    {**record(2), "id": "two"},
    record(3, f"{MARKER} and {MARKER}", ecg=["a", "b"]),
    record(4, f"{MARKER} and {MARKER}", ecg=["a", None], image=[None, "b"]),
    {key: value for key, value in record(5, image="x.png", ecg="y").items() if key != "id"},
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(("suffix", "indent"), [(".json", None), (".json", 2), (".jsonl", None), (".JSONL", None)])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_records_are_those_of_the_whole_file(
    tmp_path: Path, suffix: str, indent: int | None, ascii_only: bool, bom: str
) -> None:
    if suffix == ".json":
        text = json.dumps(SEVERAL, indent=indent, ensure_ascii=ascii_only)
    else:
        text = "\n" + "\r\n\n".join(json.dumps(each, ensure_ascii=ascii_only) for each in SEVERAL)
    path = tmp_path / f"data{suffix}"
    path.write_bytes(f"{bom}{text}".encode())
    expected = [parse(each) for each in SEVERAL]
    found = load_conversations(path)
    assert list(found) == expected and [found[number] for number in range(len(found))] == expected
    assert found[-1] == expected[-1] and found[1:3] == expected[1:3]
    assert list(pickle.loads(pickle.dumps(found))) == expected, "what a worker gets"
    with pytest.raises(IndexError):
        found[len(expected)]
    assert isinstance(found, Records)
    for (start, end), each in zip(found.spans.tolist(), SEVERAL, strict=True):
        assert json.loads(path.read_bytes()[start:end]) == each
    kept = found.keep([4, 0])
    assert list(kept) == [expected[4], expected[0]] and len(kept) == 2


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[\n\n" + json.dumps(record(1)) + ",\n" + json.dumps(record(2), indent=1) + ",\n{}\n]")
    assert [entry.line for entry in scan(path)] == [3, 4, 17]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(record(1)), "", "", json.dumps(record(2)), "nothing"]))
    entries = list(scan(path))
    assert [entry.line for entry in entries] == [1, 4, 5]
    assert entries[2].fault is not None and entries[1].record == record(2)


def test_blanks_around_a_line_are_none_of_it(tmp_path: Path) -> None:
    """Found by `scripts/fuzz.py`: a vertical tab passed the first look and ended the reading."""
    path = tmp_path / "a.jsonl"
    path.write_text(f"\f{json.dumps(record(1))}\v\n\v\n {json.dumps(record(2))} \v")
    assert list(Records.open(path)) == [parse(record(1)), parse(record(2))]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", "", "no JSON"),
        ("a.json", "{", "no JSON"),
        ("a.json", '{"id": 1}', "not a list of records but an object; .* called .jsonl"),
        ("a.json", "[", "record 1 .line 1.*no JSON"),
        ("a.json", "[{}", "record 1 .*has no conversations"),
        ("a.json", "[%s\n{}]", "record 2 .line 2.: no JSON: a comma or the end"),
        ("a.json", "[%s,\n\n{]", "record 2 .line 3.: no JSON"),
        ("a.json", "[%s]\n]", "record 2 .line 2.: no JSON: something stands behind"),
        ("a.json", "[%s, 5]", "record 2 .line 1.: a record is an object in braces, and this is a number"),
        ("a.jsonl", "%s\n[]\n", "record 2 .line 2.: .* this is a list"),
        ("a.jsonl", "%s\n\n{]\n", "record 2 .line 3.: no JSON"),
        ("a.jsonl", "%s\n\n{}\n", "record 2 .line 3.: record '' has no conversations"),
        ("a.jsonl", "[" * 100_000, "record 1 .line 1.: no JSON: it is nested too deeply"),
        ("a.json", "[" * 100_000, "record 1 .line 1.: no JSON: it is nested too deeply"),
        ("a.jsonl", '{"id": "\udcff"}', "record 1 .line 1.: no JSON: byte 8 of it is no UTF-8"),
    ],
)
def test_a_mistake_has_its_record_and_line(tmp_path: Path, name: str, content: str, fault: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.replace("%s", json.dumps(record(1))).encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=f"{name}.*{fault}"):
        load_conversations(path)


def test_an_empty_list_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(" [ ]\n")
    assert list(load_conversations(path)) == []
    (tmp_path / "a.jsonl").write_text("\n")
    assert list(load_conversations(tmp_path / "a.jsonl")) == []


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record(1)) + "\n")
    found = load_conversations(path)
    path.write_text("\n" + json.dumps(record(1)) + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl has changed since it was opened"):
        found[0]
    path.unlink()
    with pytest.raises(InputError, match="can't read"):
        list(found)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({**record(1), "id": True}, "the id of a record is text or a number"),
        ({**record(1), "id": [1]}, "the id of a record is text or a number"),
        (record(1, f"{MARKER} {MARKER}", ecg=["a", None]), "neither an ECG nor an image for its <image> marker 2"),
        (record(1, f"{MARKER} {MARKER}", ecg=["a", ""]), "neither a file name"),
    ],
)
def test_records_that_are_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        parse(given)


def test_places_of_several_kinds() -> None:
    conversation = parse(SEVERAL[4])
    assert [conversation.at(marker) for marker in range(2)] == [{"ecg": "a"}, {"image": "b"}]
    assert parse(to_record(conversation)) == conversation
    one = Conversation((Turn("user", "x"),), {"ecg": ("a", "b"), "image": ("c",)})
    assert [one.at(marker) for marker in range(3)] == [{"ecg": "a", "image": "c"}, {"ecg": "b"}, {}]


def many(path: Path, count: int) -> Path:
    line = json.dumps(record(1, f"{MARKER}\nWhat is shown here, and why do you think so?", ecg="a.hea"))
    with path.open("w") as file:
        file.writelines(f"{line}\n" for _ in range(count))
    return path


def test_many_records_are_no_objects(tmp_path: Path) -> None:
    path, count = many(tmp_path / "large.jsonl", 200_000), 200_000
    told: list[tuple[int, int]] = []
    before = len(gc.get_objects())
    found = load_conversations(path, lambda done, whole: told.append((done, whole)) if done == whole else None)
    assert len(gc.get_objects()) - before < 1000
    assert isinstance(found, Records) and found.spans.nbytes + found.lines.nbytes == 24 * count
    assert len(found) == count and found[count - 1].sources == {"ecg": ("a.hea",)}
    assert told == [(path.stat().st_size,) * 2]
    assert len(pickle.dumps(found)) < 25 * count, "what a spawned worker gets"


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_memory_is_that_of_the_places(tmp_path: Path, suffix: str) -> None:
    path, count = many(tmp_path / "some.jsonl", 20_000), 20_000
    if suffix == ".json":
        text = path.read_text().strip().replace("\n", ",\n")
        path = tmp_path / "some.json"
        path.write_text(f"[{text}]")
    size = path.stat().st_size
    tracemalloc.start()
    found = load_conversations(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == count and held < 30 * count < size / 4
    assert peak < 90 * count + (2.5 * size if suffix == ".json" else 0), "a list is read as text meanwhile"
