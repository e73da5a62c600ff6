"""Files that can't be read: each is one sentence that names the file, whatever the bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_ecg.ecg import read
from llava_ecg.errors import InputError
from llava_ecg.plugins import readers

SUFFIXES = (".hea", ".dat", ".mat", ".dcm", ".npy", ".npz", ".csv", ".txt", ".xyz")
HEADER = "r 2 500 1000\nr.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II\n"
SAMPLES = (1000 * np.sin(np.arange(2000) / 20)).astype("<i2").tobytes()


def refusal(path: Path, **given: object) -> str:
    """The sentence with which the file is refused, checked to be one that names it."""
    with pytest.raises(InputError) as caught:
        read(path, **given)  # type: ignore[arg-type]
    said = str(caught.value)
    assert path.stem in said and "\n" not in said and "Traceback" not in said, said
    return said


def test_the_sound_record_of_these_tests_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text(HEADER)
    (tmp_path / "r.dat").write_bytes(SAMPLES)
    assert read(tmp_path / "r.hea").signal.shape == (2, 1000)


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.hea") == f"no such file: {tmp_path / 'absent.hea'}"
    (tmp_path / "folder").mkdir()
    assert "is a folder; give one ECG file in it" in refusal(tmp_path / "folder")
    (tmp_path / "folder.hea").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.hea")
    with pytest.raises(InputError, match=r"no such file: 'a\\x00\\nb.dcm'"):
        read("a\0\nb.dcm")
    with pytest.raises(InputError, match="can't be opened"):
        read("x" * 5000)


@pytest.mark.parametrize(
    ("header", "samples", "said"),
    [
        (HEADER, None, "names the signal file r.dat, which is not beside it"),
        (HEADER, SAMPLES[:1000], "is cut short: it holds 250 of the 1000 samples a lead that r.hea promises"),
        (HEADER, b"", "r.dat holds no samples"),
        (HEADER.replace(" 1000\n", " 0\n", 1), b"", "r.dat holds no samples"),
        (HEADER.replace(" 1000\n", " 0\n", 1), b"\0", "describes no samples"),
        (HEADER.replace(" 1000\n", " 999999999999\n", 1), SAMPLES, "is cut short: it holds 1000 of the 999999999999"),
        (HEADER.replace("r 2", "r 2 \n"), SAMPLES, "names the signal file 500, which is not beside it"),
        (HEADER.replace("r 2 500", "r 2 1e308000"), SAMPLES, "an impossible sampling rate of inf Hz"),
        (HEADER.replace("1000/mV", "1k/mV"), SAMPLES, "the gain '1k/mV' of signal 1 is not a number"),
        (HEADER.replace(" 1000\n", "\n", 1), b"", "r.dat holds no samples"),
        (HEADER.replace("r 2", "r 0"), SAMPLES, "describes no signals"),
        (HEADER.replace("r 2", "r 3"), SAMPLES, "promises 3 signals and describes 2"),
        (HEADER.replace("r 2 500", "r 2 0"), SAMPLES, "impossible sampling rate of 0 Hz"),
        (HEADER.replace("dat 16", "dat mV", 1), SAMPLES, "its line for signal 1 is not like"),
        (HEADER.replace("dat 16", "dat 99"), SAMPLES, "can't be read as a WFDB record"),
        (HEADER.replace(" II", " I"), SAMPLES, "names I more than once"),
        (HEADER.replace("1000/mV", "1000/mmHg"), SAMPLES, "is in mmHg, which is no unit of voltage"),
        ("an ECG of a patient\nwith text\n", SAMPLES, "is no WFDB header: it is text"),
        ("", SAMPLES, "r.hea is empty: there is not a byte in it"),
        ("r/2 2 500 1000\nr1 500\nr2 500\n", SAMPLES, "names the segment r1, whose header r1.hea is not beside it"),
    ],
)
def test_broken_wfdb(tmp_path: Path, header: str, samples: bytes | None, said: str) -> None:
    (tmp_path / "r.hea").write_text(header)
    if samples is not None:
        (tmp_path / "r.dat").write_bytes(samples)
    assert said in refusal(tmp_path / "r.hea")


def test_a_real_record_cut_short(tmp_path: Path, shared: Path) -> None:
    whole = shared / "data/cinc2021/A0001.hea"
    (tmp_path / "A0001.hea").write_bytes(whole.read_bytes())
    (tmp_path / "A0001.mat").write_bytes(whole.with_suffix(".mat").read_bytes()[: 24 + 12 * 2 * 3000])
    assert "holds 3000 of the 7500 samples" in refusal(tmp_path / "A0001.hea")


def test_packed_formats_know_their_size(tmp_path: Path) -> None:
    """Format 212 keeps two samples in three bytes, and wfdb writes it itself."""
    import wfdb

    wave = np.sin(np.arange(999) / 20)
    wfdb.wrsamp(
        "p", 500, ["mV", "mV"], ["I", "II"], np.column_stack([wave, wave]), fmt=["212", "212"], write_dir=str(tmp_path)
    )
    assert np.abs(read(tmp_path / "p").signal - wave).max() < 0.002
    data = tmp_path / "p.dat"
    data.write_bytes(data.read_bytes()[:-9])
    assert "holds 996 of the 999" in refusal(tmp_path / "p.hea")


def test_a_header_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    """Files from elsewhere name what they like, and what is read of it would be shown to whoever sent them."""
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for place in (tmp_path, folder / "below"):
        (place / "r.dat").write_bytes(SAMPLES)
        (place / "r.hea").write_text(HEADER)
    for name in ("../r.dat", str(tmp_path / "r.dat"), "below/../../r.dat"):
        (folder / "a.hea").write_text(HEADER.replace("r.dat", name))
        assert f"names {name}, which is outside its folder" in refusal(folder / "a.hea")
    for name in ("../r", str(tmp_path / "r")):
        (folder / "m.hea").write_text(f"m/1 2 500 1000\n{name} 1000\n")
        assert f"names {name}.hea, which is outside its folder" in refusal(folder / "m.hea")
        (folder / "m.hea").write_text(f"m/2 2 500 1000\n{name} 0\nbelow/r 1000\n")
        assert "which is outside its folder" in refusal(folder / "m.hea"), "a layout is a file too"
    (folder / "a.hea").write_text(HEADER.replace("r.dat", "below/r.dat"))
    (folder / "m.hea").write_text("m/1 2 500 1000\nbelow/r 1000\n")
    assert read(folder / "a.hea").signal.shape == read(folder / "m.hea").signal.shape == (2, 1000)


@pytest.mark.parametrize("text", [HEADER.replace("r.dat", "{}", 1), "r/1 2 500 1000\n{} 1000\n", "r/1 2 500 9\n{} 0\n"])
def test_a_name_that_no_system_takes(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(SAMPLES)
    for name in ("\xff" * 3000, "a/" * 2000 + "b"):
        (tmp_path / "r.hea").write_text(text.format(name))
        refusal(tmp_path / "r.hea")


def test_a_signal_file_without_its_header(tmp_path: Path) -> None:
    for suffix in (".dat", ".mat"):
        (tmp_path / f"r{suffix}").write_bytes(SAMPLES)
        assert "put its header r.hea beside it" in refusal(tmp_path / f"r{suffix}")


def test_an_empty_file_of_any_format_says_that_it_is_empty(tmp_path: Path) -> None:
    """Not that it is no zip file, no table, or lacks a header."""
    suffixes = {suffix for name in readers for suffix in readers.get(name)().suffixes}
    assert len(suffixes) > 15
    for suffix in suffixes:
        (tmp_path / f"a{suffix}").touch()
        assert refusal(tmp_path / f"a{suffix}").endswith(
            f"a{suffix} is empty: there is not a byte in it; export or copy it again"
        )


def test_other_files_under_the_name_of_a_format(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("this is a letter, not an ECG\n" * 20)
    assert refusal(tmp_path / "text.dcm").endswith("text.dcm is not a DICOM file but text")
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    for suffix, said in [
        (".dcm", "is not a DICOM file but a PNG image"),
        (".csv", "is not a table of numbers"),
        (".npy", "is no NumPy file of numbers but a PNG image"),
        (".hea", "is no WFDB header: it is a PNG image"),
        (".png", "is a PNG image and in no format that can be read: csv (.csv"),
    ]:
        (tmp_path / f"picture{suffix}").write_bytes((tmp_path / "picture.png").read_bytes())
        assert said in refusal(tmp_path / f"picture{suffix}")
    (tmp_path / "empty.xyz").touch()
    assert "is empty: there is not a byte in it" in refusal(tmp_path / "empty.xyz")


def test_broken_dicom(tmp_path: Path) -> None:
    import pydicom
    from pydicom.data import get_testdata_file

    whole = Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes()
    for size in (132, 200, 1500, 100_000, len(whole) - 30_000):
        (tmp_path / "cut.dcm").write_bytes(whole[:size])
        refusal(tmp_path / "cut.dcm")
    (tmp_path / "image.dcm").write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    assert "is a DICOM file without a waveform (CT)" in refusal(tmp_path / "image.dcm")
    for keyword, value, said in [
        ("WaveformData", b"\0" * 2400, "is cut short: it holds 100 of 10000 samples a lead"),
        ("NumberOfWaveformSamples", 0, "holds no samples"),
        ("WaveformSampleInterpretation", "MB", "16 bit MB, which is not read"),
        ("SamplingFrequency", "0", "impossible sampling rate"),
    ]:
        file = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
        file.WaveformSequence = file.WaveformSequence[:1]
        setattr(file.WaveformSequence[0], keyword, value)
        file.save_as(tmp_path / "odd.dcm")
        assert said in refusal(tmp_path / "odd.dcm")
    file = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    del file.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivity
    file.save_as(tmp_path / "odd.dcm")
    assert "does not say its unit; give --unit mV" in refusal(tmp_path / "odd.dcm")


def test_broken_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"pickled": 1}]), allow_pickle=True)
    assert "is no NumPy file of numbers but a NumPy array" in refusal(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", signal=np.array([["x", "y"]]))
    assert "not real numbers" in refusal(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.ones((2, 1000)))
    (tmp_path / "c.npy").write_bytes((tmp_path / "c.npy").read_bytes()[:500])
    assert "is cut short: an array of 2 x 1000 takes 16,000 bytes, and 372 are there" in refusal(tmp_path / "c.npy")
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 not a zip archive")
    assert "but a zip archive" in refusal(tmp_path / "d.npz")
    (tmp_path / "e.csv").write_text("a letter\nwith, commas\n")
    refusal(tmp_path / "e.csv")
    (tmp_path / "g.csv").write_bytes(b"I,II\n0.1,0.2\0\n" * 20)
    refusal(tmp_path / "g.csv", rate=500, unit="mV")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SUFFIXES),
    st.sampled_from(
        [
            b"",
            b"\x93NUMPY\x01\x00",
            b"PK\x03\x04x.npy",
            b"\0" * 128 + b"DICM",
            b"r 2 500 1000\n",
            HEADER.encode(),
            b"1,2\n",
            b"time,I\nms,mV\n0,1\n",
            b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
            b"\xff\xfeI\0,\0",
        ]
    ),
    st.binary(max_size=300),
)
def test_random_bytes_are_one_sentence(tmp_path: Path, suffix: str, start: bytes, rest: bytes) -> None:
    """Random bytes under every suffix, also behind the mark of every format: refused in a sentence, or by chance an
    ECG."""
    path = tmp_path / f"random{suffix}"
    for old in tmp_path.iterdir():
        old.unlink()
    path.write_bytes(start + rest)
    try:
        read(path, rate=500, unit=1, leads="I,II")
    except InputError as error:
        assert "random" in str(error) and "\n" not in str(error)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(HEADER) - 1), st.text("0123456789 /xI-#\n.é", min_size=0, max_size=4), st.integers(0, 6))
def test_a_damaged_header_is_one_sentence(tmp_path: Path, at: int, put: str, drop: int) -> None:
    """A sound header with a few characters replaced anywhere, its signal file whole."""
    (tmp_path / "damaged.hea").write_text(HEADER[:at] + put + HEADER[at + drop :])
    (tmp_path / "r.dat").write_bytes(SAMPLES)
    try:
        read(tmp_path / "damaged.hea")
    except InputError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("name", ["csv", "dicom", "numpy", "wfdb"])
def test_a_reader_asked_for_by_name_refuses_alike(tmp_path: Path, name: str) -> None:
    (tmp_path / "letter.xyz").write_bytes(b"Dear Sir,\n\0\xff")
    assert name in readers
    refusal(tmp_path / "letter.xyz", reader=name, rate=500, unit="mV", leads="I,II")
