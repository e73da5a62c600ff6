"""The toy data set: complete, repeatable, and its answers true of its records."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from llava_ecg.ecg.leads import STANDARD

SCRIPT = Path(__file__).resolve().parent.parent / "playground" / "make_toy.py"


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_toy", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_toy"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("toy")
    assert toy.main([str(out), "--count", "12", "--seed", "3", "--pages", "--test-share", "0.25"]) == 0
    return out


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_record_is_complete(made: Path) -> None:
    train, test, truth = (json.loads((made / f"{name}.json").read_text()) for name in ("train", "test", "truth"))
    assert (len(train), len(test), len(truth)) == (9, 3, 12)
    for record in train + test:
        with np.load(made / record["ecg"]) as file:
            assert file["signal"].shape == (12, 5000) and file["signal"].dtype == np.int16
            assert (float(file["rate"]), str(file["unit"]), tuple(file["leads"])) == (500.0, "uV", STANDARD)
        with Image.open(made / record["image"]) as image:
            assert image.size == (550, 425)
        turns = record["conversations"]
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2) and turns
        assert turns[0]["value"].startswith("<image>\n") and sum("<image>" in turn["value"] for turn in turns) == 1
        assert truth[record["id"]]["split"] == ("train" if record in train else "test")


def test_same_arguments_same_bytes(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    assert toy.main([str(tmp_path), "--count", "12", "--seed", "3", "--pages", "--test-share", "0.25"]) == 0
    assert _bytes(tmp_path) == _bytes(made)


def test_another_seed_other_records(toy: ModuleType, made: Path, tmp_path: Path) -> None:
    assert toy.main([str(tmp_path), "--count", "2", "--seed", "4"]) == 0
    assert (tmp_path / "ecg/000000.npz").read_bytes() != (made / "ecg/000000.npz").read_bytes()
    assert not (tmp_path / "image").exists() and "image" not in json.loads((tmp_path / "train.json").read_text())[0]


def test_the_project_reads_what_it_makes(made: Path) -> None:
    formats = pytest.importorskip("llava_ecg.ecg.formats")
    recording = formats.read(made / "ecg/000000.npz")
    with np.load(made / "ecg/000000.npz") as file:
        np.testing.assert_allclose(recording.signal, file["signal"] / 1000, atol=1e-4)
    assert recording.rate == 500 and recording.leads == STANDARD


@pytest.mark.parametrize(
    ("bpm", "says"),
    [(59.4, "59 bpm, a slow"), (59.6, "60 bpm, a normal"), (100.4, "100 bpm, a normal"), (100.6, "101 bpm, a fast")],
)
def test_category_is_that_of_the_number_said(toy: ModuleType, bpm: float, says: str) -> None:
    answers = dict(toy.questions(toy.Facts(heart_rate_bpm=bpm), np.random.default_rng(0)))
    assert any(says in answer for answer in answers.values())


def test_interpretation_of_a_normal_and_of_a_sick_heart(toy: ModuleType) -> None:
    normal = toy.Facts(72.2, True, True, 158, 91, 388, 424, 47)
    text = toy.interpretation(normal, np.random.default_rng(0))
    for part in (
        "72 bpm",
        "PR interval is 160 ms (normal)",
        "QRS duration is 90 ms (narrow)",
        "QTc is 420 ms (normal",
        "QT 390 ms",
        "axis is 50 degrees (normal)",
    ):
        assert part in text
    assert text.endswith("Impression: sinus rhythm at a normal rate.")
    sick = toy.Facts(131, False, False, None, 152, 330, 488, -62, conduction="left bundle branch block")
    text = toy.interpretation(sick, np.random.default_rng(0))
    for part in (
        "irregular without P waves",
        "131 bpm",
        "cannot be given without P waves",
        "150 ms (wide)",
        "490 ms (prolonged",
        "-60 degrees (left axis",
    ):
        assert part in text
    assert text.endswith("Impression: atrial fibrillation at a fast rate, left bundle branch block, a prolonged QTc.")


def test_what_was_not_measured_is_said_to_be_so(toy: ModuleType) -> None:
    facts = toy.Facts(80.0)
    text = toy.interpretation(facts, np.random.default_rng(0))
    assert text.count("could not be measured") == 4 and "None" not in text and "sinus" not in text


@pytest.mark.parametrize(
    ("axis", "says"),
    [
        (-179.9, "180 degrees (right"),
        (-91, "-90 degrees (left"),
        (-96, "-100 degrees (extreme"),
        (94, "90 degrees (normal)"),
    ],
)
def test_axis_words(toy: ModuleType, axis: float, says: str) -> None:
    assert says in toy.interpretation(toy.Facts(70, axis_deg=axis), np.random.default_rng(0))


@pytest.mark.parametrize("extra", [["--count", "-1"], ["--test-share", "2"]])
def test_impossible_arguments_end_with_2(toy: ModuleType, tmp_path: Path, extra: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        toy.main([str(tmp_path), *extra])
    assert stop.value.code == 2


def test_bad_folders_end_with_2_and_one_sentence(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert toy.main([str(tmp_path / "file"), "--count", "1"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("make_toy.py: ")
