"""`Figure`: a number with its bootstrap 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from llava_ecg.errors import InputError

RESAMPLES = 1000
Statistic = Callable[[np.ndarray], float | None]
"""Places of the answers (int64 [N], with repeats) -> the figure of these; None where it has none."""


@dataclass(frozen=True)
class Figure:
    """A figure, in the unit of what it is of.

    Attributes:
        value: None where it can't be had, such as the AUC of a label that no ECG has.
        low, high: 95 % interval; None where there is none.
        count: answers it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


def bootstrap(
    statistic: Statistic,
    count: int,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figure:
    """A statistic of answers and its percentile interval over resamples with replacement.

    Args:
        statistic: of the answers at these places.
        count: how many answers there are.
        groups: of each answer, what it shares with others, such as the patient; whole groups are drawn, since the
            questions about one ECG are not independent. None: each answer by itself.
        resamples: how many; those for which the statistic is None are left out.
        seed: of the draws.

    Raises:
        InputError: as many groups as answers are wanted.
    """
    if groups is not None and len(groups) != count:
        raise InputError(f"{len(groups)} groups for {count} answers; give one an answer")
    if not count:
        return Figure(None, None, None, 0)
    places: dict[Hashable, list[int]] = {}
    for place, group in enumerate(range(count) if groups is None else groups):
        places.setdefault(group, []).append(place)
    units = [np.array(each) for each in places.values()]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(0, len(units), len(units))
        drawn.append(statistic(np.concatenate([units[each] for each in chosen])))
    values = [each for each in drawn if each is not None]
    low, high = (float(each) for each in np.percentile(values, [2.5, 97.5])) if values else (None, None)
    return Figure(statistic(np.arange(count)), low, high, count)
