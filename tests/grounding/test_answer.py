"""An answer beside its question: what looks checked was checked, and what was not is said."""

from __future__ import annotations

import pytest

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.grounding.answer import TREATMENT, audit_answer, topics


@pytest.fixture(scope="module")
def infarct() -> Measurements:
    """70 bpm, regular, PR 160, QRS about 100 ms, 4 mm of ST elevation in the anterior leads."""
    return measure(simulate(Heart(st_territory="anterior", st_mv=0.4), seed=4)[0])


def verdicts(question: str, answer: str, measured: Measurements | None, *, whole: bool = True) -> list[tuple[str, str]]:
    """(quantity, status) of each claim, then ("", words) of each thing that was not checked."""
    found = audit_answer(question, answer, measured, whole=whole)
    return [(v.claim.quantity, v.status.value) for v in found.verdicts] + [("", words) for words in found.unchecked]


def test_an_answer_beside_the_point_does_not_look_checked(infarct: Measurements) -> None:
    found = verdicts("How is the ST segment?", "The QRS duration is 90 ms.", infarct)
    assert found == [("qrs_ms", "supported"), ("", "ST segment")]
    lines = audit_answer("How is the ST segment?", "The QRS duration is 90 ms.", infarct).lines()
    assert lines[-1] == "not checked    ST segment"


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (
            "Is there ST elevation?",
            "No, the QRS duration is 90 ms.",
            [("st_category", "contradicted"), ("qrs_ms", "supported")],
        ),
        ("Is there ST elevation?", "Yes.", [("st_category", "supported")]),
        ("Is there any ST elevation in V1-V4?", "yes, about 4 mm", [("st_category", "supported")]),
        ("Are there signs of atrial fibrillation?", "No", [("rhythm", "supported")]),
        ("Does this ECG show atrial fibrillation?", "Yes.", [("rhythm", "contradicted")]),
        ("Is the rhythm regular?", "**Yes**", [("rhythm_regular", "supported")]),
        ("Is the QRS wide?", "No.", [("qrs_category", "supported")]),
        ("Is the QTc prolonged?", "No, it is normal", [("qtc_category", "supported")]),
        (
            "Is there a left bundle branch block or left axis deviation?",
            "no",
            [("axis_category", "supported"), ("conduction", "supported")],
        ),
        (
            "Is there a left bundle branch block or left axis deviation?",
            "yes",
            [("", "left bundle branch block"), ("", "left axis deviation")],
        ),
        ("Is there ST elevation?", "No ST elevation.", [("st_category", "contradicted")]),  # said in words: not twice
        ("What is the rate?", "No idea.", [("", "rate")]),
        ("Is there ST elevation?", "No idea.", [("", "ST elevation")]),
        ("Is there ST elevation?", "No P waves are seen.", [("p_present", "contradicted"), ("", "ST elevation")]),
    ],
)
def test_yes_and_no_claim_what_was_asked(
    question: str, answer: str, expected: list[tuple[str, str]], infarct: Measurements
) -> None:
    assert sorted(verdicts(question, answer, infarct)) == sorted(expected)


def test_the_span_of_a_yes_is_the_word(infarct: Measurements) -> None:
    answer = "  No. The rate is 70 bpm."
    (claim,) = [
        v.claim
        for v in audit_answer("Is there ST elevation?", answer, infarct).verdicts
        if v.claim.quantity == "st_category"
    ]
    assert answer[slice(*claim.span)] == claim.text == "No" and claim.negated


def test_what_the_answer_speaks_of_and_nothing_measures_is_said(infarct: Measurements) -> None:
    found = verdicts(
        "Interpret this ECG.", "The rate is 70 bpm. There are U waves. The PR segment is depressed.", infarct
    )
    assert found == [("heart_rate_bpm", "supported"), ("", "U waves"), ("", "PR segment")]


def test_an_open_question_leaves_nothing_unchecked(infarct: Measurements) -> None:
    assert verdicts("Interpret this ECG.", "The rate is 70 bpm.", infarct) == [("heart_rate_bpm", "supported")]


def test_a_diagnosis_is_not_checked_once(infarct: Measurements) -> None:
    found = audit_answer("Is this an acute pericarditis?", "It is an acute pericarditis.", infarct)
    assert found.counts["not checked"] == 1 and found.counts["supported"] == 0


@pytest.mark.parametrize(
    "question", ["Should I give aspirin?", "What treatment do you recommend?", "Which drug, and what dose?"]
)
def test_treatment_is_outside_of_what_this_can_do(question: str, infarct: Measurements) -> None:
    found = audit_answer(question, "The rate is 70 bpm.", infarct)
    assert found.remarks == (TREATMENT,) and TREATMENT in found.lines()


@pytest.mark.parametrize(
    "question", ["Interpret this ECG.", "What is the QT interval?", "Is there a need for concern in the ST segment?"]
)
def test_questions_about_the_ecg_are_not(question: str, infarct: Measurements) -> None:
    assert audit_answer(question, "The rate is 70 bpm.", infarct).remarks == ()


@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        ("The PR interval is 160 ms. The heart rate is 68", 1),
        ("The PR interval is 160 ms. The heart rate is 70 bpm", 2),
        ("The PR interval is 160 ms. The rhythm is regular", 1),  # "ly irregular" may have been to come
        ("The PR interval is 160 ms. The rhythm is regular ", 2),
    ],
)
def test_a_claim_that_was_cut_off_is_none(answer: str, counted: int, infarct: Measurements) -> None:
    assert len(audit_answer("Interpret.", answer, infarct, whole=False).verdicts) == counted
    assert len(audit_answer("Interpret.", answer, infarct).verdicts) == 2


def test_equal_claims_count_once(infarct: Measurements) -> None:
    text = "The rate is 70 bpm. PR 160 ms. The heart rate is 70 beats per minute. PR 240 ms."
    found = audit_answer("Interpret.", text, infarct)
    assert [(v.claim.quantity, v.claim.value) for v in found.verdicts] == [
        ("heart_rate_bpm", 70),
        ("pr_ms", 160),
        ("pr_ms", 240),
    ]
    assert found.verdicts[0].claim.span[0] < 20, "the first of the two is kept"


def test_topics_are_in_the_words_of_the_text() -> None:
    assert [topic.words for topic in topics("Look at ST elevation, T wave inversion, QTc and the axis.")] == [
        "ST elevation",
        "T wave inversion",
        "QTc",
        "axis",
    ]
    assert topics("") == () == topics("Interpret this ECG.")
