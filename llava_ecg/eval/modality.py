"""`Missing` and `thrice`: the same questions with the signal alone, the image alone and both, and how far the answers
agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.data.conversation import STREAMS
from llava_ecg.eval.intervals import Statistic, bootstrap
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.marking import Marking, groups_of, with_kinds
from llava_ecg.eval.rubrics import Rubric
from llava_ecg.eval.scorers import Scores

WAYS = {STREAMS[0]: (STREAMS[0],), STREAMS[1]: (STREAMS[1],), "both": STREAMS}
"""How a question is asked, behind the @ of its name -> the streams that are shown."""


@dataclass(frozen=True)
class Thrice:
    """A task's rows, each asked in all three ways.

    Attributes:
        read: the task's own.
    """

    read: Callable[[Path], Sequence[Mapping[str, Any]]]

    def __call__(self, data: Path) -> list[dict[str, Any]]:
        """The rows; the three of a question stand together, so that the first N hold whole questions."""
        return [
            {
                **row,
                "name": f"{row['name']}@{way}",
                "group": row.get("group") or row["name"],
                "sources": tuple({**block, "show": list(show)} for block in row["sources"]),
            }
            for row in self.read(data)
            for way, show in WAYS.items()
        ]


@dataclass(frozen=True)
class Missing:
    """The marking of `Thrice`: each figure by what was shown, and the agreement between each two ways.

    Attributes:
        of: the marking of the questions themselves.
    """

    of: Marking

    @property
    def rubric(self) -> Rubric | None:
        """Of the questions themselves."""
        return self.of.rubric

    @property
    def named(self) -> tuple[str, ...]:
        """Of the questions themselves."""
        return self.of.named

    @property
    def by_text(self) -> bool:
        """No: the public code asks in one way at a time."""
        return False

    def read(self, item: Item, answered: Answered) -> Told:
        """As the questions' own marking does."""
        return self.of.read(item, answered)

    def right(self, item: Item, told: Told) -> bool:
        """As the questions' own marking has it."""
        return self.of.right(item, told)

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """``<metric>_<way>`` and ``agreement_<way>_<way>``."""
        groups = groups_of(items)
        figures = {
            name: bootstrap(each, len(items), groups=groups) for name, each in self.statistics(items, told).items()
        }
        inner = self.of.scores(items, told)
        per_way = {
            way: self.of.scores(
                [item for item in items if _way(item) == way],
                [each for item, each in zip(items, told, strict=True) if _way(item) == way],
            )
            for way in WAYS
        }

        def by_way(field: str) -> dict[str, Any]:
            return {f"{name}_{way}": value for way, one in per_way.items() for name, value in vars(one)[field].items()}

        return replace(
            inner,
            figures=figures,
            chance=by_way("chance"),
            majority=by_way("majority"),
            units=by_way("units"),
            unscored=by_way("unscored"),
            tables={},
        )

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """The same as functions of places."""
        found: dict[str, Statistic] = {}
        inner = self.of.statistics(items, told)
        for way in WAYS:
            found |= with_kinds(inner, np.array([_way(item) == way for item in items], dtype=bool), way)
        for one, other in combinations(WAYS, 2):
            found[f"agreement_{one}_{other}"] = self._agreement(items, told, one, other)
        return found

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """None: the public code asks in one way at a time."""
        return {}

    def agree(self, one: Told, other: Told) -> float:
        """As the questions' own marking has it."""
        return self.of.agree(one, other)

    def _agreement(self, items: Sequence[Item], told: Sequence[Told], one: str, other: str) -> Statistic:
        """Mean over the questions that were answered in both ways; it stands at the place of the first."""
        at = {(item.name.rpartition("@")[0], _way(item)): place for place, item in enumerate(items)}
        values = np.full(len(items), np.nan)
        for (name, way), place in at.items():
            if way == one and (name, other) in at:
                values[place] = self.of.agree(told[place], told[at[name, other]])

        def of(places: np.ndarray) -> float | None:
            had = values[places]
            had = had[~np.isnan(had)]
            return float(had.mean()) if len(had) else None

        return of


def _way(item: Item) -> str:
    return item.name.rpartition("@")[2]
