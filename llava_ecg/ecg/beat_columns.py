"""Each lead's values beat by beat: bounds, heights and intervals of its own waves.

Axes: L leads, T samples at `RATE`, N beats.
"""

from __future__ import annotations

import numpy as np

from llava_ecg.ecg import amplitudes
from llava_ecg.ecg.amplitudes import MedianBeat
from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.ecg.waves.rules import RATE


def beat_columns(
    signal: np.ndarray, found: Delineation, beat: MedianBeat | None
) -> list[dict[str, tuple[float | None, ...]]]:
    """Each lead's columns over the beats; see `LeadMeasurements`."""
    count = len(found.r_s)
    begins = found.qrs_all[:, 0]
    start = np.rint(np.nan_to_num(begins) * RATE).astype(int)
    last = signal.shape[1] - 1
    level = np.zeros((len(signal), 0))
    if count:  # unknown where it is unknown where QRS begins
        before = signal[:, np.clip(start[:, None] + np.arange(-8, 0), 0, last)].mean(axis=2)
        level = np.where(np.isfinite(begins), before, np.nan)
    arrays: dict[str, np.ndarray] = {}
    for name, waves in (("p", found.p), ("qrs", found.qrs), ("t", found.t)):
        for at, edge in enumerate(("onset", "peak", "end")):
            arrays[f"{name}_{edge}_s"] = waves[:, :, at].T
        peak = np.rint(np.nan_to_num(waves[:, :, 1].T) * RATE).astype(int).clip(0, last)
        there = np.isfinite(waves[:, :, 1].T)
        height = np.take_along_axis(signal, peak, axis=1) - level if count else level
        if name != "qrs":
            arrays[f"{name}_mv"] = np.where(there, height, np.nan)
    spans = {
        "p_ms": (("p", 0), ("p", 2)),
        "pr_ms": (("p", 0), ("qrs", 0)),
        "qrs_ms": (("qrs", 0), ("qrs", 2)),
        "t_ms": (("t", 0), ("t", 2)),
        "qt_ms": (("qrs", 0), ("t", 2)),
    }
    for name, (first, stop) in spans.items():
        of = {"p": found.p, "qrs": found.qrs, "t": found.t}
        arrays[name] = (of[stop[0]][:, :, stop[1]] - of[first[0]][:, :, first[1]]).T * 1000
    arrays |= _qrs_columns(signal, found, beat, level)
    places = {True: 4, False: 1}
    rounded = {name: np.round(array, places[name.endswith(("_s", "_mv"))]) for name, array in arrays.items()}
    return [
        {
            name: tuple(None if value != value else value for value in array[row].tolist())
            for name, array in rounded.items()
        }
        for row in range(len(found.leads))
    ]


def _qrs_columns(
    signal: np.ndarray, found: Delineation, beat: MedianBeat | None, level: np.ndarray
) -> dict[str, np.ndarray]:
    """[L, N] each: Q, R, S, R', S', the height of QRS, and ST at J and J + 60 ms, of single beats.

    The waves of a dominant beat are looked for where the median beat has them (10 ms more to either side); other beats
    have none.
    """
    names = ("q_mv", "r_mv", "s_mv", "r2_mv", "s2_mv", "qrs_mv", "st_j_mv", "st60_mv")
    out = {name: np.full((len(signal), len(found.r_s)), np.nan) for name in names}
    there = np.isfinite(found.qrs_all).all(axis=1)
    if not there.any():
        return out
    last = signal.shape[1] - 1
    onset, end = (np.rint(np.nan_to_num(found.qrs_all[:, at]) * RATE).astype(int) for at in (0, 1))
    steps = np.arange(int((end - onset)[there].max()) + 1)
    at = np.minimum(onset[:, None] + steps, end[:, None]).clip(0, last)
    out["qrs_mv"] = np.where(there, np.ptp(signal[:, at], axis=2), np.nan)
    for name, ms in (("st_j_mv", 0), ("st60_mv", 60)):
        after = end[:, None] + round(ms / 1000 * RATE) + np.arange(-1, 2)
        inside = there & (after[:, -1] <= last)
        out[name] = np.where(inside, signal[:, after.clip(0, last)].mean(axis=2) - level, np.nan)
    if beat is not None:
        usual = np.flatnonzero(found.dominant & there)
        start = np.rint((found.r_s[usual] + beat.bounds.qrs_onset) * RATE).astype(int)
        for row in np.flatnonzero(found.live).tolist():
            for name, wave in zip(amplitudes.QrsWaves._fields[:5], _waves(beat, row)[:5], strict=True):
                if wave is not None:
                    near = (start[:, None] + np.arange(wave.first - 5, wave.last + 6)).clip(0, last)
                    part = signal[row, near] - level[row, usual, None]
                    out[f"{name}_mv"][row, usual] = part.max(axis=1) if wave.mv > 0 else part.min(axis=1)
    for array in out.values():
        array[~found.live] = np.nan
    return out


def _waves(beat: MedianBeat, row: int) -> amplitudes.QrsWaves:
    """The waves of QRS of one lead of the median beat."""
    return amplitudes.qrs_waves(beat.trace[row, beat.at(beat.bounds.qrs_onset) : beat.at(beat.bounds.qrs_end) + 1])
