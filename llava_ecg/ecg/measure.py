"""`measure`: a recording -> `Measurements`. What can't be measured is None, with the reason; nothing is invented.

The signal is brought to 500 Hz and freed of its baseline (0.5 Hz, zero phase) and, where there is hum, of the mains;
`delineate` finds the waves; intervals are medians over the dominant beats of the bounds over all leads; amplitudes and
ST come from the median beat. Definitions and sources: docs/measure.md.

Axes: L leads, T samples, N beats.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from llava_ecg.ecg import amplitudes
from llava_ecg.ecg.amplitudes import MedianBeat, median_beat
from llava_ecg.ecg.axes import axes
from llava_ecg.ecg.beat_columns import beat_columns
from llava_ecg.ecg.findings import findings, pathological_q
from llava_ecg.ecg.hints import chest_note, lead_reversal, still_note, unit_note
from llava_ecg.ecg.lead_facts import lead_spreads, with_reasons
from llava_ecg.ecg.measurements import BeatMeasurements, LeadMeasurements, Measurements
from llava_ecg.ecg.plausible import doubts, plausible
from llava_ecg.ecg.prepare import prepared
from llava_ecg.ecg.quality import quality
from llava_ecg.ecg.recording import Recording, check_recording
from llava_ecg.ecg.rhythm import rhythm
from llava_ecg.ecg.voltages import voltages
from llava_ecg.ecg.waves.delineate import LIVE_MV, RATE, delineate
from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.errors import InputError

SHORTEST_S = 1.0
_BAD = ("empty", "nan", "flat", "partly flat", "clipped", "noisy", "drifting")
_INTERVALS = ("p_ms", "pr_ms", "qrs_ms", "qt_ms")
_CORRECTED = ("qtc_bazett_ms", "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms")


def measure(recording: Recording, *, sex: str | None = None, age: float | None = None) -> Measurements:
    """Beats, rate, rhythm, intervals, axes, amplitudes, ST and what follows from them.

    Args:
        recording: any rate, leads and length from 1 s.
        sex: such as ``"F"`` or ``"male"``, for the thresholds that depend on it; age in years. Both default to what the
            file says.

    Raises:
        InputError: shorter than 1 s, or no `Recording`.
    """
    check_recording(recording, "measure")
    if recording.duration < SHORTEST_S:
        raise InputError(
            f"{recording.source or 'the recording'} is {recording.duration:.2f} s long and can't be measured; "
            f"at least {SHORTEST_S:g} s are needed"
        )
    whole = recording.with_derived()
    signal, steps, recorded = prepared(whole)
    found = plausible(delineate(signal, whole.leads, recorded=recorded), signal.shape[1] / RATE)
    if not recorded.all():
        signal = np.where(recorded, signal, np.nan)  # amplitudes come from what was recorded
    values, reasons = rhythm(found.r_s, found.kinds, found.p_present, found.broken)
    spread = _intervals(found, values, reasons)
    beat = median_beat(signal, found)
    axes(signal, found, beat, values, reasons, spread)
    states = {note.lead: note.kind for note in reversed(quality(whole)) if note.lead and note.kind in _BAD}
    leads = _leads(signal, found, beat, states)
    voltages(leads, beat, values, reasons)
    if not len(found.r_s):  # each value's reason is why there are no beats
        reasons = dict.fromkeys(reasons, found.reasons.get("beats", "no QRS complexes were found"))
    lead_medians = _lead_medians(leads)
    units = unit_note(leads) or still_note(whole.signal, LIVE_MV)
    doubtful = doubts(values, spread, lead_medians)
    measured = Measurements(
        **values,
        lead_reversal=lead_reversal(leads, beat, found.leads),
        beats=_beats(found),
        leads=leads,
        spread=spread,
        lead_medians=lead_medians,
        reasons=reasons,
        source={"delineator": found.method, "filter": "; ".join(steps)},
        notes=tuple(note for note in (units, chest_note(beat, found.leads), *found.notes, *doubtful) if note),
    )
    person = recording.metadata
    sex = sex if sex is not None else person.get("sex")
    age = age if age is not None else person.get("age")
    return replace(measured, findings=findings(measured, sex=sex, age=age))


def _intervals(found: Delineation, values: dict[str, Any], reasons: dict[str, str]) -> dict[str, float]:
    """The intervals over all leads, their medians over the dominant beats; returns their SD over those beats."""
    usual = found.dominant
    spread: dict[str, float] = {}
    values["p_present"] = found.p_present
    for name, column in _beat_intervals(found).items():
        there = column[usual][np.isfinite(column[usual])]
        if len(there):
            values[name] = round(float(np.median(there)), 1)
            spread[name] = round(float(there.std()), 1)
    none = "no QRS complexes were found" if len(found.r_s) == 0 else "no whole beat lies in the recording"
    if found.p_present is None:
        reasons["p_present"] = found.reasons.get("p", none)
    judged = usual & ~found.p_unsure
    if judged.any() and found.p_present is not None:
        values["p_fraction"] = round(float(np.isfinite(found.p_all[judged, 0]).mean()), 3)
    why = {
        "qrs_ms": none,
        "qt_ms": found.reasons.get("t", none),
        "p_ms": found.reasons.get("p", none),
        "pr_ms": found.reasons.get("p", none),
    }
    why["p_fraction"] = why["p_ms"]
    reasons.update({name: reason for name, reason in why.items() if name not in values})
    if "qt_ms" in values and "qrs_ms" in values:
        values["jt_ms"] = round(values["qt_ms"] - values["qrs_ms"], 1)
        spread["jt_ms"] = round(float(np.nanstd(found.t_all[usual, 1] - found.qrs_all[usual, 1])) * 1000, 1)
    else:
        reasons["jt_ms"] = reasons.get("qt_ms", reasons.get("qrs_ms", none))
    rr = np.diff(found.r_s)
    whole = ~found.broken if len(found.broken) == len(rr) else np.ones(len(rr), dtype=bool)
    pairs = rr[usual[1:] & usual[:-1] & whole] if len(rr) else rr
    rr = rr[whole]
    mean = float(pairs.mean()) if len(pairs) else float(rr.mean()) if len(rr) else None
    if "qt_ms" not in values or mean is None:
        reasons.update(dict.fromkeys(_CORRECTED, reasons.get("qt_ms", reasons.get("rr_ms", ""))))
    else:
        corrected = corrected_qt(values["qt_ms"], mean)
        values.update({name: round(value, 1) for name, value in zip(_CORRECTED, corrected, strict=True)})
        factors = (1 / math.sqrt(mean), 1 / math.cbrt(mean), 1.0, 1.0)  # QT's error, corrected as QT is
        spread.update({name: round(spread["qt_ms"] * by, 1) for name, by in zip(_CORRECTED, factors, strict=True)})
    _dispersion(found, values, reasons)
    return spread


def corrected_qt(qt_ms: float, rr_s: float) -> tuple[float, float, float, float]:
    """QTc in ms by Bazett, Fridericia, Framingham and Hodges."""
    return (
        qt_ms / math.sqrt(rr_s),
        qt_ms / math.cbrt(rr_s),
        qt_ms + 154 * (1 - rr_s),
        qt_ms + 1.75 * (60 / rr_s - 60),
    )


def _beat_intervals(found: Delineation) -> dict[str, np.ndarray]:
    """[N] ms each, NaN where a wave is missing."""
    return {
        "p_ms": (found.p_all[:, 1] - found.p_all[:, 0]) * 1000,
        "pr_ms": (found.qrs_all[:, 0] - found.p_all[:, 0]) * 1000,
        "qrs_ms": (found.qrs_all[:, 1] - found.qrs_all[:, 0]) * 1000,
        "qt_ms": (found.t_all[:, 1] - found.qrs_all[:, 0]) * 1000,
    }


def _dispersion(found: Delineation, values: dict[str, Any], reasons: dict[str, str]) -> None:
    """Largest minus smallest QT over the leads that show T in most beats."""
    qt = (found.t[:, :, 2] - found.qrs[:, :, 0])[found.dominant] * 1000
    enough = np.isfinite(qt).mean(axis=0) > 0.5 if len(qt) else np.zeros(len(found.leads), dtype=bool)
    if enough.sum() < 6:
        reasons["qt_dispersion_ms"] = "fewer than six leads show a T wave"
    else:
        values["qt_dispersion_ms"] = round(float(np.ptp(np.nanmedian(qt[:, enough], axis=0))), 1)


def _leads(
    signal: np.ndarray, found: Delineation, beat: MedianBeat | None, states: dict[str, str]
) -> dict[str, LeadMeasurements]:
    """Every lead's medians and its columns over the beats."""
    usual, out = found.dominant, {}
    columns = beat_columns(signal, found, beat)
    spread = lead_spreads(columns, usual)
    st = amplitudes.st_levels(beat, (0, 20, 40, 60, 80)) if beat is not None else None
    for row, name in enumerate(found.leads):
        state = states.get(name, "ok")
        if beat is None or st is None or not found.live[row] or not _has_qrs(beat, row):
            state = state if found.live[row] or state != "ok" else "flat"
            lead = LeadMeasurements(quality=state, per_beat=columns[row])
        else:
            lead = LeadMeasurements(
                **_shape(beat, row),
                **_st(st[row]),
                **_lead_intervals(found, row, usual),
                quality=state,
                per_beat=columns[row],
                spread=spread[row],
            )
            lead = replace(lead, q_pathological=pathological_q(name, lead))
        out[name] = with_reasons(name, lead, found, beat)
    return out


def _has_qrs(beat: MedianBeat, row: int) -> bool:
    """Whether the lead was recorded during a QRS complex of the usual kind."""
    return bool(np.isfinite(beat.trace[row, beat.at(beat.bounds.qrs_onset) : beat.at(beat.bounds.qrs_end) + 1]).all())


def _shape(beat: MedianBeat, row: int) -> dict[str, Any]:
    """QRS waves, P and T of one lead of the median beat."""
    trace, bounds = beat.trace[row], beat.bounds
    part = trace[beat.at(bounds.qrs_onset) : beat.at(bounds.qrs_end) + 1]
    waves = amplitudes.qrs_waves(part)
    out: dict[str, Any] = {
        "pattern": waves.pattern,
        "qrs_mv": _mv(np.ptp(part)),
        "qrs_area_mv_ms": _mv(part.sum() * 1000 / RATE),
    }
    for name in ("q", "r", "s", "r2", "s2"):
        wave = getattr(waves, name)
        if wave is not None:
            out[f"{name}_mv"] = wave.mv
            if name in ("q", "r", "s"):
                out[f"{name}_ms"] = wave.ms
    if math.isfinite(bounds.p_onset):
        out["p_mv"], out["p_form"] = amplitudes.form(
            trace[max(0, beat.at(bounds.p_onset)) : beat.at(bounds.p_end) + 1], amplitudes.P_MV
        )
    if math.isfinite(bounds.t_end):
        first = beat.at(bounds.qrs_end) + round(0.08 * RATE)
        out["t_mv"], out["t_form"] = amplitudes.form(trace[first : beat.at(bounds.t_end) + 1], amplitudes.T_MV)
    return out


def _st(levels: np.ndarray) -> dict[str, Any]:
    """ST levels at J, 20, 40, 60 and 80 ms, the slope from J to J + 80 and its name."""
    names = ("st_j_mv", "st20_mv", "st40_mv", "st60_mv", "st80_mv")
    out: dict[str, Any] = {name: _mv(value) for name, value in zip(names, levels, strict=True) if math.isfinite(value)}
    if "st_j_mv" in out and "st80_mv" in out:
        slope = (out["st80_mv"] - out["st_j_mv"]) / 0.08
        out["st_slope_mv_s"] = round(slope, 2)
        out["st_form"] = "upsloping" if slope > 0.5 else "downsloping" if slope < -0.5 else "horizontal"
    return out


def _lead_intervals(found: Delineation, row: int, usual: np.ndarray) -> dict[str, Any]:
    """Medians of one lead's own bounds."""
    p, qrs, t = found.p[usual, row], found.qrs[usual, row], found.t[usual, row]
    columns = {
        "p_ms": p[:, 2] - p[:, 0],
        "pr_ms": qrs[:, 0] - p[:, 0],
        "qrs_ms": qrs[:, 2] - qrs[:, 0],
        "t_ms": t[:, 2] - t[:, 0],
        "qt_ms": t[:, 2] - qrs[:, 0],
    }
    out: dict[str, Any] = {}
    shown = (
        max(1, int(np.isfinite(qrs[:, 0]).sum())) if found.method.startswith("net") else len(p)
    )  # of the beats in which it is recorded
    for name, column in columns.items():
        there = column[np.isfinite(column)]
        if len(there) and len(there) >= 0.5 * shown:
            out[name] = round(float(np.median(there)) * 1000, 1)
    if found.p_present is not None and len(p):
        out["p_present"] = bool(np.isfinite(p[:, 0]).sum() >= 0.5 * shown)
    if "p_ms" not in out:
        out.pop("pr_ms", None)
    return out


def _lead_medians(leads: dict[str, LeadMeasurements]) -> dict[str, float]:
    """The medians over the leads of each lead's own intervals, ms."""
    out = {}
    for name in _INTERVALS:
        values = [value for lead in leads.values() if (value := getattr(lead, name)) is not None]
        if values:
            out[name] = round(float(np.median(values)), 1)
    return out


def _beats(found: Delineation) -> tuple[BeatMeasurements, ...]:
    """Every beat with its bounds and intervals over all leads."""
    intervals = _beat_intervals(found)
    intervals["jt_ms"] = intervals["qt_ms"] - intervals["qrs_ms"]
    rr = np.round(np.diff(found.r_s) * 1000, 1).tolist()
    rr = [None if gap else step for step, gap in zip(rr, found.broken, strict=True)] if len(found.broken) else rr
    beats = []
    for at, r in enumerate(found.r_s):
        p, qrs, t = found.p_all[at], found.qrs_all[at], found.t_all[at]
        before = rr[at - 1] if at else None
        corrected = [_rounded(value, 1) for value in corrected_qt(intervals["qt_ms"][at], (before or math.nan) / 1000)]
        beats.append(
            BeatMeasurements(
                r_s=round(float(r), 4),
                kind=found.kinds[at],
                rr_before_ms=before,
                rr_after_ms=rr[at] if at < len(rr) else None,
                rate_bpm=round(60000 / before, 1) if before else None,
                p_present=None if found.p_present is None or found.p_unsure[at] else bool(np.isfinite(p[0])),
                **{name: _rounded(column[at], 1) for name, column in intervals.items()},
                **dict(zip(_CORRECTED, corrected, strict=True)),
                p_onset_s=_rounded(p[0], 4),
                p_end_s=_rounded(p[1], 4),
                qrs_onset_s=_rounded(qrs[0], 4),
                qrs_end_s=_rounded(qrs[1], 4),
                t_end_s=_rounded(t[1], 4),
            )
        )
    return tuple(beats)


def _rounded(value: float, places: int) -> float | None:
    return round(float(value), places) if math.isfinite(value) else None


def _mv(value: float) -> float:
    return round(float(value), 4)
