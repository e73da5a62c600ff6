"""`prepare`: joins the question files of ECGBench and of Grounded ECG Understanding, which name images and seldom a
signal, to the records of the data sets that they are about.

Records are found by name, wherever below the folder they lie, so each data set may be laid out as its publisher does or
otherwise. Of CODE-15 % the rows go by ``exam_id`` alone: they are not in the order of ``exams.csv``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from llava_ecg.data.conversation import STREAMS
from llava_ecg.ecg.formats.hdf5 import exam_ids
from llava_ecg.errors import InputError
from llava_ecg.eval.ecgbench import FOLDER, records
from llava_ecg.files import records_of, write_json

SIGNAL, PAGE = STREAMS
COHORTS = {
    "PTBXL": ("ptb-test", "ptb-test-report", "ecgqa-test", "ecg-grounding-test-ptbxl"),
    "CODE15": ("code15-test",),
    "CPSC": ("cpsc-test",),
    "CSN": ("csn-test-no-cot",),
    "G12EC": ("g12-test-no-cot",),
    "MIMIC": ("ecg-grounding-test-mimiciv", "ecg-grounding-test"),
    "": ("mmmu-ecg", "arena", "ecg-arena"),
}
"""Name of a data set -> the question files about it; those of none have images alone."""
ALIASES = {"CHAPMAN": "CSN", "GEORGIA": "G12EC", "PTB-XL": "PTBXL", "CODE-15": "CODE15", "MIMIC-IV-ECG": "MIMIC"}
UNRESOLVED = "unresolved.json"
_TABLES = {"PTBXL": ("ptbxl_database.csv", "ecg_id"), "CODE15": ("exams.csv", "exam_id")}
_HDF5 = (".hdf5", ".h5")
_PTBXL = re.compile(r"(\d{1,5})(?:_[hl]r)?")
_SUBJECT = re.compile(r"p\d{8}")


@dataclass(frozen=True)
class File:
    """What became of a question file.

    Attributes:
        name: of the file, without its ending.
        cohort: the data set; empty where it has images alone.
        questions: how many it holds.
        unresolved: id of a question, what it names, and why that was not found.
        written: where it stands now; None where it was left out, since its data set was not given.
    """

    name: str
    cohort: str
    questions: int
    unresolved: tuple[tuple[str, str, str], ...] = ()
    written: Path | None = None


@dataclass
class Cohort:
    """The records of a data set.

    Attributes:
        name: in `COHORTS`.
        root: its folder.
    """

    name: str
    root: Path
    _twice: set[str] = field(default_factory=set)

    def find(self, named: str) -> tuple[str | None, str]:
        """The record that a path or the name of an image means, or why there is none."""
        if (path := self._at(named)) is not None:
            return str(path), ""
        for stem in _stems(named, self.name):
            if stem in self._twice:
                return None, f"several records of {self.root} are called {stem}"
            if (found := self._by_name.get(stem)) is not None:
                if stem in self._twice:
                    return None, f"several records of {self.root} are called {stem}"
                return found, ""
        return None, f"no record below {self.root} is called so"

    def patient(self, record: str) -> str:
        """Whose record it is, where the data set says so; else empty."""
        if self.name == "MIMIC":
            parts = [part for part in Path(record).parts if _SUBJECT.fullmatch(part)]
            return f"MIMIC {parts[-1]}" if parts else ""
        key = record.rpartition("#")[2] if "#" in record else Path(record).stem
        if self.name == "PTBXL" and (number := _PTBXL.match(key)) is not None:
            key = str(int(number[1]))
        patient = self._patients.get(key)
        return f"{self.name} {patient}" if patient else ""

    def _at(self, named: str) -> Path | None:
        """Where the end of a path leads below the folder: a data set's own layout, whatever stood before it."""
        parts = PurePosixPath(named.replace("\\", "/")).parts
        for first in range(len(parts)):
            path = self.root.joinpath(*parts[first:])
            if path.suffix.lower() in (".hea", ".npy", ".dcm", ".xml") and path.is_file():
                return path
            if (header := path.with_name(f"{path.name}.hea")).is_file():
                return header
        return None

    @cached_property
    def _by_name(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in records_of(self.root):
            if path.suffix.lower() in _HDF5:
                named = [(each, f"{path}#{each}") for each in exam_ids(path)]
            else:
                named = [(path.stem.lower(), str(path))]
            for stem, record in named:
                if stem in found:
                    self._twice.add(stem)
                found[stem] = record
        return found

    @cached_property
    def _patients(self) -> dict[str, str]:
        """Record -> patient, from the data set's own table; empty without it."""
        if self.name not in _TABLES:
            return {}
        file, key = _TABLES[self.name]
        path = self.root / file
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            return {
                str(row.get(key)): str(row["patient_id"]).removesuffix(".0") for row in rows if row.get("patient_id")
            }


def prepare(questions: Path, ecgs: Mapping[str, Path], out: Path, images: Path | None = None) -> list[File]:
    """Write each question file of a folder again, with the paths of its records and images.

    Args:
        questions: folder of the files, JSON or JSONL.
        ecgs: name in `COHORTS` or `ALIASES` -> folder of the records.
        out: data folder; the files go to ``ecgbench/`` in it, with a list of what was not found.
        images: folder of the images; by default ``images`` beside the question files.

    Returns:
        What became of each file.

    Raises:
        InputError: no question file, an unknown or idle data set, or a file that can't be read.
    """
    known = {name: cohort for cohort, names in COHORTS.items() for name in names}
    paths = {path: cohort for path in sorted(_files(questions)) if (cohort := _cohort_of(path, known)) is not None}
    if not paths:
        raise InputError(
            f"{questions} holds no question file that is known: {', '.join(sorted(known))} (.json, .jsonl)"
        )
    cohorts = _cohorts(ecgs, set(paths.values()), questions)
    found = []
    for path, name in paths.items():
        told = records(path)
        if name and name not in cohorts:
            found.append(File(path.stem, name, len(told)))
            continue
        written, missing = _joined(told, cohorts.get(name), images or questions / "images")
        target = out / FOLDER / f"{path.stem}.json"
        if target.resolve() == path.resolve():
            raise InputError(f"--out {out} would write over {path}; name another folder")
        write_json(target, written)
        found.append(File(path.stem, name, len(told), tuple(missing), target))
    rows = [
        {"file": each.name, "id": one, "named": named, "why": why}
        for each in found
        for one, named, why in each.unresolved
    ]
    write_json(out / FOLDER / UNRESOLVED, rows)
    return found


def _joined(
    told: Sequence[Mapping[str, Any]], cohort: Cohort | None, images: Path
) -> tuple[list[dict[str, Any]], list[tuple[str, str, str]]]:
    """The records with their paths, and what was not found. A question without its record stays, so that it is counted
    when it is asked."""
    written, missing = [], []
    for place, record in enumerate(told):
        name = str(record.get("id", record.get("No", place)))
        row = dict(record)
        pages = [page if isinstance(page, str) else "" for page in _listed(record.get(PAGE))]
        row[PAGE] = [str((images / page).absolute()) if page else None for page in pages]
        if cohort is None:
            missing += [(name, page, f"no image below {images}") for page in pages if not (images / page).is_file()]
        else:
            named = [each for each in _listed(record.get(SIGNAL)) if isinstance(each, str)] or pages
            if not named:
                missing.append((name, "", "it names neither a record nor an image"))
            row[SIGNAL] = []
            for each in named:
                path, why = cohort.find(each)
                if path is None:
                    missing.append((name, each, why))
                # a record that is not there is named all the same: the question fails, and is not asked of its image
                row[SIGNAL].append(str(Path(path or cohort.root / each).absolute()))
                if path is not None and (patient := cohort.patient(path)):
                    row["group"] = patient
        written.append({key: value for key, value in row.items() if value != []})
    return written, missing


def _cohorts(ecgs: Mapping[str, Path], wanted: set[str], questions: Path) -> dict[str, Cohort]:
    found: dict[str, Cohort] = {}
    for given, root in ecgs.items():
        name = ALIASES.get(given.upper(), given.upper())
        if name not in COHORTS or not name:
            names = ", ".join((*filter(None, COHORTS), *ALIASES))
            raise InputError(f"--ecg {given}={root} names no data set of the benchmark; known are {names}")
        if name in found:
            raise InputError(f"--ecg names {name} twice: {found[name].root} and {root}; give one folder")
        if not root.is_dir():
            raise InputError(f"--ecg {given}={root}: there is no such folder")
        if name not in wanted:
            raise InputError(
                f"--ecg {given}={root}, and no question file in {questions} is about {name}; leave it away"
            )
        found[name] = Cohort(name, root)
    return found


def _files(questions: Path) -> Iterator[Path]:
    if not questions.is_dir():
        raise InputError(f"--questions {questions} is no folder; give the one that holds the question files")
    return (path for path in questions.iterdir() if path.suffix in (".json", ".jsonl") and path.is_file())


def _cohort_of(path: Path, known: Mapping[str, str]) -> str | None:
    """The data set of a question file; the longest known name that its own begins with decides (``..._full``)."""
    names = [name for name in known if path.stem == name or path.stem.startswith(f"{name}_")]
    return known[max(names, key=len)] if names else None


def _stems(named: str, cohort: str) -> Iterator[str]:
    """Names that a record may have, of an image such as ``ptb-xl/00009_hr-0.png``; the likeliest first."""
    whole = PurePosixPath(named.replace("\\", "/")).name
    stem = re.sub(r"\.(png|jpe?g|npy|hea|dat|mat)$", "", whole, flags=re.IGNORECASE).lower()
    for each in dict.fromkeys((stem, stem.rpartition("-")[0], stem.partition("-")[0])):
        if each:
            yield each
            if cohort == "PTBXL" and (number := _PTBXL.fullmatch(each)) is not None:
                yield f"{int(number[1]):05d}_hr"


def _listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [] if told is None else [told]
