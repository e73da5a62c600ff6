"""A part of a long recording is that part, is read alone where the format allows it, and its rate is told over time."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from llava_ecg import plugins
from llava_ecg.cli import main
from llava_ecg.ecg.formats import Options, npy, parts_of, read, wfdb_signals
from llava_ecg.ecg.formats.write import written
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import draw_page
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.trend import trend, trend_lines, trend_plot
from llava_ecg.errors import InputError

START = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def long() -> Recording:
    """Two minutes at 60 bpm, two at 100, one of nothing."""
    parts = [simulate(Heart(rate_bpm=rate), seed=1, seconds=120.0)[0].select(("I", "II", "V1")) for rate in (60, 100)]
    signal = np.concatenate([*(each.signal for each in parts), np.zeros((3, 30_000), np.float32)], axis=1)
    return replace(parts[0], signal=signal, start=START)


@pytest.fixture(scope="module")
def record(long: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "holter.hea"
    for each, content in written(long, path).items():
        each.write_bytes(content)
    return path


def test_a_part_is_that_part(record: Path, long: Recording) -> None:
    part = read(record, start=119.5, seconds=10)
    assert part.signal.shape == (3, 5000)
    np.testing.assert_allclose(part.signal, long.signal[:, 59_750:64_750], atol=0.51e-3)
    assert part.start == START + timedelta(seconds=119.5)
    assert part.notes[-1] == "read from 119.5 s to 129.5 s"
    assert read(record, start=299).duration == 1.0
    with pytest.raises(InputError, match=r"is 300.0 s long, so nothing is there from 300 s on"):
        read(record, start=300)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each reading of a WFDB file has taken."""
    taken: list[int] = []
    steps = wfdb_signals.read_steps

    def counted(file: Path, count: int, offset: int, frames: int) -> np.ndarray:
        taken.append(frames)
        return steps(file, count, offset, frames)

    monkeypatch.setattr(wfdb_signals, "read_steps", counted)
    return taken


def test_no_more_than_the_part_is_read(record: Path, counts: list[int]) -> None:
    read(record, start=10, seconds=2)
    seconds, part = parts_of(record)
    assert seconds == 300.0
    part(200.0, 3.0)
    assert counts == [1000, 1500]


def test_other_formats_give_the_same_part(long: Recording, tmp_path: Path) -> None:
    for suffix in (".npz", ".dcm", ".csv"):
        path = tmp_path / f"a{suffix}"
        shorter = replace(long, signal=long.signal[:, :30_000])
        for each, content in written(shorter, path).items():
            each.write_bytes(content)
        part = read(path, start=10, seconds=2)
        np.testing.assert_allclose(part.signal, long.signal[:, 5000:6000], atol=0.51e-3)
        with pytest.raises(InputError, match="is 60.0 s long"):
            read(path, start=60, seconds=1)
        assert parts_of(path)[0] == 60.0
        np.testing.assert_allclose(parts_of(path)[1](10, 2).signal, part.signal)


def test_stretches_of_an_array_whose_sidecar_tells_of_it(long: Recording, tmp_path: Path) -> None:
    path, held = tmp_path / "a.npy", []
    np.save(path, long.signal)
    assert parts_of(path, rate=500, unit="mV", leads="I,II,V1")[0] == 300.0, "held whole"
    values = npy._values

    def counted(file: IO[bytes], dtype: np.dtype, count: int) -> np.ndarray:
        held.append(count)
        return values(file, dtype, count)

    (tmp_path / "a.json").write_text('{"rate": 500, "unit": "mV", "leads": ["I", "II", "V1"]}')
    with patch.object(npy, "_values", counted):
        seconds, part = parts_of(path)
        assert (seconds, held) == (300.0, [])
        np.testing.assert_array_equal(part(200.0, 3.0).signal, long.signal[:, 100_000:101_500])
    assert held == [1500, 1500, 1500]
    (tmp_path / "a.json").write_text('{"rate": 500, "unit": "mV", "leads": ["I", "II"]}')
    with pytest.raises(InputError, match="fits no 2 leads"):
        parts_of(path)


def test_a_part_of_a_record_that_is_read_by_wfdb(shared: Path) -> None:
    path = next(iter(sorted((shared / "data" / "cinc2021").rglob("*.hea"))))
    whole = read(path)
    np.testing.assert_array_equal(read(path, start=2, seconds=3).signal, whole.window(2, 3).signal)


@pytest.mark.parametrize("form", ["80", "212", "24", "32", "16x4", "8", "160", "310", "311", "16:3"])
def test_a_part_of_every_sample_format(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of any kind, read from a place in the middle: the same as of the whole, and wfdb is asked for no more."""
    size = {"80": 2, "212": 3, "24": 6, "32": 8, "16x4": 16, "8": 2, "160": 4, "310": 8 / 3, "311": 8 / 3, "16:3": 4}
    count = 3000
    content = np.random.default_rng(1).integers(1, 255, int(size[form] * count) + 3 * 4, dtype=np.uint8).tobytes()
    (tmp_path / "r.dat").write_bytes(content)
    lines = "".join(f"r.dat {form} 100000/mV 16 0 0 0 0 {name}\n" for name in ("I", "II"))
    (tmp_path / "r.hea").write_text(f"r 2 250 {count}\n{lines}")
    whole = read(tmp_path / "r.hea", unit=1e-6)
    import wfdb

    asked: list[int] = []
    rdrecord = wfdb.rdrecord

    def counted(*args: object, **more: int) -> object:
        asked.append(more["sampto"] - more["sampfrom"])
        return rdrecord(*args, **more)

    monkeypatch.setattr(wfdb, "rdrecord", counted)
    part = read(tmp_path / "r.hea", unit=1e-6, start=5.004, seconds=3)
    np.testing.assert_array_equal(part.signal, whole.window(5.004, 3).signal)
    assert asked == [pytest.approx(2001 if form == "8" else 750, abs=2)], "differences are added up from the first one"


def test_a_part_of_a_compressed_record(tmp_path: Path) -> None:
    import wfdb

    pytest.importorskip("soundfile", reason="wfdb reads and writes FLAC with it")
    wave = np.sin(np.arange(5000) / 20)
    columns = np.column_stack([wave, wave / 2])
    wfdb.wrsamp("p", 500, ["mV", "mV"], ["I", "II"], columns, fmt=["516", "516"], write_dir=str(tmp_path))
    part = read(tmp_path / "p", start=4.5, seconds=2)
    np.testing.assert_allclose(part.signal, columns.T[:, 2250:3250], atol=1e-4)


def test_a_part_of_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that lie outside are not opened, and what was not recorded stays a gap."""
    rng = np.random.default_rng(2)
    line = "{} 16 1000/mV 16 0 0 0 0 {}\n"
    for name in "abc":
        (tmp_path / f"{name}.dat").write_bytes(rng.integers(-900, 900, (5000, 2)).astype("<i2").tobytes())
        leads = ("I", "II") if name != "b" else ("II", "V1")
        text = f"{name} 2 500 5000\n" + "".join(line.format(f"{name}.dat", lead) for lead in leads)
        (tmp_path / f"{name}.hea").write_text(text)
    (tmp_path / "r.hea").write_text("r/4 3 500 17500\na 5000\n~ 2500\nb 5000\nc 5000\n")
    whole = read(tmp_path / "r.hea")
    assert whole.leads == ("I", "II", "V1")
    part = read(tmp_path / "r.hea", start=8, seconds=20)
    np.testing.assert_array_equal(part.signal, whole.window(8, 20).signal)
    (tmp_path / "a.dat").unlink()
    late = read(tmp_path / "r.hea", start=26, seconds=4)
    np.testing.assert_array_equal(late.signal, whole.window(26, 4).signal)
    assert (late.leads, late.duration) == (whole.leads, 4.0)
    with pytest.raises(InputError, match=r"a.dat, which is not beside it"):
        read(tmp_path / "r.hea", start=8, seconds=20)


def test_a_part_in_seconds_of_the_rate_that_the_user_gives(record: Path, long: Recording) -> None:
    part = read(record, rate=250, start=20, seconds=4)
    np.testing.assert_allclose(part.signal, long.signal[:, 5000:6000], atol=0.51e-3)
    assert (part.rate, part.duration, part.notes[-1]) == (250.0, 4.0, "read from 20 s to 24 s")


def test_a_slower_lead_of_a_part(tmp_path: Path) -> None:
    wave = 1000 * np.sin(np.arange(4000) / 40)
    frames = np.concatenate([wave.reshape(1000, 4), wave.reshape(1000, 4)[:, :1]], axis=1)
    (tmp_path / "r.dat").write_bytes(np.rint(frames).astype("<i2").tobytes())
    lines = "r.dat 16x4 1000/mV 16 0 0 0 0 I\nr.dat 16 1000/mV 16 0 0 0 0 II\n"
    (tmp_path / "r.hea").write_text(f"r 2 125 1000\n{lines}")
    whole, part = read(tmp_path / "r.hea"), read(tmp_path / "r.hea", start=3.003, seconds=2)
    np.testing.assert_allclose(part.signal, whole.window(3.003, 2).signal, atol=2e-5)


def test_rate_over_time(record: Path) -> None:
    seconds, part = parts_of(record)
    found = list(trend(part, seconds, 60.0))
    assert [each.start_s for each in found] == [0, 60, 120, 180, 240]
    for each, rate in zip(found, (60, 60, 100, 100), strict=False):
        assert each.heart_rate_bpm == pytest.approx(rate, abs=1)
        assert each.slowest_bpm is not None and each.fastest_bpm is not None and each.heart_rate_bpm is not None
        assert each.slowest_bpm <= each.heart_rate_bpm <= each.fastest_bpm
        assert each.regular
    assert found[4].heart_rate_bpm is None and found[4].why
    lines = trend_lines(found)
    assert lines[1].split()[:3] == ["0:00:00", "60", "60"]
    page = np.asarray(trend_plot(found))
    assert page.shape == (500, 1600, 3)
    line = (page == (20, 60, 160)).all(axis=2)
    low, high = (np.flatnonzero(line[:, across])[0] for across in (360, 950))
    assert low > high, "100 bpm is drawn above 60"
    with pytest.raises(InputError, match="too short to tell a rate"):
        list(trend(part, seconds, 5.0))


def test_the_commands(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", str(record), "--start", "130", "--seconds", "10"]) == 0
    out = capsys.readouterr().out
    assert "read from 130 s to 140 s" in out and "10.0 s" in out
    assert main(["measure", str(record), "--every", "60", "--plot", str(tmp_path / "rate.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [round(each["heart_rate_bpm"]) for each in told["stretches"][:4]] == [60, 60, 100, 100]
    assert (tmp_path / "rate.png").is_file()
    assert main(["measure", str(record), "--every", "60", "--start", "110"]) == 0
    assert "190 s from 110 s on" in capsys.readouterr().out
    assert main(["measure", str(record), "--plot", "a.png"]) == 2
    assert "--plot draws what --every measures" in capsys.readouterr().err
    assert main(["measure", str(record), "--start", "400"]) == 2
    assert "is 300.0 s long" in capsys.readouterr().err
    assert main(["convert-ecg", str(record), str(tmp_path / "part.npz"), "--start", "10", "--seconds", "2"]) == 0
    assert read(tmp_path / "part.npz").duration == 2.0


def test_a_page_reads_no_more_than_it_shows(
    record: Path, tmp_path: Path, counts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--start", "150.5", "--dpi", "100", "--title", "page"]
    boxes = tmp_path / "page.json"
    assert main(["render", str(record), "-o", str(tmp_path / "page.png"), "--boxes", str(boxes), *given]) == 0
    assert counts == [5750]
    whole = draw_page(read(record), start=150.5, dpi=100, title="page")
    with Image.open(tmp_path / "page.png") as page:
        np.testing.assert_array_equal(np.asarray(page), np.asarray(whole.image))
    told = [(each["t0_s"], each["t1_s"]) for each in json.loads(boxes.read_text())["boxes"]]
    assert told == [(round(box.t0, 4), round(box.t1, 4)) for box in whole.boxes]
    capsys.readouterr()
    assert main(["render", str(record), "-o", str(tmp_path / "no.png"), "--start", "300"]) == 2
    assert "can't begin at 300 s: the recording is 300.0 s long" in capsys.readouterr().err


def test_a_page_of_a_part_tells_of_the_whole(long: Recording) -> None:
    whole, part = (
        draw_page(long, start=130.25),
        draw_page(long.window(120.0, 30.0), start=10.25, part_of=(120.0, 300.0)),
    )
    np.testing.assert_array_equal(np.asarray(part.image), np.asarray(whole.image))
    assert part.image.info["ecg_seconds"] == whole.image.info["ecg_seconds"] == (130.25, 140.25)
    assert part.boxes == whole.boxes


def test_a_part_is_audited(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("The heart rate is 100 bpm.")
    audit = ["audit", "--ecg", str(record), "--text", str(tmp_path / "text.txt"), "--json"]
    for part, status in ((("--start", "130"), "supported"), ((), "contradicted")):
        assert main([*audit, *part, "--seconds", "10"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [each["status"] for each in told["audit"]["verdicts"]] == [status]
    assert "read from 0 s to 10 s" in told["recording"]["notes"]


def test_a_reader_of_a_third_party_may_read_parts_and_hold_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, float, float | None]] = []

    class Telemetry:
        suffixes = (".tele",)
        parts = many = True

        def recognises(self, head: bytes, path: Path) -> bool:
            return head.startswith(b"TELE")

        def seconds(self, path: Path) -> float | None:
            return 7200.0

        def read(self, path: Path, options: Options) -> Recording:
            asked.append((options.record, options.start, options.seconds))
            count = round((options.seconds or 10.0) * 100)
            return Recording(np.sin(np.arange(count, dtype=np.float32))[None], 100.0, ("II",))

    path = tmp_path / "ward.tele"
    path.write_bytes(b"TELE")
    plugins.readers.add("telemetry", Telemetry)
    try:
        seconds, part = parts_of(f"{path}#bed 3")
        assert seconds == 7200.0
        assert part(3600.0, 5.0).duration == 5.0
        assert read(f"{path}#bed 4").notes == ()
    finally:
        plugins.readers.remove("telemetry")
    assert asked == [("bed 3", 3600.0, 5.0), ("bed 4", 0.0, None)]
