"""Simulated 12-lead ECGs of many rhythms and shapes with every wave marked lead by lead, to train and test a delineator
on.

Where `llava_ecg.ecg.simulate` makes an ECG of a heart that is described, this one draws hearts at random: sinus
rhythms, atrial fibrillation and flutter, junctional and paced rhythms, tachycardia without visible P, AV block,
premature beats, bundle branch blocks, Q waves, ST shifts, T of any direction. A wave is a sum of half sines along
vectors, zero outside its bounds; it is marked in a lead where it reaches `VISIBLE_MV` there, from where it leaves a few
uV to where it comes back, as a reader would mark it.

Axes: L the twelve leads in standard order, T samples, N beats, K lobes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from llava_ecg.ecg.leads import STANDARD, derive
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import LEAD_VECTORS, RECORDED

VISIBLE_MV = 0.02
EDGE_MV, EDGE_SHARE = (
    0.004,
    0.03,
)  # a wave begins where it exceeds the larger of these, the second of its peak in the lead
RHYTHMS = {  # name -> how often
    "sinus": 0.34,
    "sinus arrhythmia": 0.06,
    "sinus tachycardia": 0.12,
    "atrial fibrillation": 0.16,
    "atrial flutter": 0.07,
    "junctional": 0.04,
    "supraventricular tachycardia": 0.04,
    "AV block": 0.06,
    "paced": 0.06,
    "ventricular": 0.05,
}
WITHOUT_P = ("atrial fibrillation", "atrial flutter", "junctional", "supraventricular tachycardia", "ventricular")


class Lobe(NamedTuple):
    """A half sine, skewed and raised to a power: bounds in ms from QRS onset, place of the peak as a fraction, vector
    [3] in mV."""

    start: float
    end: float
    peak: float
    power: float
    vector: np.ndarray


@dataclass(frozen=True, eq=False)
class Beat:
    """One beat's shape: the lobes of each wave, those of the ST segment (not marked), and the vector of a pacing spike
    before it."""

    p: tuple[Lobe, ...]
    qrs: tuple[Lobe, ...]
    t: tuple[Lobe, ...]
    st: tuple[Lobe, ...] = ()
    spike: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Marks:
    """What is true of it.

    Attributes:
        rhythm: one of `RHYTHMS`.
        p, qrs, t: float64 [N, L, 3] onset, peak and end in s, NaN where there is no wave or it can't be seen in the
            lead. A P without QRS is a row of its own in `p`, whose `qrs` and `t` are NaN.
        kinds: N of ``dominant``, ``ventricular``, ``supraventricular``, ``paced`` and ``P`` (a P without QRS).
    """

    rhythm: str
    p: np.ndarray
    qrs: np.ndarray
    t: np.ndarray
    kinds: tuple[str, ...]


class _Event(NamedTuple):
    onset: float  # of QRS, s
    kind: str
    beat: Beat


def simulate_marked(rng: np.random.Generator, *, seconds: float = 10.0, rate: float = 500.0) -> tuple[Recording, Marks]:
    """A clean recording of a heart drawn by ``rng``, float32 [12, T] in mV, and its marks."""
    rhythm = str(rng.choice(list(RHYTHMS), p=np.array(list(RHYTHMS.values())) / sum(RHYTHMS.values())))
    events = _events(rhythm, seconds, rng)
    vectors = LEAD_VECTORS * (1 + rng.normal(0, 0.12, LEAD_VECTORS.shape)) + rng.normal(0, 0.04, LEAD_VECTORS.shape)
    vectors[:2] = LEAD_VECTORS[:2]  # the limbs' triangle stays
    samples = round(seconds * rate)
    signal = np.zeros((len(RECORDED), samples))
    t = np.arange(samples) / rate
    marks = {name: np.full((len(events), len(STANDARD), 3), np.nan) for name in ("p", "qrs", "t")}
    for number, event in enumerate(events):
        for name in marks:
            lobes = getattr(event.beat, name)
            if lobes:
                _add(signal, marks[name][number], lobes, event, vectors, rate)
        if event.beat.st:
            _add(signal, np.zeros((len(STANDARD), 3)), event.beat.st, event, vectors, rate)
        if event.beat.spike is not None:
            _add_spike(signal, event.onset - 0.008, vectors @ event.beat.spike, rate)
    if rhythm == "atrial fibrillation":
        signal += _fibrillation(t, rng)
    elif rhythm == "atrial flutter":
        signal += _flutter(t, vectors, rng)
    rows = dict(zip(RECORDED, signal, strict=True)) | derive(signal, RECORDED)
    recording = Recording(
        np.stack([rows[name] for name in STANDARD]).astype(np.float32), float(rate), STANDARD, format="simulated"
    )
    return recording, Marks(rhythm, marks["p"], marks["qrs"], marks["t"], tuple(event.kind for event in events))


def _course(lobes: Sequence[Lobe], ms: np.ndarray) -> np.ndarray:
    """The heart vector [3, T] at times in ms from QRS onset."""
    out = np.zeros((3, len(ms)))
    for lobe in lobes:
        u = np.clip((ms - lobe.start) / (lobe.end - lobe.start), 0, 1)
        phase = np.where(u < lobe.peak, u / lobe.peak, (1 - u) / (1 - lobe.peak)) * (np.pi / 2)
        out += lobe.vector[:, None] * np.sin(phase) ** lobe.power
    return out


def _add(
    signal: np.ndarray, marks: np.ndarray, lobes: Sequence[Lobe], event: _Event, vectors: np.ndarray, rate: float
) -> None:
    """One wave into the signal [8, T] and its marks [12, 3]."""
    start, end = min(lobe.start for lobe in lobes), max(lobe.end for lobe in lobes)
    first, last = math.floor((event.onset + start / 1000) * rate), math.ceil((event.onset + end / 1000) * rate)
    at = np.arange(first, last + 1)
    wave = vectors @ _course(lobes, (at / rate - event.onset) * 1000)
    inside = (at >= 0) & (at < signal.shape[1])
    signal[:, at[inside]] += wave[:, inside]
    rows = dict(zip(RECORDED, wave, strict=True)) | derive(wave, RECORDED)
    size = np.abs(np.stack([rows[name] for name in STANDARD]))
    top = size.max(axis=1)
    above = size > np.maximum(EDGE_MV, EDGE_SHARE * top)[:, None]
    for lead in np.flatnonzero(top >= VISIBLE_MV):
        there = np.flatnonzero(above[lead])
        marks[lead] = at[there[0]] / rate, at[size[lead].argmax()] / rate, at[there[-1]] / rate


def _add_spike(signal: np.ndarray, onset: float, spike: np.ndarray, rate: float) -> None:
    """A pacing spike [8] mV of one sample, and its recoil."""
    at = round(onset * rate)
    if 0 <= at < signal.shape[1] - 1:
        signal[:, at] += spike
        signal[:, at + 1] -= 0.2 * spike


def _direction(degrees: float, front: float = 0.0) -> np.ndarray:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees)), front])


def _p(rng: np.random.Generator, pr: float, odd: bool = False) -> tuple[Lobe, ...]:
    """A P wave that ends in or before QRS; `odd`: of another focus."""
    length, size = min(rng.uniform(75, 130), pr - 15), rng.uniform(0.05, 0.22)
    half = rng.uniform(0.6, 0.85) * length
    turn = rng.uniform(-180, 180) if odd else rng.normal(55, 20)
    return (
        Lobe(-pr, -pr + half, rng.uniform(0.4, 0.6), rng.uniform(1.1, 1.6),
             0.65 * size * _direction(turn, rng.normal(0.35, 0.2))),
        Lobe(-pr + length - half, -pr + length, rng.uniform(0.4, 0.6), rng.uniform(1.1, 1.6),
             rng.uniform(0.4, 0.8) * size * _direction(turn - 20, rng.normal(-0.35, 0.25))),
    )  # fmt: skip


def _qrs(rng: np.random.Generator, shape: str, length: float) -> tuple[Lobe, ...]:
    """QRS of a shape: ``normal``, ``rbbb``, ``lbbb``, ``q`` (an infarction's Q), ``delta`` or ``wild``
    (ventricular)."""
    axis, size, back = rng.normal(35, 40), np.exp(rng.normal(0.1, 0.35)), -rng.uniform(0.2, 0.9)

    def along(degrees: float, front: float, share: float) -> np.ndarray:
        return share * size * _direction(axis + degrees, front + rng.normal(0, 0.12))

    def skew() -> tuple[float, float]:
        return rng.uniform(0.35, 0.65), rng.uniform(0.9, 1.5)

    d = length
    if shape == "wild":
        return (
            Lobe(0, rng.uniform(0.6, 0.8) * d, *skew(), along(rng.uniform(-180, 180), rng.normal(0, 0.6), 1.2)),
            Lobe(rng.uniform(0.2, 0.4) * d, d, *skew(), along(rng.uniform(-180, 180), rng.normal(0, 0.6), 0.7)),
        )
    if shape == "lbbb":
        return (
            Lobe(0, 0.62 * d, *skew(), along(0, back + 0.1, 0.8)),
            Lobe(0.3 * d, d, *skew(), along(-8, back - 0.5, 0.75)),
            Lobe(0.42 * d, 0.6 * d, *skew(), along(170, 0, rng.uniform(0, 0.25))),
        )
    septum, last = (0.3, 0.55) if shape == "rbbb" else (0.38, 0.85)
    first = rng.uniform(0.05, 0.3)
    rows = [
        Lobe(0, septum * d, *skew(), along(140, 0.8, first)),
        Lobe(0.35 * septum * d, 0.74 * last * d, *skew(), along(0, 0.2 * back, 0.85)),
        Lobe(0.4 * last * d, last * d, *skew(), along(0, 1.9 * back, 0.6)),
    ]
    if shape == "q":
        rows[0] = Lobe(0, 0.5 * d, *skew(), along(rng.uniform(120, 240), rng.normal(0, 0.6), rng.uniform(0.4, 0.9)))
    if shape == "delta":
        rows[0] = Lobe(0, 0.7 * d, 0.7, 1.3, along(0, 0.1, 0.25))
    if shape == "rbbb":
        rows.append(Lobe(0.42 * d, d, 0.42, 1.2, along(168, 1.1, rng.uniform(0.35, 0.7))))
    else:
        rows.append(Lobe(0.58 * d, d, *skew(), along(-110, -0.7, rng.uniform(0.05, 0.45))))
    return tuple(rows)


def _t(rng: np.random.Generator, qrs_ms: float, qt: float) -> tuple[Lobe, ...]:
    """T with its ST segment: upright, inverted, flat, biphasic or tall."""
    onset = qrs_ms + rng.uniform(0.1, 0.35) * (qt - qrs_ms)
    kind = rng.choice(["upright", "inverted", "flat", "biphasic", "tall"], p=[0.55, 0.17, 0.1, 0.1, 0.08])
    size = {"flat": rng.uniform(0.04, 0.1), "tall": rng.uniform(0.6, 1.2)}.get(kind, rng.uniform(0.15, 0.5))
    turn, front = rng.normal(35, 35) + 180 * (kind == "inverted"), rng.normal(0.4, 0.35)
    peak, power = rng.uniform(0.5, 0.68), rng.uniform(1.1, 1.7)
    if kind == "biphasic":
        middle = rng.uniform(0.4, 0.6) * (onset + qt)
        return (
            Lobe(onset, middle + 15, peak, power, size * _direction(turn, front)),
            Lobe(middle - 15, qt, peak, power, -rng.uniform(0.4, 1.0) * size * _direction(turn, front)),
        )
    return (Lobe(onset, qt, peak, power, size * _direction(turn, front)),)


def _st(rng: np.random.Generator, qrs_ms: float, qt: float) -> Lobe:
    """A shift of ST that starts within QRS, stands at J and leaves with T."""
    return Lobe(
        0.9 * qrs_ms, qt - 5, 0.4, 0.7, rng.normal(0, 0.12) * _direction(rng.uniform(-180, 180), rng.normal(0, 0.8))
    )


def _beat(rng: np.random.Generator, rr: float, *, p: bool, shape: str, pr: float, spike: bool = False) -> Beat:
    wide = shape in ("rbbb", "lbbb", "wild") or spike
    d = rng.uniform(118, 185) if wide else rng.uniform(68, 116) + 25 * (shape == "delta")
    qt = float(
        np.clip(rng.normal(400, 35) * rr**0.45 + 25 * wide, d + 110, max(d + 120, 1000 * rr - (pr if p else 0) * 0.6))
    )
    st = (_st(rng, d, qt),) if rng.random() < 0.3 else ()
    size = rng.choice([0.2, 0.6, 2.0]) * rng.choice([-1.0, 1.0])
    jump = _direction(rng.uniform(60, 120), rng.normal(0, 0.5)) * size if spike else None
    return Beat(_p(rng, pr) if p else (), _qrs(rng, shape, d), _t(rng, d, qt), st, jump)


def _events(rhythm: str, seconds: float, rng: np.random.Generator) -> list[_Event]:
    """The beats, and P waves without QRS, from before the start to after the end."""
    low, high = {
        "sinus": (38, 110), "sinus arrhythmia": (45, 100), "sinus tachycardia": (100, 185),
        "atrial fibrillation": (45, 175), "atrial flutter": (60, 160), "junctional": (35, 110),
        "supraventricular tachycardia": (140, 220), "AV block": (45, 100), "paced": (50, 110), "ventricular": (30, 190),
    }[rhythm]  # fmt: skip
    rr = 60 / rng.uniform(low, high)
    pr = min(
        float(np.clip(rng.normal(155, 25), 95, 230)) + (rhythm == "AV block") * rng.uniform(40, 160), 1000 * rr - 180
    )
    shapes, weights = ("normal", "rbbb", "lbbb", "q", "delta"), (0.62, 0.12, 0.1, 0.12, 0.04)
    shape = "wild" if rhythm == "ventricular" else "lbbb" if rhythm == "paced" else str(rng.choice(shapes, p=weights))
    if shape == "delta":
        pr = min(pr, 115.0)
    p = rhythm not in WITHOUT_P and not (rhythm == "paced" and rng.random() < 0.5)
    usual = _beat(rng, rr, p=p, shape=shape, pr=max(pr, 90.0), spike=rhythm == "paced")
    kind = "paced" if rhythm == "paced" else "dominant"
    cv = {"atrial fibrillation": rng.uniform(0.14, 0.32), "sinus arrhythmia": rng.uniform(0.08, 0.18)}.get(
        rhythm, rng.uniform(0.003, 0.03)
    )
    if rhythm == "atrial flutter" and rng.random() < 0.4:
        cv = 0.25
    least = max(0.27, (max(lobe.end for lobe in usual.t) + (pr if p else 0) * 0.4) / 1000)
    premature = _beat(rng, 0.8, p=False, shape="wild", pr=150)
    other_p = Beat(_p(rng, max(90.0, pr - 20), odd=True), usual.qrs, usual.t)
    often = (
        rng.choice([0.0, rng.uniform(0.03, 0.3)], p=[0.7, 0.3])
        if rhythm in ("sinus", "atrial fibrillation", "sinus arrhythmia")
        else 0.0
    )
    dropped = rng.uniform(0.15, 0.5) if rhythm == "AV block" and rng.random() < 0.5 else 0.0
    events: list[_Event] = []
    at, single = -rr * rng.uniform(0, 1) - rr, 0.0
    while at < seconds + 1:
        step = max(least, rr * (1 + cv * float(np.clip(rng.normal(), -2, 2.6))))
        if often and rng.random() < often and len(events) > 1 and single == 0:
            ventricular = rng.random() < 0.6 or rhythm == "atrial fibrillation"
            early = max(least + 0.02, step * rng.uniform(0.55, 0.8))
            at += min(early, 0.9 * step)
            events.append(_Event(at, *(("ventricular", premature) if ventricular else ("supraventricular", other_p))))
            single = 1.6 * step - early if ventricular else 0.1 * step
            continue
        at += step + single
        single = 0.0
        if dropped and rng.random() < dropped:
            events.append(_Event(at, "P", Beat(usual.p, (), ())))
        else:
            events.append(_Event(at, kind, usual))
    return [event for event in events if -0.7 < event.onset < seconds + 0.4]


def _fibrillation(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fibrillation waves, [8, T] in mV: 4 to 9 Hz, wandering in rate and size, largest in V1 and II."""
    rate, size = 1 / (t[1] - t[0]), rng.choice([0.015, 0.05, 0.1, 0.18], p=[0.25, 0.35, 0.25, 0.15])
    out = np.zeros((len(RECORDED), len(t)))
    for share in (1.0, rng.uniform(0.3, 0.9)):
        hz = rng.uniform(4.0, 9.0) + rng.uniform(0.2, 1.0) * np.sin(
            2 * np.pi * (rng.uniform(0.1, 0.6) * t + rng.random())
        )
        phase = 2 * np.pi * (np.cumsum(hz) / rate + rng.random())
        swell = 1 + rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * (rng.uniform(0.2, 0.9) * t + rng.random()))
        wave = np.sin(phase) + rng.uniform(0, 0.5) * np.sin(2 * phase + rng.uniform(0, 6.3))
        out += (
            share
            * size
            * (LEAD_VECTORS @ (rng.normal(0, 0.35, 3) + np.array([0.1, 0.55, 0.75])))[:, None]
            * (swell * wave)
        )
    return out


def _flutter(t: np.ndarray, vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flutter waves, [8, T] in mV: a skewed saw of 230 to 340 a minute, negative in II, III and aVF or the other way
    round."""
    phase = (rng.uniform(230, 340) / 60 * t + rng.random()) % 1.0
    rise = rng.uniform(0.2, 0.45)
    saw = np.where(phase < rise, phase / rise, (1 - phase) / (1 - rise))
    smooth = np.convolve(np.pad(saw - 0.5, 12, mode="edge"), np.hanning(25) / np.hanning(25).sum(), mode="valid")
    vector = rng.uniform(0.08, 0.3) * _direction(rng.choice([-90.0, 90.0]) + rng.normal(0, 15), rng.normal(0.3, 0.3))
    return np.asarray((vectors @ vector)[:, None] * smooth[: len(t)])
