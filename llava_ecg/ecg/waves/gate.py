"""Whether what was found are QRS complexes at all: noise, mains hum and ventricular fibrillation show some, too.

Two things set a heart apart from these. A QRS complex is steeper than what lies between two of them (on 2,000 real
recordings 2.9 times at least and 20 times in half of them; in random walks and sums of sines 2 times at most), and most
complexes look like another one.

Axes: L leads, T samples at `RATE`, N beats.
"""

from __future__ import annotations

import numpy as np

from llava_ecg.ecg.waves.rules import RATE

_SMOOTH, _STEP = (
    10,
    8,
)  # samples: slopes are taken over 16 ms of the mean over 20 ms, which hum and muscle noise hardly pass
_MARGIN = 10  # samples on either side of QRS that belong to neither part
_STEEPER = 3.0
_ALIKE = 0.7
_REACH = 45  # samples to either side of the steepest point that are compared: 90 ms
_FEW = 3  # of fewer beats one may be premature, and be like no other
_LONG_S = 60.0  # of a longer recording, so much around the beat in the middle is judged


def slopes(signal: np.ndarray) -> np.ndarray:
    """[L, T] the change of a smoothed signal over 16 ms, 0 where an end of the recording is too near.

    Args:
        signal: [L, T], T above 18.
    """
    total = np.cumsum(signal, axis=1)
    smooth = total[:, _SMOOTH:] - total[:, :-_SMOOTH]
    out = np.zeros_like(signal)
    first = (_SMOOTH + _STEP) // 2
    steps = smooth[:, _STEP:] - smooth[:, :-_STEP]
    out[:, first : first + steps.shape[1]] = steps / _SMOOTH
    return out


def steepness(slope: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[L, N] how much steeper each QRS complex is than what lies before and behind it: root mean squares of the slope.

    Args:
        slope: [L, T] of the live leads, see `slopes`.
        starts, ends: [N] samples.
    """
    last = slope.shape[1]
    energy = np.zeros((len(slope), last + 1))
    np.cumsum(slope**2, axis=1, out=energy[:, 1:])
    first, stop = (np.rint(each).astype(int).clip(0, last) for each in (starts, ends))
    left, right = (first - _MARGIN).clip(0), (stop + _MARGIN).clip(max=last)
    inside = (energy[:, stop] - energy[:, first]) / np.maximum(1, stop - first)
    begin, end = np.append(0, right), np.append(left, last)
    length = np.maximum(0, end - begin)  # of what lies before, between and after the beats
    between = np.where(length > 0, energy[:, np.maximum(begin, end)] - energy[:, begin], 0.0)
    outside = (between[:, :-1] + between[:, 1:]) / np.maximum(1, length[:-1] + length[1:])
    return np.asarray(np.sqrt(inside / np.maximum(outside, 1e-12)))


def likeness(slope: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> float:
    """How well a beat's slopes, in all leads, correlate with those of the beat that is most like it; the median over
    the beats, 1 with fewer than two whole ones."""
    size = (slope**2).sum(axis=0)
    pairs = [(max(0, round(a)), round(b) + 1) for a, b in zip(starts, ends, strict=True)]
    at = np.array([first + int(size[first:last].argmax()) for first, last in pairs if first < min(last, len(size))])
    at = at[(at >= 2 * _REACH) & (at + 2 * _REACH < slope.shape[1])]
    if len(at) < 2:
        return 1.0
    shapes = slope[:, at[:, None] + np.arange(-_REACH, _REACH)].transpose(1, 0, 2)
    shapes = _aligned(slope, at, shapes)
    flat = shapes.reshape(len(at), -1)
    flat = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12)
    alike = np.einsum("ik,jk->ij", flat, flat)
    np.fill_diagonal(alike, -1.0)
    return float(np.median(alike.max(axis=1)))


def _aligned(slope: np.ndarray, at: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """[N, L, W] moved by up to 24 ms to where each fits the median shape best."""
    model = np.median(shapes, axis=0)
    best, out = np.full(len(at), -np.inf), shapes
    for shift in range(-12, 13, 2):
        moved = slope[:, at[:, None] + shift + np.arange(-_REACH, _REACH)].transpose(1, 0, 2)
        fit = np.einsum("nlw,lw->n", moved, model) / (np.sqrt((moved**2).sum(axis=(1, 2))) + 1e-12)
        better = fit > best
        best = np.where(better, fit, best)
        out = np.where(better[:, None, None], moved, out)
    return out


def are_beats(signal: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> bool:
    """Whether they are QRS complexes.

    Args:
        signal: float [L, T] in mV at `RATE` of the live leads, high-passed.
        starts, ends: [N] samples at `RATE`; one or more.
    """
    if signal.shape[1] < RATE / 2:
        return False
    if signal.shape[1] > _LONG_S * RATE:
        first = int(np.clip(starts[len(starts) // 2] - _LONG_S * RATE / 2, 0, signal.shape[1] - _LONG_S * RATE))
        signal, starts, ends = signal[:, first : first + round(_LONG_S * RATE)], starts - first, ends - first
        inside = (starts >= 0) & (ends < signal.shape[1])
        starts, ends = starts[inside], ends[inside]
    if not len(starts):
        return False
    slope = slopes(signal)
    steep = steepness(slope, starts, ends)
    if np.median(steep.max(axis=0)) < _STEEPER:
        return False
    if len(starts) < _FEW:
        return True
    own = np.quantile(steep, 0.9, axis=1)  # a lead of noise, or one that was recorded in part, is not compared
    return likeness(slope[own >= 0.5 * own.max()], starts, ends) > _ALIKE
