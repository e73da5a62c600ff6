"""A judge's replies: what is unscored, both names, and where the public scorer differs; by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_ecg.eval import judged


def reply(**points: Any) -> str:
    return json.dumps({name: [{"score": each} for each in scores] for name, scores in points.items()})


def test_figures_by_hand() -> None:
    found = judged.figures(
        [
            reply(DiagnosisAccuracy=[2, 1, 0, 0], AnalysisCompleteness=[1, 1, 0], LeadAssessmentCoverage=[1] * 3),
            reply(DiagnosisAccuracy=[2], AnalysisCompleteness=[1], LeadAssessmentCoverage=[1] * 14),
        ]
    )
    assert found["DiagnosisAccuracy"].figure.value == pytest.approx((50 + 100) / 2)
    assert found["AnalysisCompleteness"].figure.value == pytest.approx((2 + 1) / 2)
    assert found["LeadAssessmentCoverage"].figure.value == pytest.approx((25 + 100) / 2)
    assert found["EvidenceBasedReasoning"].figure.value is None
    assert found["EvidenceBasedReasoning"].unscored == 1


def test_legacy_does_not_clip_the_accuracy_of_leads() -> None:
    replies = [reply(LeadAssessmentAccuracy=[2] * 15)]
    assert judged.figures_legacy(replies)["LeadAssessmentAccuracy"] == pytest.approx(125)
    assert judged.figures(replies)["LeadAssessmentAccuracy"].figure.value == pytest.approx(100)


def test_both_names_are_read_and_legacy_drops_those_of_the_prompt() -> None:
    prompt = [reply(GroundedECGUnderstanding=[80], RealisticDiagnosticProcess=[60])]
    scorer = [reply(ECGFeatureGrounding=[80], ClinicalDiagnosticFidelity=[60])]
    assert judged.figures_legacy(prompt) == {}
    assert judged.figures_legacy(scorer) == {"ECGFeatureGrounding": 80, "ClinicalDiagnosticFidelity": 60}
    for replies in (prompt, scorer):
        found = judged.figures(replies)
        assert found["GroundedECGUnderstanding"].figure.value == 80
        assert found["RealisticDiagnosticProcess"].figure.value == 60


@pytest.mark.parametrize(
    "text",
    [
        "{'DiagnosisAccuracy': [{'score': 2}]}",
        'Sure! {"DiagnosisAccuracy": [{"score": 2}]}',
    ],
)
def test_legacy_repairs_what_is_no_json(text: str) -> None:
    assert judged.figures_legacy([text]) == {"DiagnosisAccuracy": 100}
    found = judged.figures([text])["DiagnosisAccuracy"]
    assert found.figure.value is None
    assert found.unscored == 1


@pytest.mark.parametrize(
    "points",
    [[3], [-1], [1.5], [True], ["2"], [None], []],
    ids=["high", "low", "half", "bool", "text", "none", "empty"],
)
def test_points_out_of_range_are_unscored(points: list[Any]) -> None:
    good = reply(DiagnosisAccuracy=[2, 0])
    found = judged.figures([good, reply(DiagnosisAccuracy=points)])["DiagnosisAccuracy"]
    assert found.figure.value == 50
    assert found.unscored == 0.5


@pytest.mark.parametrize("text", ["", "[1]", "null", '{"DiagnosisAccuracy": 2}', "{"])
def test_a_reply_that_is_something_else_is_unscored(text: str) -> None:
    assert judged.read(text) == {}


def test_a_reply_with_both_names_says_two_things() -> None:
    assert judged.read(reply(GroundedECGUnderstanding=[10], ECGFeatureGrounding=[90])) == {}
    assert judged.read(reply(EvidenceBasedReasoning=[99.5])) == {"EvidenceBasedReasoning": (99.5,)}
