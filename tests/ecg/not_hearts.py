"""Signals without a heartbeat: noise, random walks, mains hum, ventricular fibrillation. All float64 [L, 5000] in mV at
500 Hz."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

T = np.arange(5000) / 500


def gains(rng: np.random.Generator, leads: int) -> np.ndarray:
    return rng.uniform(0.2, 1, leads) * rng.choice([-1, 1], leads)


def white(rng: np.random.Generator, leads: int, mv: float) -> np.ndarray:
    return mv * rng.standard_normal((leads, T.size))


def walk(rng: np.random.Generator, leads: int, mv: float, common: bool) -> np.ndarray:
    """Steps of so many mV; the same in all leads but for its size, or each its own."""
    steps = rng.standard_normal((1 if common else leads, T.size)).cumsum(axis=1)
    return mv * (np.outer(gains(rng, leads), steps[0]) if common else steps)


def hum(rng: np.random.Generator, leads: int, hz: float, noise_mv: float) -> np.ndarray:
    """Mains with two harmonics, whose amplitude drifts."""
    size = 1 + rng.uniform(0.1, 0.9) * np.sin(2 * np.pi * rng.uniform(0.05, 0.5) * T + rng.uniform(0, 6.3))
    wave = np.sin(2 * np.pi * hz * T + rng.uniform(0, 6.3))
    for harmonic in (2, 3):
        wave += rng.uniform(0, 0.4) * np.sin(2 * np.pi * harmonic * hz * T + rng.uniform(0, 6.3))
    return rng.uniform(0.05, 1) * np.outer(gains(rng, leads), size * wave) + white(rng, leads, noise_mv)


def fibrillation(rng: np.random.Generator, leads: int, common: bool) -> np.ndarray:
    """Two to four sines of 3 to 7 Hz whose frequency and amplitude drift; with one sign and size a lead, or one for
    each sine."""
    out = white(rng, leads, 0.005)
    for _ in range(int(rng.integers(2, 5))):
        hz = rng.uniform(3, 7) + rng.uniform(0.2, 0.8) * np.sin(
            2 * np.pi * rng.uniform(0.05, 0.4) * T + rng.uniform(0, 6.3)
        )
        phase = 2 * np.pi * np.cumsum(hz) / 500 + rng.uniform(0, 6.3)
        size = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * T + rng.uniform(0, 6.3))
        out += np.outer(gains(rng, leads) if common else rng.normal(0, 0.5, leads), size * np.sin(phase))
    return rng.uniform(0.2, 1) * out


KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "white noise of 0.02 mV": lambda rng, leads: white(rng, leads, 0.02),
    "white noise of 0.3 mV": lambda rng, leads: white(rng, leads, 0.3),
    "walks of 0.002 mV": lambda rng, leads: walk(rng, leads, 0.002, False),
    "walks of 0.05 mV": lambda rng, leads: walk(rng, leads, 0.05, False),
    "a common walk of 0.002 mV": lambda rng, leads: walk(rng, leads, 0.002, True),
    "a common walk of 0.01 mV": lambda rng, leads: walk(rng, leads, 0.01, True),
    "a common walk of 0.3 mV": lambda rng, leads: walk(rng, leads, 0.3, True),
    "50 Hz": lambda rng, leads: hum(rng, leads, 50.0, 0.0),
    "60 Hz and noise": lambda rng, leads: hum(rng, leads, 60.0, 0.005),
    "49.8 Hz": lambda rng, leads: hum(rng, leads, 49.8, 0.002),
    "fibrillation, leads alike": lambda rng, leads: fibrillation(rng, leads, True),
    "fibrillation, leads each their own": lambda rng, leads: fibrillation(rng, leads, False),
}
