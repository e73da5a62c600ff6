"""The table of tasks: what is asked of which ECG, how it is scored, and what is refused; no harness is needed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg import plugins
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.scaled import with_limb_ratios
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.eval import fingerprint
from llava_ecg.eval.held import held
from llava_ecg.eval.items import Answered, Item, Told, by_ecg
from llava_ecg.eval.samples import RHYTHM
from llava_ecg.eval.sources import Lately, case
from llava_ecg.eval.tasks import EvalTask, chosen, ecgqa, measured_fold9, ptbxl_rhythm, ptbxl_super
from llava_ecg.grounding.verdicts import Status
from llava_ecg.train.tiny.questions import SHORT


def question(ecg: int | list[int], answer: list[str], kind: str = "single-verify", **more: Any) -> dict[str, Any]:
    ecgs = ecg if isinstance(ecg, list) else [ecg]
    told = {"question": "Is there noise?", "attribute": ["noise"], "template_id": 1, "sample_id": 5}
    return {"ecg_id": ecgs, "answer": answer, "question_type": kind} | told | more


def write(folder: Path, questions: list[dict[str, Any]]) -> Path:
    """A data folder with three ECGs of fold 9 (ecg_id 10, 11, 12) and one of fold 1 (13); ECG 11 and 12 are of one
    patient."""
    for name in ("ptbxl", "ecgqa"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "ptbxl/signals_250hz_int16.npy", rng.integers(-900, 900, (4, 12, 2500)).astype(np.int16))
    with (folder / "ptbxl/labels.csv").open("w", newline="", encoding="utf-8") as out:
        lines = csv.writer(out)
        lines.writerow(["row", "ecg_id", "patient_id", "strat_fold", "super_class", "rhythm", "age", "sex"])
        lines.writerow([0, 10, 1, 9, "NORM", "SR", "61", "male"])
        lines.writerow([1, 11, 2, 9, "MI|STTC", "BIGU|SR", "", ""])
        lines.writerow([2, 12, 2, 9, "NORM", "AFIB", "", ""])
        lines.writerow([3, 13, 3, 1, "NORM", "SR", "", ""])
    (folder / "ecgqa/questions.json").write_text(json.dumps(questions), encoding="utf-8")
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", [question(10, ["yes"]), question(11, ["no"]), question(13, ["no"])])


def test_superclasses(data: Path) -> None:
    items = ptbxl_super.items(data)
    assert [(item.name, item.truth, item.group) for item in items] == [
        ("ptbxl-10", ("NORM",), "1"),
        ("ptbxl-11", ("MI", "STTC"), "2"),
        ("ptbxl-12", ("NORM",), "2"),
    ]
    marking = ptbxl_super.marking
    told = [marking.read(item, Answered(text)) for item, text in zip(items, ["NORM", "MI", "?"], strict=True)]
    assert [each.said for each in told] == [["NORM"], ["MI"], None]
    found = ptbxl_super.scores(items, told)
    assert found.unparsed == 1
    # wrong of 15: STTC of the second, all 5 of the third
    assert found.figures["hamming_loss"].value == pytest.approx(6 / 15)
    # the public code takes the third for one without labels, and CD and HYP, which nobody has, are no labels of its
    assert ptbxl_super.scores_legacy(items, told)["hamming_loss"] == pytest.approx(2 / 9)


def test_the_ecg_of_a_row_is_read_with_its_person(data: Path) -> None:
    first, second, _ = ptbxl_super.items(data)
    recording = case(first.sources).recording
    assert recording is not None
    table = np.load(data / "ptbxl/signals_250hz_int16.npy")
    chest = (table[:2, 6:] - table[:2, 6:].mean(axis=2, keepdims=True)) / 5000
    np.testing.assert_allclose(recording.signal[6:], chest[0], rtol=1e-4, atol=1e-7)
    assert (recording.rate, recording.metadata) == (250, {"sex": "male", "age": 61.0})
    assert "in no unit" in recording.notes[0]
    other = case(second.sources).recording
    assert other is not None
    np.testing.assert_allclose(other.signal[6:], chest[1], rtol=1e-4, atol=1e-7)


def test_leads_that_were_scaled_one_by_one_have_their_axis_and_no_volts(data: Path) -> None:
    recording, _ = simulate(Heart(axis_deg=-20, muscle_mv=0.01, rate_bpm=75), seed=1)
    scaled = recording.signal - recording.signal.mean(axis=1, keepdims=True)
    scaled *= 1000 / scaled.std(axis=1, keepdims=True)
    place = data / "ptbxl/signals_250hz_int16.npy"
    np.save(place, np.round(scaled[None, :, ::2]).astype(np.int16).repeat(4, axis=0))
    [item, *_] = measured_fold9.items(data)
    block = item.sources[0]
    shown = case([block]).recording
    assert shown is not None
    assert measure(shown).axis_deg == pytest.approx(measure(recording).axis_deg, abs=5)
    text = "The heart rate is 75 bpm. There is left ventricular hypertrophy. ST elevation in V2 of 3 mm. Low voltage."
    said = {verdict.claim.quantity: verdict.status for verdict in held("Interpret.", text, [block]).verdicts}
    assert said.pop("heart_rate_bpm") is Status.SUPPORTED
    assert said and set(said.values()) <= {Status.UNMEASURABLE, Status.NOT_CHECKED}
    volts = {verdict.status for verdict in held("Interpret.", text, [block | {"scaled": False}]).verdicts}
    assert Status.CONTRADICTED in volts  # where the same numbers are taken for millivolts


def test_gaps_of_leads_that_were_scaled_stay_gaps() -> None:
    recording, _ = simulate(Heart(axis_deg=-20, muscle_mv=0.01), seed=1)
    scaled = recording.signal / recording.signal.std(axis=1, keepdims=True)
    whole = with_limb_ratios(scaled, recording.leads)
    gap = scaled.copy()
    gap[1, :500], gap[8] = np.nan, np.nan
    found = with_limb_ratios(gap, recording.leads)
    assert np.array_equal(np.isnan(found), np.isnan(gap)) and found.dtype == scaled.dtype
    spread = (found[:6, 500:].std(axis=1), whole[:6, 500:].std(axis=1))
    assert spread[0] / spread[0].sum() == pytest.approx(spread[1] / spread[1].sum(), rel=0.01)


def test_rhythms(data: Path) -> None:
    items = ptbxl_rhythm.items(data)
    assert [(item.name, item.truth) for item in items] == [("ptbxl-10", ("SR",)), ("ptbxl-12", ("AFIB",))]
    texts = ["The rate is slow (bradycardia), consistent with sinus bradycardia.", "Atrial fibrillation"]
    told = [ptbxl_rhythm.marking.read(item, Answered(text)) for item, text in zip(items, texts, strict=True)]
    assert [each.said for each in told] == [["SBRAD"], ["AFIB"]]
    assert any(RHYTHM in asked for asked, _ in SHORT)
    table = data / "ptbxl/labels.csv"
    table.write_text(table.read_text().replace("rhythm", "other"))
    assert ptbxl_super.items(data)
    with pytest.raises(InputError, match="lacks the columns rhythm"):
        ptbxl_rhythm.items(data)


def test_only_questions_of_the_fold_are_asked(data: Path) -> None:
    items = ecgqa.items(data)
    assert [(item.name, item.truth) for item in items] == [("questions-0", ("yes",)), ("questions-1", ("no",))]
    assert ecgqa.put(items[0]) == "Is there noise? Options: yes, no"


def test_options_of_each_kind_do_not_tell_the_answer(tmp_path: Path) -> None:
    query = {"template_id": 7, "question": "Which noise?"}
    items = ecgqa.items(
        write(
            tmp_path / "data",
            [
                question(10, ["yes"]),
                question(11, ["not sure"]),
                question(10, ["none"], "single-choose", attribute=["noise", "drift"]),
                question(10, ["noise", "drift"], "single-query", **query),
                question(13, ["burst"], "single-query", **query),
                question([10, 11], ["no"], "comparison_irrelevant-verify"),
                question([10, 13], ["no"], "comparison_irrelevant-verify"),
            ],
        )
    )
    assert [item.options for item in items] == [
        ("yes", "no", "not sure"),
        ("noise", "drift", "none"),
        ("burst", "drift", "noise"),
        ("yes", "no", "not sure"),
        ("yes", "no"),
    ]
    two = case(items[-1].sources)
    assert len(two.more) == 1


def test_the_public_figures_of_code15_take_one_of_normal_and_abnormal() -> None:
    [task] = chosen("ecgbench_code15")
    items = [Item(name, "?", (name,), ()) for name in ("NORM", "ABNORMAL")]
    found = task.scores_legacy(items, [Told("ABNORMAL", None)] * 2)
    assert found["f1"] == pytest.approx((2 / 3 + 0) / 2)  # by substrings NORM would be said too


def test_a_fingerprint_is_of_the_questions_and_not_of_their_place(tmp_path: Path) -> None:
    one, other = ([question(10, ["yes"]), question(11, ["no"])] for _ in range(2))
    first, second = (ecgqa.items(write(tmp_path / name, each)) for name, each in (("a", one), ("b", other)))
    assert first != second
    assert fingerprint.of_data(first) == fingerprint.of_data(second)
    assert fingerprint.of_records(first) == fingerprint.of_records(second)
    assert fingerprint.of_data(first[:1]) != fingerprint.of_data(first)
    assert fingerprint.of_data([replace(first[0], truth=("no",)), first[1]]) != fingerprint.of_data(first)
    np.save(tmp_path / "b/ptbxl/signals_250hz_int16.npy", np.zeros((1, 12, 2500), dtype=np.int16))
    assert fingerprint.of_records(first) != fingerprint.of_records(second)


def test_an_id_that_stands_twice_is_two_questions(tmp_path: Path) -> None:
    from tests.eval.bench import question as asked

    (tmp_path / "ecgbench").mkdir()
    rows = [asked("a", "1.png", "Labels?", "NORM"), asked("a", "2.png", "Labels?", "MI")]
    (tmp_path / "ecgbench/ptb-test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [item.name for item in chosen("ecgbench_ptbxl_super")[0].items(tmp_path)] == ["a", "a#2"]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"id": "a", "conversations": [{"from": "human", "value": "?"}]}, "has no conversation"),
        ({"id": "a", "conversations": "x"}, "has no conversation"),
        (
            {"id": "a", "conversations": [{"question": "?", "answer": "sinus"}]},
            "no right answer can be read, such as 'sinus' of a",
        ),
    ],
)
def test_question_files_of_something_else(record: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "ecgbench").mkdir()
    (tmp_path / "ecgbench/ptb-test.json").write_text(json.dumps([record]))
    with pytest.raises(InputError, match=sentence):
        chosen("ecgbench_ptbxl_super")[0].items(tmp_path)


def test_a_question_goes_through_json(data: Path) -> None:
    for item in (*ecgqa.items(data), *ptbxl_super.items(data)):
        assert Item.of(json.loads(json.dumps(item.to_dict()))) == item


@pytest.mark.parametrize("gone", ["ptbxl/labels.csv", "ptbxl/signals_250hz_int16.npy", "ecgqa/questions.json"])
def test_a_missing_file_is_named(data: Path, gone: str) -> None:
    (data / gone).unlink()
    with pytest.raises(InputError, match=r"the task ecgqa reads .* is not there"):
        ecgqa.items(data)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"question": "?"}]'])
def test_a_file_of_something_else_is_refused(data: Path, text: str) -> None:
    (data / "ecgqa/questions.json").write_text(text)
    with pytest.raises(InputError, match="no file of ECG-QA"):
        ecgqa.items(data)


def test_tasks_are_chosen_by_name_and_plugged_in() -> None:
    assert [task.name for task in chosen("ptbxl_super, ecgqa")] == ["ptbxl_super", "ecgqa"]
    assert {"ptbxl_super", "ecgqa"} <= {task.name for task in chosen("all")}
    for names in ("", " , ", "ecgqa,ecgqa"):
        with pytest.raises(InputError, match="names no task, or one twice"):
            chosen(names)
    with pytest.raises(InputError, match="did you mean ecgqa"):
        chosen("ecg_qa")
    mine = EvalTask("x", "mine", "nothing", lambda _: [], "{question}")
    plugins.tasks.add("mine", mine)
    plugins.tasks.add("wrong", "llava_ecg.errors:InputError")
    try:
        assert [task.name for task in chosen("mine")] == ["mine"]
        with pytest.raises(InputError, match="no EvalTask"):
            chosen("wrong")
    finally:
        plugins.tasks.remove("mine")
        plugins.tasks.remove("wrong")


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([], "no ECG and no image"),
        ([{}], "names neither of ecg and image"),
        ([{"ecg": "a.npy", "colour": 1}], "a block says colour"),
        ([{"ecg": "a.npy", "row": 0}], "needs rate, unit, leads too"),
        ([{"ecg": "a.npy", "row": 0, "rate": 1, "unit": 1, "leads": []}], "can't be read"),
        ([{"ecg": "a.hea"}], "a.hea"),
    ],
)
def test_blocks_that_tell_of_nothing(blocks: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        case(blocks)


def test_a_row_that_is_not_there(data: Path) -> None:
    [first, *_] = ptbxl_super.items(data)
    with pytest.raises(InputError, match="no row 4 of"):
        case([{**first.sources[0], "row": 4}])


def test_questions_about_one_ecg_are_asked_behind_each_other(tmp_path: Path) -> None:
    asked = [question(10, ["yes"]), question(11, ["no"]), question(10, ["no"]), question([10, 11], ["no"])]
    data = write(tmp_path / "data", [*asked, question(11, ["yes"])])
    assert [item.name for item in ecgqa.items(data)] == [f"questions-{place}" for place in (0, 2, 1, 4, 3)]


def test_the_three_ways_of_a_question_stay_together() -> None:
    ways = [
        Item(f"{q}@{w}", "?", (), ({"ecg": e, "show": [w]},)) for q, e in (("a", 1), ("b", 2), ("c", 1)) for w in "xy"
    ]
    assert [item.name for item in by_ecg(ways)] == ["a@x", "a@y", "c@x", "c@y", "b@x", "b@y"]


def test_the_last_ecgs_are_opened_once(data: Path) -> None:
    blocks = [item.sources for item in ptbxl_super.items(data)]
    opened = Lately(most=2)
    first = opened(blocks[0])
    assert opened(list(blocks[0])) is first and opened(blocks[1]) is not first
    assert opened(blocks[0]) is first  # used last, so that another goes
    opened(blocks[2])
    assert opened(blocks[0]) is first and opened([{**blocks[0][0], "show": ["ecg"]}]) is not first
    opened(blocks[1])
    assert opened(blocks[0]) is not first
    with pytest.raises(InputError, match="no ECG"):
        opened([])
