"""Bare arrays: orientation, and where rate, unit and leads may come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from tests.ecg.windowed import check_parts, check_windows, memory_of

GIVEN: dict[str, Any] = {"rate": 500, "unit": "mV", "leads": "standard"}
SAID = {"rate": 500, "unit": "mV", "leads": list(STANDARD)}


@pytest.fixture(scope="module")
def ecg() -> np.ndarray:
    """float32 [12, 1000] mV at 500 Hz."""
    return simulate(seed=3)[0].signal[:, :1000]


def write_csv(path: Path, columns: np.ndarray, header: str = "", separator: str = ",") -> Path:
    rows = [separator.join(f"{value:.5f}" for value in row) for row in columns]
    path.write_text("\n".join([header] * bool(header) + rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("transposed", [False, True])
def test_npy_either_way_round(tmp_path: Path, ecg: np.ndarray, transposed: bool) -> None:
    np.save(tmp_path / "a.npy", ecg.T if transposed else ecg)
    recording = read(tmp_path / "a.npy", **GIVEN)
    assert (
        np.allclose(recording.signal, ecg)
        and recording.leads == STANDARD
        and recording.rate == 500
        and recording.format == "numpy"
    )


def test_npy_with_its_sidecar(tmp_path: Path, ecg: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", ecg * 1000)
    sidecar = SAID | {"unit": "uV", "age": 70, "name": "Erika Mustermann"}
    (tmp_path / "a.json").write_text(json.dumps(sidecar))
    recording = read(tmp_path / "a.npy")
    assert np.allclose(recording.signal, ecg, atol=1e-5) and recording.metadata == {"age": 70}
    assert read(tmp_path / "a.npy", rate=250).rate == 250, "the user overrules the sidecar"


def test_integer_steps_with_their_size(tmp_path: Path, ecg: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", np.round(ecg / 0.005).astype(np.int16))
    (tmp_path / "a.json").write_text(json.dumps(SAID | {"unit": 0.005}))
    assert np.abs(read(tmp_path / "a.npy").signal - ecg).max() < 0.003
    (tmp_path / "a.json").unlink()
    assert np.abs(read(tmp_path / "a.npy", **GIVEN | {"unit": "0.005"}).signal - ecg).max() < 0.003
    with pytest.raises(InputError, match="can't be in the unit given.*--unit 0.005"):
        read(tmp_path / "a.npy", **GIVEN)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {},
            "does not say its sampling rate, unit and leads; give --rate 500 --unit mV --leads standard (for I II "
            "III aVR aVL aVF V1 V2",
        ),
        ({"rate": 500, "leads": "standard"}, "does not say its unit; give --unit mV or a a.json with {"),
        ({"unit": "mV", "leads": "standard"}, "does not say its sampling rate; give --rate 500 or a a.json with {"),
        ({"rate": 500, "unit": "mV"}, "does not say its leads; give --leads standard (for I II III aVR"),
        (GIVEN | {"leads": "I,II"}, "is 12 x 1000, which fits no 2 leads (I, II)"),
    ],
)
def test_what_is_missing_is_named_with_its_flag(
    tmp_path: Path, ecg: np.ndarray, given: dict[str, Any], said: str
) -> None:
    np.save(tmp_path / "a.npy", ecg)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.npy", **given)
    assert f"{tmp_path / 'a.npy'} {said}" in str(caught.value)


def test_the_offered_sidecar_is_json(tmp_path: Path, ecg: np.ndarray) -> None:
    """What the message tells the user to write is what the reader takes, but for the dots."""
    np.save(tmp_path / "a.npy", ecg[:2])
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.npy")
    (tmp_path / "a.json").write_text(str(caught.value).split(" with {", 1)[1].join(["{", ""]).replace(", ...]", "]"))
    assert read(tmp_path / "a.npy").leads == ("I", "II")


def test_square_and_odd_shapes(tmp_path: Path) -> None:
    for shape, said in [
        ((12, 12), "can't be told from its samples"),
        ((1, 12, 500), "save one recording as"),
        ((12, 0), "holds no samples"),
    ]:
        np.save(tmp_path / "a.npy", np.zeros(shape))
        with pytest.raises(InputError, match=said):
            read(tmp_path / "a.npy", **GIVEN)
    np.save(tmp_path / "one.npy", np.sin(np.arange(1000) / 10))
    assert read(tmp_path / "one.npy", rate=500, unit="mV", leads="II").signal.shape == (1, 1000)


def test_npz_says_it_all(tmp_path: Path, ecg: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", signal=ecg.T, fs=500, unit="mV", leads=np.array(STANDARD))
    recording = read(tmp_path / "a.npz")
    assert np.allclose(recording.signal, ecg) and recording.leads == STANDARD and recording.rate == 500
    np.savez_compressed(tmp_path / "b.npz", ecg, rate=np.array([500]))
    with pytest.raises(InputError, match=r"gives the rate \[500\]"):
        read(tmp_path / "b.npz", unit="mV", leads="standard")
    np.savez(tmp_path / "c.npz", labels=ecg)
    with pytest.raises(InputError, match="holds labels, but no array called signal"):
        read(tmp_path / "c.npz", **GIVEN)


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("transposed", [False, True])
def test_parts(tmp_path: Path, ecg: np.ndarray, transposed: bool, order: Any, dtype: str) -> None:
    """Whichever way the numbers lie in the file, packed or not."""
    values = np.tile(100 * ecg, 3)
    values = np.asarray(values.T if transposed else values, dtype, order)
    told: dict[str, Any] = {"rate": 500, "unit": 0.01, "leads": STANDARD}
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", signal=values, **told)
    np.savez_compressed(tmp_path / "b.npz", ecg=values, fs=500)
    check_windows(tmp_path / "a.npy", **told)
    check_windows(tmp_path / "a.npz")
    check_windows(tmp_path / "b.npz", **told | {"rate": 1000})
    (tmp_path / "a.json").write_text(json.dumps(SAID | {"unit": 0.01, "age": 70}))
    check_windows(tmp_path / "a.npy")
    check_windows(tmp_path / "a.npy", leads="II")
    np.save(tmp_path / "one.npy", values.ravel()[:3000])
    check_windows(tmp_path / "one.npy", **told | {"leads": "II"})
    few = read(tmp_path / "a.npz", start=1, seconds=12 / 500)
    assert few.signal.shape == (12, 12), "which way round is told by the whole"


@pytest.mark.parametrize("transposed", [False, True])
def test_memory_goes_by_the_part(tmp_path: Path, transposed: bool) -> None:
    values = np.repeat(np.sin(np.arange(2_000_000, dtype=np.float32) / 20)[None], 12, axis=0)
    values = values.T if transposed else values
    np.save(tmp_path / "a.npy", np.ascontiguousarray(values))
    np.savez(tmp_path / "b.npz", signal=values, rate=500, unit="mV", leads=np.array(STANDARD))
    given: dict[str, Any] = {"start": 600, "seconds": 10}
    assert memory_of(tmp_path / "a.npy", **GIVEN, **given) < 15_000_000, "of 96 MB"
    assert memory_of(tmp_path / "b.npz", **given) < 50_000_000, "zipfile skips 16 MB at once"


def test_nan_and_infinity_are_gaps(tmp_path: Path, ecg: np.ndarray) -> None:
    broken = ecg.copy()
    broken[0, :10], broken[1, 5], broken[2] = np.inf, -np.inf, np.nan
    np.save(tmp_path / "a.npy", broken)
    recording = read(tmp_path / "a.npy", **GIVEN)
    assert np.isnan(recording.signal).sum(axis=1).tolist() == [10, 1, 1000] + [0] * 9


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
def test_csv_with_lead_names(tmp_path: Path, ecg: np.ndarray, separator: str) -> None:
    path = write_csv(
        tmp_path / "a.csv", ecg.T, separator.join(["AVR" if n == "aVR" else n for n in STANDARD]), separator
    )
    recording = read(path, rate=500, unit="mV")
    assert np.allclose(recording.signal, ecg, atol=1e-5) and recording.leads == STANDARD and recording.format == "csv"
    check_parts(path, rate=500, unit="mV")


@pytest.mark.parametrize(("title", "scale"), [("time", 1), ("Time (s)", 1), ("t [ms]", 1000), ("seconds", 1)])
def test_csv_rate_from_its_time_and_unit_from_its_names(
    tmp_path: Path, ecg: np.ndarray, title: str, scale: float
) -> None:
    times = np.round(np.arange(1000) / 257, 3) * scale + 7
    path = write_csv(
        tmp_path / "a.csv", np.column_stack([times, ecg[0], ecg[7] * 1000]), f"{title},I (mV),V2 [\u00b5V]"
    )
    recording = read(path)
    assert recording.rate == 257 and recording.leads == ("I", "V2")
    assert np.allclose(recording.signal, ecg[[0, 7]], atol=1e-5)
    check_parts(path)


def test_csv_as_pandas_writes_it(tmp_path: Path, ecg: np.ndarray) -> None:
    """An index column without a title, empty cells for NaN; and without lead names, numbered columns."""
    pandas = pytest.importorskip("pandas")
    broken = ecg.copy()
    broken[4, 10:20] = np.nan
    pandas.DataFrame(broken.T, columns=STANDARD).to_csv(tmp_path / "a.csv")
    assert np.allclose(read(tmp_path / "a.csv", rate=500, unit="mV").signal, broken, atol=1e-5, equal_nan=True)
    check_parts(tmp_path / "a.csv", rate=500, unit="mV")
    for index in (True, False):
        pandas.DataFrame(ecg.T).to_csv(tmp_path / "b.csv", index=index)
        assert np.allclose(read(tmp_path / "b.csv", **GIVEN).signal, ecg, atol=1e-5)
        check_parts(tmp_path / "b.csv", **GIVEN)
    with pytest.raises(InputError, match="does not say its leads"):
        read(tmp_path / "b.csv", rate=500, unit="mV")


def test_csv_with_decimal_commas(tmp_path: Path, ecg: np.ndarray) -> None:
    path = write_csv(tmp_path / "a.csv", ecg[:2].T, "I;II", ";")
    path.write_text(path.read_text().replace(".", ","))
    assert np.allclose(read(path, rate=500, unit="mV").signal, ecg[:2], atol=1e-5)
    check_parts(path, rate=500, unit="mV")


def test_csv_without_names_either_way_round(tmp_path: Path, ecg: np.ndarray) -> None:
    assert np.allclose(read(write_csv(tmp_path / "a.csv", ecg), **GIVEN).signal, ecg, atol=1e-5)
    assert np.allclose(read(write_csv(tmp_path / "b.txt", ecg.T), **GIVEN).signal, ecg, atol=1e-5)
    for name in ("a.csv", "b.txt"):
        check_parts(tmp_path / name, **GIVEN)
        check_parts(tmp_path / name, **GIVEN | {"leads": "I,II"})
    (tmp_path / "b.json").write_text(json.dumps(SAID))
    check_parts(tmp_path / "b.txt")
    assert np.allclose(read(tmp_path / "b.txt").signal, ecg, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I,II\n0.1,0.2\n0.1,low\n", "has text in line 3, column 2"),
        ("I,II\n0.1,0.2\n0.1\n", "has 1 cells in line 3, the first line 2"),
        ("time,I\n" + "".join(f"{n / 100},1\n" for n in range(50) if n != 20), "uneven times after 0.190 s"),
        ("time,I\n3,1\n2,1\n", "does not rise"),
        ("time (h),I\n0,1\n1,1\n", "unknown unit"),
        ("I,II,II\n1,2,3\n1,2,3\n", "names II more than once"),
        ("I (ohm),II (ohm)\n1,2\n2,1\n", "ohm, which is no unit of voltage"),
        ("I,II\n", "holds no samples"),
        ("\n\n", "holds no samples"),
    ],
)
def test_csv_faults_are_located(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "a.csv", rate=None if "time" in text else 500, unit=None if "ohm" in text else "mV")
    assert str(tmp_path / "a.csv") in str(caught.value)
    check_parts(tmp_path / "a.csv", rate=500, unit="mV")


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ('{"rate": "fast"}', "gives the rate 'fast'"),
        ('{"rate": -5}', "gives the rate -5"),
        ('{"unit": "furlong"}', "gives the unit 'furlong'"),
        ('{"leads": [1, 2]}', "no list of names"),
        ('{"leads": ["I", "II"]}', "fits no 2 leads"),
    ],
)
def test_sidecar_faults(tmp_path: Path, ecg: np.ndarray, sidecar: str, said: str) -> None:
    np.save(tmp_path / "a.npy", ecg)
    (tmp_path / "a.json").write_text(sidecar)
    with pytest.raises(InputError, match=said):
        read(tmp_path / "a.npy", rate=500, unit="mV")


def test_a_rate_that_arithmetic_made(tmp_path: Path, ecg: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", ecg)
    assert read(tmp_path / "a.npy", **GIVEN | {"rate": 1 / 0.002000000001}).rate == 500
    assert read(tmp_path / "a.npy", **GIVEN | {"rate": 499.99}).rate == 499.99
