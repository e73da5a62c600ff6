"""Figures of answers against the truth: accuracy, and for labels F1, AUC and Hamming loss, each with its interval.

An unparsed answer (None) is wrong in every figure: no option of it is right, and each of its labels is the other way
round than the truth. Figures are shares from 0 to 1. `scorers_legacy` has those of the public code.
Axes: N answers, L labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llava_ecg.errors import InputError
from llava_ecg.eval.intervals import Figure, Statistic, bootstrap

Said = frozenset[str]


@dataclass(frozen=True)
class Scores:
    """What came of a task.

    Attributes:
        figures: name of the metric -> figure.
        count: answers.
        unparsed: answers that could not be read.
        chance: metric -> what answers by chance reach on average.
        majority: metric -> what the answer that is most often right here reaches, given to every question.
        notes: what a reader should know.
        units: metric -> ``points``, ``bpm`` or ``ms``; what is not in it is a share.
        unscored: metric -> share of the answers that have none, such as those that a judge did not score.
        tables: name -> row -> column -> number, such as claims by lead.
    """

    figures: Mapping[str, Figure]
    count: int
    unparsed: int
    chance: Mapping[str, float] = field(default_factory=dict)
    majority: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    unscored: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


def exact(
    said: Sequence[Said | None],
    truth: Sequence[Said],
    choices: Sequence[int],
    *,
    groups: Sequence[Hashable] | None = None,
) -> Scores:
    """Accuracy: the share of answers that name exactly the right options.

    Args:
        said: N sets of options; None where unparsed.
        truth: N sets.
        choices: how many options each question has; chance takes one of them.
        groups: of each answer, what is drawn together for the interval.

    Raises:
        InputError: the lengths differ.
    """
    _same_length(said=said, truth=truth, choices=choices)
    right = right_of(said, truth)
    figure = bootstrap(lambda places: float(right[places].mean()), len(right), groups=groups)
    chance = [1 / count if len(each) == 1 else 0.0 for each, count in zip(truth, choices, strict=True)]
    common = Counter(truth).most_common(1)
    return Scores(
        {"accuracy": figure},
        len(right),
        sum(each is None for each in said),
        {"accuracy": float(np.mean(chance))} if chance else {},
        {"accuracy": common[0][1] / len(truth)} if common else {},
    )


def multi_label(
    said: Sequence[Said | None],
    truth: Sequence[Said],
    labels: Sequence[str],
    *,
    scores: np.ndarray | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Scores:
    """Macro F1, published "AUC" (`hard_auc`) and Hamming loss, and the true AUC where scores are given.

    A label that neither the truth nor any answer has is left out of the means, which a note says.

    Args:
        said: N sets of labels; None where unparsed.
        truth: N sets.
        labels: L names.
        scores: float [N, L], how likely each label is to the model; None without.
        groups: of each answer, what is drawn together for the interval.

    Raises:
        InputError: the lengths differ, or a truth has an unknown label.
    """
    statistics = label_statistics(said, truth, labels, scores)
    is_so = table(truth, labels)
    guess = _guess(said, is_so, labels)
    figures = {name: bootstrap(each, len(is_so), groups=groups) for name, each in statistics.items()}
    seen = np.asarray((is_so | guess).any(axis=0))
    absent = [label for label, some in zip(labels, seen, strict=True) if not some]
    notes = (f"neither right nor said anywhere, so left out of the means: {', '.join(absent)}",) if absent else ()
    unparsed = sum(each is None for each in said)
    blind = {} if scores is None else {"auc": 0.5}  # of scores that know nothing, and of one score for all
    chance, majority = _label_chance(is_so) | blind, _label_majority(truth, labels) | blind
    return Scores(figures, len(is_so), unparsed, chance, majority, notes)


def right_of(said: Sequence[Said | None], truth: Sequence[Said]) -> np.ndarray:
    """float [N]: 1 where the sets are equal; an answer that can't be read is wrong."""
    return np.array([one is not None and one == other for one, other in zip(said, truth, strict=True)], dtype=float)


def label_statistics(
    said: Sequence[Said | None], truth: Sequence[Said], labels: Sequence[str], scores: np.ndarray | None = None
) -> dict[str, Statistic]:
    """The figures of `multi_label`, as functions of places.

    Raises:
        InputError: as `multi_label` does.
    """
    _same_length(said=said, truth=truth, **({} if scores is None else {"scores": scores}))
    if strange := sorted(set().union(*truth) - set(labels)):
        raise InputError(f"the right answers have labels that the task does not know: {', '.join(strange)}")
    is_so = table(truth, labels)
    guess = _guess(said, is_so, labels)
    found: dict[str, Statistic] = {
        "f1": lambda at: macro_f1(guess[at], is_so[at]),
        "hard_auc": lambda at: macro_hard_auc(guess[at], is_so[at]),
        "hamming_loss": lambda at: float((guess[at] != is_so[at]).mean()),
    }
    if scores is not None:
        given = scores
        found["auc"] = lambda at: macro_auc(given[at], is_so[at])
    return found


def _guess(said: Sequence[Said | None], is_so: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """bool [N, L]: what is said; of an answer that can't be read, the other way round than it is."""
    answered = np.array([each is not None for each in said], dtype=bool)
    return np.where(answered[:, None], table([each or frozenset() for each in said], labels), ~is_so)


def table(sets: Sequence[Said], labels: Sequence[str]) -> np.ndarray:
    """bool [N, L]: which sets have which labels."""
    return np.array([[label in each for label in labels] for each in sets], dtype=bool).reshape(len(sets), len(labels))


def macro_f1(guess: np.ndarray, is_so: np.ndarray) -> float | None:
    """Mean over the labels of F1 = 2 TP / (2 TP + FP + FN); both bool [N, L]. A label of which nothing is so or said
    has none."""
    hits, misses = (guess & is_so).sum(axis=0), (guess != is_so).sum(axis=0)
    some = hits + misses > 0
    return float((2 * hits[some] / (2 * hits[some] + misses[some])).mean()) if some.any() else None


def macro_hard_auc(guess: np.ndarray, is_so: np.ndarray) -> float | None:
    """Mean over the labels of the area under the curve of a yes-or-no prediction, which is (sensitivity +
    specificity) / 2: what is published as "AUC". Labels that all ECGs have, or none has, have none."""
    yes, no = is_so.sum(axis=0), (~is_so).sum(axis=0)
    some = (yes > 0) & (no > 0)
    if not some.any():
        return None
    sensitivity = (guess & is_so).sum(axis=0)[some] / yes[some]
    specificity = (~guess & ~is_so).sum(axis=0)[some] / no[some]
    return float(((sensitivity + specificity) / 2).mean())


def macro_auc(scores: np.ndarray, is_so: np.ndarray) -> float | None:
    """Mean over the labels of the probability that an ECG with the label scores above one without it, ties counting
    half; float and bool [N, L]."""
    found = []
    for column, so in zip(scores.T, is_so.T, strict=True):
        if so.any() and not so.all():
            _, place, count = np.unique(column, return_inverse=True, return_counts=True)
            rank = (np.cumsum(count) - (count - 1) / 2)[place]  # mean rank of equal scores, from 1
            yes, no = so.sum(), (~so).sum()
            found.append((rank[so].sum() - yes * (yes + 1) / 2) / (yes * no))
    return float(np.mean(found)) if found else None


def _label_chance(is_so: np.ndarray, rounds: int = 200) -> dict[str, float]:
    """Of answers that say each label as often as it is so, but anywhere: the mean of `rounds` draws."""
    rng = np.random.default_rng(0)
    share = is_so.mean(axis=0) if len(is_so) else np.zeros(is_so.shape[1])
    return _means([rng.random(is_so.shape) < share for _ in range(rounds)], is_so)


def _label_majority(truth: Sequence[Said], labels: Sequence[str]) -> dict[str, float]:
    """Of the set of labels that is right most often, given to every question."""
    if not truth:
        return {}
    common = Counter(truth).most_common(1)[0][0]
    return _means([table([common] * len(truth), labels)], table(truth, labels))


def _means(guesses: Sequence[np.ndarray], is_so: np.ndarray) -> dict[str, float]:
    if not len(is_so):
        return {}
    found: dict[str, list[float | None]] = {
        "f1": [macro_f1(each, is_so) for each in guesses],
        "hard_auc": [macro_hard_auc(each, is_so) for each in guesses],
        "hamming_loss": [float((each != is_so).mean()) for each in guesses],
    }
    had = {name: [each for each in values if each is not None] for name, values in found.items()}
    return {name: float(np.mean(values)) for name, values in had.items() if values}


def _same_length(**given: Sequence[object] | np.ndarray) -> None:
    if len({len(each) for each in given.values()}) > 1:
        told = ", ".join(f"{len(each)} of {name}" for name, each in given.items())
        raise InputError(f"one an answer is needed, and there are {told}")
