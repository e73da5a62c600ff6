"""The audit on simulated ECGs of known truth: how many true statements it calls wrong, how many false ones it finds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llava_ecg.ecg.measure import measure
from llava_ecg.grounding.audit import Status
from tests.grounding.statements import Outcome, cases, judge_case

HEARTS = 100
MOST_FALSE_ALARMS, LEAST_FOUND, LEAST_PLANTED_FOUND = 0.02, 0.95, 0.97


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [
        judge_case(case, measure(case.recording), np.random.default_rng(case.seed), "test") for case in cases(HEARTS)
    ]


def test_true_statements_are_hardly_ever_contradicted(outcomes: list[Outcome]) -> None:
    counts = sum((outcome.true for outcome in outcomes), Counter())
    alarms = counts[Status.CONTRADICTED] / sum(counts.values())
    assert sum(counts.values()) > 30 * HEARTS
    assert alarms <= MOST_FALSE_ALARMS, [line for outcome in outcomes for line in outcome.alarms]


def test_true_statements_are_mostly_supported(outcomes: list[Outcome]) -> None:
    counts = sum((outcome.true for outcome in outcomes), Counter())
    assert counts[Status.SUPPORTED] / sum(counts.values()) >= 0.9


def test_false_statements_are_found(outcomes: list[Outcome]) -> None:
    counts = sum((outcome.false for outcome in outcomes), Counter())
    assert sum(counts.values()) > 20 * HEARTS
    assert counts[Status.CONTRADICTED] / sum(counts.values()) >= LEAST_FOUND, [
        line for outcome in outcomes for line in outcome.missed
    ]


def test_a_planted_wrong_number_is_found_and_the_right_ones_are_left_alone(outcomes: list[Outcome]) -> None:
    found, planted = sum(o.planted_found for o in outcomes), sum(o.planted for o in outcomes)
    right = sum((o.planted_right for o in outcomes), Counter())
    assert planted > 5 * HEARTS
    assert found / planted >= LEAST_PLANTED_FOUND, [line for outcome in outcomes for line in outcome.overlooked]
    assert right[Status.CONTRADICTED] / sum(right.values()) <= MOST_FALSE_ALARMS
