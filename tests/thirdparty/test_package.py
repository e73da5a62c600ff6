"""A package of somebody else: found, listed, trained with, saved, opened, asked. Nothing of llava_ecg names it."""

from __future__ import annotations

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llava_ecg.case import Case, Decoding
from llava_ecg.cli import main
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.plugins import towers
from tests.thirdparty.conftest import run

RHYTHM = {"samples": 600, "patch": 50, "width": 16}
QUIET = ["--use_cpu", "--report_to", "none", "--disable_tqdm", "true", "--logging_steps", "1", "--save_strategy", "no"]
STEPS = ["--per_device_train_batch_size", "2", "--learning_rate", "3e-3", "--max_steps"]


@pytest.fixture(scope="module")
def tower(plugged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's signal tower in a folder, with random weights."""
    from llava_ecg_example.rhythm import RhythmTower

    from llava_ecg.model.saving import save_tower

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("tower") / "rhythm"
    save_tower(RhythmTower(**RHYTHM), "rhythm", RHYTHM, {"rate": 100.0, "lead": "II"}, folder)
    return folder


@pytest.fixture(scope="module")
def trained(
    base: Path, tower: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A model of the package's tower, projector and template after five steps on its data set, and what was said."""
    out = tmp_path_factory.mktemp("trained") / "out"
    words = ["llava_ecg.train", "--model_name_or_path", str(base), "--towers", f"rhythm={tower}"]
    words += ["--projectors", "rhythm=gated", "--version", "terse", "--unfreeze_towers", "rhythm"]
    words += ["--data_path", "fast_or_slow", "--output_dir", str(out), *QUIET, *STEPS, "5"]
    done = run(words, environment, tower.parent)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture
def strip(plugged: Path, tmp_path: Path) -> Path:
    """Ten seconds of lead II as the package's reader has them."""
    from llava_ecg_example.reader import write_strip

    write_strip(tmp_path / "holter.strip", simulate(seed=3, rate=250)[0], ("II",))
    return tmp_path / "holter.strip"


@pytest.fixture
def twelve(plugged: Path, tmp_path: Path) -> Path:
    """All leads in the same format."""
    from llava_ecg_example.reader import write_strip

    recording = simulate(seed=4, rate=250)[0]
    write_strip(tmp_path / "twelve.strip", recording, recording.leads)
    return tmp_path / "twelve.strip"


def ask(model: Path, case: Case) -> Any:
    from llava_ecg.assistant import Assistant

    assistant = Assistant.open(model, device="cpu", dtype="float32")
    return assistant.ask([Turn("user", "Fast?")], case, Decoding(max_new_tokens=3))


def test_the_list_says_what_it_brings_and_whether_it_can_be_used(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(["llava_ecg", "list"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "rhythm:RhythmTower" in line]
    assert line.split() == ["rhythm", "llava-ecg-example", "1.0", "llava_ecg_example.rhythm:RhythmTower", "ok"]
    assert done.stdout.count("llava-ecg-example 1.0") == 7
    [image] = [line for line in done.stdout.splitlines() if "page:OpenClipTower" in line]
    if find_spec("open_clip") is None:
        assert image.endswith("can't be imported: No module named 'open_clip'")
    [own] = [line for line in done.stdout.splitlines() if "EcgCoCaTower" in line]
    assert own.split() == ["ecg_coca", "built", "in", "llava_ecg.model.towers.ecg_coca:EcgCoCaTower", "ok"]


def test_its_format_is_read_by_its_content(strip: Path, tmp_path: Path) -> None:
    renamed = strip.rename(tmp_path / "holter.txt")
    recording = read(renamed)
    assert (recording.format, recording.rate, recording.leads) == ("strip", 250, ("II",))
    truth = simulate(seed=3, rate=250)[0].lead("II")
    assert np.abs(recording.signal[0] - truth).max() < 0.001  # microvolts were rounded
    (tmp_path / "bad.strip").write_text("#STRIP 125 II\n1 2\n3\n")
    with pytest.raises(InputError, match=r"bad\.strip is no table of columns"):
        read(tmp_path / "bad.strip")


def test_the_run_says_what_it_trained(trained: tuple[Path, str], tower: Path) -> None:
    out, said = trained
    assert "8 conversations from " in said
    [row] = [line.split() for line in said.splitlines() if line.startswith("towers.rhythm")]
    assert row[1] == row[2] != "0"
    losses = [json.loads(line).get("loss") for line in (out / "log.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if loss is not None and np.isfinite(loss)]) == 5


def test_what_is_saved_holds_its_parts(trained: tuple[Path, str], tower: Path) -> None:
    from safetensors.torch import load_file

    config = json.loads((trained[0] / "config.json").read_text())
    assert config["template"] == "terse"
    assert config["streams"]["rhythm"] == {
        "tower": "rhythm",
        "tower_config": RHYTHM,
        "projector": "gated",
        "through": None,
        "preparation": {"rate": 100.0, "lead": "II"},
    }
    state = load_file(trained[0] / "model.safetensors")
    began = load_file(tower / "model.safetensors")
    assert not torch.equal(state["towers.rhythm.coarse.weight"], began["coarse.weight"])
    assert state["projectors.rhythm.0.weight"].shape == (64, 16)


def test_it_is_opened_and_answers(trained: tuple[Path, str], strip: Path) -> None:
    answer = ask(trained[0], Case(inputs={"rhythm": read(strip)}))
    assert answer.tokens["rhythm"] == 12
    assert "of the strip the first 6 s were shown" in answer.notes
    assert answer.audit is None or answer.audit.counts.get("supported", 0) == 0


def test_a_question_without_its_stream_is_refused(trained: tuple[Path, str], twelve: Path) -> None:
    with pytest.raises(InputError, match="takes rhythm, and the question came with ecg"):
        ask(trained[0], Case(read(twelve)))


def test_inspect_knows_its_tower(trained: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(trained[0])]) == 0
    assert "rhythm" in capsys.readouterr().out


def test_its_task_is_asked_of_a_model(trained: tuple[Path, str], strip: Path, tmp_path: Path) -> None:
    from llava_ecg.eval.items import Answered
    from llava_ecg.eval.tasks import chosen

    (tmp_path / "data/strips").mkdir(parents=True)
    strip.rename(tmp_path / "data/strips/7_fast.strip")
    [task] = chosen("fast_or_slow")
    [item] = task.items(tmp_path / "data")
    assert task.put(item) == "Is this rhythm fast or slow? Options: fast, slow"
    right, wrong = (task.marking.read(item, Answered(text)) for text in ("It is fast.", "slow"))
    assert task.scores([item], [right]).figures["accuracy"].value == 1
    assert task.scores([item], [wrong]).figures["accuracy"].value == 0


def test_its_preparer_goes_to_the_workers(strip: Path) -> None:
    made = towers.get("rhythm")(**RHYTHM).preparer()
    again = pickle.loads(pickle.dumps(made))
    assert torch.equal(again.prepare(read(strip)).values, made.prepare(read(strip)).values)


@pytest.mark.usefixtures("open_clip")
def test_its_image_tower(plugged: Path, base: Path, tmp_path: Path, twelve: Path) -> None:
    from llava_ecg.checkpoint.places.find import find
    from llava_ecg.checkpoint.tokenizer import load_tokenizer
    from llava_ecg.model.loading import compose
    from llava_ecg.model.saving import save_checkpoint
    from llava_ecg.streams import StreamConfig

    small = {"size": 64, "patch": 32, "width": 16, "layers": 1, "heads": 2}
    model = compose(str(base), {"image": StreamConfig("open_clip_page", small)}, template="v1", model_max_length=512)
    save_checkpoint(model, load_tokenizer(find(str(base))), tmp_path / "seeing")
    answer = ask(tmp_path / "seeing", Case(read(twelve)))  # the page is drawn by its preparer
    assert answer.tokens["image"] == 4
