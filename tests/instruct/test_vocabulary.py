"""One name for what reports and codes say."""

from __future__ import annotations

import pytest

from llava_ecg.errors import InputError
from llava_ecg.instruct.vocabulary import DENIED, POSSIBLE, STATED, Diagnosis, Vocabulary, language, vocabulary


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sinus rhythm\nFirst degree A-V block", {"sinus rhythm": STATED, "first-degree AV block": STATED}),
        ("sinus rhythm. left atrial enlargement.", {"sinus rhythm": STATED, "left atrial enlargement": STATED}),
        ("Possible LVH, no ST elevation", {"left ventricular hypertrophy": POSSIBLE, "ST elevation": DENIED}),
        ("no acute ischemia or infarction", {"myocardial ischaemia": DENIED, "myocardial infarction": DENIED}),
        (
            "an old anteroseptal infarct cannot be  excluded",
            {"anteroseptal infarction": POSSIBLE, "myocardial infarction": POSSIBLE},
        ),
        ("incomplete right bundle branch block", {"incomplete right bundle branch block": STATED}),
        ("myocardial ischaemia is likely", {"myocardial ischaemia": POSSIBLE}),
        ("the cause of the bradycardia is not evident", {"bradycardia": STATED}),
        ("left axis deviation is not seen", {"left axis deviation": DENIED}),
        ("prolonged pr interval. otherwise normal ecg", {"first-degree AV block": STATED, "normal ECG": POSSIBLE}),
        (
            "Compared with the previous tracing, atrial fibrillation has resolved. Sinus rhythm",
            {"sinus rhythm": STATED},
        ),
        ("afebrile patient", {}),
        ("sinusrhythmus linkstyp LVH", {}),
    ],
)
def test_what_a_report_says(text: str, said: dict[str, str]) -> None:
    words = vocabulary()
    assert {each.name: each.certainty for each in words.together(words.of_text(text))} == said


def test_codes() -> None:
    said, unknown = vocabulary().of_codes(["59118001", "1"], {"IMI": 15.0, "SR": 0.0, "LAFB": 100.0, "NONE": 0.0})
    assert {each.name: each.certainty for each in said} == {
        "right bundle branch block": STATED,
        "inferior infarction": POSSIBLE,
        "sinus rhythm": STATED,
        "left anterior fascicular block": STATED,
    }
    assert unknown == ["snomed 1", "scp NONE"]


def test_the_surest_form_is_kept() -> None:
    words = vocabulary()
    found = words.together([*words.of_text("possible LVH. no LVH"), *words.of_codes([], {"LVH": 100.0})[0]])
    assert [(each.name, each.certainty) for each in found] == [("left ventricular hypertrophy", STATED)]


def test_language() -> None:
    assert [language(text) for text in ("", "sinus rhythm", "sinusrhythmus lagetyp normal", "sinusrytm")] == [
        *("", "en", "other", "other")
    ]


def test_a_word_means_one_thing() -> None:
    rows = {name: Diagnosis(name, "rhythm", short=("AF",)) for name in ("one", "other")}
    with pytest.raises(InputError, match="gives 'AF' to 'one' and to 'other'"):
        Vocabulary(1, rows)
