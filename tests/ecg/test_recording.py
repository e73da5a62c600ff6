"""`Recording`: what it refuses, selects, cuts and resamples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.case import Case
from llava_ecg.ecg import Recording
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.render import draw_page
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError


@pytest.fixture
def two_leads() -> Recording:
    """I and II, 10 s at 500 Hz, each its own ramp."""
    ramp = np.arange(5000, dtype=np.float32) / 5000
    return Recording(np.stack([ramp, 3 * ramp]), 500.0, ("I", "II"), source="made.npy")


@pytest.mark.parametrize(
    ("shape", "rate", "leads", "said"),
    [
        ((2, 10), 500.0, ("I",), "does not fit 1 lead;"),
        ((10,), 500.0, ("I",), r"must be \[lead, sample\]"),
        ((2, 10), 500.0, ("I", "I"), "occur twice"),
        ((1, 10), 0.0, ("I",), "0.0 Hz is impossible"),
        ((1, 10), float("nan"), ("I",), "nan Hz is impossible"),
    ],
)
def test_impossible_recordings(shape: tuple[int, ...], rate: float, leads: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Recording(np.zeros(shape, np.float32), rate, leads)


def test_duration_and_missing(two_leads: Recording) -> None:
    assert two_leads.duration == 10.0
    assert two_leads.missing == tuple(name for name in STANDARD if name not in ("I", "II"))


def test_lead_by_any_spelling(two_leads: Recording) -> None:
    assert np.array_equal(two_leads.lead("Lead II"), two_leads.signal[1])
    with pytest.raises(InputError, match="made.npy has no lead V1; it has I, II"):
        two_leads.lead("v1")


def test_select_derives_and_marks_limb_leads(two_leads: Recording) -> None:
    chosen = two_leads.select(["aVF", "II", "III"])
    assert chosen.leads == ("aVF", "II", "III")
    assert chosen.derived == {"aVF", "III"}
    one, two = two_leads.signal
    assert np.allclose(chosen.signal, [two - one / 2, two, two - one], atol=1e-6)
    assert chosen.signal.dtype == np.float32


def test_select_keeps_a_recorded_limb_lead() -> None:
    recording = Recording(np.array([[1.0], [2.0], [9.0]], np.float32), 500.0, ("I", "II", "III"))
    chosen = recording.select(["III"])
    assert chosen.derived == frozenset() and chosen.signal[0, 0] == 9.0


def test_select_names_what_is_lacking(two_leads: Recording) -> None:
    with pytest.raises(InputError, match="made.npy lacks V1, V2, V3, V4, V5, V6"):
        two_leads.select()


def test_window(two_leads: Recording) -> None:
    part = two_leads.window(2.0, 3.0)
    assert np.array_equal(part.signal, two_leads.signal[:, 1000:2500])
    assert two_leads.window(8.0, 5.0).duration == 2.0


def test_resample_keeps_the_rest(two_leads: Recording) -> None:
    slower = two_leads.resample(250)
    assert slower.signal.shape == (2, 2500) and slower.signal.dtype == np.float32
    assert slower.rate == 250.0 and slower.leads == two_leads.leads and slower.source == "made.npy"
    assert np.allclose(slower.signal, two_leads.signal[:, ::2], atol=2e-3)
    assert two_leads.resample(500.0) is two_leads


@pytest.mark.parametrize("rate", [499.99, 500.01, 499.9999999, 499.96])
def test_a_rate_that_is_nearly_the_one_wanted(rate: float) -> None:
    """No filter can be made for it; the samples are those of the record, none moved by more than half a sample."""
    beats = simulate(Heart(rate_bpm=72), seed=1)[0]
    recording = Recording(beats.signal, rate, beats.leads)
    again = recording.resample(500.0)
    assert again.rate == 500.0 and again.signal.shape == (12, round(5000 * 500 / rate))
    assert np.array_equal(again.signal[:, :2000], beats.signal[:, :2000])
    long = Recording(np.arange(2_000_000, dtype=np.float32)[None], rate, ("II",)).resample(500.0).signal[0]
    assert np.abs(long - np.arange(len(long)) * rate / 500).max() <= 0.75, "the end of an hour is where it was"
    assert abs(measure(recording).heart_rate_bpm - 72) < 1  # type: ignore[operator]


@pytest.mark.parametrize("take", [measure, draw_page, Case])
@pytest.mark.parametrize("value", ["file.hea", Path("file.hea"), 3, np.zeros((12, 5000))])
def test_what_takes_a_recording_says_so(take: Any, value: Any) -> None:
    with pytest.raises(InputError, match="takes a Recording, not .*read a file with"):
        take(value)
