"""Answers are read as words and never guessed; each fault of the public readings is shown beside ours."""

from __future__ import annotations

import random

import pytest

from llava_ecg.eval import parsers, parsers_legacy
from llava_ecg.eval.parsers import Label

SUPER = [
    Label("NORM", ("normal ECG",)),
    Label("MI", ("myocardial infarction",)),
    Label("STTC", ("ST/T change",)),
    Label("CD"),
    Label("HYP"),
]
CODE15 = [Label("NORM"), Label("ABNORMAL"), Label("ST", ("sinus tachycardia",), unless=r"\s*(?:segment|elevation)")]
RHYTHMS = ["sinus rhythm", "atrial fibrillation", "atrial flutter", "a normal ECG"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("B", "B"),
        ("(C)", "C"),
        ("B. atrial fibrillation", "B"),
        ("This is not a normal ECG. Answer: B", "B"),
        ("The correct option is C.", "C"),
        ("**Answer:** **D**", "D"),
        ("Answer: A\nbecause of P waves", "A"),
        ("It shows atrial flutter.", "C"),
        ("First I thought answer: A. The final answer is B.", "B"),
        ("Not atrial flutter but atrial fibrillation", "B"),
        ("A normal ECG would have P waves", "D"),  # the words of D, and no choice of A
        ("Answer: A or B", None),
        ("A, B", None),
        ("atrial flutter or atrial fibrillation", None),
        ("The ECG. Hard to say.", None),
        ("E", None),
        ("", None),
    ],
)
def test_a_letter_is_read_or_not(text: str, said: str | None) -> None:
    assert parsers.letter(text, RHYTHMS) == said


def test_legacy_takes_the_letter_of_any_word_before_a_full_stop() -> None:
    text = "This is not a normal ECG. Answer: B"
    assert parsers_legacy.letter(text, 8, random.Random(0)) == "G"
    assert parsers.letter(text, RHYTHMS) == "B"


def test_legacy_draws_what_it_can_not_read() -> None:
    drawn = {parsers_legacy.letter("I can't tell", 4, random.Random(seed)) for seed in range(50)}
    assert drawn == set("ABCD")
    assert parsers.letter("I can't tell", RHYTHMS) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The correct option is C", "C"),
        ("Answer: it is B", "B"),
        ("H", "H"),
        ("A. or B.", "A"),
    ],
)
def test_legacy_letters_otherwise(text: str, said: str) -> None:
    assert parsers_legacy.letter(text, 8, random.Random(0)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NORM", {"NORM"}),
        ("mi, sttc", {"MI", "STTC"}),
        ("norm", {"NORM"}),
        ("MI and STTC; no HYP", {"MI", "STTC"}),
        ("No MI, CD or HYP. STTC.", {"STTC"}),
        ("no evidence of MI", set()),
        ("Myocardial infarction is likely", {"MI"}),
        ("Reasoning: MI? Answer: CD", {"CD"}),
        ("This is a normal ecg", {"NORM"}),
        ("It is not a normal ECG: MI", {"MI"}),
        ("normal sinus rhythm, MI", {"MI"}),
        ("The rate lies within the norm", None),
        ("NORMAL", None),
        ("ABNORMAL", None),
        ("I do not know", None),
        ("", None),
    ],
)
def test_labels_are_words(text: str, said: set[str] | None) -> None:
    assert parsers.labels(text, SUPER) == said


def test_legacy_finds_labels_inside_of_others() -> None:
    assert parsers_legacy.labels("ABNORMAL", ["NORM", "ABNORMAL", "ST"]) == {"NORM", "ABNORMAL"}
    assert parsers.labels("ABNORMAL", CODE15) == {"ABNORMAL"}
    assert parsers_legacy.labels("STTC, STE", ["STTC", "ST", "STE", "STD"]) == {"STTC", "ST", "STE"}
    named = [Label(name) for name in ("STTC", "ST", "STE", "STD")]
    assert parsers.labels("STTC, STE", named) == {"STTC", "STE"}
    assert parsers.labels("ST elevation in V2, sinus tachycardia", CODE15[:2] + CODE15[2:]) == {"ST"}
    assert parsers.labels("ST elevation in V2", CODE15) is None


def test_a_hyphened_label_is_whole() -> None:
    known = [Label("I-AVB"), Label("AVB")]
    assert parsers.labels("I-AVB", known) == {"I-AVB"}


@pytest.mark.parametrize(
    ("text", "choices", "said"),
    [
        ("lead III", ["lead I", "lead II", "lead III"], {"lead III"}),
        ("lead I, lead II", ["lead I", "lead II", "lead III"], {"lead I", "lead II"}),
        ("Yes.", ["yes", "no"], {"yes"}),
        ("No, there is none", ["yes", "no"], {"no"}),
        ("yes or no", ["yes", "no"], None),
        ("Yes. No artefact is as clear", ["yes", "no"], {"yes"}),
        ("There is no noise, so no", ["yes", "no"], {"no"}),
        ("not sure", ["yes", "no", "not sure"], {"not sure"}),
        ("I know", ["yes", "no"], None),
        ("It says yes and no", ["yes", "no"], None),
        ("lead V9", ["lead I"], None),
        ("not lead I", ["lead I"], None),
    ],
)
def test_options_are_words(text: str, choices: list[str], said: set[str] | None) -> None:
    assert parsers.options(text, choices) == said


def test_one_option_is_one() -> None:
    assert parsers.options("lead I, lead II", ["lead I", "lead II"], several=False) is None
    assert parsers.options("lead II", ["lead I", "lead II"], several=False) == {"lead II"}


def test_legacy_compares_the_letters_of_options() -> None:
    prompt = "Which lead? Options: lead I, lead III"
    assert parsers_legacy.options_agree("lead III", prompt, "lead I")
    said = parsers.options("lead III", parsers_legacy.candidates(prompt))
    assert said == {"lead III"} != {"lead I"}
    assert not parsers_legacy.options_agree("none", prompt, "lead I")
    assert parsers_legacy.candidates(
        "Options: yes, no Only answer based on the given Options without any explanation."
    ) == [
        "yes",
        "no",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ABNORMAL: SB", {"ABNORMAL", "SB"}),
        ("NORM", {"NORM"}),
        ("It is NORM. Answer: ABNORMAL", {"ABNORMAL"}),
        ("It is NORM. Answer: SB", {"SB"}),
        ("nothing", set()),
        ("ST changes and NORM", {"ST", "NORM"}),
    ],
)
def test_the_public_code_takes_normal_or_abnormal_of_code15(text: str, found: set[str]) -> None:
    known = ("NORM", "ABNORMAL", "SB", "ST")
    assert parsers_legacy.labels_or_normal(text, known, ("NORM", "ABNORMAL")) == found
