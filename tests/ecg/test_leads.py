"""Lead names and the limb leads that I and II imply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_ecg.ecg import read
from llava_ecg.ecg.leads import STANDARD, canonical, derive, is_other_signal, may_be_lead, says_ecg

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
