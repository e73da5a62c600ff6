"""Resampling and filtering that know about gaps: a NaN spreads to no sample that was recorded.

Axes: L leads, T samples. Every function takes [..., T] and filters along the last axis; the result is float32 like a
`Recording`'s signal.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from llava_ecg.ecg import biquad
from llava_ecg.errors import InputError

_LARGEST_FACTOR = 10_000  # of the rational resampling ratio; 257 -> 500 Hz is 500/257, 499.7 -> 500 Hz is 5000/4997
_HALF_TAPS, _KAISER_BETA = (
    16,
    7.0,
)  # 70 dB down, flat to 0.86 of the lower Nyquist frequency: some 0.3 uV of ripple on 1 mV


def bridge(signal: np.ndarray) -> np.ndarray:
    """The signal with its NaNs replaced by straight lines between their neighbours, the ends held level.

    Args:
        signal: real [..., T], NaN where nothing was recorded.

    Returns:
        float64 [..., T], all finite; zeros for a lead without one recorded sample.
    """
    filled = np.array(signal, dtype=np.float64, order="C")
    if not filled.size:
        return filled
    for row in filled.reshape(-1, filled.shape[-1]):  # views, for `filled` is contiguous
        there = np.isfinite(row)
        if not there.any():
            row[:] = 0.0
        elif not there.all():
            row[~there] = np.interp(np.flatnonzero(~there), np.flatnonzero(there), row[there])
    return filled


def resample(signal: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """The signal at another rate: polyphase, zero-phase, anti-aliased by a Kaiser window of 16 zero crossings to either
    side.

    Gaps are bridged before and put back after, so each lasts as long as it did to the nearest sample.

    Args:
        signal: real [..., T] at ``rate`` Hz.
        rate, new_rate: Hz; their ratio is rounded to a fraction of whole numbers up to 10,000 where it is none.

    Returns:
        float32 [..., round(T * new_rate / rate)].

    Raises:
        InputError: a rate that is not positive.
    """
    if not (rate > 0 and new_rate > 0):
        raise InputError(f"can't resample from {rate:g} to {new_rate:g} Hz; both rates must be above 0")
    length = round(signal.shape[-1] * new_rate / rate)
    if rate == new_rate or not signal.size:
        return np.asarray(signal, dtype=np.float32)[..., :length]
    ratio = Fraction(new_rate / rate).limit_denominator(_LARGEST_FACTOR)
    if not ratio:
        raise InputError(f"can't resample from {rate:g} to {new_rate:g} Hz: more than {_LARGEST_FACTOR} to 1")
    filled = bridge(signal)
    # the line from the first to the last sample is taken out and put back: a level passes exactly, and the ends don't
    # ring
    first, rise = filled[..., :1], (filled[..., -1:] - filled[..., :1]) / max(1, signal.shape[-1] - 1)
    factor = max(ratio.numerator, ratio.denominator)
    taps = biquad.lowpass_taps(_HALF_TAPS * factor, 1 / factor, _KAISER_BETA)
    rest = filled - first - rise * np.arange(signal.shape[-1])
    out = biquad.polyphase(rest, ratio.numerator, ratio.denominator, taps)[..., :length]
    short = length - out.shape[-1]  # an approximated ratio may fall a sample short
    out = np.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, short)])
    out += first + rise * (np.arange(length) * (rate / new_rate))
    nearest = np.minimum(np.rint(np.arange(length) * (rate / new_rate)).astype(int), signal.shape[-1] - 1)
    return _with_gaps(out, np.isfinite(signal)[..., nearest])


def highpass(signal: np.ndarray, rate: float, cutoff: float = 0.5) -> np.ndarray:
    """The signal without what is slower than ``cutoff``: Butterworth, 2nd order, run both ways (zero phase, -6 dB at
    the cutoff).

    Args:
        signal: real [..., T] at ``rate`` Hz.
        cutoff: Hz. 0.5 Hz run both ways takes the baseline off without bending ST, as a one-way filter would (AHA 2007
            allows 0.67 Hz).

    Returns:
        float32 [..., T], NaN where the signal is.

    Raises:
        InputError: a cutoff outside 0 to half the rate.
    """
    _check_frequency(cutoff, rate)
    return _both_ways(biquad.butterworth("high", cutoff, rate), signal, padding=round(1.5 * rate / cutoff))


def notch(signal: np.ndarray, rate: float, frequency: float, quality: float = 30.0) -> np.ndarray:
    """The signal without the mains hum at ``frequency`` Hz (50 or 60): a notch of width frequency / quality, run both
    ways.

    Args:
        signal: real [..., T] at ``rate`` Hz.

    Returns:
        float32 [..., T], NaN where the signal is.

    Raises:
        InputError: a frequency outside 0 to half the rate.
    """
    _check_frequency(frequency, rate)
    return _both_ways(biquad.notch(frequency, quality, rate), signal, padding=round(quality / frequency * rate))


def _check_frequency(frequency: float, rate: float) -> None:
    if not 0 < frequency < rate / 2:
        raise InputError(f"a filter at {frequency:g} Hz is impossible for a signal of {rate:g} samples a second")


def _both_ways(section: biquad.Biquad, signal: np.ndarray, padding: int) -> np.ndarray:
    if not signal.size:
        return np.asarray(signal, dtype=np.float32)
    out = biquad.both_ways(section, bridge(signal), min(padding, signal.shape[-1] - 1))
    return _with_gaps(out, np.isfinite(signal))


def _with_gaps(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    return np.where(there, values, np.nan).astype(np.float32)
