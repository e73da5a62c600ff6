"""Reading files: every real record of the shared data, and WFDB and DICOM files made here with every trap of theirs."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg import Recording, read
from llava_ecg.ecg.formats import Options
from llava_ecg.ecg.formats.reader import span_mv
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.plugins import readers


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """float32 [12, 5000] mV at 500 Hz, whole microvolts."""
    return np.round(simulate(seed=3)[0].signal * 1000) / 1000


def write_wfdb(
    folder: Path, signal: np.ndarray, field: str = "1000/mV", step: float = 0.001, comments: str = "", name: str = "rec"
) -> Path:
    """A record of format 16 with one gain field for all leads; ``step`` in mV is what one unit of the file is."""
    steps = np.round(signal / step).astype("<i2")
    (folder / f"{name}.dat").write_bytes(steps.T.tobytes())
    lines = [f"{name} {len(signal)} 500 {signal.shape[1]}"]
    lines += [f"{name}.dat 16 {field} 16 0 0 0 0 {lead}" for lead in STANDARD[: len(signal)]]
    path = folder / f"{name}.hea"
    path.write_text("\n".join(lines) + "\n" + comments, encoding="utf-8")
    return path


def test_every_cinc2021_record(shared: Path) -> None:
    """12 leads at their rate, in millivolts, with age, sex and codes."""
    records = sorted((shared / "data/cinc2021").glob("*.hea"))
    assert len(records) == 60
    for path in records:
        recording = read(path)
        assert recording.leads == STANDARD and recording.format == "wfdb" and recording.source == str(path), path
        assert recording.rate == (1000 if path.name.startswith("S") else 500), path
        assert recording.signal.dtype == np.float32 and np.isfinite(recording.signal).all() and recording.duration >= 10
        assert 0.2 < span_mv(recording.signal, recording.rate) < 5, path
        assert recording.metadata["sex"] in ("male", "female") and recording.metadata["snomed"], path
    first = read(records[0])
    assert first.metadata == {"age": 74.0, "sex": "male", "snomed": ("59118001",)}
    assert "age" not in read(shared / "data/cinc2021/E00001").metadata  # the header says NaN
    raw = np.fromfile(records[0].with_suffix(".mat"), "<i2", offset=24).reshape(-1, 12).T
    assert np.allclose(first.signal, raw / 1000, atol=1e-6)


def test_every_ludb_record(shared: Path) -> None:
    for path in sorted((shared / "data/ludb").glob("*.hea")):
        recording = read(path)
        assert recording.leads == STANDARD and recording.signal.shape == (12, 5000) and recording.rate == 500, path
    assert read(shared / "data/ludb/1.dat").metadata == {"age": 51.0, "sex": "female"}


def test_cinc2011_by_its_step(shared: Path) -> None:
    """Saturated, drifting and dead leads are read; without the step the same values are refused."""
    signals = np.load(shared / "data/cinc2011/signals_500hz_int16.npy")
    for number, values in enumerate(signals):
        recording = read_array(values, shared, unit="0.005")
        assert not recording.notes and recording.signal.shape == (12, 5000), number
        assert np.allclose(recording.signal, values / 200, atol=1e-4)


def read_array(values: np.ndarray, shared: Path, unit: str) -> Recording:
    """The values as if read from a file, through the same door as every array."""
    from llava_ecg.ecg.formats.reader import assemble, check_millivolts

    options, where = Options.of(500, unit, "standard"), shared / "values.npy"
    return check_millivolts(assemble(where, values, options, rate=None, units=[None] * 12, leads=None), where, options)


@pytest.mark.parametrize("name", ["rec.hea", "rec", "rec.dat"])
def test_wfdb_by_header_record_or_signal_file(tmp_path: Path, ecg: np.ndarray, name: str) -> None:
    write_wfdb(tmp_path, ecg)
    recording = read(tmp_path / name)
    assert np.allclose(recording.signal, ecg, atol=1e-6) and recording.leads == STANDARD and recording.rate == 500
    assert recording.start is None and recording.notes == () and recording.derived == frozenset()


@pytest.mark.parametrize(
    ("field", "step"),
    [
        ("1000/mV", 0.001),
        ("1000/mv", 0.001),
        ("1/uV", 0.001),
        ("0.5/\u00b5V", 0.002),
        ("1/\u03bcV", 0.001),
        ("1e6/V", 0.001),
        ("0.001/nV", 0.001),
    ],
)
def test_wfdb_honours_the_unit(tmp_path: Path, ecg: np.ndarray, field: str, step: float) -> None:
    """Also the micro sign, which wfdb drops: its µV would be volts."""
    assert np.abs(read(write_wfdb(tmp_path, ecg, field, step)).signal - ecg).max() < step


def test_wfdb_takes_age_sex_and_codes_and_no_names(tmp_path: Path, ecg: np.ndarray) -> None:
    comments = "#Age: 61\n#Sex: F\n#Dx: 426783006,59118001\n#Name: Erika Mustermann\n#Patient: Mustermann, age: 61\n"
    recording = read(write_wfdb(tmp_path, ecg, comments=comments))
    assert recording.metadata == {"age": 61.0, "sex": "female", "snomed": ("426783006", "59118001")}
    assert "Mustermann" not in repr(recording)


def test_wfdb_start_of_the_recording(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_wfdb(tmp_path, ecg)
    path.write_text(path.read_text().replace("rec 12 500 5000", "rec 12 500 5000 12:30:00 25/12/2020"))
    assert read(path).start == datetime(2020, 12, 25, 12, 30)


def test_wfdb_leaves_out_what_is_no_voltage(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_wfdb(tmp_path, ecg[:3])
    path.write_text(path.read_text().replace("1000/mV 16 0 0 0 0 III", "1000/mmHg 16 0 0 0 0 ABP"))
    recording = read(path)
    assert recording.leads == ("I", "II") and recording.notes == ("ABP is left out: mmHg is no unit of voltage",)


def test_wfdb_says_what_it_assumes(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_wfdb(tmp_path, ecg[:2], step=0.005)
    path.write_text("rec 2\nrec.dat 16\nrec.dat 16\n")
    recording = read(path, leads="I,II")
    assert recording.rate == 250 and np.allclose(recording.signal, ecg[:2], atol=0.003)
    assert any("250 Hz" in note for note in recording.notes) and any(
        "200 steps per mV" in note for note in recording.notes
    )
    with pytest.raises(InputError, match="does not say its leads; give --leads with 2 names"):
        read(path)


def test_wfdb_invalid_samples_are_gaps(tmp_path: Path, ecg: np.ndarray) -> None:
    broken = ecg.copy()
    broken[3, 100:200] = -32.768  # the sample value that format 16 keeps for "not recorded"
    recording = read(write_wfdb(tmp_path, broken))
    assert (
        np.isnan(recording.signal[3, 100:200]).all()
        and np.isfinite(np.delete(recording.signal[3], slice(100, 200))).all()
    )


def test_the_user_overrules_the_file(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_wfdb(tmp_path, ecg[:2])
    recording = read(path, rate=250, leads="V1, v2", unit="mV")
    assert recording.rate == 250 and recording.leads == ("V1", "V2")
    assert recording.notes == (
        "the sampling rate is 250 Hz as given, the file says 500 Hz",
        "the leads are named as given, the file says I, II",
    )
    with pytest.raises(InputError, match="holds 2 leads, but 12 are named"):
        read(path, leads="standard")


@pytest.mark.parametrize(
    "flag", [{"rate": 0}, {"rate": float("nan")}, {"unit": "furlong"}, {"unit": "0"}, {"unit": -1.0}]
)
def test_impossible_options(tmp_path: Path, ecg: np.ndarray, flag: dict[str, Any]) -> None:
    path = write_wfdb(tmp_path, ecg)
    with pytest.raises(InputError, match="impossible; give|unknown unit"):
        read(path, **flag)


@pytest.mark.parametrize(
    ("field", "step", "fix", "unit"),
    [
        ("1/mV", 0.001, "give --unit uV or", "uV"),
        ("1/mV", 0.005, "the millivolts per ADC step", "0.005"),
        ("1/mV", 0.1, "whole numbers", "0.1"),
        ("1000000/mV", 0.001, "give --unit V or", "V"),
    ],
)
def test_millivolts_are_checked(tmp_path: Path, ecg: np.ndarray, field: str, step: float, fix: str, unit: str) -> None:
    """A header that says mV over microvolts, over steps of 5 uV and of 100 uV, and over volts."""
    path = write_wfdb(tmp_path, ecg, field, step)
    with pytest.raises(InputError, match="can't be in millivolts") as caught:
        read(path)
    assert fix in str(caught.value) and str(path) in str(caught.value)
    assert np.abs(read(path, unit=unit).signal - ecg).max() < step


def test_a_wrong_unit_given_is_refused_too(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_wfdb(tmp_path, ecg)
    with pytest.raises(InputError, match="can't be in the unit given.*give --unit mV or"):
        read(path, unit="uV")
    with pytest.raises(InputError, match="can't be in the unit given.*give --unit mV or"):
        read(path, unit="V")
    assert "implausible" in read(path, unit=1000).notes[-1]


def test_drift_spikes_and_dead_leads_are_no_wrong_unit(tmp_path: Path, ecg: np.ndarray) -> None:
    bad = ecg + np.linspace(0, 25, 5000)  # 2.5 mV a second
    bad[0, 2500:2510] = 32.0
    bad[1:8] = 0
    assert read(write_wfdb(tmp_path, bad)).notes == ()
    assert not read(write_wfdb(tmp_path, np.zeros((12, 5000)))).signal.any()


def test_short_and_three_lead_records_are_read(tmp_path: Path, ecg: np.ndarray) -> None:
    recording = read(write_wfdb(tmp_path, ecg[:3, :1000]))
    assert recording.duration == 2 and recording.leads == ("I", "II", "III")
    assert read(write_wfdb(tmp_path, ecg[:3, :5])).signal.shape == (3, 5)


def dicom_path() -> Path:
    from pydicom.data import get_testdata_file

    return Path(str(get_testdata_file("waveform_ecg.dcm")))


@pytest.fixture
def changed_dicom(tmp_path: Path) -> Callable[[Callable[[Any], None]], Path]:
    """The DICOM of the pydicom wheel, changed by a function of its data set and saved under a name without suffix."""

    def save(change: Callable[[Any], None]) -> Path:
        import pydicom

        file = pydicom.dcmread(dicom_path())
        change(file)
        file.save_as(tmp_path / "changed")
        return tmp_path / "changed"

    return save


def test_dicom_of_the_pydicom_wheel() -> None:
    recording = read(dicom_path())
    assert (
        recording.leads == STANDARD
        and recording.rate == 1000
        and recording.signal.shape == (12, 10000)
        and recording.format == "dicom"
    )
    assert recording.start == datetime(2013, 1, 25, 10, 59, 19)
    who = {"age": 42.0, "sex": "female", "device": "Mortara Instrument, Inc. el250"}
    assert who.items() <= recording.metadata.items()
    assert recording.metadata.keys() - who == {"device_measurements", "device_statements"}
    import pydicom

    file = pydicom.dcmread(dicom_path())
    assert np.allclose(recording.signal, file.waveform_array(0).T / 1000, atol=1e-6)  # pydicom's own calibration, in uV
    assert str(file.PatientID) not in repr(recording.metadata) and str(file.PatientName) not in repr(recording.metadata)


def test_dicom_of_the_shared_folder(shared: Path) -> None:
    assert np.array_equal(read(shared / "data/formats/dicom_12lead_1000hz.dcm").signal, read(dicom_path()).signal)


def test_dicom_calibration_padding_and_units(changed_dicom: Callable[[Callable[[Any], None]], Path]) -> None:
    before = read(dicom_path()).signal

    def change(file: Any) -> None:
        group = file.WaveformSequence[0]
        samples = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12).copy()
        samples[500:600, 2] = -32768
        group.WaveformData = samples.tobytes()
        group.add_new(0x5400100A, "OW", np.int16(-32768).tobytes())  # Waveform Padding Value
        first, second = group.ChannelDefinitionSequence[:2]
        first.ChannelSensitivityCorrectionFactor = "2"
        first.ChannelBaseline = "100"
        second.ChannelSensitivity = "0.00125"
        second.ChannelSensitivityUnitsSequence[0].CodeValue = "mV"

    after = read(changed_dicom(change)).signal
    assert np.allclose(after[0], 2 * before[0] + 0.1, atol=1e-5)
    assert np.allclose(after[1], before[1], atol=1e-5)
    assert np.isnan(after[2, 500:600]).all() and np.isnan(after).sum() == 100


def test_dicom_takes_the_recorded_waveform(changed_dicom: Callable[[Callable[[Any], None]], Path]) -> None:
    """The median beat first in the file, a second recorded strip of one lead after it: still the twelve recorded
    leads."""

    def change(file: Any) -> None:
        rhythm, median = file.WaveformSequence
        strip = copy.deepcopy(rhythm)
        strip.NumberOfWaveformChannels = 1
        strip.ChannelDefinitionSequence = strip.ChannelDefinitionSequence[:1]
        strip.NumberOfWaveformSamples = 120000
        strip.WaveformData = rhythm.WaveformData
        file.WaveformSequence = [median, strip, rhythm]

    recording = read(changed_dicom(change))
    assert np.array_equal(recording.signal, read(dicom_path()).signal)
    assert recording.notes == ("1 more recorded waveform of the file left out",)


@pytest.mark.parametrize(
    ("code", "meaning"), [("2:62", "x"), ("9.9", "Lead aVR"), ("", "AVR (augmented)"), ("MDC", "MDC_ECG_LEAD_AVR")]
)
def test_dicom_lead_names(changed_dicom: Callable[[Callable[[Any], None]], Path], code: str, meaning: str) -> None:
    def change(file: Any) -> None:
        source = file.WaveformSequence[0].ChannelDefinitionSequence[3].ChannelSourceSequence[0]
        source.CodeValue, source.CodeMeaning = code, meaning

    assert read(changed_dicom(change)).leads == STANDARD


def test_content_decides_before_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "ecg.csv").write_bytes(dicom_path().read_bytes())
    assert read(tmp_path / "ecg.csv").format == "dicom"
    with pytest.raises(InputError, match="is no NumPy file of numbers but a DICOM file"):
        read(tmp_path / "ecg.csv", reader="numpy")
    with pytest.raises(InputError, match="unknown reader 'dicon'; did you mean dicom"):
        read(tmp_path / "ecg.csv", reader="dicon")


class Toy:
    """A format of somebody else's."""

    suffixes = (".toy",)

    def recognises(self, head: bytes, path: Path) -> bool:
        return head.startswith(b"TOY!")

    def read(self, path: Path, options: Options) -> Recording:
        return Recording(np.full((1, 500), 0.3, np.float32), 100.0, ("II",))


def test_a_format_is_plugged_in(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"TOY!")
    with pytest.raises(InputError, match="in no format that can be read"):
        read(path)
    readers.add("toy", Toy)
    try:
        assert read(path).format == "toy"
    finally:
        readers.remove("toy")


def test_reading_an_array_loads_no_heavy_library() -> None:
    code = (
        "import sys, llava_ecg.ecg; print([n for n in ('torch', 'wfdb', 'pydicom', 'scipy', 'pandas') if n in "
        "sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert out.stdout.strip() == "[]"
