"""The rules without a net: beats and bounds on signals made here from Gaussians, whose places are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_ecg.ecg.waves.rules import RATE, by_rules, second_opinion
from llava_ecg.ecg.waves.rules import median_beat as delineate

GAINS = np.array([0.7, 1.0, 0.4, -0.8, 0.3, 0.7, -0.5, 0.6, 0.9, 1.1, 1.2, 1.0])


def heart(r_s: np.ndarray, seconds: float, p: bool = True, noise: float = 0.005, seed: int = 0) -> np.ndarray:
    """[12, T] in mV at RATE: P 160 ms before R, T 300 ms after, all Gaussians."""
    t = np.arange(round(seconds * RATE)) / RATE
    trace = np.zeros_like(t)
    for r in r_s:
        for size, at, sd in (
            (0.15 * p, -0.16, 0.022),
            (-0.1, -0.025, 0.008),
            (1.2, 0.0, 0.011),
            (-0.25, 0.028, 0.009),
            (0.3, 0.30, 0.045),
        ):
            trace += size * np.exp(-0.5 * ((t - r - at) / sd) ** 2)
    return GAINS[:, None] * trace + np.random.default_rng(seed).normal(0, noise, (12, t.size))


STEADY = np.arange(0.6, 9.6, 0.8)


def test_beats_are_found_once_and_in_place() -> None:
    found = delineate(heart(STEADY, 10))
    assert len(found.beats) == len(STEADY)
    assert np.abs(found.beats / RATE - STEADY).max() < 0.02


def test_one_lead_that_is_noise_is_outvoted() -> None:
    signal = heart(STEADY, 10)
    signal[3] = np.random.default_rng(1).normal(0, 1, signal.shape[1])
    assert len(delineate(signal).beats) == len(STEADY)


def test_a_tall_t_wave_is_not_a_beat() -> None:
    t = np.arange(5000) / RATE
    tall = sum(1.0 * np.exp(-0.5 * ((t - r - 0.3) / 0.045) ** 2) for r in STEADY)
    assert len(delineate(heart(STEADY, 10) + GAINS[:, None] * tall).beats) == len(STEADY)


def test_bounds_lie_at_the_feet_of_the_waves() -> None:
    found = delineate(heart(STEADY, 10))
    assert found.qrs and found.p and found.t and found.t_peak is not None
    to_ms = 1000 / RATE
    zero = (
        found.r - np.median(found.dominant / RATE - STEADY[: len(found.dominant)]) * RATE
    )  # R itself: the fiducial may lie beside it
    assert (found.p[0] - zero) * to_ms == pytest.approx(-160 - 2.5 * 22, abs=15)
    assert (found.qrs[0] - zero) * to_ms == pytest.approx(-45, abs=12)
    assert (found.qrs[1] - zero) * to_ms == pytest.approx(50, abs=12)
    assert (found.t_peak - zero) * to_ms == pytest.approx(300, abs=6)
    assert (found.t[1] - zero) * to_ms == pytest.approx(300 + 2.5 * 45, abs=25)


def test_no_p_wave_in_an_irregular_rhythm_is_absent_not_a_number() -> None:
    gaps = np.random.default_rng(2).uniform(0.55, 1.1, 11)
    found = delineate(heart(0.5 + np.cumsum(gaps), 10.5, p=False, noise=0.02))
    assert found.p is None and found.p_present is False and found.reasons["p"]


def test_a_premature_beat_of_another_shape_is_a_beat_but_not_dominant() -> None:
    signal = heart(np.delete(STEADY, 5), 10)
    t = np.arange(5000) / RATE
    signal += (-GAINS[::-1, None]) * 1.5 * np.exp(-0.5 * ((t - STEADY[5] + 0.2) / 0.035) ** 2)
    found = delineate(signal)
    assert len(found.beats) == len(STEADY)
    assert len(found.dominant) == len(STEADY) - 1


@pytest.mark.parametrize("leads", [1, 2, 12])
def test_flat_leads_and_few_leads(leads: int) -> None:
    signal = np.concatenate([heart(STEADY, 10)[:leads], np.zeros((1, 5000))])
    found = delineate(signal)
    assert len(found.beats) == len(STEADY)
    assert found.live.tolist() == [True] * leads + [False]


@pytest.mark.parametrize("signal", [np.zeros((12, 5000)), np.zeros((1, 1250)), np.zeros((3, 5000)) + 1.0])
def test_no_signal_no_beats(signal: np.ndarray) -> None:
    found = delineate(signal)
    assert len(found.beats) == 0 and found.qrs is None and found.p_present is None


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    leads=st.integers(1, 15),
    samples=st.integers(1250, 4000),
    size=st.sampled_from([1e-3, 0.05, 1.0, 500.0]),
    kind=st.sampled_from(["noise", "steps", "clipped", "walk"]),
)
def test_it_never_raises(seed: int, leads: int, samples: int, size: float, kind: str) -> None:
    draw = np.random.default_rng(seed)
    signal = draw.normal(0, size, (leads, samples))
    if kind == "steps":
        signal = np.sign(np.sin(np.arange(samples) / draw.uniform(5, 300))) * size + 0 * signal
    elif kind == "clipped":
        signal = signal.clip(-size / 4, size / 4)
    elif kind == "walk":
        signal = signal.cumsum(axis=1)
    found = delineate(signal)
    assert np.all(np.diff(found.beats) > 0)
    if found.qrs is not None:
        assert 0 <= found.qrs[0] < found.qrs[1] < found.beat.shape[1]
    if found.p is not None and found.qrs is not None:
        assert found.p[0] < found.p[1] <= found.qrs[0]


def test_one_set_of_bounds_holds_for_all_beats_and_leads() -> None:
    leads = tuple("abcdefghijkl")
    found = by_rules(heart(STEADY, 10), leads)
    relative = found.qrs[found.dominant] - found.r_s[found.dominant][:, None, None]
    assert np.ptp(relative[:, :, 0]) < 1e-9 and np.ptp(relative[:, :, 2]) < 1e-9
    assert len(found.r_s) == len(STEADY) and found.p_present is True
    assert by_rules(np.zeros((12, 5000)), leads).reasons["beats"]


def test_sleepecgs_compiled_code_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can end the process on what a user may give."""
    import sleepecg.heartbeats

    def compiled(*_: object) -> None:
        raise AssertionError("the compiled code ran")

    monkeypatch.setattr(sleepecg.heartbeats, "_thresholding", compiled)
    monkeypatch.setattr(sleepecg.heartbeats, "_squared_moving_integration", compiled)
    assert np.abs(second_opinion(heart(STEADY, 10)[1]) - STEADY).max() < 0.04
    assert len(delineate(heart(STEADY, 10)).beats) == len(STEADY)


@pytest.mark.parametrize("samples", [0, 1, 2, 20, 100, 500, 999, 5000])
def test_a_second_opinion_of_any_length(samples: int) -> None:
    rng = np.random.default_rng(samples)
    for lead in (np.zeros(samples), rng.normal(0, 1, samples), rng.normal(0, 1, samples).cumsum()):
        found = second_opinion(lead)
        assert ((found >= 0) & (found * RATE < max(1, samples))).all()
        late = second_opinion(np.concatenate([np.zeros(4000), lead]))  # a lead that begins flat
        assert (late * RATE >= 3900).all()
