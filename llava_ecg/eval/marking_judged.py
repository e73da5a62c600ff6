"""`ByJudge`: the marking of free text by a judge, and how far two judges agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava_ecg.errors import InputError
from llava_ecg.eval import judged
from llava_ecg.eval.intervals import Figure, Statistic, bootstrap
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.marking import by_word, groups_of
from llava_ecg.eval.rubrics import Rubric
from llava_ecg.eval.scorers import Scores


@dataclass(frozen=True)
class ByJudge:
    """Points of a judge; what it did not score is left out of that criterion's mean, with its share told.

    Attributes:
        rubric: what the judge is asked.
        public: whether the public scorer's figures can be made of its replies.
        mean: whether the mean of all criteria is a figure too, of the answers in which all are scored.
    """

    rubric: Rubric
    public: bool = False
    mean: bool = False

    @property
    def by_text(self) -> bool:
        """No: of the judge's replies, where at all."""
        return False

    @property
    def named(self) -> tuple[str, ...]:
        """Free text has no options."""
        return ()

    def read(self, item: Item, answered: Answered) -> Told:
        """Refuses: only a judge can.

        Raises:
            InputError: always.
        """
        raise InputError(f"answers by the rubric {self.rubric.told} are scored by a judge; name one with --judge")

    def right(self, item: Item, told: Told) -> bool:
        """Whether the judge scored all of it: a log's list of samples shows what was not."""
        return told.said is not None and len(told.said) == len(self.rubric.criteria)

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """A figure for each criterion, with the share that is unscored; of two judges their agreement too."""
        groups = groups_of(items)
        figures = {
            name: bootstrap(each, len(items), groups=groups) for name, each in self.statistics(items, told).items()
        }
        notes = [f"judged by the rubric {self.rubric.told}"]
        unscored = {}
        for criterion in self.rubric.criteria:
            missing = int(np.isnan(self._values(told, criterion, 0)).sum())
            unscored[criterion.name] = missing / len(told) if told else 0.0
            figures[criterion.name] = _counted(figures[criterion.name], len(told) - missing)
        tables = self._agreement(told, groups)
        return Scores(
            figures,
            len(items),
            sum(each.said is None for each in told),
            notes=tuple(notes),
            units={each.name: "points" for each in self.rubric.criteria if each.summed},
            unscored=unscored,
            tables={"agreement of the first two judges": tables} if tables else {},
        )

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """Criterion -> mean over the answers that are scored, and ``mean`` where it is wanted."""
        values = {each.name: self._values(told, each, 0) for each in self.rubric.criteria}
        if self.mean:
            values["mean"] = np.mean(list(values.values()), axis=0)  # of NaN and a number it is NaN
        return {name: _mean(each) for name, each in values.items()}

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """The public scorer's, of the first judge's last replies."""
        if not self.public:
            return {}
        replies = [each.more["replies"][0][-1] for each in told if each.more.get("replies") and each.more["replies"][0]]
        shares = {name for each in self.rubric.criteria if not each.summed for name in (each.name, *each.others)}
        found = judged.figures_legacy(replies)
        return {name: value / 100 if name in shares else value for name, value in found.items()}

    def agree(self, one: Told, other: Told) -> float:
        """ROUGE-L of the two texts."""
        return by_word(one.text, other.text)

    def _values(self, told: Sequence[Told], criterion: judged.Criterion, judge: int) -> np.ndarray:
        """float [N]: the criterion's figure of each answer by one of the judges; NaN where it is unscored."""
        found = []
        for each in told:
            judges = each.more.get("judges", [])
            points = judges[judge].get(criterion.name) if judge < len(judges) else None
            found.append(np.nan if not points else criterion.figure(tuple(points)) / (1 if criterion.summed else 100))
        return np.array(found, dtype=float)

    def _agreement(self, told: Sequence[Told], groups: Sequence[str]) -> dict[str, dict[str, float]]:
        """Criterion -> Lin's concordance of the two, its interval, and how much higher the second is on average."""
        found: dict[str, dict[str, float]] = {}
        for criterion in self.rubric.criteria:
            one, other = (self._values(told, criterion, judge) for judge in (0, 1))
            both = ~np.isnan(one) & ~np.isnan(other)
            if not both.any():
                continue
            figure = bootstrap(
                concordance(one[both], other[both]),
                int(both.sum()),
                groups=[group for group, kept in zip(groups, both, strict=True) if kept],
            )
            row = {"concordance": figure.value, "low": figure.low, "high": figure.high, "answers": float(figure.count)}
            row["second less first"] = float((other[both] - one[both]).mean())
            found[criterion.name] = {name: value for name, value in row.items() if value is not None}
        return found


def concordance(one: np.ndarray, other: np.ndarray) -> Statistic:
    """Lin's concordance correlation of two judges' figures, float [N] each: 1 where they are equal, and less where
    they scatter or one is the stricter. None where both always give the same, but not each other's."""

    def of(at: np.ndarray) -> float | None:
        first, second = one[at], other[at]
        spread = first.var() + second.var() + (first.mean() - second.mean()) ** 2
        if spread == 0:
            return 1.0
        if first.var() == 0 and second.var() == 0:
            return None
        return float(2 * ((first - first.mean()) * (second - second.mean())).mean() / spread)

    return of


def _mean(values: np.ndarray) -> Statistic:
    def of(at: np.ndarray) -> float | None:
        had = values[at]
        had = had[~np.isnan(had)]
        return float(had.mean()) if len(had) else None

    return of


def _counted(figure: Figure, count: int) -> Figure:
    return Figure(figure.value, figure.low, figure.high, count)
