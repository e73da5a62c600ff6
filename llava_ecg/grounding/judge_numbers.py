"""Numbers and the category words of intervals, rate and axis, held against the measured value."""

from __future__ import annotations

import math
from collections.abc import Callable

from llava_ecg.ecg.measurements import LeadMeasurements, Measurements
from llava_ecg.ecg.person import Person
from llava_ecg.ecg.rhythm import PAUSE_MS
from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.tolerances import (
    CATEGORIES,
    GLOBAL,
    MEASURED_AS,
    NO_LIMIT,
    PER_LEAD,
    QTC_SHORT,
    Bounds,
    Tolerances,
    circular,
    outside,
)
from llava_ecg.grounding.verdicts import Found, State, unit_of

AMPLITUDE_WORDS = ("amplitude", "gain", "unit", "scale", "calibrat")
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


def untrusted_amplitude(measurements: Measurements) -> str:
    """The note that says amplitudes can't be trusted; empty where none does."""
    return next((note for note in measurements.notes if any(word in note.lower() for word in AMPLITUDE_WORDS)), "")


def usable(measurements: Measurements, leads: tuple[str, ...]) -> tuple[dict[str, LeadMeasurements], str]:
    """The named leads that can be measured, and why where none can."""
    there = {name: measurements.leads[name] for name in leads if name in measurements.leads}
    good = {name: lead for name, lead in there.items() if lead.quality == "ok"}
    if good:
        return good, ""
    if there:
        return {}, "; ".join(f"{name} is {lead.quality}" for name, lead in there.items())
    return {}, f"{', '.join(leads)} {'was' if len(leads) == 1 else 'were'} not recorded"


def judge_number(claim: Claim, measurements: Measurements, tolerances: Tolerances) -> Found:
    """A numeric claim; of named leads against the nearest of their own values, and for intervals against the one over
    all leads too."""
    name = MEASURED_AS.get(claim.quantity, claim.quantity)
    if name.endswith("_mv") and (note := untrusted_amplitude(measurements)):
        return Found(State.UNKNOWN, reason=note)
    if claim.leads or name not in GLOBAL:
        if name in PER_LEAD:
            return _in_leads(claim, name, measurements, tolerances)
        return Found(State.UNKNOWN, reason="it is measured over all leads together, not in one lead")
    measured = getattr(measurements, name)
    if measured is None or not math.isfinite(measured):
        return Found(State.UNKNOWN, reason=why_not(name, measurements))
    if name.endswith("axis_deg") and measurements.lead_reversal:
        return Found(State.UNKNOWN, reason=measurements.lead_reversal)
    if name == "rr_max_ms":
        measured = _pause_meant(claim, measurements, measured)
    allowed = tolerances.of(name, measured, measurements)
    notes = ["no formula is named, so it is held against Bazett"] if claim.quantity == "qtc_ms" else []
    distance = _distance(claim, name, measured)
    if claim.quantity == "qtc_ms" and distance > allowed:  # another formula may have been meant
        for other in ("qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms"):
            value = getattr(measurements, other)
            if value is not None and _distance(claim, other, value) <= allowed / 2:
                return Found(
                    State.YES, value, allowed, f"no formula is named; it fits {other.split('_')[1].capitalize()}"
                )
    return Found(_within(distance, allowed, claim), measured, allowed, "; ".join(notes))


def _pause_meant(claim: Claim, measurements: Measurements, longest: float) -> float:
    """Of the RR intervals that could be called pauses, longer than 2 s or than one and a half usual ones, the one
    nearest to a stated length; the longest for a bound."""
    stated = claim.value
    if not isinstance(stated, int | float) or claim.comparison != "=":
        return longest
    least = min(PAUSE_MS, 1.5 * (measurements.rr_ms or longest))
    rr = [beat.rr_before_ms for beat in measurements.beats if beat.rr_before_ms is not None]
    return min([longest, *(each for each in rr if least < each <= longest)], key=lambda each: abs(each - stated))


def _within(distance: float, allowed: float, claim: Claim) -> State:
    if distance > allowed:
        return State.NO
    return State.PROBABLY if claim.comparison in ("<", ">") and distance > 0 else State.YES


def _in_leads(claim: Claim, name: str, measurements: Measurements, tolerances: Tolerances) -> Found:
    leads, why = usable(measurements, claim.leads or tuple(measurements.leads))
    if not leads:
        return Found(State.UNKNOWN, reason=why)
    if measurements.lead_reversal and any(lead in _LIMB for lead in claim.leads):
        return Found(State.UNKNOWN, reason=measurements.lead_reversal)
    positive = (claim.value if isinstance(claim.value, int | float) else (claim.low or 0.0)) >= 0
    values = {lead: value for lead, m in leads.items() if (value := _value(name, m, positive)) is not None}
    whole = getattr(measurements, name, None) if name in GLOBAL else None
    if not values and whole is None:
        return Found(State.UNKNOWN, reason=f"it was not found in {', '.join(leads)}")
    tried = [*values.values(), *([whole] if whole is not None else [])]
    measured = min(tried, key=lambda value: _distance(claim, name, value))
    allowed = tolerances.of(name, measured, measurements)
    distance = _distance(claim, name, measured)
    spans = (
        len(values) > 1
        and isinstance(claim.value, int | float)
        and min(values.values()) <= claim.value <= max(values.values())
    )
    if claim.comparison == "=" and spans:
        distance = 0.0
    return Found(_within(distance, allowed, claim), measured, allowed, "" if len(leads) > 1 or not why else why)


def _value(name: str, lead: LeadMeasurements, positive: bool) -> float | None:
    """One lead's value: of ST the one of J and J + 60 ms that goes farther the way of the claim; depths of Q and S as
    sizes."""
    if name == "st_mv":
        levels = [level for level in (lead.st_j_mv, lead.st60_mv) if level is not None]
        return (max if positive else min)(levels) if levels else None
    value = getattr(lead, name)
    if name == "r_mv" and value is None and lead.qrs_mv is not None:
        return 0.0
    if name == "r_mv" and lead.r2_mv is not None:
        return max(value, lead.r2_mv)
    if name == "s_mv" and value is None and lead.pattern == "QS":
        value = lead.q_mv
    if name in ("s_mv", "q_mv") and value is not None and positive:
        return abs(value)
    return None if value is None else float(value)


def _distance(claim: Claim, name: str, measured: float) -> float:
    """How far the measured value lies from what a numeric claim allows."""
    if claim.comparison == "range":
        if claim.low is None or claim.high is None:
            raise ValueError(f"a range without bounds: {claim}")
        return outside(name, measured, Bounds(claim.low, claim.high))
    if not isinstance(claim.value, int | float):
        raise ValueError(f"a {claim.quantity} that is no number: {claim}")
    if claim.comparison == "<":
        return max(measured - claim.value, 0.0)
    if claim.comparison == ">":
        return max(claim.value - measured, 0.0)
    return circular(measured, claim.value) if name.endswith("axis_deg") else abs(measured - claim.value)


def judge_category(claim: Claim, measurements: Measurements, tolerances: Tolerances, person: Person) -> Found:
    """A category of rate, PR, QRS, QTc or axis.

    Yes where the measured value lies inside by more than its own uncertainty, half the tolerance or less; no where it
    lies outside by more than the whole, and probably not by more than its uncertainty; in between the border decides,
    and nobody can.
    """
    name = MEASURED_AS[claim.quantity]
    measured = getattr(measurements, name)
    if measured is None or not math.isfinite(measured):
        return Found(State.UNKNOWN, reason=why_not(name, measurements))
    if name == "axis_deg" and measurements.lead_reversal:
        return Found(State.UNKNOWN, reason=measurements.lead_reversal)
    if claim.quantity != "qtc_category" and (claim.quantity, str(claim.value)) not in CATEGORIES:
        return Found(State.OPEN, reason=f"{claim.value} has no bounds in the frontal plane")
    bounds, note = _bounds(claim, person)
    allowed, near = tolerances.of(name, measured, measurements), tolerances.near(name, measured, measurements)
    distance = outside(name, measured, bounds)
    if distance > 0:
        state = State.NO if distance > allowed else State.PROBABLY_NOT if distance > near else State.BORDER
        return Found(state, measured, allowed, note)
    inside = _depth(name, measured, bounds)
    return Found(State.YES if inside > near else State.BORDER, measured, allowed, note)


def _depth(name: str, measured: float, bounds: Bounds) -> float:
    """How far a value lies inside an interval."""
    distance: Callable[[float, float], float] = circular if name.endswith("axis_deg") else lambda a, b: abs(a - b)
    return min(distance(measured, edge) for edge in bounds if math.isfinite(edge))


def _bounds(claim: Claim, person: Person) -> tuple[Bounds, str]:
    """The interval that a category word stands for, and how to read it."""
    if claim.quantity != "qtc_category":
        bounds = CATEGORIES[claim.quantity, str(claim.value)]
        if claim.quantity in ("axis_category", "axis_type"):
            return bounds, f"{claim.value} is {bounds.low:g} to {bounds.high:g} degrees"
        return bounds, f"{claim.value} is {_words(bounds)} {unit_of(claim.quantity)}"
    if claim.value == "short":
        return Bounds(-NO_LIMIT, QTC_SHORT), f"short is below {QTC_SHORT:g} ms (Bazett)"
    limit, whose = person.qtc_ms
    bounds = Bounds(limit, NO_LIMIT) if claim.value == "prolonged" else Bounds(-NO_LIMIT, limit)
    return bounds, f"{claim.value} is {_words(bounds)} ms (Bazett; the threshold of {whose})"


def _words(bounds: Bounds) -> str:
    if bounds.low == -NO_LIMIT:
        return f"below {bounds.high:g}"
    return f"above {bounds.low:g}" if bounds.high == NO_LIMIT else f"{bounds.low:g} to {bounds.high:g}"


def why_not(name: str, measurements: Measurements) -> str:
    """Why a measurement is None."""
    if name in measurements.reasons:
        return measurements.reasons[name]
    if name in ("pr_ms", "p_ms", "p_axis_deg") and measurements.p_present is False:
        return "no P wave was found"
    return "it was not measured"
