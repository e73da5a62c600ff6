"""`Verdict`: what became of one claim, and `Found`: what the signal says before denial and doubt are weighed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from llava_ecg.grounding.claim import Claim


class Status(StrEnum):
    """What the signal says of a claim."""

    SUPPORTED = "supported"
    BORDERLINE = "borderline"
    CONTRADICTED = "contradicted"
    UNMEASURABLE = "unmeasurable"
    NOT_CHECKED = "not checked"


class State(StrEnum):
    """Whether a statement, taken without its "no" or "possibly", is so."""

    YES = "yes"
    PROBABLY = "probably"  # it meets its criterion, but narrowly
    BORDER = "border"  # a measured number so near to its threshold that its own uncertainty decides
    PROBABLY_NOT = "probably not"  # it does not meet its criterion, but narrowly
    NO = "no"
    UNKNOWN = "unknown"  # it can be measured, but not here
    OPEN = "open"  # nothing that is measured settles it


class Found(NamedTuple):
    """What the signal says of a statement; the fields as in `Verdict`."""

    state: State
    measured: float | str | None = None
    tolerance: float | None = None
    reason: str = ""


_LABELS = {
    "heart_rate_bpm": "rate", "rate_category": "rate", "rr_ms": "RR", "p_ms": "P duration", "pr_ms": "PR",
    "pr_category": "PR", "qrs_ms": "QRS", "qrs_category": "QRS", "qt_ms": "QT", "qtc_ms": "QTc",
    "qtc_bazett_ms": "QTc (Bazett)", "qtc_fridericia_ms": "QTc (Fridericia)", "qtc_framingham_ms": "QTc (Framingham)",
    "qtc_hodges_ms": "QTc (Hodges)", "qtc_category": "QTc", "axis_deg": "axis", "axis_category": "axis",
    "axis_type": "axis", "p_axis_deg": "P axis", "t_axis_deg": "T axis", "rhythm_regular": "rhythm", "rhythm": "rhythm",
    "p_present": "P waves", "st_mv": "ST level", "st_category": "ST", "p_mv": "P amplitude", "q_mv": "Q amplitude",
    "r_mv": "R amplitude", "s_mv": "S amplitude", "t_mv": "T amplitude", "qrs_mv": "QRS amplitude",
    "sokolow_lyon_mv": "Sokolow-Lyon", "cornell_mv": "Cornell", "t_category": "T", "q_wave": "Q waves",
    "r_progression": "R progression", "r_transition": "R transition",
    "voltage": "voltage", "conduction": "conduction", "av_block": "AV block",
    "atrial": "atrium", "premature": "premature beats", "pacing": "pacing", "pause": "pause",
    "pause_ms": "pause", "dominance": "dominant wave", "diagnosis": "diagnosis",
    "normal_ecg": "ECG",
}  # fmt: skip
_UNITS = {"ms": "ms", "bpm": "bpm", "deg": "degrees", "mv": "mV"}


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
        claim = self.claim
        parts = f"{_LABELS.get(claim.quantity, claim.quantity)} {_claimed(claim)} claimed"
        if claim.leads or claim.territory:
            parts += f" in {claim.where}"
        if self.measured is not None:
            unit = unit_of(claim.quantity)
            measured = (
                self.measured if isinstance(self.measured, str) else f"{number(self.measured, unit)} {unit}".rstrip()
            )
            parts += f", {measured} measured"
            if self.tolerance is not None:
                parts += f" (tolerance {number(self.tolerance, unit)} {unit})"
        return f"{self.status.value:<13}  {parts}" + (f"; {self.reason}" if self.reason else "")


def unit_of(quantity: str) -> str:
    """The unit of the measurement behind a quantity, as it is printed; empty where no number is behind it."""
    from llava_ecg.grounding.tolerances import MEASURED_AS

    return _UNITS.get(MEASURED_AS.get(quantity, quantity).rpartition("_")[2], "")


def number(value: float, unit: str = "") -> str:
    """A number for people: two decimals of mV, one of anything else, without idle zeros."""
    text = f"{value:.2f}" if unit == "mV" else f"{value:.1f}"
    return text.rstrip("0").rstrip(".")


def _claimed(claim: Claim) -> str:
    doubt = ("no " if claim.negated else "") + ("possible " if claim.hedged else "")
    if isinstance(claim.value, str):
        return doubt + claim.value
    unit = _UNITS.get(claim.unit.lower(), claim.unit)
    if claim.value is None:
        return f"{doubt}{number(claim.low or 0.0, unit)} to {number(claim.high or 0.0, unit)} {unit}"
    sign = "" if claim.comparison == "=" else f"{claim.comparison} "
    return f"{doubt}{sign}{number(claim.value, unit)} {unit}"


_STATUS = {
    State.YES: Status.SUPPORTED, State.PROBABLY: Status.SUPPORTED, State.BORDER: Status.BORDERLINE,
    State.PROBABLY_NOT: Status.BORDERLINE, State.NO: Status.CONTRADICTED, State.UNKNOWN: Status.UNMEASURABLE,
    State.OPEN: Status.NOT_CHECKED,
}  # fmt: skip
_DENIED = {
    State.YES: State.NO, State.PROBABLY: State.PROBABLY_NOT, State.PROBABLY_NOT: State.PROBABLY, State.NO: State.YES,
}  # fmt: skip


def weigh(claim: Claim, found: Found) -> Verdict:
    """What is found of a statement -> the verdict on the claim, which may deny or doubt it.

    Near a threshold a claim is borderline: neither right nor wrong. A doubt is supported where there is evidence and
    never contradicted.
    """
    state = _DENIED.get(found.state, found.state) if claim.negated else found.state
    status = _STATUS[state]
    reason = found.reason
    told = "too near to call" if status is Status.BORDERLINE else "narrowly" if state is State.PROBABLY else ""
    reason = "; ".join(part for part in (reason, told) if part)
    if claim.hedged and status is Status.CONTRADICTED:
        status = Status.NOT_CHECKED
        reason = "; ".join(part for part in (reason, "it is only thought possible") if part)
    return Verdict(claim, status, found.measured, found.tolerance, reason)
