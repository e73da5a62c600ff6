"""Tables as text in every dialect that people have: quotes, commas, units, times, counters, other signals, and lines
above the table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg import Recording, read
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from tests.ecg.windowed import check_parts

SIZE, RATE = 1500, 250
TIME = np.arange(SIZE) / RATE
GIVEN: dict[str, Any] = {"rate": RATE, "unit": "mV"}


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """float64 [2, 1500] mV: leads I and II at 250 Hz, to 0.1 uV."""
    return np.round(simulate(Heart(rate_bpm=72), seed=3)[0].signal[:2, : 2 * SIZE : 2].astype(np.float64), 4)


def text(*columns: Any, separator: str = ",", form: str = "{:.4f}", comma: bool = False, quote: str = "") -> str:
    """Rows of columns: numbers, or cells as they are."""
    cells = [
        [cell if isinstance(cell, str) else form.format(cell).replace(".", "," if comma else ".") for cell in c]
        for c in columns
    ]
    return "\n".join(separator.join(f"{quote}{cell}{quote}" for cell in row) for row in zip(*cells, strict=True)) + "\n"


def written(folder: Path, content: str, encoding: str = "utf-8", **given: Any) -> Recording:
    """The recording in a file with this content."""
    (folder / "table.csv").write_bytes(content.encode(encoding))
    check_parts(folder / "table.csv", **given)
    return read(folder / "table.csv", **given)


def same(recording: Recording, ecg: np.ndarray) -> bool:
    """Leads I and II at 250 Hz, and nothing else."""
    return recording.leads == ("I", "II") and recording.rate == RATE and np.allclose(recording.signal, ecg, atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, ecg: np.ndarray, encoding: str, ending: str) -> None:
    content = "time,I (\u00b5V),II (\u00b5V)\n" + text(TIME, *(1000 * ecg))
    assert same(written(tmp_path, content.replace("\n", ending), encoding), ecg)


def test_quotes_and_decimal_commas(tmp_path: Path, ecg: np.ndarray) -> None:
    head = '"time","I (mV)","II (mV)"\n'
    assert same(written(tmp_path, head + text(TIME, *ecg, quote='"')), ecg)
    assert same(written(tmp_path, head + text(TIME, *ecg, quote='"', comma=True)), ecg)
    assert same(written(tmp_path, head.replace('"', "'") + text(TIME, *ecg, quote="'")), ecg)
    assert same(written(tmp_path, head.replace(",", "\t") + text(TIME, *ecg, separator="\t", quote='"')), ecg)
    assert same(written(tmp_path, '"time, s";"I";"II"\n' + text(TIME, *ecg, separator=";", comma=True), unit="mV"), ecg)
    assert same(
        written(tmp_path, "sep=;\n" + head.replace(",", ";") + text(TIME, *ecg, separator=";", comma=True)), ecg
    )
    assert same(written(tmp_path, "time|I (mV)|II (mV)\n" + text(TIME, *ecg, separator="|")), ecg)


def test_thousands_are_grouped_either_way(tmp_path: Path, ecg: np.ndarray) -> None:
    english = text(*(1e5 * ecg), form="{:,.1f}", quote='"')
    swiss = text(*([f"{1e5 * value:,.1f}".replace(",", "'") for value in lead] for lead in ecg))
    german = english.replace('","', ";").replace('"', "").replace(",", "_").replace(".", ",").replace("_", ".")
    for head, body in (("I,II\n", english), ("I,II\n", swiss), ("I;II\n", german)):
        assert np.allclose(written(tmp_path, head + body, rate=RATE, unit="1e-5").signal, ecg, atol=2e-6)


@pytest.mark.parametrize(
    "gap", ["NA", "N/A", "#N/A", "<NA>", "null", "NULL", "None", "NaN", "-nan", "-", "", "?", '"NA"', '""']
)
def test_missing_values(tmp_path: Path, ecg: np.ndarray, gap: str) -> None:
    """Wherever they are, the first row of numbers included."""
    holes = ecg.copy()
    holes[0, :3] = holes[0, 100:110] = holes[1, 100] = np.nan
    cells = [[gap if np.isnan(value) else f"{value:.4f}" for value in lead] for lead in holes]
    recording = written(tmp_path, "time,I (mV),II (mV)\n" + text(TIME, *cells))
    assert np.allclose(recording.signal, holes, atol=1e-5, equal_nan=True) and recording.rate == RATE


@pytest.mark.parametrize(
    ("head", "scale"),
    [
        ("'Elapsed time','I','II'\n'seconds','mV','mV'\n", (1, 1)),
        ("Time,I,II\n(s),(mV),(mV)\n", (1, 1)),
        ("Time,I,II\nms,uV,\u00b5V\n", (1000, 1000)),
        ("t,I,II\n[s],[uV],[uV]\n", (1, 1000)),
        ("time_ms,I_mV,II_mV\n", (1000, 1)),
        ("t/s,I/mV,II/mV\n", (1, 1)),
        ("TimeMs,I [uV],II {uV}\n", (1000, 1000)),
        ("time in ms,I (mV),II (mV)\n", (1000, 1)),
    ],
)
def test_units_in_the_titles_or_below_them(tmp_path: Path, ecg: np.ndarray, head: str, scale: tuple[int, int]) -> None:
    assert same(written(tmp_path, head + text(scale[0] * TIME, *(scale[1] * ecg))), ecg)


def moments(form: str, start: datetime = datetime(2020, 1, 1, 23, 59, 58)) -> list[str]:
    """Times across midnight, to a millisecond."""
    return [(start + timedelta(seconds=second)).strftime(form)[:-3] for second in TIME]


@pytest.mark.parametrize(
    ("title", "times"),
    [
        *(
            (title, list(map("{:.3f}".format, TIME)))
            for title in ("Elapsed time", "TIME", "elapsed", "Time (sec)", "Zeit", "rel_time")
        ),
        *(
            (title, list(map("{:.0f}".format, 1e3 * TIME)))
            for title in ("ms", "millis", "timestamp_ms", "Elapsed time (ms)", "t [msec]")
        ),
        ("timestamp", [f"{1.6e9 + t:.3f}" for t in TIME]),
        ("timestamp", [f"{1_600_000_000_000 + 1000 * t:.0f}" for t in TIME]),
        ("Unix Timestamp", [f"{1_600_000_000_000_000 + int(1e6 * t)}" for t in TIME]),
        ("time", [f"{1_600_000_000_000_000_000 + int(1e9 * t)}" for t in TIME]),
        ("datetime", moments("%Y-%m-%d %H:%M:%S.%f")),
        ("Timestamp", moments("%Y-%m-%dT%H:%M:%S.%f")),
        ("time", moments("%H:%M:%S.%f")),
        ("Uhrzeit", moments("%d.%m.%Y %H:%M:%S.%f")),
        ("Elapsed time", [f"'{int(t // 60)}:{t % 60:06.3f}'" for t in TIME]),
        ("time", [f"0 days 00:00:{t:09.6f}" for t in TIME]),
        ("Date/Time", [f"1/2/2020 11:00:{t:06.3f} AM" for t in TIME]),
        ("time", [f"12:00:{int(t):02d}" for t in TIME]),
        ("Time and date", [f"'[{moment}]'" for moment in moments("%H:%M:%S.%f")]),
    ],
)
def test_times_in_every_form(tmp_path: Path, ecg: np.ndarray, title: str, times: list[str]) -> None:
    """The rate comes from them; seconds, parts of a second, since 1970, clocks and dates."""
    assert same(written(tmp_path, f"{title},I (mV),II (mV)\n" + text(times, *ecg)), ecg)


def test_times_that_are_of_no_use_give_way_to_the_user(tmp_path: Path, ecg: np.ndarray) -> None:
    content = "time (h),I,II\n" + text(TIME, *ecg)
    assert same(written(tmp_path, content, **GIVEN), ecg)
    with pytest.raises(InputError, match="unknown unit"):
        written(tmp_path, content, unit="mV")
    lost = "time,I,II\n" + text(np.delete(TIME, 700), *np.delete(ecg, 700, axis=1))
    with pytest.raises(InputError, match="uneven times after 2.79"):
        written(tmp_path, lost, **GIVEN)


@pytest.mark.parametrize(
    "title",
    [
        *(
            "",
            "Unnamed: 0",
            "Unnamed: 0.1",
            "Unnamed: 0_level_0",
            "index",
            "Index",
            "level_0",
            "...1",
            "X",
            "rownames",
            "row.names",
            "id",
        ),
        *("Sample #", "sample_number", "sampleIndex", "Sample No.", "idx", "frame", "packetNum", "Zeile", "foo"),
    ],
)
@pytest.mark.parametrize("first", [0, 1, 5000])
def test_a_counter_is_no_lead(tmp_path: Path, ecg: np.ndarray, title: str, first: int) -> None:
    """By its title, or because it counts."""
    recording = written(tmp_path, f"{title},I,II\n" + text([str(first + n) for n in range(SIZE)], *ecg), **GIVEN)
    assert same(recording, ecg)
    assert all("counts up evenly" in note for note in recording.notes)


def test_a_counter_that_begins_anew_and_a_clock_of_unknown_name(tmp_path: Path, ecg: np.ndarray) -> None:
    content = "nr_in_packet,I,II,ticks\n" + text(
        [str(n % 256) for n in range(SIZE)], *ecg, [str(77 + 4 * n) for n in range(SIZE)]
    )
    recording = written(tmp_path, content, **GIVEN)
    assert (
        same(recording, ecg)
        and recording.notes[-1] == "ticks is left out: it counts up evenly, as a counter or a clock does"
    )


def test_row_names_without_a_title_and_tables_without_titles(tmp_path: Path, ecg: np.ndarray) -> None:
    count = [str(n + 1) for n in range(SIZE)]
    assert same(written(tmp_path, '"I" "II"\n' + text([f'"{n}"' for n in count], *ecg, separator=" "), **GIVEN), ecg)
    assert same(written(tmp_path, text(count, *ecg), leads="I,II", **GIVEN), ecg)
    assert same(written(tmp_path, text(TIME, *ecg), leads="I,II", **GIVEN), ecg)
    assert written(tmp_path, text(count, *ecg), leads="V1,I,II", rate=RATE, unit="1").leads == ("V1", "I", "II"), (
        "three are named"
    )


def test_separators_at_the_end_of_a_line(tmp_path: Path, ecg: np.ndarray) -> None:
    for head, end in (("I;II;\n", ";"), ("I;II;\n", ""), ("I;II\n", ";")):
        assert same(written(tmp_path, head + text(*ecg, separator=";").replace("\n", f"{end}\n"), **GIVEN), ecg)


OTHERS = (
    "ppg",
    "PLETH",
    "acc_x",
    "Acceleration Y",
    "gyro_z",
    "temp",
    "EDA",
    "RSP",
    "Resp (mV)",
    "SpO2",
    "HR",
    "EMG",
    "EEG Fpz-Cz",
    "ABP",
    "label",
)


def test_titles_kept_apart_by_blanks(tmp_path: Path, ecg: np.ndarray) -> None:
    """As rdsamp -p -v prints them, which has blanks in its titles too."""
    body = "\n".join(f"{t:9.3f} {one:9.4f} {two:9.4f}" for t, one, two in zip(TIME, *ecg, strict=True))
    head = "   Elapsed time         I        II\n      (seconds)      (mV)      (mV)\n"
    assert same(written(tmp_path, head + body), ecg)
    assert same(written(tmp_path, "time (s) I (mV) II [mV]\n" + body), ecg)


def test_a_lead_in_each_line(tmp_path: Path, ecg: np.ndarray) -> None:
    rows = [
        name + "," + ",".join(f"{value:.4f}" for value in lead)
        for name, lead in zip(("I", "Lead II"), ecg, strict=True)
    ]
    assert same(written(tmp_path, "\n".join(rows), **GIVEN), ecg)
    with pytest.raises(InputError, match="has text in line 2, column 1501"):
        written(tmp_path, rows[0] + "\n" + rows[1].rpartition(",")[0] + ",x", **GIVEN)


def test_cells_as_excel_keeps_them(tmp_path: Path, ecg: np.ndarray) -> None:
    cells = [[f'="{value:.4f}"' for value in column] for column in (TIME, *ecg)]
    assert same(written(tmp_path, "time,I (mV),II (mV)\n" + text(*cells)), ecg)


@pytest.mark.parametrize("title", OTHERS)
def test_another_signal_is_no_lead(tmp_path: Path, ecg: np.ndarray, title: str) -> None:
    other = np.sin(TIME)
    recording = written(tmp_path, f"I,{title},II\n" + text(ecg[0], other, ecg[1]), **GIVEN)
    name = title.removesuffix(" (mV)")
    assert same(recording, ecg) and recording.notes == (f"{name} is left out: it is no ECG lead by its name",)
    everything = written(tmp_path, f"I,{title},II\n" + text(ecg[0], other, ecg[1]), leads="I,V1,II", **GIVEN)
    assert everything.leads == ("I", "V1", "II"), "the user may say that all are leads"


def test_unknown_names_beside_known_ones(tmp_path: Path, ecg: np.ndarray) -> None:
    """Beside an ECG, what is not called like a lead and gives no unit of voltage is left out; alone it is read."""
    wave = np.sin(TIME)
    recording = written(tmp_path, "ecg,filtered,x,y,z\n" + text(ecg[1], wave, wave, wave, wave), **GIVEN)
    assert recording.leads == ("ecg",) and len(recording.notes) == 4 and "as others are" in recording.notes[0]
    assert written(tmp_path, "I,vx,V7,MCL1,ch3,X\n" + text(ecg[0], *[wave] * 5), **GIVEN).leads == (
        "I",
        "vx",
        "V7",
        "MCL1",
        "ch3",
        "X",
    )
    assert written(tmp_path, "I,Nehb D (mV)\n" + text(ecg[0], wave), **GIVEN).leads == ("I", "Nehb D")
    assert written(tmp_path, "value\n" + text(ecg[1]), **GIVEN).leads == ("value",)
    assert written(tmp_path, "mV\n" + text(ecg[1]), rate=RATE, leads="II").leads == ("II",)


def test_columns_of_text(tmp_path: Path, ecg: np.ndarray) -> None:
    marks = ["N" if n % 200 == 50 else "." for n in range(SIZE)]
    note = ["artefact, 2 s" if n == 7 else "" for n in range(SIZE)]
    content = "Time;I;QRS;II;comment\n" + text(TIME, ecg[0], marks, ecg[1], note, separator=";")
    recording = written(tmp_path, content, unit="mV")
    assert same(recording, ecg)
    assert recording.notes == (
        "QRS is left out: it is no column of numbers",
        "comment is left out: it is no column of numbers",
    )
    with pytest.raises(InputError, match=r"has '\.' in line 2, column 2, where a number must be"):
        written(tmp_path, "Time;I;II\n" + text(TIME, marks, ecg[1], separator=";"), unit="mV")
    bad = ["x" if n == 9 else f"{value:.4f}" for n, value in enumerate(ecg[0])]
    with pytest.raises(InputError, match="has text in line 11, column 1"):
        written(tmp_path, "Nehb (mV),II\n" + text(bad, ecg[1]), **GIVEN)


APPLE = (
    "Name,Erika\nDate of Birth,5 May 1955\nRecorded Date,2019-05-05 10:10:10 +0200\n"
    "Classification,Sinus Rhythm\nSymptoms,\nSoftware Version,1.90\n"
    'Device,"Watch4,1"\nSample Rate,250 hertz\n'
)
APPLE_IN_GERMAN = (
    "Name,Erika\nGeburtsdatum,05.05.1955\nAufgezeichnet am,2019-05-05 10:10:10 +0200\n"
    "Klassifizierung,Sinusrhythmus\nSymptome,\nSoftwareversion,1.90\n"
)
OPENBCI = "%OpenBCI Raw EXG Data\n%Number of channels = 2\n%Sample Rate = 250 Hz\n"


@pytest.mark.parametrize(
    ("before", "given"),
    [
        ("ECG export 1.2\n\ntime,I (mV),II (mV)\n", {}),
        ("Patient,Erika\nHeart rate,72\nDevice,x\ntime,I (mV),II (mV)\n", {}),
        ("# time,I,II\n", {"unit": "mV"}),
        ("# exported\n# unit: mV\n# time I II\ntime,I,II\n", {}),
        ("Patient,Erika\nHeart rate,72\nUnit,mV\n\nTime,I,II\ns,mV,mV\n", {}),
    ],
)
def test_lines_above_a_table(tmp_path: Path, ecg: np.ndarray, before: str, given: dict[str, Any]) -> None:
    recording = written(tmp_path, before + text(TIME, *ecg), **given)
    assert same(recording, ecg) and "Erika" not in repr(recording)


def test_exports_of_devices(tmp_path: Path, ecg: np.ndarray) -> None:
    recording = written(tmp_path, f"{APPLE}\n\nLead,Lead II\nUnit,\u00b5V\n\n" + text(1000 * ecg[1], form="{:.3f}"))
    assert recording.leads == ("II",) and recording.rate == 250 and np.allclose(recording.signal[0], ecg[1], atol=1e-5)
    assert "Erika" not in repr(recording)
    assert recording.metadata == {"device_statements": ["Sinus Rhythm"]}
    body = text(ecg[1], form="{:.3f}")
    recording = written(tmp_path, f"{APPLE_IN_GERMAN}\n\n{body}", rate=250, unit="mV", leads="II")
    assert recording.metadata == {"device_statements": ["Sinusrhythmus"]}
    part = read(tmp_path / "table.csv", rate=250, unit="mV", leads="II", start=1, seconds=2)
    assert part.metadata == recording.metadata
    count = [str(n % 256) for n in range(SIZE)]
    titles = "Sample Index, EXG Channel 0, EXG Channel 1, Accel Channel 0, Timestamp, Timestamp (Formatted)\n"
    stamps = [f"{1.6e9 + t:.6f}" for t in TIME]
    body = text(count, *(1000 * ecg), np.zeros(SIZE), stamps, moments("%Y-%m-%d %H:%M:%S.%f"), separator=", ")
    assert same(written(tmp_path, OPENBCI + titles + body, unit="uV", leads="I,II"), ecg)


def test_the_heart_rate_above_a_table_is_no_sampling_rate(tmp_path: Path, ecg: np.ndarray) -> None:
    with pytest.raises(InputError, match="does not say its sampling rate"):
        written(tmp_path, "Patient,Erika\nHeart rate,72\nI,II\n" + text(*ecg), unit="mV")


@pytest.mark.parametrize(
    "above", ["Name,Erika", "Patient,Erika Meier", "Name,Erika\nDate of birth,1955-03-01", "patient_name,Erika"]
)
def test_who_the_patient_is_titles_no_column(tmp_path: Path, ecg: np.ndarray, above: str) -> None:
    """A line about the patient right above the numbers, with as many cells."""
    body = text(*ecg)
    with pytest.raises(InputError, match="does not say its sampling rate, unit and leads") as found:
        written(tmp_path, f"{above}\n{body}")
    assert "Erika" not in str(found.value) and "1955" not in str(found.value)
    recording = written(tmp_path, f"{above}\n{body}", **GIVEN, leads="I,II")
    assert same(recording, ecg) and recording.notes == ()
    assert written(tmp_path, f"name,ch1,ch2\n{text(range(SIZE), *ecg)}", **GIVEN).leads == ("ch1", "ch2")


@pytest.mark.parametrize("title", ["Read by Erika Meier", "Erika " * 9])
def test_a_title_that_may_name_somebody_is_told_by_its_place(tmp_path: Path, ecg: np.ndarray, title: str) -> None:
    (note,) = written(tmp_path, f"I,II,{title}\n" + text(*ecg, ["x"] * SIZE), **GIVEN).notes
    assert note.startswith("column 3 is left out: ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ecg\n0.1\nbad\n", "has text in line 3, column 1"),
        ("I,II\n0.1,0.2\nbad,bad\n", "has text in line 3, column 1"),
        ("time,II\n0.0,0.1\nbad,bad\n", "has text in line 3, column 2"),
        ("V1,V2\nfoo,bar\n", "has text in line 2, column 1"),
        ("I,II\n0.1\n", "has 1 cells in line 2, the first line 2"),
    ],
)
def test_a_fault_does_not_cut_a_table(tmp_path: Path, content: str, said: str) -> None:
    """What stands above a bad line is no text above a table."""
    rows = "0.1\n" * 20 if "," not in content else "".join(f"{n / 250},0.2\n" for n in range(20))
    with pytest.raises(InputError, match=said):
        written(tmp_path, content + rows, **GIVEN | {"leads": "II" if "," not in content else None})


CASES: Sequence[tuple[str, dict[str, Any], float]] = (
    ("csv-beat-mark-column/muse.csv", {"unit": "mV"}, 75),
    ("csv-na-cells/na.csv", {}, 72),
    ("csv-pandas-index/ecg.csv", GIVEN, 72),
    ("csv-physionet-units-row/samples.csv", {}, 72),
    ("csv-quoted-cells/quoted.csv", {}, 72),
    ("csv-wearable-channels/wearable.csv", GIVEN, 100),
)


@pytest.mark.parametrize(("name", "given", "rate"), CASES)
def test_shared_cases(shared: Path, name: str, given: dict[str, Any], rate: float) -> None:
    from llava_ecg.ecg.measure import measure

    path = shared / "cases" / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    check_parts(path, **given)
    found = measure(read(path, **given)).heart_rate_bpm
    assert found is not None and abs(found - rate) < 2
