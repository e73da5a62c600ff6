"""Where the waves are: all beats, and the bounds of P, QRS and T on a representative beat that is pooled over the leads.

QRS complexes are found by sleepecg (BSD-3-Clause) in every lead and in the pooled signal, which then vote. The bounds are ours: the
beats of the commonest shape are aligned, their median is taken, and

- QRS begins and ends where the spatial velocity (over all leads) falls to a share of its peak,
- T ends where the tangent at its steepest descent meets the base line, on the leads' first principal component after QRS,
- P is the hump of the first principal component before QRS, and counts only if most single beats show it too.

The shares were set on the odd records of LUDB; ``scripts/bench/measure_ludb.py --part even`` is the test. A later version replaces
this file by a learned segmenter behind the same function.

Axes: L leads, T samples (at `RATE`), N beats, W samples of the representative beat.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

RATE = 500.0
VERSION = "median-beat-1"

_BEFORE, _AFTER = 200, 350  # samples of the representative beat before and after R: 0.4 and 0.7 s
_LIVE_MV = 0.05  # a lead whose beat spans less shows no waves
_SAME_SHAPE = 0.8  # correlation above which two QRS complexes are of one kind
_QRS_ONSET, _QRS_OFFSET = 0.05, 0.08  # of the peak spatial velocity
_TANGENT = 1.25  # how far past the steepest descent T ends, in tangent lengths: hand marks lie behind the tangent's foot
_P_EDGE = 0.12  # of the hump's height
_P_MV = 0.012  # hump's height, root mean square over the leads
_P_BEATS = 0.6  # share of the beats that must show it (correlation 0.6 with the median)
_P_SURE = (0.9, 0.03)  # in an irregular rhythm: median correlation and height


@dataclass(frozen=True)
class Delineation:
    """What was found. All indices are samples at `RATE`.

    Attributes:
        beats: int [N]: R of every beat, whatever its kind.
        dominant: int [M]: those of the commonest shape, aligned.
        beat: float [L, W]: the representative beat in mV from the 0.5 Hz high-passed signal; R is at `r`.
        r: index of R in `beat`.
        qrs, p, t: (onset, end) in `beat`; None where the wave was not found.
        t_peak: index in `beat`.
        p_present: True, False, or None where that can't be judged.
        live: bool [L]: leads with a signal.
        reasons: wave name -> why it was not found.
    """

    beats: np.ndarray
    dominant: np.ndarray
    beat: np.ndarray
    r: int
    live: np.ndarray
    qrs: tuple[int, int] | None = None
    p: tuple[int, int] | None = None
    t: tuple[int, int] | None = None
    t_peak: int | None = None
    p_present: bool | None = None
    reasons: dict[str, str] = field(default_factory=dict)


def delineate(signal: np.ndarray) -> Delineation:
    """Beats and wave bounds of a recording.

    Args:
        signal: float [L, T] in mV at `RATE`, high-passed at 0.5 Hz, without NaN (see `llava_ecg.ecg.filters`); flat leads are passed
            over.

    Returns:
        With no beats and an empty `beat` where nothing looks like a QRS complex.
    """
    live = _live(signal)
    smooth = _lowpass(signal[live])
    beats = _detect(smooth)
    none = Delineation(beats, beats[:0], np.zeros((len(signal), 0)), _BEFORE, live)
    if len(beats) == 0:
        return none
    dominant = _align(smooth, beats[_commonest(smooth, beats)])
    single = _windows(smooth, dominant)
    median, beat = np.nanmedian(single, axis=0), np.zeros((len(signal), _BEFORE + _AFTER))
    beat[live] = np.nanmedian(_windows(signal[live], dominant), axis=0)
    rr = float(np.median(np.diff(beats))) if len(beats) > 1 else float(_AFTER)
    if not np.isfinite(median).all() or not np.isfinite(beat).all():
        return none  # every beat lies too near an end of the recording
    onset, offset = _qrs(median)
    peak, end = _t(median, onset, offset, rr)
    found = _p(median, single, onset, end, rr, _variation(beats))
    reasons = {}
    if end is None:
        reasons["t"] = "the end of the T wave could not be found"
    if found[1] is None:
        reasons["p"] = found[2]
    return Delineation(
        beats, dominant, beat, _BEFORE, live, (onset, offset), found[1], None if end is None else (offset, end), peak, found[0], reasons
    )


def _live(signal: np.ndarray) -> np.ndarray:
    """bool [L]: leads that move, without the one in a lifetime that only drifts."""
    spread = np.percentile(signal, 99.5, axis=1) - np.percentile(signal, 0.5, axis=1) if signal.size else np.zeros(len(signal))
    return np.asarray(spread > 0.02)


def _lowpass(signal: np.ndarray) -> np.ndarray:
    from scipy import signal as dsp

    if not len(signal):
        return signal
    sections = dsp.butter(2, 40.0, "low", fs=RATE, output="sos")
    return np.asarray(dsp.sosfiltfilt(sections, signal, axis=1, padlen=min(signal.shape[1] - 1, 250)))


def _detect(signal: np.ndarray) -> np.ndarray:
    """int [N]: the beats on which at least two fifths of the votes agree (a vote a lead, a quarter as many for the pooled signal)."""
    from scipy import ndimage
    from scipy import signal as dsp
    from sleepecg import detect_heartbeats

    if not len(signal):
        return np.zeros(0, dtype=int)
    spread = np.median(np.abs(signal - np.median(signal, axis=1, keepdims=True)), axis=1, keepdims=True).clip(1e-6)
    energy = ndimage.gaussian_filter1d(np.sqrt(((np.gradient(signal, axis=1) / spread) ** 2).mean(axis=0)), 0.008 * RATE)
    pooled = max(1, round(len(signal) / 4))
    votes = np.zeros(signal.shape[1])
    for row, weight in [*((row, 1) for row in signal), (energy, pooled)]:
        votes[detect_heartbeats(row, RATE)] += weight / (len(signal) + pooled)
    width = 0.03 * RATE
    density = ndimage.gaussian_filter1d(votes, width, mode="constant") * width * np.sqrt(2 * np.pi)
    peaks, _ = dsp.find_peaks(np.pad(density, 1), height=0.4, distance=int(0.2 * RATE))
    reach = int(0.06 * RATE)
    refined = [max(0, at - reach) + int(np.argmax(energy[max(0, at - reach) : at + reach + 1])) for at in peaks - 1]
    return np.unique(np.array(refined, dtype=int))


def _windows(signal: np.ndarray, beats: np.ndarray, before: int = _BEFORE, after: int = _AFTER) -> np.ndarray:
    """float [N, L, before + after] around each beat, NaN beyond the ends."""
    padded = np.pad(signal, ((0, 0), (before, after)), constant_values=np.nan)
    return np.stack([padded[:, beat : beat + before + after] for beat in beats])


def _commonest(signal: np.ndarray, beats: np.ndarray) -> np.ndarray:
    """int [M]: numbers of the beats that look like the largest group."""
    reach = 45
    inside = np.flatnonzero((beats >= reach) & (beats + reach < signal.shape[1]))
    if len(inside) < 2:
        return inside if len(inside) else np.arange(len(beats))
    shapes = _windows(signal, beats[inside], reach, reach)
    flat = (shapes - shapes.mean(axis=2, keepdims=True)).reshape(len(inside), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12
    alike = flat @ flat.T
    centre = int(np.argmax((alike > _SAME_SHAPE).sum(axis=1) + alike.mean(axis=1)))
    return inside[alike[centre] > _SAME_SHAPE]


def _align(signal: np.ndarray, beats: np.ndarray, reach: int = 40, shift: int = 20) -> np.ndarray:
    """int [M]: beats moved by up to 40 ms to where they fit their median best (normalised correlation over all leads)."""
    inside = (beats >= reach + shift) & (beats + reach + shift < signal.shape[1])
    if inside.sum() < 2:
        return beats
    template = np.median(_windows(signal, beats[inside], reach, reach), axis=0)
    moved = beats.copy()
    for number in np.flatnonzero(inside):
        part = signal[:, beats[number] - reach - shift : beats[number] + reach + shift]
        fit = sum(np.correlate(row, mark, "valid") for row, mark in zip(part, template, strict=True))
        energy = np.convolve((part**2).sum(axis=0), np.ones(2 * reach), "valid")
        moved[number] += int(np.argmax(fit / np.sqrt(energy + 1e-12))) - shift
    return moved


def _variation(beats: np.ndarray) -> float:
    """Coefficient of variation of RR."""
    rr = np.diff(beats)
    return float(rr.std() / rr.mean()) if len(rr) > 1 else 0.0


def _qrs(beat: np.ndarray) -> tuple[int, int]:
    """Onset and end of QRS by spatial velocity."""
    from scipy import ndimage

    velocity = ndimage.gaussian_filter1d(np.sqrt((np.gradient(beat, axis=1) ** 2).sum(axis=0)), 2)
    middle = velocity[_BEFORE - 40 : _BEFORE + 40]
    quiet = 2.5 * np.percentile(velocity[50:500], 20)
    steep = np.flatnonzero(middle > 0.25 * middle.max()) + _BEFORE - 40
    onset, offset = int(steep[0]), int(steep[-1])
    below = velocity < max(_QRS_ONSET * middle.max(), quiet)
    while onset > _BEFORE - 100 and not below[onset - 4 : onset].all():
        onset -= 1
    below = velocity < max(_QRS_OFFSET * middle.max(), quiet)
    while offset < _BEFORE + 120 and not below[offset : offset + 4].all():
        offset += 1
    return onset, offset


def _component(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first principal component over the leads: weights [L] and course [T]."""
    weights, _, _ = np.linalg.svd(part - part.mean(axis=1, keepdims=True), full_matrices=False)
    return weights[:, 0], weights[:, 0] @ part


def _t(beat: np.ndarray, onset: int, offset: int, rr: float) -> tuple[int | None, int | None]:
    """Peak and end of T."""
    from scipy import ndimage

    start, stop = offset + 25, int(min(beat.shape[1] - 1, onset + min(0.75 * rr, 350), onset + rr - 30))
    if stop - start < 30:
        return None, None
    part = beat[:, start:stop] - beat[:, stop - 15 : stop].mean(axis=1, keepdims=True)
    course = ndimage.gaussian_filter1d(_component(part)[1], 5)
    course = course - course[-15:].mean()
    peak = int(np.argmax(np.abs(course)))
    course = course * np.sign(course[peak])
    until = min(len(course) - 1, peak + 90)
    if until - peak < 8 or np.ptp(course) / np.sqrt(len(beat)) < 0.015:
        return start + peak, None
    slope = np.gradient(course)
    steepest = peak + int(np.argmin(slope[peak:until]))
    if slope[steepest] >= 0:
        return start + peak, None
    foot = course[steepest : steepest + 60].min()
    end = steepest + _TANGENT * (course[steepest] - foot) / -slope[steepest]
    return start + peak, min(beat.shape[1] - 1, round(start + end))


def _p(
    beat: np.ndarray, single: np.ndarray, onset: int, t_end: int | None, rr: float, variation: float
) -> tuple[bool | None, tuple[int, int] | None, str]:
    """Whether there is a P wave, its bounds, and the reason if there are none."""
    from scipy import ndimage

    before_t = (t_end if t_end is not None else onset + 200) - int(rr) + 10  # the end of the T wave of the beat before
    start, stop = max(0, onset - 150, before_t), onset - 4
    if stop - start < 30:
        return None, None, "the T wave of the beat before reaches to the QRS complex: P can't be told from it"
    part = ndimage.gaussian_filter1d(beat[:, start:stop], 4, axis=1)
    weights, course = _component(part - np.median(part[:, -8:], axis=1, keepdims=True))
    if abs(course.max()) < abs(course.min()):
        weights, course = -weights, -course
    peak = int(np.argmax(course[:-5]))
    height = (course[peak] - max(course[: peak + 1].min(), course[peak:].min())) / np.sqrt(len(beat))
    left, right = course[max(0, peak - 40) : peak + 1].min(), course[peak : peak + 40].min()
    first, last = peak, peak
    while first > 0 and course[first] - left > _P_EDGE * (course[peak] - left):
        first -= 1
    while last < len(course) - 1 and course[last] - right > _P_EDGE * (course[peak] - right):
        last += 1
    shape = course[first : last + 1] - course[first : last + 1].mean()
    alike = []
    for row in np.einsum("l,nlt->nt", weights, single[:, :, start:stop]):
        hump = ndimage.gaussian_filter1d(row, 4)[first : last + 1]
        if np.isfinite(hump).all():
            hump = hump - hump.mean()
            alike.append(float(hump @ shape / (np.linalg.norm(hump) * np.linalg.norm(shape) + 1e-9)))
    if len(alike) < 2:
        return None, None, "too few whole beats to tell whether there are P waves"
    sure = variation < 0.12 or (np.median(alike) >= _P_SURE[0] and height >= _P_SURE[1])
    if height < _P_MV or np.mean(np.array(alike) > 0.6) < _P_BEATS or not sure:
        return False, None, "no P wave was found"
    return True, (start + first, start + last), ""
