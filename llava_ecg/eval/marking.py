"""`Marking`: how answers are read and which figures are made of them; here those with right answers that are chosen.

`marking_judged` has those that a judge decides, `marking_measured` those that the signal does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llava_ecg.eval import parsers, parsers_legacy, scorers_legacy
from llava_ecg.eval.intervals import Statistic
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.scorers import Said, Scores, exact, label_statistics, multi_label, right_of

if TYPE_CHECKING:
    from llava_ecg.eval.rubrics import Rubric


class Marking(Protocol):
    """How the answers of a task are read and scored.

    Attributes:
        rubric: what a judge is asked; None where none is needed.
        named: what likelihoods are asked for where they are; empty where they mean nothing.
        by_text: whether the public code's figures are made of the answer's text alone.
    """

    @property
    def rubric(self) -> Rubric | None:
        """What a judge is asked; None where none is needed."""

    @property
    def named(self) -> tuple[str, ...]:
        """What likelihoods are asked for; empty where they mean nothing."""

    @property
    def by_text(self) -> bool:
        """Whether the public code's figures are made of the answer's text alone."""

    def read(self, item: Item, answered: Answered) -> Told:
        """What an answer says, where no judge is needed.

        Raises:
            InputError: what it is held against can't be read.
        """

    def right(self, item: Item, told: Told) -> bool:
        """Whether it counts as right in a log's list of samples."""

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """The figures of answers, one an item."""

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """The figures as functions of places in the two lists, so that runs can be resampled together."""

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """The figures that the public code would give; empty where there is none for it."""

    def agree(self, one: Told, other: Told) -> float:
        """How far two answers to the same question say the same, from 0 to 1."""


def groups_of(items: Sequence[Item]) -> list[str]:
    """What is drawn together for the intervals."""
    return [item.group or item.name for item in items]


class _Chosen:
    """What all have in common whose right answers are sets that are chosen."""

    rubric: Rubric | None = None
    by_text = True

    def right(self, item: Item, told: Told) -> bool:
        """Whether the sets are equal."""
        return told.said is not None and frozenset(told.said) == frozenset(item.truth)

    def agree(self, one: Told, other: Told) -> float:
        """1 where the sets are equal; an answer that can't be read agrees with none."""
        return float(one.said is not None and one.said == other.said)


@dataclass(frozen=True)
class Options(_Chosen):
    """The question brings its options, and the exact set of them is right.

    Attributes:
        several: whether more than one may be chosen.
    """

    several: bool = True

    @property
    def named(self) -> tuple[str, ...]:
        """None: the options are others for each question."""
        return ()

    def read(self, item: Item, answered: Answered) -> Told:
        """Sorted names of the options."""
        said = parsers.options(answered.text, item.options, several=self.several)
        return Told(answered.text, None if said is None else sorted(said))

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """Accuracy."""
        return exact(_sets(told), _truth(items), [len(item.options) for item in items], groups=groups_of(items))

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """Accuracy."""
        right = right_of(_sets(told), _truth(items))
        return {"accuracy": lambda at: float(right[at].mean())}

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """Accuracy of the letters that the options are written with."""
        if not items:
            return {}
        right = [
            parsers_legacy.options_agree(each.text, prompt, ", ".join(item.truth))
            for item, each, prompt in zip(items, told, prompts, strict=True)
        ]
        return {"accuracy": sum(right) / len(right)}


@dataclass(frozen=True)
class Letters(Options):
    """The question brings options A, B, ..., and one is right; the truth is its letter."""

    def read(self, item: Item, answered: Answered) -> Told:
        """The letter, alone in a list."""
        said = parsers.letter(answered.text, item.options)
        return Told(answered.text, None if said is None else [said])

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """Accuracy, with a letter drawn where none is found."""
        if not items:
            return {}
        rng = random.Random(42)
        count = max(len(item.options) for item in items)
        said = [parsers_legacy.letter(each.text, count, rng) for each in told]
        return {"accuracy": sum(one == item.truth[0] for one, item in zip(said, items, strict=True)) / len(items)}


@dataclass(frozen=True)
class Labels(_Chosen):
    """Any number of a fixed list of labels is right.

    Attributes:
        labels: the list.
        normal: labels of which the public code looks for the one and the other by a rule of its own (CODE-15).
    """

    labels: tuple[Label, ...]
    normal: tuple[str, str] | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(label.name for label in self.labels)

    def read(self, item: Item, answered: Answered) -> Told:
        """Sorted names of the labels, and how likely each was where that was asked for."""
        said = parsers.labels(answered.text, self.labels)
        more = {} if answered.likelihoods is None else {"likelihoods": dict(answered.likelihoods)}
        return Told(answered.text, None if said is None else sorted(said), more)

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """Macro F1, the published "AUC", Hamming loss, and the true AUC where each answer has likelihoods."""
        scores = self._likelihoods(told)
        return multi_label(_sets(told), _truth(items), self.named, scores=scores, groups=groups_of(items))

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """The same."""
        return label_statistics(_sets(told), _truth(items), self.named, self._likelihoods(told))

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """With labels found inside of other words."""
        if not items:
            return {}
        if self.normal is None:
            said = [parsers_legacy.labels(each.text, self.named) for each in told]
        else:
            said = [parsers_legacy.labels_or_normal(each.text, self.named, self.normal) for each in told]
        return scorers_legacy.multi_label(said, _truth(items))

    def _likelihoods(self, told: Sequence[Told]) -> np.ndarray | None:
        """float [N, L]; None unless each answer has them."""
        rows = [each.more.get("likelihoods") for each in told]
        if not rows or any(row is None for row in rows):
            return None
        return np.array([[float(row[name]) for name in self.named] for row in rows if row is not None])


def _sets(told: Sequence[Told]) -> list[Said | None]:
    return [None if each.said is None else frozenset(each.said) for each in told]


def _truth(items: Sequence[Item]) -> list[Said]:
    return [frozenset(item.truth) for item in items]


def by_word(one: str, other: str) -> float:
    """ROUGE-L: twice the longest common run of words, gaps allowed, over the words of both texts; from 0 to 1."""
    first, second = one.lower().split(), other.lower().split()
    if not first or not second:
        return float(first == second)
    row = [0] * (len(second) + 1)
    for word in first:
        former = 0
        for place, against in enumerate(second, 1):
            former, row[place] = row[place], former + 1 if word == against else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(first) + len(second))


def with_kinds(found: Mapping[str, Statistic], places: np.ndarray, name: str) -> dict[str, Statistic]:
    """Statistics of the answers of one kind alone, under ``<metric>_<name>``; `places` bool [N] says which these
    are."""

    def only(statistic: Statistic) -> Statistic:
        def of(at: np.ndarray) -> float | None:
            kept = at[places[at]]
            return statistic(kept) if len(kept) else None

        return of

    return {f"{metric}_{name}": only(statistic) for metric, statistic in found.items()}
