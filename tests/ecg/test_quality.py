"""Quality notes on faults that were put into a clean signal, and on real recordings that people judged."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg import Recording, read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.quality import describe_quality, noise_mv, quality
from llava_ecg.ecg.simulate import Heart, simulate
from scripts.bench.measure_inputs import CINC2011, judged


@pytest.fixture(scope="module")
def clean() -> Recording:
    return simulate(Heart(), seed=1)[0]


def texts(recording: Recording) -> list[str]:
    return [str(note) for note in quality(recording)]


def spoil(recording: Recording, lead: str, values: np.ndarray | float, part: slice = slice(None)) -> Recording:
    signal = recording.signal.copy()
    signal[recording.leads.index(lead), part] = values
    return replace(recording, signal=signal)


def test_a_clean_recording_has_no_notes(clean: Recording) -> None:
    assert quality(clean) == () and describe_quality(()) == "good"


def test_each_fault_is_named_with_its_lead(clean: Recording) -> None:
    v2 = clean.lead("V2")
    noise = np.random.default_rng(0).normal(0, 0.2, 5000)
    for values, part, kind, text in [
        (0.7, slice(None), "flat", "lead V2 is flat"),
        (np.nan, slice(None), "empty", "lead V2 holds no values"),
        (np.nan, slice(500, 750), "nan", "lead V2 has gaps: 0.5 of 10 s hold no values"),
        (0.1, slice(1000, 2001), "partly flat", "lead V2 is flat for 2 of 10 s"),
        (v2 + noise, slice(None), "noisy", "lead V2 is noisy (noise of 0.19 mV)"),
        (v2 + 20, slice(2000, 3000), "noisy", "lead V2 is noisy (swings over 2"),
        (np.clip(v2 * 20, -1.3, 1.3), slice(None), "clipped", "lead V2 is clipped at"),
        (
            v2 + 2.0 * np.sin(np.arange(5000) / 800),
            slice(None),
            "drifting",
            "lead V2 drifts: its baseline moves by 4.0 mV",
        ),
    ]:
        values = values[part] if isinstance(values, np.ndarray) else values
        notes = quality(spoil(clean, "V2", values, part))
        assert [(note.lead, note.kind) for note in notes] == [("V2", kind)], text
        assert str(notes[0]).startswith(text), notes


def test_missing_derived_and_short(clean: Recording) -> None:
    limb = clean.select(["I", "II"]).window(0, 2).with_derived()
    assert texts(limb) == [
        "leads V1-V6 are missing",
        "III, aVR, aVL, aVF derived from I and II",
        "the recording is 2 s long, shorter than the 10 s of a standard ECG",
    ]
    assert texts(clean.select([name for name in STANDARD if name != "V2"])) == ["lead V2 is missing"]
    assert (
        texts(clean.select([name for name in STANDARD if name not in ("III", "V1", "V2", "V5")]))[0]
        == "leads III, V1, V2, V5 are missing"
    )


def test_one_line(clean: Recording) -> None:
    spoiled = spoil(spoil(spoil(clean, "V1", 0.0), "V2", 0.0), "aVF", np.nan, slice(100, 200))
    assert describe_quality(quality(spoiled)) == "lead aVF with gaps; leads V1, V2 flat"


def test_a_little_wander_and_an_offset_are_no_drift(clean: Recording) -> None:
    wander = 0.7 * np.sin(np.arange(5000) / 800)
    assert quality(spoil(clean, "V2", clean.lead("V2") + 4.0)) == ()
    assert quality(spoil(clean, "V2", clean.lead("V2") + wander)) == ()
    drifting = spoil(clean, "V2", clean.lead("V2") + 3 * wander)
    assert describe_quality(quality(drifting)) == "lead V2 drifting"
    found = measure(drifting)
    assert found.leads["V2"].quality == "drifting" and found.leads["V3"].quality == "ok"
    assert found.leads["V2"].r_mv == pytest.approx(measure(clean).leads["V2"].r_mv, rel=0.03)


@pytest.mark.parametrize("rate", [250.0, 500.0, 1000.0])
def test_noise_is_measured_and_beats_are_not_noise(rate: float) -> None:
    recording = simulate(Heart(), seed=1, rate=rate)[0]
    assert noise_mv(recording.lead("V2").astype(np.float64), rate) < 0.02
    assert noise_mv(np.random.default_rng(0).normal(0, 0.1, 5000), rate) == pytest.approx(0.1, rel=0.15)
    assert noise_mv(np.zeros(3), rate) == 0


def test_all_nan_and_single_samples_are_no_error() -> None:
    for shape in ((12, 5000), (12, 1)):
        for value in (np.nan, 0.0):
            assert len(quality(Recording(np.full(shape, value, np.float32), 500.0, STANDARD))) >= 12


def test_against_judged_recordings(shared: Path) -> None:
    """CinC 2011: few of the acceptable recordings get a note on a lead, most of the unacceptable do."""
    folder = shared / "data/cinc2011"
    signals = np.load(folder / "signals_500hz_int16.npy")
    with (folder / "labels.csv").open() as file:
        labels = [row["quality"] for row in csv.DictReader(file)]
    noted = {"acceptable": 0, "unacceptable": 0}
    for label, values in zip(labels, signals, strict=True):
        noted[label] += bool(quality(Recording((values / 200).astype(np.float32), 500.0, CINC2011)))
    assert noted["acceptable"] <= 8 and noted["unacceptable"] >= 30, noted  # of 80 and of 40
    assert judged(folder) >= 0.91  # as reached; 0.909 before drifting leads had a note


def test_the_dead_leads_of_a_real_record(shared: Path) -> None:
    assert describe_quality(quality(read(shared / "data/cinc2021/JS45542"))) == "leads V1-V6 flat"
