"""CODE-15's HDF5: an exam by its id, zeros off, the order of leads by what I and II imply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.data.prepared_cache import PreparedCache
from llava_ecg.ecg.check import check_ecg
from llava_ecg.ecg.formats import hdf5, read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.source_files import files_of
from llava_ecg.errors import InputError
from tests.ecg.windowed import check_windows, memory_of

h5py = pytest.importorskip("h5py")


def made(seed: int, seconds: float = 7.0) -> np.ndarray:
    """[L, T] in mV at 400 Hz."""
    signal = simulate(Heart(rate_bpm=70 + seed), seed=seed, seconds=seconds)[0].select(STANDARD).resample(400).signal
    offset = np.array(
        [1, 1, 0, -1, 0.5, 0.5, *[1] * 6], np.float32
    )  # that I and II have; a real ECG begins with no zero
    return signal + 1e-3 * offset[:, None]


def write(path: Path, exams: list[np.ndarray], ids: list[int] | None = (11, 12), **more: Any) -> Path:  # type: ignore[assignment]
    tracings = np.zeros((len(exams), 4096, 12), np.float32)
    for row, exam in zip(tracings, exams, strict=True):
        first = (4096 - exam.shape[1]) // 2
        row[first : first + exam.shape[1]] = exam.T
    with h5py.File(path, "w") as file:
        file["tracings"] = tracings
        if ids is not None:
            file["exam_id"] = np.array(ids)
        for name, value in more.items():
            file.attrs[name] = value
    return path


def test_an_exam_by_its_id(tmp_path: Path) -> None:
    path = write(tmp_path / "exams.hdf5", [made(1), made(2, 10.0)])
    recording = read(f"{path}#12")
    assert (recording.format, recording.rate, recording.leads) == ("hdf5", 400.0, STANDARD)
    assert recording.source == f"{path}#12"
    np.testing.assert_allclose(recording.signal, made(2, 10.0), atol=1e-6)
    short = read(f"{path}#11")
    assert short.signal.shape == (12, 2800)
    assert any("1296 samples of zeros" in note for note in short.notes)
    assert any("millivolts are assumed" in note for note in short.notes)
    assert any("400 Hz are assumed" in note for note in short.notes)
    assert check_ecg(Path(f"{path}#11"))[1] == []
    assert files_of(Path(f"{path}#11")) == [path]


def test_exams_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "exams.hdf5", [made(1), made(2)])
    cache = PreparedCache(tmp_path / "kept", 1 << 20, files_of)
    keys = {cache.key("s", {"ecg": Path(f"{path}#{number}")}) for number in (11, 12)}
    assert len(keys) == 2 and None not in keys


def test_another_order_of_the_limb_leads_is_seen(tmp_path: Path) -> None:
    order = (0, 1, 2, 4, 5, 3, *range(6, 12))  # aVL, aVF, aVR, as CODE-test's documents say
    path = write(tmp_path / "test.hdf5", [made(1)[list(order)]], None)
    recording = read(path)
    assert recording.leads[3:6] == ("aVL", "aVF", "aVR")
    np.testing.assert_allclose(recording.select(STANDARD).signal, made(1), atol=1e-6)
    assert any("in the order aVL, aVF, aVR" in note for note in recording.notes)


@pytest.mark.parametrize("block", [100, 1 << 15])
@pytest.mark.parametrize("turned", [False, True])
def test_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: bool, block: int) -> None:
    """Of exams with zeros around them, leads in another order, gaps, and rates of their own."""
    monkeypatch.setattr(hdf5, "_BLOCK", block)
    exam = made(1)[[0, 1, 2, 4, 5, 3, *range(6, 12)]]
    exam[:, 500:520] = 0
    exam[1, 900:1000] = np.nan
    path = write(tmp_path / "exams.hdf5", [made(2, 10.0), exam, np.zeros((12, 0))], ids=[1, 2, 3])
    for number in (1, 2, 3):
        check_windows(Path(f"{path}#{number}"))
    with h5py.File(tmp_path / "one.h5", "w") as file:
        padded = np.pad(exam, ((0, 0), (450, 130)))
        file.create_dataset("ecg", data=padded if turned else padded.T, chunks=True, compression="gzip")
        file.attrs["rate"] = 250
    whole = read(tmp_path / "one.h5")
    assert whole.leads[3] == "aVL" and whole.signal.shape == (12, 2800), "at the ends alone zeros are no signal"
    check_windows(tmp_path / "one.h5")
    check_windows(tmp_path / "one.h5", rate=500, unit=0.5)
    check_windows(tmp_path / "one.h5", leads="standard")
    check_windows(tmp_path / "one.h5", rate=1e-6)
    check_windows(tmp_path / "one.h5", leads="II")


def test_memory_goes_by_the_part(tmp_path: Path) -> None:
    """Of 35 MB: half an hour of 12 leads with zeros before and behind."""
    wave = np.sin(np.arange(720_000) / 20).astype(np.float32)
    wave[:1000] = wave[-200_000:] = 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["signal"] = np.repeat(wave[:, None], 12, axis=1)
    write(tmp_path / "short.h5", [made(1)], None)
    more = memory_of(tmp_path / "a.h5", start=600, seconds=10) - memory_of(tmp_path / "short.h5", start=1, seconds=1)
    assert more < 25_000_000


def test_what_the_user_says_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "exams.h5", [made(1) * 10, made(2)], None, rate=400)
    recording = read(f"{path}#0", unit=0.1)
    np.testing.assert_allclose(recording.signal, made(1), atol=1e-5)
    assert not any("assumed" in note for note in recording.notes)


def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "exams.hdf5", [made(1), made(2)])
    with pytest.raises(InputError, match=r"holds 2 exams; name one behind it, as in exams.hdf5#11"):
        read(path)
    with pytest.raises(InputError, match="has no exam 7; it has 11, 12"):
        read(f"{path}#7")
    assert main(["measure", f"{path}#11"]) == 0
    assert "exams.hdf5#11 (hdf5)" in capsys.readouterr().out
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(InputError, match="holds no array 'tracings' .* it has weights"):
        read(tmp_path / "other.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="can't be read as HDF5"):
        read(f"{tmp_path / 'cut.h5'}#11")
    np.save(tmp_path / "a.npy", made(1))
    with pytest.raises(InputError, match="holds one recording, so #3 behind it means nothing"):
        read(f"{tmp_path / 'a.npy'}#3", rate=400, unit="mV", leads="standard")
    monkeypatch.setattr(hdf5, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs h5py"):
        read(f"{path}#11")
