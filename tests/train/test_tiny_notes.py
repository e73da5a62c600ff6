"""What gem-tiny is taught to say: nothing in a note contradicts the numbers that stand in it, and corrections are kept
to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.eval.parsers import Label, labels, options
from llava_ecg.grounding.audit import Status, audit
from llava_ecg.train.tiny.notes import (
    PRESENT,
    axis_word,
    block_answer,
    conduction_answer,
    findings,
    impression_answer,
    label_answer,
    note,
    readings,
    rhythm_answer,
    superclasses,
)
from llava_ecg.train.tiny.questions import LIKELIHOODS, SUPERCLASSES, about_labels, conversation, corrected
from llava_ecg.train.tiny.sources import LABELS


def facts(**others: Any) -> dict[str, Any]:
    """Of a normal ECG, and what is other."""
    return {
        "heart_rate_bpm": 72.0, "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 390.0, "qtc_bazett_ms": 430.0,
        "axis_deg": 40.0, "rhythm_regular": True, "p_present": True, **dict.fromkeys(LABELS, 1), "NORM": 9, **others,
    }  # fmt: skip


def drawn(seed: int) -> dict[str, Any]:
    """Facts as two unsure towers could tell them: numbers and labels that need not fit each other."""
    rng = np.random.default_rng(seed)
    waves = bool(rng.random() < 0.7)
    return facts(
        heart_rate_bpm=float(rng.integers(38, 170)),
        pr_ms=float(rng.integers(10, 30) * 10) if waves else None,
        qrs_ms=float(rng.integers(14, 36) * 5),
        qt_ms=float(rng.integers(26, 54) * 10),
        qtc_bazett_ms=float(rng.integers(33, 56) * 10),
        axis_deg=float(rng.integers(-17, 19) * 10),
        rhythm_regular=bool(rng.random() < 0.6),
        p_present=waves,
        **{name: int(rng.integers(0, 10)) for name in LABELS},
    )


def measured(told: dict[str, Any]) -> Measurements:
    """An ECG on which just these numbers were measured."""
    names = ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "axis_deg", "rhythm_regular", "p_present")
    waves, steady = told["p_present"], told["rhythm_regular"]
    return Measurements(
        **{name: told[name] for name in names},
        rr_ms=60000 / told["heart_rate_bpm"],
        af_evidence=not waves and not steady,
        supraventricular_premature=1 if waves and not steady else 0,
        ventricular_premature=0,
    )


@pytest.mark.parametrize("seed", range(200))
def test_a_note_does_not_contradict_its_own_numbers(seed: int) -> None:
    told = drawn(seed)
    for text in (
        note(told),
        readings(told),
        rhythm_answer(told),
        impression_answer(told),
        conduction_answer(told),
        block_answer(told),
    ):
        wrong = [v.line() for v in audit(text, measured(told)).verdicts if v.status is Status.CONTRADICTED]
        assert not wrong, text


@pytest.mark.parametrize("seed", range(100))
def test_an_answer_that_was_asked_for_again_keeps_to_what_was_measured(seed: int) -> None:
    other, text = corrected(drawn(seed), np.random.default_rng(seed))
    assert text.startswith("Measured: ")
    found = audit(note(other), measured(other))
    assert not found.counts["contradicted"], (text, note(other))
    for denied in text.removeprefix("Measured: ").split(". ")[0].split(", "):
        if denied.startswith("no "):
            assert denied.removeprefix("no ") not in note(other)


def test_labels_have_to_agree_with_the_numbers_that_they_rest_on() -> None:
    left = {"left anterior fascicular block": 9}
    assert findings(facts(**left, axis_deg=-60.0)) == ["left anterior fascicular block"]
    assert findings(facts(**left, axis_deg=20.0)) == findings(facts(**left, axis_deg=-120.0)) == []
    assert findings(facts(**{"right bundle branch block": 9})) == []
    assert findings(facts(**{"incomplete right bundle branch block": 9}, qrs_ms=75.0)) == []


def test_a_block_is_named_behind_its_likelihood() -> None:
    wide = facts(qrs_ms=140.0, **{"right bundle branch block": 8, "left bundle branch block": 2})
    said = note(wide)
    told = "(wide). Likelihood of a bundle branch block: 0.2 no left, 0.8 right, so right bundle branch block."
    assert f"{told} The QT" in said
    assert said.endswith("Impression: sinus rhythm, right bundle branch block.")
    assert "Likelihood" not in note(facts())
    assert block_answer(wide).endswith(f"{told} Yes.")
    neither = facts(qrs_ms=140.0)
    assert "no left, 0.1 no right. The QT" in note(neither) and "so" not in block_answer(neither)
    unsure = facts(qrs_ms=140.0, **{"left bundle branch block": 5})
    assert "0.5 left, 0.1 no right, so possible left bundle branch block. The QT" in note(unsure)


def test_what_rests_on_voltages_is_never_more_than_possible() -> None:
    sure = facts(HYP=9, NORM=0)
    assert findings(sure) == ["possible left ventricular hypertrophy"]
    assert label_answer("HYP")(sure) == "Possibly, there are hints of left ventricular hypertrophy."
    assert label_answer("MI")(facts(MI=9)).startswith("Yes")


@pytest.mark.parametrize(
    ("degrees", "word"),
    [(40, "normal"), (-60, "left axis deviation"), (130, "right axis deviation"), (-120, "extreme axis deviation"),
     (92, "borderline"), (-28, "borderline"), (180, "right axis deviation")],
)  # fmt: skip
def test_axis_words(degrees: float, word: str) -> None:
    assert axis_word(degrees) == word


def test_corrections_tell_axes_all_around_the_circle() -> None:
    told = [corrected(facts(), np.random.default_rng(seed))[0]["axis_deg"] for seed in range(400)]
    assert min(told) < -150 and max(told) > 150


def test_a_conversation_asks_nothing_twice() -> None:
    for seed in range(50):
        asked = [question for question, _ in conversation(facts(), np.random.default_rng(seed))]
        assert len(set(asked)) == len(asked)
        about = sum(question in (SUPERCLASSES[0], LIKELIHOODS[0]) for question in asked)
        assert about == 1 or (len(asked) == 1 and "Measured: " in asked[0])


@pytest.mark.parametrize("seed", range(60))
def test_every_label_is_asked_about_once_and_what_is_said_is_what_the_caption_says(seed: int) -> None:
    told = drawn(seed)
    digits: list[int] = []
    for question, answer in about_labels(told, np.random.default_rng(seed)):
        said = [int(digit) for digit in re.findall(r"\b0\.(\d)\b", answer)]
        digits += said
        if "Options: " in question:
            choices = question.split("Options: ")[1].split(", ")
            there = {choice for choice, digit in zip(choices, said, strict=False) if digit >= PRESENT}
            wanted = {"yes" if there else "no"} if choices[0] == "yes" else there or {"none"}
            assert options(answer, choices) == wanted, (question, answer)
    assert sorted(digits) == sorted(told[label] for label in LABELS)


def test_superclasses_that_are_not_likely_are_denied() -> None:
    known = [Label(name) for name in LABELS[:5]]
    assert superclasses(facts()) == "0.9 NORM, 0.1 no MI, 0.1 no STTC, 0.1 no CD, 0.1 no HYP"
    assert labels(superclasses(facts()), known) == {"NORM"}
    assert labels(superclasses(facts(NORM=4, CD=9, HYP=5)), known) == {"CD", "HYP"}
    assert labels(superclasses(facts(NORM=1, MI=3)), known) == set()


def test_where_no_p_wave_is_read_half_of_the_corrections_tell_of_them() -> None:
    texts = [corrected(facts(p_present=False, pr_ms=None), np.random.default_rng(seed))[1] for seed in range(200)]
    assert 60 < sum("P waves present" in text for text in texts) < 140
    normal = [corrected(facts(), np.random.default_rng(seed)) for seed in range(200)]
    denied = [other for other, text in normal if "no normal ECG" in text]
    assert denied and all("a normal ECG" not in note(other) for other in denied)
