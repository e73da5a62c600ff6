"""Folders, lists and tables of reports -> what is to be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_ecg.errors import InputError
from llava_ecg.instruct.sources import listed


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_ptbxls_own_table(tmp_path: Path) -> None:
    write(tmp_path / "records500/00000/00001_hr.hea", "00001_hr 12 500 5000")
    reports = write(
        tmp_path / "ptbxl_database.csv",
        "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr",
        "1,15709.0,56.0,1,sinusrhythmus,\"{'NORM': 100.0, 'SR': 0.0}\",9,x,records500/00000/00001_hr",
        "2,13243.0,19.0,0,x,,1,x,records500/00000/00002_hr",
    )
    found = listed(tmp_path, reports)
    [given] = found.given
    assert (given.name, given.patient, given.sex, given.age) == ("records500/00000/00001_hr.hea", "15709", "female", 56)
    assert (given.report, given.scp, given.split) == ("sinusrhythmus", {"NORM": 100.0, "SR": 0.0}, "val")
    assert given.volts and found.unmatched == 1


def test_mimics_own_table(tmp_path: Path) -> None:
    write(tmp_path / "files/p1000/p10000032/s40689238/40689238.hea", "40689238 12 500 5000")
    reports = write(
        tmp_path / "machine_measurements.csv",
        "subject_id,study_id,cart_id,report_0,report_1,report_10",
        "10000032,40689238,1,Sinus rhythm,Possible LVH,Abnormal ECG",
    )
    [given] = listed(tmp_path / "files", reports).given
    assert given.report == "Sinus rhythm\nPossible LVH\nAbnormal ECG" and given.patient == "10000032"


def test_a_list_with_its_own_columns_and_a_limit(tmp_path: Path) -> None:
    records = write(tmp_path / "list.csv", "record,volts,snomed", 'a.npy,no,"59118001,1"', "b.npy,,")
    found = listed(records, limit=1)
    [given] = found.given
    assert (given.path, given.volts, given.snomed) == (tmp_path / "a.npy", False, ("59118001",))
    assert listed(records).given[1].volts


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (("file,report", "a,x"), "no column that names the recording"),
        (("record,report", "c,x"), "no row of .* is about a recording"),
        (("record,report", "a,x", "a.npy,y"), "two rows about 'a'"),
        (("record,scp_codes", "a,NORM"), "no {'CODE': likelihood}"),
        (("record,volts", "a,perhaps"), "write yes or no"),
        (("record,split", "a,test"), "write train or val"),
        (("record,report", ",x"), "names no recording"),
    ],
)
def test_what_is_refused(tmp_path: Path, table: tuple[str, ...], sentence: str) -> None:
    records = write(tmp_path / "list.csv", "record", "a.npy")
    with pytest.raises(InputError, match=sentence):
        listed(records, write(tmp_path / "reports.csv", *table))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no WFDB header"):
        listed(tmp_path)
