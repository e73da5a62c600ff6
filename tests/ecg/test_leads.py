"""Lead names and the limb leads that I and II imply."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_ecg.ecg import read
from llava_ecg.ecg.leads import STANDARD, canonical, derive

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
}


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_spellings_of_the_standard_leads(spelling: str, name: str) -> None:
    assert canonical(spelling) == name


@pytest.mark.parametrize("name", ["-aVR", "- Lead II", "Vx", "V7", "V3R", "RESP", "I-II", "Lead", "ECG1", "ECG 2", ""])
def test_other_names_stay(name: str) -> None:
    """Above all the inverted aVR of the Cabrera order: taken for aVR, every sign would be wrong."""
    assert canonical(f" {name} ") == name


@given(st.text(max_size=20) | st.sampled_from([*SPELLINGS, *STANDARD]))
def test_canonical_is_idempotent(name: str) -> None:
    assert canonical(canonical(name)) == canonical(name)


def test_derive_needs_both_i_and_ii() -> None:
    assert derive(np.ones((2, 5), np.float32), ["I", "III"]) == {}
    assert set(derive(np.ones((3, 5), np.float32), ["I", "II", "aVL"])) == {"III", "aVR", "aVF"}


def test_derive_gives_the_recorded_limb_leads(shared: Path) -> None:
    """Einthoven and Goldberger on the machines of six databases, to the rounding of the coarsest, which steps by 4.88 uV."""
    records = sorted((shared / "data/cinc2021").glob("*.hea"))
    assert len(records) == 60
    for record in records:
        recording = read(record)
        computed = derive(recording.signal[:2], ("I", "II"))
        assert set(computed) == {"III", "aVR", "aVL", "aVF"}
        for name, values in computed.items():
            assert np.abs(values - recording.lead(name)).max() < 0.004, (record, name)
