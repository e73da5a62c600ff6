"""Findings: facts about the signal, each with the measured values and the threshold that it rests on. Never a diagnosis
of a patient.

The thresholds restate published recommendations, and where none is known a convention or a working rule of this package
(`SOURCES`); a person checks them before they are used for anything but research.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llava_ecg.ecg.hints import POOR_R_MV, unit_note
from llava_ecg.ecg.measurements import Finding, LeadMeasurements, Measurements
from llava_ecg.ecg.person import Person
from llava_ecg.ecg.territories import contiguous, territory

SOURCES = {
    "rate": "convention: sinus rate 60 to 100 bpm",
    "conduction": "AHA/ACCF/HRS recommendations, part III: intraventricular conduction (Circulation 2009;119:e235)",
    "repolarisation": "AHA/ACCF/HRS recommendations, part IV: ST segment, T and U waves, QT interval (Circulation "
    "2009;119:e241)",
    "hypertrophy": "AHA/ACCF/HRS recommendations, part V: chamber hypertrophy (Circulation 2009;119:e251)",
    "infarction": "Fourth Universal Definition of Myocardial Infarction (Circulation 2018;138:e618)",
    "short": "Gollob et al., short QT syndrome (J Am Coll Cardiol 2011;57:802)",
    "rhythm": "ESC guidelines, atrial fibrillation: irregular RR without distinct P waves",
    "pause": "convention: an RR interval above 2 s",
    "premature": "working rule: a beat before 0.85 of the usual RR; ventricular where it is of another shape and wide",
    "pacing": "working rule: a jump out of the calm before QRS, sharper than all of QRS",
    "preexcitation": "ACC/AHA/HRS guideline, supraventricular tachycardia: PR below 120 ms with a slurred start of QRS",
    "voltage": "convention: every limb lead below 0.5 mV, every chest lead below 1.0 mV",
    "progression": "working rule: R in V3 of 0.3 mV or less and R in V4 not above S, or R that shrinks from V1 to V4",
    "recording": "working rule: I turned over while V6 is not, II almost flat, or P and QRS turned over everywhere",
}
_NONE_HERE = "not measured"


def findings(measured: Measurements, *, sex: str | None = None, age: float | None = None) -> dict[str, Finding]:
    """All of `FINDINGS` on one recording.

    Args:
        measured: everything but the findings themselves.
        sex, age: for the thresholds of QTc, ST and Cornell; what holds where they are unknown, `Person` says, and
            `Finding.because` that it does.
    """
    person = Person.of(sex, age)
    return {name: rule(name, measured, person) for name, rule in FINDINGS.items()}


def _limit(
    field: str, unit: str, text: str, source: str, holds: Callable[[float], bool]
) -> Callable[[str, Measurements, Person], Finding]:
    """A finding that is one value on one side of a threshold."""

    def rule(name: str, m: Measurements, person: Person) -> Finding:
        value = getattr(m, field)
        if value is None:
            return Finding(name, None, because=m.reasons.get(field, _NONE_HERE), source=SOURCES[source])
        return Finding(name, holds(value), because=f"{text} {value:.0f} {unit}", source=SOURCES[source])

    return rule


def _flag(field: str, yes: str, no: str, source: str, least: int = 1) -> Callable[[str, Measurements, Person], Finding]:
    """A finding that a field of `Measurements` says itself: True, or a count of at least `least`."""

    def rule(name: str, m: Measurements, person: Person) -> Finding:
        value = getattr(m, field)
        if value is None:
            return Finding(name, None, because=m.reasons.get(field, _NONE_HERE), source=SOURCES[source])
        present = bool(value >= least)
        return Finding(name, present, because=yes.format(value) if present else no, source=SOURCES[source])

    return rule


def _rate(name: str, m: Measurements, person: Person) -> Finding:
    slow = name == "sinus bradycardia"
    if m.heart_rate_bpm is None or m.p_present is None:
        return Finding(
            name,
            None,
            because=m.reasons.get("heart_rate_bpm", m.reasons.get("p_present", _NONE_HERE)),
            source=SOURCES["rate"],
        )
    past = m.heart_rate_bpm < 60 if slow else m.heart_rate_bpm > 100
    because = (
        f"rate {m.heart_rate_bpm:.0f} bpm ({'below 60' if slow else 'above 100'} asked), P waves "
        f"{'present' if m.p_present else 'absent'}"
    )
    return Finding(name, past and m.p_present, because=because, source=SOURCES["rate"])


def _long_qt(name: str, m: Measurements, person: Person) -> Finding:
    limit, whose = person.qtc_ms
    if m.qtc_bazett_ms is None:
        return Finding(name, None, because=m.reasons.get("qtc_bazett_ms", _NONE_HERE), source=SOURCES["repolarisation"])
    wide = m.qrs_ms is not None and m.qrs_ms >= 120
    because = f"QTc (Bazett) {m.qtc_bazett_ms:.0f} ms, threshold {limit:g} ms ({whose})" + (
        "; QRS is wide, which lengthens QT" if wide else ""
    )
    return Finding(name, m.qtc_bazett_ms > limit, because=because, source=SOURCES["repolarisation"])


def _conduction(name: str, m: Measurements, person: Person) -> Finding:
    """Bundle branch blocks by duration and by the shapes of V1, I and V6."""
    source = SOURCES["conduction"]
    v1, first, v6 = (m.leads.get(lead) for lead in ("V1", "I", "V6"))
    if m.qrs_ms is None or any(lead is None or not lead.pattern for lead in (v1, first, v6)):
        return Finding(name, None, because=m.reasons.get("qrs_ms", "leads I, V1 and V6 are needed"), source=source)
    assert v1 is not None and first is not None and v6 is not None
    wide, half = m.qrs_ms >= 120, 110 <= m.qrs_ms < 120
    late_r = (v1.r2_mv is not None and v1.r2_mv >= 0.1) or (
        v1.s_mv is None and v1.q_mv is not None and (v1.r_mv or 0) >= 0.15
    )
    late_r = late_r or ((v1.r_ms or 0.0) >= 0.5 * m.qrs_ms and (v1.r_mv or 0.0) > -(v1.s_mv or 0.0))
    slow_s = any(
        lead.s_mv is not None and ((lead.s_ms or 0) >= 40 or (lead.s_ms or 0) > (lead.r_ms or 0))
        for lead in (first, v6)
    )
    right = late_r and slow_s
    left = (
        (v1.qrs_area_mv_ms or 0) < 0
        and (first.r_mv or 0) > 0
        and first.q_mv is None
        and v6.q_mv is None
        and (first.qrs_area_mv_ms or 0) > 0
        and (v6.qrs_area_mv_ms or 0) > -5
        and not right
    )
    because = f"QRS {m.qrs_ms:.0f} ms, V1 {v1.pattern}, I {first.pattern}, V6 {v6.pattern}"
    present = {
        "right bundle branch block": wide and right,
        "left bundle branch block": wide and left,
        "incomplete right bundle branch block": half and right,
        "incomplete left bundle branch block": half and left and (v6.r_ms or 0) >= 60,
        "intraventricular conduction delay": m.qrs_ms > 110 and not right and not left,
    }[name]
    if m.paced_beats and m.beats and m.paced_beats > len(m.beats) / 2:
        return Finding(name, None, because="the beats are paced", source=source)
    return Finding(name, present, because=because, source=source)


def _fascicle(name: str, m: Measurements, person: Person) -> Finding:
    source = SOURCES["conduction"]
    first, avl, second, third, avf = (m.leads.get(lead) for lead in ("I", "aVL", "II", "III", "aVF"))
    if (
        m.axis_deg is None
        or m.qrs_ms is None
        or any(lead is None or not lead.pattern for lead in (first, avl, second, third, avf))
    ):
        return Finding(name, None, because=m.reasons.get("axis_deg", "the limb leads are needed"), source=source)
    assert first and avl and second and third and avf
    if name == "left anterior fascicular block":
        shape = (avl.q_mv is not None or first.q_mv is not None) and (avl.r_mv or 0) > 0
        shape = shape and all(
            (lead.r_mv or 0) > 0 and (lead.s_mv or 0) < -(lead.r_mv or 0) for lead in (second, third, avf)
        )
        present = -90 <= m.axis_deg <= -45 and shape and m.qrs_ms < 120
        because = (
            f"axis {m.axis_deg:.0f} degrees (-45 to -90 asked), aVL {avl.pattern}, III {third.pattern}, QRS "
            f"{m.qrs_ms:.0f} ms"
        )
    else:
        shape = all((lead.r_mv or 0) > 0 and (lead.s_mv or 0) < -(lead.r_mv or 0) for lead in (first, avl))
        shape = shape and all(lead.q_mv is not None and (lead.r_mv or 0) > 0 for lead in (third, avf))
        present = 90 <= m.axis_deg <= 180 and shape and m.qrs_ms < 120
        because = (
            f"axis {m.axis_deg:.0f} degrees (90 to 180 asked), I {first.pattern}, III {third.pattern}, QRS "
            f"{m.qrs_ms:.0f} ms"
        )
    return Finding(name, present, because=because, source=source)


def _axis(low: float, high: float) -> Callable[[str, Measurements, Person], Finding]:
    def rule(name: str, m: Measurements, person: Person) -> Finding:
        if m.axis_deg is None:
            return Finding(name, None, because=m.reasons.get("axis_deg", _NONE_HERE), source=SOURCES["conduction"])
        because = f"QRS axis {m.axis_deg:.0f} degrees, {low:g} to {high:g} asked"
        return Finding(name, low <= m.axis_deg < high, because=because, source=SOURCES["conduction"])

    return rule


def _voltage(name: str, m: Measurements, person: Person) -> Finding:
    """Hypertrophy by voltage."""
    source = SOURCES["hypertrophy"]
    if unit_note(m.leads):
        return Finding(name, None, because="the amplitudes can't be in mV", source=source)
    if name == "left ventricular hypertrophy by voltage":
        if m.sokolow_lyon_mv is None and m.cornell_mv is None:
            return Finding(name, None, because=m.reasons.get("sokolow_lyon_mv", _NONE_HERE), source=source)
        cornell, whose = person.cornell_mv
        tall = m.sokolow_lyon_mv is not None and m.sokolow_lyon_mv >= 3.5
        wide = m.cornell_mv is not None and m.cornell_mv > cornell
        parts = [f"Sokolow-Lyon {m.sokolow_lyon_mv:.2f} mV (3.5 asked)"] if m.sokolow_lyon_mv is not None else []
        parts += (
            [f"Cornell {m.cornell_mv:.2f} mV (above {cornell:g} asked: {whose})"] if m.cornell_mv is not None else []
        )
        return Finding(name, tall or wide, because=", ".join(parts), source=source)
    v1, v5 = m.leads.get("V1"), m.leads.get("V5")
    if v1 is None or v5 is None or v1.qrs_mv is None or v5.qrs_mv is None or m.axis_deg is None:
        return Finding(name, None, because=m.reasons.get("axis_deg", "leads V1 and V5 are needed"), source=source)
    r, s, s5 = v1.up_mv, -(v1.s_mv or 0), -(v5.s_mv or 0)
    tall = r >= 0.7 and r > s
    summed = r + s5 > 1.05
    present = m.axis_deg > 90 and (tall or summed) and (m.qrs_ms or 0) < 120
    because = (
        f"axis {m.axis_deg:.0f} degrees (above 90 asked), R in V1 {r:.2f} mV (0.7 and above S asked), with S in V5 "
        f"{r + s5:.2f} mV (1.05)"
    )
    return Finding(name, present, because=because, source=source)


def _atrium(name: str, m: Measurements, person: Person) -> Finding:
    source = SOURCES["hypertrophy"]
    if not m.p_present or m.p_ms is None:
        return Finding(name, None, because=m.reasons.get("p_ms", "there are no P waves"), source=source)
    if name == "left atrial enlargement":
        return Finding(name, m.p_ms > 120, because=f"P {m.p_ms:.0f} ms (above 120 asked)", source=source)
    high = [
        lead.p_mv for key in ("II", "III", "aVF") if (lead := m.leads.get(key)) is not None and lead.p_mv is not None
    ]
    if not high or unit_note(m.leads):
        return Finding(name, None, because="P is not measured in the inferior leads", source=source)
    return Finding(
        name,
        max(high) > 0.25,
        because=f"P of {max(high):.2f} mV in the inferior leads (above 0.25 asked)",
        source=source,
    )


def _of_leads(
    source: str,
    what: str | Callable[[Person], str],
    holds: Callable[[str, LeadMeasurements, Person], bool | None],
    volts: bool = True,
) -> Callable[[str, Measurements, Person], Finding]:
    """A finding of two contiguous leads."""

    def rule(name: str, m: Measurements, person: Person) -> Finding:
        judged = {
            key: holds(key, lead, person)
            for key, lead in m.leads.items()
            if lead.quality in ("ok", "partly flat") and key != "aVR"
        }
        known = {key: value for key, value in judged.items() if value is not None}
        if len(known) < 2 or (volts and unit_note(m.leads)):
            return Finding(
                name,
                None,
                because="too few leads are measured" if len(known) < 2 else "the amplitudes can't be in mV",
                source=SOURCES[source],
            )
        leads = contiguous(key for key, value in known.items() if value)
        sign = what if isinstance(what, str) else what(person)
        because = f"{sign} in {', '.join(leads)}" if leads else f"no two neighbouring leads with {sign}"
        return Finding(
            name, bool(leads), leads=leads, territory=territory(leads), because=because, source=SOURCES[source]
        )

    return rule


def _elevation(person: Person) -> str:
    limit, whose = person.st_elevation_mv("V2")
    return f"ST elevation at J of 0.1 mV or more (V2 and V3: {limit:g}, {whose})"


def _elevated(name: str, lead: LeadMeasurements, person: Person) -> bool | None:
    return None if lead.st_j_mv is None else lead.st_j_mv >= person.st_elevation_mv(name)[0]


def _depressed(name: str, lead: LeadMeasurements, person: Person) -> bool | None:
    if lead.st_j_mv is None or lead.st60_mv is None:
        return None
    return lead.st_j_mv <= -0.05 and lead.st60_mv <= -0.05


def _inverted(name: str, lead: LeadMeasurements, person: Person) -> bool | None:
    if lead.t_mv is None or lead.qrs_mv is None:
        return None
    prominent = lead.up_mv > -(lead.s_mv or 0.0)
    return lead.t_mv <= -0.1 and prominent and name not in ("III", "V1")


def pathological_q(name: str, lead: LeadMeasurements) -> bool | None:
    """Whether Q is as in an old infarction: in V2 and V3 of 20 ms or QS, elsewhere of 30 ms and 0.1 mV, or QS; not in
    V1 and aVR."""
    if lead.qrs_mv is None or name in ("V1", "aVR"):
        return None
    if lead.pattern == "QS":
        return True
    if lead.q_mv is None:
        return False
    if name in ("V2", "V3"):
        return (lead.q_ms or 0) >= 20
    return (lead.q_ms or 0) >= 30 and lead.q_mv <= -0.1


def _poor_r(name: str, m: Measurements, person: Person) -> Finding:
    if m.r_progression is None:
        return Finding(name, None, because=m.reasons.get("r_progression", _NONE_HERE), source=SOURCES["progression"])
    v3 = m.leads["V3"].r_mv or 0.0
    because = (
        f"R in V3 {v3:.2f} mV ({POOR_R_MV:g} or less, and R in V4 not above S, asked), progression {m.r_progression}"
    )
    return Finding(name, m.r_progression in ("poor", "reversed"), because=because, source=SOURCES["progression"])


def _reversal(name: str, m: Measurements, person: Person) -> Finding:
    return Finding(
        name,
        bool(m.lead_reversal),
        because=m.lead_reversal or "the limb leads fit the chest leads",
        source=SOURCES["recording"],
    )


FINDINGS: Mapping[str, Callable[[str, Measurements, Person], Finding]] = {
    "sinus bradycardia": _rate,
    "sinus tachycardia": _rate,
    "atrial fibrillation pattern": _flag(
        "af_evidence", "RR is irregular and no P waves were found", "RR is regular or there are P waves", "rhythm"
    ),
    "pause": _flag("pauses", "{} RR longer than 2 s", "no RR longer than 2 s", "pause"),
    "ventricular premature beats": _flag(
        "ventricular_premature", "{} early or isolated wide beats of another shape", "none seen", "premature"
    ),
    "supraventricular premature beats": _flag(
        "supraventricular_premature", "{} early beats of the usual width", "none seen", "premature"
    ),
    "paced beats": _flag("paced_beats", "{} beats with a pacing spike", "no pacing spike seen", "pacing"),
    "first degree AV block": _limit("pr_ms", "ms", "threshold 200 ms, PR", "conduction", lambda value: value > 200),
    "short PR": _limit("pr_ms", "ms", "threshold 120 ms, PR", "preexcitation", lambda value: value < 120),
    "pre-excitation hint": _flag(
        "delta_wave",
        "a slurred start of QRS after a short PR",
        "no slurred start of QRS after a short PR",
        "preexcitation",
    ),
    "right bundle branch block": _conduction,
    "left bundle branch block": _conduction,
    "incomplete right bundle branch block": _conduction,
    "incomplete left bundle branch block": _conduction,
    "intraventricular conduction delay": _conduction,
    "left anterior fascicular block": _fascicle,
    "left posterior fascicular block": _fascicle,
    "left axis deviation": _axis(-90, -30),
    "right axis deviation": _axis(90, 180.01),
    "extreme axis deviation": _axis(-180, -90),
    "left ventricular hypertrophy by voltage": _voltage,
    "right ventricular hypertrophy by voltage": _voltage,
    "left atrial enlargement": _atrium,
    "right atrial enlargement": _atrium,
    "low voltage in the limb leads": _flag(
        "low_voltage_limb", "every limb lead below 0.5 mV", "a limb lead of 0.5 mV or more", "voltage"
    ),
    "low voltage in the chest leads": _flag(
        "low_voltage_chest", "every chest lead below 1.0 mV", "a chest lead of 1.0 mV or more", "voltage"
    ),
    "ST elevation": _of_leads("infarction", _elevation, _elevated),
    "ST depression": _of_leads("infarction", "ST depression of 0.05 mV or more at J and J + 60 ms", _depressed),
    "T inversion": _of_leads("infarction", "T of -0.1 mV or below where R exceeds S", _inverted),
    "pathological Q waves": _of_leads(
        "infarction", "a Q of the size of an old infarction's", lambda name, lead, person: pathological_q(name, lead)
    ),
    "poor R progression": _poor_r,
    "long QT": _long_qt,
    "short QT": _limit("qtc_bazett_ms", "ms", "threshold 360 ms, QTc (Bazett)", "short", lambda value: value < 360),
    "electrodes swapped": _reversal,
}
