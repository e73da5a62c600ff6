"""Rhythm, regularity, P waves, conduction, AV block, ectopy, pacing, and "normal ECG", held against what was
measured."""

from __future__ import annotations

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.person import Person
from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.judge_numbers import usable, why_not
from llava_ecg.grounding.judge_waves import NOBODY, judge_q, judge_st, judge_t
from llava_ecg.grounding.tolerances import DEFAULT
from llava_ecg.grounding.verdicts import Found, State, number

_STEADY_CV, _RESTLESS_CV = 0.05, 0.12  # of RR: below it surely regular, above it surely not


def judge_regular(claim: Claim, m: Measurements) -> Found:
    """Regular, irregular; with premature beats both may be meant, of the rhythm and of the beats."""
    if m.rhythm_regular is None:
        return Found(State.UNKNOWN, reason=why_not("rhythm_regular", m))
    measured = "regular" if m.rhythm_regular else "irregular"
    if (claim.value == "regular") == m.rhythm_regular:
        note = "the pattern of the irregularity is not measured" if claim.value == "irregularly irregular" else ""
        return Found(State.YES, measured, reason=note)
    premature = (m.ventricular_premature or 0) + (m.supraventricular_premature or 0)
    between = m.rr_cv is not None and _STEADY_CV < m.rr_cv < _RESTLESS_CV
    if premature or between:
        return Found(
            State.PROBABLY_NOT,
            measured,
            reason="premature beats make it irregular" if premature else "RR varies a little",
        )
    return Found(State.NO, measured)


def judge_p(claim: Claim, m: Measurements) -> Found:
    """P waves of the record; of single leads only their presence can be confirmed, as a lead without P may just not
    show it."""
    if claim.leads:
        leads, why = usable(m, claim.leads)
        shown = (
            bool(m.p_present)
            and len(leads) == len(claim.leads)
            and all(lead.p_present or lead.p_mv is not None for lead in leads.values())
        )
        if claim.value == "present" and shown:
            return Found(State.YES, "present")
        return Found(State.UNKNOWN, reason=why or "whether single leads lack a P wave is not measured")
    if m.p_present is None:
        return Found(State.UNKNOWN, reason=why_not("p_present", m))
    measured = "present" if m.p_present else "absent"
    return Found(State.YES if claim.value == measured else State.NO, measured)


def judge_rhythm(claim: Claim, m: Measurements) -> Found:
    """Whether P waves, RR, QRS width and pacing fit a rhythm; no where one of them excludes it."""
    if m.heart_rate_bpm is None:
        return Found(State.UNKNOWN, reason=why_not("heart_rate_bpm", m))
    judges = {
        "sinus": _sinus, "atrial fibrillation": _fibrillation, "atrial flutter": _flutter, "junctional": _junctional,
        "paced": _paced, "ventricular": _ventricular, "supraventricular tachycardia": _svt,
        "ventricular tachycardia": _vt,
    }  # fmt: skip
    judge = judges.get(str(claim.value))
    return judge(m) if judge else Found(State.OPEN)


def _described(m: Measurements) -> str:
    p = {True: "P waves", False: "no P waves", None: "P waves unclear"}[m.p_present]
    rr = {True: "regular", False: "irregular", None: ""}[m.rhythm_regular]
    rate = f"{number(m.heart_rate_bpm)} bpm" if m.heart_rate_bpm is not None else ""
    qrs = f"QRS {number(m.qrs_ms)} ms" if m.qrs_ms is not None else ""
    return ", ".join(part for part in (p, rr, rate, qrs) if part)


def _mostly_paced(m: Measurements) -> bool:
    return bool(m.paced_beats) and 2 * (m.paced_beats or 0) > len(m.beats)


def _sinus(m: Measurements) -> Found:
    if m.p_present is None:
        return Found(State.UNKNOWN, _described(m), reason=why_not("p_present", m))
    if _mostly_paced(m):
        return Found(State.PROBABLY_NOT if m.p_present else State.NO, "paced beats")
    if not m.p_present:
        return Found(State.NO, _described(m))
    upright = m.p_axis_deg is None or -30 <= m.p_axis_deg <= 105 or bool(m.lead_reversal)
    return Found(State.YES if upright else State.PROBABLY, _described(m))


def _fibrillation(m: Measurements) -> Found:
    if m.p_present is None or m.rhythm_regular is None:
        return Found(
            State.UNKNOWN, _described(m), reason=why_not("p_present" if m.p_present is None else "rhythm_regular", m)
        )
    if not m.p_present:
        return Found(
            State.YES if not m.rhythm_regular else State.PROBABLY_NOT if (m.rr_cv or 0) > _STEADY_CV else State.NO,
            _described(m),
        )
    return Found(State.NO if m.rhythm_regular or (m.p_fraction or 1) >= 0.8 else State.PROBABLY_NOT, _described(m))


def _flutter(m: Measurements) -> Found:
    """Flutter waves are not told from P waves, so only a slow sinus-like rhythm speaks against it."""
    if m.p_present is None:
        return Found(State.UNKNOWN, _described(m), reason=why_not("p_present", m))
    if not m.p_present:
        return Found(
            State.PROBABLY if m.rhythm_regular else State.PROBABLY_NOT,
            _described(m),
            reason="flutter waves themselves are not measured",
        )
    sinus_like = (
        m.p_axis_deg is not None
        and 0 <= m.p_axis_deg <= 80
        and (m.p_fraction or 0) >= 0.95
        and (m.heart_rate_bpm or 0) < 100
    )
    return Found(
        State.NO if sinus_like else State.OPEN, _described(m), reason="flutter waves themselves are not measured"
    )


def _junctional(m: Measurements) -> Found:
    if m.p_present is None:
        return Found(State.UNKNOWN, _described(m), reason=why_not("p_present", m))
    if m.p_present:
        normal = (m.pr_ms or 0) >= 120 and (m.p_fraction or 0) >= 0.8
        return Found(State.NO if normal else State.OPEN, _described(m))
    return Found(
        State.YES if m.rhythm_regular else State.PROBABLY_NOT if m.rhythm_regular is None else State.NO, _described(m)
    )


def _paced(m: Measurements) -> Found:
    if m.paced_beats is None:
        return Found(State.UNKNOWN, reason=why_not("paced_beats", m))
    return Found(State.YES if m.paced_beats else State.NO, f"{m.paced_beats} paced beats")


def _ventricular(m: Measurements) -> Found:
    if m.qrs_ms is None:
        return Found(State.UNKNOWN, reason=why_not("qrs_ms", m))
    if m.qrs_ms < 100 or (m.p_present and (m.p_fraction or 0) >= 0.8 and m.qrs_ms < 120):
        return Found(State.NO, _described(m))
    return Found(State.YES if m.qrs_ms >= 120 and m.p_present is False else State.OPEN, _described(m))


def _svt(m: Measurements) -> Found:
    rate = m.heart_rate_bpm or 0.0
    if rate < 90 or m.rhythm_regular is False:
        return Found(State.NO if rate < 90 or (m.rr_cv or 0) > _RESTLESS_CV else State.PROBABLY_NOT, _described(m))
    fast = rate >= 130 and (m.qrs_ms is None or m.qrs_ms < 120) and m.p_present is not True
    return Found(State.YES if fast else State.OPEN, _described(m))


def _vt(m: Measurements) -> Found:
    rate = m.heart_rate_bpm or 0.0
    if m.qrs_ms is None:
        return Found(State.NO if rate < 90 else State.UNKNOWN, _described(m), reason=why_not("qrs_ms", m))
    with_p = bool(m.p_present) and (m.p_fraction or 0) >= 0.8 and rate < 150
    if rate < 90 or m.qrs_ms < 105 or (with_p and (m.qrs_ms < 120 or rate < 120)):
        return Found(State.NO, _described(m))
    return Found(
        State.YES if rate >= 110 and m.qrs_ms >= 125 and m.p_present is not True else State.OPEN, _described(m)
    )


def judge_av(claim: Claim, m: Measurements) -> Found:
    """AV block as far as PR, and P before every QRS, show it."""
    if m.p_present is False or m.pr_ms is None:
        return Found(State.UNKNOWN, reason=why_not("pr_ms", m))
    steady = (m.p_fraction or 0) >= 0.75 and m.spread.get("pr_ms", 0.0) < 25
    one_to_one = m.rhythm_regular is True and steady and (m.heart_rate_bpm or 0) >= 65 and not m.pauses
    measured = f"PR {number(m.pr_ms)} ms"
    allowed = DEFAULT.of("pr_ms", m.pr_ms, m)
    if claim.value in ("first degree", "any"):
        if m.pr_ms > 200:
            return Found(
                State.YES if m.pr_ms > 200 + allowed else State.PROBABLY,
                measured,
                reason="first degree is above 200 ms",
            )
        if m.pr_ms >= 200 - allowed:
            return Found(State.PROBABLY_NOT, measured, reason="first degree is above 200 ms")
        if claim.value == "first degree" or one_to_one:
            return Found(State.NO, measured, reason="first degree is above 200 ms")
        return Found(State.OPEN, measured, reason="P waves without a QRS are not counted")
    if one_to_one:
        return Found(State.NO, f"a P wave before every QRS, {number(m.heart_rate_bpm or 0)} bpm, regular")
    return Found(State.OPEN, measured, reason="P waves without a QRS are not counted")


def judge_conduction(claim: Claim, m: Measurements) -> Found:
    """Bundle branch and fascicular blocks: by the finding of that name, and by QRS and axis where those exclude it."""
    if m.qrs_ms is None:
        return Found(State.UNKNOWN, reason=why_not("qrs_ms", m))
    value = str(claim.value)
    finding = m.findings.get(value)
    present = finding.present if finding is not None else None
    told = f"QRS {number(m.qrs_ms)} ms" + (f", axis {number(m.axis_deg)} degrees" if m.axis_deg is not None else "")
    if present and _clear(value, m):
        return Found(State.YES, told, reason=finding.because if finding else "")
    if value == "bifascicular block":
        return _bifascicular(m, told)
    excluded = _excluded(value, m)
    if excluded:
        return Found(State.NO, told, reason=excluded)
    if present is not None:
        return Found(State.PROBABLY if present else State.PROBABLY_NOT, told, reason=finding.because if finding else "")
    return Found(State.OPEN, told, reason="nothing that is measured settles it")


def _clear(value: str, m: Measurements) -> bool:
    """Whether a finding is far enough from its threshold that its denial is wrong."""
    if value in ("left bundle branch block", "right bundle branch block"):
        return (m.qrs_ms or 0) >= 130
    if value == "left anterior fascicular block":
        return m.axis_deg is not None and -85 <= m.axis_deg <= -55
    if value == "left posterior fascicular block":
        return m.axis_deg is not None and 105 <= m.axis_deg <= 175
    return not value.startswith("incomplete") and value != "intraventricular conduction delay"


def _excluded(value: str, m: Measurements) -> str:
    """What speaks clearly against a pattern; empty where nothing does."""
    qrs, axis = m.qrs_ms or 0.0, None if m.lead_reversal else m.axis_deg
    if value in ("left bundle branch block", "right bundle branch block"):
        return _no_bundle_block(value, m)
    if value.startswith("incomplete"):
        return "complete block is 120 ms or more" if qrs >= 140 else "QRS is narrow" if qrs < 85 else ""
    if value == "left anterior fascicular block" and axis is not None:
        return "its axis is -45 to -90 degrees" if -20 < axis < 160 else ""
    if value == "left posterior fascicular block" and axis is not None:
        return "its axis is 90 to 180 degrees" if -70 < axis < 65 else ""
    if value == "intraventricular conduction delay":
        return "its QRS is wider than 110 ms" if qrs < 95 else ""
    if value == "pre-excitation":
        return "PR and QRS are normal" if m.delta_wave is False and qrs < 105 and (m.pr_ms or 0) >= 140 else ""
    return ""


def _no_bundle_block(value: str, m: Measurements) -> str:
    """What speaks against a complete block: a narrow QRS, the pattern of the other side, a Q in I or V6 (left), no late
    R in V1 (right)."""
    qrs = m.qrs_ms or 0.0
    finding = m.findings.get(value)
    if qrs < 105 or (qrs < 112 and finding is not None and finding.present is not None and not finding.present):
        return "complete block is 120 ms or more"
    side = value.split()[0]
    other = "right" if side == "left" else "left"
    rival = m.findings.get(f"{other} bundle branch block")
    if rival is not None and rival.present and qrs >= 125:
        return f"it has the pattern of {other} bundle branch block"
    leads, _ = usable(m, ("I", "V1", "V6"))
    if (
        finding is None
        or finding.present is None
        or finding.present
        or len(leads) < 3
        or any(not lead.pattern for lead in leads.values())
    ):
        return ""
    v1 = leads["V1"]
    if side == "left":
        return "there is a Q wave in I or V6" if any((leads[name].q_mv or 0.0) <= -0.08 for name in ("I", "V6")) else ""
    late = v1.r2_mv is not None or (v1.r_mv or 0.0) > 0.7 * abs(v1.s_mv or 0.0)
    return "" if late else "there is no late R in V1"


def _bifascicular(m: Measurements, told: str) -> Found:
    parts = [
        m.findings.get(name)
        for name in ("right bundle branch block", "left anterior fascicular block", "left posterior fascicular block")
    ]
    right, anterior, posterior = (bool(part and part.present) for part in parts)
    if right and (anterior or posterior):
        return Found(State.YES, told)
    return Found(State.NO, told, reason="QRS is narrow") if (m.qrs_ms or 0) < 105 else Found(State.PROBABLY_NOT, told)


def judge_count(claim: Claim, m: Measurements) -> Found:
    """Premature beats, pacing and pauses: how many there are."""
    if claim.quantity == "pacing":
        return _paced(m)
    if claim.quantity == "pause":
        return _pause(m)
    ventricular, above = m.ventricular_premature, m.supraventricular_premature
    if ventricular is None or above is None:
        return Found(State.UNKNOWN, reason=why_not("ventricular_premature", m))
    asked, other = {"ventricular": (ventricular, above), "supraventricular": (above, ventricular)}.get(
        str(claim.value), (ventricular + above, 0)
    )
    told = f"{asked} found" + (f", {other} of the other kind" if other else "")
    if asked:
        return Found(State.YES, told)
    if claim.value == "supraventricular" and m.af_evidence:
        return Found(State.OPEN, told, reason="early beats of atrial fibrillation are not told from premature ones")
    return Found(State.PROBABLY_NOT if other else State.NO, told)


def _pause(m: Measurements) -> Found:
    if m.pauses is None or m.rr_max_ms is None:
        return Found(State.UNKNOWN, reason=why_not("pauses", m))
    told = f"longest RR {number(m.rr_max_ms)} ms"
    if m.pauses and m.rr_max_ms > 2100:
        return Found(State.YES, told, reason="a pause is longer than 2 s")
    near = m.rr_max_ms > 1400 or m.rr_max_ms > 1.5 * (m.rr_ms or m.rr_max_ms)
    state = State.PROBABLY if m.pauses else State.PROBABLY_NOT if near else State.NO
    return Found(state, told, reason="a pause is longer than 2 s")


def judge_atrial(claim: Claim, m: Measurements) -> Found:
    """Left: P of 120 ms or more; right: P of 0.25 mV or more in II. Other criteria exist, so neither is denied on these
    alone."""
    if m.p_present is False:
        return Found(State.UNKNOWN, reason="no P wave was found")
    if claim.value == "left atrial enlargement":
        if m.p_ms is None:
            return Found(State.UNKNOWN, reason=why_not("p_ms", m))
        state = (
            State.YES
            if m.p_ms >= 135
            else State.PROBABLY
            if m.p_ms >= 120
            else State.PROBABLY_NOT
            if m.p_ms >= 105
            else State.OPEN
        )
        return Found(
            state, f"P {number(m.p_ms)} ms", reason="" if state is State.YES else "the form of P is not judged"
        )
    lead = m.leads.get("II")
    if lead is None or lead.p_mv is None:
        return Found(State.UNKNOWN, reason="P was not measured in II")
    steps = ((0.28, State.YES), (0.25, State.PROBABLY), (0.12, State.PROBABLY_NOT))
    state = next((state for least, state in steps if lead.p_mv >= least), State.NO)
    return Found(state, f"P in II {number(lead.p_mv, 'mV')} mV", reason="0.25 mV or more in II")


def judge_normal(claim: Claim, m: Measurements, person: Person = NOBODY) -> Found:
    """ "Normal ECG" is contradicted by a clear abnormal finding, and never confirmed: that no one would find anything
    can't be measured."""
    clear = abnormalities(m, person)
    if clear:
        return Found(State.NO, "; ".join(clear[:3]))
    return Found(State.OPEN, reason="no clear abnormality was measured, which does not make an ECG normal")


def abnormalities(m: Measurements, person: Person = NOBODY) -> list[str]:
    """What no reader would call normal, each far beyond its threshold."""
    found = []
    if m.heart_rate_bpm is not None and not 45 <= m.heart_rate_bpm <= 115:
        found.append(f"rate {number(m.heart_rate_bpm)} bpm")
    if _fibrillation(m).state is State.YES:
        found.append("irregular without P waves")
    if m.pr_ms is not None and m.pr_ms > 230:
        found.append(f"PR {number(m.pr_ms)} ms")
    if m.qrs_ms is not None and m.qrs_ms > 135:
        found.append(f"QRS {number(m.qrs_ms)} ms")
    if m.qtc_bazett_ms is not None and m.qtc_bazett_ms > 500 and (m.heart_rate_bpm or 0) < 100:
        found.append(f"QTc {number(m.qtc_bazett_ms)} ms")
    if m.axis_deg is not None and not m.lead_reversal and not -60 <= m.axis_deg <= 115:
        found.append(f"axis {number(m.axis_deg)} degrees")
    if (m.ventricular_premature or 0) > 1:
        found.append("ventricular premature beats")
    if _mostly_paced(m):
        found.append("paced beats")
    for word in ("elevation", "depression"):
        st = judge_st(Claim("st_category", word), m, DEFAULT, person)
        if st.state is State.YES:
            found.append(f"ST {word}, {st.measured}")
    if judge_t(Claim("t_category", "inverted"), m).state is State.YES:
        found.append("inverted T waves")
    if judge_q(Claim("q_wave", "pathological"), m).state is State.YES:
        found.append("Q waves of pathological size")
    return found
