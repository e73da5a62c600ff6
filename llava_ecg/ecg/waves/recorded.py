"""Where a lead was recorded, and where the file holds something else: gaps, padding, calibration pulses, bursts.

What lies there is no heart standing still: no wave is looked for in it, and no RR interval leads across it.

Axes: L leads, T samples.
"""

from __future__ import annotations

import numpy as np

EDGE_S, INSIDE_S = (
    1.0,
    2.5,
)  # of one and the same value: padding at either end; a lead that was off in between (a pause carries noise)
BURST_MV, BURST_RATIO = (
    8.0,
    12.0,
)  # off the base line, and against the 90th percentile: no QRS complex of LUDB or CinC 2021 goes so far
BURST_MARGIN_S, BURST_JOIN_S = 0.06, 0.25
BURSTS_IN_10_S = 3  # more of them are pacing spikes, or a lead that is noise throughout
PULSE_MV, PULSE_SPREAD_MV, PULSE_SLOPE_MV = (0.85, 1.15), 0.12, 0.05
PULSE_S, PULSE_FEW_S = (
    0.08,
    0.15,
)  # how long all leads stand at 1 mV together; fewer than three leads have to for longer
PULSE_WITHIN_S, PULSE_MARGIN_S = 1.5, 0.03  # carts write the pulse at the start or the end of a strip


def runs(there: np.ndarray) -> list[tuple[int, int]]:
    """First and last-plus-one sample of each run of True in bool [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def longest(there: np.ndarray) -> int:
    """The length of the longest run of True."""
    return max((last - first for first, last in runs(there)), default=0)


def recorded_samples(signal: np.ndarray, rate: float) -> np.ndarray:
    """bool [L, T]: False for NaN and for padding, the same value for `EDGE_S` at an end or for `INSIDE_S` within.

    Args:
        signal: [L, T] as filed.
    """
    there = np.isfinite(signal)
    for row, mask in zip(signal, there, strict=True):
        samples = np.flatnonzero(mask)
        if len(samples) < 2:
            continue
        begin, stop = int(samples[0]), int(samples[-1])
        for first, last in runs(np.diff(row) == 0):
            at_edge = first <= begin or last >= stop
            if last + 1 - first >= (EDGE_S if at_edge else INSIDE_S) * rate:
                mask[first : last + 1] = False
    return there


def calibration_pulses(signal: np.ndarray, rate: float) -> np.ndarray:
    """bool [T]: a 1 mV pulse in all leads at once, at the start or the end.

    Args:
        signal: [L, T] in mV, the leads that were recorded (a derived one shows a difference of pulses), NaN in gaps.
    """
    out = np.zeros(signal.shape[1], dtype=bool)
    if not len(signal) or signal.shape[1] < rate:
        return out
    level = np.nan_to_num(
        np.nanmedian(np.where(np.isfinite(signal).any(axis=1, keepdims=True), signal, 0.0), axis=1, keepdims=True)
    )
    off = np.nan_to_num(signal - level)
    step = np.abs(np.gradient(off, axis=1)).max(axis=0) * rate / 500
    flat = (
        (off.min(axis=0) > PULSE_MV[0])
        & (off.max(axis=0) < PULSE_MV[1])
        & (np.ptp(off, axis=0) < PULSE_SPREAD_MV)
        & (step < PULSE_SLOPE_MV)
    )
    least, margin = (PULSE_S if len(signal) > 2 else PULSE_FEW_S) * rate, round(PULSE_MARGIN_S * rate)
    for first, last in runs(flat):
        near = first < PULSE_WITHIN_S * rate or last > signal.shape[1] - PULSE_WITHIN_S * rate
        if near and last - first >= least:
            out[max(0, first - margin) : last + margin] = True
    return out


def bursts(signal: np.ndarray, rate: float) -> np.ndarray:
    """bool [L, T]: the few short stretches in which a lead goes where no heart takes it.

    Args:
        signal: [L, T] in mV, high-passed, without NaN.
    """
    out: np.ndarray = np.zeros(signal.shape, dtype=bool)
    size: np.ndarray = np.abs(signal)
    limit: np.ndarray = np.maximum(BURST_MV, BURST_RATIO * np.percentile(size, 90, axis=1))
    margin, join = round(BURST_MARGIN_S * rate), round(BURST_JOIN_S * rate)
    for row in np.flatnonzero(size.max(axis=1) > limit):
        stretches: list[list[int]] = []
        for first, last in runs(size[row] > limit[row]):
            if stretches and first - stretches[-1][1] < join:
                stretches[-1][1] = last
            else:
                stretches.append([first, last])
        if len(stretches) <= BURSTS_IN_10_S * max(1.0, signal.shape[1] / rate / 10):
            for first, last in stretches:
                out[row, max(0, first - margin) : last + margin] = True
    return out


def broken_intervals(r_s: np.ndarray, recorded: np.ndarray, rate: float) -> np.ndarray:
    """bool [N - 1]: the intervals between beats that lead across a stretch in which no lead was recorded.

    A stretch of 0.3 s can hide a beat; a shorter one is taken to have hidden one if the interval is half as long again
    as is usual.

    Args:
        r_s: [N] s.
        recorded: bool [L, T].
    """
    gone = np.asarray(~recorded.any(axis=0))
    rr = np.diff(r_s)
    out = np.zeros(len(rr), dtype=bool)
    if not gone.any():
        return out
    usual = float(np.median(rr)) if len(rr) else 0.0
    for at, (before, after) in enumerate(zip(r_s[:-1], r_s[1:], strict=True)):
        gap = longest(gone[round(before * rate) : round(after * rate)]) / rate
        out[at] = gap >= 0.3 or (gap > 0 and rr[at] > 1.5 * usual)
    return out
