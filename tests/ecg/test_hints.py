"""Swapped electrodes, an upside-down signal, wrong units, how R grows, Q R S of one complex."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from llava_ecg.ecg.amplitudes import Bounds, MedianBeat, qrs_waves
from llava_ecg.ecg.hints import CHEST, delta_wave, r_progression, unit_note
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import LeadMeasurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, draw, simulate


def chest(*values: float | None) -> Mapping[str, float | None]:
    return dict(zip(CHEST, values, strict=True))


@pytest.mark.parametrize(
    ("r", "s", "expected"),
    [
        ((0.2, 0.4, 0.8, 1.2, 1.4, 1.2), (1.0, 1.2, 0.9, 0.5, 0.3, 0.1), ("normal", "V4")),
        ((0.1, 0.15, 0.2, 0.3, 0.6, 0.8), (1.0, 1.3, 1.2, 0.9, 0.5, 0.2), ("poor", "V5")),
        ((0.1, 0.15, 0.2, 0.9, 0.9, 0.8), (1.0, 1.3, 1.2, 0.5, 0.5, 0.2), ("normal", "V4")),
        ((1.1, 1.2, 1.3, 1.2, 1.0, 0.9), (0.4, 0.5, 0.6, 0.4, 0.2, 0.1), ("early", "V1")),
        ((0.5, 0.2, 0.4, 0.9, 1.2, 1.0), (1.0, 1.2, 1.2, 0.8, 0.3, 0.1), ("reversed", "V4")),
        ((0.2, 0.4, None, 1.2, 1.4, 1.2), (1.0, 1.2, 0.9, 0.5, 0.3, 0.1), (None, None)),
    ],
)
def test_r_progression(
    r: tuple[float | None, ...], s: tuple[float, ...], expected: tuple[str | None, str | None]
) -> None:
    assert r_progression(chest(*r), chest(*s)) == expected


@pytest.mark.parametrize(("size", "words"), [(1.2, ""), (1200.0, "uV"), (0.0012, "volts")])
def test_units(size: float, words: str) -> None:
    note = unit_note({name: LeadMeasurements(qrs_mv=size) for name in STANDARD})
    assert (words in note) and bool(note) == bool(words)


def test_a_signal_in_volts_is_said_and_an_empty_one_is_not() -> None:
    recording, _ = simulate(Heart(), seed=1)
    small = replace(recording, signal=recording.signal / 1000)
    (note,) = measure(small).notes
    assert note.startswith("no lead moves by more than 0.00") and "volts" in note
    assert measure(replace(recording, signal=recording.signal * 0)).notes == () == measure(recording).notes


def of(recording: Recording, rows: list[int], signs: list[float]) -> str:
    signal = recording.signal[rows] * np.array(signs, dtype=np.float32)[:, None]
    return measure(Recording(signal, recording.rate, STANDARD)).lead_reversal


SAME, PLUS = list(range(12)), [1.0] * 12


def test_swapped_arms_an_upside_down_signal_and_a_right_one() -> None:
    named = {"arm": 0, "upside down": 0, "": 0}
    for seed in range(20):
        heart = draw(np.random.default_rng(seed))
        if heart.rhythm != "sinus" or not -20 < heart.axis_deg < 55 or heart.conduction != "normal":
            continue
        recording, _ = simulate(heart, seed=seed)
        named["arm"] += "arm electrodes" in of(recording, [0, 2, 1, 4, 3, 5, *range(6, 12)], [-1.0] + [1.0] * 11)
        named["upside down"] += "upside down" in of(recording, SAME, [-1.0] * 12)
        named[""] += of(recording, SAME, PLUS) == ""
    assert named[""] >= 4, "enough hearts were drawn"
    assert named["arm"] == named["upside down"] == named[""]


def test_no_hint_on_any_ordinary_axis() -> None:
    for axis in range(-60, 111, 30):
        assert measure(simulate(Heart(axis_deg=axis), seed=1)[0]).lead_reversal == "", axis


def begun(*ramps: tuple[float, int]) -> MedianBeat:
    """A median beat of twelve alike leads whose QRS is made of ramps (mV to reach, samples at 500 Hz)."""
    levels, lengths = [0.0, *(mv for mv, _ in ramps)], [0, *(count for _, count in ramps)]
    at = np.cumsum(lengths)
    trace = np.zeros((12, 600))
    trace[:, 200 : 200 + at[-1] + 1] = np.interp(np.arange(at[-1] + 1), at, levels)
    return MedianBeat(trace, 225, Bounds(-0.15, -0.06, -0.05, -0.05 + at[-1] / 500, 0.3))


SLURRED = begun((0.25, 20), (1.2, 12), (0.0, 25))  # 40 ms to a quarter of a mV, then on
SHARP = begun((1.2, 12), (0.0, 12), (-0.1, 20), (0.0, 13))


@pytest.mark.parametrize(
    ("beat", "pr_ms", "qrs_ms", "expected"),
    [
        (SLURRED, 119.0, 114.0, True), (SLURRED, 120.0, 114.0, False), (SLURRED, 119.0, 100.0, True),
        (SLURRED, 119.0, 99.0, False), (SHARP, 119.0, 114.0, False), (SLURRED, None, 114.0, None),
        (begun((0.02, 20), (1.2, 12), (0.0, 25)), 119.0, 114.0, False),  # flat for 40 ms: nothing is slurred
    ],
)  # fmt: skip
def test_a_delta_wave(beat: MedianBeat, pr_ms: float | None, qrs_ms: float | None, expected: bool | None) -> None:
    assert delta_wave(beat, pr_ms, qrs_ms) is expected


def deflections(*parts: tuple[float, int]) -> np.ndarray:
    """Half sines one after the other: (mV, samples at 500 Hz)."""
    return np.concatenate([mv * np.sin(np.linspace(0, np.pi, count, endpoint=False)) for mv, count in parts])


@pytest.mark.parametrize(
    ("parts", "pattern"),
    [
        ([(-0.1, 10), (1.0, 20), (-0.3, 15)], "qRs"),
        ([(1.0, 20), (-1.2, 20)], "RS"),
        ([(0.3, 12), (-1.0, 20)], "rS"),
        ([(-1.0, 30)], "QS"),
        ([(0.3, 12), (-0.6, 14), (0.9, 22)], "rSR'"),
        ([(1.0, 30)], "R"),
        ([(-0.02, 10), (1.0, 30)], "R"),  # too small for a Q
        ([(-0.3, 2), (1.0, 30)], "R"),  # too short for a Q
    ],
)
def test_the_pattern_of_qrs(parts: list[tuple[float, int]], pattern: str) -> None:
    found = qrs_waves(deflections(*parts))
    assert found.pattern == pattern
    largest = max(parts, key=lambda part: abs(part[0]))
    waves = [wave for wave in (found.q, found.r, found.s, found.r2, found.s2) if wave is not None]
    if pattern != "R" or len(parts) == 1:
        assert len(waves) == len(parts)
    assert max(waves, key=lambda wave: abs(wave.mv)).mv == pytest.approx(largest[0], rel=0.03)
    assert max(waves, key=lambda wave: abs(wave.mv)).ms == pytest.approx(2 * largest[1], abs=6)
