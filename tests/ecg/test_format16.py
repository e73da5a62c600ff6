"""Plain records of format 16 are read without wfdb, to the same bits; all others by wfdb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb

from llava_ecg.ecg import read
from llava_ecg.ecg.formats import wfdb_signals
from llava_ecg.ecg.formats.wfdb_format16 import is_plain
from llava_ecg.ecg.formats.wfdb_header import parse
from llava_ecg.errors import InputError

RNG = np.random.default_rng(0)


def write(folder: Path, lines: str, frames: int | str = 500, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / f"{name}.dat").write_bytes(content)
    path = folder / "r.hea"
    path.write_text(f"r {len(lines.splitlines())} 500 {frames}\n{lines}\n")
    return path


def steps(signals: int, frames: int = 500) -> np.ndarray:
    """int16 [frames, signals], the lowest step among them, which says that nothing was recorded."""
    found = RNG.integers(-3000, 3000, (frames, signals)).astype("<i2")
    found[7, 0] = found[8, -1] = -32768
    found[9, 0], found[10, 0] = -32767, 32767
    return found


def by_wfdb(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patched:
        patched.setattr(wfdb_signals, "is_plain", lambda *_: False)
        return read(path, unit=1.0)


PLAIN: dict[str, tuple[str, dict[str, bytes], int | str]] = {
    "one file": ("r.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 16 200(-17)/mV 16 0 0 0 0 II", {"r": steps(2).tobytes()}, 500),
    "zero and no gain": ("r.dat 16 0 12 5 0 0 0 I\nr.dat 16 1e3(3.0)/mV 16 9 0 0 0 II", {"r": steps(2).tobytes()}, 500),
    "an offset": ("r.dat 16+24 1000/mV 16 0 0 0 0 I", {"r": b"x" * 24 + steps(1).tobytes()}, 500),
    "an odd offset": ("r.dat 16+3 1000/mV 16 0 0 0 0 I", {"r": b"xyz" + steps(1).tobytes()}, 500),
    "no length": ("r.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II", {"r": steps(2).tobytes()}, ""),
    "more than promised": ("r.dat 16 1000/mV 16 0 0 0 0 I", {"r": steps(1, 900).tobytes()}, 500),
    "half a frame more": (
        "r.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II",
        {"r": steps(2).tobytes() + b"abc"},
        "",
    ),
    "two files": (
        "a.dat 16 1000/mV 16 0 0 0 0 I\nb.dat 16+2 500/mV 16 0 0 0 0 II\nb.dat 16+2 500/mV 16 0 0 0 0 V1",
        {"a": steps(1).tobytes(), "b": b"xx" + steps(2).tobytes()},
        500,
    ),
    "one without samples": (
        "r.dat 16 1000/mV 16 0 0 0 0 I\n~ 16 1000/mV 16 0 0 0 0 II\nr.dat 16 10/mV 16 0 0 0 0 V1",
        {"r": steps(2).tobytes()},
        500,
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_plain_record_has_the_bits_that_wfdb_gives(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, files, frames = PLAIN[case]
    path = write(tmp_path, lines, frames, **files)
    expected = by_wfdb(path, monkeypatch)
    monkeypatch.setattr(wfdb_signals, "_steps", None)  # wfdb is not asked
    found = read(path, unit=1.0)
    assert found.signal.tobytes() == expected.signal.tobytes() and found.signal.dtype == np.float32
    assert (found.leads, found.rate, found.notes) == (expected.leads, expected.rate, expected.notes)
    assert np.isnan(found.signal[0, 7]) and np.isfinite(found.signal[0, 9:11]).all()


def test_one_value_by_hand(tmp_path: Path) -> None:
    values = np.zeros((500, 2), "<i2")
    values[3] = 250, -400
    path = write(
        tmp_path,
        "r.dat 16 100(50)/mV 16 0 0 0 0 I\nr.dat 16 200/mV 16 0 0 0 0 II",
        r=values.tobytes(),
    )
    assert read(path, unit=1.0).signal[:2, 3].tolist() == [2.0, -2.0]


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        ("r.dat 16:1 1000/mV 16 0 0 0 0 I", 2),
        ("r.dat 16x2 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II", 6),
        ("r.dat 212 1000/mV 16 0 0 0 0 I\nr.dat 212 1000/mV 16 0 0 0 0 II", 3),
        ("r.dat 80 100/mV 16 0 0 0 0 I", 1),
        ("a.dat 16 1000/mV 16 0 0 0 0 I\nr.dat 80 100/mV 16 0 0 0 0 II", 1),
        ("r.dat 61 1000/mV 16 0 0 0 0 I", 2),
    ],
)
def test_what_is_not_plain_goes_to_wfdb(tmp_path: Path, lines: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = RNG.integers(0, 60, 500 * size + 2).astype(np.uint8).tobytes()
    path = write(tmp_path, lines, r=content, a=steps(1).tobytes())
    asked = []
    own = wfdb_signals._steps

    def noted(*words: Any) -> Any:
        asked.append(words)
        return own(*words)

    monkeypatch.setattr(wfdb_signals, "_steps", noted)
    assert read(path, unit=0.001).signal.shape[1] >= 499
    assert len(asked) == 1


def test_files_in_turns_are_refused_as_wfdb_does(tmp_path: Path) -> None:
    lines = [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for name, lead in (("a", "I"), ("b", "II"), ("a", "V1"))]
    path = write(tmp_path, "\n".join(lines), a=steps(2).tobytes(), b=steps(1).tobytes())
    with pytest.raises(InputError, match="can't be read as a WFDB record"):
        read(path)


def test_a_short_file_is_still_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "r.dat 16 1000/mV 16 0 0 0 0 I", r=steps(1).tobytes()[:-2])
    with pytest.raises(InputError, match="cut short: it holds 499 of the 500 samples"):
        read(path)


def test_every_real_record_of_the_format(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours by wfdb and by the direct way, to the bit; and wfdb's own rdsamp, which is float64."""
    paths = sorted((shared / "data").rglob("*.hea"))
    plain = []
    for path in paths:
        header = parse(path)
        if not header.segments and is_plain(wfdb_signals.check_files(header), header.samples):
            plain.append(path)
    assert len(plain) > 200
    for number, path in enumerate(plain):
        direct = wfdb_signals.read_signals(parse(path))
        values, fields = wfdb.rdsamp(str(path.with_suffix("")))
        assert np.array_equal(np.stack([each.values for each in direct], axis=1), values, equal_nan=True), path
        assert [each.unit for each in direct] == fields["units"]
        if number % 20 == 0:
            assert read(path).signal.tobytes() == _read_by_wfdb(path, monkeypatch).tobytes(), path


def _read_by_wfdb(path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    with monkeypatch.context() as patched:
        patched.setattr(wfdb_signals, "is_plain", lambda *_: False)
        return read(path).signal
