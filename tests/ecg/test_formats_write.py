"""The same record through each writable format is the same within a step of that format, and tells nobody's name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.cli.signal import ECG_SUFFIXES
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.write import WRITERS, written
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

START = datetime(2026, 1, 2, 3, 4, 5)
STEP_MV = {".csv": 1e-6, ".npz": 1e-7}


def made(rate: float = 500.0, **more: object) -> Recording:
    recording = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0]
    recording = recording if rate == 500 else recording.resample(rate)
    return replace(recording, start=START, metadata={"age": 61.0, "sex": "male"}, **more)  # type: ignore[arg-type]


def through(recording: Recording, path: Path) -> Recording:
    for each, content in written(recording, path).items():
        each.write_bytes(content)
    return read(path)


def test_the_command_knows_every_writer() -> None:
    assert tuple(WRITERS) == ECG_SUFFIXES


@pytest.mark.parametrize("rate", [500.0, 62.5, 976.5625])
@pytest.mark.parametrize("suffix", ECG_SUFFIXES)
def test_the_same_within_a_step(tmp_path: Path, suffix: str, rate: float) -> None:
    if suffix == ".edf":
        pytest.importorskip("edfio")
    recording = made(rate)
    seconds = 16 if suffix == ".edf" and rate != round(rate) else 8  # in EDF a whole number of data records
    recording = replace(recording, signal=np.tile(recording.signal, 2)[:, : round(rate * seconds)])
    back = through(recording, tmp_path / f"out{suffix}")
    assert (back.rate, back.leads) == (pytest.approx(rate, rel=1e-9), recording.leads)
    np.testing.assert_allclose(back.signal, recording.signal, atol=STEP_MV.get(suffix, 1e-3) * 0.51)
    if suffix in (".hea", ".dcm", ".edf"):
        assert back.start == START
    assert "age" not in back.metadata and "sex" not in back.metadata


@pytest.mark.parametrize("suffix", [each for each in ECG_SUFFIXES if each != ".edf"])
def test_gaps_stay_gaps(tmp_path: Path, suffix: str) -> None:
    signal = made().signal.copy()
    signal[2, 100:300] = np.nan
    back = through(made(signal=signal), tmp_path / f"out{suffix}")
    assert np.array_equal(np.isnan(back.signal), np.isnan(signal))


def test_large_voltages_get_a_coarser_step(tmp_path: Path) -> None:
    signal = made().signal.copy()
    signal[0, 5] = 50.0
    for suffix in (".hea", ".dcm"):
        back = through(made(signal=signal), tmp_path / f"out{suffix}")
        np.testing.assert_allclose(back.signal[0], signal[0], atol=0.8e-3)
        np.testing.assert_allclose(back.signal[1], signal[1], atol=0.51e-3)


def test_leads_of_other_names(tmp_path: Path) -> None:
    recording = made().select(("II", "V1"))
    recording = replace(recording, leads=("II", "V3R"))
    for suffix in (".hea", ".dcm", ".csv", ".npz"):
        assert through(recording, tmp_path / f"out{suffix}").leads == ("II", "V3R")


def test_what_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("edfio")
    signal = made().signal.copy()
    signal[0, 0] = np.nan
    with pytest.raises(InputError, match="EDF has no sign for a missing sample"):
        written(made(signal=signal), tmp_path / "a.edf")
    with pytest.raises(InputError, match="can't be called 'a b'"):
        written(made(), tmp_path / "a b.hea")
    with pytest.raises(InputError, match="does not end in .hea"):
        written(made(), tmp_path / "a.xml")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "in.npz", signal=made().signal, rate=500, unit="mV", leads=np.array(made().leads))
    assert main(["convert-ecg", str(tmp_path / "in.npz"), str(tmp_path / "out.hea")]) == 0
    out = capsys.readouterr().out
    assert "12 leads, 500 Hz, 10.0 s" in out and "out.dat" in out and "out.hea" in out
    assert main(["convert-ecg", str(tmp_path / "out.hea"), str(tmp_path / "again.dcm")]) == 0
    np.testing.assert_allclose(read(tmp_path / "again.dcm").signal, made().signal, atol=1.1e-3)
    capsys.readouterr()
    assert main(["convert-ecg", str(tmp_path / "out.hea"), str(tmp_path / "out.hea")]) == 2
    assert "would be written over itself" in capsys.readouterr().err
    assert main(["convert-ecg", str(tmp_path / "out.hea"), str(tmp_path / "out.xml")]) == 2
    assert "does not end in .hea" in capsys.readouterr().err
