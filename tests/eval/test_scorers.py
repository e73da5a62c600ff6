"""Figures by hand: accuracy, F1, both AUCs, Hamming loss, intervals, and where the public code differs."""

from __future__ import annotations

import numpy as np
import pytest

from llava_ecg.errors import InputError
from llava_ecg.eval import scorers, scorers_legacy
from llava_ecg.eval.intervals import bootstrap


def sets(*texts: str) -> list[frozenset[str]]:
    return [frozenset(text.split()) for text in texts]


TRUTH = sets("NORM", "MI", "MI STTC", "NORM")
SAID = sets("NORM", "MI", "MI", "MI")
LABELS = ["NORM", "MI", "STTC"]


def test_accuracy_counts_exact_sets_and_unparsed_as_wrong() -> None:
    said = [frozenset({"yes"}), None, frozenset({"no"}), frozenset({"yes", "no"})]
    found = scorers.exact(said, sets("yes", "yes", "no", "no"), [2, 2, 2, 4])
    assert found.figures["accuracy"].value == 0.5
    assert found.unparsed == 1
    assert found.chance["accuracy"] == (3 / 2 + 1 / 4) / 4
    assert found.majority["accuracy"] == 0.5


def test_several_labels_by_hand() -> None:
    found = scorers.multi_label(SAID, TRUTH, LABELS)
    # NORM: TP 1, FN 1 -> 2/3; MI: TP 2, FP 1 -> 4/5; STTC: FN 1 -> 0
    assert found.figures["f1"].value == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    # (sensitivity + specificity) / 2: NORM (1/2 + 1) / 2; MI (1 + 1/2) / 2; STTC (0 + 1) / 2
    assert found.figures["hard_auc"].value == pytest.approx((0.75 + 0.75 + 0.5) / 3)
    # wrong: NORM and MI of the fourth, STTC of the third
    assert found.figures["hamming_loss"].value == pytest.approx(3 / 12)
    # the most frequent set is {NORM}: F1 of NORM 2*2/(4+2), the others 0
    assert found.majority["f1"] == pytest.approx((4 / 6) / 3)
    assert found.majority["hamming_loss"] == pytest.approx(5 / 12)
    assert 0.3 < found.chance["hamming_loss"] < 0.5


def test_an_unparsed_answer_is_wrong_in_each_label() -> None:
    found = scorers.multi_label([None, *SAID[1:]], TRUTH, LABELS)
    assert found.unparsed == 1
    # the first had cost nothing; all of its 3 decisions are wrong now
    assert found.figures["hamming_loss"].value == pytest.approx(6 / 12)
    # NORM: FN 2 -> 0; MI: TP 2, FP 2 -> 4/6; STTC: FP 1, FN 1 -> 0
    assert found.figures["f1"].value == pytest.approx((4 / 6) / 3)


def test_a_label_that_nobody_has_is_left_out_and_told() -> None:
    found = scorers.multi_label(SAID, TRUTH, [*LABELS, "CD"])
    assert found.figures["f1"].value == pytest.approx((2 / 3 + 4 / 5) / 3)
    assert found.notes == ("neither right nor said anywhere, so left out of the means: CD",)


def test_legacy_forgives_a_label_that_no_truth_has() -> None:
    said = sets("NORM CD", "MI CD", "MI CD", "MI CD")
    assert scorers_legacy.multi_label(said, TRUTH)["f1"] == pytest.approx((2 / 3 + 4 / 5) / 3)
    fixed = scorers.multi_label(said, TRUTH, [*LABELS, "CD"])
    assert fixed.figures["f1"].value == pytest.approx((2 / 3 + 4 / 5 + 0 + 0) / 4)
    assert fixed.figures["hamming_loss"].value == pytest.approx(7 / 16)
    assert scorers_legacy.multi_label(said, TRUTH)["hamming_loss"] == pytest.approx(3 / 12)


def test_legacy_auc_is_that_of_hard_predictions_and_missing_for_all_where_one_label_lacks_it() -> None:
    assert scorers_legacy.multi_label(SAID, TRUTH)["auc"] == pytest.approx(2 / 3)
    assert np.isnan(scorers_legacy.multi_label(sets("MI", "MI NORM"), sets("MI", "MI NORM"))["auc"])
    assert scorers.multi_label(sets("MI", "MI NORM"), sets("MI", "MI NORM"), ["MI", "NORM"]).figures[
        "hard_auc"
    ].value == pytest.approx(1)


def test_the_true_auc_ranks_scores() -> None:
    is_so = np.array([[True], [True], [False], [False]])
    # pairs (yes, no): .9 > .5, .9 > .1, .5 = .5 counts half, .5 > .1
    assert scorers.macro_auc(np.array([[0.9], [0.5], [0.5], [0.1]]), is_so) == pytest.approx(3.5 / 4)
    found = scorers.multi_label(
        sets("a", "a", "a", ""), sets("a", "a", "", ""), ["a"], scores=np.array([[0.9], [0.5], [0.5], [0.1]])
    )
    assert found.figures["auc"].value == pytest.approx(0.875)
    assert found.chance["auc"] == found.majority["auc"] == 0.5
    assert found.figures["hard_auc"].value == pytest.approx(0.75)


def test_legacy_skips_a_file_of_another_count_in_silence() -> None:
    assert scorers_legacy.accuracy(["A", "B"], ["A", "A"], expected=2) == 0.5
    assert scorers_legacy.accuracy(["A", "B"], ["A", "A"], expected=200) is None
    assert scorers.exact(sets("A", "B"), sets("A", "A"), [4, 4]).count == 2


def test_intervals() -> None:
    right = np.array([1.0] * 30 + [0.0] * 70)
    figure = bootstrap(lambda at: float(right[at].mean()), 100)
    assert figure.value == 0.3
    # the binomial's: 0.3 -+ 1.96 * sqrt(0.3 * 0.7 / 100) = 0.21 ... 0.39
    assert figure.low == pytest.approx(0.21, abs=0.015)
    assert figure.high == pytest.approx(0.39, abs=0.015)
    assert bootstrap(lambda at: float(right[at].mean()), 100) == figure, "the same seed, the same interval"


def test_answers_of_one_group_are_drawn_together() -> None:
    right = np.array([1.0] * 30 + [0.0] * 70)
    of_ten = bootstrap(lambda at: float(right[at].mean()), 100, groups=[place // 10 for place in range(100)])
    # ten units: 0.3 -+ 1.96 * sqrt(0.3 * 0.7 / 10) = 0.02 ... 0.58
    assert of_ten.low == pytest.approx(0.02, abs=0.09)
    assert of_ten.high == pytest.approx(0.58, abs=0.09)
    with pytest.raises(InputError, match="3 groups for 100 answers"):
        bootstrap(lambda at: 0.0, 100, groups=[1, 2, 3])


def test_nothing_and_mistakes() -> None:
    assert scorers.exact([], [], []).figures["accuracy"].value is None
    with pytest.raises(InputError, match="1 of said, 2 of truth"):
        scorers.exact(sets("a"), sets("a", "b"), [2, 2])
    with pytest.raises(InputError, match="does not know: CD"):
        scorers.multi_label(sets("MI"), sets("CD"), ["MI"])
