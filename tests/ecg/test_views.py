"""Measurements in the shapes of others."""

from __future__ import annotations

import json

import pytest

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.views import GEM_NAMES, MIMIC_MISSING, machine_measurements, mimic_row


def test_gems_fourteen_sequences_have_a_value_a_beat_and_lead() -> None:
    recording, truth = simulate(Heart(rate_bpm=72, pr_ms=160, qrs_ms=90, qt_ms=400), seed=1)
    measured = measure(recording)
    found = machine_measurements(measured)
    assert tuple(found) == STANDARD and all(tuple(lead) == GEM_NAMES for lead in found.values())
    for lead in found.values():
        assert {len(column) for column in lead.values()} == {len(measured.beats)}
    second = found["II"]
    assert second["RR Interval 1"][0] is None and second["RR Interval 2"][-1] is None
    assert second["RR Interval 1"][1] == second["RR Interval 2"][0]
    middle = len(measured.beats) // 2
    assert second["Heart Rate"][middle] == pytest.approx(72, abs=4)
    assert second["PR Interval"][middle] == pytest.approx(160, abs=25)
    assert second["QT Interval"][middle] == pytest.approx(400, abs=30)
    assert second["QT Interval"][middle] > second["T Duration"][middle] + second["QRS Duration"][middle] - 1, (
        "QT holds QRS and T"
    )
    json.dumps(found, allow_nan=False)


def test_absent_p_waves_are_none_for_gem_and_missing_for_mimic() -> None:
    measured = measure(simulate(Heart(rhythm="atrial fibrillation", rr_cv=0.22, rate_bpm=85), seed=2)[0])
    for lead in machine_measurements(measured).values():
        assert set(lead["P Amplitude"]) == set(lead["P Duration"]) == set(lead["PR Interval"]) == {None}
    row = mimic_row(measured)
    assert row["p_onset"] == row["p_end"] == row["p_axis"] == MIMIC_MISSING
    assert row["qrs_onset"] == 0 and row["qrs_end"] == round(measured.qrs_ms or 0)


def test_mimics_columns_fit_together() -> None:
    measured = measure(simulate(Heart(pr_ms=170, qrs_ms=100, qt_ms=390, rate_bpm=66), seed=5)[0])
    row = mimic_row(measured)
    assert row["p_onset"] == 0 < row["p_end"] < row["qrs_onset"] < row["qrs_end"] < row["t_end"]
    assert row["rr_interval"] == pytest.approx(909, abs=20)
    assert row["t_end"] - row["qrs_onset"] == pytest.approx(measured.qt_ms, abs=1)
