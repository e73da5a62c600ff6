"""R over the chest leads: what is claimed of its growth and of where it exceeds S."""

from __future__ import annotations

from collections.abc import Mapping

from llava_ecg.ecg.hints import CHEST
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.judge_waves import usable
from llava_ecg.grounding.verdicts import Found, State, number


def judge_progression(claim: Claim, measurements: Measurements) -> Found:
    """R from V1 to V4: poor is a small R in V3, early is R above S in V1 or V2, reversed a fall between neighbours;
    with a margin each."""
    names = CHEST[:4]
    leads, why = usable(measurements, names)
    if len(leads) < len(names) or any(lead.qrs_mv is None for lead in leads.values()):
        return Found(State.UNKNOWN, reason=why or "R and S were not measured in V1 to V4")
    r = {name: leads[name].r_mv or 0.0 for name in names}
    told = "R in V1 to V4: " + ", ".join(number(r[name], "mV") for name in names) + " mV"
    ratio = {name: r[name] / max(abs(leads[name].s_mv or 0.0), 0.01) for name in names}
    said = {
        "poor": (r["V3"] <= 0.25, r["V3"] > 0.5),
        "early": (ratio["V2"] >= 1.2 or ratio["V1"] >= 1.2, ratio["V2"] < 0.7 and ratio["V1"] < 0.7),
        "reversed": (_falls(r, 0.7), not _falls(r, 0.95)),
        "normal": (
            r["V3"] > 0.5 and not _falls(r, 0.95) and ratio["V1"] < 1,
            r["V3"] <= 0.15 or ratio["V1"] >= 1.5 or _falls(r, 0.5),
        ),
    }
    if str(claim.value) not in said:
        return Found(State.OPEN, told)
    yes, no = said[str(claim.value)]
    return Found(State.YES if yes else State.NO if no else State.PROBABLY_NOT, told)


def judge_transition(claim: Claim, measurements: Measurements) -> Found:
    """The chest lead where R first exceeds S; one lead beside it is too near to call."""
    found = measurements.r_transition
    if found is None:
        why = measurements.reasons.get("r_transition", "leads V1 to V6 are needed")
        return Found(State.NO if "nowhere" in why else State.UNKNOWN, reason=why)
    away = min(abs(CHEST.index(found) - CHEST.index(name)) for name in str(claim.value).split("-"))
    return Found(
        State.YES if away == 0 else State.PROBABLY_NOT if away == 1 else State.NO, f"R exceeds S from {found} on"
    )


def judge_dominance(claim: Claim, measurements: Measurements) -> Found:
    """A dominant R is a fifth larger than Q and S, a dominant S so much larger than R, in every lead that is named;
    missed in one lead, by as much, it is not so."""
    if not claim.leads:
        return Found(State.OPEN, reason="no lead is named")
    leads, why = usable(measurements, claim.leads)
    sizes = {name: (lead.up_mv, lead.down_mv) for name, lead in leads.items() if lead.qrs_mv is not None}
    if not sizes:
        return Found(State.UNKNOWN, reason=why or f"R and S were not measured in {', '.join(claim.leads)}")
    told = "; ".join(f"{name}: R {number(r, 'mV')}, S {number(s, 'mV')} mV" for name, (r, s) in sizes.items())
    ratios = [(r if claim.value == "R" else s) / max(s if claim.value == "R" else r, 0.01) for r, s in sizes.values()]
    if min(ratios) >= 1.2:
        return Found(State.YES, told)
    return Found(State.NO if min(ratios) <= 0.8 else State.PROBABLY_NOT, told)


def _falls(r: Mapping[str, float], share: float) -> bool:
    values = [r[name] for name in CHEST[:4]]
    return any(b < share * a and a > 0.1 for a, b in zip(values, values[1:], strict=False))
