"""Sex and age, however a file writes them: typed for every reader, and harmless to everything that uses them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.person import age_of, person, sex_of
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.grounding.audit import audit
from llava_ecg.plugins import readers

ODD: list[Any] = [
    1,
    0,
    2,
    -1,
    10**400,
    1.0,
    math.nan,
    math.inf,
    True,
    None,
    "",
    "O",
    "> 89",
    "NaN",
    [1],
    {"a": 1},
    b"F",
    "9" * 5000,
]


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """float32 [12, 5000] in mV at 500 Hz, with a QTc between the limits of men and women."""
    return simulate(Heart(rate_bpm=60, qt_ms=455), seed=1)[0].signal


@pytest.mark.parametrize(
    ("value", "sex"),
    [
        *(
            (value, "male")
            for value in (
                "M",
                "m",
                "Male",
                " MALE ",
                "männlich",
                "Mann",
                0,
                0.0,
                "0",
                "0.0",
                np.int64(0),
                np.str_("m"),
                b"M",
            )
        ),
        *(
            (value, "female")
            for value in ("F", "f", "Female", "weiblich", "W", "Frau", 1, 1.0, "1", np.float32(1), np.array("F"))
        ),
        *(
            (value, None)
            for value in (
                "O",
                "",
                "unknown",
                "foetus",
                "N/A",
                2,
                9,
                -1,
                0.5,
                math.nan,
                True,
                False,
                None,
                [1],
                {},
                10**400,
            )
        ),
    ],
)
def test_sex(value: Any, sex: str | None) -> None:
    assert sex_of(value) == sex


@pytest.mark.parametrize(
    ("value", "age"),
    [
        *(
            (value, 55.0)
            for value in (55, 55.0, "55", " 55 ", "055Y", "55 years", "55 Jahre", "55y", "55.0", np.int16(55), b"55")
        ),
        ("063Y", 63.0),
        ("006M", 0.5),
        ("002W", 0.04),
        ("010D", 0.03),
        (0, 0.0),
        (61.5, 61.5),
        *(
            (value, None)
            for value in (-1, "-1", 300, "300", "> 89", ">89", "90+", "NaN", "nan", "inf", math.nan, math.inf, 10**400)
        ),
        *((value, None) for value in (True, None, "", "adult", "55 V", "9" * 5000, [55], {}, "5\u0665")),
    ],
)
def test_age(value: Any, age: float | None) -> None:
    found = age_of(value)
    assert found == age and (found is None or type(found) is float)


def test_only_sex_and_age_are_touched() -> None:
    assert person({"sex": 1, "age": "300", "device": 7}) == {"sex": "female", "device": 7}


@pytest.mark.parametrize(
    ("said", "typed"), [({"sex": 1, "age": "063Y"}, {"sex": "female", "age": 63.0}), ({"sex": "O", "age": 300}, {})]
)
def test_a_sidecar(said: dict[str, Any], typed: dict[str, Any], ecg: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ecg)
    (tmp_path / "a.json").write_text(json.dumps({"rate": 500, "unit": "mV", "leads": list(STANDARD)} | said))
    assert read(tmp_path / "a.npy").metadata == typed


@pytest.mark.parametrize(
    ("comments", "typed"),
    [
        ("# Sex: weiblich\n# Age: 55 years\n", {"sex": "female", "age": 55.0}),
        ("#Sex: 0\n#Age: -1\n", {"sex": "male"}),
        ("#Sex: Fetus\n#Age: 300\n", {}),
    ],
)
def test_comments_of_a_wfdb_header(comments: str, typed: dict[str, Any], ecg: np.ndarray, tmp_path: Path) -> None:
    np.round(ecg * 1000).astype("<i2").T.tofile(tmp_path / "r.dat")
    lines = [f"r {len(ecg)} 500 {ecg.shape[1]}", *(f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in STANDARD)]
    (tmp_path / "r.hea").write_text("\n".join(lines) + "\n" + comments)
    assert read(tmp_path / "r.hea").metadata == typed


@pytest.mark.parametrize(
    ("age", "sex", "typed"), [("006M", "F", {"age": 0.5, "sex": "female"}), ("055Y", "O", {"age": 55.0})]
)
def test_dicom(age: str, sex: str, typed: dict[str, Any], tmp_path: Path) -> None:
    import pydicom
    from pydicom.data import get_testdata_file

    file = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    file.PatientAge, file.PatientSex = age, sex
    file.save_as(tmp_path / "a.dcm")
    found = read(tmp_path / "a.dcm").metadata
    assert {key: found[key] for key in ("age", "sex") if key in found} == typed


@pytest.fixture
def odd_reader(ecg: np.ndarray) -> Iterator[str]:
    """The name of a plugged-in reader whose metadata are PTB-XL's raw values."""

    class Odd:
        suffixes = (".odd",)

        def recognises(self, head: bytes, path: Path) -> bool:
            return path.suffix == ".odd"

        def read(self, path: Path, options: Any) -> Recording:
            return Recording(ecg, 500.0, STANDARD, metadata={"sex": np.int64(1), "age": 300.0, "site": 2})

    readers.add("odd", Odd)
    yield "odd"
    readers.remove("odd")


def test_a_plugged_in_reader(odd_reader: str, tmp_path: Path) -> None:
    (tmp_path / "x.odd").write_text("x")
    assert read(tmp_path / "x.odd").metadata == {"sex": "female", "site": 2}


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_odd_values_harm_nobody(value: Any, ecg: np.ndarray) -> None:
    """A recording that a program made itself holds whatever it was given."""
    measured = measure(Recording(ecg, 500.0, STANDARD, metadata={"sex": value, "age": value}))
    assert "long QT" in measured.findings
    assert audit("The QTc is normal.", measured, sex=value).verdicts


def test_the_threshold_follows_every_spelling(ecg: np.ndarray) -> None:
    measured = measure(Recording(ecg, 500.0, STANDARD))
    (spelt,) = {audit("The QTc is normal.", measured, sex=sex).verdicts[0].line() for sex in ("M", "male", "Mann")}
    (other,) = {
        audit("The QTc is normal.", measured, sex=sex).verdicts[0].line() for sex in ("w", "weiblich", "Female")
    }
    assert "450" in spelt and "460" in other
