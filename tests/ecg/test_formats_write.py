"""The same record through each writable format is the same within a step of that format, and tells nobody's name."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.cli.signal import ECG_SUFFIXES
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.write import WRITERS, as_written, written
from llava_ecg.ecg.formats.write_names import Limits, fitted
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
    recording = replace(recording, signal=np.tile(recording.signal, 2)[:, : round(rate * 8)])
    back = through(recording, tmp_path / f"out{suffix}")
    assert (back.rate, back.leads) == (pytest.approx(rate, rel=1e-9), recording.leads)
    np.testing.assert_allclose(back.signal, recording.signal, atol=STEP_MV.get(suffix, 1e-3) * 0.51)
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


@pytest.mark.parametrize(
    ("rate", "count"),
    [
        (500, 5264),  # of a Sierra file: 10.528 s
        (500, 5003),  # a prime number of samples
        (500, 20),
        (976.5625, 9765),
        (1000 / 3, 3333),
        (128, 1283),
        (360, 650_000),  # MIT-BIH: 1805.555... s
        (499.99, 5000),
    ],
)
def test_edf_holds_every_length(tmp_path: Path, rate: float, count: int) -> None:
    """No sample more or less, at the rate itself, or but for what eight digits leave off; for other programs too."""
    edfio = pytest.importorskip("edfio")
    values = np.resize(made().select(("II", "V1")).signal, (2, count))
    path = tmp_path / "a.edf"
    back = through(Recording(values, rate, ("II", "V1"), start=START), path)
    assert back.signal.shape == values.shape
    assert back.rate == pytest.approx(rate, rel=5e-7)
    np.testing.assert_allclose(back.signal, values, atol=0.51e-3)
    first = edfio.read_edf(path).signals[0]
    assert len(first.data) == count
    assert first.sampling_frequency == pytest.approx(rate, rel=5e-7)
    if count > 1000:
        part = read(path, start=1.25, seconds=1.0)
        first_sample = round(1.25 * back.rate)
        np.testing.assert_array_equal(part.signal, back.signal[:, first_sample : first_sample + round(back.rate)])


def test_a_length_that_edf_can_not_hold_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("edfio")
    recording = Recording(made().signal[:, :4001], 400.12, made().leads)  # a prime number of a rate without a period
    back = through(recording, tmp_path / "a.edf")
    assert back.rate == pytest.approx(400.12, rel=5e-7)
    with pytest.raises(InputError, match=r"7 samples at 333.333 Hz can't be filed as EDF \(no data record"):
        written(Recording(made().signal[:, :7], 333.333, made().leads), tmp_path / "a.edf")


LONG = ("My long name of a channel, the left one", "My long name of a channel, the right one")


@pytest.mark.parametrize(
    ("suffix", "names", "filed", "said"),
    [
        (".edf", ("EKG \u00b5", "II"), ("EKG u", "II"), "EDF holds up to 16 letters of a name, of ASCII"),
        (".edf", LONG, ("My long name of", "channel 2"), "EDF holds up to 16 letters"),
        (".edf", ("V1             ?", "V1             filtered"), ("V1 ?", "V1 filtered"), "EDF holds"),
        (".dcm", ("x\\y", "z" * 70), ("x/y", "z" * 64), "DICOM holds up to 64 letters of a name"),
        (".dcm", ("\u5fc3\u96fb", "EKG \u00b5"), ("\u5fc3\u96fb", "EKG \u00b5"), None),
        (".hea", ("a/b", "-aVR filtered"), ("a/b", "-aVR filtered"), None),
        (".hea", (" a\nb", ""), ("a b", "channel 2"), "a name is one line without marks around it"),
        (".csv", ("a,b", "x;y"), ("a,b", "x;y"), None),
        (".csv", ('a "b" c', "d|e'f"), ('a "b" c', "d|e'f"), None),
        (".csv", ("a\nb", "c (left)"), ("a b", "c (left)"), "a name is one line"),
        (".npz", LONG, LONG, None),
    ],
)
def test_names_that_a_format_can_not_hold_are_replaced_and_said(
    tmp_path: Path, suffix: str, names: tuple[str, ...], filed: tuple[str, ...], said: str | None
) -> None:
    if suffix == ".edf":
        pytest.importorskip("edfio")
    recording = replace(made().select(("II", "V1")), leads=names)
    path = tmp_path / f"out{suffix}"
    assert through(recording, path).leads == filed
    notes = [note for note in as_written(recording, path).notes if "is written as" in note]
    assert len(notes) == sum(old != new for old, new in zip(names, filed, strict=True))
    for note in notes:
        assert said is not None
        assert said in note


def test_a_replaced_name_passes_for_no_other_lead() -> None:
    limits = Limits("short", longest=3, plain=True)
    names, notes = fitted(("II", "IIIb", "III", "aVR, inverted", "\u00e9", "channel 2"), limits)
    assert names == ("II", "channel 3", "III", "channel 4", "e", "cha")
    assert len(notes) == 4


def test_when_it_began_comes_along(tmp_path: Path) -> None:
    """To pandas and to NumPy too: the first row of a table are its titles, and `start` is an array of text."""
    between = START + timedelta(microseconds=250_000)
    for suffix in (".csv", ".npz", ".hea", ".dcm", ".edf"):
        if suffix == ".edf":
            pytest.importorskip("edfio")
        path = tmp_path / f"out{suffix}"
        assert through(replace(made(), start=between), path).start == between, suffix
        assert read(path, start=2.5, seconds=1).start == between + timedelta(seconds=2.5), suffix
        assert through(replace(made(), start=None), path).start is None or suffix == ".edf"
    through(made(), tmp_path / "out.csv")
    head = (tmp_path / "out.csv").read_text().splitlines()
    assert head[0].startswith("time (s since 2026-01-02T03:04:05),I (mV),II (mV)")
    assert head[1].startswith("0,")
    through(made(), tmp_path / "out.npz")
    assert str(np.load(tmp_path / "out.npz")["start"]) == "2026-01-02T03:04:05"


def test_a_year_that_edf_can_not_hold_is_left_out_and_said(tmp_path: Path) -> None:
    """MIMIC-IV's dates are shifted to the years from 2100 on."""
    pytest.importorskip("edfio")
    recording = replace(made(), start=datetime(2150, 1, 1))
    assert "2150" in as_written(recording, tmp_path / "a.edf").notes[-1]
    np.testing.assert_allclose(through(recording, tmp_path / "a.edf").signal, recording.signal, atol=0.51e-3)


def test_a_sidecar_may_say_when_it_began(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", made().signal)
    sidecar: dict[str, Any] = {"rate": 500, "unit": "mV", "leads": list(made().leads)}
    for said, start in (("2026-01-02T03:04:05", START), ("in the morning", None), (12.5, None)):
        (tmp_path / "a.json").write_text(json.dumps(sidecar | {"start": said}))
        assert read(tmp_path / "a.npy").start == start


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
    np.savez(tmp_path / "odd.npz", signal=made().signal[:1], rate=500, unit="mV", leads=np.array(["x\\y"]))
    assert main(["convert-ecg", str(tmp_path / "odd.npz"), str(tmp_path / "odd.dcm")]) == 0
    assert "note     the lead 'x\\\\y' is written as 'x/y': DICOM holds" in capsys.readouterr().out
    assert main(["convert-ecg", str(tmp_path / "out.hea"), str(tmp_path / "out.xml")]) == 2
    assert "does not end in .hea" in capsys.readouterr().err
