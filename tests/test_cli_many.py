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
    assert "holds no ECG that can be read" in capsys.readouterr().err
