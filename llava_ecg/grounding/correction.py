"""What an answer is told when it is asked for once more: the measured values of what the signal contradicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.grounding.audit import Audit
from llava_ecg.grounding.tolerances import CATEGORIES, MEASURED_AS
from llava_ecg.grounding.verdicts import Status, Verdict

SENTENCE = "Measured: {values}. Keep to these values."
"""What is added to the question."""
WORDS = {
    "heart_rate_bpm": "heart rate {:.0f} bpm",
    "pr_ms": "PR {:.0f} ms",
    "qrs_ms": "QRS {:.0f} ms",
    "qt_ms": "QT {:.0f} ms",
    "qtc_bazett_ms": "QTc {:.0f} ms",
    "axis_deg": "axis {:.0f} degrees",
}
"""Measurement -> its words; the order is that of the sentence."""
AXIS_WORDS = {
    "normal": "normal",
    "left": "left axis deviation",
    "right": "right axis deviation",
    "extreme": "extreme axis deviation",
}
"""Category of the axis -> its words, which are said with the number: a model that keeps to the number may still take
-152 degrees for a right axis deviation."""
AXIS_NEAR_DEG = 5
"""So near to a bound no word is said."""
RESTS_ON = {
    "rhythm": ("rhythm_regular", "p_present"),
    "response": ("heart_rate_bpm",),
    "conduction": ("qrs_ms",),
    "av_block": ("pr_ms",),
}
"""Kind of claim -> the measurements that settle it, where its own name is none."""
ORDER = (*WORDS, "rhythm_regular", "p_present")


def value_words(name: str, value: Any) -> str:
    """A measured value in the sentence's words; ``name`` is one of `ORDER`."""
    if name == "rhythm_regular":
        return f"rhythm {'regular' if value else 'irregular'}"
    if name == "p_present":
        return f"P waves {'present' if value else 'absent'}"
    told = WORDS[name].format(value)
    if name == "axis_deg":
        for category, words in AXIS_WORDS.items():
            low, high = CATEGORIES["axis_category", category]
            if low + AXIS_NEAR_DEG <= value <= high - AXIS_NEAR_DEG:
                return f"{told} ({words})"
    return told


def sentence(parts: Sequence[str]) -> str:
    """`SENTENCE` of these parts."""
    return SENTENCE.format(values=", ".join(parts))


def correction(found: Sequence[Audit], measurements: Measurements) -> str:
    """The sentence that holds the measured values against what answers got wrong; empty where nothing is contradicted.

    Args:
        found: the audits of an answer's drafts, the earliest first: what one of them was told, the next is told again.
        measurements: what they were held against.
    """
    wrong = [verdict for each in found for verdict in each.verdicts if verdict.status is Status.CONTRADICTED]
    names: set[str] = set()
    parts: list[str] = []
    for verdict in wrong:
        rests = RESTS_ON.get(verdict.claim.quantity, (MEASURED_AS.get(verdict.claim.quantity, verdict.claim.quantity),))
        names |= {name for name in rests if name in ORDER}
        if (said := _denied(verdict)) and said not in parts:
            parts.append(said)
    values = [(name, getattr(measurements, name)) for name in ORDER if name in names]
    parts = [*(value_words(name, value) for name, value in values if value is not None), *parts]
    return sentence(parts) if parts else ""


def _denied(verdict: Verdict) -> str:
    """The words for a finding that is not there, or is though it was denied; empty for what a value tells."""
    claim = verdict.claim
    if claim.quantity in ORDER or claim.quantity in MEASURED_AS or claim.quantity == "rhythm":
        return ""
    told = verdict.measured if isinstance(verdict.measured, str) else ""
    if not isinstance(claim.value, str):
        return f"{claim.text}: {told}" if told else ""
    if claim.quantity == "response" or (claim.quantity, claim.value) == ("av_block", "first degree"):
        return ""
    if claim.quantity == "normal_ecg":
        return "no normal ECG" if claim.value == "normal" and not claim.negated else ""
    if claim.quantity == "av_block" and not claim.negated:
        return f"no {claim.text}"
    where = f" in {claim.where}" if claim.leads or claim.territory else ""
    return f"{'' if claim.negated else 'no '}{claim.value}{where}"
