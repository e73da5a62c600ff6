"""``llava-ecg instruct`` from files to files, as a person types it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.cli import main
from llava_ecg.data.records import Records
from llava_ecg.ecg.views import GEM_NAMES
from llava_ecg.instruct.facts import Given
from llava_ecg.instruct.produce import splits

from ..train.test_run import flags, parts  # noqa: F401  (fixture)
from .made import HEARTS, save

LABELS = {
    "normal": ("p1", "sinus rhythm. normal ecg", ""),
    "slow": ("p1", "sinus bradycardia", ""),
    "lbbb": ("p2", "", "164909002"),
    "af": ("p3", "atrial fibrillation", ""),
    "block": ("p4", "atrial fibrillation", ""),  # which it is not
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("produce")
    lines = ["record,patient,report,snomed"]
    for name, (patient, report, snomed) in LABELS.items():
        save(place, name, HEARTS[name], seed=2)
        lines.append(f"{name}.npz,{patient},{report},{snomed}")
    (place / "broken.npz").write_text("nothing")
    (place / "records.csv").write_text("\n".join([*lines, "broken.npz,p5,,"]) + "\n")
    assert run(place, "a", "--val", "0.5") == 0
    return place


def run(place: Path, name: str, *words: str) -> int:
    return main(["instruct", "--records", str(place / "records.csv"), "--out", str(place / f"{name}.jsonl"), *words])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_reads_it_and_validate_accepts_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jsonl", "a.val.jsonl"):
        records = Records.open(place / name)
        assert len(records) > 10 and all(each.turns[-1].role == "assistant" for each in records)
        assert main(["validate", str(place / name), "--ecg_folder", str(place), "--processes", "1"]) == 0
    assert "no problems" in capsys.readouterr().out


def test_no_patient_is_in_both_parts(place: Path) -> None:
    patients = {f"{name}.npz": patient for name, (patient, *_) in LABELS.items()}
    seen = []
    for name in ("a.jsonl", "a.val.jsonl"):
        shown = [each["ecg"] for each in lines(place / name)]
        seen.append({patients[one] for each in shown for one in ([each] if isinstance(each, str) else each)})
    assert seen[0] and seen[1] and not seen[0] & seen[1]


def test_what_contradicts_its_report_is_set_aside_and_what_cant_be_read_is_told(place: Path) -> None:
    [aside] = lines(place / "a.setaside.jsonl")
    assert aside["record"] == "block.npz" and "atrial fibrillation is stated" in aside["reasons"][0]
    [failure] = lines(place / "a.failures.jsonl")
    assert failure["record"] == "broken.npz" and failure["reason"]
    shown = json.dumps(lines(place / "a.jsonl") + lines(place / "a.val.jsonl"))
    assert "block.npz" not in shown and "broken.npz" not in shown


def test_each_line_says_where_it_comes_from(place: Path) -> None:
    found = lines(place / "a.jsonl") + lines(place / "a.val.jsonl")
    assert len({each["id"] for each in found}) == len(found)
    for each in found:
        source = each["provenance"]
        assert source["writer"] == "offline" and source["seed"] == 0 and source["attempts"] >= 1
        assert "recommendations" in source["guide"] and "phrases" in source["prompt"]
        assert source["audit"]["contradicted"] == source["audit"]["unmeasurable"] == 0
        assert len(source["facts"]) == (2 if each["task"] == "two ECGs" else 1)
    tasks = Counter(each["task"].split(" ")[0] for each in found)
    assert tasks["two"] == 2 and tasks["feature"] == 12 and tasks["yes"] == tasks["choice"] == 8


def test_a_second_run_measures_nothing_and_writes_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--facts", str(place / "a.facts"), "--val", "0.5", "--json"]
    assert run(place, "b", *words) == 0
    assert json.loads(capsys.readouterr().out)["measured"] == 0
    assert (place / "b.jsonl").read_text() == (place / "a.jsonl").read_text()
    assert run(place, "b", *words, "--seed", "1") == 0
    assert (place / "b.jsonl").read_text() != (place / "a.jsonl").read_text()


def test_pages_gems_measurements_and_the_six_steps(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = place / "pages"
    words = ["--images", str(pages), "--measurements", "gem", "--protocol", "six-step", "--limit", "1", "--val", "0"]
    assert run(place, "c", "--facts", str(place / "a.facts"), *words) == 0
    found = lines(place / "c.jsonl")
    assert {each["ecg"] for each in found} == {"normal.npz"} and not (place / "c.val.jsonl").exists()
    assert all((pages / each["image"]).is_file() for each in found)
    assert all(tuple(each["machine_measurements"]["V1"]) == GEM_NAMES for each in found)
    [whole] = [each for each in found if each["task"] == "interpretation"]
    assert whole["conversations"][1]["value"].split("\n")[5].startswith("6. Conclusion: ")
    folders = ["--ecg_folder", str(place), "--image_folder", str(pages), "--processes", "1"]
    assert main(["validate", str(place / "c.jsonl"), *folders]) == 0


def test_without_volts_there_is_no_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bare.csv").write_text("record,volts\nnormal.npz,no\n")
    out = place / "d.jsonl"
    words = ["--records", str(place / "bare.csv"), "--out", str(out), "--images", str(place / "none"), "--val", "0"]
    assert main(["instruct", *words]) == 0
    assert "1 recordings have no page" in capsys.readouterr().out
    assert not any("image" in each for each in lines(out)) and lines(out)


def test_splits() -> None:
    def of(patient: str, split: str = "", name: str = "x") -> Given:
        return Given(Path(name), name, patient=patient, split=split)

    given = tuple(of(str(number)) for number in range(2000))
    split = splits(given, 0.1)
    assert 150 < sum(split(each) == "val" for each in given) < 250
    assert all(splits(given, share)(given[7]) == part for share, part in ((0.0, "train"), (1.0, "val")))
    both = (of("7", "train"), of("7", "val"), of("8", "train"))
    assert [splits(both, 1.0)(each) for each in both] == ["val", "val", "train"]
    alone = tuple(of("", name=str(number)) for number in range(200))
    assert len({splits(alone, 0.5)(each) for each in alone}) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "x.json"], "whose name ends in .jsonl"),
        (["--records", "nowhere"], "there is no nowhere"),
        (["--reports", "nowhere.csv"], "can't read nowhere.csv"),
        (["--facts", "FILE"], "--facts is a folder"),
        (["--images", "FILE"], "--images is a folder"),
        (["--out", "FILE/x.jsonl"], "can't"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], sentence: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [word.replace("FILE", str(place / "records.csv")) for word in words]
    asked = {"--records": str(place / "records.csv"), "--out": str(tmp_path / "x.jsonl")} | dict([typed])
    assert main(["instruct", *(word for pair in asked.items() for word in pair)]) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err and len(shown.err.splitlines()) == 1 and not shown.out


@pytest.mark.parametrize(
    "words", [["--writer", "telepathic"], ["--protocol", "two-step"], ["--measurements", "mimic"], ["--val", "2"]]
)
def test_what_argparse_refuses(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(place, "e", *words)
    assert stopped.value.code == 2 and words[1] in capsys.readouterr().err


def test_real_recordings_with_the_codes_of_their_headers(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--records",
        str(shared / "data" / "cinc2021"),
        "--out",
        str(tmp_path / "real.jsonl"),
        "--limit",
        "8",
        "--json",
    ]
    assert main(["instruct", *words, "--val", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recordings"] == 8 and found["failures"] == 0 and found["lines"]["train"] > 80
    assert found["audit"]["contradicted"] == 0 and found["audit"]["supported"] > 400
    named = " ".join(json.dumps(each["conversations"]) for each in lines(tmp_path / "real.jsonl"))
    assert "right bundle branch block" in named and "atrial fibrillation" in named


def test_a_training_consumes_it(
    place: Path,
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("accelerate")
    from llava_ecg.train.run import main as train

    words = flags(place, parts, tmp_path / "out", "--model_max_length", "8192")
    words[words.index("--data_path") + 1] = str(place / "a.jsonl")
    words[words.index("--max_steps") + 1] = "1"
    assert train(words) == 0
    assert "{'loss'" in capsys.readouterr().out
