"""The comparison with clinical-text libraries scores what it says; the libraries themselves are not installed here."""

from __future__ import annotations

import pytest

from scripts.bench import audit as claims
from scripts.bench import claims_libraries as bench
from tests.grounding.scoring import Sentence

TEXT = "PR 160 ms, rate 60-70 bpm, R of 2 mV in V5, ST depression in V2, no LVH, possible LBBB, normal axis."
SENTENCE = Sentence(
    "x",
    TEXT,
    "test",
    "clinical",
    (
        {"quantity": "pr_ms", "value": 160.0, "says": "160 ms"},
        {
            "quantity": "heart_rate_bpm",
            "value": None,
            "comparison": "range",
            "low": 60,
            "high": 70,
            "says": "60-70 bpm",
        },
        {"quantity": "r_mv", "value": 2.0, "leads": ["V5"], "says": "2 mV"},
        {"quantity": "st_category", "value": "depression", "leads": ["V2"], "says": "ST depression"},
        {"quantity": "voltage", "value": "left ventricular hypertrophy", "negated": True, "says": "no LVH"},
        {"quantity": "conduction", "value": "left bundle branch block", "hedged": True, "says": "LBBB"},
        {"quantity": "axis_category", "value": "normal", "says": "normal axis"},
    ),
)


def test_numbers_and_findings_of_a_sentence() -> None:
    found = [(each.low, each.high, each.unit) for each in bench.numbers(SENTENCE)]
    assert found == [(160.0, 160.0, "ms"), (60, 70, "bpm"), (2.0, 2.0, "mV")]
    named = [(TEXT[slice(*each.span)], each.negated, each.hedged) for each in bench.findings(SENTENCE)]
    assert named == [("ST depression", False, False), ("LVH", True, False), ("LBBB", False, True)]


def test_the_libraries_are_handed_the_finding_without_its_denial() -> None:
    text = "ST elevation is absent. No evidence of LVH."
    claims = (
        {"quantity": "st_category", "value": "elevation", "negated": True, "says": "ST elevation is absent"},
        {"quantity": "voltage", "value": "left ventricular hypertrophy", "negated": True, "says": "No evidence of LVH"},
    )
    named = bench.findings(Sentence("y", text, "test", "clinical", claims))
    assert [text[slice(*each.span)] for each in named] == ["ST elevation", "LVH"]


def test_our_reader_is_scored_by_the_same_rules() -> None:
    assert bench.score_our_numbers([SENTENCE]) == {"numbers": 3, "value and unit right %": 100.0}
    assert set(bench.score_polarity([SENTENCE], bench.ours).values()) == {100.0}


def test_a_wrong_reading_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = [each.span for each in bench.numbers(SENTENCE)]
    read = [
        (160.0, 160.0, "second", spans[0]),
        (60.0, 70.0, "per minute", spans[1]),
        (20.0, 20.0, "millimetre", spans[2]),
    ]
    monkeypatch.setattr(bench, "by_quantulum3", lambda _: read)
    assert bench.score_quantulum3([SENTENCE]) == {
        "numbers": 3, "value right %": 100.0, "value and unit right %": pytest.approx(200 / 3),
    }  # fmt: skip
    monkeypatch.setattr(bench, "by_quantulum3", lambda _: [(161.9, 161.9, "millisecond", spans[0])])
    assert bench.score_quantulum3([SENTENCE])["value right %"] == 0.0
    all_denied = bench.score_polarity([SENTENCE], lambda _, named: [(True, False) for _ in named])
    assert list(all_denied.values()) == [100.0, 0.0, 0.0, 100.0]
    none_found = bench.score_polarity([SENTENCE], lambda _, named: [None for _ in named])
    assert set(none_found.values()) == {0.0}


def test_intervals_of_shares() -> None:
    """Wilson's, as in Newcombe's example of 81 of 263: 0.2553 to 0.3662."""
    share, low, high = claims.interval(81, 263) or (0.0, 0.0, 0.0)
    assert (share, low, high) == (30.8, 25.5, 36.6)
    assert claims.interval(0, 0) is None
    assert claims.interval(3, 3) == (100.0, pytest.approx(43.8, abs=0.1), 100.0)
