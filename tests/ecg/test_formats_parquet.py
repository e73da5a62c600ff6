"""Parquet: a table of samples, and one of recordings."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from llava_ecg.cli import main
from llava_ecg.ecg.formats import parquet, read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from tests.ecg.windowed import check_windows, memory_of

pyarrow = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RECORDING = simulate(Heart(rate_bpm=72), seed=1, seconds=4.0)[0].select(STANDARD)
SIGNAL = RECORDING.signal.astype(np.float32)
LEADS = dict(zip(STANDARD, SIGNAL, strict=True))


def write(path: Path, columns: dict[str, Any], said: dict[str, str] | None = None, **more: Any) -> Path:
    pq.write_table(pyarrow.table(columns).replace_schema_metadata(said), path, **more)
    return path


def check_in_batches(path: Path, **given: Any) -> None:
    """Parts are those of the whole, in batches that are shorter than they are."""
    with patch.multiple(parquet, _SHORT=0, _BATCH=301):
        check_windows(path, **given)


def same(found: Any, signal: np.ndarray = SIGNAL, rate: float = 500.0) -> None:
    assert (found.format, found.rate, found.leads) == ("parquet", rate, STANDARD)
    np.testing.assert_allclose(found.signal, signal, atol=2e-6)


def test_a_column_for_each_lead(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", LEADS, {"rate": "500", "unit": "mV"})
    same(read(path))
    path.rename(tmp_path / "a.bin")
    same(read(tmp_path / "a.bin"))


@pytest.mark.parametrize(
    ("times", "name"),
    [
        (np.arange(2000) / 500, "time"),
        (np.arange(2000) * 2, "time (ms)"),
        ([datetime(2024, 3, 1, 12) + timedelta(milliseconds=2 * number) for number in range(2000)], "timestamp"),
        ([timedelta(milliseconds=2 * number) for number in range(2000)], "time"),
        ([f"0:{number / 500:06.3f}" for number in range(2000)], "time"),
    ],
)
def test_times_units_and_what_is_no_lead(times: Any, name: str, tmp_path: Path) -> None:
    microvolts = {f"{lead} (uV)": np.round(values * 1000).astype(np.int32) for lead, values in LEADS.items()}
    other = {"sample": np.arange(2000), "ppg": np.sin(np.arange(2000) / 40), "label": ["N"] * 2000}
    path = write(tmp_path / "a.parquet", {name: times} | other | microvolts)
    found = read(path)
    same(found, np.round(SIGNAL * 1000) / 1000)
    assert any("ppg is left out" in note for note in found.notes)
    write(path, {name: times} | other | microvolts, row_group_size=700)
    check_in_batches(path)
    check_in_batches(path, rate=250)


def test_gaps(tmp_path: Path) -> None:
    columns: dict[str, Any] = {lead: values.tolist() for lead, values in LEADS.items()}
    columns["V2"][100:200] = [None] * 100
    found = read(write(tmp_path / "a.parquet", columns), rate=500, unit="mV")
    check_in_batches(tmp_path / "a.parquet", rate=500, unit="mV")
    assert np.isnan(found.signal[7, 100:200]).all()
    assert np.isfinite(np.delete(found.signal, 7, axis=0)).all()


def test_a_row_for_each_recording(tmp_path: Path) -> None:
    both = [SIGNAL, SIGNAL[:, ::-1] * 0.5]
    rows: dict[str, Any] = {"ecg_id": [17, 21], "rate": [500, 250]}
    leads = {lead: [each[number] for each in both] for number, lead in enumerate(STANDARD)}
    path = write(tmp_path / "leads.parquet", rows | leads, {"unit": "mV"}, row_group_size=1)
    same(read(f"{path}#17"))
    same(read(f"{path}#21"), both[1], 250.0)
    nested = rows | {"signal": [each.tolist() for each in both]}
    path = write(tmp_path / "nested.parquet", nested, {"unit": "mV"})
    same(read(f"{path}#21", leads="standard"), both[1], 250.0)
    with pytest.raises(InputError, match=r"holds 2 recordings; name one behind it, as in #17"):
        read(path)
    with pytest.raises(InputError, match="has no recording 3"):
        read(f"{path}#3")
    del nested["ecg_id"]
    path = write(tmp_path / "numbered.parquet", nested, {"unit": "mV"})
    same(read(f"{path}#1", leads="standard"), both[1], 250.0)
    uneven = {"I": [[1.0, 2.0], [1.0]], "II": [[1.0], [1.0, 2.0]]}
    with pytest.raises(InputError, match="of the same length for each lead in row 0"):
        read(f"{write(tmp_path / 'uneven.parquet', uneven)}#0")


def test_what_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = write(tmp_path / "a.parquet", LEADS, {"rate": "500", "unit": "mV"})
    whole = path.read_bytes()
    with pytest.raises(InputError, match="holds one recording|is one recording"):
        read(f"{path}#1")
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert main(["measure", str(tmp_path / "cut.parquet")]) == 2
    assert "is no Parquet file that can be read" in capsys.readouterr().err
    assert main(["measure", str(write(tmp_path / "silent.parquet", LEADS))]) == 2
    assert "--rate" in capsys.readouterr().err
    with pytest.raises(InputError, match="has text in line 2, column 1"):
        read(write(tmp_path / "t.parquet", {"I": ["0.1", "x", "0.3"], "II": [0.1, 0.2, 0.3]}), rate=500, unit="mV")
    with monkeypatch.context() as changed:
        changed.setattr(parquet, "find_spec", lambda _: None)
        with pytest.raises(InputError, match="pip install 'llava-ecg\\[formats\\]'"):
            read(path)


def test_a_small_file_of_many_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", {lead: np.zeros(100_000, np.float32) for lead in STANDARD})
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(parquet, "_LARGEST", 1_000_000)
    with pytest.raises(InputError, match="holds 1,200,000 values"):
        read(path, rate=500, unit="mV")


def test_parts(tmp_path: Path) -> None:
    """Of recordings in rows, of tables whose fault lies outside, and of one that would not be read at once."""
    rows = {"id": [17, 21], "signal": [SIGNAL.tolist(), SIGNAL[:, ::-1].tolist()]}
    path = write(tmp_path / "rows.parquet", rows, {"unit": "mV", "rate": "500"})
    check_in_batches(Path(f"{path}#21"), leads="standard")
    path = write(tmp_path / "fault.parquet", {"I": ["0.1"] * 900 + ["x"] + ["0.2"] * 99, "II": np.arange(1000.0) % 7})
    check_in_batches(path, rate=500, unit="mV")
    with (
        patch.multiple(parquet, _SHORT=0, _BATCH=301),
        pytest.raises(InputError, match="has text in line 901, column 1"),
    ):
        read(path, rate=500, unit="mV", start=1)
    with pytest.raises(InputError, match="one recording, so #3 behind it means nothing"):
        read(f"{path}#3", start=1)


def test_memory_goes_by_the_part(tmp_path: Path) -> None:
    """Of 96 MB in the groups of rows that pyarrow makes."""
    wave = np.sin(np.arange(1_000_000) / 20).astype(np.float32)
    path = write(tmp_path / "a.parquet", {lead: wave + row for row, lead in enumerate(STANDARD)}, {"unit": "mV"})
    assert memory_of(path, rate=500, start=600, seconds=10) < 40_000_000


def test_a_file_that_ends_the_library_ends_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pyarrow ends its process on some damaged files; here that process is ended in its place."""
    path = write(tmp_path / "a.parquet", LEADS, {"rate": "500", "unit": "mV"})
    same(read(path))
    some = parquet._Worker._some

    def killed(process: Any, *rest: Any) -> bytes:
        process.kill()
        process.wait()
        return some(process, *rest)

    with monkeypatch.context() as changed:
        changed.setattr(parquet._Worker, "_some", staticmethod(killed))
        assert main(["measure", str(path)]) == 2
    assert "ends pyarrow, which happens with damaged files" in capsys.readouterr().err
    with monkeypatch.context() as changed:
        changed.setattr(parquet, "_PATIENCE_S", 0.0)
        with pytest.raises(InputError, match="takes too long"):
            read(path)
    same(read(path))


def test_the_process_goes_on_from_file_to_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", LEADS, {"rate": "500", "unit": "mV"})
    read(path)
    first = parquet._WORKER._process
    (tmp_path / "bad.parquet").write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError):
        read(tmp_path / "bad.parquet")
    read(path)
    assert first is not None
    assert parquet._WORKER._process is first
