"""`Facts`: what is known of one recording, kept as JSON, so that a second run needs no signal.

The schema is in docs/generate.md. The key of a file of facts follows from the content of the recording's files, the
code and weights that measure, and what the measurements depend on (sex, age, scale). What was said of the recording is
read anew each time, so that another report, or a richer vocabulary, costs no signal work.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.scaled import without_volts
from llava_ecg.ecg.source_files import files_of
from llava_ecg.errors import InputError
from llava_ecg.instruct.sure import only_sure
from llava_ecg.instruct.vocabulary import Said, language, vocabulary

SCHEMA = 1
"""Of the JSON; a number more with every change of its fields."""
SHOWN_S = 10.0
"""What is measured: the first so many seconds, which is what a model is shown of a longer recording."""
_DIGITS = 4


class CantWriteError(InputError):
    """Facts or a page can't be kept: no fault of one recording, so all of it ends."""


@dataclass(frozen=True)
class Given:
    """A recording and what came with it.

    Attributes:
        path: of the recording.
        name: of it in the output, relative to the folder of the records, with ``/``.
        report: free text in any language; empty where there is none.
        snomed: SNOMED CT codes beside those of the header.
        scp: SCP code -> likelihood in percent.
        patient: who it is of; empty where that is not known, and each recording then is a patient of its own.
        sex, age: where they are given; else those of the file.
        split: ``train`` or ``val`` where the source fixes it, else empty.
        volts: whether the values are true millivolts. Where they are not (scaled for each lead, as in some published
            subsets), no amplitude, ST level, axis or shape is measured.
    """

    path: Path
    name: str
    report: str = ""
    snomed: tuple[str, ...] = ()
    scp: Mapping[str, float] | None = None
    patient: str = ""
    sex: str | None = None
    age: float | None = None
    split: str = ""
    volts: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of one recording.

    Attributes:
        key: sha256 in hex of all that the measurements follow from.
        name: as in `Given`.
        patient, split, sex, age, volts: as in `Given`, those of the file filled in.
        seconds: how much was measured; `leads` those that were there, in their order.
        diagnoses: what the report and the codes say, each diagnosis once.
        header_snomed: codes that the recording's own file brings.
        unknown_codes: codes that the vocabulary has not.
        report, report_language: the text as it was given, and ``en``, ``other`` or empty.
        measured: everything that was measured.
        notes: what was remarked in reading.
    """

    key: str
    name: str
    patient: str
    split: str
    sex: str | None
    age: float | None
    volts: bool
    seconds: float
    leads: tuple[str, ...]
    header_snomed: tuple[str, ...]
    diagnoses: tuple[Said, ...]
    unknown_codes: tuple[str, ...]
    report: str
    report_language: str
    measured: Measurements
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the file: ``schema``, ``measure`` and the fields."""
        own = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return {"schema": SCHEMA, "measure": measure_version()} | _plain(own)

    def json(self) -> str:
        """The text of the file: `to_dict` of facts whose numbers are rounded already, as all from `make_facts` are."""
        own = {field: getattr(self, field) for field in self.__dataclass_fields__}
        whole = {"schema": SCHEMA, "measure": measure_version()} | own
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), default=vars)  # vars of the dataclasses

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of all that the facts follow from: `key`, and what was said of the recording."""
        said = [self.key, self.name, self.patient, self.split, [asdict(each) for each in self.diagnoses], self.report]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The inverse of `to_dict`.

        Raises:
            InputError: another schema, or fields that are not those of this one.
        """
        if values.get("schema") != SCHEMA:
            raise InputError(f"facts of schema {values.get('schema')!r} can't be read; this version writes {SCHEMA}")
        try:
            known = {key: value for key, value in values.items() if key not in ("schema", "measure")}
            known["diagnoses"] = tuple(Said(**each) for each in known["diagnoses"])
            for name in ("leads", "header_snomed", "unknown_codes", "notes"):
                known[name] = tuple(known[name])
            known["measured"] = Measurements.from_dict(known["measured"])
            return cls(**known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"these facts are not of schema {SCHEMA}: {error}") from error

    def said(self, name: str) -> str | None:
        """How sure the report is of a diagnosis; None where it says nothing of it."""
        return next((each.certainty for each in self.diagnoses if each.name == name), None)


def make_facts(given: Given) -> Facts:
    """Read and measure a recording.

    Raises:
        InputError: it can't be read, its files are not there, or nothing is recorded in it.
    """
    recording = read(given.path).with_derived().window(0.0, SHOWN_S)
    sex = given.sex or recording.metadata.get("sex")
    age = given.age if given.age is not None else recording.metadata.get("age")
    measured = measure(recording, sex=sex, age=age)
    if not given.volts:
        measured = without_volts(measured, sex=sex, age=age)
    measured = only_sure(measured, sex=sex, age=age)
    made = Facts(
        key=key_of(given),
        name=given.name,
        patient=given.patient,
        split=given.split,
        sex=sex,
        age=age,
        volts=given.volts,
        seconds=round(recording.duration, 3),
        leads=recording.leads,
        header_snomed=tuple(recording.metadata.get("snomed", ())),
        diagnoses=(),
        unknown_codes=(),
        report="",
        report_language="",
        measured=measured,
        notes=recording.notes,
    )
    return _with_said(Facts.from_dict(made.to_dict()), given)  # rounded as they are when they are read again


def _with_said(facts: Facts, given: Given) -> Facts:
    """The facts with what this report and these codes say."""
    words = vocabulary()
    codes = tuple(dict.fromkeys((*facts.header_snomed, *given.snomed)))
    coded, unknown = words.of_codes(codes, given.scp)
    return replace(
        facts,
        name=given.name,
        patient=given.patient,
        split=given.split,
        diagnoses=words.together([*coded, *words.of_text(given.report)]),
        unknown_codes=tuple(unknown),
        report=given.report,
        report_language=language(given.report),
    )


def key_of(given: Given) -> str:
    """The key of the facts of a recording.

    Raises:
        InputError: there is no such file.
    """
    files = files_of(given.path)
    if not files:
        raise InputError(f"there is no {given.path}")
    whole = hashlib.sha256()
    settings = [SCHEMA, measure_version(), given.path.suffix.lower(), given.sex, given.age, given.volts]
    whole.update(json.dumps(settings).encode())
    try:
        for file in files:
            content = file.read_bytes()
            whole.update(f"\0{len(content)}\0".encode() + content)
    except OSError as error:
        raise InputError(f"can't read {error.filename}: {error.strerror}") from error
    return whole.hexdigest()


@lru_cache(maxsize=1)
def measure_version() -> str:
    """A digest of the code that reads, measures and doubts, and of the delineator's weights: twelve hex digits."""
    import llava_ecg.ecg
    import llava_ecg.instruct.sure

    root, sure = Path(llava_ecg.ecg.__path__[0]), Path(llava_ecg.instruct.sure.__file__)
    whole = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.safetensors"), Path(__file__), sure]):
        whole.update(f"{path.name}\0".encode() + path.read_bytes())
    return whole.hexdigest()[:12]


class FactsFolder:
    """A folder of facts, a JSON file each, named by the record and the first digits of its key, in folders by the first
    two of these: of 800,000 recordings, 3,000 lie in each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CantWriteError(f"facts can't be kept in {folder}: {error.strerror}") from error

    def get(self, given: Given) -> tuple[Facts, bool]:
        """The facts of a recording, and whether no signal had to be read for them.

        Raises:
            InputError: it can't be read.
            CantWriteError: the facts can't be written.
        """
        key = key_of(given)
        path = self.folder / key[:2] / f"{Path(given.name).name}-{key[:16]}.json"
        if (kept := _read(path)) is not None and kept.key == key:
            found = _with_said(kept, given)
            if found != kept:
                _write(path, found.json())
            return found, True
        made = make_facts(given)
        _write(path, made.json())
        return made, False


def _plain(value: Any) -> Any:
    """The same for `json.dumps`: dataclasses as dicts, numpy's scalars as Python's, numbers rounded to 1e-4."""
    kind = type(value)
    if kind is float:
        return round(value, _DIGITS)
    if value is None or kind is str or kind is bool or kind is int:
        return value
    if kind is tuple or kind is list:
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return _plain(value.item()) if hasattr(value, "item") else value


def _read(path: Path) -> Facts | None:
    """The facts in a file; None where it is not there, damaged or of another schema, so that they are made anew."""
    try:
        return Facts.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, InputError, AttributeError):
        return None


def _write(path: Path, text: str) -> None:
    """Beside its place and renamed, so that a process that dies leaves none by half."""
    try:
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CantWriteError(f"can't write {path}: {error.strerror}") from error
