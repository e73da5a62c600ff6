"""What judges score, the eight criteria of Grounded ECG Understanding and others: reading a reply, and the figures.

A reply is JSON, an object of criterion -> list of ``{"score": number, ...}``, and nothing else. A criterion that is
missing, empty or out of range is unscored for that answer and left out of its mean, and how often is told beside it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llava_ecg.eval.intervals import Figure, bootstrap

LEADS = 12
Points = tuple[float, ...]


@dataclass(frozen=True)
class Criterion:
    """One thing that a judge scores.

    Attributes:
        name: ours, the one of the judge's prompt.
        highest: points are from 0 to this.
        whole: whether points are whole numbers.
        others: further names it goes by; the public prompt and the public scorer do not agree.
        figure: points of an answer -> its figure.
        published: the same as the public scorer has it, where that differs.
        most: so many points at most may be given; None for any number.
        summed: whether `figure` is a count of points; if not it is a share, in percent.
    """

    name: str
    highest: float
    figure: Callable[[Points], float]
    whole: bool = True
    others: tuple[str, ...] = ()
    published: Callable[[Points], float] | None = None
    most: int | None = None
    summed: bool = False


def _share_hit(points: Points) -> float:
    return 100 * sum(each > 0 for each in points) / len(points)


def _covered(points: Points) -> float:
    return 100 * min(sum(points), LEADS) / LEADS


def _accurate(points: Points) -> float:
    return 100 * min(sum(points), 2 * LEADS) / (2 * LEADS)


def _accurate_unclipped(points: Points) -> float:
    return 100 * sum(points) / (2 * LEADS)


def _mean(points: Points) -> float:
    return sum(points) / len(points)


def _tenths(points: Points) -> float:
    return 10 * points[0]


_DIAGNOSIS = Criterion("DiagnosisAccuracy", 2, _share_hit)
_COMPLETE = Criterion("AnalysisCompleteness", 1, sum, summed=True)
_RELEVANT = Criterion("AnalysisRelevance", 2, sum, summed=True)
_IN_HUNDREDTHS = (
    Criterion("GroundedECGUnderstanding", 100, _mean, False, ("ECGFeatureGrounding",)),
    Criterion("EvidenceBasedReasoning", 100, _mean, False),
    Criterion("RealisticDiagnosticProcess", 100, _mean, False, ("ClinicalDiagnosticFidelity",)),
)
CRITERIA = (
    _DIAGNOSIS,
    _COMPLETE,
    _RELEVANT,
    Criterion("LeadAssessmentCoverage", 1, _covered),
    Criterion("LeadAssessmentAccuracy", 2, _accurate, published=_accurate_unclipped),
    *_IN_HUNDREDTHS,
)
"""Those of GEM. Names as in the judge's prompt; `others` has what the public scorer looks for."""
CRITERIA_R1 = (
    _DIAGNOSIS,
    _COMPLETE,
    _RELEVANT,
    Criterion("LeadEvidenceValidity", 2, sum, summed=True),
    *_IN_HUNDREDTHS,
)
"""The seven of ECG-R1, with one criterion for leads; its figures and GEM's can't be compared."""
REPORT = tuple(Criterion(name, 10, _tenths, False, most=1) for name in ("Diagnosis", "Waveform", "Rhythm"))
"""Those of ECGBench's reports."""
ARENA = tuple(
    Criterion(name, 10, _tenths, False, most=1) for name in ("Accuracy", "Completeness", "InstructionAdherence")
)
"""Those of ECG Arena."""


@dataclass(frozen=True)
class Judged:
    """A criterion over all answers.

    Attributes:
        figure: mean over the answers that are scored, in the unit of the published tables.
        unscored: share of the answers that are not.
    """

    figure: Figure
    unscored: float


def read(reply: str, criteria: Sequence[Criterion] = CRITERIA) -> dict[str, Points]:
    """Criterion -> the points of a judge's reply; without those that are missing or out of range, and empty where the
    reply is no JSON object."""
    try:
        told = json.loads(reply)
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    found = {}
    for criterion in criteria:
        given = [told[name] for name in (criterion.name, *criterion.others) if name in told]
        if len(given) == 1 and (points := _points(given[0], criterion)):
            found[criterion.name] = points
    return found


def figures(replies: Sequence[str], criteria: Sequence[Criterion] = CRITERIA) -> dict[str, Judged]:
    """Criterion -> its figure over the replies, one an answer."""
    read_all = [read(reply, criteria) for reply in replies]
    found = {}
    for criterion in criteria:
        values = np.array([criterion.figure(each[criterion.name]) for each in read_all if criterion.name in each])
        unscored = 1 - len(values) / len(replies) if replies else 0.0
        found[criterion.name] = Judged(bootstrap(_mean_of(values), len(values)), unscored)
    return found


def figures_legacy(replies: Sequence[str]) -> dict[str, float]:
    """As the public scorer has it: text is repaired until Python reads it, two criteria are looked for under names
    that the prompt does not ask for, and the accuracy of leads may exceed 100.

    What is read is a literal and never run.
    """
    values: dict[str, list[float]] = {}
    for reply in replies:
        told = _repaired(reply)
        for criterion in CRITERIA:
            name = (*criterion.others, criterion.name)[0]
            if told.get(name):
                points = tuple(float(each["score"]) for each in told[name])
                values.setdefault(name, []).append((criterion.published or criterion.figure)(points))
    return {name: sum(each) / len(each) for name, each in values.items()}


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda places: float(values[places].mean())


def _points(given: object, criterion: Criterion) -> Points | None:
    if not isinstance(given, list) or not given or len(given) > (criterion.most or len(given)):
        return None
    found = []
    for each in given:
        score = each.get("score") if isinstance(each, Mapping) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= criterion.highest:
            return None
        if criterion.whole and score != int(score):
            return None
        found.append(float(score))
    return tuple(found)


def _repaired(reply: str) -> dict[str, list[dict[str, float]]]:
    found = re.search(r"\{.*\}", reply, re.DOTALL)
    try:
        return ast.literal_eval(found[0]) if found else {}
    except (ValueError, SyntaxError):
        return {}
