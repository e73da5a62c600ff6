"""``llava-ecg prepare ecgbench``: records are found by name, and what is not found is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h5py", reason="the extra formats brings it")

from llava_ecg.cli import main
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.hdf5 import exam_ids
from llava_ecg.ecg.measure import measure
from llava_ecg.errors import InputError
from llava_ecg.eval.ecgbench import lettered, listed
from llava_ecg.eval.prepare import prepare
from llava_ecg.eval.tasks import chosen
from tests.eval.bench import RATES, write_images, write_questions, write_records


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Questions, records and what ``prepare`` made of them."""
    root = tmp_path_factory.mktemp("bench")
    write_questions(root / "questions")
    write_images(root / "questions/images")
    ecgs = write_records(root / "ecgs")
    return {
        "root": root,
        "ecgs": ecgs,
        "data": root / "data",
        "files": prepare(root / "questions", ecgs, root / "data"),
    }


def written(there: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((there["data"] / f"ecgbench/{name}.json").read_text())
    return found


def test_every_question_finds_its_record(there: dict[str, Any]) -> None:
    assert len(there["files"]) == 11
    assert [each.unresolved for each in there["files"]] == [()] * 11
    assert json.loads((there["data"] / "ecgbench/unresolved.json").read_text()) == []
    [first, *_] = written(there, "ptb-test")
    assert first["ecg"] == [str(there["ecgs"]["PTBXL"] / "records500/00000/00001_hr.hea")]
    [csn] = written(there, "csn-test-no-cot")
    assert csn["ecg"][0].endswith("WFDBRecords/01/010/JS00001.hea")


def test_exams_go_by_their_id_and_not_by_their_row(there: dict[str, Any]) -> None:
    first, second = written(there, "code15-test")
    assert first["ecg"][0].endswith("exams_part0.hdf5#7001")
    slow, fast = (read(each["ecg"][0]) for each in (first, second))
    assert measure(slow).heart_rate_bpm == pytest.approx(RATES[0], abs=2)
    assert measure(fast).heart_rate_bpm == pytest.approx(RATES[1], abs=2)


def test_a_row_that_only_fills_is_no_exam(there: dict[str, Any], tmp_path: Path) -> None:
    assert exam_ids(there["ecgs"]["CODE15"] / "exams_part0.hdf5") == ["7002", "7001"]
    (tmp_path / "a.hdf5").write_bytes(b"none")
    with pytest.raises(InputError, match="can't be read as HDF5"):
        exam_ids(tmp_path / "a.hdf5")


def test_questions_about_one_patient_share_a_group(there: dict[str, Any]) -> None:
    assert [row["group"] for row in written(there, "ptb-test")] == ["PTBXL 17", "PTBXL 18", "PTBXL 17"]
    assert [row["group"] for row in written(there, "code15-test")] == ["CODE15 5", "CODE15 6"]
    assert written(there, "ecg-grounding-test-mimiciv")[2]["group"] == "MIMIC p10000002"


def test_the_tasks_read_what_was_written(there: dict[str, Any]) -> None:
    told = {
        name: chosen(name)[0].items(there["data"]) for name in ("ecgbench_code15", "ecgbench_csn", "ecgbench_ecgqa")
    }
    assert [item.truth for item in told["ecgbench_code15"]] == [("NORM",), ("1dAVb", "SB")]
    [letter] = told["ecgbench_csn"]
    assert (letter.truth, letter.options) == (("A",), ("Sinus rhythm", "Atrial flutter", "Pacing"))
    assert letter.question.startswith("Which is it?")
    yes, no = told["ecgbench_ecgqa"]
    assert (yes.truth, no.truth, yes.options) == (("yes",), ("no",), ("yes", "no"))
    [arena] = chosen("ecgbench_arena")[0].items(there["data"])
    assert (arena.question, arena.turns) == ("Rhythm?", ("Rate?",))
    assert arena.reference == "Sinus rhythm.\n\n75 bpm."
    lent = [item.lent for item in chosen("measured_mimic")[0].items(there["data"])]
    own = [item.sources for item in chosen("measured_mimic")[0].items(there["data"])]
    assert all(one != other for one, other in zip(lent, own, strict=True)) and sorted(map(str, lent)) == sorted(
        map(str, own)
    )


def test_what_is_not_found_is_listed_and_fails_when_it_is_asked(
    there: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = tmp_path / "questions"
    questions.mkdir()
    rows = written(there, "ptb-test")
    raw = [
        {"id": row["id"], "image": f"ptb-xl/0000{n}_hr-0.png", "conversations": row["conversations"]}
        for n, row in enumerate(rows)
    ]
    (questions / "ptb-test.jsonl").write_text("\n".join(map(json.dumps, raw)))
    (questions / "cpsc-test.json").write_text("[]")
    given = ["--questions", str(questions), "--ecg", f"PTB-XL={there['ecgs']['PTBXL']}", "--out", str(tmp_path / "d")]
    assert main(["prepare", "ecgbench", *given]) == 1
    out = capsys.readouterr().out
    assert "ptb-test: 3 questions, 1 unresolved" in out
    assert "s0: ptb-xl/00000_hr-0.png: no record below" in out
    assert "cpsc-test: left out, 0 questions; give their records, --ecg CPSC=DIR" in out
    [missing] = json.loads((tmp_path / "d/ecgbench/unresolved.json").read_text())
    assert missing["id"] == "s0"
    from llava_ecg.eval.sources import case

    first, second, _ = chosen("ecgbench_ptbxl_super")[0].items(tmp_path / "d")
    assert Path(first.sources[0]["ecg"]).is_relative_to(there["ecgs"]["PTBXL"])
    with pytest.raises(InputError, match="00000_hr"):
        case(first.sources)
    assert case(second.sources).recording is not None


def test_two_records_of_one_name_are_none(tmp_path: Path) -> None:
    from tests.eval.bench import question, write_record

    write_record(tmp_path / "e/a/A0001", 0)
    write_record(tmp_path / "e/b/A0001", 1)
    (tmp_path / "q").mkdir()
    (tmp_path / "q/cpsc-test.json").write_text(json.dumps([question("p", "cpsc/A0001-0.png", "?", "AF")]))
    [found] = prepare(tmp_path / "q", {"CPSC": tmp_path / "e"}, tmp_path / "d")
    assert "several records" in found.unresolved[0][2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ecg", "PTB=x"], "names no data set of the benchmark"),
        (["--ecg", "CPSC=nowhere"], "there is no such folder"),
        (["--ecg", "CPSC=."], "no question file in"),
        (["--ecg", "MIMIC=.", "--ecg", "MIMIC=."], "names MIMIC twice"),
    ],
)
def test_mistakes(words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mmmu-ecg.json").write_text("[]")
    assert main(["prepare", "ecgbench", "--questions", str(tmp_path), "--out", str(tmp_path / "o"), *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_a_folder_without_question_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "ecgbench", "--questions", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "holds no question file that is known" in capsys.readouterr().err
    (tmp_path / "ptb-test.json").write_text("{")
    with pytest.raises(InputError, match="can't be read as JSON"):
        prepare(tmp_path, {}, tmp_path / "o")
    with pytest.raises(SystemExit):
        main(["prepare", "ecgbench", "--questions", str(tmp_path), "--out", "o", "--ecg", "PTBXL"])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("Which?\nA. one two\nB. three", ("one two", "three")),
        ("Which? A. one B. two C. three", ("one", "two", "three")),
        ("Which? (A) one, (B) two", ("one", "two")),
        ("An ECG. And no options.", ()),
        ("A. alone", ()),
    ],
)
def test_lettered_options(text: str, options: tuple[str, ...]) -> None:
    assert lettered(text) == options


def test_listed_options() -> None:
    assert listed("Which? Options: lead I, lead II. Only answer based on the given Options.") == ("lead I", "lead II")
    assert listed("Which?") == ()
