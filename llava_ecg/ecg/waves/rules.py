"""Where the waves are, by rules and without a net: all beats, and the bounds of P, QRS and T on a representative beat
of all leads.

The fallback where the net's weights can't be read, and the second opinion on its beats. One set of bounds holds for
every lead and beat.

QRS complexes are found by sleepecg (BSD-3-Clause) in every lead and in the pooled signal, which then vote. The bounds
are ours: the beats of the commonest shape are aligned, their median is taken, and

- QRS begins and ends where the pooled velocity of the leads falls to a share of its peak and rests there,
- T ends where the tangent at its steepest descent meets the base line, on the leads' mean deflection after QRS,
- P is the hump of the first principal component before QRS, and counts only if most single beats show it too.

The shares were set on the odd records of LUDB.

Axes: L leads, T samples (at `RATE`), N beats, W samples of the representative beat.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from llava_ecg.ecg.biquad import both_ways, butterworth
from llava_ecg.ecg.waves.delineation import Delineation, across, empty

RATE = 500.0
VERSION = "median-beat-2"

_BEFORE, _AFTER = 200, 350  # samples of the representative beat before and after R: 0.4 and 0.7 s
_LIVE_MV = 0.05  # a lead whose beat spans less shows no waves
_SAME_SHAPE = 0.8  # correlation above which two QRS complexes are of one kind
_COMMON = 0.3  # share of the beats that have the commonest shape; fewer is noise
_AGREE, _AGREE_TWO = (
    0.6,
    0.85,
)  # correlation of a beat with the others; of the only two, which agree by chance more easily
_QRS_ONSET, _QRS_OFFSET = 0.07, 0.10  # of the peak pooled velocity
_T_BEYOND = 6  # samples: hand marks lie 12 ms behind the tangent's foot
_T_LATEST = 0.52  # s at RR = 1 s
_P_EDGE = 0.12  # of the hump's height
_P_MV = 0.012  # hump's height, root mean square over the leads
_P_BEATS = 0.6  # share of the beats that must show it (correlation 0.6 with the median)
_P_SURE = (0.9, 0.03)  # in an irregular rhythm: median correlation and height


@dataclass(frozen=True)
class MedianBeat:
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


def by_rules(signal: np.ndarray, leads: tuple[str, ...]) -> Delineation:
    """The waves of a recording from `median_beat`: the same bounds, relative to R, for every beat of the commonest
    shape.

    Args:
        signal: float [L, T] in mV at `RATE`, as for `median_beat`.
        leads: their names.
    """
    found = median_beat(signal)
    if len(found.beats) == 0 or found.qrs is None:
        return empty(leads, found.live, "no QRS complexes were found", VERSION)
    near = {int(beat): int(own) for own in found.dominant for beat in found.beats if abs(own - beat) <= 20}
    r = np.array([near.get(int(beat), int(beat)) for beat in found.beats])
    bounds = {"p": found.p, "qrs": found.qrs, "t": found.t}
    times = {name: np.full((len(r), len(leads), 3), np.nan) for name in bounds}
    kinds = []
    for number, beat in enumerate(r):
        whole = beat - 60 >= 0 and beat + 60 < signal.shape[1]
        same = int(found.beats[number]) in near
        kinds.append("dominant" if same and whole else "partial" if not whole else "ventricular")
        for name, bound in bounds.items():
            if (
                bound is None
                or not same
                or beat + bound[0] - found.r < 0
                or beat + bound[1] - found.r >= signal.shape[1]
            ):
                continue
            first, last = beat + bound[0] - found.r, beat + bound[1] - found.r
            level = signal[:, max(0, beat + found.qrs[0] - found.r - 8) : max(1, beat + found.qrs[0] - found.r)].mean(
                axis=1, keepdims=True
            )
            peak = first + np.abs(signal[:, first : last + 1] - level).argmax(axis=1)
            times[name][number, found.live] = np.stack(
                [np.full(len(leads), first), peak, np.full(len(leads), last)], axis=1
            )[found.live]
    seconds = {name: value / RATE for name, value in times.items()}
    glob = {name: across(value, found.live) for name, value in seconds.items()}
    return Delineation(
        leads,
        r / RATE,
        tuple(kinds),
        seconds["p"],
        seconds["qrs"],
        seconds["t"],
        glob["p"],
        glob["qrs"],
        glob["t"],
        found.live,
        found.p_present,
        found.reasons,
        VERSION,
    )


def median_beat(signal: np.ndarray) -> MedianBeat:
    """Beats and wave bounds of a recording.

    Args:
        signal: float [L, T] in mV at `RATE`, high-passed at 0.5 Hz, without NaN (see `llava_ecg.ecg.filters`); flat
            leads are passed over.

    Returns:
        With no beats and an empty `beat` where nothing looks like a QRS complex.
    """
    live = _live(signal)
    smooth = _lowpass(signal[live])
    beats = _detect(smooth)
    none = MedianBeat(beats, beats[:0], np.zeros((len(signal), 0)), _BEFORE, live)
    if len(beats) == 0:
        return none
    dominant = _align(smooth, beats[_commonest(smooth, beats)])
    if not repeats(smooth, beats, dominant):
        return MedianBeat(
            beats[:0], beats[:0], none.beat, _BEFORE, live
        )  # noise: what was taken for beats is no two times the same
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
    return MedianBeat(
        beats,
        dominant,
        beat,
        _BEFORE,
        live,
        (onset, offset),
        found[1],
        None if end is None else (offset, end),
        peak,
        found[0],
        reasons,
    )


def _live(signal: np.ndarray) -> np.ndarray:
    """bool [L]: leads that move, without the one in a lifetime that only drifts."""
    spread = (
        np.percentile(signal, 99.5, axis=1) - np.percentile(signal, 0.5, axis=1)
        if signal.size
        else np.zeros(len(signal))
    )
    return np.asarray(spread > 0.02)


def _lowpass(signal: np.ndarray) -> np.ndarray:
    if not len(signal):
        return signal
    return both_ways(butterworth("low", 40.0, RATE), signal, min(signal.shape[1] - 1, 250))


def _detect(signal: np.ndarray) -> np.ndarray:
    """int [N]: the beats on which at least two fifths of the votes agree (a vote a lead, a quarter as many for the
    pooled signal)."""
    from scipy import ndimage
    from scipy import signal as dsp

    if not len(signal):
        return np.zeros(0, dtype=int)
    spread = np.median(np.abs(signal - np.median(signal, axis=1, keepdims=True)), axis=1, keepdims=True).clip(1e-6)
    energy = ndimage.gaussian_filter1d(
        np.sqrt(((np.gradient(signal, axis=1) / spread) ** 2).mean(axis=0)), 0.008 * RATE
    )
    pooled = max(1, round(len(signal) / 4))
    votes = np.zeros(signal.shape[1])
    for row, weight in [*((row, 1) for row in signal), (energy, pooled)]:
        votes[_sleepecg(row)] += weight / (len(signal) + pooled)
    width = 0.03 * RATE
    density = ndimage.gaussian_filter1d(votes, width, mode="constant") * width * np.sqrt(2 * np.pi)
    peaks, _ = dsp.find_peaks(np.pad(density, 1), height=0.4, distance=int(0.2 * RATE))
    reach = int(0.06 * RATE)
    refined = [max(0, at - reach) + int(np.argmax(energy[max(0, at - reach) : at + reach + 1])) for at in peaks - 1]
    return np.unique(np.array(refined, dtype=int))


def second_opinion(lead: np.ndarray) -> np.ndarray:
    """float [N] s: QRS complexes of one lead [T] in mV at `RATE`, by sleepecg (BSD-3-Clause)."""
    return _sleepecg(lead) / RATE


def _sleepecg(lead: np.ndarray) -> np.ndarray:
    """int [N]: sleepecg's beats of a lead [T] at `RATE`; none where it is flat, or beats faster than 300 bpm.

    By sleepecg's Python code: its compiled one (0.6.0, its default) can end the process. It learns from two seconds, so
    that a lead that has less behind a flat beginning is made longer at its end.
    """
    from sleepecg import detect_heartbeats

    if not len(lead) or np.ptp(lead) == 0:
        return np.zeros(0, dtype=int)
    lives = len(lead) - int(np.argmax(lead != lead[0]))
    longer = np.pad(lead, (0, max(0, int(2 * RATE) - lives)), mode="edge")
    try:
        found = np.asarray(detect_heartbeats(longer, RATE, backend="python"))
    except IndexError:  # more beats than it has room for
        return np.zeros(0, dtype=int)
    return found[found < len(lead)].astype(int)


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


def repeats(signal: np.ndarray, beats: np.ndarray, dominant: np.ndarray, reach: int = 45) -> bool:
    """Whether the commonest shape is common, and its beats fit each other: the median correlation of one with the sum
    of the others."""
    if len(beats) < 2:
        return True
    if len(dominant) < max(2, _COMMON * len(beats)):
        return False
    shapes = np.nan_to_num(_windows(signal, dominant, reach, reach))
    flat = (shapes - shapes.mean(axis=2, keepdims=True)).reshape(len(dominant), -1)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12
    rest = flat.sum(axis=0) - flat
    fit = (flat * rest).sum(axis=1) / (np.linalg.norm(rest, axis=1) + 1e-12)
    return bool(np.median(fit) > (_AGREE if len(dominant) > 2 else _AGREE_TWO))


def _align(signal: np.ndarray, beats: np.ndarray, reach: int = 40, shift: int = 20) -> np.ndarray:
    """int [M]: beats moved by up to 40 ms to where they fit their median best (normalised correlation over all
    leads)."""
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
    """Onset and end of QRS: outwards from the peak of the pooled velocity until it rests below a share of it for 16 ms.

    A lead counts by the square root of its size, so that neither the large nor the small ones decide.
    """
    from scipy import ndimage

    velocity = np.gradient(beat, axis=1)
    size = np.abs(velocity[:, _BEFORE - 50 : _BEFORE + 50]).max(axis=1, keepdims=True)
    pooled = ndimage.gaussian_filter1d(np.sqrt(np.mean((velocity / np.sqrt(size + 1e-9)) ** 2, axis=0)), 3)
    floor = np.percentile(pooled[_BEFORE - 120 : _BEFORE + 200], 20)
    top = _BEFORE - 40 + int(np.argmax(pooled[_BEFORE - 40 : _BEFORE + 40]))

    def rest(share: float, step: int) -> int:
        threshold, at, quiet = floor + share * (pooled[top] - floor), top, 0
        while quiet < 8 and abs(at - _BEFORE) < 75:
            at += step
            quiet = quiet + 1 if pooled[at] < threshold else 0
        return at - step * max(0, quiet - 1)

    return rest(_QRS_ONSET, -1), rest(_QRS_OFFSET, 1)


def _component(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first principal component over the leads: weights [L] and course [T]."""
    weights, _, _ = np.linalg.svd(part - part.mean(axis=1, keepdims=True), full_matrices=False)
    return weights[:, 0], weights[:, 0] @ part


def _t(beat: np.ndarray, onset: int, offset: int, rr: float) -> tuple[int | None, int | None]:
    """Peak and end of T: the highest pooled deflection after QRS, and where its steepest tangent meets the base line, a
    little later."""
    from scipy import ndimage

    level = beat[:, max(0, onset - 8) : onset].mean(axis=1, keepdims=True)
    pooled = np.abs(ndimage.gaussian_filter1d(beat - level, 5, axis=1)).mean(axis=0)
    # no T peak is expected beyond 520 ms x sqrt(RR), nor where the next beat's P may be
    first, last = (
        offset + 25,
        int(min(_BEFORE + _T_LATEST * RATE * np.sqrt(rr / RATE), _BEFORE + rr - 50, beat.shape[1] - 5)),
    )
    if last - first < 15:
        return None, None
    peak = first + int(np.argmax(pooled[first:last]))
    end = min(last + 50, beat.shape[1] - 1)
    slope = np.gradient(pooled)
    steepest = peak + int(np.argmin(slope[peak : min(peak + 100, end)]))
    base = np.percentile(pooled[steepest : min(steepest + 75, end) + 1], 10)
    if slope[steepest] >= 0 or pooled[peak] - base < 0.015:
        return peak, None
    foot = steepest + (pooled[steepest] - base) / -slope[steepest]
    return peak, min(beat.shape[1] - 1, round(foot) + _T_BEYOND)


def _p(
    beat: np.ndarray, single: np.ndarray, onset: int, t_end: int | None, rr: float, variation: float
) -> tuple[bool | None, tuple[int, int] | None, str]:
    """Whether there is a P wave, its bounds, and the reason if there are none."""
    from scipy import ndimage

    before_t = (t_end if t_end is not None else onset + 200) - int(rr) + 0  # the end of the T wave of the beat before
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
