"""The facts of `made.HEARTS`, measured once."""

from __future__ import annotations

import pytest

from llava_ecg.instruct.facts import Facts

from .made import HEARTS, facts_of

SAID = {
    "normal": {"report": "sinus rhythm. normal ecg", "sex": "female", "age": 61.0},
    "slow": {"scp": {"SBRAD": 0.0}},
    "lbbb": {"snomed": ("164909002",), "sex": "male", "age": 86.0},
    "af": {"scp": {"AFIB": 0.0}},
    "block": {"report": "Sinus rhythm\nFirst degree A-V block"},
    "injury": {"report": "sinus rhythm. possible inferior infarct. st elevation in ii, iii, avf"},
}


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Facts]:
    folder = tmp_path_factory.mktemp("hearts")
    return {name: facts_of(folder, name, **SAID[name]) for name in HEARTS}
