"""WFDB records that are valid, or that other readers take: headers of every dialect, several samples a frame, several
segments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg import read
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """float32 [2, 5000] mV: leads I and II at 500 Hz, 72 a minute, whole microvolts."""
    return np.round(simulate(Heart(rate_bpm=72), seed=3)[0].signal[:2] * 1000) / 1000


def write(
    folder: Path,
    signal: np.ndarray,
    record: str = "r 2 500 5000",
    lines: Sequence[str] = ("r.dat 16 1000/mV 16 0 0 0 0 I", "r.dat 16 1000/mV 16 0 0 0 0 II"),
    step: float = 0.001,
    name: str = "r",
) -> Path:
    """A record of format 16 with the record line and the signal lines as given; ``step`` in mV is one step of the
    samples."""
    (folder / f"{name}.dat").write_bytes(np.round(signal / step).astype("<i2").T.tobytes())
    path = folder / f"{name}.hea"
    path.write_text("\n".join([record, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "start"),
    [
        ("r 2 500 5000 2014-05-08 05:05:15", datetime(2014, 5, 8, 5, 5, 15)),  # CinC 2017
        ("r 2 500 5000 05:05:15 2014-05-08", datetime(2014, 5, 8, 5, 5, 15)),
        ("r 2 500 5000 2014-05-08T05:05:15Z", datetime(2014, 5, 8, 5, 5, 15)),
        ("r 2 500 5000 05:05:15.250 8/5/2014", datetime(2014, 5, 8, 5, 5, 15, 250_000)),
        ("r 2 500 5000 8.5.2014 05:05:15", datetime(2014, 5, 8, 5, 5, 15)),
        ("r 2 500 5000 [05:05:15 08/05/2014]", datetime(2014, 5, 8, 5, 5, 15)),
        ("r.mat 2 500 5000 05-May-2020 09:49:17", datetime(2020, 5, 5, 9, 49, 17)),  # the Georgia set
        ("r 2 500 5000 May 5, 2020 09:49:17", datetime(2020, 5, 5, 9, 49, 17)),
        ("r 2 500 5000 2014", None),
        ("r 2 500 5000 25:61:00 40/13/2020", None),
        ("r 2 500 5000 05:05:15", None),
        ("r 2 500 5000 unknown", None),
    ],
)
def test_a_date_in_another_form_refuses_no_record(
    tmp_path: Path, ecg: np.ndarray, record: str, start: datetime | None
) -> None:
    recording = read(write(tmp_path, ecg, record))
    assert recording.start == start and recording.rate == 500
    assert np.allclose(recording.signal, ecg, atol=1e-6)


@pytest.mark.parametrize(
    "record",
    [
        *(
            "r 2 5e2 5000",
            "r 2 5E2 5000",
            "r 2 +5.0e+02 5000",
            "r 2 .5e3 5000",
            "r 2 500. 5000",
            "r 2 500,0 5000",
            "r 2 500Hz 5000",
        ),
        *("r 2 500/1000 5000", "r 2 500/1e3(12.5) 5000", "r 2 500/500(-1.5) 5000"),
        *("r 2 500", "r 2 500 0", "r 2 500 5000.0 10:00:00"),  # a length of 0 is one that is not given, header(5)
        *(
            "r.mat 2 500 5000",
            "r.v1-b 2 500 5000",
            "data/r 2 500 5000",
            "\u00fc 2 500 5000",
            "\ufeffr 2 500 5000",
            "\n# a\nr\t2\t500\t5000",
        ),
    ],
)
def test_record_lines_of_every_dialect(tmp_path: Path, ecg: np.ndarray, record: str) -> None:
    recording = read(write(tmp_path, ecg, record))
    assert recording.rate == 500 and recording.notes == ()
    assert recording.signal.shape == (2, 5000) and np.allclose(recording.signal, ecg, atol=1e-6)


def test_a_rate_that_is_no_number_is_asked_for(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write(tmp_path, ecg, "r 2 fast 5000")
    with pytest.raises(InputError, match="does not say its sampling rate; give --rate 500"):
        read(path)
    assert read(path, rate=500).rate == 500


@pytest.mark.parametrize(
    "line",
    [
        *(
            "r.dat 16 1000/mV I",
            "r.dat 16 1000/mV 16 0 I",
            "r.dat 16 1e3/mV 16 0 0 0 0 I",
            "r.dat 16 1.0E+03(0.0)/mV 16 0 0 0 0 I",
        ),
        *(
            "r.dat 16 1/microvolts 16 0 0 0 0 I",
            "r.dat 16x1:0+0 1000(0)/mV 16.0 0. 0 0 0 I,",
            "R.DAT 16 1000/mV 16 0 0 0 0 'I'",
        ),
    ],
)
def test_signal_lines_of_every_dialect(tmp_path: Path, ecg: np.ndarray, line: str) -> None:
    recording = read(write(tmp_path, ecg, lines=(line, line.replace("I", "II"))))
    assert recording.leads == ("I", "II") and np.allclose(recording.signal, ecg, atol=1e-6)


def test_lines_beyond_the_counted_ones_are_passed_over(tmp_path: Path, ecg: np.ndarray) -> None:
    lines = (
        "r.dat 16 1000/mV 16 0 0 0 0 I",
        "r.dat 16 1000/mV 16 0 0 0 0 II",
        "r.dat 16 1000/mV 16 0 0 0 0 unused",
        "more text",
    )
    assert read(write(tmp_path, ecg, lines=lines)).leads == ("I", "II")


def test_a_lead_without_a_file_is_one_that_was_not_recorded(tmp_path: Path, ecg: np.ndarray) -> None:
    recording = read(write(tmp_path, ecg[:1], lines=("r.dat 16 1000/mV 16 0 0 0 0 I", "~ 16 1000/mV 16 0 0 0 0 V1")))
    assert np.isnan(recording.lead("V1")).all() and np.allclose(recording.lead("I"), ecg[0], atol=1e-6)


# -- several samples a frame


def write_frames(
    folder: Path, signals: Sequence[np.ndarray], per_frame: Sequence[int], rate: str, units: Sequence[str]
) -> Path:
    """A record whose signals, int16 [T], have so many samples a frame."""
    frames = [signal.reshape(-1, each) for signal, each in zip(signals, per_frame, strict=True)]
    (folder / "f.dat").write_bytes(np.concatenate(frames, axis=1).astype("<i2").tobytes())
    lines = [f"f {len(signals)} {rate} {len(frames[0])}"]
    lines += [f"f.dat 16x{each} {unit}" for each, unit in zip(per_frame, units, strict=True)]
    (folder / "f.hea").write_text("\n".join(lines) + "\n")
    return folder / "f.hea"


@pytest.mark.parametrize(("each", "rate"), [(2, "250"), (20, "25"), (500, "1"), (5000, "0.1"), (20, "2.5e1")])
def test_all_samples_of_a_frame_are_read(tmp_path: Path, ecg: np.ndarray, each: int, rate: str) -> None:
    """A polysomnogram has frames of a second, a monitor of 1/62.5 s; wfdb would give the mean of each."""
    steps = np.round(ecg * 1000).astype("<i2")
    breath = np.zeros(5000 // each, "<i2")
    units = ["1000/mV 16 0 0 0 0 I", "1000/mV 16 0 0 0 0 II", "100/NU 16 0 0 0 0 RESP"]
    recording = read(write_frames(tmp_path, [*steps, breath], [each, each, 1], rate, units))
    assert (
        recording.rate == 500
        and recording.leads == ("I", "II")
        and recording.notes == ("RESP is left out: NU is no unit of voltage",)
    )
    assert np.allclose(recording.signal, ecg, atol=1e-6)
    assert abs(measure(recording).heart_rate_bpm - 72) < 1  # type: ignore[operator]


def test_a_lead_with_fewer_samples_a_frame_is_resampled(tmp_path: Path) -> None:
    slow = np.sin(np.arange(2500) / 250 * 2 * np.pi * 3)
    fast = np.sin(np.arange(5000) / 500 * 2 * np.pi * 3)
    signals = [np.round(fast * 1000).astype("<i2"), np.round(slow * 1000).astype("<i2")]
    recording = read(write_frames(tmp_path, signals, [4, 2], "125", ["1000/mV 16 0 0 0 0 I", "1000/mV 16 0 0 0 0 II"]))
    assert recording.rate == 500 and recording.notes == ("II was recorded at a lower rate and resampled",)
    assert np.abs(recording.signal[1] - recording.signal[0])[100:-100].max() < 0.002


def test_one_missing_sample_of_a_frame_is_a_gap_and_no_voltage(tmp_path: Path, ecg: np.ndarray) -> None:
    steps = np.round(ecg[:1] * 1000).astype("<i2")
    steps[0, 1000] = steps[0, 1700:1750:2] = -32768
    recording = read(write_frames(tmp_path, list(steps), [2], "250", ["1000/mV 16 0 0 0 0 II"]))
    assert np.isnan(recording.signal).sum() == 26 and np.nanmin(recording.signal) > -0.4
    assert np.array_equal(np.isnan(recording.signal[0]), steps[0] == -32768)


def test_what_is_no_ecg_by_its_name_is_left_out(tmp_path: Path, ecg: np.ndarray) -> None:
    lines = ("r.dat 16 1000/mV 16 0 0 0 0 II,", "r.dat 16 1000/mV 16 0 0 0 0 PLETH,")
    recording = read(write(tmp_path, ecg, lines=lines))
    assert recording.leads == ("II",) and recording.notes == ("PLETH is left out: it is no ECG lead by its name",)
    assert read(tmp_path / "r.hea", leads="II,V5").leads == ("II", "V5"), "the user may say that it is one"
    with pytest.raises(InputError, match="holds no ECG, only RESP, PLETH"):
        read(write(tmp_path, ecg, lines=(lines[0].replace("II,", "RESP"), lines[1])))


# -- several segments


def write_segment(
    folder: Path, name: str, signal: np.ndarray, unit: str = "1000/mV", step: float = 0.001, names: str = "I II"
) -> None:
    lines = [f"{name}.dat 16 {unit} 16 0 0 0 0 {lead}" for lead in names.split()]
    write(folder, signal, f"{name} {len(lines)} 500 {signal.shape[1]}", lines, step, name)


def write_master(folder: Path, *segments: str, rate: str = "500") -> Path:
    total = sum(int(segment.split()[1]) for segment in segments)
    path = folder / "m.hea"
    path.write_text(f"m/{len(segments)} 2 {rate} {total} 2014-05-08 05:05:15\n" + "\n".join(segments) + "\n#Age: 61\n")
    return path


@pytest.mark.parametrize(
    ("unit", "step"),
    [("1000/mV", 0.001), ("1/uV", 0.001), ("1/\u00b5V", 0.001), ("0.5/\u03bcV", 0.002), ("1e6/V", 0.001)],
)
def test_each_segment_by_its_own_unit(tmp_path: Path, ecg: np.ndarray, unit: str, step: float) -> None:
    write_segment(tmp_path, "a", ecg[:, :2000], unit, step)
    write_segment(tmp_path, "b", ecg[:, 2000:])
    recording = read(write_master(tmp_path, "a 2000", "b 3000", rate="5e2"))
    assert recording.leads == ("I", "II") and recording.rate == 500 and recording.metadata == {"age": 61.0}
    assert recording.start == datetime(2014, 5, 8, 5, 5, 15)
    assert np.abs(recording.signal - ecg).max() < step


def test_segments_with_a_layout_a_pause_and_other_leads(tmp_path: Path, ecg: np.ndarray) -> None:
    (tmp_path / "layout.hea").write_text(
        "layout 3 500 0\n" + "".join(f"~ 0 1000/mV 16 0 0 0 0 {name}\n" for name in ("V1", "I", "II"))
    )
    write_segment(tmp_path, "a", ecg[:, :2000])
    write_segment(tmp_path, "b", ecg[:, 2500:], names="II V1")
    recording = read(write_master(tmp_path, "layout 0", "a 2000", "~ 500", "b 2500"))
    assert recording.leads == ("V1", "I", "II")
    first, second = slice(0, 2000), slice(2500, 5000)
    assert (
        np.allclose(recording.lead("I")[first], ecg[0, first], atol=1e-6) and np.isnan(recording.lead("I")[2000:]).all()
    )
    assert (
        np.allclose(recording.lead("II")[second], ecg[0, second], atol=1e-6)
        and np.isnan(recording.signal[:, 2000:2500]).all()
    )
    assert np.allclose(recording.lead("V1")[second], ecg[1, second], atol=1e-6)


def test_a_signal_whose_unit_changes(tmp_path: Path, ecg: np.ndarray) -> None:
    for name, part, unit in (("a", ecg[:, :2500], "100/Ohm"), ("b", ecg[:, 2500:], "100/pm")):
        lines = (f"{name}.dat 16 1000/mV 16 0 0 0 0 II", f"{name}.dat 16 {unit} 16 0 0 0 0 RESP")
        write(tmp_path, part, f"{name} 2 500 2500", lines, name=name)
    recording = read(write_master(tmp_path, "a 2500", "b 2500"))
    assert recording.leads == ("II",) and recording.notes == ("RESP is left out: Ohm, pm is no unit of voltage",)
    assert np.allclose(recording.signal[0], ecg[0], atol=1e-6)
    write_segment(tmp_path, "b", ecg[:, 2500:], "1000/NU", names="II RESP")
    with pytest.raises(InputError, match="gives II in mV and NU, which can't be put together"):
        read(tmp_path / "m.hea")


def test_segments_that_do_not_fit(tmp_path: Path, ecg: np.ndarray) -> None:
    write_segment(tmp_path, "a", ecg[:, :2000])
    for segments, said in [
        (("a 2000", "none 10"), "names the segment none, whose header none.hea is not beside it"),
        (("a 2001",), "a.hea is cut short: it holds 2000 of the 2001 samples"),
        (("a 2000", "m 10"), "names the segment m, which has segments itself"),
        (("~ 100",), "describes no samples"),
        (("a 2000", "~ 200000000000"), "too many to read at once; read a part of it"),
    ]:
        with pytest.raises(InputError, match=said):
            read(write_master(tmp_path, *segments))
    with pytest.raises(InputError, match=r"a.hea is at 500 Hz, and m.hea, whose segment it is, at 250 Hz"):
        read(write_master(tmp_path, "a 2000", rate="250"))
    (tmp_path / "m.hea").write_text("m/2 2 500 2000\na 2000\n")
    with pytest.raises(InputError, match="promises 2 segments and describes 1"):
        read(tmp_path / "m.hea")
    (tmp_path / "a.dat").write_bytes(b"")
    with pytest.raises(InputError, match="a.dat holds no samples"):
        read(write_master(tmp_path, "a 2000"))


def test_every_sample_format_that_wfdb_writes(tmp_path: Path) -> None:
    import wfdb

    wave = np.sin(np.arange(999) / 20)
    for form, step in (("80", 0.02), ("16", 1e-4), ("212", 1e-3), ("24", 1e-6), ("32", 1e-7)):
        columns = np.column_stack([wave, wave * 2])
        wfdb.wrsamp("p", 500, ["mV", "mV"], ["I", "II"], columns, fmt=[form, form], write_dir=str(tmp_path))
        assert np.abs(read(tmp_path / "p").signal - columns.T).max() < step, form


@pytest.mark.parametrize("rate", ["abc", "1e400", "1e308", "-5"])
@pytest.mark.parametrize("part", [{}, {"start": 1.0}, {"seconds": 1.0}])
def test_a_rate_that_is_none_is_a_sentence_of_a_part_too(rate: str, part: dict[str, float], tmp_path: Path) -> None:
    np.zeros(1000, "<i2").tofile(tmp_path / "x.dat")
    (tmp_path / "x.hea").write_text(f"x 1 {rate} 1000\nx.dat 16 200/mV 16 0 0 0 0 II\n")
    with pytest.raises(InputError):
        read(tmp_path / "x.hea", **part)
