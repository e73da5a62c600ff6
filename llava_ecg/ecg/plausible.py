"""What was found, checked against what a heart can do: waves in an impossible order or of an impossible length are
taken out with the reason, unlikely values stay and get a note.

The limits are wide, for a rare value may be true: where literature has extremes, they lie beyond these; the others are
working rules, set so that on LUDB no value within tolerance of the hand marks is lost.

Axes: N beats, L leads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llava_ecg.ecg.waves.delineation import Delineation

CUT_S = 0.02  # of either end of the recording: a wave that begins or ends there is not whole
P_MS = (30.0, 220.0)  # working rule; 110 is usual, advanced interatrial block goes to about 180
PR_MS = (60.0, 500.0)  # working rule; in pre-excitation about 80 is usual, in first degree block up to some 400
QRS_MS = (40.0, 300.0)  # working rule; a neonate's is 50, in severe hyperkalaemia about 250
# QT corrected by Fridericia: short QT syndrome has been seen from about 280 ms on (Gollob et al., J Am Coll Cardiol
# 2011;57:802 lists QTc up to 370), long QT syndrome up to about 700 ms
QTC_MS = (270.0, 720.0)
# beyond these a value stays, with a note
PR_UNUSUAL_MS = 100.0
QTC_UNUSUAL_MS = (320.0, 570.0)
FAST_BPM, FAST_QTC_MS, FAST_SPREAD_MS, FAST_APART_MS = 110.0, 480.0, 30.0, 40.0  # working rule: see `doubts`
RATE_BPM = (25.0, 250.0)
_MOST = 0.5  # of the beats that had a wave: if so many lose it, no beat keeps it


@dataclass(frozen=True)
class _Check:
    """One rule about one wave.

    Attributes:
        wave: ``"p"`` or ``"t"``.
        broken: bool [N], the beats that break it.
        why: as a reason.
        impossible: False where the wave is only cut off by an end of the recording.
    """

    wave: str
    broken: np.ndarray
    why: str
    impossible: bool = True


def plausible(found: Delineation, seconds: float) -> Delineation:
    """The waves without those that can't be what they were taken for.

    Args:
        seconds: the length of the recording.

    Returns:
        With NaN for bounds that were taken out, in all leads and in the bounds over all leads; a P or T wave that most
        beats lose is lost by all, with the reason. Bounds of QRS that the ends of the recording cut off are NaN too.
    """
    if not len(found.r_s):
        return found
    arrays = {name: getattr(found, name).copy() for name in ("p", "qrs", "t", "p_all", "qrs_all", "t_all")}
    reasons = dict(found.reasons)
    unsure = np.array([kind == "partial" for kind in found.kinds], dtype=bool) & ~np.isfinite(found.p_all[:, 0])
    with np.errstate(invalid="ignore"):
        _cut_qrs(found, arrays, seconds)
        for check in _checks(found, arrays, seconds):
            over_all = arrays[f"{check.wave}_all"]
            had = np.isfinite(over_all[:, 0])
            gone = check.broken & had
            if not gone.any():
                continue
            if check.impossible and gone.sum() > _MOST * had.sum():
                gone = had
                reasons[check.wave] = check.why
            arrays[check.wave][gone], over_all[gone] = np.nan, np.nan
            if check.wave == "p":
                unsure |= gone
    p_present = found.p_present
    if p_present and not np.isfinite(arrays["p_all"]).any():
        p_present = None
        reasons.setdefault("p", "no P wave is whole in the recording")
    if np.isfinite(found.t_all).any() and not np.isfinite(arrays["t_all"]).any():
        reasons.setdefault("t", "no T wave is whole in the recording")
    return replace(found, **arrays, reasons=reasons, p_present=p_present, p_unsure=unsure)


def _cut_qrs(found: Delineation, arrays: dict[str, np.ndarray], seconds: float) -> None:
    """QRS onsets and ends that the ends of the recording make, and those of an impossible width, become NaN."""
    over_all, each = arrays["qrs_all"], arrays["qrs"]
    early, late = over_all[:, 0] < CUT_S, over_all[:, 1] > seconds - CUT_S
    width = (over_all[:, 1] - over_all[:, 0]) * 1000
    odd = ((width < QRS_MS[0]) | (width > QRS_MS[1])) & ~early & ~late
    over_all[early | odd, 0], over_all[late | odd, 1] = np.nan, np.nan
    each[early | odd, :, 0], each[late | odd, :, 2] = np.nan, np.nan


def _checks(found: Delineation, now: dict[str, np.ndarray], seconds: float) -> list[_Check]:
    """The rules about P and T, in the order in which they are applied."""
    p, qrs, t = found.p_all, found.qrs_all, found.t_all
    follows = np.append(
        ~found.broken if len(found.broken) == len(qrs) - 1 else np.ones(len(qrs) - 1, dtype=bool), False
    )
    following = np.where(follows, np.append(qrs[1:, 0], np.nan), np.nan)  # the next QRS begins, if no gap lies between
    before = np.append(np.nan, np.where(follows[:-1], qrs[:-1, 0], np.nan))  # the QRS complex before began
    qtc = (t[:, 1] - now["qrs_all"][:, 0]) * 1000 / np.cbrt(_usual_rr(found))
    p_ms, pr = (p[:, 1] - p[:, 0]) * 1000, (qrs[:, 0] - p[:, 0]) * 1000
    # no T wave ends so early: what follows QRS sooner is that T wave, or belongs to QRS
    soon = (p[:, 0] - before) * 1000 < QTC_MS[0] * np.cbrt(qrs[:, 0] - before)
    usual = found.dominant
    return [
        _Check("p", p[:, 0] < CUT_S, "the P wave is cut off by the start of the recording", impossible=False),
        _Check("t", t[:, 1] > seconds - CUT_S, "the T wave is cut off by the end of the recording", impossible=False),
        _Check("t", t[:, 1] > following, "what looks like T lasts until the next QRS complex: its end can't be told"),
        _Check("t", t[:, 1] <= qrs[:, 1], "what looks like T ends before QRS does"),
        _Check("t", usual & (qtc < QTC_MS[0]), f"QT would be impossibly short (corrected below {QTC_MS[0]:g} ms)"),
        _Check("t", usual & (qtc > QTC_MS[1]), f"QT would be impossibly long (corrected above {QTC_MS[1]:g} ms)"),
        _Check("p", (p[:, 1] > qrs[:, 0] + 0.01) | (p[:, 0] < before), "what looks like P runs into a QRS complex"),
        _Check("p", usual & soon, "what looks like P follows the QRS complex before so soon that it may be its T wave"),
        _Check("p", _outside(p_ms, P_MS), f"P would last less than {P_MS[0]:g} or more than {P_MS[1]:g} ms"),
        _Check("p", _outside(pr, PR_MS), f"PR would be below {PR_MS[0]:g} or above {PR_MS[1]:g} ms"),
    ]


def _outside(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return np.asarray((values < limits[0]) | (values > limits[1]))


def _usual_rr(found: Delineation) -> float:
    """The median RR in s of the intervals without a gap, 1 s where there is none."""
    rr = np.diff(found.r_s)
    rr = rr[~found.broken] if len(found.broken) == len(rr) else rr
    return float(np.median(rr)) if len(rr) else 1.0


def doubts(values: Mapping[str, Any], spread: Mapping[str, float], lead_medians: Mapping[str, float]) -> list[str]:
    """Sentences on values that are possible and unlikely: a person should look before trusting them.

    In a fast rhythm T runs into the next P, and its end is then often that of P: a QTc (Fridericia) above 480 ms above
    110 bpm is doubted where QT differs between beats (SD above 30 ms) or reaches 40 ms beyond that of most leads.

    Args:
        values: the fields of `llava_ecg.ecg.measurements.Measurements`.
        spread: SD over the beats; lead_medians: median over the leads, both in ms.
    """
    rate, qt, qtc, pr = (values.get(name) for name in ("heart_rate_bpm", "qt_ms", "qtc_fridericia_ms", "pr_ms"))
    notes = []
    if rate is not None and not RATE_BPM[0] <= rate <= RATE_BPM[1]:
        notes.append(
            f"a rate of {rate:.0f} bpm is rare ({RATE_BPM[0]:g} to {RATE_BPM[1]:g} expected): beats may be "
            f"{'missed' if rate < RATE_BPM[0] else 'counted twice'}; check them"
        )
    if pr is not None and pr < PR_UNUSUAL_MS:
        notes.append(
            f"a PR of {pr:.0f} ms is shorter than conduction through the AV node usually takes "
            f"({PR_UNUSUAL_MS:g} ms): pre-excitation, a low atrial rhythm, or the start of P was not seen; check it"
        )
    if qt is None or qtc is None:
        return notes
    if rate is not None and rate > FAST_BPM and qtc > FAST_QTC_MS:
        varies = spread.get("qt_ms", 0.0) > FAST_SPREAD_MS
        apart = qt - lead_medians.get("qt_ms", qt) > FAST_APART_MS
        if varies or apart:
            how = f"varies by {spread['qt_ms']:.0f} ms (SD)" if varies else "reaches far beyond that of most leads"
            return [*notes, f"QT of {qt:.0f} ms at {rate:.0f} bpm is doubtful: it {how}, and T may have run into P"]
    if not QTC_UNUSUAL_MS[0] <= qtc <= QTC_UNUSUAL_MS[1]:
        which = "short" if qtc < QTC_UNUSUAL_MS[0] else "long"
        notes.append(f"a QTc (Fridericia) of {qtc:.0f} ms is unusually {which}; check where T ends")
    return notes
