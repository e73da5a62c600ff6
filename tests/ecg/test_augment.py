"""Augmentations do what they say, keep what must be kept, and follow from the generator alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.augment import Augmentation
from llava_ecg.ecg.leads import STANDARD, derive
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

ALL = Augmentation(wander_mv=0.4, noise_mv=0.05, drop_leads=0.3, shift_s=1.0, gain=0.2)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(Heart(rate_bpm=72), seed=3)[0].select()


def changed(recording: Recording, seed: int = 0, **settings: Any) -> Recording:
    return Augmentation(**settings)(recording, np.random.default_rng(seed))


def test_it_follows_from_the_generator(recording: Recording) -> None:
    before = recording.signal.copy()
    first, again, other = (ALL(recording, np.random.default_rng(seed)).signal for seed in (1, 1, 2))
    assert first.dtype == np.float32 and first.tobytes() == again.tobytes()
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert np.array_equal(recording.signal, before)
    assert not Augmentation() and ALL
    nothing = Augmentation()(recording, np.random.default_rng(0))
    assert np.array_equal(nothing.signal, recording.signal)


def test_gain(recording: Recording) -> None:
    factors = []
    for seed in range(20):
        found = changed(recording, seed, gain=0.2).signal
        factors.append(float((found * recording.signal).sum() / (recording.signal**2).sum()))
        assert np.allclose(found, recording.signal * factors[-1], atol=1e-5)
    assert 0.8 <= min(factors) < 0.9 and 1.1 < max(factors) <= 1.2


def test_wander_is_slow_and_of_its_size(recording: Recording) -> None:
    sizes = []
    for seed in range(10):
        added = changed(recording, seed, wander_mv=0.4).signal - recording.signal
        own = added[[0, 1, 6, 7, 8, 9, 10, 11]]
        sizes.append(np.abs(own).max())
        assert sizes[-1] <= 0.4 + 1e-5 and np.abs(np.diff(own)).max() * 500 <= 0.4 * 2 * np.pi * 0.5 + 1e-2
    assert max(sizes) > 0.15


def test_noise_is_of_its_size(recording: Recording) -> None:
    sizes = [float((changed(recording, seed, noise_mv=0.1).signal - recording.signal)[6:].std()) for seed in range(30)]
    assert max(sizes) <= 0.101 and min(sizes) < 0.02 and 0.03 < np.mean(sizes) < 0.07


def test_limb_leads_still_hang_together(recording: Recording) -> None:
    for settings in ({"wander_mv": 0.4}, {"noise_mv": 0.05}, {"drop_leads": 0.5}, {"gain": 0.5}):
        for seed in range(5):
            found = changed(recording, seed, **settings).signal
            for name, row in derive(found[:2], ("I", "II")).items():
                assert np.allclose(found[STANDARD.index(name)], row, atol=1e-5), (settings, name)


def test_leads_fall_off_and_one_stays(recording: Recording) -> None:
    counts = np.zeros(12)
    for seed in range(200):
        off = ~changed(recording, seed, drop_leads=0.3).signal.any(axis=1)
        counts += off
    own = counts[[0, 1, 6, 7, 8, 9, 10, 11]] / 200
    assert (own > 0.18).all() and (own < 0.42).all()
    assert (counts[2:6] < counts[0]).all(), "III is flat only without both"
    for seed in range(50):
        left = changed(recording, seed, drop_leads=0.9).signal
        assert left.any()
    alone = replace(recording, signal=recording.signal[1:2], leads=("II",))
    assert all(changed(alone, seed, drop_leads=0.9).signal.any() for seed in range(20))


def test_time_shift(recording: Recording) -> None:
    starts = set()
    for seed in range(20):
        found = changed(recording, seed, shift_s=2.0)
        start = recording.signal.shape[1] - found.signal.shape[1]
        assert 0 <= start <= 1000 and np.array_equal(found.signal, recording.signal[:, start:])
        starts.add(start)
    assert len(starts) > 10
    assert changed(recording, shift_s=5.0).signal.shape == recording.signal.shape, "too short to lose as much"


def test_what_was_not_recorded_stays_so(recording: Recording) -> None:
    signal = recording.signal.copy()
    signal[0, :100] = signal[7] = np.nan
    found = replace(ALL, shift_s=0.0)(replace(recording, signal=signal), np.random.default_rng(0)).signal
    assert np.isnan(found[0, :100]).all() and np.isnan(found[7]).all()
    assert np.isfinite(found[[1, 6, 8, 9, 10, 11]]).all() and np.isfinite(found[0, 100:]).all()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"gain": 1.0}, "gain must be from 0 to 0.9, not 1.0"),
        ({"noise_mv": -1}, "noise_mv must be from 0"),
        ({"wander_mv": float("nan")}, "wander_mv must be from 0"),
        ({"drop_leads": True}, "drop_leads must be"),
        ({"shift_s": "1"}, "shift_s must be"),
        ({"noise": 1}, "no augmentation 'noise'; known are wander_mv, noise_mv"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Augmentation.of(settings)
    assert Augmentation.of({"gain": 0.1}).gain == 0.1
