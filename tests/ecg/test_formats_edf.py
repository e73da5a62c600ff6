"""EDF and BDF, written by edfio: voltages within a step, rates, names, and nobody's name."""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.formats import edf, parts_of, read
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

edfio = pytest.importorskip("edfio")
MADE = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0]


def signal(name: str, millivolts: np.ndarray, rate: float, unit: str = "uV", kind: Any = None) -> Any:
    scale = {"uV": 1e3, "mV": 1.0, "V": 1e-3, "bpm": 1.0}[unit]
    return (kind or edfio.EdfSignal)(
        np.asarray(millivolts, float) * scale,
        rate,
        label=name,
        physical_dimension=unit,
        physical_range=(-5 * scale, 5 * scale),
    )


def write(path: Path, *signals: Any) -> Path:
    patient = edfio.Patient(code="123", sex="F", birthdate=date(1960, 6, 1), name="Given_Name")
    recording = edfio.Recording(startdate=date(2025, 5, 31))
    edfio.Edf(signals, patient=patient, recording=recording, starttime=time(22, 30, 5)).write(path)
    return path


@pytest.mark.parametrize("unit", ["uV", "mV"])
def test_edf(tmp_path: Path, unit: str) -> None:
    path = write(
        tmp_path / "a.edf", *(signal(f"ECG {name}", MADE.lead(name), 500, unit) for name in ("II", "V1", "aVR"))
    )
    recording = read(path)
    assert (recording.format, recording.rate, recording.leads) == ("edf", 500.0, ("II", "V1", "aVR"))
    np.testing.assert_allclose(recording.signal, MADE.select(("II", "V1", "aVR")).signal, atol=10 / 65535)
    assert recording.metadata == {"sex": "female", "age": 64.0}
    assert recording.start is not None and recording.start.isoformat() == "2025-05-31T22:30:05"


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("uVolt", 1e3),
        ("microV", 1e3),
        ("\u00b5V", 1e3),
        ("[uV]", 1e3),
        ("uV.", 1e3),
        ("mVolt", 1),
        ("milliV", 1),
        ("Volt", 1e-3),
    ],
)
def test_units_as_devices_write_them(tmp_path: Path, unit: str, scale: float) -> None:
    path = tmp_path / "a.edf"
    made = edfio.EdfSignal(MADE.lead("II") * scale, 500, label="ECG II-Ref", physical_range=(-5 * scale, 5 * scale))
    edfio.Edf([made]).write(path)
    content = bytearray(path.read_bytes())
    content[256 + 96 : 256 + 104] = unit.encode("latin-1").ljust(8)
    path.write_bytes(content)
    recording = read(path)
    assert (recording.leads, recording.notes) == (("II",), ())
    np.testing.assert_allclose(recording.signal[0], MADE.lead("II"), atol=10 / 65535)


def test_easi_by_its_labels(tmp_path: Path) -> None:
    """Its I passes for no lead I."""
    labels = ("ECG E", "ECG A", "ECG S", "ECG I")
    made = zip(labels, MADE.signal, strict=False)
    recording = read(write(tmp_path / "a.edf", *(signal(name, row, 500) for name, row in made)))
    assert recording.leads == ("ECG E", "ECG A", "ECG S", "EASI-I")
    assert "are read as the electrodes of the EASI system" in recording.notes[-1]


def test_a_rate_that_is_no_whole_number(tmp_path: Path) -> None:
    values = MADE.select(("II",)).resample(312.5).signal[0][:3125]
    recording = read(write(tmp_path / "a.edf", signal("II", values, 312.5)))
    assert recording.rate == 312.5 and recording.signal.shape == (1, 3125)
    np.testing.assert_allclose(recording.signal[0], values, atol=10 / 65535)


def test_other_signals_and_slower_leads(tmp_path: Path) -> None:
    slow = MADE.select(("V5",)).resample(250).signal[0]
    path = write(
        tmp_path / "a.edf",
        signal("EKG II", MADE.lead("II"), 500),
        signal("V5", slow, 250),
        signal("HR", np.full(10, 3.0), 1, "bpm"),
        signal("EEG C4-A1", MADE.lead("II"), 500),
    )
    recording = read(path)
    assert recording.leads == ("II", "V5")
    np.testing.assert_allclose(recording.lead("V5")[100:-100], MADE.lead("V5")[100:-100], atol=0.05)
    assert any("V5 is resampled from 250 to 500 Hz" in note for note in recording.notes)
    assert any("HR is left out: bpm is no unit of voltage" in note for note in recording.notes)
    assert any("EEG" in note and "no ECG lead by its name" in note for note in recording.notes)


@pytest.mark.parametrize("rate", [500.0, 312.5])
def test_no_more_than_a_part_is_read(rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = simulate(Heart(rate_bpm=72), seed=1, seconds=64.0)[0].select(("II", "V1")).resample(rate)
    values = long.signal[:, : int(60 * rate)]
    path = write(tmp_path / "a.edf", *(signal(name, row, rate) for name, row in zip(long.leads, values, strict=True)))
    whole = read(path)
    assert read(path, rate=2 * rate, start=10, seconds=4).duration == 4.0, "seconds of the rate that is given"
    seconds, part = parts_of(path)
    assert seconds == 60.0

    def never(self: Any) -> Any:
        raise AssertionError("all of it was read")

    monkeypatch.setattr(edfio.EdfSignal, "data", property(never))
    read_slice, asked = edfio.EdfSignal.get_data_slice, []

    def counted(self: Any, begin: float, end: float) -> Any:
        asked.append((begin, end))
        return read_slice(self, begin, end)

    monkeypatch.setattr(edfio.EdfSignal, "get_data_slice", counted)
    found = part(20.3, 4.0)
    np.testing.assert_array_equal(found.signal, whole.window(20.3, 4.0).signal)
    assert {end - begin <= 8 for begin, end in asked} == {True}
    assert whole.start is not None and found.start == whole.start + timedelta(seconds=20.3)
    assert read(path, start=58, seconds=9).duration == 2.0, "what there is of it"
    for begin in (60, 61):
        with pytest.raises(InputError, match=rf"is 60.0 s long, so nothing is there from {begin} s on"):
            read(path, start=begin)


def test_a_part_with_a_slower_lead(tmp_path: Path) -> None:
    slow = MADE.select(("V5",)).resample(250).signal[0]
    path = write(tmp_path / "a.edf", signal("II", MADE.lead("II"), 500), signal("V5", slow, 250))
    whole = read(path)
    np.testing.assert_allclose(read(path, start=4.1, seconds=2).signal, whole.window(4.1, 2).signal, atol=1e-4)


def test_bdf(tmp_path: Path) -> None:
    path = tmp_path / "a.bdf"
    edfio.Bdf([signal("II", MADE.lead("II"), 500, "uV", edfio.BdfSignal)]).write(path)
    recording = read(path)
    np.testing.assert_allclose(recording.signal[0], MADE.lead("II"), atol=1e-5)
    assert recording.metadata == {}


def test_damage_and_a_missing_library_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.edf", signal("II", MADE.lead("II"), 500))
    content = path.read_bytes()
    (tmp_path / "cut.edf").write_bytes(content[:300])
    with pytest.raises(InputError, match=r"cut.edf can't be read as EDF"):
        read(tmp_path / "cut.edf")
    monkeypatch.setattr(edf, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs edfio"):
        read(path)


def interrupt(path: Path, begins: list[float], *signals: Any, kind: Any = None) -> Path:
    """EDF+ with a data record a second, which says that it was interrupted, and when each record began."""
    (kind or edfio.Edf)(
        signals, data_record_duration=1, annotations=[edfio.EdfAnnotation(0.0, None, "long enough for any time")]
    ).write(path)
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D" if kind is None else b"BDF+D"
    count = int(content[252:256])
    sizes = [int(content[256 + 216 * count + 8 * place :][:8]) for place in range(count)]
    width = 2 if kind is None else 3
    size, told = width * sum(sizes), width * sizes[-1]
    for number, begin in enumerate(begins):
        end = 256 * (count + 1) + size * (number + 1)
        content[end - told : end] = f"+{begin:g}\x14\x14\0".encode().ljust(told, b"\0")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bdf", [False, True])
def test_an_interrupted_recording_lies_where_its_times_say(tmp_path: Path, bdf: bool) -> None:
    begins = [2.5, 3.5, 4.5, 10, 11, 14.25, 15.25, 16.25, 17.25, 18.25]
    kinds = (edfio.Bdf, edfio.BdfSignal) if bdf else (None, None)
    made = MADE.select(("II", "V1"))
    signals = [signal(name, made.lead(name), 500, "uV", kinds[1]) for name in made.leads]
    path = interrupt(tmp_path / ("a.bdf" if bdf else "a.edf"), begins, *signals, kind=kinds[0])
    recording = read(path)
    wanted = np.full((2, round(16.75 * 500)), np.nan)
    for number, begin in enumerate(begins):
        place = round((begin - 2.5) * 500)
        wanted[:, place : place + 500] = made.signal[:, 500 * number : 500 * number + 500]
    np.testing.assert_allclose(recording.signal, wanted, atol=10 / 65535)
    assert "the recording was interrupted: 3 pieces, 6.75 s between them were not recorded" in recording.notes
    seconds, part = parts_of(path)
    assert seconds == 16.75
    for begin, length in ((0, 2), (2.3, 6), (5, 2), (9.7, 3.1), (16, 5)):
        np.testing.assert_array_equal(part(begin, length).signal, recording.window(begin, length).signal)
    with pytest.raises(InputError, match="is 16.8 s long, so nothing is there from 17 s on"):
        read(path, start=17)


@pytest.mark.parametrize(
    ("begins", "message"),
    [
        ([*range(9), 1e12], "is interrupted .* and lasts 1000000000001 s .* with --start and --seconds"),
        ([*range(9), 3], "data record 10 is of 3 s, before the end of the one in front"),
        ([*range(9), float("nan")], "data record 10 does not say when it begins"),
    ],
)
def test_times_that_can_not_be(tmp_path: Path, begins: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(interrupt(tmp_path / "a.edf", begins, signal("II", MADE.lead("II"), 500)))


def test_several_rates_of_an_interrupted_recording_are_refused(tmp_path: Path) -> None:
    slow = MADE.select(("V5",)).resample(250).signal[0]
    path = interrupt(tmp_path / "a.edf", [*range(10)], signal("II", MADE.lead("II"), 500), signal("V5", slow, 250))
    with pytest.raises(InputError, match="several rates; export it as continuous EDF"):
        read(path)


def test_a_continuous_recording_is_that_whatever_its_times_are_rounded_to(tmp_path: Path) -> None:
    """edfio writes the times of records of 0.1 s as 0.30000000000000004 and then takes its own file as interrupted."""
    edfio.Edf(
        [signal("II", MADE.lead("II"), 500)],
        data_record_duration=0.1,
        annotations=[edfio.EdfAnnotation(0.0, None, "a word")],
    ).write(tmp_path / "a.edf")
    recording = read(tmp_path / "a.edf")
    np.testing.assert_allclose(recording.signal[0], MADE.lead("II"), atol=10 / 65535)
