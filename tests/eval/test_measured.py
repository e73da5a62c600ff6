"""The measured grounding score, by hand on simulated hearts: the floor, the lift, coverage, and shuffling."""

from __future__ import annotations

import pytest

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.eval.measured import Heard, Tally, grounding, others

RATES = (50.0, 75.0, 120.0)


@pytest.fixture(scope="module")
def measured() -> list[Measurements]:
    """Three hearts that differ in the rate alone."""
    return [measure(simulate(Heart(rate_bpm=rate), seed=3)[0]) for rate in RATES]


def heard(texts: list[str], measured: list[Measurements]) -> list[Heard]:
    return [Heard("What is the rate?", text, each) for text, each in zip(texts, measured, strict=True)]


def test_by_hand(measured: list[Measurements]) -> None:
    texts = ["The rate is 50 bpm.", "The rate is 75 bpm.", "The rate is 80 bpm. This may be an infarction."]
    found = grounding(heard(texts, measured), constant="The rate is 75 bpm.")
    assert found.total == Tally(2, 1, 1)
    assert found.score.value == pytest.approx(2 / 3)
    assert found.constant.value == pytest.approx(1 / 3)
    assert found.shuffled is not None
    # 50 and 80 are wrong of the others but where 80 comes to 75 (tolerance 5 bpm), and 75 is wrong of both others
    assert found.shuffled.value in (pytest.approx(0), pytest.approx(1 / 3))
    assert found.lift.value == pytest.approx(1 / 3)
    assert found.coverage.value == 1
    assert found.settled.value == 1
    assert found.quantities["heart_rate_bpm"] == Tally(2, 1)
    assert found.quantities["diagnosis"] == Tally(0, 0, 1)


def test_a_constant_text_lifts_nothing(measured: list[Measurements]) -> None:
    found = grounding(heard(["The rate is 75 bpm and PR is normal."] * 3, measured))
    assert found.score.value is not None and found.score.value > 0.5
    assert found.lift.value is not None and found.lift.value <= 0


def test_silence_has_no_score_and_no_coverage(measured: list[Measurements]) -> None:
    found = grounding(heard(["The rate is 50 bpm.", "I can't tell.", ""], measured))
    assert found.score.value == 1
    assert found.coverage.value == pytest.approx(1 / 3)
    quiet = grounding(heard(["", "", ""], measured))
    assert quiet.score.value is None and quiet.lift.value is None
    assert quiet.coverage.value == 0


def test_leads_are_counted_by_name(measured: list[Measurements]) -> None:
    found = grounding(heard(["ST elevation in V1 and V2.", "", ""], measured))
    assert found.leads == {"V1": Tally(0, 1), "V2": Tally(0, 1)}


def test_without_a_signal_nothing_is_settled() -> None:
    found = grounding([Heard("", "The rate is 50 bpm.", None)])
    assert found.total == Tally(0, 0, 1)
    assert found.shuffled is None


@pytest.mark.parametrize("groups", [list("abcdef"), list("aabbc"), ["a"] * 3 + ["b"] * 3, list("aab"), list("ab")])
def test_nobody_is_lent_its_own_group(groups: list[str]) -> None:
    for seed in range(20):
        order = others(groups, seed)
        assert order is not None
        assert all(groups[place] != group for place, group in zip(order, groups, strict=True))
        if max(map(groups.count, groups)) * 2 <= len(groups):
            assert sorted(order) == list(range(len(groups)))
    assert others(["a", "a"]) is None


def test_no_answers() -> None:
    with pytest.raises(InputError, match="no answer"):
        grounding([])
