"""A part of a long DICOM file is read without the rest: it is that of the whole, and what is damaged fails alike."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from llava_ecg.ecg.formats import dicom, dicom_pieces, parts_of, read
from llava_ecg.errors import InputError
from tests.ecg import windowed
from tests.ecg.test_formats_dicom import columns, part, source
from tests.ecg.windowed import check_windows, memory_of

PADDING = 0x5400100A
CASES = ("data/formats/dicom_12lead_1000hz.dcm", *(f"cases/dicom-{name}" for name in ("four-groups", "3x4-in-turn")))
GROUPS: dict[str, Callable[[Any, Any], list[Any]]] = {
    "as it is": lambda group, median: [group, median],
    "at once": lambda group, median: [median, *(part(group, range(n, n + 3)) for n in (0, 3, 6, 9))],
    "in turn": lambda group, _: [*columns(group, begin_ms=60_000, pause_ms=500), part(group, [1], offset_ms=60_000)],
    "of two rates": lambda group, _: [part(group, range(6)), part(group, range(6, 12), every=2)],
    "of two lengths": lambda group, _: [part(group, range(6), 0, 7000), part(group, range(6, 12))],
}


@pytest.fixture
def few() -> Iterator[list[bool]]:
    """For each part that was read, whether the file was left where it is, though it is short."""
    found, shallow = [], dicom._shallow

    def noted(file: Any) -> Any:
        found.append(False)
        result = shallow(file)
        found[-1] = result is not None
        return result

    with (
        patch.multiple(dicom, _SHORT_BYTES=0, _shallow=noted),
        patch.object(dicom_pieces, "LONG_BYTES", 16_000),
    ):
        yield found


def written(path: Path, groups: Any, *, undefined: bool = False, implicit: bool = False, padded: bool = False) -> Path:
    """The file in the pydicom wheel with other groups, in one of the encodings."""
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian

    file = pydicom.dcmread(source())
    recorded, median = file.WaveformSequence
    if padded:
        samples = np.frombuffer(recorded.WaveformData, "<i2").reshape(-1, 12).copy()
        samples[2000:2500, 3] = -32768
        recorded.WaveformData = samples.tobytes()
        recorded.add_new(PADDING, "OW", struct.pack("<h", -32768))
        for channel in recorded.ChannelDefinitionSequence:
            channel.ChannelBaseline = "12.5"
    file.WaveformSequence = groups(recorded, median)
    file["WaveformSequence"].is_undefined_length = undefined
    for group in file.WaveformSequence:
        group.is_undefined_length_sequence_item = undefined
    if implicit:
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        file = copy.deepcopy(file)
    file.save_as(path, implicit_vr=implicit, little_endian=True)
    return path


@pytest.mark.parametrize("case", CASES)
def test_parts_of_files_of_others(case: str, shared: Path, few: list[bool]) -> None:
    path = shared / case
    check_windows(next(path.glob("*.dcm")) if path.is_dir() else path)
    assert few and all(few)


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("undefined", [False, True])
def test_parts_of_groups(name: str, undefined: bool, tmp_path: Path, few: list[bool]) -> None:
    path = written(tmp_path / "a.dcm", GROUPS[name], undefined=undefined)
    check_windows(path)
    check_windows(path, leads="I,II,V1")
    check_windows(path, rate=500, unit="uV")
    check_windows(path, rate=1e-3)
    assert few and all(few)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("before", [None, b"", bytes(128), bytes(128) + b"DICM"])
def test_parts_of_other_encodings(implicit: bool, before: bytes | None, tmp_path: Path, few: list[bool]) -> None:
    path = written(tmp_path / "a.dcm", GROUPS["as it is"], implicit=implicit, padded=True)
    content = path.read_bytes()
    if before is not None:
        path.write_bytes(before + content[content.index(struct.pack("<HH", 8, 5)) :])
    check_windows(path)
    assert np.isnan(read(path, start=1.5, seconds=2).signal[3]).sum() == 500
    assert few and all(few)


def test_what_else_is_long_or_compressed_is_read_whole(tmp_path: Path, few: list[bool]) -> None:
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file = pydicom.dcmread(source())
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(tmp_path / "a.dcm")
    check_windows(tmp_path / "a.dcm")
    file = pydicom.dcmread(source())
    file.WaveformSequence[0].add_new(PADDING, "OW", bytes(20_000))
    file.save_as(tmp_path / "b.dcm")
    check_windows(tmp_path / "b.dcm")
    assert few and not any(few)


def damages(content: bytes) -> Iterator[bytes]:
    """The file with lengths and counts that can't be."""
    rng = np.random.default_rng(3)
    sequence, item = content.index(struct.pack("<HH2s", 0x5400, 0x0100, b"SQ")) + 8, b"\xfe\xff\x00\xe0"
    first = content.index(item, sequence) + 4
    samples = content.index(struct.pack("<HH", 0x5400, 0x1010)) + 8
    second = content.index(item, samples + 200_000) + 4
    for at in (sequence, first, samples, second):
        (length,) = struct.unpack_from("<L", content, at)
        for other in (0, 1, 8, length // 2, length - 4, length + 2, 2 * length, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
            yield content[:at] + struct.pack("<L", other & 0xFFFFFFFF) + content[at + 4 :]
    for end in (first - 6, first + 3, samples - 3, samples + 4, samples + 100_001, second - 5, len(content) - 10):
        yield content[:end]
    for tag, form in ((0x0005, "<H"), (0x0010, "<L")):
        at = content.index(struct.pack("<HH", 0x003A, tag)) + 8
        for number in (0, 1, 13, 20_000):
            yield content[:at] + struct.pack(form, number) + content[at + struct.calcsize(form) :]
    for at in rng.integers(sequence, samples + 4, 30):
        yield content[:at] + bytes(rng.integers(0, 256, 4, dtype=np.uint8)) + content[at + 4 :]


@pytest.mark.parametrize("undefined", [False, True])
def test_damaged_files_fail_alike(undefined: bool, tmp_path: Path, few: list[bool]) -> None:
    """With the same sentence, as soon as reading the whole would."""
    path = written(tmp_path / "a.dcm", GROUPS["as it is"], undefined=undefined)
    with patch.object(windowed, "SPANS", ((1.3, 2.0),)):
        for content in damages(path.read_bytes()):
            path.write_bytes(content)
            check_windows(path)
    path = written(tmp_path / "b.dcm", lambda group, _: [group], undefined=undefined)
    path.write_bytes(path.read_bytes()[:-50_000])
    said = "can't be read" if undefined else r"is cut short: it holds 79\d\d of 10000 samples a lead"
    with pytest.raises(InputError, match=f"b.dcm {said}"):
        read(path, start=1, seconds=2)
    assert any(few)


@pytest.mark.parametrize("undefined", [False, True])
def test_memory_goes_by_the_part(undefined: bool, tmp_path: Path) -> None:
    """Of 43 MB: an hour of 12 leads at 500 Hz."""

    def hour(group: Any, _: Any) -> list[Any]:
        group.SamplingFrequency, group.NumberOfWaveformSamples = "500", 1_800_000
        group.WaveformData = 180 * group.WaveformData
        return [group]

    path = written(tmp_path / "a.dcm", hour, undefined=undefined)
    short = written(tmp_path / "b.dcm", lambda group, _: [group])
    assert path.stat().st_size > 43e6
    more = memory_of(path, start=1800, seconds=10) - memory_of(short, start=1, seconds=5)
    assert more < 3_000_000


def test_every_stretch_is_read_alone(tmp_path: Path, few: list[bool]) -> None:
    path = written(tmp_path / "a.dcm", GROUPS["as it is"])
    whole = read(path)
    with patch.object(dicom, "_dataset", side_effect=AssertionError("read whole")):
        seconds, stretch = parts_of(path)
        assert seconds == 10.0
        np.testing.assert_array_equal(stretch(4.0, 3.0).signal, whole.signal[:, 4000:7000])
    assert few == [True, True]
    turns = written(tmp_path / "b.dcm", GROUPS["in turn"])
    assert dicom.Dicom().seconds(turns) is None and parts_of(turns)[0] == 11.5, "which leads are asked for counts"


def test_a_part_has_what_the_device_said(tmp_path: Path, few: list[bool]) -> None:
    path = written(tmp_path / "a.dcm", GROUPS["as it is"])
    assert read(path, start=1, seconds=2).metadata == read(path).metadata
    assert any(few) and read(path).metadata["device_measurements"]["qtc_ms"] == 370.0
