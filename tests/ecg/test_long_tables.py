"""Long tables as text: a part takes memory by its own length, and is that of the whole, once cut. The dialects are held
to that in test_formats_tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.formats import columns, long_tables, read
from llava_ecg.ecg.formats.column_facts import BatchFacts, Unsure
from llava_ecg.ecg.formats.reader import Options
from llava_ecg.ecg.formats.tables import Fault, Table
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.errors import InputError
from tests.ecg.windowed import check_parts, memory_of

RATE = 250
RNG = np.random.default_rng(5)
COUNT = np.arange(3000.0)
WAVE = np.sin(COUNT / 9)
UP: dict[str, np.ndarray] = {
    "counter": COUNT,
    "packets": COUNT % 256,
    "downwards": -COUNT,
    "seconds": np.round(COUNT / 257, 3),
    "rounded": np.round(COUNT / 360, 9),
    "constant": np.zeros(3000),
    "wave": WAVE,
    "noise": RNG.normal(size=3000),
    "drift": np.cumsum(RNG.uniform(0.5, 1.5, 3000)),
    "nearly": np.where(RNG.uniform(size=3000) < 0.049, 7.0, 1.0).cumsum(),
    "not quite": np.where(RNG.uniform(size=3000) < 0.2, 7.0, 1.0).cumsum(),
    "gap": np.where(np.arange(3000) == 2000, np.nan, COUNT),
    "few": COUNT[:8],
}
TIMES: dict[str, np.ndarray] = {
    "time (s)": COUNT / 250,
    "time": np.round(COUNT / 257, 3) + 7,
    "time (ms)": 4 * COUNT,
    "timestamp": np.round(1.6e9 + COUNT / 250, 3),
    "Timestamp": np.round(1.6e12 + 4 * COUNT),
    "timestamps": 1.6e18 + np.round(COUNT * 1e9 / 250),
    "Time": np.floor(COUNT / 250),
    "t": np.floor((COUNT + 100) / 250) + 12,
    "times": np.floor(COUNT / RNG.integers(100, 300)),
    "seconds": np.where(COUNT < 2500, COUNT / 250, COUNT / 250 + 1),
    "secs": np.delete(COUNT / 250, 1400),
    "clock": COUNT[::-1] / 250,
    "elapsed": np.where(COUNT == 10, np.nan, COUNT / 250),
    "time (h)": COUNT / 250,
    "ms": np.where(COUNT == 2800, 2799.0, COUNT) * 4,
    "epoch": np.array([3.0]),
}


def facts_of(title: str, values: np.ndarray, size: int, texts: list[str] | None = None) -> tuple[BatchFacts, Table]:
    """What is known of a column after batches, and the table that stands for it."""
    facts = BatchFacts(Table([title], [None], values[:1, None]))
    for at in range(0, len(values), size):
        cells = None if texts is None else texts[at : at + size]
        faults = {} if cells is None else {0: Fault(cells[0], at + 2, len(cells), len(cells))}
        batch = Table([title], [None], values[at : at + size, None], faults, {} if cells is None else {0: cells})
        facts.add(Path("a.csv"), batch)
    return facts, Table([title], [None], values[:1, None], facts.faults, facts=facts)


def told(path: Path, *of: Any) -> float | str:
    try:
        return columns._rate_of(path, *of) or 0.0
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
@pytest.mark.parametrize("name", UP)
def test_whether_a_column_counts_up(name: str, size: int) -> None:
    values = UP[name]
    facts, _ = facts_of("x", values, size)
    assert facts.evenly(0) == columns.counts_evenly(values)
    assert facts.rows == len(values) and facts.empty(0) is False


@pytest.mark.parametrize("given", [Options(), Options(rate=250.0)])
@pytest.mark.parametrize("size", [1, 97, 4096])
@pytest.mark.parametrize("title", TIMES)
def test_the_rate_by_numbers(title: str, size: int, given: Options) -> None:
    """The same to the last bit, or the same sentence."""
    values = TIMES[title]
    table = Table([title], [None], values[:, None])
    ((_, (key, unit)),) = columns.times_of(table).items()
    _, batched = facts_of(title, values, size)
    path = Path("a.csv")
    assert told(path, batched, 0, key, unit, given) == told(path, table, 0, key, unit, given)


@pytest.mark.parametrize("lost", [None, 1200])
@pytest.mark.parametrize("size", [1, 97, 4096])
@pytest.mark.parametrize("form", ["%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f"])
def test_the_rate_by_clocks(form: str, size: int, lost: int | None) -> None:
    """Past midnight, and with a cell that is no time."""
    begun = datetime(2020, 1, 1, 23, 59, 57)
    texts = [(begun + timedelta(seconds=second)).strftime(form) for second in COUNT / 250]
    if lost is not None:
        texts[lost] = "later"
    values = np.full(len(texts), np.nan)
    table = Table(["time"], [None], values[:, None], {0: Fault(texts[0], 2, 3000, 3000)}, {0: texts})
    _, batched = facts_of("time", values, size, texts)
    of = (0, "time", None, Options())
    assert told(Path("a.csv"), batched, *of) == told(Path("a.csv"), table, *of)


def test_what_batches_cannot_tell() -> None:
    facts, _ = facts_of("x", np.cumsum(RNG.uniform(0.5, 1.5, 40_000)), 4096)
    with pytest.raises(Unsure):
        facts.evenly(0)
    facts, _ = facts_of("x", RNG.normal(size=40_000), 4096)
    assert facts.evenly(0) is False, "up and down, so no median is needed"
    for times in (np.array([1e3, 1e11, 1e12]), np.array([1e12, 1e13])):
        with pytest.raises(Unsure):
            facts_of("time", times, 1)


def table(rows: int, late: str = "") -> str:
    body = "".join(f"{n / RATE:.3f},{np.sin(n / 20):.4f},{np.cos(n / 30):.4f}\n" for n in range(rows))
    return f"time,I (mV),II (mV)\n{body}{late}"


@pytest.mark.parametrize("late", ["", "# made by us\n", "# fs = 125\n# \u00e4\n", "\n;\n", "12.000,0.1,low\n", "1,2\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_what_stands_at_the_end_counts_too(tmp_path: Path, late: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(table(3000, late).encode(encoding))
    check_parts(path)


def test_what_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that begins as a number, and comments without an end: the part is right all the same."""
    monkeypatch.setattr(long_tables, "_SHORT_BYTES", 0)
    monkeypatch.setattr(long_tables, "_COMMENTS", 500)
    clocks = "".join(f"{'0' if n < 5000 else '0:'}{n / RATE:06.3f},{np.sin(n / 20):.4f}\n" for n in range(8000))
    (tmp_path / "a.csv").write_text("time,II (mV)\n" + clocks)
    (tmp_path / "b.csv").write_text(table(1000).replace("\n", "\n# a\n"))
    asked: list[object] = []
    part = long_tables.part

    def noted(*args: Any) -> Any:
        asked.append(part(*args))
        return asked[-1]

    monkeypatch.setattr(long_tables, "part", noted)
    for name in ("a", "b"):
        whole = read(tmp_path / f"{name}.csv")
        found = read(tmp_path / f"{name}.csv", start=1, seconds=2)
        np.testing.assert_array_equal(found.signal, whole.window(1, 2).signal)
    assert asked == [None, None]


def test_memory_goes_by_the_part(tmp_path: Path) -> None:
    """A quarter of an hour of 12 leads, which takes more than 100 MB to be read whole."""
    row = np.round(np.sin(np.arange(12) + np.arange(1000)[:, None] / 20), 4)
    with (tmp_path / "a.csv").open("w") as file:
        file.write(f"time,{','.join(f'{name} (mV)' for name in STANDARD)}\n")
        for block in range(225):
            times = (1000 * block + np.arange(1000)) / RATE
            np.savetxt(file, np.column_stack([times, row]), fmt=["%.3f"] + ["%.4f"] * 12, delimiter=",")
    assert memory_of(tmp_path / "a.csv", start=600, seconds=10) < 30_000_000
