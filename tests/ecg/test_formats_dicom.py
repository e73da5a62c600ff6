"""DICOM waveforms in several multiplex groups, and data sets without the preamble. Made from the file in the pydicom
wheel."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg import Recording, read
from llava_ecg.ecg.leads import STANDARD

START = datetime(2013, 1, 25, 10, 59, 19)


def source() -> str:
    from pydicom.data import get_testdata_file

    return str(get_testdata_file("waveform_ecg.dcm"))


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """float32 [12, 10000] mV at 1000 Hz: all leads of the file."""
    return read(source()).signal


def part(
    group: Any, rows: Sequence[int], first: int = 0, last: int = 10_000, offset_ms: float | None = None, every: int = 1
) -> Any:
    """A multiplex group of some channels over some samples, from ``offset_ms`` on, with every n-th sample."""
    out = copy.deepcopy(group)
    samples = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)[first:last:every, list(rows)]
    out.WaveformData = samples.tobytes()
    out.NumberOfWaveformChannels, out.NumberOfWaveformSamples = samples.shape[1], samples.shape[0]
    out.SamplingFrequency = str(1000 / every)
    out.ChannelDefinitionSequence = [copy.deepcopy(group.ChannelDefinitionSequence[row]) for row in rows]
    if offset_ms is not None:
        out.MultiplexGroupTimeOffset = str(offset_ms)
    return out


def columns(group: Any, begin_ms: float = 0, pause_ms: float = 0) -> list[Any]:
    """The four columns of a page, three leads each, 2.5 s each, in turn."""
    return [
        part(group, range(3 * n, 3 * n + 3), 2500 * n, 2500 * (n + 1), begin_ms + n * (2500 + pause_ms))  # in turn
        for n in range(4)
    ]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Recording]:
    """Read a DICOM file with other groups: a function of (recorded group, median beat) gives them."""

    def make(groups: Callable[[Any, Any], list[Any]], **given: Any) -> Recording:
        import pydicom

        file = pydicom.dcmread(source())
        file.WaveformSequence = groups(*file.WaveformSequence)
        file.save_as(tmp_path / "made.dcm")
        return read(tmp_path / "made.dcm", **given)

    return make


@pytest.mark.parametrize("size", [1, 3, 6])
def test_groups_recorded_at_once_are_one_recording(made: Any, whole: np.ndarray, size: int) -> None:
    recording = made(lambda group, median: [median, *(part(group, range(n, n + size)) for n in range(0, 12, size))])
    assert recording.leads == STANDARD and recording.rate == 1000 and recording.notes == () and recording.start == START
    assert np.array_equal(recording.signal, whole)
    assert (
        made(lambda group, _: [part(group, range(n, n + size)) for n in range(0, 12, size)], leads="standard").leads
        == STANDARD
    )


def test_the_columns_of_a_page_with_its_rhythm_strip(made: Any, whole: np.ndarray) -> None:
    """12-Lead ECG, PS3.3 A.34.3: four sets of three leads in turn and a running one; the strip wins over the column."""
    recording = made(lambda group, _: [*columns(group), part(group, [1], offset_ms=0)])
    assert recording.leads == STANDARD and recording.signal.shape == (12, 10_000) and recording.missing == ()
    assert recording.notes == ("the leads were recorded in turn, in 5 waveforms of the file",)
    for row, lead in enumerate(STANDARD):
        there = slice(0, 10_000) if lead == "II" else slice(2500 * (row // 3), 2500 * (row // 3 + 1))
        assert np.array_equal(recording.signal[row, there], whole[row, there]), lead
        assert np.isfinite(recording.signal[row]).sum() == (10_000 if lead == "II" else 2500), lead


@pytest.mark.parametrize(
    ("groups", "seconds", "recorded"),
    [
        (
            lambda group, median: [median, part(group, [1], offset_ms=0), *columns(group)[::-1]],
            10.0,
            {"II": 10.0, "V4": 2.5},
        ),
        (
            lambda group, _: [*columns(group), part(group, [1, 6, 10], offset_ms=0)],
            10.0,
            {"II": 10.0, "V1": 10.0, "V5": 10.0, "V4": 2.5},
        ),
        (lambda group, _: columns(group), 10.0, {"II": 2.5, "V4": 2.5}),
        (lambda group, _: columns(group, begin_ms=60_000), 10.0, {"II": 2.5, "V4": 2.5}),
        (lambda group, _: columns(group, pause_ms=500), 11.5, {"II": 2.5, "V4": 2.5}),
        (
            lambda group, _: [part(group, range(6), 0, 5000, 0), part(group, range(6, 12), 5000, 10_000, 5000)],
            10.0,
            {"II": 5, "V1": 5},
        ),
        (
            lambda group, _: [*(part(group, range(n, n + 3), 0, 2500) for n in (0, 3, 6, 9)), part(group, [1])],
            10.0,
            {"II": 10, "V1": 2.5},
        ),
    ],
)
def test_other_pages(made: Any, groups: Any, seconds: float, recorded: dict[str, float]) -> None:
    """Strip first, three strips, no strip, a late or interrupted page, two columns, columns at once with a longer
    strip."""
    recording = made(groups)
    assert set(recording.leads) == set(STANDARD) and recording.duration == seconds
    for lead, there in recorded.items():
        assert np.isfinite(recording.lead(lead)).sum() == round(1000 * there), lead


def test_the_start_is_that_of_the_first_group(made: Any) -> None:
    assert made(lambda group, _: columns(group, begin_ms=60_000)).start == datetime(2013, 1, 25, 11, 0, 19)


def test_groups_of_different_rates(made: Any, whole: np.ndarray) -> None:
    recording = made(lambda group, _: [part(group, range(6)), part(group, range(6, 12), every=2)])
    assert recording.leads == STANDARD and recording.rate == 1000
    assert np.array_equal(recording.signal[:6], whole[:6])
    assert np.abs(recording.signal[6:] - whole[6:])[:, 100:-100].max() < 0.05


def test_another_recording_stays_another(made: Any, whole: np.ndarray) -> None:
    """Twelve leads a minute later, and names that are given for one group."""
    recording = made(
        lambda group, _: [part(group, range(12), 0, 5000, 0), part(group, range(12), 5000, 10_000, 60_000)]
    )
    assert np.array_equal(recording.signal, whole[:, :5000]) and recording.notes == (
        "1 more recorded waveform of the file left out",
    )
    three = made(lambda group, _: [part(group, range(n, n + 3)) for n in (0, 3, 6, 9)], leads="V1,V2,V3")
    assert three.leads == ("V1", "V2", "V3") and np.array_equal(three.signal, whole[:3])


def bare(implicit: bool, little: bool) -> bytes:
    """The data set alone, in one of the encodings of the standard."""
    import pydicom
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    file = pydicom.Dataset(pydicom.dcmread(source()))
    if not little:
        for group in file.WaveformSequence:
            group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = implicit, little
    write_dataset(out, file)
    return bytes(BytesIO(out.getvalue()).read())


@pytest.mark.parametrize(("implicit", "little"), [(False, True), (True, True), (False, False)])
@pytest.mark.parametrize("before", [b"", bytes(128), bytes(128) + b"DICM"])
@pytest.mark.parametrize("name", ["ecg.dcm", "IM000001"])
def test_a_data_set_without_its_preamble(
    tmp_path: Path, whole: np.ndarray, implicit: bool, little: bool, before: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(before + bare(implicit, little))
    recording = read(tmp_path / name)
    assert recording.format == "dicom" and recording.leads == STANDARD and np.array_equal(recording.signal, whole)


@pytest.mark.parametrize("cut", [128, 132])
def test_the_file_meta_without_its_preamble(tmp_path: Path, whole: np.ndarray, cut: int) -> None:
    """Also with the mark alone in front."""
    (tmp_path / "ecg").write_bytes(Path(source()).read_bytes()[cut:])
    assert np.array_equal(read(tmp_path / "ecg").signal, whole)


# -- what the device said ----------------------------------------------------------------------------------------------


def annotation(
    meaning: str = "",
    value: float | str | None = None,
    unit: str = "ms",
    *,
    code: str = "",
    text: str = "",
    **given: Any,
) -> Any:
    """An annotation of the whole first group, unless ``given`` says another."""
    from pydicom import Dataset

    def coded(value: str, meaning: str) -> list[Any]:
        item = Dataset()
        item.CodeValue, item.CodeMeaning = value, meaning
        return [item]

    made = Dataset()
    made.ReferencedWaveformChannels = [1, 0]
    if meaning or code:
        made.ConceptNameCodeSequence = coded(code, meaning)
    if value is not None:
        made.NumericValue = value
        made.MeasurementUnitsCodeSequence = coded(unit, "")
    if text:
        made.UnformattedTextValue = text
    for name, each in given.items():
        setattr(made, name, each)
    return made


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The metadata of a file with these annotations."""

    def make(*annotations: Any, groups: Callable[[Any, Any], list[Any]] | None = None) -> dict[str, Any]:
        import pydicom

        file = pydicom.dcmread(source())
        file.WaveformAnnotationSequence = list(annotations)
        if groups is not None:
            file.WaveformSequence = groups(*file.WaveformSequence)
        file.save_as(tmp_path / "told.dcm")
        return dict(read(tmp_path / "told.dcm").metadata)

    return make


def test_what_the_device_of_a_file_said() -> None:
    """A zero PP interval, the places of waves and the patient stay out."""
    assert read(source()).metadata == {
        "age": 42.0,
        "sex": "female",
        "device": "Mortara Instrument, Inc. el250",
        "device_measurements": {
            "rr_ms": 982.0,
            "pr_ms": 161.0,
            "qrs_ms": 75.0,
            "qt_ms": 368.0,
            "qtc_ms": 370.0,
            "axis_deg": 52.0,
            "p_axis_deg": 74.0,
            "t_axis_deg": 57.0,
        },
        "device_statements": ["RITMO SINUSALE", "ECG NORMALE"],
    }


@pytest.mark.parametrize(
    ("made", "kept"),
    [
        (annotation(value=0.161, unit="s", code="2:15872"), {"pr_ms": 161.0}),
        (annotation("PR Interval", 161, "deg", code="5.13.5-7"), {}),
        (annotation("PR Interval", 161, "", code="5.13.5-7"), {}),
        (annotation("PR Interval", 0, code="5.13.5-7"), {}),
        (annotation("Heart rate", 61, "{beats}/min", code="8867-4"), {"heart_rate_bpm": 61.0}),
        (annotation("Ventricular Heart Rate", 61, "/min", code="own-1"), {"heart_rate_bpm": 61.0}),
        (annotation("QTc Interval", 400, code="2:15876"), {"qtc_ms": 400.0}),
        (annotation("QTc global using Fredericia formula", 400, code="2:15892"), {"qtc_fridericia_ms": 400.0}),
        (annotation("QTc (Hodges)", 400, code="own-2"), {"qtc_hodges_ms": 400.0}),
        (annotation(value=400, code="MDC_ECG_TIME_PD_QTcB"), {"qtc_bazett_ms": 400.0}),
        (annotation("QRS axis", -61, "deg", code="2:16132"), {"axis_deg": -61.0}),
        (annotation("PR interval per lead", 161, code="2:7168"), {}),
        (annotation("PR Interval", 161, ReferencedWaveformChannels=[1, 3]), {}),
        (annotation("PR Interval", 161, ReferencedWaveformChannels=[2, 0]), {"pr_ms": 161.0}),  # of the median beat
        (annotation("PR Interval", 161, TemporalRangeType="POINT", ReferencedSamplePositions=[5]), {}),
        (annotation("PR Interval", "161\\162"), {}),  # damaged
        (annotation("PR Interval", 161, ReferencedWaveformChannels=[1]), {}),
    ],
)
def test_a_measurement_is_taken_by_its_code_and_unit(told: Any, made: Any, kept: dict[str, float]) -> None:
    assert told(made).get("device_measurements", {}) == kept


def test_the_first_of_two_values_is_taken_and_none_of_another_recording(told: Any) -> None:
    twice = [annotation("QT Interval", 368), annotation("QT Interval", 370, ReferencedWaveformChannels=[2, 0])]
    assert told(*twice)["device_measurements"] == {"qt_ms": 368.0}

    def apart(group: Any, _: Any) -> list[Any]:
        return [part(group, range(12), 0, 5000, 60_000), part(group, range(12), 0, 5001, 0)]

    found = told(*twice, annotation(text="LVH"), annotation(text="AF", ReferencedWaveformChannels=[2, 0]), groups=apart)
    assert found["device_measurements"] == {"qt_ms": 370.0} and found["device_statements"] == ["AF"]


def test_a_statement_that_may_name_somebody_is_dropped_whole(told: Any) -> None:
    found = told(
        annotation(text="Sinus rhythm\r\nLow voltage"),
        annotation(text="Normal ECG\r\nBefundet von\r\nErika Meier"),
        annotation("Overreading Physician", text="Erika Meier"),
        annotation("Rhythm", text="Sinus rhythm"),
        annotation(text="V", ReferencedSamplePositions=[5], TemporalRangeType="POINT"),
    )
    assert found["device_statements"] == ["Sinus rhythm", "Low voltage"]
