"""`measure`: a recording -> `Measurements`. What can't be measured is None, with the reason; nothing is invented.

Definitions: PR from P onset to QRS onset; QTc by Bazett QT / sqrt(RR) and Fridericia QT / cbrt(RR), RR in s; axis from the net QRS
areas, aVF x 2/sqrt(3) over I; ST at J + 60 ms and all amplitudes against the level of the last 16 ms before QRS.

Axes: L leads, T samples, W samples of the representative beat.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from llava_ecg.ecg import delineate as waves
from llava_ecg.ecg.delineate import Delineation, delineate
from llava_ecg.ecg.measurements import LeadMeasurements, Measurements
from llava_ecg.ecg.quality import quality
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

SHORTEST_S = 2.5
LONGEST_S = 30.0
REGULAR_CV = 0.08  # of RR without the intervals around beats of another shape: sinus rhythm lies below 0.05, atrial fibrillation above 0.1
_WAVE_MV, _WAVE_SAMPLES = 0.03, 3  # a Q, R or S wave is at least 30 uV for 6 ms


def measure(recording: Recording) -> Measurements:
    """Rate, rhythm, intervals, axis, amplitudes and ST.

    Args:
        recording: any rate and any leads; of more than 30 s, beats are found everywhere and waves measured in the first 30 s.

    Raises:
        InputError: shorter than 2.5 s.
    """
    if recording.duration < SHORTEST_S:
        raise InputError(
            f"{recording.source or 'the recording'} is {recording.duration:.2f} s long and can't be measured; "
            f"at least {SHORTEST_S:g} s are needed"
        )
    whole = recording.with_derived()
    signal = _prepared(whole)
    step, least = int(LONGEST_S * waves.RATE), int(SHORTEST_S * waves.RATE)
    edges = [*range(0, max(1, signal.shape[1] - least), step), signal.shape[1]]  # a short tail belongs to the part before it
    found, *rest = [delineate(signal[:, start:end]) for start, end in itertools.pairwise(edges)]
    beats = np.concatenate([part.beats + start for part, start in zip([found, *rest], edges[:-1], strict=True)])
    values: dict[str, Any] = {"beats_s": tuple(round(float(beat) / waves.RATE, 3) for beat in beats)}
    reasons: dict[str, str] = {}
    rr_ms = _rhythm(beats, found, values, reasons)
    _intervals(found, rr_ms, values, reasons)
    _axis(found, whole.leads, values, reasons)
    states = {
        note.lead: note.kind
        for note in reversed(quality(whole))
        if note.kind in ("empty", "nan", "flat", "partly flat", "clipped", "noisy")
    }
    return Measurements(
        **values,
        leads={name: _lead(found, row, states.get(name, "ok")) for row, name in enumerate(whole.leads)},
        reasons=reasons,
        source={"delineator": waves.VERSION, "qrs_detector": "sleepecg", "filter": "0.5 Hz high-pass, zero phase"},
    )


def _prepared(recording: Recording) -> np.ndarray:
    """float64 [L, T] at the delineator's rate, gaps bridged, baseline removed."""
    from llava_ecg.ecg.filters import bridge, highpass

    finite = np.where(np.isfinite(recording.signal), recording.signal, np.nan).astype(np.float32)
    steady = Recording(bridge(finite).astype(np.float32), recording.rate, recording.leads).resample(waves.RATE)
    return np.asarray(highpass(steady.signal, waves.RATE), dtype=np.float64)


def _rhythm(beats: np.ndarray, found: Delineation, values: dict[str, Any], reasons: dict[str, str]) -> float | None:
    """Rate and regularity; returns the mean RR in ms."""
    names = ("heart_rate_bpm", "rr_ms", "rr_cv", "rhythm_regular")
    if len(beats) < 2:
        reasons.update(dict.fromkeys(names, "no QRS complexes were found" if len(beats) == 0 else "only one QRS complex was found"))
        return None
    rr = np.diff(beats) * 1000 / waves.RATE
    mean = float(rr.mean())
    values["heart_rate_bpm"], values["rr_ms"] = round(60000 / mean, 1), round(mean, 1)
    values["rr_cv"] = round(float(rr.std() / mean), 4)
    if len(rr) < 3:
        reasons["rhythm_regular"] = "fewer than four beats"
        return mean
    values["rhythm_regular"] = bool(_steady(rr))
    return mean


def _steady(rr: np.ndarray) -> bool:
    """Whether the RR intervals vary little, a slow drift taken out: successive ones are compared with the running median of five."""
    middle = np.array([np.median(rr[max(0, at - 2) : at + 3]) for at in range(len(rr))])
    return bool(np.sqrt(np.mean(((rr - middle) / middle) ** 2)) < REGULAR_CV and rr.std() / rr.mean() < 2 * REGULAR_CV)


def _intervals(found: Delineation, rr_ms: float | None, values: dict[str, Any], reasons: dict[str, str]) -> None:
    """P, PR, QRS, QT and QTc in ms."""
    step = 1000 / waves.RATE
    values["p_present"] = found.p_present
    if found.qrs is None:
        why = "no QRS complexes were found" if len(found.beats) == 0 else "no whole beat lies in the recording"
        reasons.update(dict.fromkeys(("p_present", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms"), why))
        return
    values["qrs_ms"] = (found.qrs[1] - found.qrs[0]) * step
    if found.p is not None:
        values["p_ms"], values["pr_ms"] = (found.p[1] - found.p[0]) * step, (found.qrs[0] - found.p[0]) * step
    else:
        reasons["p_ms"] = reasons["pr_ms"] = found.reasons["p"]
        if found.p_present is None:
            reasons["p_present"] = found.reasons["p"]
    if found.t is None:
        reasons.update(dict.fromkeys(("qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms"), found.reasons["t"]))
        return
    qt = (found.t[1] - found.qrs[0]) * step
    values["qt_ms"] = qt
    if rr_ms is None:
        reasons["qtc_bazett_ms"] = reasons["qtc_fridericia_ms"] = reasons["rr_ms"]
        return
    values["qtc_bazett_ms"] = round(qt / math.sqrt(rr_ms / 1000), 1)
    values["qtc_fridericia_ms"] = round(qt / math.cbrt(rr_ms / 1000), 1)


def _axis(found: Delineation, leads: tuple[str, ...], values: dict[str, Any], reasons: dict[str, str]) -> None:
    """Frontal QRS axis, degrees."""
    rows = [leads.index(name) if name in leads else None for name in ("I", "aVF")]
    if found.qrs is None:
        reasons["axis_deg"] = "no QRS complexes were found"
    elif None in rows or not all(found.live[row] for row in rows):
        reasons["axis_deg"] = "leads I and aVF are needed"
    else:
        part = found.beat[:, found.qrs[0] : found.qrs[1] + 1]
        area_i, area_f = (float((part[row] - part[row, 0]).sum()) for row in rows)
        if math.hypot(area_i, area_f) / waves.RATE < 0.002:  # mV s: the vector lies across the frontal plane
            reasons["axis_deg"] = "the net QRS area is too small: the axis is indeterminate"
        else:
            values["axis_deg"] = round(math.degrees(math.atan2(area_f * 2 / math.sqrt(3), area_i)), 1)


def _lead(found: Delineation, row: int, state: str) -> LeadMeasurements:
    """Amplitudes of one lead on the representative beat."""
    if found.qrs is None or not found.live[row]:
        return LeadMeasurements(quality=state if state != "ok" or found.qrs is None else "flat")
    onset, offset = found.qrs
    trace = found.beat[row] - found.beat[row, max(0, onset - 8) : onset].mean()
    q, r, s = _qrs_waves(trace[onset : offset + 1])
    at = offset + round(0.06 * waves.RATE)
    return LeadMeasurements(
        p_mv=None if found.p is None else _extreme(trace[found.p[0] : found.p[1] + 1]),
        q_mv=q,
        r_mv=r,
        s_mv=s,
        t_mv=None if found.t_peak is None or found.t is None else _extreme(trace[found.t_peak - 15 : found.t_peak + 16]),
        st_mv=None if at + 1 >= len(trace) else _mv(trace[at - 1 : at + 2].mean()),
        quality=state,
    )


def _qrs_waves(part: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Q (negative, before R), R (largest positive), S (negative, after R); None where there is no such wave; without R all is Q."""
    positive = part if (part > _WAVE_MV).sum() >= _WAVE_SAMPLES else np.zeros(1)
    if not positive.max() > _WAVE_MV:
        return (_mv(part.min()) if (part < -_WAVE_MV).sum() >= _WAVE_SAMPLES else None), None, None
    peak = int(np.argmax(part))

    def negative(side: np.ndarray) -> float | None:
        return _mv(side.min()) if (side < -_WAVE_MV).sum() >= _WAVE_SAMPLES else None

    return negative(part[:peak]), _mv(part[peak]), negative(part[peak + 1 :])


def _extreme(part: np.ndarray) -> float | None:
    """The value farthest from zero, mV."""
    return _mv(part[int(np.argmax(np.abs(part)))]) if len(part) else None


def _mv(value: float) -> float:
    return round(float(value), 4)
