"""`Augmentation`: an ECG as another machine, electrode or moment would have recorded it, for training.

Pure functions of a recording and a generator. What is drawn does not depend on what the recording holds, so the same
generator does the same to every recording of the same shape. A page that is drawn from the result shows it too.

Axes: L leads, T samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from llava_ecg.ecg.leads import derive
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_WANDER_HZ = (0.05, 0.5)  # breathing and movement
_LARGEST = {"wander_mv": 5.0, "noise_mv": 1.0, "drop_leads": 0.9, "shift_s": 3600.0, "gain": 0.9}


@dataclass(frozen=True)
class Augmentation:
    """How far a recording is changed; all 0 changes nothing.

    The limb leads of a recording with I and II hang together (III is II - I), and stay so: what is drawn for I and II
    decides for the other four.

    Attributes:
        wander_mv: largest amplitude of the baseline's wander, a sum of three slow sines; that of each lead is drawn
            from 0 to this.
        noise_mv: largest standard deviation of white noise; that of a recording is drawn from 0 to this.
        drop_leads: probability of each of I, II and V1 to V6 to fall off and be a flat line at 0; at least one stays.
            A limb lead takes with it all that are made of it: those with I or II in them are recomputed.
        shift_s: the recording begins up to so many seconds later (and is that much shorter), if it is longer than
            twice that.
        gain: the voltages are multiplied by a factor of 1 - this to 1 + this.
    """

    wander_mv: float = 0.0
    noise_mv: float = 0.0
    drop_leads: float = 0.0
    shift_s: float = 0.0
    gain: float = 0.0

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
                raise InputError(f"the augmentation {name} must be from 0 to {largest:g}, not {value!r}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Augmentation:
        """From a plain dict.

        Raises:
            InputError: an unknown setting, or a value out of its range.
        """
        known = [each.name for each in fields(cls)]
        for name in settings:
            if name not in known:
                raise InputError(f"there is no augmentation {str(name)!r}; known are {', '.join(known)}")
        return cls(**settings)

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in _LARGEST)

    def __call__(self, recording: Recording, rng: np.random.Generator) -> Recording:
        """The recording, changed. Samples that were not recorded stay so.

        Args:
            rng: all that is drawn comes from it.
        """
        recording = self._shifted(recording, rng)
        signal = recording.signal.astype(np.float64)
        if self.gain:
            signal *= 1 + rng.uniform(-self.gain, self.gain)
        if self.wander_mv:
            signal += _together(recording, _wander(recording, rng, self.wander_mv))
        if self.noise_mv:
            size = rng.uniform(0, self.noise_mv)
            signal += _together(recording, size * rng.standard_normal(signal.shape))
        if self.drop_leads:
            signal = _dropped(recording, signal, rng, self.drop_leads)
        return replace(recording, signal=signal.astype(np.float32))

    def _shifted(self, recording: Recording, rng: np.random.Generator) -> Recording:
        if not self.shift_s:
            return recording
        start = rng.uniform(0, self.shift_s)
        return recording.window(start, recording.duration) if recording.duration > 2 * self.shift_s else recording


def _wander(recording: Recording, rng: np.random.Generator, largest: float) -> np.ndarray:
    """float64 [L, T] mV."""
    count, samples = recording.signal.shape
    seconds = np.arange(samples) / recording.rate
    whole = np.zeros((count, samples))
    for _ in range(3):
        frequency = rng.uniform(*_WANDER_HZ)
        phase = rng.uniform(0, 2 * math.pi, (count, 1))
        whole += rng.uniform(0, largest / 3, (count, 1)) * np.sin(2 * math.pi * frequency * seconds + phase)
    return whole


def _together(recording: Recording, added: np.ndarray) -> np.ndarray:
    """What is added to each lead [L, T], with limb leads that follow from I and II where both are there."""
    if {"I", "II"} <= set(recording.leads):
        rows = [recording.leads.index(name) for name in ("I", "II")]
        for name, row in derive(added[rows], ("I", "II")).items():
            if name in recording.leads:
                added[recording.leads.index(name)] = row
    return added


def _dropped(recording: Recording, signal: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """The signal [L, T] with leads at 0 where an electrode fell off."""
    own = [name for name in recording.leads if name not in LIMB[2:] or not {"I", "II"} <= set(recording.leads)]
    lost = [name for name, off in zip(own, rng.random(len(own)) < share, strict=True) if off]
    kept = own[int(rng.integers(len(own)))]  # drawn in any case, so that what follows does not hang on it
    if len(lost) == len(own):
        lost.remove(kept)
    for name in lost:
        row = recording.leads.index(name)
        signal[row] = np.where(np.isnan(signal[row]), np.nan, 0.0)
    if {"I", "II"} <= set(recording.leads) and {"I", "II"} & set(lost):
        rows = [recording.leads.index(name) for name in ("I", "II")]
        for name, values in derive(signal[rows], ("I", "II")).items():
            if name in recording.leads:
                signal[recording.leads.index(name)] = values
    return signal
