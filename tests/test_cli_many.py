"""``measure`` and ``render`` take folders, patterns and lists of mixed formats; a broken file stops no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_ecg.cli import main
from llava_ecg.ecg.formats.write import written
from llava_ecg.ecg.simulate import Heart, simulate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three ECGs of three formats, one of them below; a file that is none; and what lies beside."""
    out = tmp_path_factory.mktemp("mixed")
    (out / "deep").mkdir()
    for name, rate in (("a.hea", 60), ("a.dcm", 75), ("deep/c.npz", 90)):
        recording = simulate(Heart(rate_bpm=rate), seed=1, seconds=10.0)[0]
        for path, content in written(recording, out / name).items():
            path.write_bytes(content)
    (out / "broken.csv").write_text("no,numbers\nhere,at all\n")
    (out / "notes.txt").write_text("not an ECG")
    return out


def test_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(folder)]) == 1, "one is broken"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rate", "PR", "QRS", "QT", "QTc", "axis", "rhythm"]
    rows = {Path(line.split()[0]).name: line.split()[1] for line in lines[1:5]}
    assert {name: rate for name, rate in rows.items() if rate.isdigit()} == {
        "a.dcm": "75",
        "a.hea": "60",
        "c.npz": "90",
    }
    assert any("broken.csv" in line and "regular" not in line for line in lines)
    assert lines[-1].startswith("Research use only")


def test_json_is_a_line_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(folder / "a.*"), "--json"]) == 0, "the pattern takes no signal file"
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(each["file"]).name for each in found] == ["a.dcm", "a.hea"]
    assert [round(each["measurements"]["heart_rate_bpm"]) for each in found] == [75, 60]
    assert [each["error"] for each in found] == [None, None]
    (folder / "list.txt").write_text(f"{folder / 'a.hea'}\n{folder / 'gone.hea'}\n")
    assert main(["measure", str(folder / "list.txt"), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["error"] is None and "no such file" in found[1]["error"]
    (folder / "list.txt").unlink()


def test_pages(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(folder), "-o", str(tmp_path / "pages")]) == 1
    captured = capsys.readouterr()
    assert "3 pages in" in captured.out and "1 ECGs can't be drawn" in captured.out
    assert "broken.csv" in captured.err
    made = {str(path.relative_to(tmp_path / "pages")) for path in (tmp_path / "pages").rglob("*.png")}
    assert made == {"a.png", "a.hea.png", "deep/c.png"}, "two of one stem are kept apart"
    assert len({np.asarray(Image.open(tmp_path / "pages" / name)).tobytes() for name in made}) == 3


def test_what_does_not_go_together(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(folder), "--every", "60"]) == 2
    assert "are for one recording" in capsys.readouterr().err
    assert main(["render", str(folder), "-o", str(tmp_path / "a.png")]) == 2
    assert "-o names a folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["measure", str(tmp_path / "empty")]) == 2
    captured = capsys.readouterr()
    assert "holds no ECG that can be read" in captured.err
    assert captured.out == "", "no heading above nothing"


@pytest.mark.parametrize("words", [["measure", ""], ["measure", " "], ["render", "a.hea", "-o", ""]])
def test_an_empty_name_is_not_the_folder_one_is_in(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As of "$FILE" in a script where it was never set."""
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "the name of a file is empty; give one, or . for the folder you are in" in capsys.readouterr().err


def test_dicom_as_archives_export_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a suffix, or under an identifier; what is none is passed over, and so is the index of the export."""
    content = (folder / "a.dcm").read_bytes()
    for name in ("IM000001", "S1/1.2.840.113619.2", "DICOMDIR"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "README").write_text("not an ECG")
    (tmp_path / "LICENSE.2").write_text("nor this")
    assert main(["measure", str(tmp_path), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(each["file"]).name for each in found] == ["IM000001", "1.2.840.113619.2"]
    assert main(["render", str(tmp_path), "--dpi", "50", "-o", str(tmp_path / "pages")]) == 0
    made = {str(path.relative_to(tmp_path / "pages")) for path in (tmp_path / "pages").rglob("*.png")}
    assert made == {"IM000001.png", "S1/1.2.840.113619.2.png"}


@pytest.mark.parametrize(("ids", "names"), [([11, 12, 0], ["11", "12"]), (None, ["0", "1", "2"])])
def test_a_file_of_exams_stands_for_each_of_them(
    tmp_path: Path, ids: list[int] | None, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    h5py = pytest.importorskip("h5py")
    signal = simulate(Heart(rate_bpm=70), seed=1, seconds=7.0)[0].resample(400).signal.T
    with h5py.File(tmp_path / "exams.hdf5", "w") as file:
        file["tracings"] = np.stack([signal] * 3)
        if ids is not None:
            file["exam_id"] = np.array(ids)
    for source in (tmp_path, tmp_path / "*.hdf5"):
        assert main(["measure", str(source), "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [Path(each["file"]).name for each in found] == [f"exams.hdf5#{name}" for name in names]
    assert main(["render", str(tmp_path), "--dpi", "50", "-o", str(tmp_path / "pages")]) == 0
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {f"exams-{name}.png" for name in names}
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'exams.hdf5'}#{names[1]}\n")
    capsys.readouterr()
    assert main(["measure", str(listed), "--json"]) == 0, "no table, though no file is called so"
    assert json.loads(capsys.readouterr().out)["file"].endswith(f"#{names[1]}")


@pytest.mark.parametrize(("ids", "names"), [(["a", "b"], ["a", "b"]), (None, ["0", "1"])])
def test_a_parquet_file_of_recordings_stands_for_each_of_them(
    tmp_path: Path, ids: list[str] | None, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    recording = simulate(Heart(rate_bpm=70), seed=1, seconds=4.0)[0]
    columns = {name: [lead.tolist()] * 2 for name, lead in zip(recording.leads, recording.signal, strict=True)}
    columns |= {"rate": [500.0] * 2, "unit": ["mV"] * 2} | ({} if ids is None else {"ecg_id": ids})
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "ecgs.parquet")
    assert main(["measure", str(tmp_path), "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(each["file"]).name for each in found] == [f"ecgs.parquet#{name}" for name in names]
    table = {name: column[0] for name, column in columns.items() if name in recording.leads}
    (tmp_path / "more").mkdir()
    pyarrow.parquet.write_table(pyarrow.table(table | {"time": np.arange(2000) / 500}), tmp_path / "more/one.parquet")
    assert main(["measure", str(tmp_path / "more"), "--unit", "mV", "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["file"]).name == "one.parquet", "its rows are samples"


def test_a_file_of_exams_that_is_damaged_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "exams.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    assert main(["measure", str(tmp_path), "--json"]) == 1
    assert "can't be read as HDF5" in json.loads(capsys.readouterr().out)["error"]


def test_a_folder_of_links_is_followed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As data sets are often laid out; SECURITY.md says so."""
    for name in ("a.hea", "a.dat"):
        (tmp_path / name).symlink_to(folder / name)
    assert main(["measure", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["error"] is None
