"""Simulated 12-lead ECGs whose rate, rhythm, intervals and axis are known by construction.

A heart vector (x to the left, y to the feet, z to the front) is a sum of lobes in time; each lobe is exactly zero
outside its bounds, so P, QRS and T have an onset and an end. The limb leads are its projections on Einthoven's triangle
(III = II - I and so on hold exactly, with the noise too); V1-V6 are its projections by the coefficients of Dower (G. E.
Dower et al., Clin Cardiol 3:87, 1980).

Axes: L leads, T samples, K lobes of a beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np

from llava_ecg.ecg.leads import STANDARD, derive
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulated_heart import (
    LEAD_VECTORS,
    RECORDED,
    SLOW_END_MS,
    SLOW_START_MS,
    TERRITORIES,
    Conduction,
    Heart,
    Rhythm,
    Truth,
)
from llava_ecg.errors import InputError


def draw(rng: np.random.Generator) -> Heart:
    """One case of a varied population: about a sixth atrial fibrillation, a quarter wide QRS, rates from 35 to 180."""
    rhythm: Rhythm = get_args(Rhythm)[rng.choice(4, p=[0.62, 0.18, 0.1, 0.1])]
    slow, fast = (
        (35.0, 150.0) if rhythm == "sinus" else (50.0, 180.0) if rhythm == "atrial fibrillation" else (45.0, 100.0)
    )
    low, high = [(slow, 60.0), (60.0, 100.0), (100.0, fast)][rng.choice(3, p=[0.28, 0.44, 0.28])]
    rate = float(rng.uniform(low, max(low, high)))
    rr = 60.0 / rate
    spread = {"atrial fibrillation": (0.16, 0.3), "sinus arrhythmia": (0.11, 0.18)}.get(rhythm, (0.005, 0.035))
    qt = float(np.clip(rng.normal(408, 26) + (rng.random() < 0.12) * 60, 330, 530)) * rr**0.42
    qt = qt if rhythm == "atrial fibrillation" else min(qt, 1000 * rr - 130)
    pr = float(np.clip(rng.normal(160, 22) + (rng.random() < 0.15) * rng.uniform(40, 100), 110, 280))
    pr = min(pr, max(110.0, 1000 * rr - qt - 10))  # P does not fall on the T wave before it
    conduction: Conduction = get_args(Conduction)[rng.choice(3, p=[0.76, 0.13, 0.11])]
    wide = conduction != "normal"
    axis = float(np.clip(rng.normal(40, 32), -30, 100)) if rng.random() < 0.65 else float(rng.uniform(-90, 150))
    shifted = bool(rng.random() < 0.12 and not wide)
    return Heart(
        rate_bpm=rate,
        rhythm=rhythm,
        rr_cv=float(rng.uniform(*spread)),
        p_ms=float(min(rng.uniform(80, 120), pr - 20)),
        pr_ms=pr,
        qrs_ms=float(rng.uniform(124, 170) if wide else np.clip(rng.normal(92, 11), 70, 116)),
        qt_ms=max(qt, 230.0) + (20.0 if wide and rhythm != "atrial fibrillation" and rr > 0.5 else 0.0),
        axis_deg=axis,
        t_turn_deg=float(rng.uniform(-25, 25)),
        conduction=conduction,
        qrs_mv=float(rng.uniform(0.8, 1.7)),
        p_mv=float(rng.uniform(0.1, 0.22)),
        t_mv=float(rng.uniform(0.2, 0.5)),
        posterior=float(rng.uniform(0.25, 0.65)),
        voltage=float(rng.uniform(1.6, 2.1)) if rng.random() < 0.08 and not wide else 1.0,
        t_inverted=bool(rng.random() < 0.08 and not wide and not shifted),
        st_territory=tuple(TERRITORIES)[rng.integers(3)] if shifted else None,
        st_mv=float(rng.uniform(0.12, 0.35) * (1 if rng.random() < 0.6 else -1)) if shifted else 0.0,
        f_wave_mv=float(rng.uniform(0.03, 0.12)),
        muscle_mv=float(rng.choice([0.0, 0.005, 0.012, 0.025], p=[0.2, 0.4, 0.25, 0.15])),
        wander_mv=float(rng.choice([0.0, rng.uniform(0.02, 0.25)])),
        mains_mv=float(rng.choice([0.0, rng.uniform(0.003, 0.02)], p=[0.7, 0.3])),
        mains_hz=float(rng.choice([50.0, 60.0])),
    )


def simulate(
    heart: Heart | None = None, *, seed: int, rate: float = 500.0, seconds: float = 10.0
) -> tuple[Recording, Truth]:
    """A 12-lead recording of ``heart`` (one drawn by ``seed`` where it is None) and what is true of it.

    Args:
        heart: what to simulate; `Heart()` is a clean normal sinus rhythm.
        seed: fixes everything that is drawn; the same seed gives the same bytes.
        rate: samples a second, Hz.
        seconds: length.

    Returns:
        A recording of float32 [12, T] in mV in standard lead order, and its truth.

    Raises:
        InputError: an interval, rate or territory that can't be drawn.
    """
    rng = np.random.default_rng(seed)
    heart = heart or draw(rng)
    _check(heart, rate, seconds)
    onsets, premature = _beats(heart, seconds, rng)
    samples = round(rate * seconds)
    normal, peak = _lobes(heart)
    early, early_peak = _premature_lobes(heart)
    vector = np.zeros((3, samples))
    for onset, is_early in zip(onsets, premature, strict=True):
        _add_beat(vector, early if is_early else normal, onset, rate, 1.0 + rng.normal(0, 0.015))
    signal = LEAD_VECTORS @ vector
    if heart.rhythm == "atrial fibrillation":
        signal += _f_waves(heart.f_wave_mv, samples, rate, rng)
    signal += _noise(heart, samples, rate, rng)
    rows = dict(zip(RECORDED, signal, strict=True)) | derive(signal, RECORDED)
    ordered = np.stack([rows[name] for name in STANDARD]).astype(np.float32)
    recording = Recording(ordered, float(rate), STANDARD, format="simulated", metadata={"seed": seed})
    peaks = onsets + np.where(premature, early_peak, peak) / 1000
    inside = (peaks >= 0) & (peaks < seconds)
    return recording, _truth(heart, peaks[inside], premature[inside])


def _check(heart: Heart, rate: float, seconds: float) -> None:
    if not (rate >= 50 and 0 < seconds <= 3600):
        raise InputError(f"can't simulate {seconds} s at {rate} Hz; give 50 Hz or more and up to 3600 s")
    if not (20 <= heart.rate_bpm <= 300 and 0 < heart.qrs_ms < heart.qt_ms and 0 < heart.p_ms <= heart.pr_ms):
        given = (
            f"{heart.rate_bpm:g} bpm with P {heart.p_ms:g}, PR {heart.pr_ms:g}, QRS {heart.qrs_ms:g}, QT "
            f"{heart.qt_ms:g} ms"
        )
        raise InputError(f"can't simulate {given}; the rate must lie in 20-300, P in PR and QRS in QT")
    if heart.st_territory is not None and heart.st_territory not in TERRITORIES:
        raise InputError(f"unknown ST territory {heart.st_territory!r}; known are {', '.join(TERRITORIES)}")


@dataclass(frozen=True)
class _Lobes:
    """K lobes: bounds in ms from the QRS onset, vectors [K, 3] in mV, the place of the peak as a fraction, the power of
    the half sine."""

    start: np.ndarray
    end: np.ndarray
    peak: np.ndarray
    power: np.ndarray
    vectors: np.ndarray

    def at(self, ms: np.ndarray) -> np.ndarray:
        """The heart vector [3, T] in mV at times [T] in ms from the QRS onset."""
        u = np.clip((ms - self.start[:, None]) / (self.end - self.start)[:, None], 0, 1)
        at = self.peak[:, None]
        phase = np.where(u < at, u / at, (1 - u) / (1 - at)) * (np.pi / 2)
        return self.vectors.T @ np.sin(phase) ** self.power[:, None]

    def areas(self) -> np.ndarray:
        """Time integral of each lobe, [K, 3] in mV ms."""
        unit = np.sin(np.linspace(0, np.pi, 2001)[None]) ** self.power[:, None]
        return self.vectors * (unit.mean(axis=1) * (self.end - self.start))[:, None]


def _stack(rows: list[tuple[float, float, float, float, np.ndarray]]) -> _Lobes:
    start, end, peak, power = (np.array([row[i] for row in rows], dtype=float) for i in range(4))
    return _Lobes(start, end, peak, power, np.array([row[4] for row in rows], dtype=float))


def _direction(degrees: float, front: float = 0.0) -> np.ndarray:
    """A unit frontal vector at an angle of the hexaxial system, with `front` added along z."""
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), front])


def _qrs(heart: Heart) -> tuple[_Lobes, float]:
    """The lobes of QRS, turned so that their net frontal area points to the axis, and the time of its largest vector in
    ms."""
    d, size, back = heart.qrs_ms, heart.qrs_mv * heart.voltage, -heart.posterior
    if (
        heart.conduction == "left bundle branch block"
    ):  # no septal q; a slow, notched vector to the left and ever more to the back
        rows = [
            (0.0, 0.62 * d, 0.55, 1.2, 0.8 * size * _direction(0, back + 0.1)),
            (0.30 * d, d, 0.50, 1.2, 0.75 * size * _direction(-8, back - 0.5)),
        ]
    else:  # septum to the right and front, then the left ventricle: first to the left, then to the back
        septum, last = (0.30, 0.55) if heart.conduction == "right bundle branch block" else (0.38, 0.85)
        rows = [
            (0.0, septum * d, 0.5, 1.2, 0.22 * size * _direction(140, 0.8)),
            (0.4 * septum * d, 0.74 * last * d, 0.5, 1.2, 0.85 * size * _direction(0, 0.2 * back)),
            (0.4 * last * d, last * d, 0.5, 1.2, 0.6 * size * _direction(0, 1.9 * back)),
        ]
        if (
            heart.conduction == "right bundle branch block"
        ):  # a slow last vector to the right and front: R' in V1, broad S in I and V6
            rows.append((0.42 * d, d, 0.42, 1.2, 0.55 * size * _direction(168, 1.1)))
        else:
            rows.append((0.58 * d, d, 0.45, 1.2, 0.26 * size * _direction(-110, -0.7)))
    begin, end = min(SLOW_START_MS, 0.14 * d), min(SLOW_END_MS, 0.08 * d)
    share = 1 - (begin + end) / d
    rows = [(begin + a * share, begin + b * share, peak, power, vector) for a, b, peak, power, vector in rows]
    faint = 0.025 * size
    rows = [
        (0.0, 0.5 * d, 0.5, 1.2, faint * _direction(60, 0.6)),
        *rows,
        (0.5 * d, d, 0.5, 1.2, faint * _direction(-60, -0.6)),
    ]
    lobes = _stack(rows)
    x, y, _ = lobes.areas().sum(axis=0)
    turn = math.radians(heart.axis_deg) - math.atan2(y, x)
    rotation = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    times = np.arange(0.0, d, 0.5)
    peak = float(times[np.linalg.norm(lobes.at(times), axis=0).argmax()])
    return _Lobes(lobes.start, lobes.end, lobes.peak, lobes.power, lobes.vectors @ rotation.T), peak


def _repolarisation(heart: Heart) -> list[tuple[float, float, float, float, np.ndarray]]:
    """ST shift and T, from the end of QRS to the end of QT."""
    d, qt = heart.qrs_ms, heart.qt_ms
    onset = d + 0.22 * (qt - d)
    net = _direction(heart.axis_deg + heart.t_turn_deg, 0.35)
    if heart.conduction == "left bundle branch block":  # T against QRS
        net = -0.8 * _direction(heart.axis_deg + heart.t_turn_deg, -0.6)
    elif heart.conduction == "right bundle branch block":
        net = _direction(heart.axis_deg + heart.t_turn_deg, -0.25)
    if heart.t_inverted:
        net = -0.8 * net
    rows = [(onset, qt, 0.6, 1.25, heart.t_mv * net)]
    if heart.st_territory is not None:  # one broad lobe that starts within QRS, stands at J and leaves with T
        rows.append((0.9 * d, qt - 5, 0.4, 0.7, heart.st_mv * np.array(TERRITORIES[heart.st_territory])))
    return rows


def _lobes(heart: Heart) -> tuple[_Lobes, float]:
    """Every lobe of an ordinary beat, and the main QRS peak in ms from the QRS onset."""
    qrs, peak = _qrs(heart)
    rows = list(zip(qrs.start, qrs.end, qrs.peak, qrs.power, qrs.vectors, strict=True)) + _repolarisation(heart)
    if heart.rhythm != "atrial fibrillation":
        begin, half = (
            -heart.pr_ms,
            0.72 * heart.p_ms,
        )  # right atrium (to the front), then left (to the back): biphasic in V1
        rows.append((begin, begin + half, 0.5, 1.4, 0.65 * heart.p_mv * _direction(65, 0.35)))
        rows.append(
            (begin + heart.p_ms - half, begin + heart.p_ms, 0.5, 1.4, 0.65 * heart.p_mv * _direction(45, -0.35))
        )
    return _stack(rows), peak


def _premature_lobes(heart: Heart) -> tuple[_Lobes, float]:
    """A premature ventricular beat: no P, a broad QRS with its own direction, T against it."""
    away = heart.axis_deg + 130
    rows = [
        (0.0, 110.0, 0.5, 1.2, 1.3 * heart.qrs_mv * _direction(away, 0.5)),
        (45.0, 155.0, 0.5, 1.2, 0.5 * heart.qrs_mv * _direction(away - 70, -0.4)),
        (165.0, max(heart.qt_ms, 300.0), 0.55, 1.4, -0.5 * heart.qrs_mv * _direction(away, 0.5)),
    ]
    return _stack(rows), 55.0


def _beats(heart: Heart, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """QRS onsets in s, from before the start to after the end, and which of the beats are premature."""
    rr = 60.0 / heart.rate_bpm
    count = int(seconds / rr * 1.6) + 6
    wobble = rng.normal(0, 1, count)
    if heart.rhythm == "sinus arrhythmia":  # breathing: the rate swings with a period of 3 to 6 s
        swing = math.sqrt(2) * np.sin(2 * np.pi * np.arange(count) * rr / rng.uniform(3, 6) + rng.uniform(0, 6.3))
        wobble = 0.95 * swing + 0.3 * wobble
    steps = rr * (1 + heart.rr_cv * np.clip(wobble, -2.2, 2.8))
    if heart.rhythm == "atrial fibrillation":
        steps = np.maximum(steps, max(0.27, min((heart.qt_ms + 20) / 1000, 0.7 * rr)))
    onsets = rng.uniform(-rr, 0) + np.concatenate([[0.0], np.cumsum(steps)])
    premature = np.zeros(len(onsets), dtype=bool)
    if heart.rhythm == "premature ventricular beats":
        last = int(np.searchsorted(onsets, seconds - 0.3))
        wanted = int(rng.integers(1, max(2, last // 4 + 1)))
        premature[
            rng.choice(np.arange(2, max(3, last), 2), size=min(wanted, max(1, (last - 2) // 2)), replace=False)
        ] = True
        early = max(0.58 * rr, (heart.qt_ms + 30) / 1000)  # after the T wave; the next sinus beat comes when it was due
        onsets[premature] = onsets[np.flatnonzero(premature) - 1] + min(early, 0.85 * rr)
    keep = onsets < seconds + 0.5
    return onsets[keep], premature[keep]


def _add_beat(vector: np.ndarray, lobes: _Lobes, onset: float, rate: float, gain: float) -> None:
    first = max(0, math.ceil((onset + lobes.start.min() / 1000) * rate))
    stop = min(vector.shape[1], math.ceil((onset + lobes.end.max() / 1000) * rate))
    if stop > first:
        vector[:, first:stop] += gain * lobes.at((np.arange(first, stop) / rate - onset) * 1000)


def _f_waves(amplitude: float, samples: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Fibrillation waves on the eight recorded leads, [8, T] in mV: 4 to 9 Hz, wandering in rate and size, largest in
    V1 and II."""
    t = np.arange(samples) / rate
    out = np.zeros((len(RECORDED), samples))
    for share in (1.0, 0.6):
        hz = rng.uniform(4.5, 8.5) + 0.6 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * t + rng.uniform(0, 6.3))
        phase = 2 * np.pi * np.cumsum(hz) / rate + rng.uniform(0, 6.3)
        size = 1 + 0.35 * np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t + rng.uniform(0, 6.3))
        wave = np.sin(phase) + 0.3 * np.sin(2 * phase + 1)
        heart = rng.normal(0, 0.35, 3) + np.array([0.1, 0.55, 0.75])
        out += share * amplitude * (LEAD_VECTORS @ heart)[:, None] * (size * wave)
    return out


def _noise(heart: Heart, samples: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Muscle, wander and mains on the eight recorded leads, [8, T] in mV."""
    t = np.arange(samples) / rate
    out = np.zeros((len(RECORDED), samples))
    if heart.muscle_mv:
        out += heart.muscle_mv * rng.standard_normal((len(RECORDED), samples), dtype=np.float32)
    if heart.wander_mv:
        for hz in rng.uniform(0.05, 0.45, 3):
            out += rng.normal(0, heart.wander_mv / 2, (len(RECORDED), 1)) * np.sin(
                2 * np.pi * hz * t + rng.uniform(0, 6.3)
            )
    if heart.mains_mv:
        out += heart.mains_mv * rng.uniform(0.3, 1, (len(RECORDED), 1)) * np.sin(2 * np.pi * heart.mains_hz * t)
    return out


def _truth(heart: Heart, peaks: np.ndarray, premature: np.ndarray) -> Truth:
    steps = np.diff(peaks)
    rr = float(steps.mean()) if len(steps) else None
    has_p = heart.rhythm != "atrial fibrillation"
    # a recording too short to catch one of its premature beats shows plain sinus rhythm
    rhythm: Rhythm = "sinus" if heart.rhythm == "premature ventricular beats" and not premature.any() else heart.rhythm
    return Truth(
        heart_rate_bpm=60 / rr if rr else None,
        rr_ms=1000 * rr if rr else None,
        rr_cv=float(steps.std() / rr) if rr and len(steps) > 1 else None,
        rhythm=rhythm,
        rhythm_regular=rhythm == "sinus",
        p_present=has_p,
        p_ms=heart.p_ms if has_p else None,
        pr_ms=heart.pr_ms if has_p else None,
        qrs_ms=heart.qrs_ms,
        qt_ms=heart.qt_ms,
        qtc_bazett_ms=heart.qt_ms / math.sqrt(rr) if rr else None,
        qtc_fridericia_ms=heart.qt_ms / rr ** (1 / 3) if rr else None,
        axis_deg=heart.axis_deg,
        conduction=heart.conduction,
        st_territory=heart.st_territory,
        st_mv=heart.st_mv,
        t_inverted=heart.t_inverted,
        high_voltage=heart.voltage > 1.5,
        premature_beats=int(premature.sum()),
        beats_s=tuple(round(float(peak), 4) for peak in peaks),
    )
