"""The guide: what it confirms, excludes and sets aside on hearts of known truth; how more is plugged in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import CONFIRMED, EXCLUDED, OPEN, SUPPORTED, guide, read_guide, recommendations
from llava_ecg.instruct.vocabulary import Said, vocabulary
from llava_ecg.plugins import guides

STATUS = [
    ("normal", "sinus rhythm", CONFIRMED),
    ("normal", "normal ECG", CONFIRMED),
    ("normal", "first-degree AV block", EXCLUDED),
    ("normal", "atrial fibrillation", EXCLUDED),
    ("slow", "sinus bradycardia", CONFIRMED),
    ("slow", "sinus tachycardia", EXCLUDED),
    ("lbbb", "left bundle branch block", CONFIRMED),
    ("lbbb", "right bundle branch block", EXCLUDED),
    ("lbbb", "normal ECG", EXCLUDED),
    ("af", "atrial fibrillation", CONFIRMED),
    ("af", "sinus rhythm", EXCLUDED),
    ("block", "first-degree AV block", CONFIRMED),
    ("injury", "ST elevation", CONFIRMED),
    ("injury", "myocardial infarction", SUPPORTED),
    ("normal", "digitalis effect", OPEN),
]


@pytest.mark.parametrize(("heart", "name", "status"), STATUS)
def test_what_is_made_of_a_heart(heart: str, name: str, status: str, hearts: dict[str, Facts]) -> None:
    judged = guide().judge(name, hearts[heart])
    assert judged.status == status
    assert bool(judged.evidence) == bool(judged.sources) == (status != OPEN)


def test_evidence_tells_the_measured_value(hearts: dict[str, Facts]) -> None:
    judged = guide().judge("first-degree AV block", hearts["block"])
    assert judged.evidence == (f"a PR interval of {hearts['block'].measured.pr_ms:.0f} ms",)
    assert hearts["block"].measured.pr_ms == pytest.approx(250, abs=20)


def test_a_report_that_the_signal_contradicts(hearts: dict[str, Facts]) -> None:
    assert all(guide().conflicts(facts) == [] for facts in hearts.values())
    stated = replace(hearts["normal"], diagnoses=(Said("left bundle branch block", "stated", "scp CLBBB"),))
    [(name, sentence)] = guide().conflicts(stated)
    assert name == "left bundle branch block" and "scp CLBBB" in sentence and "a QRS duration of" in sentence
    possible = replace(stated, diagnoses=(Said("left bundle branch block", "possible", "maybe LBBB"),))
    assert guide().conflicts(possible) == []
    denied = replace(hearts["block"], diagnoses=(Said("first-degree AV block", "denied", "no block"),))
    assert [name for name, _ in guide().conflicts(denied)] == ["first-degree AV block"]


def test_what_is_unmeasured_decides_nothing(hearts: dict[str, Facts]) -> None:
    blank = replace(hearts["block"], measured=replace(hearts["block"].measured, pr_ms=None))
    assert guide().judge("first-degree AV block", blank).status == OPEN


def test_every_line_has_a_source_and_every_evidence_can_be_filled(hearts: dict[str, Facts]) -> None:
    rules = recommendations().rules
    assert set(rules) <= set(vocabulary().rows) and len(rules) > 45
    lines = [line for rule in rules.values() for line in (*rule.confirm, *rule.support, *rule.exclude)]
    assert all(line.source and line.say for line in lines)
    for line in lines:  # names of values that there are: told, or None where this heart has none
        told = line.told(hearts["lbbb"])
        assert told is None or "{" not in told


GOOD = """sources: {me: a book}
diagnoses:
  pericarditis:
    leads: [II]
    support:
      - {finding: ST elevation, say: "ST elevation in {leads of ST elevation}", source: me}
"""


def test_more_is_plugged_in(tmp_path: Path, hearts: dict[str, Facts]) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    mine = read_guide(tmp_path / "mine.yaml")
    guides.add("mine", lambda: mine)
    try:
        both = guide()
        assert both.judge("pericarditis", hearts["injury"]).status == SUPPORTED
        assert both.judge("pericarditis", hearts["normal"]).status == OPEN
        assert "mine" in both.version and "recommendations" in both.version
    finally:
        guides.remove("mine")
    assert guide().judge("pericarditis", hearts["injury"]).status == OPEN


def test_two_guides_for_one_diagnosis_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("pericarditis", "ST elevation"))
    guides.add("mine", lambda: read_guide(tmp_path / "mine.yaml"))
    try:
        with pytest.raises(InputError, match="a rule for 'ST elevation', which another guide has too"):
            guide()
    finally:
        guides.remove("mine")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("pericarditis", "dropsy", "no such diagnosis"),
        ("source: me", "source: you", "none of `sources`"),
        ("finding: ST elevation", "finding: nothing", "no finding 'nothing'"),
        ("finding: ST elevation", "measure: qrs_mm, above: 1", "no measurement 'qrs_mm'"),
        ("finding: ST elevation", "measure: qrs_ms", "needs one of"),
        ("finding: ST elevation", "measure: qrs_ms, over: 1", "unknown field 'over'"),
        ("finding: ST elevation", "count: st_j_mv, above: 1", "needs `in`"),
        ("leads: [II]", "lead: [II]", "unknown field 'lead'"),
        ('say: "ST elevation in {leads of ST elevation}", ', "", "nothing to say"),
        ("sources: {me: a book}", "sauces: {}", "no guide with sources"),
    ],
)
def test_a_guide_with_a_mistake_is_refused(old: str, new: str, sentence: str, tmp_path: Path) -> None:
    assert old in GOOD
    (tmp_path / "mine.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        read_guide(tmp_path / "mine.yaml")
