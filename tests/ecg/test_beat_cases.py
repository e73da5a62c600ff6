"""Recordings that were once read wrongly (../shared/cases), and siblings: slow hearts, premature and paced beats, gaps,
artefacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves.recorded import broken_intervals, bursts, calibration_pulses, recorded_samples


def case(shared: Path, name: str) -> Measurements:
    return measure(read(next((shared / "cases" / name).glob("*.hea"))))


@pytest.mark.parametrize(
    ("name", "rate", "within", "beats", "regular"),
    [
        ("slow-30-bpm", 30, 2, 5, True),
        ("slow-2-to-1-block", 33, 2, 6, True),
        ("bigeminy-halved", 80, 4, 13, False),
        ("bigeminy-t-counted", 78, 4, 12, False),
        ("paced-one-lead", 70, 2, None, True),
        ("gaps-3x4-strip", 72, 3, 12, True),
        ("gaps-in-the-middle", 72, 3, 8, True),
        ("gaps-one-lead-off", 72, 2, 12, True),
        ("artefact-calibration-pulse", 72, 2, 12, True),
        ("artefact-one-spike", 72, 3, 12, True),
        ("artefact-then-clean", 72, 3, None, True),
    ],
)
def test_rate_beats_and_regularity(
    shared: Path, name: str, rate: float, within: float, beats: int | None, regular: bool
) -> None:
    found = case(shared, name)
    assert found.heart_rate_bpm == pytest.approx(rate, abs=within)
    assert found.rhythm_regular is regular
    assert beats is None or len(found.beats) == beats


def test_leads_are_measured_where_they_were_recorded(shared: Path) -> None:
    strip, off = case(shared, "gaps-3x4-strip"), case(shared, "gaps-one-lead-off")
    for name, wave, mv in (("I", "r_mv", 0.70), ("II", "r_mv", 1.20), ("V1", "s_mv", -0.89), ("V2", "s_mv", -1.18)):
        assert getattr(strip.leads[name], wave) == pytest.approx(mv, rel=0.15)
    assert strip.p_present is True and strip.qrs_ms is not None and 80 <= strip.qrs_ms <= 105
    assert off.leads["I"].r_mv == pytest.approx(0.70, rel=0.1)
    assert off.axis_deg == pytest.approx(55, abs=10) and strip.axis_deg == pytest.approx(55, abs=15)


def test_a_paced_beat_is_wide_and_a_premature_one_does_not_widen_the_rest(shared: Path) -> None:
    paced, bigeminy = case(shared, "paced-one-lead"), case(shared, "bigeminy-t-counted")
    assert paced.qrs_ms is not None and paced.qrs_ms >= 150 and paced.qt_ms is not None and 400 <= paced.qt_ms <= 560
    assert bigeminy.qrs_ms is not None and bigeminy.qrs_ms < 110


def made(rate: float, seconds: float = 12.0) -> np.ndarray:
    recording, _ = simulate(Heart(rate_bpm=rate, rr_cv=0.0, muscle_mv=0.004), seed=7, seconds=seconds)
    return recording.signal.copy()


def measured(signal: np.ndarray) -> Measurements:
    return measure(Recording(signal, 500.0, STANDARD))


@pytest.mark.parametrize("rate", [26, 29, 33, 36, 40])
def test_no_slow_heart_is_read_as_a_faster_one(rate: float) -> None:
    assert measured(made(rate)).heart_rate_bpm == pytest.approx(rate, abs=2)


@pytest.mark.parametrize("filler", [np.nan, 0.0, -3.2])
@pytest.mark.parametrize(("first", "last"), [(0, 1500), (3000, 4600), (4800, 6000)])
def test_a_stretch_that_was_not_recorded_is_no_pause(filler: float, first: int, last: int) -> None:
    signal = made(75)
    signal[:, first:last] = filler
    found = measured(signal)
    assert found.heart_rate_bpm == pytest.approx(75, abs=2) and found.rhythm_regular is True and not found.pauses
    assert sum(beat.rr_before_ms is None for beat in found.beats) == (2 if first > 0 and last < 6000 else 1)


def test_a_true_pause_stays_one() -> None:
    signal = np.concatenate(
        [made(75, 6.0), 0.004 * np.random.default_rng(1).standard_normal((12, 1500)), made(75, 6.0)], axis=1
    )
    found = measured(signal.astype(np.float32))
    assert found.pauses == 1 and found.rhythm_regular is False


@pytest.mark.parametrize("place", ["start", "end"])
def test_a_calibration_pulse_is_no_beat(place: str) -> None:
    pulse = 0.004 * np.random.default_rng(2).standard_normal((12, 300))
    pulse[:, 100:200] += 1.0
    parts = [pulse, made(72)] if place == "start" else [made(72), pulse]
    found = measured(np.concatenate(parts, axis=1).astype(np.float32))
    assert found.heart_rate_bpm == pytest.approx(72, abs=1) and found.rhythm_regular is True


def test_what_a_gap_breaks() -> None:
    recorded = np.ones((2, 5000), dtype=bool)
    recorded[:, 1000:1200] = False
    recorded[0, 3000:4000] = False
    assert broken_intervals(np.array([1.0, 1.8, 2.6, 3.4, 9.0]), recorded, 500).tolist() == [False, True, False, False]


def test_a_live_lead_is_recorded_throughout_and_a_nan_is_not() -> None:
    signal = made(60)
    assert (
        recorded_samples(signal, 500).all()
        and not bursts(signal, 500).any()
        and not calibration_pulses(signal, 500).any()
    )
    signal[3, 100:130] = np.nan
    there = recorded_samples(signal, 500)
    assert not there[3, 100:130].any() and there.sum() == there.size - 30


def test_tall_complexes_and_pacing_spikes_are_no_bursts() -> None:
    signal = made(60) * 4
    assert np.abs(signal).max() > 4 and not bursts(signal, 500).any()
    spikes = made(60)
    spikes[:, 200::500] = 15.0
    assert not bursts(spikes, 500).any()
