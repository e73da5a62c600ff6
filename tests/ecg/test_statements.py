"""Which statements of a device are shown, and which may say who somebody is."""

from __future__ import annotations

import time

import pytest

from llava_ecg.ecg.formats.statements import impersonal, may_name

NAMING = """
    Interpreted by Prof. X | Interpreted: J Smith | Interpretation by Smith | Read by A. Smith | Validated by Jane Roe
    Edited by: JS | Analyzed by J Smith | Approved by: Smith | Compared by Smith | Seen by Smith | Reviewed by Smith
    Reviewed J. Smith | Signed: J.S. | Electronically signed | Overread by Smith | Over-read: Smith | Confirmed
    Confirmed by SMITH, JOHN (1234) on 1/1/2020 10:00:00 AM | ECG recorded by A. Smith | Recorded by nurse
    Ordering physician | Ordering: Smith | Referred by Smith | Technician: JS | Tech: Anna | Reader: JS
    Dr. Smith | DR SMITH | Mrs. Smith | Jane Roe, MD | SMITH, JOHN (1234) | j.smith@hospital.org
    Befundet von Meier | Befundet durch Meier | Beurteilt von Meier
    Oberarzt Meier | \u00c4RZTIN Meier | Hausarzt: Meier
    Refertato da Rossi | Medico: Rossi
    Valid\u00e9 par Dupont | Confirmado por Garcia | \u5ba1\u6838\u533b\u5e08: \u738b
    Patient: MUSTERMANN 12345 | Patient ERIKA MUSTERMANN | Patient Erika Mustermann | Patient's name | Name: Erika
    ECG of John Smith | ECG OF JOHN SMITH | EKG von Erika | Report for Smith | n\u00e9e Smith
    born 1.3.1955 | DOB: 1955-03-01 | Date of birth 03/01/1955 | geb. 01.03.1955
    MRN 12345 | MRN: A12 | ID: 4711 | Pat. ID 4711 | Case 4711 | 12345678 | 123-45-6789
"""
CLINICAL = """
    Paced by atrial pacemaker | Interpretation limited by artifact | Reading limited by noise | Obscured by artifact
    QRS(T) contour abnormality suggested by lead V2 | Voltage criteria met by Sokolow-Lyon | QTc by Bazett
    Left ventricular hypertrophy by voltage (R in aVL + S in V3 > 2000 uV) | Sinus rhythm followed by pause
    ST elevation, consider early repolarization | Sinus rhythm with 1st degree AV block | Long QT (QTc > 480)
    Edited | Unconfirmed | ** UNCONFIRMED ** | UNCONFIRMED REPORT | Recommend clinical review
    When compared with ECG of 12-JAN-2020 10:00, no significant change was found
    NO PREVIOUS TRACING AVAILABLE FOR COMPARISON | ECG of poor quality | ECG for comparison: none
    Poor quality tracing, interpretation of rhythm not possible | ST changes must be interpreted with caution
    Patient moved during recording | PATIENT MOVEMENT | Pediatric patient | Newborn ECG
    Consider right ventricular hypertrophy in patient with pulmonary disease | No P waves read in lead II
    Analysis of this ECG is limited by baseline wander | Cannot rule out anterior infarct, age undetermined
    Nonspecific intraventricular conduction delay (QRSd >115mS, not LBBB/RBBB) | >>> Acute MI <<< | MR suspected
    Inferior infarct, acute (LCx) (ST>0.10mV, II III aVF, STd V1-V3) | QRS 115 MS | Order of leads reversed
    RITMO SINUSALE | ECG NORMALE | Ritmo sinusale normale, asse normale | Sinusrhythmus | Rechtsschenkelblock
    EKG von schlechter Qualit\u00e4t | Rythme sinusal | ne peut exclure un infarctus | \u7aa6\u6027\u5fc3\u5f8b
    ST\u6bb5\u62ac\u9ad8\uff08\u63d0\u793a\u5fc3\u5ba4\u65e9\u671f\u590d\u6781\uff09
"""


def each(table: str) -> list[str]:
    return [text.strip() for line in table.strip().splitlines() for text in line.split(" | ")]


@pytest.mark.parametrize("text", each(NAMING))
def test_what_may_name_a_person(text: str) -> None:
    assert may_name(text)
    assert may_name(f"Sinus rhythm. {text}") or "(" in text, "wherever it stands"


@pytest.mark.parametrize("text", each(CLINICAL))
def test_what_is_about_the_heart(text: str) -> None:
    assert not may_name(text)


def test_a_statement_is_dropped_whole_and_with_what_ends_it() -> None:
    said = [
        "Sinus  rhythm",
        "Confirmed by",
        "JOHN SMITH",
        "Sinus rhythm",
        "",
        "Low voltage, reviewed J. S.",
        "ECG of",
        "Roe",
    ]
    assert impersonal([*said, "Edited", "LVH"]) == ["Sinus rhythm", "Edited", "LVH"]


@pytest.mark.parametrize("unit", [":", "(1", "read ", "x@", "\u00e4rz", "patient ", "\u5ba1 "])
def test_a_hostile_statement_takes_no_time(unit: str) -> None:
    begin = time.perf_counter()
    impersonal([unit * (200_000 // len(unit)), f"signed {unit * 50_000}"])
    assert time.perf_counter() - begin < 2
