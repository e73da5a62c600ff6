"""A small file that promises much is refused before memory is taken, and what is large for a good reason is read."""

from __future__ import annotations

import resource
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_ecg.ecg.formats import parquet, read
from llava_ecg.ecg.formats.reader import most_numbers
from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError
from scripts import fuzz_vendor

WAVE = np.sin(np.arange(5000) / 20).astype(np.float32)


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """Half a gigabyte more than there is."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is None:
        pytest.skip("needs /proc to know what is held")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 29), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def sentence(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    found: BaseException | None = caught.value
    while found is not None:
        assert not isinstance(found, MemoryError), "memory was asked for"
        found = found.__cause__ or found.__context__
    return str(caught.value)


def test_an_array_that_promises_more_than_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", WAVE)
    content = (tmp_path / "a.npy").read_bytes()
    assert content.count(b"(5000,), }       ") == 1
    (tmp_path / "a.npy").write_bytes(content.replace(b"(5000,), }       ", b"(500000000000,)} "))
    assert "takes 2,000,000,000,000 bytes, and" in sentence(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", signal=WAVE)
    content = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(content.replace(b"(5000,), }       ", b"(500000000000,)} "))
    assert "takes 2,000,000,000,000 bytes" in sentence(tmp_path / "b.npz")


def test_a_header_that_promises_to_be_long(tmp_path: Path) -> None:
    """A file that the coverage-guided fuzzer found."""
    content = b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b"{'descr': '<f4', "
    (tmp_path / "a.npy").write_bytes(content)
    assert "is no NumPy file of numbers" in sentence(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", signal=WAVE)
    whole = (tmp_path / "b.npz").read_bytes()
    at = whole.index(b"\x93NUMPY")
    (tmp_path / "b.npz").write_bytes(whole[:at] + content[:12] + whole[at + 12 :])
    assert "is no NumPy file of numbers" in sentence(tmp_path / "b.npz")


def test_an_archive_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, signal=np.zeros((12, 6_000_000), np.int8))
    assert "promises 72,000,128 bytes for 'signal', more than a file of its size holds" in sentence(path)


def test_what_is_not_asked_for_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, signal=WAVE[None], rate=500, unit="mV", leads=["II"], mask=np.zeros(60_000_000, np.int8))
    np.testing.assert_allclose(read(path).signal[0], WAVE)


def test_arrays_in_columns_and_of_later_versions(tmp_path: Path) -> None:
    both = np.asfortranarray(np.stack([WAVE, 2 * WAVE]))
    np.savez(tmp_path / "a.npz", signal=both, rate=500, unit="mV", leads=["I", "II"])
    np.testing.assert_allclose(read(tmp_path / "a.npz").signal, both)
    with (tmp_path / "b.npy").open("wb") as file:
        np.lib.format.write_array(file, both, version=(2, 0))
    np.testing.assert_allclose(read(tmp_path / "b.npy", rate=500, unit="mV", leads="I,II").signal, both)


@pytest.mark.parametrize("name", ["exam", "ids", "chunk", "flat"])
def test_hdf5_that_was_never_written(name: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs h5py, which the extra formats brings")
    path = tmp_path / "a.hdf5"
    shapes = {"exam": (1, 2**28, 12), "ids": (2, 4096, 12), "chunk": (2000, 4096, 12), "flat": (2**28, 12)}
    chunks = {"exam": (1, 4096, 12), "ids": None, "chunk": (2000, 4096, 12), "flat": (4096, 12)}
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", shapes[name], "f4", chunks=chunks[name])
        if name == "ids":
            file.create_dataset("exam_id", (2**30,), "i8", chunks=(1024,))
    with pytest.raises(InputError, match=r"promises [\d,]+ numbers at once in '(tracings|exam_id)'"):
        read(f"{path}#1" if name in ("ids", "chunk") else path)


def test_dicom_that_unpacks_to_much(tmp_path: Path) -> None:
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    file = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(tmp_path / "a.dcm")
    assert read(tmp_path / "a.dcm").signal.shape == (12, 10000), "a compressed data set is read"
    file.WaveformSequence[0].WaveformData = bytes(60_000_000)
    file.save_as(tmp_path / "b.dcm")
    assert "is compressed and unpacks to more than" in sentence(tmp_path / "b.dcm")


def test_an_image_whose_part_promises_much(tmp_path: Path) -> None:
    """Found by `scripts/fuzz.py`."""
    path = tmp_path / "page.png"
    Image.new("RGB", (64, 48), "white").save(path)
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + b"\x7f\xff\xff\xff" + content[at + 4 :])
    tracemalloc.start()
    try:
        assert read_image(path).size == (64, 48), "the pixels are all there"
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("of", ["signals", "segments"])
def test_wfdb_of_nothing(of: str, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes((1000 * WAVE).astype("<i2").tobytes())
    line = "{} 16 1000/mV 16 0 0 0 0 {}\n"
    (tmp_path / "a.hea").write_text("a 1 500 5000\n" + line.format("a.dat", "I"))
    if of == "signals":
        (tmp_path / "r.hea").write_text("r 2 500 500000000\n" + line.format("~", "I") + line.format("~", "II"))
    else:
        (tmp_path / "r.hea").write_text("r/2 1 500 500005000\na 5000\n~ 500000000\n")
    assert "samples that were not recorded, too many to read at once; read a part of it" in sentence(tmp_path / "r.hea")
    if of == "segments":
        part = read(tmp_path / "r.hea", start=2, seconds=10)
        assert part.signal.shape == (1, 5000)
        np.testing.assert_allclose(part.signal[0, :4000], WAVE[1000:], atol=1e-3)
        assert np.isnan(part.signal[0, 4000:]).all(), "what was not recorded is a gap"


def test_scp_of_many_samples(tmp_path: Path) -> None:
    pytest.importorskip("ecgdatakit", reason="needs ecgdatakit, which the extra formats brings")
    recording = Recording(WAVE[None], 500.0, ("II",))
    content = fuzz_vendor.scp(recording, differences=2, huffman=True)
    (tmp_path / "a.scp").write_bytes(content)
    assert read(tmp_path / "a.scp").signal.shape == (1, 5000)
    lead = struct.pack("<IIB", 1, 5000, 2)
    assert content.count(lead) == 1
    (tmp_path / "a.scp").write_bytes(content.replace(lead, struct.pack("<IIB", 1, 1 << 30, 2)))
    assert "it promises 1,073,741,824 samples and is" in sentence(tmp_path / "a.scp")


def test_parquet_of_equal_values(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, which the extra formats brings")
    pq = pytest.importorskip("pyarrow.parquet")
    many = np.zeros(most_numbers(0) // 2 + 1)
    pq.write_table(pyarrow.table({"I": many, "II": many}), tmp_path / "a.parquet", compression="zstd")
    assert "values to be read at once, and 4,194,304 are the most" in sentence(tmp_path / "a.parquet")


def test_an_interrupted_reading_does_not_answer_for_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, which the extra formats brings")
    pq = pytest.importorskip("pyarrow.parquet")
    told = {"rate": "500", "unit": "mV"}
    for name, scale in (("a", 1), ("b", 2)):
        pq.write_table(pyarrow.table({"II": scale * WAVE}).replace_schema_metadata(told), tmp_path / f"{name}.parquet")
    read(tmp_path / "b.parquet")

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parquet._Worker, "_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path / "a.parquet")
    np.testing.assert_allclose(read(tmp_path / "b.parquet").signal[0], 2 * WAVE)
