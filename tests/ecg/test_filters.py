"""Resampling and filters against signals whose result is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_ecg.ecg.filters import bridge, highpass, notch, resample
from llava_ecg.errors import InputError


def sine(frequency: float, rate: float, seconds: float = 10.0) -> np.ndarray:
    """float64 [T], 1 mV."""
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize(
    ("old", "new"), [(1000, 500), (257, 500), (400, 500), (500, 250), (128, 500), (500, 360), (499.7, 500)]
)
def test_a_sine_stays_that_sine(old: float, new: float) -> None:
    out = resample(sine(7.0, old)[None], old, new)
    expected = sine(7.0, new)
    assert out.shape == (1, round(round(10 * old) * new / old))
    inner = slice(round(new / 2), -round(new / 2))
    count = min(out.shape[1], expected.size)
    assert np.abs(out[0, :count] - expected[:count])[inner].max() < 1e-3


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    """180 Hz at 1000 Hz would fold to 70 Hz at 250 Hz."""
    assert np.abs(resample(sine(180.0, 1000.0)[None], 1000, 250)[0, 50:-50]).max() < 0.01


@pytest.mark.parametrize(("old", "new"), [(1000, 500), (257, 500), (500, 128)])
def test_a_level_and_a_drift_pass_exactly(old: int, new: int) -> None:
    level = resample(np.full((2, 10 * old), 1.25), old, new)
    assert np.abs(level - 1.25).max() < 1e-5
    drift = resample(np.linspace(0, 5, 10 * old, endpoint=False)[None], old, new)
    assert np.abs(drift[0] - np.arange(10 * new) * 5 / (10 * new)).max() < 0.01


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 700),
    st.sampled_from([100, 128, 250, 257, 360, 400, 500, 1000]),
    st.sampled_from([100, 250, 500, 1000]),
)
def test_the_length_is_rounded(samples: int, old: int, new: int) -> None:
    out = resample(np.zeros((3, samples)), old, new)
    assert out.shape == (3, round(samples * new / old)) and out.dtype == np.float32


def test_twelve_leads() -> None:
    assert resample(np.zeros((12, 10000), np.float32), 1000, 500).shape == (12, 5000)
    assert resample(np.zeros((12, 0), np.float32), 1000, 500).shape == (12, 0)


def test_gaps_stay_gaps_and_spread_to_nothing() -> None:
    signal = np.stack([sine(5.0, 1000.0), sine(5.0, 1000.0), np.full(10000, np.nan)])
    signal[0, 4000:5000] = np.nan
    out = resample(signal, 1000, 500)
    assert np.isnan(out[0, 2000:2500]).all() and np.isfinite(np.delete(out[0], slice(2000, 2500))).all()
    assert np.isfinite(out[1]).all() and np.isnan(out[2]).all()
    assert np.abs(out[0, 2600:4800] - out[1, 2600:4800]).max() < 1e-3


@pytest.mark.parametrize("rates", [(0, 500), (500, 0), (500, -1), (float("nan"), 500), (1e6, 1e-3)])
def test_impossible_rates(rates: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="can't resample"):
        resample(np.zeros((1, 10)), *rates)


def test_bridge() -> None:
    nan = np.nan
    signal = np.array([[nan, 1.0, nan, nan, 4.0, nan], [nan] * 6, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    assert bridge(signal).tolist() == [[1, 1, 2, 3, 4, 4], [0] * 6, [0, 1, 2, 3, 4, 5]]
    assert np.isnan(signal[0, 0]), "the input is left as it was"
    assert bridge(signal.T.copy().T).tolist()[0] == [1, 1, 2, 3, 4, 4], "also where the memory runs the other way"


def test_highpass_takes_drift_and_leaves_beats_in_place() -> None:
    time = np.arange(10000) / 500
    beats = np.sum([np.exp(-(((time - at) / 0.01) ** 2)) for at in np.arange(0.5, 20)], axis=0)
    drift = 0.5 * np.sin(2 * np.pi * 0.1 * time) + 3.0
    out = highpass((beats + drift)[None], 500)[0]
    inner = slice(1000, -1000)
    assert np.abs((out - (beats - beats.mean()))[inner]).max() < 0.05
    assert np.argmax(out[1150:1350]) == np.argmax(beats[1150:1350]) == 100, "no shift"


def test_highpass_and_notch_by_frequency() -> None:
    inner = slice(1000, -1000)
    assert np.abs(highpass(sine(10.0, 500.0)[None], 500)[0] - sine(10.0, 500.0))[inner].max() < 1e-3
    half = highpass(sine(0.5, 500.0, 60)[None], 500)[0, 10000:-10000]
    assert half.max() == pytest.approx(0.5, abs=0.01), "-6 dB at the cutoff"
    assert np.abs(notch(sine(50.0, 500.0)[None], 500, 50)[0, inner]).max() < 0.01
    assert np.abs(notch(sine(10.0, 500.0)[None], 500, 50)[0] - sine(10.0, 500.0))[inner].max() < 0.01


@pytest.mark.parametrize("samples", [1, 2, 40, 1000])
def test_short_signals_are_filtered_too(samples: int) -> None:
    signal = np.ones((2, samples), np.float32)
    signal[1, samples // 2] = np.nan
    out = highpass(signal, 500)
    assert out.shape == signal.shape and np.array_equal(np.isnan(out), np.isnan(signal))
    assert np.nanmax(np.abs(out[0])) < 1e-3


def test_impossible_filters() -> None:
    for frequency in (0, 250, -1, float("nan")):
        with pytest.raises(InputError, match="impossible"):
            highpass(np.zeros((1, 10)), 500, frequency)
