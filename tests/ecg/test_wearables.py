"""Exports of wearables: an Apple Watch that is set to German, with what stands above the numbers and its decimal comma,
and a table of six leads at 300 Hz as those who hold Kardia recordings have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.report import recording_lines
from tests.ecg.test_formats_tables import APPLE_IN_GERMAN as APPLE
from tests.ecg.test_formats_tables import RATE, SIZE, text, written

ECG = simulate(Heart(rate_bpm=72), seed=3)[0].signal[:2, : 2 * SIZE : 2].astype(np.float64)


@pytest.mark.parametrize("rate", ["Messrate,249,998 hertz", "Messrate,250\u00a0Hertz", "Abtastrate,250 Hertz"])
def test_apples_export_in_german(tmp_path: Path, rate: str) -> None:
    """A decimal comma in the one column, which is no second column."""
    head = f"{APPLE}{rate}\n\n\nAbleitung,Ableitung I\nEinheit,\u00b5V\n\n"
    for form in ("{:.3f}", "{:.1f}"):
        recording = written(tmp_path, head + text(1000 * ECG[0], form=form, comma=True))
        assert recording.leads == ("I",)
        assert " 1 lead, " in recording_lines(recording)[0]
        assert recording.rate == pytest.approx(250, rel=1e-4)
        np.testing.assert_allclose(recording.signal[0], ECG[0], atol=1e-4)


def test_numbers_that_count_are_no_whole_part_of_others(tmp_path: Path) -> None:
    """Two columns below the name of a lead are no one column with a decimal comma."""
    body = text([str(n) for n in range(SIZE)], np.abs(1000 * ECG[1]), form="{:.0f}")
    recording = written(tmp_path, f"Export,1\nLead,Lead II\nUnit,\u00b5V\n{body}", rate=RATE)
    assert recording.leads == ("II",)
    np.testing.assert_allclose(recording.signal[0], np.abs(ECG[1]), atol=1e-3)


def test_six_limb_leads_at_300_hz_whose_times_are_rounded(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=3)[0].select(("I", "II", "III", "aVR", "aVL", "aVF")).resample(300)
    titles = ",".join(["Time (s)", *(f"Lead {name} (mV)" for name in made.leads)])
    rows = [",".join([f"{at / 300:.5f}", *(f"{value:.4f}" for value in each)]) for at, each in enumerate(made.signal.T)]
    (tmp_path / "kardia.csv").write_text("\n".join([titles, *rows]) + "\n")
    recording = read(tmp_path / "kardia.csv")
    assert recording.leads == made.leads and recording.rate == pytest.approx(300, rel=1e-4)
    np.testing.assert_allclose(recording.signal, made.signal, atol=1e-4)
