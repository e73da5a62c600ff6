"""What the embedded model learns to say: what a caption says and no more, in words that the audit can hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llava_ecg.eval.parsers import options
from llava_ecg.grounding.claims import find_claims
from llava_ecg.train.tiny import notes, questions
from llava_ecg.train.tiny.sources import LABELS

FACTS: dict[str, Any] = {
    "heart_rate_bpm": 72.0,
    "rhythm_regular": True,
    "p_present": True,
    "pr_ms": 165.0,
    "qrs_ms": 94.0,
    "qt_ms": 380.0,
    "qtc_bazett_ms": 415.0,
    "axis_deg": -45.0,
    **dict.fromkeys(LABELS, 0),
    "NORM": 8,
}


def quantities(text: str) -> dict[str, Any]:
    return {claim.quantity: claim.value for claim in find_claims(text)}


def test_a_note_says_each_fact_in_words_that_are_found() -> None:
    found = quantities(notes.note(FACTS))
    assert {name: found[name] for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "axis_deg")} == {
        name: FACTS[name] for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "axis_deg")
    }
    assert (found["rate_category"], found["pr_category"], found["qrs_category"]) == ("normal", "normal", "narrow")
    assert (found["rhythm_regular"], found["p_present"], found["axis_category"]) == ("regular", "present", "left")
    assert notes.note(FACTS).endswith("Impression: sinus rhythm, a normal ECG.")


@pytest.mark.parametrize(
    "answer", [notes.note, notes.rhythm_answer, notes.impression_answer, notes.regular_answer, notes.normal_answer]
)
def test_a_rhythm_is_named_after_the_rate_that_it_follows_from(answer: Callable[[notes.Facts], str]) -> None:
    text = answer(FACTS | {"heart_rate_bpm": 45.0})
    assert 0 <= text.index("45 bpm, which is slow") < text.index("sinus bradycardia")


@pytest.mark.parametrize(
    ("facts", "words", "missing"),
    [
        ({"heart_rate_bpm": 101.0}, "which is borderline", "tachycardia"),
        ({"heart_rate_bpm": 45.0}, "sinus bradycardia", "normal ECG"),
        ({"pr_ms": 204.0}, "204 ms (borderline)", "AV block"),
        ({"pr_ms": 240.0}, "first-degree AV block", ""),
        ({"pr_ms": None, "p_present": False, "rhythm_regular": False}, "atrial fibrillation", "PR interval is"),
        ({"qrs_ms": 140.0, "left bundle branch block": 9}, "left bundle branch block", "conduction delay"),
        ({"qrs_ms": 90.0, "left bundle branch block": 9}, "narrow", "bundle branch block"),
        ({"MI": 6, "inferior infarction": 7}, "possible inferior myocardial infarction", "anterior"),
        ({"STTC": 8}, "ST-T changes", "possible"),
        ({"qtc_bazett_ms": 500.0}, "a prolonged QTc", ""),
    ],
)
def test_words_follow_the_numbers(facts: dict[str, Any], words: str, missing: str) -> None:
    text = notes.note(FACTS | facts)
    assert words in text and (not missing or missing not in text)


def test_superclasses_and_their_likelihood() -> None:
    assert notes.superclasses(FACTS | {"CD": 6}) == "0.8 NORM, 0.0 no MI, 0.0 no STTC, 0.6 CD, 0.0 no HYP"
    assert notes.likelihoods(FACTS | {"CD": 3}) == "NORM 0.8, MI 0.0, STTC 0.0, CD 0.3, HYP 0.0"


def test_corrected_values_are_what_the_answer_says() -> None:
    for seed in range(30):
        other, text = questions.corrected(FACTS | {"HYP": 8}, np.random.default_rng(seed))
        assert text.startswith("Measured: ") and text.endswith("Keep to these values.")
        said = quantities(notes.note(other))
        for claim in find_claims(text.removesuffix(" Keep to these values.")):
            if claim.quantity in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "axis_deg"):
                assert said[claim.quantity] == claim.value
        assert ("no left ventricular hypertrophy" in text) == (other["HYP"] == 0)


def test_options_are_answered_exactly() -> None:
    kinds = set()
    for seed in range(60):
        asked, answer = questions.with_options(FACTS | {"MI": 9}, np.random.default_rng(seed))
        choices = asked.partition(" Options: ")[2].split(", ")
        chosen = options(answer, choices)
        assert chosen
        kinds.add((len(choices), chosen <= {"no", "none"}))
    assert kinds == {(2, True), (2, False), (3, True), (3, False)}


def test_conversations_ask_nothing_twice_and_know_their_limits() -> None:
    asked, answers = [], []
    for seed in range(120):
        pairs = questions.conversation(FACTS, np.random.default_rng(seed))
        assert len({question for question, _ in pairs}) == len(pairs)
        asked += [question for question, _ in pairs]
        answers += [answer for _, answer in pairs]
    assert {questions.IDENTITY, questions.NO_TREATMENT, questions.NOT_IN_ECG} <= set(answers)
    assert any("Measured:" in question for question in asked)
    assert all(answer == questions.NO_TREATMENT for q, answer in zip(asked, answers, strict=True) if "treatment" in q)
    assert json.loads(json.dumps(answers)) == answers


def test_evaluation_asks_in_the_words_it_was_trained_with() -> None:
    from llava_ecg.eval import samples

    assert samples.SUPERCLASSES in questions.SUPERCLASSES
    assert samples.READINGS in questions.READINGS and samples.INTERPRET in questions.INTERPRET
