"""Markings that need no judge and no labels: `Grounding` and `Readings` hold answers against the measured signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llava_ecg.eval import held
from llava_ecg.eval.intervals import Statistic, bootstrap
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.marking import by_word, groups_of
from llava_ecg.eval.measured import NORMAL, Tally, statistics, tallies, tally
from llava_ecg.eval.scorers import Scores
from llava_ecg.grounding.audit import Audit

QUANTITIES = {
    "heart_rate_bpm": ("heart_rate_bpm",),
    "pr_ms": ("pr_ms",),
    "qrs_ms": ("qrs_ms",),
    "qt_ms": ("qt_ms",),
    "qtc_bazett_ms": ("qtc_ms", "qtc_bazett_ms"),
}
"""Field of `Measurements` -> the quantities of claims that give it; a QTc without a formula is Bazett's."""

_TABLES = {"claims by quantity": "quantities", "claims by lead": "leads"}


class _Free:
    """What both have in common: free text, which the public code has no figure for."""

    rubric = None
    by_text = False

    @property
    def named(self) -> tuple[str, ...]:
        """Free text has no options."""
        return ()

    def scores_legacy(self, items: Sequence[Item], told: Sequence[Told], prompts: Sequence[str]) -> dict[str, float]:
        """None."""
        return {}

    def agree(self, one: Told, other: Told) -> float:
        """ROUGE-L of the two texts."""
        return by_word(one.text, other.text)


@dataclass(frozen=True)
class Grounding(_Free):
    """The measured grounding of answers, between floors and ceiling; see `llava_ecg.eval.measured`.

    Attributes:
        constant: the text that is the floor.
    """

    constant: str = NORMAL

    def read(self, item: Item, answered: Answered) -> Told:
        """Claims supported and contradicted, of the answer and of what it is compared with; None where the answer
        makes no claim at all.

        Raises:
            InputError: an ECG can't be read.
        """

        def against(text: str, blocks: Sequence[Mapping[str, object]], whole: bool = True) -> Audit:
            shown = answered.shown if blocks is item.sources else None
            return held.held(item.question, text, blocks, shown, whole=whole)

        own = against(answered.text, item.sources, answered.whole)
        counts = {"own": _pair(own), "constant": _pair(against(self.constant, item.sources))}
        if item.lent:
            counts["shuffled"] = _pair(against(answered.text, item.lent, answered.whole))
        if item.reference:
            counts["ceiling"] = _pair(against(item.reference, item.sources))
        more = {
            "counts": counts,
            "quantities": _rows(tallies([own], lambda verdict: (verdict.claim.quantity,))),
            "leads": _rows(tallies([own], lambda verdict: verdict.claim.leads)),
        }
        return Told(answered.text, [verdict.line() for verdict in own.verdicts] or None, more)

    def right(self, item: Item, told: Told) -> bool:
        """Whether something is supported and nothing contradicted."""
        supported, contradicted = told.more["counts"]["own"]
        return bool(supported and not contradicted)

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """Lift first, then what it is made of; unparsed are answers without a claim."""
        groups = groups_of(items)
        figures = {
            name: bootstrap(each, len(items), groups=groups) for name, each in self.statistics(items, told).items()
        }
        return Scores(
            figures,
            len(items),
            sum(each.said is None for each in told),
            units={"settled": "points"},
            tables={title: rows for title, name in _TABLES.items() if (rows := _summed(told, name))},
        )

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """As `llava_ecg.eval.measured.statistics`."""
        names = ("own", "constant", "shuffled", "ceiling")
        rows = [each.more["counts"] for each in told]
        return statistics(
            {
                name: np.array([row.get(name, (0, 0)) for row in rows], dtype=np.int64).reshape(len(rows), 2)
                for name in names
                if name in ("own", "constant") or any(name in row for row in rows)
            }
        )


@dataclass(frozen=True)
class Readings(_Free):
    """How far off the numbers are that answers give in their own words.

    Attributes:
        quantities: field of `Measurements` -> the quantities of claims that give it.
    """

    quantities: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: QUANTITIES)

    def read(self, item: Item, answered: Answered) -> Told:
        """Quantity -> the first number that the answer gives for it; None where it gives none.

        Raises:
            InputError: the ECG can't be read.
        """
        found = held.measured(item.sources, answered.shown)
        audit = held.held(item.question, answered.text, item.sources, answered.shown, whole=answered.whole)
        plain = [  # of the audit: it leaves out a last number that an answer broke off in
            claim
            for claim in (verdict.claim for verdict in audit.verdicts)
            if isinstance(claim.value, float | int) and claim.comparison == "=" and not claim.negated
        ]
        said = {}
        for name, known in self.quantities.items():
            values = [claim.value for claim in plain if claim.quantity in known and not claim.leads]
            if values:
                said[name] = float(values[0])  # type: ignore[arg-type]
        measured = {name: getattr(found, name, None) for name in self.quantities}
        kept = {name: float(value) for name, value in measured.items() if value is not None}
        return Told(answered.text, said or None, {"measured": kept})

    def right(self, item: Item, told: Told) -> bool:
        """Whether each that can be measured is given."""
        return told.said is not None and set(told.more["measured"]) <= set(told.said)

    def scores(self, items: Sequence[Item], told: Sequence[Told]) -> Scores:
        """Of each quantity the mean absolute error, and the share of ECGs in which it can be measured and is given.

        Majority is the median of these very ECGs, given for all of them.
        """
        groups = groups_of(items)
        figures = {
            name: bootstrap(each, len(items), groups=groups) for name, each in self.statistics(items, told).items()
        }
        majority = {}
        for name in self.quantities:
            had = [each.more["measured"][name] for each in told if name in each.more["measured"]]
            if had:
                majority[f"{name}_error"] = float(np.abs(np.array(had) - np.median(had)).mean())
        units = {f"{name}_error": name.rpartition("_")[2] for name in self.quantities}
        return Scores(figures, len(items), sum(each.said is None for each in told), majority=majority, units=units)

    def statistics(self, items: Sequence[Item], told: Sequence[Told]) -> dict[str, Statistic]:
        """``<quantity>_error`` in its unit, and ``<quantity>_given``."""
        found: dict[str, Statistic] = {}
        for name in self.quantities:
            found |= _of_quantity(name, told)
        return found


def _of_quantity(name: str, told: Sequence[Told]) -> dict[str, Statistic]:
    measured = np.array([each.more["measured"].get(name, np.nan) for each in told], dtype=float)
    said = np.array([(each.said or {}).get(name, np.nan) for each in told], dtype=float)

    def error(at: np.ndarray) -> float | None:
        off = np.abs(said[at] - measured[at])
        off = off[~np.isnan(off)]
        return float(off.mean()) if len(off) else None

    def given(at: np.ndarray) -> float | None:
        there = ~np.isnan(measured[at])
        return float((~np.isnan(said[at]))[there].mean()) if there.any() else None

    return {f"{name}_error": error, f"{name}_given": given}


def _pair(found: Audit) -> tuple[int, int]:
    counted = tally(found)
    return counted.supported, counted.contradicted


def _rows(found: Mapping[str, Tally]) -> dict[str, list[int]]:
    return {name: [each.supported, each.contradicted, each.open] for name, each in found.items()}


def _summed(told: Sequence[Told], name: str) -> dict[str, dict[str, float]]:
    """Row -> claims supported, contradicted and open, over all answers."""
    found: dict[str, list[int]] = {}
    for each in told:
        for row, counts in each.more[name].items():
            found[row] = [one + more for one, more in zip(found.get(row, [0, 0, 0]), counts, strict=True)]
    columns = ("supported", "contradicted", "open")
    return {row: dict(zip(columns, map(float, found[row]), strict=True)) for row in sorted(found)}
