"""The measured grounding score: of what answers claim and the signal settles, how much it bears out; no judge.

    score = supported / (supported + contradicted)

A text that would do for any ECG scores high ("sinus rhythm, normal axis"), and one that claims nothing can't be wrong.
So the headline is `lift`: the score less the higher of two floors on the same ECGs, a constant normal text and the
same answers handed to other ECGs; and `coverage` stands beside it. The reference texts, scored in the same way, are
the ceiling. How far the verdicts themselves can be trusted: docs/grounding.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.errors import InputError
from llava_ecg.eval.intervals import Figure, Statistic, bootstrap
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.verdicts import Status

NORMAL = (
    "Sinus rhythm, regular, at 70 bpm. The PR interval is normal at 160 ms, QRS is narrow at 90 ms, and QTc is normal "
    "at 410 ms. The axis is normal. There is no ST elevation or depression, and the T waves are upright. Normal ECG."
)
"""The constant text that is the floor."""


@dataclass(frozen=True)
class Heard:
    """An answer and what it is held against.

    Attributes:
        question, text: what was asked and answered.
        measurements: of what the model was shown; None where nothing could be measured.
        group: what is drawn together for the interval, such as the patient or the ECG; None: this answer by itself.
        sex, age: as the file says them.
        whole: whether the answer came to its own end.
    """

    question: str
    text: str
    measurements: Measurements | None
    group: Hashable = None
    sex: str | None = None
    age: float | str | None = None
    whole: bool = True

    def audit(self, text: str | None = None, whole: bool = True) -> Audit:
        """Of its own text, or of another one on the same ECG."""
        own = text is None
        return audit_answer(
            self.question,
            self.text if text is None else text,
            self.measurements,
            whole=self.whole if own else whole,
            sex=self.sex,
            age=self.age,
        )


@dataclass(frozen=True)
class Tally:
    """Claims counted.

    Attributes:
        supported, contradicted: that the signal bears out, or speaks against.
        open: all others: borderline, unmeasurable, not checked.
    """

    supported: int = 0
    contradicted: int = 0
    open: int = 0

    @property
    def score(self) -> float | None:
        """supported / (supported + contradicted); None where nothing is settled."""
        settled = self.supported + self.contradicted
        return self.supported / settled if settled else None

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.supported + other.supported, self.contradicted + other.contradicted, self.open + other.open)


@dataclass(frozen=True)
class Grounded:
    """The measured grounding of a set of answers.

    Attributes:
        lift: the headline: `score` less the higher of `constant` and `shuffled`; from -1 to 1.
        score: supported / (supported + contradicted) over all claims.
        coverage: share of the answers with a claim that the signal settles.
        settled: such claims an answer, on average.
        constant: score of `NORMAL` on the same ECGs.
        shuffled: score of the same answers, each handed to another ECG; None where there is no other.
        quantities: quantity of the claim (``pr_ms``) -> tally.
        leads: lead that a claim names -> tally; a claim of two leads counts for both.
        total: tally of all claims.
    """

    lift: Figure
    score: Figure
    coverage: Figure
    settled: Figure
    constant: Figure
    shuffled: Figure | None
    quantities: dict[str, Tally]
    leads: dict[str, Tally]
    total: Tally


def grounding(heard: Sequence[Heard], *, constant: str = NORMAL, seed: int = 0) -> Grounded:
    """Score a set of answers against the signals.

    Args:
        heard: the answers.
        constant: the text that is the floor.
        seed: of the shuffle and of the intervals.

    Raises:
        InputError: no answer.
    """
    if not heard:
        raise InputError("there is no answer whose grounding could be measured")
    audits = [each.audit() for each in heard]
    groups = _groups(heard)
    own = _counts(audits)
    floors = {"constant": _counts([each.audit(constant) for each in heard])}
    if (order := others(groups, seed)) is not None:
        lent = [(each, heard[place]) for each, place in zip(heard, order, strict=True)]
        floors["shuffled"] = _counts([each.audit(other.text, other.whole) for each, other in lent])

    found = {
        name: bootstrap(each, len(heard), groups=groups, seed=seed)
        for name, each in statistics({"own": own} | floors).items()
    }
    return Grounded(
        lift=found["lift"],
        score=found["score"],
        coverage=found["coverage"],
        settled=found["settled"],
        constant=found["constant"],
        shuffled=found.get("shuffled"),
        quantities=tallies(audits, lambda verdict: (verdict.claim.quantity,)),
        leads=tallies(audits, lambda verdict: verdict.claim.leads),
        total=tallies(audits, lambda _: ("all",)).get("all", Tally()),
    )


def statistics(counts: Mapping[str, np.ndarray]) -> dict[str, Statistic]:
    """The figures as functions of places.

    Args:
        counts: int64 [N, 2], claims supported and contradicted, of the answers (``own``), of the floors (``constant``,
            ``shuffled``) and of the reference texts (``ceiling``), as far as there are any.
    """
    own = counts["own"]
    floors = [counts[name] for name in ("constant", "shuffled") if name in counts]

    def lift(places: np.ndarray) -> float | None:
        low = [each for each in (_score(floor, places) for floor in floors) if each is not None]
        score = _score(own, places)
        return None if score is None or not low else score - max(low)

    found: dict[str, Statistic] = {
        "lift": lift,
        "score": _scorer(own),
        "coverage": lambda places: float((own[places].sum(axis=1) > 0).mean()),
        "settled": lambda places: float(own[places].sum(axis=1).mean()),
    }
    return found | {name: _scorer(each) for name, each in counts.items() if name != "own"}


def others(groups: Sequence[Hashable], seed: int = 0) -> list[int] | None:
    """For each answer the place of one of another group, each place taken once where that can be; None where all are
    of one group."""
    if len(set(groups)) < 2:
        return None
    rng = np.random.default_rng(seed)
    first = {group: place for place, group in enumerate(rng.permutation(len(set(groups))))}
    names = list(dict.fromkeys(groups))
    rank = {name: first[place] for place, name in enumerate(names)}
    order = sorted(range(len(groups)), key=lambda place: rank[groups[place]])  # groups in a row, in a random order
    step = max(groups.count(name) for name in names)  # so far on, nobody meets its own group, unless that is over half
    found = [0] * len(groups)
    for at, place in enumerate(order):
        taken = next(
            order[(at + step + more) % len(order)]
            for more in range(len(order))
            if groups[order[(at + step + more) % len(order)]] != groups[place]
        )
        found[place] = taken
    return found


def tally(found: Audit) -> Tally:
    """The claims of one audit, counted."""
    counts = found.counts
    right, wrong = counts[Status.SUPPORTED.value], counts[Status.CONTRADICTED.value]
    return Tally(right, wrong, sum(counts.values()) - right - wrong)


def _groups(heard: Sequence[Heard]) -> list[Hashable]:
    return [("answer", place) if each.group is None else each.group for place, each in enumerate(heard)]


def _counts(audits: Sequence[Audit]) -> np.ndarray:
    """int64 [N, 2]: supported, contradicted."""
    return np.array([[each.supported, each.contradicted] for each in map(tally, audits)], dtype=np.int64)


def _scorer(counts: np.ndarray) -> Callable[[np.ndarray], float | None]:
    return lambda places: _score(counts, places)


def _score(counts: np.ndarray, places: np.ndarray) -> float | None:
    supported, contradicted = counts[places].sum(axis=0)
    return Tally(int(supported), int(contradicted)).score


def tallies(audits: Sequence[Audit], names: Callable[..., Sequence[str]]) -> dict[str, Tally]:
    """Name -> the claims that `names` gives it, counted over audits."""
    found: dict[str, Tally] = {}
    for each in audits:
        for verdict in each.verdicts:
            right, wrong = verdict.status is Status.SUPPORTED, verdict.status is Status.CONTRADICTED
            one = Tally(int(right), int(wrong), int(not right and not wrong))
            for name in names(verdict):
                found[name] = found.get(name, Tally()) + one
    return dict(sorted(found.items()))
