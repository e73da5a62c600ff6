"""``llava-ecg compare``: the paired test by hand and by its error rate, the table in all its forms, and mistakes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.eval.compare import Row, Table, as_csv, as_markdown, as_text, compare
from llava_ecg.eval.compare_picture import draw
from llava_ecg.eval.items import Item, Told
from llava_ecg.eval.marking import Labels, Options
from llava_ecg.eval.modality import Missing
from llava_ecg.eval.paired import common, paired
from llava_ecg.eval.parsers import Label

ITEMS = [Item(f"q{n}", "?", ("yes",), ({},), ("yes", "no"), group=f"p{n // 2}") for n in range(40)]


def told(right: list[bool]) -> list[Told]:
    return [Told("", ["yes"] if each else ["no"]) for each in right]


def test_the_difference_by_hand() -> None:
    first, second = [n < 20 for n in range(40)], [n < 30 for n in range(40)]
    found = paired(Options(), ITEMS, told(first), told(second))["accuracy"]
    assert found.difference == pytest.approx(0.25)
    assert found.low is not None and 0 < found.low < 0.25
    # five patients of whom both answers differ, each in favour of the second: 2 of 2^5 swaps are as far
    assert found.p == pytest.approx(2 / 32, abs=0.03)
    assert found.common == 40
    back = paired(Options(), ITEMS, told(second), told(first))["accuracy"]
    assert back.difference == pytest.approx(-0.25)


def test_equal_answers_do_not_differ() -> None:
    right = [n % 3 == 0 for n in range(40)]
    found = paired(Options(), ITEMS, told(right), told(right))["accuracy"]
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_of_models_that_are_alike_five_in_a_hundred_differ() -> None:
    """The rate of false alarms at 5 %; a test that forgot the patients would give far more."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        one, other = (list(np.repeat(rng.random(20) < 0.6, 2)) for _ in range(2))  # both answers of a patient alike
        found = paired(Options(), ITEMS, told(one), told(other))["accuracy"]
        alarms += found.p is not None and found.p <= 0.05
    assert alarms <= 11


def test_a_figure_that_is_no_mean_is_tested_too() -> None:
    labels = Labels((Label("A"), Label("B")))
    items = [replace(item, truth=("A",) if n % 2 else ("B",), options=()) for n, item in enumerate(ITEMS)]
    good = [Told("", list(item.truth)) for item in items]
    bad = [Told("", ["A"]) for _ in items]
    found = paired(labels, items, bad, good)
    assert found["f1"].difference == pytest.approx(1 - 1 / 3)
    assert found["f1"].p is not None and found["f1"].p < 0.01
    assert found["hamming_loss"].difference == pytest.approx(-0.5)


def test_agreement_is_within_each_run() -> None:
    """A question asked in three ways stands in both runs under one name."""
    ways = [replace(ITEMS[n], name=f"q{n}@{way}", group=f"p{n}") for n in range(6) for way in ("ecg", "image", "both")]
    firm = told([True] * 18)
    torn = told([n % 3 != 1 for n in range(18)])
    found = paired(Missing(Options()), ways, firm, torn)
    assert found["agreement_ecg_image"].difference == -1
    assert found["agreement_ecg_both"].difference == 0


def test_a_question_of_one_name_is_one_question() -> None:
    moved = [replace(item, sources=({"ecg": "/elsewhere/a.hea"},)) for item in ITEMS[5:]]
    assert common(ITEMS, moved, ("a", "b")) == [(n + 5, n) for n in range(35)]
    other = [replace(ITEMS[0], truth=("no",))]
    with pytest.raises(InputError, match="q0 is another question in a than in b"):
        common(ITEMS, other, ("a", "b"))


TABLE = Table(
    (
        Row("t", "f1", "%", "run", "mine", 50.0, 40.0, 60.0, 10, 1, 0),
        Row("t", "f1", "%", "run", "a|b", 70.0, 60.0, 80.0, 10, 0, 2, 20.0, 5.0, 35.0, 0.0123, 9),
        Row("t", "f1", "%", "published", "GEM", 73.6),
        Row("t", "rate", "bpm", "run", "mine", None, None, None, 0, 0, 0),
    ),
    ("a note",),
)


def test_the_table_as_text_markdown_and_csv() -> None:
    text = as_text(TABLE).splitlines()
    assert text[1].split() == ["t", "f1,", "%", "mine", "50.0", "[40.0,", "60.0]", "10", "1", "0"]
    assert text[2].split() == [
        "a|b",
        "70.0",
        "[60.0,",
        "80.0]",
        "10",
        "0",
        "2",
        "+20.0",
        "[5.0,",
        "35.0]",
        "0.012",
        "9",
    ]
    assert text[3].split() == ["GEM,", "published", "73.6"]
    assert text[4].split() == ["rate,", "bpm", "mine", "-", "0", "0", "0"]
    assert text[-1] == "note: a note"
    lines = as_markdown(TABLE).splitlines()
    assert {line.count("|") for line in lines[:6]} == {13}
    assert lines[-1] == "- a note" and "a/b" in lines[3]
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert (rows[1]["name"], rows[1]["p"], rows[1]["difference"]) == ("a|b", "0.0123", "20.0")
    assert rows[3]["value"] == ""


def test_the_picture_has_a_dot_where_the_figure_is() -> None:
    image = draw(TABLE)
    assert image.size[0] == 1400
    half = [y for y in range(image.size[1]) if image.getpixel((460 + (1400 - 460 - 150) // 2, y)) == (11, 98, 164)]
    assert half and max(half) - min(half) < 16  # the dot of 50 %, in the middle of the axis
    beside = [image.getpixel((460 + (1400 - 460 - 150) // 2 + aside, min(half) + 1)) for aside in (-20, 20)]
    assert (11, 98, 164) not in beside
    one = draw(Table(TABLE.rows[:1]))
    assert one.size[1] < image.size[1]


@pytest.fixture
def two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Path, Path]]:
    pytest.importorskip("inspect_ai", reason="the extra eval brings it")
    from tests.eval.bench import question
    from tests.eval.test_faults import lines

    data = tmp_path / "data"
    (data / "ecgbench/images").mkdir(parents=True)
    for n in range(8):
        Image.new("RGB", (60, 40), "white").save(data / f"ecgbench/images/{n}.png")
    rows = [question(f"s{n}", f"{n}.png", "Labels?", ("NORM", "MI")[n % 2]) for n in range(8)]
    (data / "ecgbench/ptb-test.json").write_text(json.dumps(rows))

    def made(**answers: str) -> tuple[Path, Path]:
        for name, text in answers.items():
            given = lines(tmp_path / f"{name}.jsonl", **{f"s{n}": text for n in range(8)})
            given.write_text(given.read_text().replace("GEM", name))
            words = ["--data", str(data), "--out", str(tmp_path / name), "--answers", str(given)]
            assert main(["eval", "--tasks", "ecgbench_ptbxl_super", *words]) == 0
        capsys.readouterr()
        one, two = (tmp_path / name for name in answers)
        return one, two

    return made


def test_the_command(two_runs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = two_runs(mine="NORM", theirs="no idea")
    files = {name: tmp_path / f"out.{name}" for name in ("md", "csv", "png")}
    given = ["--markdown", str(files["md"]), "--csv", str(files["csv"]), "--plot", str(files["png"])]
    assert main(["compare", str(one), str(two), *given]) == 0
    text = capsys.readouterr().out
    assert "GEM (from LLaVA), published" in text and "hamming_loss, %" in text
    rows = list(csv.DictReader(files["csv"].open()))
    loss = {row["name"]: row for row in rows if row["metric"] == "hamming_loss"}
    # of 5 labels, NORM for all is wrong in 2 of half the questions; an answer that can't be read in all 5
    assert float(loss["mine"]["value"]) == pytest.approx(20)
    assert float(loss["theirs"]["value"]) == 100
    assert loss["theirs"]["unparsed"] == "8"
    assert float(loss["theirs"]["difference"]) == pytest.approx(80)
    assert float(loss["theirs"]["p"]) < 0.05 and loss["theirs"]["common"] == "8"
    assert float(loss["PULSE"]["value"]) == 11.0
    assert Image.open(files["png"]).size[0] == 1400
    assert "| hamming_loss, % | PULSE, published |" in files["md"].read_text()
    assert main(["compare", str(one), str(two), "--json", "--tasks", "ecgbench_ptbxl_super"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in told["rows"]} == {"run", "chance", "majority", "published"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{one}"], "a comparison is of two runs or more"),
        (["{one}", "{one}"], "a folder is named twice"),
        (["{one}", "nowhere"], "holds no log"),
        (["{one}", "{two}", "--tasks", "ecgqa"], "has no run of ecgqa"),
        (["{one}", "{two}", "--plot", "a.jpg"], "does not end in .png"),
    ],
)
def test_mistakes(words: list[str], sentence: str, two_runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = two_runs(mine="NORM", theirs="MI")
    assert main(["compare", *(word.format(one=one, two=two) for word in words)]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1


def test_runs_without_a_common_task_and_runs_by_other_judges() -> None:
    pytest.importorskip("inspect_ai", reason="the extra eval brings it")
    from llava_ecg.eval.runs import Outcome
    from llava_ecg.eval.tasks import ecgbench_cpsc, ecgqa

    def outcome(task: Any, model: str, **facts: Any) -> Outcome:
        answers = told([True] * 40)
        scores = task.scores(ITEMS, answers) if task is ecgqa else None
        return Outcome(task, model, ITEMS, answers, scores, {}, {}, (0, ""), 40, "log", facts)

    with pytest.raises(InputError, match="share no task: a has ecgqa; b has ecgbench_cpsc"):
        compare({"a": [outcome(ecgqa, "a")], "b": [outcome(ecgbench_cpsc, "b")]})
    found = compare({"a": [outcome(ecgqa, "a", judges=["x"])], "b": [outcome(ecgqa, "b", judges=["y"])]})
    assert [row.p for row in found.rows if row.kind == "run"] == [None, None]
    assert any("judges is ['x'] in a and ['y'] in b; they are not tested" in note for note in found.notes)
    same = compare({"a": [outcome(ecgqa, "a", template="v1")], "b": [outcome(ecgqa, "b", template="v0")]})
    assert [row.p for row in same.rows if row.kind == "run"] == [None, 1]
    assert any("template is v1 in a and v0 in b" in note for note in same.notes)
