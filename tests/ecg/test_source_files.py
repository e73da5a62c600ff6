"""The files that a source is read from are all found, so that what is kept of them is made anew when one changes."""

from __future__ import annotations

from pathlib import Path

from llava_ecg.ecg.source_files import files_of


def test_files_of_a_source(tmp_path: Path) -> None:
    def make(name: str, text: str = "x") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    image, table, sidecar = make("a.png"), make("b.npy"), make("b.json")
    header = make("r.hea", "r 3 500 10\none.dat 16 1000/mV\ntwo.dat 16 1000/mV\n~ 16 1000/mV\n")
    one, two = make("one.dat"), make("two.dat")
    assert files_of(image) == [image]
    assert files_of(table) == [table, sidecar]
    assert files_of(header) == [header, one, two] == files_of(tmp_path / "r"), "by its stem too"
    two.unlink()
    assert files_of(header) == [header, one]
    matlab = make("m.mat")
    beside = make("m.hea", "m 1 500 10\nm.mat 16+24 1000/mV\n")
    assert files_of(matlab) == [matlab, beside]
    master = make("s.hea", "s/3 1 500 20\nr 10\n~ 5\nm 5\n")
    assert files_of(master) == [master, header, one, beside, matlab]
    broken = make("n.hea", "no header")
    assert files_of(broken) == [broken] and files_of(tmp_path / "none") == []
