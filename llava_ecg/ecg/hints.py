"""Hints about the recording: a wrong unit, swapped electrodes, a delta wave, how R grows over the chest.

A hint is a reason to look, no proof.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llava_ecg.ecg.amplitudes import MedianBeat
from llava_ecg.ecg.measurements import LeadMeasurements
from llava_ecg.ecg.waves.rules import RATE

LARGEST_MV, SMALLEST_MV = 30.0, 0.03  # a QRS beyond these is no QRS in mV
CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
POOR_R_MV = 0.3  # R in V3 at most
# of 841 recordings of LUDB, CinC 2011 and 2021 and PTB-XL none comes above 0.06, of unacceptable ones 0.19; with V1 and
# V6 exchanged 95 % of them come above it
CHEST_MARGIN = 0.4
# of a delta wave. No recording was at hand to fit the slope on: of real QRS complexes of 100 to 120 ms 94 % begin as
# slowly, so that the hint rests on PR and QRS, and the slope only excludes what begins at once
DELTA_PR_MS, DELTA_QRS_MS, DELTA_SLOPE, DELTA_MV = 120.0, 100.0, 0.35, 0.05


def unit_note(leads: Mapping[str, LeadMeasurements]) -> str:
    """A sentence where the amplitudes can't be mV; empty where they can."""
    sizes = [lead.qrs_mv for lead in leads.values() if lead.qrs_mv is not None]
    if not sizes:
        return ""
    middle = float(np.median(sizes))
    if middle > LARGEST_MV:
        return (
            f"a QRS of {middle:,.0f} mV: the unit is probably not mV (uV give values 1000 times as large); "
            "voltages are not judged"
        )
    if middle < SMALLEST_MV:
        return (
            f"a QRS of {middle:.2g} mV: the unit is probably not mV (volts give values 1000 times as small); "
            "voltages are not judged"
        )
    return ""


def still_note(signal: np.ndarray, moves_mv: float) -> str:
    """A sentence where a signal [L, T] moves in every lead, yet so little that it can't be an ECG in mV; empty
    otherwise.

    Args:
        moves_mv: what a lead with beats moves by at least.
    """
    spans = [float(np.ptp(row[np.isfinite(row)])) for row in signal if np.isfinite(row).any()]
    if not spans or not 0 < min(spans) <= max(spans) < moves_mv:
        return ""
    return (
        f"no lead moves by more than {max(spans):.2g} mV: nothing was recorded, or the unit is not mV (volts give "
        "values 1000 times as small)"
    )


def lead_reversal(leads: Mapping[str, LeadMeasurements], beat: MedianBeat | None, names: tuple[str, ...]) -> str:
    """A sentence where the electrodes look swapped or the signal upside down; empty otherwise.

    Swapped arms turn I over: P, QRS and T are negative in I and positive in aVR, while V6, which looks the same way, is
    upright. If V6 is turned over too it is dextrocardia or an upside-down signal. Swapped right arm and foot leave II
    almost flat.
    """
    needed = [leads.get(name) for name in ("I", "aVR", "V6", "II")]
    if beat is None or any(lead is None or lead.qrs_area_mv_ms is None for lead in needed):
        return ""
    first, avr, v6, second = (lead for lead in needed if lead is not None)
    area = {name: lead.qrs_area_mv_ms or 0.0 for name, lead in (("I", first), ("aVR", avr), ("V6", v6))}
    p_down = first.p_mv is not None and first.p_mv < -0.02
    t_down = first.t_mv is not None and first.t_mv < -0.03
    if area["I"] < -3 and area["aVR"] > 0 and (p_down or (first.p_mv is None and t_down)):
        rows = [names.index(name) for name in ("I", "V6") if name in names]
        part = beat.trace[rows, beat.at(beat.bounds.qrs_onset) : beat.at(beat.bounds.qrs_end) + 1]
        alike = float(np.corrcoef(part)[0, 1]) if part.shape[1] > 2 and np.isfinite(part).all() else 0.0
        if area["V6"] > 0 and alike < 0:
            return "the arm electrodes look swapped: I is upside down and V6 is not"
        upside_down = all((leads[name].p_mv or 0.0) < 0 for name in ("I", "II", "V6") if leads.get(name) is not None)
        if area["V6"] < 0 and upside_down:
            return (
                "the signal looks upside down: P and QRS point the wrong way in I, II and V6 (or the heart lies on "
                "the right)"
            )
    third = leads.get("III")
    if second.qrs_mv is not None and second.qrs_mv < 0.1 and first.qrs_mv and third is not None and third.qrs_mv:
        swapped = min(first.qrs_mv, third.qrs_mv) > 0.4
        return "the right arm and right leg electrodes look swapped: II is almost flat" if swapped else ""
    return ""


def chest_note(beat: MedianBeat | None, names: tuple[str, ...]) -> str:
    """A sentence where V1 and V6 look exchanged, of the electrodes or of the names; empty otherwise.

    Each chest lead looks like its neighbours: exchanged back, the correlations of V1 with V2 and V5 with V6 must rise
    by `CHEST_MARGIN` together. Other exchanges of chest leads are not told: neighbours are too much alike.
    """
    if beat is None or not set(CHEST) <= set(names):
        return ""
    end = beat.bounds.t_end if np.isfinite(beat.bounds.t_end) else beat.bounds.qrs_end
    rows = [names.index(name) for name in ("V1", "V2", "V5", "V6")]
    part = beat.trace[rows, beat.at(beat.bounds.qrs_onset) : beat.at(end) + 1]
    if part.shape[1] < 3 or not np.isfinite(part).all() or not np.ptp(part, axis=1).all():
        return ""
    alike = np.corrcoef(part)
    if alike[3, 1] + alike[2, 0] - alike[0, 1] - alike[2, 3] <= CHEST_MARGIN:
        return ""
    return "V1 and V6 look exchanged: V6 is like V2 and V1 like V5"


def delta_wave(beat: MedianBeat, pr_ms: float | None, qrs_ms: float | None) -> bool | None:
    """Whether QRS begins slowly after a short PR: a PR below 120 ms, QRS of 100 ms or more, the slope of its first 40
    ms (mean) below 0.35 of its steepest one, root mean squares over the leads, and a lead that has left zero by more
    than 0.05 mV 30 ms after its onset; None without P."""
    if pr_ms is None or qrs_ms is None:
        return None
    if pr_ms >= DELTA_PR_MS or qrs_ms < DELTA_QRS_MS:
        return False
    first, last = beat.at(beat.bounds.qrs_onset), beat.at(beat.bounds.qrs_end)
    slope = np.sqrt(np.nanmean(np.gradient(beat.trace[:, first : last + 1], axis=1) ** 2, axis=0))
    start = slope[: round(0.04 * RATE)]
    moved = np.nanmax(np.abs(beat.trace[:, first + round(0.03 * RATE)]))
    return bool(start.mean() < DELTA_SLOPE * slope.max() and moved > DELTA_MV)


def r_progression(up: Mapping[str, float | None], down: Mapping[str, float | None]) -> tuple[str | None, str | None]:
    """How R grows from V1 to V6, and the first chest lead where it exceeds S.

    Args:
        up, down: chest lead -> height of R and depth of S in mV; None where unmeasured.

    Returns:
        ``"poor"``: R of at most 0.3 mV in V3 and in V4 no larger than S; ``"early"``: R above S in V1 or V2;
        ``"reversed"``: R shrinks by more than a third from V1 to V2, V2 to V3 or V3 to V4 while it is below S; else
        ``"normal"``. None where a chest lead is missing.
    """
    r, s = [up.get(name) for name in CHEST], [down.get(name) for name in CHEST]
    if any(value is None for value in (*r, *s)):
        return None, None
    height, depth = [float(value or 0.0) for value in r], [float(value or 0.0) for value in s]
    over = [name for name, a, b in zip(CHEST, height, depth, strict=True) if a > b]
    transition = over[0] if over else None
    for at in range(3):
        if height[at] > 0.1 and height[at + 1] < 0.66 * height[at] and height[at + 1] < depth[at + 1]:
            return "reversed", transition
    if height[2] <= POOR_R_MV and height[3] <= depth[3]:
        return "poor", transition
    if transition in ("V1", "V2"):
        return "early", transition
    return "normal", transition
