"""Lead names and the limb leads that I and II imply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_ecg.ecg import read
from llava_ecg.ecg.leads import (
    STANDARD,
    canonical,
    derive,
    is_known,
    is_other_signal,
    may_be_lead,
    other_system,
    says_ecg,
)
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.simulate import Heart, simulate

SPELLINGS = {
    "AVR": "aVR",
    "avr": "aVR",
    "aVR": "aVR",
    "VL": "aVL",
    "Lead II": "II",
    "lead_v3": "V3",
    "ECG Lead aVF": "aVF",
    "MDC_ECG_LEAD_V1": "V1",
    "MLII": "II",
    "DI": "I",
    "D3": "III",
    "C4": "V4",
    " v 6 ": "V6",
    "EKG I": "I",
    "II,": "II",  # the BIDMC set
    "AVR,": "aVR",
    "'II'": "II",
    "\u201cV1\u201d ;": "V1",
    "[V1]": "V1",
    "(aVF)": "aVF",
    "MLII.": "II",
    "ECG (V5)": "V5",
    "ECG:II": "II",
    "Lead: III": "III",
    "Lead-II": "II",
    "ECG_Lead.V6*": "V6",
    "II-Ref": "II",  # labels of EDF
    "ECG II-Ref": "II",
    "ECG V1-Ref": "V1",
    "V1-WCT": "V1",
    "Ableitung II": "II",
    "EKG Ableitung aVR": "aVR",
}


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_spellings_of_the_standard_leads(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


@pytest.mark.parametrize(
    "name",
    [
        "-aVR",
        "- Lead II",
        "Vx",
        "V7",
        "V3R",
        "RESP",
        "I-II",
        "Lead",
        "ECG1",
        "ECG 2",
        "",
        "C4-Ref",  # of the brain
        "ECG LL-RA",
        "X-Ref",
        "Lead -aVR",
        "ECG -II",
        "V",
        ",",
    ],
)
def test_other_names_stay(name: str) -> None:
    """Above all the inverted aVR of the Cabrera order: taken for aVR, every sign would be wrong."""
    assert canonical(f" {name} ") == name


def test_punctuation_is_taken_off_other_names() -> None:
    assert [canonical(name) for name in ("V,", "RESP,", "'PLETH'", "-aVR.", "ECG1:")] == [
        "V",
        "RESP",
        "PLETH",
        "-aVR",
        "ECG1",
    ]


def test_what_a_name_says() -> None:
    assert all(
        map(is_other_signal, ("PLETH", "RESP", "acc_x", "ECG quality", "EEG Fpz-Cz", "C4-A1", "SpO2", "heart_rate bpm"))
    )
    assert not any(
        map(is_other_signal, (*STANDARD, "ecg", "CM5", "V7", "vx", "MCL1", "C4", "Accessory lead", "ch1", ""))
    )
    assert all(map(says_ecg, (*STANDARD, "ecg", "ECG 2", "Lead X", "MLII"))) and not any(
        map(says_ecg, ("V7", "x", "filtered", ""))
    )
    assert all(map(may_be_lead, ("V7", "V3R", "vx", "MCL1", "CM5", "ch 2", "V"))) and not any(
        map(may_be_lead, ("filtered", "rpeaks"))
    )


@given(st.text(max_size=20) | st.sampled_from([*SPELLINGS, *STANDARD]))
def test_canonical_is_idempotent(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


def test_derive_needs_both_i_and_ii() -> None:
    assert derive(np.ones((2, 5), np.float32), ["I", "III"]) == {}
    assert set(derive(np.ones((3, 5), np.float32), ["I", "II", "aVL"])) == {"III", "aVR", "aVF"}


def test_derive_gives_the_recorded_limb_leads(shared: Path) -> None:
    """Einthoven and Goldberger on the machines of six databases, to the rounding of the coarsest, which steps by 4.88
    uV."""
    records = sorted((shared / "data/cinc2021").glob("*.hea"))
    assert len(records) == 60
    for record in records:
        recording = read(record)
        computed = derive(recording.signal[:2], ("I", "II"))
        assert set(computed) == {"III", "aVR", "aVL", "aVF"}
        for name, values in computed.items():
            assert np.abs(values - recording.lead(name)).max() < 0.004, (record, name)


@pytest.mark.parametrize(
    ("names", "own", "said"),
    [
        ("E A S I", "E A S EASI-I", "E, A, S and EASI-I are read as the electrodes of the EASI system"),
        ("e I a s", "e EASI-I a s", "e, a, s and EASI-I are read as the electrodes of the EASI system"),
        ("A-S E-S A-I", "A-S E-S A-I", "E-S, A-S and A-I are read as the leads of the EASI system"),
        (
            "ECG:E ECG:A ECG:S I",
            "ECG:E ECG:A ECG:S EASI-I",
            "ECG:E, ECG:A, ECG:S and EASI-I are read as the electrodes",
        ),
        ("EASI-E EASI-A EASI-S EASI-I", "EASI-E EASI-A EASI-S EASI-I", "EASI-E, EASI-A, EASI-S and EASI-I are read"),
        ("I E A S EASI-I", "I E A S EASI-I", "E, A, S and EASI-I are read as the electrodes of the EASI system"),
        ("EASI_ES EASI_AS EASI_AI", "EASI_ES EASI_AS EASI_AI", "EASI_ES, EASI_AS and EASI_AI are read as the leads"),
        (
            "Frank_X Frank_Y Frank_Z",
            "Frank_X Frank_Y Frank_Z",
            "Frank_X, Frank_Y and Frank_Z are read as the orthogonal",
        ),
        ("Lead-X Lead-Y Lead-Z", "Lead-X Lead-Y Lead-Z", "Lead-X, Lead-Y and Lead-Z are read as the orthogonal"),
        ("X Y Z", "X Y Z", "X, Y and Z are read as the orthogonal leads of Frank"),
        ("II vz vx vy", "II vz vx vy", "vx, vy and vz are read as the orthogonal leads of Frank"),
    ],
)
def test_easi_and_frank_are_named_as_such(names: str, own: str, said: str) -> None:
    found = other_system(names.split())
    assert found is not None
    assert found.names == tuple(own.split())
    assert found.note.startswith(f"{said}")
    assert "no standard leads" in found.note
    assert "converted to the 12 leads" in found.note
    assert "; " in found.note
    assert ". " not in found.note


def test_frank_leads_beside_the_twelve_ask_for_nothing() -> None:
    found = other_system([*STANDARD, "vx", "vy", "vz"])
    assert found is not None
    assert found.names == (*STANDARD, "vx", "vy", "vz")
    assert found.note.endswith("what needs standard leads goes by those beside them")


@pytest.mark.parametrize("names", [STANDARD, ("X", "Y"), ("I", "A", "S"), ("I", "II", "E", "A", "S"), ("ES", "AS"), ()])
def test_half_a_system_is_none(names: tuple[str, ...]) -> None:
    assert other_system(names) is None


@pytest.mark.parametrize("unit", [" (mV)", ""])
@pytest.mark.parametrize("names", ["E A S I", "X Y Z", "ECG_E ECG_A ECG_S ECG_I", "Lead_X Lead_Y Lead_Z"])
def test_such_a_table_is_read_whole_and_measured(tmp_path: Path, names: str, unit: str) -> None:
    """No row of it is left out, none passes for lead I, and rate and intervals are there."""
    made, truth = simulate(Heart(rate_bpm=75), seed=2)
    titles = [f"{name}{unit}" for name in names.split()]
    rows = made.signal[[1, 6, 7, 10][: len(titles)]].T
    path = tmp_path / "a.csv"
    path.write_text(",".join(titles) + "\n" + "\n".join(",".join(f"{value:.4f}" for value in row) for row in rows))
    recording = read(path, rate=500, unit=None if unit else "mV")
    assert recording.leads == tuple(names.replace("ECG_I", "I").replace("I", "EASI-I").split())
    assert "I" in recording.missing
    (note,) = recording.notes
    assert "are read as" in note
    assert all(map(is_known, recording.leads))
    measured = measure(recording)
    assert measured.heart_rate_bpm == pytest.approx(truth.heart_rate_bpm, abs=2)
    assert measured.qrs_ms is not None
    assert measured.axis_deg is None
    assert measured.reasons["axis_deg"] == "leads I and aVF are needed"
