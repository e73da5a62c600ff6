"""`paired`: two runs of the same questions, the difference of a figure with its interval, and a test of it.

The interval comes of resampling the questions of both together, whole patients at a time. The test swaps the two
answers to all questions of a patient at random: where the models are alike, that changes nothing but by chance. Both
hold for any figure, also for those that are no mean over answers, such as F1 and AUC.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llava_ecg.errors import InputError
from llava_ecg.eval.intervals import Statistic, bootstrap
from llava_ecg.eval.items import Item, Told
from llava_ecg.eval.marking import Marking, groups_of

SWAPS = 1000


@dataclass(frozen=True)
class Paired:
    """How a second run differs from a first.

    Attributes:
        difference: second less first; None where one of them has no figure.
        low, high: its 95 % interval.
        p: how often a difference as large comes of swapping alone.
        common: questions that both answered.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    common: int


def common(first: Sequence[Item], second: Sequence[Item], names: tuple[str, str]) -> list[tuple[int, int]]:
    """Places, in both lists, of the questions that are in both.

    Args:
        first, second: questions.
        names: what the runs are called, for the message.

    Raises:
        InputError: a question of one name is two questions.
    """
    at = {item.name: place for place, item in enumerate(second)}
    found = [(place, at[item.name]) for place, item in enumerate(first) if item.name in at]
    for one, other in found:
        if _asked(first[one]) != _asked(second[other]):
            raise InputError(
                f"{first[one].name} is another question in {names[0]} than in {names[1]}; compare runs of the same data"
            )
    return found


def paired(
    marking: Marking, items: Sequence[Item], first: Sequence[Told], second: Sequence[Told], *, seed: int = 0
) -> dict[str, Paired]:
    """Metric -> how the second run differs from the first.

    Args:
        marking: of the task.
        items: N questions.
        first, second: the answers of both, one a question.
        seed: of resamples and swaps.
    """
    count = len(items)
    again = [replace(item, name=f"2:{item.name}") for item in items]  # a name stands for one question
    statistics = marking.statistics([*items, *again], [*first, *second])
    groups = groups_of(items)
    return {name: _compared(each, count, groups, seed) for name, each in statistics.items()}


def _compared(statistic: Statistic, count: int, groups: Sequence[Hashable], seed: int) -> Paired:
    def between(one: np.ndarray, other: np.ndarray) -> float | None:
        values = statistic(one), statistic(other)
        return None if values[0] is None or values[1] is None else values[1] - values[0]

    figure = bootstrap(lambda at: between(at, count + at), count, groups=groups, seed=seed)
    if figure.value is None:
        return Paired(None, None, None, None, count)
    rng = np.random.default_rng(seed)
    order = list(dict.fromkeys(groups))
    place = {group: number for number, group in enumerate(order)}
    of_group = np.array([place[group] for group in groups])
    at = np.arange(count)
    larger = had = 0
    for _ in range(SWAPS):
        swapped = rng.integers(0, 2, len(order)).astype(bool)[of_group]
        found = between(np.where(swapped, count + at, at), np.where(swapped, at, count + at))
        if found is not None:
            had += 1
            larger += abs(found) >= abs(figure.value) - 1e-12
    return Paired(figure.value, figure.low, figure.high, (1 + larger) / (1 + had), count)


def _asked(item: Item) -> tuple[object, ...]:
    """What makes it the question that it is; where its files lie does not."""
    return item.question, item.turns, item.options, item.truth, item.reference
