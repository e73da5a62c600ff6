"""What has no heartbeat gives no beats, and what has one keeps them.

Of 30 seeds of each kind and number of leads, so many were given beats and a rate by commit aa97f35; "now" is with the
gate. (Measured with more scales and frequencies than are in the test.)

=================================  ============  ============  ============
kind                               1 lead        3 leads       12 leads
=================================  ============  ============  ============
white noise                        0             0             0
random walks, each lead its own    30, now 0     30, now 0     0
a random walk in all leads         as above      30, now 0     30, now 0
mains hum                          0             0             0
fibrillation, leads alike          30, now 0     19, now 0     9, now 0
fibrillation, leads each its own   26, now 0     22, now 0     10, now 0
=================================  ============  ============  ============
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.filters import highpass
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves import net
from llava_ecg.ecg.waves.delineate import RATE, delineate
from llava_ecg.ecg.waves.gate import are_beats, likeness, slopes, steepness
from tests.ecg.not_hearts import KINDS

SEEDS = 6  # of the 30 that the table was made with
LEADS = {1: ("II",), 3: ("I", "II", "V5"), 12: STANDARD}


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_heart_gives_no_beats_and_no_rate(kind: str, leads: int) -> None:
    for seed in range(SEEDS):
        signal = KINDS[kind](np.random.default_rng(seed), leads).astype(np.float32)
        found = measure(Recording(signal, 500.0, LEADS[leads]))
        assert not found.beats and found.heart_rate_bpm is None, f"seed {seed}"
        assert found.reasons["heart_rate_bpm"].startswith(("no QRS complexes were found", "no lead holds a signal"))


def test_the_reason_says_that_nothing_repeats() -> None:
    found = measure(
        Recording(KINDS["walks of 0.05 mV"](np.random.default_rng(0), 1).astype(np.float32), 500.0, ("II",))
    )
    assert found.reasons["heart_rate_bpm"] == found.reasons["qt_ms"] == "no QRS complexes were found that repeat"


def test_the_fallback_by_rules_has_the_gate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> net.Network:
        raise FileNotFoundError("delineator.safetensors")

    monkeypatch.setattr(net, "load", unreadable)
    for kind in ("a common walk of 0.01 mV", "fibrillation, leads alike"):
        for seed in range(3):
            signal = KINDS[kind](np.random.default_rng(seed), 12)
            assert len(delineate(np.asarray(highpass(signal, RATE), dtype=np.float64), STANDARD).r_s) == 0


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize(
    "heart",
    [
        Heart(rate_bpm=60, muscle_mv=0.25),
        Heart(rate_bpm=130, muscle_mv=0.25),
        Heart(rate_bpm=34),
        Heart(rate_bpm=85, rhythm="atrial fibrillation", rr_cv=0.25, f_wave_mv=0.12),
        Heart(rate_bpm=120, qrs_ms=170, qt_ms=380, pr_ms=110, conduction="left bundle branch block"),
        Heart(rate_bpm=70, rhythm="premature ventricular beats"),
        Heart(rate_bpm=72, wander_mv=1.5, mains_mv=0.1),
    ],
)
def test_a_heart_keeps_its_beats(heart: Heart, leads: int) -> None:
    recording, truth = simulate(heart, seed=3)
    found = measure(recording.select(LEADS[leads]))
    assert abs(len(found.beats) - len(truth.beats_s)) <= 1


@pytest.mark.parametrize("seconds", [1.0, 1.6, 2.5])
def test_a_beat_or_two_are_enough(seconds: float) -> None:
    recording, truth = simulate(Heart(rate_bpm=75), seed=1, seconds=seconds)
    assert abs(len(measure(recording).beats) - len(truth.beats_s)) <= 1


def test_noise_for_a_part_of_the_time_takes_no_beats_away() -> None:
    recording, _ = simulate(Heart(rate_bpm=75), seed=1, seconds=20.0)
    signal = recording.signal.copy()
    signal[:, 6000:] += np.random.default_rng(0).normal(0, 1.5, (12, 4000)).astype(np.float32)
    found = measure(Recording(signal, 500.0, STANDARD))
    assert sum(beat.r_s < 11.5 for beat in found.beats) >= 14


def test_every_acceptable_recording_of_cinc2011_has_beats(shared: Path) -> None:
    signals = np.load(shared / "data/cinc2011/signals_500hz_int16.npy", mmap_mode="r")
    for row in range(0, 80, 4):
        assert len(measure(Recording((signals[row] / 200).astype(np.float32), 500.0, STANDARD)).beats) >= 5


def test_steepness_is_against_the_neighbourhood_and_likeness_of_the_best_match() -> None:
    t = np.arange(3000)
    bumps = np.zeros((1, 3000))
    at = np.arange(300, 2800, 400)
    for centre in at:
        bumps += np.exp(-0.5 * ((t - centre) / 8.0) ** 2)
    starts, ends = at - 20.0, at + 20.0
    signal = bumps + np.random.default_rng(0).normal(0, 0.01, bumps.shape)
    slope = slopes(signal)
    assert steepness(slope, starts, ends).shape == (1, len(at)) and steepness(slope, starts, ends).min() > 10
    assert likeness(slope, starts, ends) > 0.95 and are_beats(signal, starts, ends)
    sine = np.sin(2 * np.pi * t / 100)[None]
    assert np.median(steepness(slopes(sine), starts, ends)) < 2 and not are_beats(sine, starts, ends)
    unlike = np.random.default_rng(0).normal(0, 0.001, (1, 4000))
    at = np.arange(300, 3800, 500)
    for number, centre in enumerate(at):  # steep, and each of another shape
        unlike[0, centre - 60 : centre + 60] += np.sin(2 * np.pi * (number + 1) * np.arange(120) / 120)
    starts, ends = at - 60.0, at + 60.0
    assert np.median(steepness(slopes(unlike), starts, ends)) > 10
    assert likeness(slopes(unlike), starts, ends) < 0.6 and not are_beats(unlike, starts, ends)
