"""`audit`: claims x measurements -> supported, contradicted or unmeasurable, with the measured value, the tolerance and the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.grounding.claims import Claim, find_claims


class Status(StrEnum):
    """What the signal says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNMEASURABLE = "unmeasurable"


@dataclass(frozen=True)
class Tolerances:
    """How far a claim may lie from the measured value and still be supported; also how far a category word may lie from its threshold.

    The intervals are one and a half to two standard deviations of what hand marks differ by (between the leads of one LUDB record: SD 13 ms
    in PR, 10 ms in QRS, 17 ms in QT), so that no answer is called wrong for a difference that two experts could have.

    Attributes:
        rate_bpm, rate_fraction: the larger of 5 bpm and 5 % of the measured rate; a beat more or less in 10 s is 6 bpm.
        pr_ms, qrs_ms: 20, half a small square at 25 mm/s.
        qt_ms: 25; the end of T is the least certain mark.
        qtc_ms: 30; QT's 25 ms, scaled by 1 / sqrt(RR) (1.3 at 100 bpm), with half the relative error of the rate.
        axis_deg: 20, around the circle; limb leads are placed no better.
    """

    rate_bpm: float = 5.0
    rate_fraction: float = 0.05
    pr_ms: float = 20.0
    qrs_ms: float = 20.0
    qt_ms: float = 25.0
    qtc_ms: float = 30.0
    axis_deg: float = 20.0


DEFAULT = Tolerances()


class _Bounds(NamedTuple):
    """A category as an interval of its measured quantity; for the axis an arc from low up to high."""

    low: float
    high: float


_NO_LIMIT = math.inf
_CATEGORIES: dict[tuple[str, str], _Bounds] = {
    ("rate_category", "bradycardia"): _Bounds(-_NO_LIMIT, 60),
    ("rate_category", "normal"): _Bounds(60, 100),
    ("rate_category", "tachycardia"): _Bounds(100, _NO_LIMIT),
    ("pr_category", "short"): _Bounds(-_NO_LIMIT, 120),
    ("pr_category", "normal"): _Bounds(120, 200),
    ("pr_category", "prolonged"): _Bounds(200, _NO_LIMIT),
    ("qrs_category", "narrow"): _Bounds(-_NO_LIMIT, 120),
    ("qrs_category", "wide"): _Bounds(120, _NO_LIMIT),
    ("axis_category", "normal"): _Bounds(-30, 90),
    ("axis_category", "left"): _Bounds(-90, -30),
    ("axis_category", "right"): _Bounds(90, 180),
    ("axis_category", "extreme"): _Bounds(-180, -90),
}
_QTC_LIMIT = {**dict.fromkeys(("m", "male"), (450.0, "men")), **dict.fromkeys(("f", "female"), (460.0, "women"))}
_QTC_LIMIT_UNKNOWN = (460.0, "women, used as the sex is not known")

# quantity of a claim -> the measurement that it is held against
_MEASURED_AS = {name: name for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "axis_deg")} | {
    "qtc_ms": "qtc_bazett_ms",
    "rate_category": "heart_rate_bpm",
    "pr_category": "pr_ms",
    "qrs_category": "qrs_ms",
    "qtc_category": "qtc_bazett_ms",
    "axis_category": "axis_deg",
}
_UNITS = {
    **dict.fromkeys(("pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms"), "ms"),
    "heart_rate_bpm": "bpm",
    "axis_deg": "degrees",
}
_LABELS = {
    "heart_rate_bpm": "rate",
    "rate_category": "rate",
    "pr_ms": "PR",
    "pr_category": "PR",
    "qrs_ms": "QRS",
    "qrs_category": "QRS",
    "qt_ms": "QT",
    "qtc_ms": "QTc",
    "qtc_bazett_ms": "QTc (Bazett)",
    "qtc_fridericia_ms": "QTc (Fridericia)",
    "qtc_framingham_ms": "QTc (Framingham)",
    "qtc_hodges_ms": "QTc (Hodges)",
    "qtc_category": "QTc",
    "axis_deg": "axis",
    "axis_category": "axis",
    "rhythm_regular": "rhythm",
    "p_present": "P waves",
}


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: the claim.
        status: `Status`.
        measured: the measured value in the claim's unit, or its word; None where there is none.
        tolerance: what was allowed, in the unit of the measured value; None for words that have no number behind them.
        reason: why the claim can't be checked, or what to know about how it was; empty where nothing needs saying.
    """

    claim: Claim
    status: Status
    measured: float | str | None
    tolerance: float | None
    reason: str

    def line(self) -> str:
        """The verdict as one line of plain text."""
        parts = f"{_LABELS.get(self.claim.quantity, self.claim.quantity)} {_claimed(self.claim)} claimed"
        if self.claim.lead:
            parts += f" in {self.claim.lead}"
        if self.measured is not None:
            unit = _unit(self.claim.quantity)
            measured = self.measured if isinstance(self.measured, str) else f"{_number(self.measured)} {unit}"
            parts += f", {measured} measured"
            if self.tolerance is not None:
                parts += f" (tolerance {_number(self.tolerance)} {unit})"
        return f"{self.status.value:<12}  {parts}" + (f"; {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Audit:
    """The verdicts on an answer's claims, in the order of the claims."""

    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Status -> how many; all three are there. What can't be measured counts neither as right nor as wrong."""
        return {status.value: sum(verdict.status is status for verdict in self.verdicts) for status in Status}

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for ``json.dumps``: {counts, verdicts: [{claim, status, measured, tolerance, reason}]}."""
        verdicts = [
            {**asdict(v), "status": v.status.value, "claim": {**asdict(v.claim), "span": list(v.claim.span)}} for v in self.verdicts
        ]
        return {"counts": self.counts, "verdicts": verdicts}

    def lines(self) -> list[str]:
        """Plain text for a terminal, a line a verdict; one line that says so where there was nothing to check."""
        return [verdict.line() for verdict in self.verdicts] or ["no claim that can be checked was found in the answer"]


def audit(
    answer: str | Sequence[Claim],
    measurements: Measurements | None,
    *,
    tolerances: Tolerances = DEFAULT,
    sex: str | None = None,
) -> Audit:
    """Hold each claim of an answer against what was measured.

    A number is supported within the tolerance, a range if the measured value lies in it widened by the tolerance, a comparison if it holds
    with the tolerance given. A category is contradicted only if the measured value lies outside of it by more than the tolerance, so near
    a threshold both neighbours pass.

    Args:
        answer: the text, or the claims that `find_claims` found in it.
        measurements: of the recording; None where there was only an image, which makes every claim unmeasurable.
        tolerances: see `Tolerances`.
        sex: as the file says it, such as ``"male"`` or ``"F"``; sets the QTc threshold, 450 ms for men, else 460 ms.

    Returns:
        A verdict for each claim; each depends on nothing but its own claim.
    """
    claims = find_claims(answer) if isinstance(answer, str) else answer
    return Audit(tuple(_verdict(claim, measurements, tolerances, sex) for claim in claims))


def _verdict(claim: Claim, measurements: Measurements | None, tolerances: Tolerances, sex: str | None) -> Verdict:
    if measurements is None:
        return Verdict(claim, Status.UNMEASURABLE, None, None, "no signal was given")
    if claim.quantity == "rhythm_regular":
        return _rhythm(claim, measurements)
    if claim.quantity == "p_present":
        return _p_waves(claim, measurements)
    name = _MEASURED_AS.get(claim.quantity)
    if name is None:
        return Verdict(claim, Status.UNMEASURABLE, None, None, "this formula is not computed")
    if claim.lead is not None:
        return Verdict(claim, Status.UNMEASURABLE, None, None, "it is measured over all leads together, not in one lead")
    measured = _values(measurements)[name]
    if measured is None or not math.isfinite(measured):
        return Verdict(claim, Status.UNMEASURABLE, None, None, _why_not(name, measurements))
    allowed = _tolerance(name, measured, tolerances)
    notes = ["no formula is named, so it is held against Bazett"] if claim.quantity == "qtc_ms" else []
    if claim.quantity.endswith("_category"):
        bounds, notes = _category(claim, sex)
        outside = _outside(name, measured, bounds)
    else:
        outside = _distance(claim, name, measured)
    status = Status.SUPPORTED if outside <= allowed else Status.CONTRADICTED
    return Verdict(claim, status, measured, allowed, "; ".join(notes))


def _values(measurements: Measurements) -> dict[str, float | None]:
    return {
        "heart_rate_bpm": measurements.heart_rate_bpm,
        "pr_ms": measurements.pr_ms,
        "qrs_ms": measurements.qrs_ms,
        "qt_ms": measurements.qt_ms,
        "qtc_bazett_ms": measurements.qtc_bazett_ms,
        "qtc_fridericia_ms": measurements.qtc_fridericia_ms,
        "axis_deg": measurements.axis_deg,
    }


def _tolerance(name: str, measured: float, tolerances: Tolerances) -> float:
    if name == "heart_rate_bpm":
        return max(tolerances.rate_bpm, tolerances.rate_fraction * measured)
    if name in ("qtc_bazett_ms", "qtc_fridericia_ms"):
        return tolerances.qtc_ms
    return {"pr_ms": tolerances.pr_ms, "qrs_ms": tolerances.qrs_ms, "qt_ms": tolerances.qt_ms, "axis_deg": tolerances.axis_deg}[name]


def _category(claim: Claim, sex: str | None) -> tuple[_Bounds, list[str]]:
    """The interval that a category word stands for, and how to read it."""
    if claim.quantity != "qtc_category":
        bounds = _CATEGORIES[claim.quantity, str(claim.value)]
        if claim.quantity == "axis_category":
            return bounds, [f"{claim.value} is {bounds.low:g} to {bounds.high:g} degrees"]
        return bounds, [f"{claim.value} is {_words(bounds)} {_unit(claim.quantity)}"]
    limit, whose = _QTC_LIMIT.get((sex or "").strip().lower(), _QTC_LIMIT_UNKNOWN)
    bounds = _Bounds(limit, _NO_LIMIT) if claim.value == "prolonged" else _Bounds(-_NO_LIMIT, limit)
    return bounds, [f"{claim.value} is {_words(bounds)} ms (Bazett; the threshold of {whose})"]


def _unit(quantity: str) -> str:
    """The unit of the measurement behind a quantity, as it is printed; empty where no number is behind it."""
    return _UNITS.get(_MEASURED_AS.get(quantity, ""), "")


def _words(bounds: _Bounds) -> str:
    if bounds.low == -_NO_LIMIT:
        return f"below {bounds.high:g}"
    return f"above {bounds.low:g}" if bounds.high == _NO_LIMIT else f"{bounds.low:g} to {bounds.high:g}"


def _outside(name: str, measured: float, bounds: _Bounds) -> float:
    """How far a value lies outside an interval; around the circle for the axis."""
    if name != "axis_deg":
        return max(bounds.low - measured, measured - bounds.high, 0.0)
    if (measured - bounds.low) % 360 <= (bounds.high - bounds.low) % 360 or bounds.high - bounds.low >= 360:
        return 0.0
    return min(_circular(measured, bounds.low), _circular(measured, bounds.high))


def _circular(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def _distance(claim: Claim, name: str, measured: float) -> float:
    """How far the measured value lies from what a numeric claim allows."""
    if claim.comparison == "range":
        if claim.low is None or claim.high is None:
            raise ValueError(f"a range without bounds: {claim}")
        return _outside(name, measured, _Bounds(claim.low, claim.high))
    if not isinstance(claim.value, int | float):
        raise ValueError(f"a {claim.quantity} that is no number: {claim}")
    if claim.comparison == "<":
        return max(measured - claim.value, 0.0)
    if claim.comparison == ">":
        return max(claim.value - measured, 0.0)
    return _circular(measured, claim.value) if name == "axis_deg" else abs(measured - claim.value)


def _why_not(name: str, measurements: Measurements) -> str:
    if name in measurements.reasons:
        return measurements.reasons[name]
    if name == "pr_ms" and measurements.p_present is False:
        return "no P wave was found"
    return "it was not measured"


def _rhythm(claim: Claim, measurements: Measurements) -> Verdict:
    if measurements.rhythm_regular is None:
        return Verdict(claim, Status.UNMEASURABLE, None, None, _why_not("rhythm_regular", measurements))
    measured = "regular" if measurements.rhythm_regular else "irregular"
    same = (claim.value == "regular") == measurements.rhythm_regular
    note = "the pattern of the irregularity is not measured" if claim.value == "irregularly irregular" and same else ""
    return Verdict(claim, Status.SUPPORTED if same else Status.CONTRADICTED, measured, None, note)


def _p_waves(claim: Claim, measurements: Measurements) -> Verdict:
    """P waves of the record; of single leads only their presence can be confirmed, as a lead without P may just not show it."""
    if claim.lead is not None:
        named = [measurements.leads.get(lead) for lead in claim.lead.split(", ")]
        shown = bool(measurements.p_present) and all(lead is not None and lead.p_mv is not None for lead in named)
        if claim.value == "present" and shown:
            return Verdict(claim, Status.SUPPORTED, "present", None, "")
        return Verdict(claim, Status.UNMEASURABLE, None, None, "whether single leads lack a P wave is not measured")
    if measurements.p_present is None:
        return Verdict(claim, Status.UNMEASURABLE, None, None, _why_not("p_present", measurements))
    measured = "present" if measurements.p_present else "absent"
    return Verdict(claim, Status.SUPPORTED if claim.value == measured else Status.CONTRADICTED, measured, None, "")


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _claimed(claim: Claim) -> str:
    if isinstance(claim.value, str):
        return claim.value
    unit = "degrees" if claim.unit == "deg" else claim.unit
    if claim.value is None:
        return f"{_number(claim.low or 0.0)} to {_number(claim.high or 0.0)} {unit}"
    sign = "" if claim.comparison == "=" else f"{claim.comparison} "
    return f"{sign}{_number(claim.value)} {unit}"
