"""Reads the questions of the tasks: the sample of PTB-XL, and ECG-QA in the files of its authors.

Rows are the fields of `llava_ecg.eval.tasks.Item`. Where an ECG lies is told as a block of plain JSON, so that a log
says it and no signal is copied.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llava_ecg.data.conversation import STREAMS
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.errors import InputError
from llava_ecg.eval.measured import others

FOLD = "9"
"""PTB-XL's fold for validation; the sample has no fold 10, and the embedded model may have seen folds 1 to 8."""
SUPERCLASSES = (
    "Which diagnostic superclasses does this ECG belong to? NORM: normal ECG, MI: myocardial infarction, STTC: ST/T "
    "change, CD: conduction disturbance, HYP: hypertrophy. Answer with the abbreviations of all that apply, separated "
    "by commas."
)
RHYTHMS = {
    "SR": "sinus rhythm",
    "SBRAD": "sinus bradycardia",
    "STACH": "sinus tachycardia",
    "SARRH": "sinus arrhythmia",
    "AFIB": "atrial fibrillation",
}
"""PTB-XL's code -> the rhythm, of those that the sample has more than once."""
RHYTHM = f"What is the rhythm of this ECG: {', '.join(list(RHYTHMS.values())[:-1])} or {RHYTHMS['AFIB']}?"
READINGS = (
    "What are the heart rate, the PR interval, the QRS duration, the QT interval and QTc (Bazett) of this ECG? Give "
    "each as a number, in bpm or ms."
)
INTERPRET = "Interpret this ECG. Name the findings that your interpretation rests on, with leads and measured values."
SCALED_UNIT = 0.0002
"""Millivolts a step of the sample, whose leads have a standard deviation of 1,000 steps: 0.2 mV, as leads have, so that
pages look like pages."""
SCALED = "scaled lead by lead: amplitudes are in no unit, and the page shows them as if they were millivolts"
NONE = "none"


def read_superclasses(data: Path) -> list[dict[str, Any]]:
    """PTB-XL's superclasses of the ECGs of `FOLD`."""
    labels = _labels(data)
    return [
        {
            "name": f"ptbxl-{row['ecg_id']}",
            "question": SUPERCLASSES,
            "truth": tuple(row["super_class"].split("|")),
            "sources": (_block(data, row),),
            "group": row["patient_id"],
        }
        for row in labels.values()
        if row["strat_fold"] == FOLD and row["super_class"]
    ]


def read_ecgqa(data: Path) -> list[dict[str, Any]]:
    """The questions of every JSON file in ``ecgqa/`` whose ECGs are all in the sample's `FOLD`.

    Options: yes and no with what else the template's answers say (verify), the attributes and none (choose), and else
    all answers that the files give to the same template (query).
    """
    folder, labels = data / "ecgqa", _labels(data)
    files = sorted(folder.rglob("*.json"))
    if not files:
        raise FileNotFoundError(2, "no such file", str(folder / "*.json"))
    told = [(path, place, each) for path in files for place, each in enumerate(_questions(path))]
    answers: dict[tuple[str, int], dict[str, None]] = {}
    for _, _, each in told:
        answers.setdefault(_template(each), {}).update(dict.fromkeys(each["answer"]))
    found = []
    for path, place, each in told:
        rows = [labels.get(str(ecg)) for ecg in each["ecg_id"]]
        of_fold = [row for row in rows if row is not None and row["strat_fold"] == FOLD]
        if len(of_fold) == len(rows):
            found.append(  # by its place: a sample_id stands in two styles
                {
                    "name": f"{path.relative_to(folder).with_suffix('').as_posix()}-{place}",
                    "question": each["question"],
                    "truth": tuple(each["answer"]),
                    "sources": tuple(_block(data, row) for row in of_fold),
                    "options": _options(each, sorted(answers[_template(each)])),
                    "group": of_fold[0]["patient_id"],
                    "kind": each["question_type"],
                }
            )
    return found


def read_signals(data: Path) -> list[dict[str, Any]]:
    """The ECGs of `read_superclasses`, with a question for numbers in place of labels."""
    return [row | {"question": READINGS, "truth": ()} for row in read_superclasses(data)]


def read_interpretations(data: Path) -> list[dict[str, Any]]:
    """The ECGs of `read_superclasses`, with the question for an interpretation."""
    return with_lent([row | {"question": INTERPRET, "truth": ()} for row in read_superclasses(data)])


def read_rhythms(data: Path) -> list[dict[str, Any]]:
    """The ECGs of `FOLD` that have one of `RHYTHMS` and no other rhythm, and the question which."""
    return [
        {
            "name": f"ptbxl-{row['ecg_id']}",
            "question": RHYTHM,
            "truth": (row["rhythm"],),
            "sources": (_block(data, row),),
            "group": row["patient_id"],
        }
        for row in _labels(data, "rhythm").values()
        if row["strat_fold"] == FOLD and row["rhythm"] in RHYTHMS
    ]


def read_recordings(data: Path) -> list[dict[str, Any]]:
    """Every WFDB record of ``cinc2021/``, with the question for an interpretation."""
    folder = data / "cinc2021"
    headers = sorted(folder.glob("*.hea"))
    if not headers:
        raise FileNotFoundError(2, "no such file", str(folder / "*.hea"))
    rows = [
        {"name": path.stem, "question": INTERPRET, "truth": (), "sources": ({STREAMS[0]: str(path)},)}
        for path in headers
    ]
    return with_lent(rows)


def with_lent(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with the ECG of another patient, for the floor of the measured grounding; rows without, where all are
    of one patient."""
    order = others([row.get("group") or row["name"] for row in rows])
    if order is None:
        return rows
    return [row | {"lent": rows[place]["sources"]} for row, place in zip(rows, order, strict=True)]


def _options(told: Mapping[str, Any], answers: list[str]) -> tuple[str, ...]:
    """Those of a question; `answers` are all that its template has, so that the options do not tell the right one."""
    if told["question_type"].endswith("-verify"):
        return tuple(dict.fromkeys(("yes", "no", *answers)))
    return (*told["attribute"], NONE) if told["question_type"].endswith("-choose") else tuple(answers)


def _template(told: Mapping[str, Any]) -> tuple[str, int]:
    return told["question_type"], told["template_id"]


def _questions(path: Path) -> list[dict[str, Any]]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        wanted = ("question", "answer", "ecg_id", "question_type", "template_id", "attribute")
        if isinstance(told, list) and all(isinstance(each, dict) and each.keys() >= set(wanted) for each in told):
            return told
    except ValueError:
        pass
    raise InputError(f"{path} is no file of ECG-QA: a JSON list of questions with their ecg_id, answer and template_id")


def _labels(data: Path, *more: str) -> dict[str, dict[str, str]]:
    """ecg_id -> its row of the sample's table, which has to have the columns `more` too."""
    path = data / "ptbxl" / "labels.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    wanted = {"row", "ecg_id", "patient_id", "strat_fold", "super_class", *more}
    if rows and not rows[0].keys() >= wanted:
        raise InputError(f"{path} lacks the columns {', '.join(sorted(wanted - rows[0].keys()))}")
    return {row["ecg_id"]: row for row in rows}


def _block(data: Path, row: Mapping[str, str]) -> dict[str, Any]:
    """Where the ECG of a row of the sample lies."""
    path = data / "ptbxl" / "signals_250hz_int16.npy"
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    who = {name: row[name] for name in ("sex",) if row.get(name)}
    return {
        STREAMS[0]: str(path),
        "row": int(row["row"]),
        "rate": 250,
        "unit": SCALED_UNIT,
        "leads": list(STANDARD),
        "note": SCALED,
        "scaled": True,
        "metadata": who | ({"age": float(row["age"])} if row.get("age") else {}),
    }
