"""Which recordings there are and what was said of them: a folder or a list, and a table of reports -> `Given`.

The tables that are read as they come: our own columns, PTB-XL's ``ptbxl_database.csv`` and MIMIC-IV-ECG's
``machine_measurements.csv``. A table without a column that names the recording is refused, with those that are known.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from llava_ecg.ecg.person import age_of, sex_of
from llava_ecg.errors import InputError
from llava_ecg.instruct.facts import Given

_IN_A_FOLDER = (".hea", ".dcm")
_RECORD = ("record", "filename_hr", "path", "ecg_id", "study_id")
"""Columns that say which recording a row is about, the first that is there; a path, with or without suffix, or a
name."""
_REPORT = ("report", "text")
_PATIENT = ("patient", "patient_id", "subject_id")
_FOLD = "strat_fold"
_VAL_FOLDS = ("9", "10")  # PTB-XL's own advice: 9 for validation, 10 for the test
_MIMIC = re.compile(r"report_\d+")
_KNOWN = {
    *_RECORD,
    *_REPORT,
    *_PATIENT,
    _FOLD,
    "snomed",
    "codes",
    "scp_codes",
    "sex",
    "gender",
    "age",
    "split",
    "volts",
}
_SUFFIX = re.compile(r"\.(hea|dat|mat|dcm|npy|npz|csv)$", re.IGNORECASE)
_NO = ("no", "false", "0")
_YES = ("yes", "true", "1", "")


@dataclass(frozen=True)
class Listed:
    """What is to be done.

    Attributes:
        given: the recordings, in the order of the list or of their names.
        folder: that the names are relative to.
        unmatched: how many rows of the table of reports are about none of them.
    """

    given: tuple[Given, ...]
    folder: Path
    unmatched: int = 0


@dataclass
class _Table:
    path: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    column: str = ""


def listed(records: Path, reports: Path | None = None, limit: int | None = None) -> Listed:
    """The recordings with what was said of them.

    Args:
        records: a folder, in which every WFDB header and DICOM file is a recording, or a CSV list whose column
            ``record`` (or `_RECORD`'s others) is a file relative to the list; its other columns are read as those of
            `reports`.
        reports: a CSV table, a row a recording; None where the headers and the list say it all.
        limit: take only the first so many.

    Raises:
        InputError: nothing there, a table without a column that names the recording, a value that can't be read.
    """
    if records.is_dir():
        folder = records
        paths = sorted(path for path in records.rglob("*") if path.suffix.lower() in _IN_A_FOLDER and path.is_file())
        rows: list[Mapping[str, str]] = [{}] * len(paths)
        if not paths:
            raise InputError(
                f"{records} holds no WFDB header and no DICOM file; name files of other formats in a CSV list"
            )
    else:
        table = _read(records, "list of recordings")
        folder = records.parent
        paths = [_file(folder, row[table.column], records) for row in table.rows]
        rows = list(table.rows)
        if not paths:
            raise InputError(f"{records} lists no recording")
    paths, rows = paths[:limit], rows[:limit]
    said = _said(reports) if reports is not None else {}
    given, used = [], set()
    for path, row in zip(paths, rows, strict=True):
        name = _name(path, folder)
        key = next((key for key in _keys(name) if key in said), None)
        if key is not None:
            used.add(id(said[key]))
        given.append(_given(path, name, {**row, **(said[key] if key is not None else {})}, reports or records))
    if said and not used:
        raise InputError(
            f"no row of {reports} is about a recording of {records}: its first is about {next(iter(said))!r}, and the "
            f"first recording is {given[0].name!r}"
        )
    return Listed(tuple(given), folder, len({id(row) for row in said.values()}) - len(used))


def _read(path: Path, what: str) -> _Table:
    table = _Table(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            table.column = next((name for name in _RECORD if name in names), "")
            if not table.column:
                raise InputError(
                    f"{path} has no column that names the recording; a {what} has one of {', '.join(_RECORD)}, and may "
                    f"have {', '.join(sorted(_KNOWN - set(_RECORD)))}"
                )
            for row in reader:
                kept = {key: value for key, value in row.items() if value and (key in _KNOWN or _MIMIC.fullmatch(key))}
                table.rows.append({table.column: "", **kept})
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV table in UTF-8: {error}") from error
    return table


def _said(path: Path) -> dict[str, dict[str, str]]:
    """Key of a recording -> its row."""
    table = _read(path, "table of reports")
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(table.rows, 2):
        key = _SUFFIX.sub("", row[table.column].strip().replace("\\", "/").removeprefix("./"))
        if not key:
            raise InputError(f"row {number} of {path} names no recording in its column {table.column!r}")
        if key in found:
            raise InputError(f"{path} has two rows about {key!r} (the second is row {number}); keep one")
        found[key] = row
    return found


def _keys(name: str) -> Iterable[str]:
    """What a table may call a recording: its path from each folder on, the last without PTB-XL's ``_hr``, and as a
    number."""
    parts = PurePosixPath(_SUFFIX.sub("", name)).parts
    for start in range(len(parts)):
        yield "/".join(parts[start:])
    stem = re.sub(r"_(hr|lr)$", "", parts[-1])
    yield stem
    if stem.isdigit():
        yield str(int(stem))


def _file(folder: Path, name: str, table: Path) -> Path:
    if not name.strip():
        raise InputError(f"{table} has a row without a recording")
    path = folder / name.strip()
    return (
        path.with_name(f"{path.name}.hea")
        if not path.is_file() and path.with_name(f"{path.name}.hea").is_file()
        else path
    )


def _name(path: Path, folder: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def _given(path: Path, name: str, row: Mapping[str, str], table: Path) -> Given:
    volts = row.get("volts", "").strip().lower()
    if volts not in (*_NO, *_YES):
        raise InputError(f"{table} says {volts!r} of the volts of {name}; write yes or no")
    split = row.get("split", "").strip().lower()
    if split not in ("", "train", "val"):
        raise InputError(f"{table} puts {name} into the split {split!r}; write train or val")
    if not split and (fold := row.get(_FOLD, "").strip().removesuffix(".0")):
        split = "val" if fold in _VAL_FOLDS else "train"
    return Given(
        path=path,
        name=name,
        report=_report(row),
        snomed=tuple(re.findall(r"\b\d{6,18}\b", f"{row.get('snomed', '')} {row.get('codes', '')}")),
        scp=_scp(row.get("scp_codes", ""), name, table),
        patient=_patient(row),
        sex=sex_of(_number_or_text(row.get("sex") or row.get("gender") or "")),
        age=age_of(row.get("age", "")),
        split=split,
        volts=volts not in _NO,
    )


def _report(row: Mapping[str, str]) -> str:
    """The text of one column, or of MIMIC's ``report_0`` and so on, a line each."""
    text = next((row[name] for name in _REPORT if row.get(name)), "")
    lines = [row[name].strip() for name in sorted(filter(_MIMIC.fullmatch, row), key=lambda name: int(name[7:]))]
    return "\n".join([text.strip(), *lines]).strip() if any(lines) else text.strip()


def _patient(row: Mapping[str, str]) -> str:
    found = next((row[name].strip() for name in _PATIENT if row.get(name)), "")
    return found.removesuffix(".0")


def _number_or_text(text: str) -> Any:
    text = text.strip()
    return int(float(text)) if re.fullmatch(r"[01](\.0)?", text) else text


def _scp(text: str, name: str, table: Path) -> dict[str, float] | None:
    """PTB-XL's ``{'NORM': 100.0, 'SR': 0.0}``, as Python or JSON writes it."""
    if not text.strip():
        return None
    try:
        values = json.loads(text) if text.lstrip().startswith('{"') else ast.literal_eval(text.strip())
        return {str(code): float(value) for code, value in values.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(f"the scp_codes of {name} in {table} are no {{'CODE': likelihood}}: {text[:60]!r}") from error
