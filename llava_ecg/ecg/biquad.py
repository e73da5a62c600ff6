"""Second-order filters and polyphase resampling in numpy: what `llava_ecg.ecg.filters` and the rules need of
scipy.signal, whose import takes half a second. Tests hold each equal to scipy's.

Axes: R rows, T samples, M samples of a block, K taps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

# samples of a block: few enough for small matrices, enough for a short loop; and blocks of one matrix product: few
# enough for OpenBLAS to start no threads (see `llava_ecg.ecg.waves.net`)
_BLOCK, _TOGETHER = 64, 16


class Biquad(NamedTuple):
    """A second-order section; the denominator is 1, a1, a2."""

    b0: float
    b1: float
    b2: float
    a1: float
    a2: float


def butterworth(kind: str, cutoff: float, rate: float) -> Biquad:
    """The second-order Butterworth filter by the bilinear transform (scipy's ``butter(2, cutoff, kind, fs=rate)``).

    Args:
        kind: ``"low"`` or ``"high"``.
        cutoff: Hz, -3 dB, between 0 and half the rate.
        rate: Hz.
    """
    warped = math.tan(math.pi * cutoff / rate)
    scale = 1 / (1 + math.sqrt(2) * warped + warped**2)
    a1, a2 = 2 * (warped**2 - 1) * scale, (1 - math.sqrt(2) * warped + warped**2) * scale
    if kind == "high":
        return Biquad(scale, -2 * scale, scale, a1, a2)
    return Biquad(warped**2 * scale, 2 * warped**2 * scale, warped**2 * scale, a1, a2)


def notch(frequency: float, quality: float, rate: float) -> Biquad:
    """A notch of width ``frequency / quality`` Hz (scipy's ``iirnotch``)."""
    angle = 2 * math.pi * frequency / rate
    gain = 1 / (1 + math.tan(angle / quality / 2))
    cosine = -2 * math.cos(angle) * gain
    return Biquad(gain, cosine, gain, cosine, 2 * gain - 1)


def both_ways(section: Biquad, signal: np.ndarray, padding: int) -> np.ndarray:
    """The signal filtered forth and back, zero phase (scipy's ``sosfiltfilt`` with odd padding).

    Args:
        signal: float64 [..., T], finite, T of 1 or more.
        padding: samples that each end is continued by, point-symmetric about its last sample; below T.

    Returns:
        float64 [..., T].
    """
    rows = np.asarray(signal, dtype=np.float64).reshape(-1, signal.shape[-1])
    first, last = rows[:, :1], rows[:, -1:]
    before, after = rows[:, padding:0:-1], rows[:, -2 : -2 - padding : -1]
    out = np.concatenate([2 * first - before, rows, 2 * last - after], axis=1)
    for _ in range(2):
        out = _filtered(section, out)[:, ::-1]
    return out[:, padding : padding + rows.shape[1]].reshape(signal.shape)


def _filtered(section: Biquad, rows: np.ndarray) -> np.ndarray:
    """[R, T] filtered from the state in which a signal that always had its first value would have left the filter.

    The recursion runs over blocks: within one, the output is a matrix times the input plus a matrix times the state
    (two numbers a row) at its start; only the states are found one after the other.
    """
    b0, b1, b2, a1, a2 = section
    step = np.array([[-a1, 1.0], [-a2, 0.0]])  # state -> next state, direct form II transposed
    enter = np.array([b1 - a1 * b0, b2 - a2 * b0])  # input -> next state
    powers = np.empty((_BLOCK + 1, 2, 2))
    powers[0] = np.eye(2)
    for at in range(_BLOCK):
        powers[at + 1] = step @ powers[at]
    reached = powers[:_BLOCK] @ enter  # [M, 2] the state so many samples after an impulse
    response = np.concatenate([[b0], reached[:-1, 0]])
    lag = np.arange(_BLOCK) - np.arange(_BLOCK)[:, None]  # output minus input
    inside = np.where(lag >= 0, response[lag.clip(0)], 0.0)
    count, samples = rows.shape
    blocks = -(-samples // (_BLOCK * _TOGETHER)) * _TOGETHER
    padded = np.zeros((count, blocks * _BLOCK))
    padded[:, :samples] = rows
    parts = padded.reshape(-1, _TOGETHER, _BLOCK)
    driven = (parts @ reached[::-1]).reshape(count, blocks, 2)
    states = np.empty((blocks, count, 2))
    state = rows[:, :1] * np.linalg.solve(np.eye(2) - step, enter)
    turn = powers[_BLOCK].T
    for block in range(blocks):
        states[block] = state
        state = state @ turn + driven[:, block]
    start = states.transpose(1, 0, 2).reshape(-1, _TOGETHER, 2)
    out = parts @ inside + start @ powers[:_BLOCK, 0].T
    return out.reshape(count, -1)[:, :samples]


def lowpass_taps(half: int, cutoff: float, beta: float) -> np.ndarray:
    """float64 [2 half + 1]: a windowed sinc of gain 1 at 0 Hz (scipy's ``firwin`` with a Kaiser window).

    Args:
        half: taps to either side of the middle.
        cutoff: as a fraction of the Nyquist frequency.
        beta: of the window.
    """
    taps = np.sinc(cutoff * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, beta)
    return np.asarray(taps / taps.sum())


def polyphase(signal: np.ndarray, up: int, down: int, taps: np.ndarray) -> np.ndarray:
    """The signal with ``up`` samples in place of ``down``, zeros beyond its ends (scipy's ``resample_poly``).

    Args:
        signal: float64 [..., T].
        up, down: without a common factor.
        taps: [K] an odd number, symmetric, at ``up`` times the rate of the signal.

    Returns:
        float64 [..., ceil(T * up / down)].
    """
    rows = np.asarray(signal, dtype=np.float64).reshape(-1, signal.shape[-1])
    half, samples = len(taps) // 2, rows.shape[1]
    count = -(-samples * up // down)
    out = np.zeros((len(rows), count))
    width = -(-(2 * half + 1) // up)  # samples of the signal under the filter, at most
    edge = half // up + 1
    padded = np.pad(rows, ((0, 0), (edge, edge + width + down)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    for phase in range(min(up, count)):  # output samples that lie alike between those of the signal
        place = phase * down  # of the first of them, in steps of 1 / up sample
        first = -((half - place) // up)  # the first sample under the filter: ceil((place - half) / up)
        at = half + place - (first + np.arange(width)) * up  # the tap over each
        own = np.where(at >= 0, up * taps[at.clip(0)], 0.0)
        number = len(range(phase, count, up))
        part = windows[:, first + edge :: down][:, :number]
        out[:, phase::up] = np.einsum("rik,k->ri", part, own)
    return out.reshape(*signal.shape[:-1], count)
