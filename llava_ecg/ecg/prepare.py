"""A recording as the wave delineator wants it: at 500 Hz, gaps bridged, without baseline and mains hum.

Axes: L leads, T samples.
"""

from __future__ import annotations

import numpy as np

from llava_ecg.ecg.filters import bridge, highpass, notch
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.waves.recorded import bursts, calibration_pulses, recorded_samples
from llava_ecg.ecg.waves.rules import RATE

# amplitude from which mains are taken out, and how far it must stand out of its neighbourhood
HUM_MV, HUM_RATIO = 0.015, 4.0


def prepared(recording: Recording) -> tuple[np.ndarray, list[str], np.ndarray]:
    """float64 [L, T] at `RATE`, gaps bridged, baseline and hum removed; what was done, in words; bool [L, T] where it
    was recorded."""
    there = recorded_samples(recording.signal, recording.rate)
    own = [row for row, name in enumerate(recording.leads) if name not in recording.derived and there[row].any()]
    there &= ~calibration_pulses(np.where(there, recording.signal, np.nan)[own], recording.rate)
    signal = _steady(recording, there)
    burst = bursts(signal, RATE)
    steps = ["0.5 Hz high-pass, zero phase"]
    if burst.any():
        there &= ~_at_rate(burst, there.shape[1])
        signal = _steady(recording, there)
        steps.append("bursts bridged")
    recorded = _at_rate(there, signal.shape[1])
    for frequency in (50.0, 60.0):
        if recording.rate > 2 * frequency and _hums(signal, frequency):
            signal = notch(signal, RATE, frequency)
            steps.append(f"{frequency:g} Hz notch")
    return np.asarray(signal, dtype=np.float64), steps, recorded


def _steady(recording: Recording, there: np.ndarray) -> np.ndarray:
    """[L, T] at `RATE`, bridged where it is not there and high-passed."""
    bridged = bridge(np.where(there, recording.signal, np.nan)).astype(np.float32)
    return highpass(Recording(bridged, recording.rate, recording.leads).resample(RATE).signal, RATE)


def _at_rate(mask: np.ndarray, samples: int) -> np.ndarray:
    """bool [L, T] at another number of samples over the same time."""
    if mask.all():
        return np.ones((len(mask), samples), dtype=bool)
    return np.asarray(mask[:, np.minimum(np.arange(samples) * mask.shape[1] // max(1, samples), mask.shape[1] - 1)])


def _hums(signal: np.ndarray, frequency: float) -> bool:
    """Whether a lead holds the mains: the amplitude at the frequency is large and stands out of that 3 Hz to either
    side."""
    part = signal[:, : round(10 * RATE)]
    if part.shape[1] < RATE:
        return False
    t = np.arange(part.shape[1]) / RATE
    window = np.hanning(len(t))
    waves = np.exp(-2j * np.pi * np.array([frequency, frequency - 3, frequency + 3])[:, None] * t) * window
    size = np.abs(part @ waves.T) * 2 / window.sum()
    return bool(((size[:, 0] > HUM_MV) & (size[:, 0] > HUM_RATIO * size[:, 1:].max(axis=1))).any())
