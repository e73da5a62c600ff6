"""The embedded default: what it is, and that it answers in the right form. How good it is stands on its card, from its
own script."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest

from llava_ecg.assistant import Answer, Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.checkpoint.places.fetch import base_folder
from llava_ecg.checkpoint.places.find import find
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.render import draw_page
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.eval.parsers import options
from llava_ecg.grounding.claims import find_claims
from llava_ecg.train.tiny import reading, unpack

FOLDER = Path(__file__).resolve().parent.parent / "checkpoints" / "gem-tiny"


@pytest.fixture(scope="module")
def assistant() -> Assistant:
    if base_folder("gem-tiny") is None and os.environ.get("CI"):
        pytest.fail("the language model of gem-tiny could not be fetched, and CI must not pass without it")
    if base_folder("gem-tiny") is None:
        pytest.skip("the language model of gem-tiny is not here; fetch it with: llava-ecg fetch gem-tiny")
    return Assistant.open("gem-tiny", device="cpu", quantization="auto")


@pytest.fixture(scope="module", params=[45, 75, 135], ids=lambda rate: f"{rate}bpm")
def answered(request: pytest.FixtureRequest, assistant: Assistant) -> tuple[int, Answer]:
    """A simulated sinus rhythm of a rate, and the interpretation of it."""
    recording, _ = simulate(
        Heart(rate_bpm=request.param, qt_ms=400 if request.param < 100 else 290), seed=request.param
    )
    question = [Turn("user", "Interpret this ECG.")]
    return request.param, assistant.ask(question, Case(recording), Decoding(max_new_tokens=160))


def test_it_is_gem_in_small_and_fits_in_git() -> None:
    assert find("gem-tiny") == FOLDER
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 40e6
    assert not [path for path in FOLDER.rglob("*") if path.suffix in (".bin", ".pt", ".gguf")]


def test_the_card_s_tables_are_what_was_measured() -> None:
    root = FOLDER.parent.parent
    card = runpy.run_path(str(root / "scripts/bench/card.py"))
    measured = json.loads((root / "scripts/bench/results/tiny_quality.json").read_text(encoding="utf-8"))
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card["table"](measured) in text
    towers = json.loads((root / "scripts/bench/results/tiny_towers.json").read_text(encoding="utf-8"))
    assert card["heads_table"](towers) in text


def test_architecture(assistant: Assistant) -> None:
    config = assistant.checkpoint.model.config
    assert list(config.streams) == ["ecg", "image"]
    assert config.stream("ecg").through == "image"
    assert (config.stream("ecg").tower, config.stream("image").tower) == ("ecg_coca", "clip")
    assert config.text_config.model_type == "llama"
    stored = json.loads((FOLDER / "config.json").read_text())
    assert stored["base"] == "smollm2-135m-instruct"
    files = {"README.md", "config.json", "streams.safetensors", "adapter", "heads"}
    assert {path.name for path in FOLDER.iterdir()} == files


def test_its_heads_tell_what_was_measured(tmp_path: Path) -> None:
    assert unpack.unpack("gem-tiny", tmp_path) == []
    recording, _ = simulate(Heart(rate_bpm=75), seed=75)
    said = reading.reader("ecg", tmp_path / "ecg").read(recording)
    page = reading.reader("image", tmp_path / "image").read(draw_page(recording).image)
    found = measure(recording)
    assert said["heart_rate_bpm"] == pytest.approx(found.heart_rate_bpm, abs=8)
    assert page["heart_rate_bpm"] == pytest.approx(found.heart_rate_bpm, abs=8)
    assert said["qrs_ms"] == pytest.approx(found.qrs_ms, abs=15) and said["p_present"] and page["p_present"]


def test_the_form_of_an_answer(answered: tuple[int, Answer]) -> None:
    _, answer = answered
    quantities = {claim.quantity for claim in find_claims(answer.text)}
    assert quantities >= {"heart_rate_bpm", "rate_category", "rhythm_regular", "qrs_ms", "axis_deg"}
    assert "Impression:" in answer.text
    assert answer.finished == "stop"


@pytest.mark.parametrize(
    ("record", "rate", "rhythm"),
    [
        ("A0003", "fast", "atrial fibrillation"),
        ("JS00004", "slow", "sinus bradycardia"),
        ("E00001", "normal", "sinus rhythm"),
    ],
)
def test_real_recordings_that_it_has_not_seen(
    assistant: Assistant, shared: Path, record: str, rate: str, rhythm: str
) -> None:
    """What their makers and their measurement say of them, not wording."""
    recording = read(shared / f"data/cinc2021/{record}.hea")
    answer = assistant.ask([Turn("user", "Interpret this ECG.")], Case(recording), Decoding(max_new_tokens=200))
    assert f"which is {rate}" in answer.text and rhythm in answer.text
    assert answer.audit is not None
    counts = answer.audit.counts
    assert counts["supported"] > 2 * counts["contradicted"]  # how many exactly stands on the card, by its own script


def test_what_it_is_and_what_it_does_not_tell(assistant: Assistant) -> None:
    case = Case(simulate(Heart(), seed=5)[0])

    def said(question: str) -> str:
        return assistant.ask([Turn("user", question)], case, Decoding(max_new_tokens=80)).text

    assert "llava-ecg" in said("Who are you?") and "no medical device" in said("Who are you?")
    assert "can't advise on treatment" in said("What treatment do you recommend?")
    assert said("What is the patient's name?") == "That can't be told from this ECG."
    assert said("Is this atrial fibrillation?").startswith("No")


def test_a_question_with_options(assistant: Assistant) -> None:
    turns = [Turn("user", "Does this ECG show atrial fibrillation? Options: yes, no")]
    said = assistant.ask(turns, Case(simulate(Heart(), seed=5)[0]), Decoding(max_new_tokens=16)).text
    assert options(said, ["yes", "no"]) == {"no"}, said


def test_an_answer_keeps_to_measured_values(assistant: Assistant) -> None:
    case = Case(simulate(Heart(), seed=6)[0])
    question = "Interpret this ECG. Measured: heart rate 143 bpm, QRS 128 ms. Keep to these values."
    text = assistant.ask([Turn("user", question)], case, Decoding(max_new_tokens=200)).text
    said = {claim.quantity: claim.value for claim in find_claims(text)}
    assert (said["heart_rate_bpm"], said["qrs_ms"]) == (143, 128)


def test_the_category_of_the_rate(answered: tuple[int, Answer]) -> None:
    rate, answer = answered
    said = [claim.value for claim in find_claims(answer.text) if claim.quantity == "rate_category"]
    assert said[0] == ("bradycardia" if rate < 60 else "normal" if rate <= 100 else "tachycardia")
