"""Vendors' formats: leads, rates and voltages against the files' own numbers."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.ecg.formats import parts_of, read, vendor
from llava_ecg.ecg.formats.ishne import without_faults
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from scripts import fuzz_vendor

LIMBS_AND_CHEST = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("ecgdatakit")


@pytest.mark.parametrize("name", ["muse_synthetic_muse.xml", "muse_guangxi_teaching_sinus_rhythm.xml"])
def test_muse_is_its_own_samples(shared: Path, name: str) -> None:
    path = shared / "data" / "formats" / name
    recording = read(path)
    assert (recording.format, recording.rate, recording.leads) == ("GE MUSE XML", 500.0, LIMBS_AND_CHEST)
    root = ElementTree.parse(path).getroot()
    rhythm = next(each for each in root.iter("Waveform") if each.findtext("WaveformType", "").strip() == "Rhythm")
    for lead in rhythm.iter("LeadData"):
        steps = np.frombuffer(base64.b64decode(lead.findtext("WaveFormData", "")), "<i2")
        scale = float(lead.findtext("LeadAmplitudeUnitsPerBit", "")) / 1000
        np.testing.assert_allclose(recording.lead(lead.findtext("LeadID", "").strip()), steps * scale, atol=1e-6)


def test_an_aecg_is_its_own_digits(shared: Path) -> None:
    path = shared / "data" / "formats" / "hl7_aecg_example.xml"
    recording = read(path)
    assert (recording.format, recording.rate, recording.signal.shape) == ("HL7 aECG", 500.0, (12, 5000))
    digits = [np.array(each.split(), float) for each in re.findall(r"<digits>([^<]*)</digits>", path.read_text())]
    np.testing.assert_allclose(recording.lead("I"), digits[0] * 2.5e-3, atol=1e-6)
    assert recording.start == datetime(2002, 11, 22, 9, 10)
    assert recording.metadata["sex"] == "male"


def test_a_sierra_file_agrees_with_its_own_measurements(shared: Path) -> None:
    for name in ("sierra_repbeats_example.xml", "sierra_ad4d3d80-d165_1-04_orig.xml"):
        recording = read(shared / "data" / "formats" / name)
        assert (recording.format, recording.rate, len(recording.leads)) == ("Philips Sierra XML", 500.0, 12)
        assert any("calibration pulse of 1 mV" in note for note in recording.notes)
        assert recording.duration > 10
        assert not (np.ptp(recording.signal[:, -50:], axis=0) == 0).all(), "the pulse is gone"
        content = (shared / "data" / "formats" / name).read_bytes()
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8")
        measured = measure(recording)
        for lead, ramp in re.findall(r'<leadmeasurement leadname="(\w+)".*?<ramp>(\d+)</ramp>', text, re.DOTALL):
            ours = measured.leads[lead].r_mv
            if int(ramp) > 300 and ours is not None:
                assert ours == pytest.approx(int(ramp) / 1000, rel=0.25, abs=0.1), (name, lead)
        assert measured.heart_rate_bpm == pytest.approx(
            recording.metadata["device_measurements"]["heart_rate_bpm"], abs=2
        )


def test_what_the_device_said_stands_beside_ours(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(shared / "data" / "formats" / "sierra_repbeats_example.xml")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^of the device +device +ours$", out, re.MULTILINE)
    assert re.search(r"^heart rate +41 bpm +4\d\.\d$", out, re.MULTILINE)
    assert "- Sinus bradycardia (rate< 50)" in out
    assert re.search(r"^QTc, no formula +393 ms +\d+ Bazett, \d+ Fridericia$", out, re.MULTILINE)


def test_a_type_that_is_not_known_is_one_sentence(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(shared / "data" / "formats" / "sierra_invalid-doc-type.xml")]) == 2
    assert "can't be read as Philips Sierra XML" in capsys.readouterr().err


def ishne(path: Path, millivolts: np.ndarray, rate: int) -> Path:
    """A file by the standard's table: 10 bytes, a block of 512, frames of a sample a lead; 2,500 nV a step."""
    block = bytearray(512)
    leads = len(millivolts)
    struct.pack_into("<4i", block, 0, 0, millivolts.shape[1], 522, 522)
    block[18:23], block[58:62] = b"Given", b"Name"
    struct.pack_into("<h", block, 118, 2)  # female
    struct.pack_into("<3h", block, 128, 24, 12, 2025)
    struct.pack_into("<3h", block, 140, 22, 30, 5)
    struct.pack_into("<h", block, 146, leads)
    struct.pack_into("<12h", block, 148, *([6, 11, 15, *[-9] * 9][:12]))
    struct.pack_into("<12h", block, 196, *[2500] * leads, *[-9] * (12 - leads))
    struct.pack_into("<h", block, 262, rate)
    samples = np.rint(millivolts.T / 2.5e-3).astype("<i2")
    path.write_bytes(b"ISHNE1.0" + b"\0\0" + bytes(block) + samples.tobytes())
    return path


def test_ishne(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("II", "V1", "V5"))
    recording = read(ishne(tmp_path / "holter.ecg", made.signal, 500))
    assert (recording.format, recording.rate, recording.leads) == ("ISHNE", 500.0, ("II", "V1", "V5"))
    np.testing.assert_allclose(recording.signal, made.signal, atol=1.3e-3)
    assert recording.start == datetime(2025, 12, 24, 22, 30, 5)
    assert recording.metadata == {"sex": "female"}, "no name comes along"


def test_a_part_of_ishne_is_read_without_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=60.0)[0].select(("II", "V1", "V5"))
    path = ishne(tmp_path / "holter.ecg", made.signal, 500)
    whole = read(path)
    sizes: list[int] = []
    parse = vendor._parsed

    def counted(path: Path, kind: str) -> Any:
        sizes.append(path.stat().st_size)
        return parse(path, kind)

    monkeypatch.setattr(vendor, "_parsed", counted)
    seconds, part = parts_of(path)
    assert seconds == 60.0
    for begin, length in ((0, 2), (20.3, 4.0), (58, 9)):
        found = part(begin, length)
        np.testing.assert_array_equal(found.signal, whole.window(begin, length).signal)
        assert whole.start is not None and found.start == whole.start + timedelta(seconds=begin)
    assert max(sizes) == 522 + 4 * 500 * 3 * 2
    with pytest.raises(InputError, match="is 60.0 s long, so nothing is there from 60 s on"):
        read(path, start=60)


def test_a_lead_of_ishne_that_had_come_off_is_missing(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("II", "V1", "V5"))
    path = ishne(tmp_path / "holter.ecg", made.signal, 500)
    frames = np.memmap(path, "<i2", "r+", 522).reshape(-1, 3)
    frames[1000:1500, 1] = -32768
    frames.flush()
    for recording, first in ((read(path), 1000), (read(path, start=1, seconds=3), 500)):
        missing = np.isnan(recording.signal)
        assert missing.sum() == missing[1, first : first + 500].sum() == 500
        assert "500 samples are missing: the file says that a lead had come off" in recording.notes
        np.testing.assert_allclose(recording.signal[1, :first], made.signal[1, 1000 - first : 1000], atol=1.3e-3)


def test_where_a_lead_is_left_out_a_fault_in_any_is_missing_in_all() -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("II", "V1"))
    frames = np.zeros((5000, 3), np.int16)
    frames[7, 2] = -32768
    found = without_faults(made, frames)
    assert np.isnan(found.signal).sum() == np.isnan(found.signal[:, 7]).sum() == 2


def test_a_damaged_part_of_ishne_names_the_file(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("II", "V1", "V5"))
    path = ishne(tmp_path / "holter.ecg", made.signal, 500)
    content = bytearray(path.read_bytes())
    struct.pack_into("<h", content, 156, 0)
    (tmp_path / "none.ecg").write_bytes(content)
    with pytest.raises(InputError, match=r"none.ecg can't be read as ISHNE: .*lead count is 0"):
        read(tmp_path / "none.ecg", start=1, seconds=2)


def kardia(path: Path, millivolts: np.ndarray, rate: float) -> Path:
    raw: dict[str, Any] = {"frequency": rate, "amplitudeResolution": 500, "numLeads": 1, "mainsFrequency": 60}
    raw["samples"] = {"leadI": np.rint(millivolts / 5e-4).astype(int).tolist()}
    told = {"recordedAt": "2026-01-02T03:04:05Z", "patientID": "secret", "heartRate": 71, "data": {"raw": raw}}
    path.write_text(json.dumps(told | {"algorithmDetermination": "normal"}))
    return path


def test_kardia_json_with_a_rate_that_is_no_whole_number(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("I",)).resample(312.5)
    recording = read(kardia(tmp_path / "kardia.json", made.signal[0], 312.5))
    assert (recording.format, recording.rate, recording.leads) == ("AliveCor Kardia JSON", 312.5, ("I",))
    np.testing.assert_allclose(recording.signal[0], made.signal[0], atol=3e-4)
    assert recording.metadata == {"device_measurements": {"heart_rate_bpm": 71.0}, "device_statements": ["normal"]}


def mfer(path: Path, steps: np.ndarray, rate_tenths: int) -> Path:
    """Lead II in steps of 5 uV, its rate in tenths of a hertz."""

    def tag(number: int, value: bytes) -> bytes:
        size = bytes([len(value)]) if len(value) < 128 else b"\x84" + len(value).to_bytes(4, "big")
        return bytes([number]) + size + value

    parts = [
        tag(0x40, b"MFR  Standard 12 leads ECG\0"),
        tag(0x01, b"\x01"),  # little endian
        tag(0x08, b"\x01"),
        tag(0x0B, b"\x00\xff" + rate_tenths.to_bytes(4, "little")),
        tag(0x0C, b"\x00\xfa" + (5).to_bytes(2, "little")),  # 5e-6 V
        tag(0x04, len(steps).to_bytes(4, "little")),
        tag(0x05, (1).to_bytes(2, "little")),
        tag(0x06, (1).to_bytes(2, "little")),
        b"\x3f\x00\x04" + tag(0x09, (2).to_bytes(2, "little")),  # of channel 0: lead II
        tag(0x1E, steps.astype("<i2").tobytes()),
        b"\x80\x00",
    ]
    path.write_bytes(b"".join(parts))
    return path


def test_mfer_with_a_rate_that_is_no_whole_number(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(("II",)).resample(62.5)
    recording = read(mfer(tmp_path / "a.mwf", np.rint(made.signal[0] / 5e-3), 625))
    assert (recording.format, recording.rate, recording.leads) == ("MFER", 62.5, ("II",))
    np.testing.assert_allclose(recording.signal[0], made.signal[0], atol=2.6e-3)


@pytest.mark.parametrize("differences", [0, 1, 2])
@pytest.mark.parametrize("huffman", [False, True])
def test_scp(huffman: bool, differences: int, tmp_path: Path) -> None:
    """Samples, first and second differences, plain and by the standard's table of codes, in steps of 1 uV."""
    begun = datetime(2025, 12, 24, 22, 30, 5)
    made = replace(simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(STANDARD), start=begun)
    path = tmp_path / "a.scp"
    path.write_bytes(fuzz_vendor.scp(made, differences=differences, huffman=huffman, microvolts=1.0))
    recording = read(path)
    assert (recording.format, recording.rate, recording.leads) == ("SCP-ECG", 500.0, STANDARD)
    np.testing.assert_allclose(recording.signal, made.signal, atol=0.51e-3)
    assert (recording.start, recording.notes) == (begun, ()), "all checksums are right"
    assert recording.metadata == {"age": 61.0, "sex": "female"}


def test_a_damaged_scp_file_is_noted_or_refused(tmp_path: Path) -> None:
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=2.0)[0].select(("II",))
    content = bytearray(fuzz_vendor.scp(made))
    content[-9] ^= 1
    (tmp_path / "a.scp").write_bytes(content)
    assert any("CRC mismatch in: record, Section 6" in note for note in read(tmp_path / "a.scp").notes)
    (tmp_path / "a.scp").write_bytes(content[:-9])
    with pytest.raises(InputError, match="can't be read as SCP-ECG: SCP-ECG record declares"):
        read(tmp_path / "a.scp")


def test_mortara(tmp_path: Path) -> None:
    begun = datetime(2025, 12, 24, 22, 30, 5)
    made = replace(simulate(Heart(rate_bpm=72), seed=1, seconds=10.0)[0].select(STANDARD), start=begun)
    path = tmp_path / "eli.xml"
    path.write_bytes(fuzz_vendor.mortara(made, per_mv=400))
    recording = read(path)
    assert (recording.format, recording.rate, recording.leads) == ("Mortara ELI XML", 500.0, STANDARD)
    np.testing.assert_allclose(recording.signal, made.signal, atol=1.26e-3)
    assert recording.start == begun
    assert recording.metadata == {"age": 61.0, "sex": "female", "device_measurements": {"heart_rate_bpm": 72.0}}


def test_an_aecg_with_a_rate_that_is_no_whole_number(shared: Path, tmp_path: Path) -> None:
    text = (shared / "data" / "formats" / "hl7_aecg_example.xml").read_text()
    assert '<increment value="0.002" unit="s"/>' in text
    path = tmp_path / "slow.xml"
    path.write_text(text.replace('<increment value="0.002" unit="s"/>', '<increment value="16" unit="ms"/>'))
    assert read(path).rate == 62.5


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kardia(tmp_path / "kardia.json", np.zeros(600), 300)
    monkeypatch.setattr(vendor, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"is AliveCor Kardia JSON, which needs ecgdatakit; .* 'llava-ecg\[formats\]'"):
        read(path)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<?xml version='1.0'?>\n<!DOCTYPE RestingECG SYSTEM 'restecg.dtd'>\n<RestingECG>", "ge_muse_xml"),
        ("\ufeff<?xml version='1.0' encoding='UTF-16'?><restingecgdata x=''>".encode("utf-16-le"), "sierra_xml"),
        (b"<!-- a <RestingECG> --><x:AnnotatedECG xmlns:x='urn:hl7-org:v3'>", "hl7_aecg"),
        (b"<html><body>restingecg</body>", None),
        (b"<ECG><something/></ECG>", None),
        (b'{"rate": 500, "unit": "mV"}', None),
        (b"", None),
        (bytes(64), None),
    ],
)
def test_the_kind_is_told_from_the_content(head: bytes, kind: str | None) -> None:
    assert vendor.kind_of(head) == kind


def parsed(statements: list[tuple[str, str]] | None = None, **given: Any) -> Any:
    """What the library makes of a file, as far as the metadata go by it."""
    told: dict[str, Any] = {"annotations": {}, "raw_metadata": {}} | given
    return SimpleNamespace(
        interpretation=SimpleNamespace(statements=statements or []),
        measurements=SimpleNamespace(**dict.fromkeys(vendor._MEASURED) | told.pop("measurements", {})),
        patient=SimpleNamespace(age=None, sex=""),
        **told,
    )


def test_who_looked_at_it_is_no_statement() -> None:
    said = [("Sinus rhythm", ""), ("Confirmed by DR. A. NAME", ""), ("Long QT", "QTc > 480"), ("", "")]
    told = vendor._metadata(parsed(said), "ge_muse_xml")
    assert told == {"device_statements": ["Sinus rhythm", "Long QT (QTc > 480)"]}


@pytest.mark.parametrize(
    ("kind", "told", "kept"),
    [
        ("ge_muse_xml", {"annotations": {"QTCorrected": "417"}}, {"qtc_ms": 417.0}),
        ("scp_ecg", {"annotations": {"qtc": "431 ms (formula code 2)"}}, {"qtc_hodges_ms": 431.0}),
        ("scp_ecg", {"annotations": {"qtc": "431 ms (formula code 200)"}}, {"qtc_ms": 431.0}),
        ("sierra_xml", {"annotations": {"qtc": "393 ms (formula not stated)"}}, {"qtc_ms": 393.0}),
        ("mortara_el250", {"raw_metadata": {"qtc": 402}}, {"qtc_ms": 402.0}),
        ("hl7_aecg", {"annotations": {"MDC_ECG_TIME_PD_QTc_GL": "0.443 s"}}, {"qtc_ms": 443.0}),
        ("hl7_aecg", {"annotations": {"MDC_ECG_TIME_PD_QTc": "443"}}, {}),  # of what?
        ("hl7_aecg", {"annotations": {"MDC_ECG_TIME_PD_QTc": "44 deg"}}, {}),
        ("hl7_aecg", {"annotations": {"MDC_ECG_TIME_PD_P": "102 ms"}}, {"p_ms": 102.0}),
        ("ge_muse_xml", {"measurements": {"pr_interval": 0, "qrs_axis": 0}}, {"axis_deg": 0.0}),  # no P wave
        ("scp_ecg", {"measurements": {"p_axis": 29999, "rr_interval": 820}}, {"rr_ms": 820.0}),
        (
            "sierra_xml",
            {"measurements": {"qtc_bazett": 466}, "annotations": {"qtc": "466 ms (formula not stated)"}},
            {"qtc_bazett_ms": 466.0},
        ),
    ],
)
def test_what_the_device_measured(kind: str, told: dict[str, Any], kept: dict[str, float]) -> None:
    assert vendor._metadata(parsed(**told), kind).get("device_measurements", {}) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [("muse_guangxi_teaching_sinus_rhythm.xml", 417.0), ("hl7_aecg_example.xml", 443.0)],
)
def test_the_corrected_qt_of_a_file_is_kept(shared: Path, name: str, value: float) -> None:
    assert read(shared / "data" / "formats" / name).metadata["device_measurements"]["qtc_ms"] == value


def test_an_aecg_states_its_rhythm(shared: Path) -> None:
    told = read(shared / "data" / "formats" / "hl7_aecg_example.xml").metadata
    assert told["device_statements"] == ["Sinus Rhythm"]


def test_a_note_quotes_no_birthday() -> None:
    assert vendor._notes(["MFER: invalid birth date 1955-13-1"], "mfer") == ["MFER: MFER: invalid birth date"]
