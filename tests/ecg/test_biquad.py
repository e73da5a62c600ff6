"""Filters and resampling in numpy give what scipy.signal gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as dsp

from llava_ecg.ecg import biquad


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (biquad.butterworth("high", 0.5, 500), dsp.butter(2, 0.5, "highpass", fs=500, output="sos")),
        (biquad.butterworth("high", 0.5, 97), dsp.butter(2, 0.5, "highpass", fs=97, output="sos")),
        (biquad.butterworth("low", 40, 500), dsp.butter(2, 40, "low", fs=500, output="sos")),
        (biquad.notch(50, 30, 500), dsp.tf2sos(*dsp.iirnotch(50, 30, fs=500))),
        (biquad.notch(60, 30, 130), dsp.tf2sos(*dsp.iirnotch(60, 30, fs=130))),
    ],
)
@pytest.mark.parametrize("samples", [1, 2, 63, 64, 65, 1025, 7000])
def test_forth_and_back_is_scipys_sosfiltfilt(section: biquad.Biquad, expected: np.ndarray, samples: int) -> None:
    np.testing.assert_allclose([section[:3], (1.0, *section[3:])], expected.reshape(2, 3), atol=1e-12)
    signal = np.random.default_rng(samples).standard_normal((2, 3, samples)).cumsum(axis=2) + 5
    for padding in {0, min(300, samples - 1), samples - 1}:
        found = biquad.both_ways(section, signal, padding)
        np.testing.assert_allclose(found, dsp.sosfiltfilt(expected, signal, axis=-1, padlen=padding), atol=1e-7)


@pytest.mark.parametrize(("up", "down"), [(1, 2), (2, 1), (5, 1), (1, 10), (25, 18), (3, 7), (500, 257), (5000, 4997)])
@pytest.mark.parametrize("samples", [1, 2, 100, 1111])
def test_resampling_is_scipys_resample_poly(up: int, down: int, samples: int) -> None:
    factor = max(up, down)
    expected = dsp.firwin(2 * 16 * factor + 1, 1 / factor, window=("kaiser", 7.0))
    taps = biquad.lowpass_taps(16 * factor, 1 / factor, 7.0)
    np.testing.assert_allclose(taps, expected, atol=1e-12)
    signal = np.random.default_rng(up).standard_normal((2, samples))
    found = biquad.polyphase(signal, up, down, taps)
    np.testing.assert_allclose(found, dsp.resample_poly(signal, up, down, axis=-1, window=expected), atol=1e-10)
