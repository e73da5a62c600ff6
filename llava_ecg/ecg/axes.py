"""Frontal axes of P, QRS and T from the net areas of I and aVF, and how far they differ between beats.

Axes: L leads, T samples at `RATE`, N beats.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from llava_ecg.ecg import amplitudes
from llava_ecg.ecg.amplitudes import MedianBeat
from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.ecg.waves.rules import RATE

_SPANS = {"p_axis_deg": (0, 1), "axis_deg": (2, 3), "t_axis_deg": (3, 4)}  # of `amplitudes.Bounds`
_MOST = 400  # beats, as of the median beat


def axes(
    signal: np.ndarray,
    found: Delineation,
    beat: MedianBeat | None,
    values: dict[str, Any],
    reasons: dict[str, str],
    spread: dict[str, float],
) -> None:
    """The three axes of the median beat in degrees, and their SD over the dominant beats; or why there is none.

    Args:
        signal: [L, T] in mV at `RATE`.
    """
    rows = [found.leads.index(name) if name in found.leads else None for name in ("I", "aVF")]
    for name, span in _SPANS.items():
        if beat is None:
            reasons[name] = "no QRS complexes were found"
            continue
        onset, end = (beat.bounds[at] for at in span)
        if not (math.isfinite(onset) and math.isfinite(end)):
            reasons[name] = reasons.get("pr_ms" if name == "p_axis_deg" else "qt_ms", "the wave was not found")
            continue
        area = amplitudes.areas(beat, onset, end)
        if None in rows or not all(math.isfinite(area[row]) for row in rows if row is not None):
            reasons[name] = "leads I and aVF are needed"
            continue
        both = [row for row in rows if row is not None]
        first, foot = (float(area[row]) for row in both)
        angle = _angle(first, foot, _least(name))
        if angle is None:
            reasons[name] = "the net area is too small: the axis is indeterminate"
            continue
        values[name] = round(angle, 1)
        varies = _varies(signal[both], found, name, angle)
        if varies is not None:
            spread[name] = round(varies, 1)


def _least(name: str) -> float:
    """mV ms: below, the vector lies across the frontal plane."""
    return 2.0 if name == "axis_deg" else 0.5


def _angle(first: float, foot: float, least: float) -> float | None:
    """Degrees of the net areas of I and aVF in mV ms; None where they are too small."""
    if math.hypot(first, foot) < least:
        return None
    return math.degrees(math.atan2(foot * 2 / math.sqrt(3), first))


def _varies(signal: np.ndarray, found: Delineation, name: str, angle: float) -> float | None:
    """SD in degrees of the axes of single dominant beats; None with fewer than two that have one.

    Args:
        signal: [2, T] I and aVF in mV.
        angle: that of the median beat, from which differences are taken the short way round.
    """
    bounds = {
        "p_axis_deg": found.p_all,
        "axis_deg": found.qrs_all,
        "t_axis_deg": np.stack([found.qrs_all[:, 1], found.t_all[:, 1]], axis=1),
    }[name]
    there = found.dominant & np.isfinite(bounds).all(axis=1) & np.isfinite(found.qrs_all[:, 0])
    at = np.rint(np.column_stack([found.qrs_all[there, 0], bounds[there]]) * RATE).astype(int)[:_MOST]
    start, first, last = at.T
    inside = (start >= 8) & (first >= 0) & (last < signal.shape[1])
    start, first, last = start[inside], first[inside], last[inside]
    gaps = np.append(0, np.cumsum(~np.isfinite(signal).all(axis=0)))
    whole = gaps[np.maximum(start, last) + 1] == gaps[np.minimum(start - 8, first)]
    start, first, last = start[whole], first[whole], last[whole]
    total = np.zeros((2, signal.shape[1] + 1))
    np.cumsum(np.nan_to_num(signal), axis=1, out=total[:, 1:])
    level = (total[:, start] - total[:, start - 8]) / 8
    area = (total[:, last + 1] - total[:, first] - level * (last + 1 - first)) * 1000 / RATE
    large = np.hypot(*area) >= _least(name)
    off = (np.degrees(np.arctan2(area[1] * 2 / math.sqrt(3), area[0]))[large] - angle + 180) % 360 - 180
    return float(np.std(off)) if len(off) > 1 else None
