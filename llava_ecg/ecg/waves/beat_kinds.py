"""What kind each beat is: of the usual shape, premature, paced, or not whole in the recording.

Axes: L leads, T samples at `RATE`, N beats.
"""

from __future__ import annotations

import numpy as np

from llava_ecg.ecg.waves.rules import RATE

_SAME_SHAPE = 0.8  # correlation above which two QRS complexes are of one kind
_EARLY, _STEADY = 0.85, 0.08  # share of the usual RR that is premature; SD of the rest, as a share, that is steady
_SPIKE_MV, _SPIKE_RATIO, _SPIKED_BEATS = 0.14, 1.2, 0.3
_INTO_QRS = 20  # samples: 40 ms; a step draws the onset that the leads see before it
# a jump comes out of the calm; the narrow QRS of a simulated heart is as sharp, out of a Q wave 3 times less sharp
_SPIKE_CALM = 2.5
# a jump bends no more over 12 ms than over 6 ms (at most 1.2 times, in LUDB and at 250 Hz too); the narrow QRS of a
# simulated heart bends twice as much
_SPIKE_WIDENS = 1.6


def beat_kinds(
    signal: np.ndarray, live: np.ndarray, r: np.ndarray, qrs: np.ndarray, p_shown: np.ndarray, spiked: np.ndarray
) -> tuple[str, ...]:
    """What each beat is; see `llava_ecg.ecg.waves.delineation.KINDS`.

    A beat of another shape than the commonest (correlation of all leads over 180 ms) is ventricular if it is wider by
    20 ms and 110 ms or more. One that comes early (after less than 0.85 of the usual RR) in an otherwise steady rhythm
    is supraventricular.
    """
    count, reach = len(r), round(0.09 * RATE)
    at = np.rint(r * RATE).astype(int)
    whole = (qrs[:, 0] > 0.02) & (qrs[:, 1] < signal.shape[1] / RATE - 0.02)
    usual = _usual_shape(signal[live], at, whole, reach)
    width = (qrs[:, 1] - qrs[:, 0]) * 1000
    common = float(np.median(width[usual])) if usual.any() else float(np.median(width))
    early = _early(r, usual)
    kinds = np.full(count, "dominant", dtype=object)
    kinds[early & whole] = "supraventricular"
    wide = ~usual & (width > common + 20) & (width >= 110)
    kinds[wide & (early | ~p_shown)] = "ventricular"
    kinds[spiked] = "paced"
    kinds[~whole] = "partial"
    return tuple(str(kind) for kind in kinds)


def pacing_spikes(signal: np.ndarray, qrs: np.ndarray) -> np.ndarray:
    """[N] s: the pacing spike before QRS or in its first 40 ms, a jump out of the calm that is sharper than all of QRS;
    NaN without.

    In LUDB the five paced records have spikes and no other has; the thresholds were set on these.
    """
    sharp = _bend(signal, 1)
    height, ratio, calm, at = np.zeros(len(qrs)), np.zeros(len(qrs)), np.zeros(len(qrs)), np.full(len(qrs), np.nan)
    for beat, (onset, end) in enumerate(np.rint(qrs * RATE).astype(int)):
        first = max(0, onset - 40)
        before = sharp[first : onset + _INTO_QRS]
        peak = int(before.argmax()) if len(before) else 0
        inside = sharp[first + peak + 4 : end]  # a jump is sharp for two samples, or three
        if 4 < peak < len(before) - 1 and len(inside):
            height[beat], at[beat] = before[peak], (first + peak) / RATE
            ratio[beat] = height[beat] / max(float(inside.max()), 1e-6)
            calm[beat] = height[beat] / max(float(before[: peak - 3].max()), 1e-6)
    sure = (height > _SPIKE_MV) & (ratio > _SPIKE_RATIO) & (calm > _SPIKE_CALM)
    if not sure.any() or sure.mean() < _SPIKED_BEATS or _widens(signal, at[sure]) > _SPIKE_WIDENS:
        return np.full(len(qrs), np.nan)
    return np.where(sure | ((height > 0.7 * np.median(height[sure])) & (ratio > 1)), at, np.nan)


def _bend(signal: np.ndarray, reach: int) -> np.ndarray:
    """[T] mV: how far each sample stands out of the line through those `reach` before and after it, over all leads."""
    out = np.zeros(signal.shape[1])
    middle, before, after = signal[:, reach:-reach], signal[:, : -2 * reach], signal[:, 2 * reach :]
    out[reach:-reach] = np.sqrt(np.mean((2 * middle - before - after) ** 2, axis=0))
    return out


def _widens(signal: np.ndarray, spikes: np.ndarray) -> float:
    """How much further the signal bends at these times (s) over 12 ms than over 6 ms: the median."""
    around = np.rint(spikes * RATE).astype(int)[:, None] + np.arange(-1, 2)
    near, far = (_bend(signal, reach)[around.clip(0, signal.shape[1] - 1)].max(axis=1) for reach in (3, 6))
    return float(np.median(far / np.maximum(near, 1e-6)))


def _usual_shape(signal: np.ndarray, at: np.ndarray, whole: np.ndarray, reach: int) -> np.ndarray:
    """bool [N]: the beats that look like the largest group: correlation above 0.8 with its centre, over all leads."""
    inside = np.flatnonzero(whole & (at >= reach) & (at + reach < signal.shape[1]))
    usual = np.zeros(len(at), dtype=bool)
    if len(inside) < 2:
        usual[inside] = True
        return usual
    windows = signal[:, at[inside][:, None] + np.arange(-reach, reach, 2)].transpose(1, 0, 2)
    shapes = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(inside), -1)
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True) + 1e-12
    few = shapes[:: max(1, len(shapes) // 200)]  # of a long recording some stand for all
    alike = few @ few.T
    centre = few[int(np.argmax((alike > _SAME_SHAPE).sum(axis=1) + alike.mean(axis=1)))]
    group = shapes[shapes @ centre > _SAME_SHAPE].mean(axis=0)
    usual[inside] = shapes @ group / (np.linalg.norm(group) + 1e-12) > _SAME_SHAPE
    return usual


def _early(r: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """bool [N]: beats that come before 0.85 of the running median RR, in a rhythm that is otherwise steady."""
    early = np.zeros(len(r), dtype=bool)
    if len(r) < 4:
        return early
    rr = np.diff(r)
    padded = np.pad(rr, 4, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=1)
    short = rr < _EARLY * middle
    rest = rr[~short & ~np.append(False, short[:-1])] / middle[~short & ~np.append(False, short[:-1])]
    if len(rest) < 2 or short.mean() > 0.5 or np.std(rest) > _STEADY:
        return early & usual
    early[1:] = short
    return early
