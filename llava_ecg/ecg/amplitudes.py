"""Amplitudes, shapes and ST levels of one beat or of the median beat, lead by lead.

All levels are against the mean of the last 16 ms before QRS. A Q, R or S wave is at least 30 uV for 6 ms, R' and S'
follow the S and R that part them. The J point is the end of QRS over all leads.

Axes: L leads, N beats, W samples of a window at `RATE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.ecg.waves.rules import RATE

BEFORE_S, AFTER_S = 0.45, 0.75  # of the median beat, around R
WAVE_MV, WAVE_SAMPLES = 0.03, 3
T_MV, P_MV = 0.05, 0.02  # a flatter T, a flatter P has no direction
BIPHASIC = 0.25  # share of the larger phase that the smaller one must reach


class Bounds(NamedTuple):
    """Onsets and ends over all leads in s from R, medians over the dominant beats; NaN where there is no such wave."""

    p_onset: float
    p_end: float
    qrs_onset: float
    qrs_end: float
    t_end: float


class Wave(NamedTuple):
    """One deflection: amplitude in mV, duration in ms, first and last sample from QRS onset."""

    mv: float
    ms: float
    first: int
    last: int


class QrsWaves(NamedTuple):
    """The waves of one QRS complex, None where there is no such wave, and its pattern in letters."""

    q: Wave | None
    r: Wave | None
    s: Wave | None
    r2: Wave | None
    s2: Wave | None
    pattern: str


@dataclass(frozen=True, eq=False)
class MedianBeat:
    """The median of the dominant beats, aligned at R.

    Attributes:
        trace: float64 [L, W] in mV, NaN for a dead lead; zero is the level before QRS.
        r: the sample of R.
        bounds: `Bounds`.
    """

    trace: np.ndarray
    r: int
    bounds: Bounds

    def at(self, seconds: float) -> int:
        """The sample `seconds` after R."""
        return self.r + round(seconds * RATE)


def bounds_of(found: Delineation) -> Bounds | None:
    """The bounds of the representative beat; None without a whole dominant beat."""
    usual = found.dominant
    if not usual.any():
        return None
    r = found.r_s[usual]

    def median(values: np.ndarray) -> float:
        rest = (values[usual] - r)[np.isfinite(values[usual])]
        return float(np.median(rest)) if len(rest) else float("nan")

    columns = [found.p_all[:, 0], found.p_all[:, 1], found.qrs_all[:, 0], found.qrs_all[:, 1], found.t_all[:, 1]]
    bounds = Bounds(*(median(column) for column in columns))
    return bounds if np.isfinite(bounds.qrs_onset) and np.isfinite(bounds.qrs_end) else None


def median_beat(signal: np.ndarray, found: Delineation) -> MedianBeat | None:
    """The representative beat.

    Args:
        signal: [L, T] in mV at `RATE`.
    """
    bounds = bounds_of(found)
    if bounds is None:
        return None
    before, after = round(BEFORE_S * RATE), round(AFTER_S * RATE)
    centres = np.rint(found.r_s[found.dominant] * RATE).astype(int)[
        :400
    ]  # of a long recording the first 400 stand for all
    padded = np.pad(signal.astype(np.float64), ((0, 0), (before, after)), constant_values=np.nan)
    windows = padded[:, centres[:, None] + np.arange(before + after)]  # [L, N, W]
    level_at = before + round(bounds.qrs_onset * RATE)
    windows = windows - windows[:, :, max(0, level_at - 8) : max(1, level_at)].mean(axis=2, keepdims=True)
    trace = _median(windows)
    trace[~found.live] = np.nan
    return MedianBeat(trace, before, bounds)


def _median(windows: np.ndarray) -> np.ndarray:
    """[L, W] over [L, N, W] without NaN; quick where no beat reaches over an end."""
    whole = np.isfinite(windows).all(axis=(0, 2))
    if whole.sum() >= max(1, 0.6 * len(whole)):
        return np.asarray(np.median(windows[:, whole], axis=1))
    out = np.full((windows.shape[0], windows.shape[2]), np.nan)
    for row, beats in zip(out, windows, strict=True):  # a lead may be missing where others are not
        there = np.isfinite(beats).any(axis=0)
        row[there] = np.nanmedian(beats[:, there], axis=0)
    return out


def qrs_waves(part: np.ndarray) -> QrsWaves:
    """The waves of one lead's QRS, [W] in mV against the level before it."""
    signs = np.where(part > WAVE_MV, 1, np.where(part < -WAVE_MV, -1, 0))
    waves: list[tuple[int, int, int]] = []  # sign, first, last
    edges = np.flatnonzero(np.diff(np.concatenate([[0], signs, [0]])))
    for first, stop in zip(edges[:-1], edges[1:], strict=True):
        sign = int(signs[first])
        if sign == 0 or stop - first < WAVE_SAMPLES:
            continue
        if waves and waves[-1][0] == sign:
            waves[-1] = (sign, waves[-1][1], stop - 1)  # a notch that does not cross over
        else:
            waves.append((sign, first, stop - 1))
    named: dict[str, Wave] = {}
    letters: list[tuple[str, float]] = []
    r_seen = 0
    for sign, first, last in waves:
        piece = part[first : last + 1]
        size = float(piece.max() if sign > 0 else piece.min())
        if sign > 0:
            name = ("r", "r2")[min(r_seen, 1)]
            r_seen += 1
        else:
            name = ("q", "s", "s2")[min(r_seen, 2)]
        if name not in named:
            named[name] = Wave(round(size, 4), round(float(last - first + 1) * 1000 / RATE, 1), int(first), int(last))
            letters.append(({"r": "r", "r2": "r'", "q": "q", "s": "s", "s2": "s'"}[name], abs(size)))
    largest = max((size for _, size in letters), default=0.0)
    pattern = "".join(letter.upper() if size >= largest / 2 else letter for letter, size in letters)
    pattern = "QS" if [letter for letter, _ in letters] == ["q"] else pattern
    return QrsWaves(named.get("q"), named.get("r"), named.get("s"), named.get("r2"), named.get("s2"), pattern)


def form(part: np.ndarray, least: float) -> tuple[float | None, str | None]:
    """(amplitude in mV, form) of a P or T wave: the sample farthest from zero, and ``upright``, ``inverted``,
    ``biphasic`` or ``flat``."""
    if not len(part) or not np.isfinite(part).all():
        return None, None
    high, low = max(float(part.max()), 0.0), min(float(part.min()), 0.0)
    amplitude = high if high >= -low else low
    if max(high, -low) < least:
        return round(amplitude, 4), "flat"
    if min(high, -low) >= max(least, BIPHASIC * max(high, -low)):
        return round(amplitude, 4), "biphasic"
    return round(amplitude, 4), "upright" if amplitude > 0 else "inverted"


def st_levels(beat: MedianBeat, after_ms: tuple[int, ...]) -> np.ndarray:
    """[L, len(after_ms)] the level at J + n ms, mean of 6 ms, mV; NaN beyond the T wave's end or the window."""
    out = np.full((len(beat.trace), len(after_ms)), np.nan)
    for column, ms in enumerate(after_ms):
        at = beat.at(beat.bounds.qrs_end + ms / 1000)
        if at + 2 <= beat.trace.shape[1]:
            out[:, column] = beat.trace[:, at - 1 : at + 2].mean(axis=1)
    return out


def areas(beat: MedianBeat, onset: float, end: float) -> np.ndarray:
    """[L] the net area between two times from R, mV ms, against the level at its onset... of QRS (zero)."""
    if not (np.isfinite(onset) and np.isfinite(end)):
        return np.full(len(beat.trace), np.nan)
    part = beat.trace[:, max(0, beat.at(onset)) : beat.at(end) + 1]
    return np.asarray(part.sum(axis=1) * 1000 / RATE)
