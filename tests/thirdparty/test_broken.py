"""A package whose parts can't be imported, are none, or take names of others: it harms the run that names it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.plugins import SOCKETS, datasets, guides, projectors, readers, tasks, templates, towers
from tests.thirdparty.conftest import on_the_path

RAISES = 'raise RuntimeError("boom,\\non two lines")\n'
POINTS = {
    "readers": {"torn": "broken_raises:A", "empty": "broken_parts:empty", "csv": "broken_parts:empty"},
    "towers": {"torn": "broken_exits:A", "gone": "broken_nowhere:A"},
    "projectors": {"torn": "broken_raises:A", "twice": "broken_parts:empty", "word": "broken_parts:word"},
    "templates": {"torn": "broken_raises:A", "lost": "broken_parts:nothing"},
    "datasets": {"torn": "broken_raises:A", "fails": "broken_parts:fails", "word": "broken_parts:gives_word"},
    "guides": {"torn": "broken_raises:A"},
    "tasks": {"torn": "broken_raises:A"},
}


@pytest.fixture(scope="module", autouse=True)
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two distributions: one that is broken in every socket, one that takes a name that the first has."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken_raises.py").write_text(RAISES)
    (folder / "broken_exits.py").write_text("import sys\nsys.exit(3)\n")
    parts = "class empty:\n    pass\nword = 'a word'\ndef fails():\n    raise OSError('no disk')\n"
    (folder / "broken_parts.py").write_text(parts + "def gives_word():\n    return 'a word'\n")
    other = {"projectors": {"twice": "broken_parts:word"}}
    for name, points in (("broken-parts", POINTS), ("other-parts", other)):
        info = folder / f"{name.replace('-', '_')}-0.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.3\n")
        lines = [
            line
            for socket, named in points.items()
            for line in (f"[llava_ecg.{socket}]", *(f"{key} = {value}" for key, value in named.items()), "")
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
    with on_the_path(folder):
        yield folder


def test_the_list_says_what_is_wrong_with_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    of_it = [line for line in lines if re.match(r"  \S+ +broken-parts 0\.3  ", line)]
    assert len(of_it) == sum(map(len, POINTS.values()))
    fine = [line.split()[0] for line in of_it if line.endswith("  ok")]
    assert fine == ["fails", "word"]  # data sets are not made to be listed
    assert sum("can't be imported: boom, on two lines" in line for line in of_it) == 6
    assert all(line.isprintable() for line in lines)
    [taken] = [line for line in of_it if line.startswith("  csv")]
    assert "is taken by the built-in llava_ecg.ecg.formats.arrays:Csv, which is used" in taken
    [other] = [line for line in lines if re.match(r"  twice +other-parts 0\.3  ", line)]
    assert "'twice' is taken by broken_parts:empty (broken-parts 0.3) and broken_parts:word (other-parts 0.3)" in other


@pytest.mark.parametrize(
    ("socket", "name", "said"),
    [
        ("readers", "torn", "the reader 'torn' (broken_raises:A) can't be imported: boom, on two lines"),
        ("readers", "empty", "the reader 'empty' (broken_parts:empty) is none: it has no 'suffixes'"),
        ("towers", "torn", "can't be imported: 3"),
        ("towers", "gone", "can't be imported: No module named 'broken_nowhere'"),
        ("templates", "lost", "can't be imported: module 'broken_parts' has no attribute 'nothing'"),
        ("projectors", "word", "is none: it can't be called"),
        ("projectors", "twice", "'twice' is taken by broken_parts:empty (broken-parts 0.3) and broken_parts:word"),
    ],
)
def test_who_names_it_is_told(socket: str, name: str, said: str) -> None:
    with pytest.raises(InputError) as failed:
        SOCKETS[socket].get(name)
    assert said in str(failed.value)


def test_nobody_else_is_harmed() -> None:
    assert {projectors.get("linear").__name__, templates.get("v1").stop} == {"linear", "</s>"}
    assert towers.get("clip").__name__ == "ClipTower"
    with pytest.raises(InputError, match="taken by broken_raises:A"):
        tasks.add("torn", object())
    assert "ecgqa" in tasks and "torn" in tasks


def test_what_takes_all_there_are_leaves_it_out_with_a_warning() -> None:
    from llava_ecg.eval.tasks import chosen
    from llava_ecg.instruct.guide import guide

    with pytest.warns(UserWarning, match="left out: the task 'torn'"):
        assert "ecgqa" in [each.name for each in chosen("all")]
    with pytest.warns(UserWarning, match="left out: the guide 'torn'"):
        assert guide().rules == guides.get("recommendations")().rules


def test_files_are_read_as_before(tmp_path: Path) -> None:
    from llava_ecg.ecg.formats import read
    from llava_ecg.files import records_of

    np.savetxt(tmp_path / "a.csv", np.zeros((50, 2)), delimiter=",", header="I,II", comments="")
    with pytest.warns(UserWarning, match="is taken by the built-in"):
        assert read(tmp_path / "a.csv", rate=100, unit="mV").format == "csv"
        assert records_of(tmp_path) == [tmp_path / "a.csv"]
        (tmp_path / "b.bin").write_bytes(b"\0\1\2")
        with pytest.raises(InputError, match="in no format that can be read: .*the reader 'torn'"):
            read(tmp_path / "b.bin")


def test_a_built_in_name_is_kept_and_the_package_is_named() -> None:
    with pytest.warns(UserWarning, match=r"'csv' of broken-parts 0\.3 .* is taken by the built-in"):
        assert readers.get("csv").__module__ == "llava_ecg.ecg.formats.arrays"


@pytest.mark.parametrize(
    ("name", "said"),
    [("fails", "can't be had: no disk"), ("word", "gives 'a word', which is no file"), ("torn", "can't be imported")],
)
def test_a_data_set_that_can_not_be_had(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert name in datasets
    assert main(["validate", name]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
