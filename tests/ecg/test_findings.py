"""Findings: each rule on both sides of its threshold, on made measurements and on simulated hearts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llava_ecg.ecg.findings import FINDINGS, SOURCES, contiguous, findings, pathological_q, territory
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import BeatMeasurements, LeadMeasurements, Measurements
from llava_ecg.ecg.simulate import Heart, simulate

NORMAL = LeadMeasurements(
    True, 0.12, 100.0, "upright", 160.0, r_mv=1.0, r_ms=50.0, s_mv=-0.3, s_ms=30.0, qrs_mv=1.3, qrs_ms=90.0,
    qrs_area_mv_ms=20.0, pattern="Rs", st_j_mv=0.0, st60_mv=0.0, t_mv=0.3, qt_ms=390.0,
)  # fmt: skip


def made(leads: dict[str, dict[str, Any]] | None = None, **values: Any) -> Measurements:
    """A normal ECG but for what is given."""
    usual: dict[str, Any] = {
        "heart_rate_bpm": 70.0, "rr_ms": 857.0, "rhythm_regular": True, "af_evidence": False, "pauses": 0,
        "p_present": True, "ventricular_premature": 0, "supraventricular_premature": 0, "paced_beats": 0, "p_ms": 100.0,
        "pr_ms": 160.0, "qrs_ms": 90.0, "qt_ms": 390.0, "qtc_bazett_ms": 421.0, "axis_deg": 45.0,
        "sokolow_lyon_mv": 2.0, "cornell_mv": 1.0, "low_voltage_limb": False, "low_voltage_chest": False,
        "r_progression": "normal", "delta_wave": False,
    }  # fmt: skip
    every = {name: replace(NORMAL, **(leads or {}).get(name, {})) for name in STANDARD}
    return Measurements(**{**usual, **values}, leads=every)


def inferior(**values: Any) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(("II", "III", "aVF"), values)


def rbbb(qrs_ms: float, **v1: Any) -> dict[str, Any]:
    """The shapes of a right bundle branch block with a QRS of so many ms; `v1` overrides its V1."""
    slow = {"s_mv": -0.3, "s_ms": 40.0}
    shape = {"r_mv": 0.2, "r_ms": 20.0, "s_mv": -0.5, "r2_mv": 0.6, "pattern": "rSR'"}
    return {"qrs_ms": qrs_ms, "leads": {"V1": {**shape, **v1}, "I": slow, "V6": slow}}


def lbbb(qrs_ms: float, **v6: Any) -> dict[str, Any]:
    """The shapes of a left bundle branch block with a QRS of so many ms; `v6` overrides its V6."""
    v1 = {"r_mv": 0.1, "r_ms": 15.0, "s_mv": -1.5, "s_ms": 90.0, "qrs_area_mv_ms": -60.0, "pattern": "rS"}
    left = {"s_mv": None, "s_ms": None, "r_ms": 60.0, "pattern": "R"}
    return {"qrs_ms": qrs_ms, "leads": {"V1": v1, "I": left, "V6": {**left, **v6}}}


def fascicle(which: str, **values: Any) -> dict[str, Any]:
    """rS and qR in the limb leads as the block of that fascicle makes them."""
    deep = {"r_mv": 0.2, "s_mv": -0.9, "pattern": "rS"}
    first = {"q_mv": -0.1, "q_ms": 20.0, "r_mv": 0.9, "s_mv": None, "s_ms": None, "pattern": "qR"}
    turned, begun = {"anterior": (("II", "III", "aVF"), ("I", "aVL")), "posterior": (("I", "aVL"), ("III", "aVF"))}[
        which
    ]
    return {"leads": {**dict.fromkeys(turned, deep), **dict.fromkeys(begun, first)}, **values}


def strain(r_mv: float, s_mv: float, s5_mv: float, axis_deg: float = 100.0, qrs_ms: float = 90.0) -> dict[str, Any]:
    """R and S in V1 and S in V5 of a heart that is large on the right."""
    leads = {"V1": {"r_mv": r_mv, "s_mv": s_mv}, "V5": {"s_mv": s5_mv}}
    return {"axis_deg": axis_deg, "qrs_ms": qrs_ms, "leads": leads}


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # finding, with it, just without it
    ("sinus bradycardia", {"heart_rate_bpm": 59.0}, {"heart_rate_bpm": 60.0}),
    ("sinus bradycardia", {"heart_rate_bpm": 45.0}, {"heart_rate_bpm": 45.0, "p_present": False}),
    ("sinus tachycardia", {"heart_rate_bpm": 101.0}, {"heart_rate_bpm": 100.0}),
    ("sinus tachycardia", {"heart_rate_bpm": 120.0}, {"heart_rate_bpm": 120.0, "p_present": False}),
    ("atrial fibrillation pattern", {"af_evidence": True}, {"af_evidence": False}),
    ("pause", {"pauses": 1}, {"pauses": 0}),
    ("ventricular premature beats", {"ventricular_premature": 1}, {"supraventricular_premature": 1}),
    ("supraventricular premature beats", {"supraventricular_premature": 1}, {"ventricular_premature": 1}),
    ("paced beats", {"paced_beats": 1}, {"paced_beats": 0}),
    ("first degree AV block", {"pr_ms": 201.0}, {"pr_ms": 200.0}), ("short PR", {"pr_ms": 119.0}, {"pr_ms": 120.0}),
    ("pre-excitation hint", {"delta_wave": True}, {"delta_wave": False}),
    ("right bundle branch block", rbbb(120.0), rbbb(119.0)),
    ("right bundle branch block", rbbb(130.0, r2_mv=0.1), rbbb(130.0, r2_mv=0.09)),
    (
        "right bundle branch block",  # a qR in V1: its R is late without a second one
        rbbb(130.0, q_mv=-0.1, r_mv=0.15, s_mv=None, r2_mv=None, pattern="qR"),
        rbbb(130.0, q_mv=-0.1, r_mv=0.14, s_mv=None, r2_mv=None, pattern="qR"),
    ),
    ("left bundle branch block", lbbb(120.0), lbbb(119.0)),
    ("left bundle branch block", lbbb(130.0), lbbb(130.0, q_mv=-0.05, q_ms=20.0, pattern="qR")),
    ("incomplete right bundle branch block", rbbb(110.0), rbbb(109.0)),
    ("incomplete right bundle branch block", rbbb(119.0), rbbb(120.0)),
    ("incomplete left bundle branch block", lbbb(110.0), lbbb(109.0)),
    ("incomplete left bundle branch block", lbbb(119.0), lbbb(120.0)),
    ("incomplete left bundle branch block", lbbb(115.0, r_ms=60.0), lbbb(115.0, r_ms=59.0)),
    ("intraventricular conduction delay", {"qrs_ms": 111.0}, {"qrs_ms": 110.0}),
    ("intraventricular conduction delay", {"qrs_ms": 130.0}, rbbb(130.0)),
    ("intraventricular conduction delay", {"qrs_ms": 130.0}, lbbb(130.0)),
    ("left anterior fascicular block", fascicle("anterior", axis_deg=-45.0), fascicle("anterior", axis_deg=-44.0)),
    ("left anterior fascicular block", fascicle("anterior", axis_deg=-90.0), fascicle("anterior", axis_deg=-91.0)),
    (
        "left anterior fascicular block",
        fascicle("anterior", axis_deg=-60.0, qrs_ms=119.0),
        fascicle("anterior", axis_deg=-60.0, qrs_ms=120.0),
    ),
    ("left posterior fascicular block", fascicle("posterior", axis_deg=90.0), fascicle("posterior", axis_deg=89.0)),
    ("left posterior fascicular block", fascicle("posterior", axis_deg=180.0), fascicle("posterior", axis_deg=-179.0)),
    (
        "left posterior fascicular block",
        fascicle("posterior", axis_deg=120.0, qrs_ms=119.0),
        fascicle("posterior", axis_deg=120.0, qrs_ms=120.0),
    ),
    ("left anterior fascicular block", fascicle("anterior", axis_deg=-60.0), {"axis_deg": -60.0}),
    ("left posterior fascicular block", fascicle("posterior", axis_deg=120.0), {"axis_deg": 120.0}),
    ("left axis deviation", {"axis_deg": -31.0}, {"axis_deg": -30.0}),
    ("left axis deviation", {"axis_deg": -90.0}, {"axis_deg": -91.0}),
    ("right axis deviation", {"axis_deg": 91.0}, {"axis_deg": 89.0}),
    ("right axis deviation", {"axis_deg": 180.0}, {"axis_deg": -180.0}),
    ("extreme axis deviation", {"axis_deg": -91.0}, {"axis_deg": -90.0}),
    ("left ventricular hypertrophy by voltage", {"sokolow_lyon_mv": 3.5}, {"sokolow_lyon_mv": 3.4}),
    ("right ventricular hypertrophy by voltage", strain(0.7, -0.3, -0.1), strain(0.69, -0.3, -0.1)),
    ("right ventricular hypertrophy by voltage", strain(0.8, -0.79, -0.1), strain(0.8, -0.8, -0.1)),
    ("right ventricular hypertrophy by voltage", strain(0.5, -0.9, -0.56), strain(0.5, -0.9, -0.55)),
    ("right ventricular hypertrophy by voltage", strain(0.9, -0.3, -0.1, 91.0), strain(0.9, -0.3, -0.1, 90.0)),
    (
        "right ventricular hypertrophy by voltage",
        strain(0.9, -0.3, -0.1, qrs_ms=119.0),
        strain(0.9, -0.3, -0.1, qrs_ms=120.0),
    ),
    ("left atrial enlargement", {"p_ms": 121.0}, {"p_ms": 120.0}),
    ("right atrial enlargement", {"leads": inferior(p_mv=0.26)}, {"leads": inferior(p_mv=0.25)}),
    ("low voltage in the limb leads", {"low_voltage_limb": True}, {"low_voltage_chest": True}),
    ("low voltage in the chest leads", {"low_voltage_chest": True}, {"low_voltage_limb": True}),
    ("ST elevation", {"leads": inferior(st_j_mv=0.1)}, {"leads": inferior(st_j_mv=0.09)}),
    ("ST elevation", {"leads": inferior(st_j_mv=0.1)}, {"leads": {"III": {"st_j_mv": 0.3}}}),
    (
        "ST depression",
        {"leads": inferior(st_j_mv=-0.05, st60_mv=-0.05)},
        {"leads": inferior(st_j_mv=-0.06, st60_mv=-0.04)},
    ),
    (
        "ST depression",
        {"leads": inferior(st_j_mv=-0.05, st60_mv=-0.05)},
        {"leads": inferior(st_j_mv=-0.04, st60_mv=-0.06)},
    ),
    ("T inversion", {"leads": inferior(t_mv=-0.1)}, {"leads": inferior(t_mv=-0.09)}),
    ("T inversion", {"leads": inferior(t_mv=-0.3)}, {"leads": inferior(t_mv=-0.3, s_mv=-1.0)}),
    (
        "pathological Q waves",
        {"leads": inferior(q_mv=-0.1, q_ms=30.0)},
        {"leads": inferior(q_mv=-0.09, q_ms=30.0)},
    ),
    ("poor R progression", {"r_progression": "poor"}, {"r_progression": "early"}),
    ("poor R progression", {"r_progression": "reversed"}, {"r_progression": "normal"}),
    ("long QT", {"qtc_bazett_ms": 461.0}, {"qtc_bazett_ms": 460.0}),
    ("short QT", {"qtc_bazett_ms": 359.0}, {"qtc_bazett_ms": 360.0}),
    ("electrodes swapped", {"lead_reversal": "the arm electrodes look swapped"}, {"lead_reversal": ""}),
]  # fmt: skip


def test_every_finding_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == set(FINDINGS)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("atrial fibrillation pattern", "ESC guidelines, atrial fibrillation"), ("pause", "convention"),
        ("ventricular premature beats", "working rule"), ("supraventricular premature beats", "working rule"),
        ("paced beats", "working rule"), ("poor R progression", "working rule"),
        ("pathological Q waves", "Fourth Universal Definition"), ("electrodes swapped", "working rule"),
    ],
)  # fmt: skip
def test_each_cites_the_source_of_its_own_threshold(name: str, source: str) -> None:
    assert findings(made())[name].source.startswith(source)
    assert findings(Measurements())[name].source.startswith(source)


def test_paced_beats_are_judged_for_no_block() -> None:
    beats = tuple(BeatMeasurements(float(at), kind="paced") for at in range(4))
    found = findings(made(**lbbb(150.0), beats=beats, paced_beats=3))
    assert found["left bundle branch block"].present is None and "paced" in found["left bundle branch block"].because
    assert findings(made(**lbbb(150.0), beats=beats, paced_beats=2))["left bundle branch block"].present is True


@pytest.mark.parametrize(
    ("name", "present", "absent"), CASES, ids=[f"{case[0]} {number}" for number, case in enumerate(CASES)]
)
def test_both_sides_of_a_threshold(name: str, present: dict[str, Any], absent: dict[str, Any]) -> None:
    found = findings(made(**present))[name]
    assert found.present is True and found.because and found.source in SOURCES.values()
    assert findings(made(**absent))[name].present is False


def test_a_normal_ecg_has_none() -> None:
    found = findings(made())
    assert set(found) == set(FINDINGS)
    assert [name for name, each in found.items() if each.present] == []
    assert all(each.because and each.source for each in found.values())


def test_what_is_not_measured_is_not_judged_and_says_why() -> None:
    for name, each in findings(Measurements(reasons={"pr_ms": "no P wave was found"})).items():
        assert each.present in (None, False), name
        assert each.because, name
    assert (
        findings(Measurements(reasons={"pr_ms": "no P wave was found"}))["first degree AV block"].because
        == "no P wave was found"
    )


@pytest.mark.parametrize(("sex", "present"), [("M", True), ("female", False), (None, False)])
def test_the_threshold_of_qtc_depends_on_the_sex(sex: str | None, present: bool) -> None:
    found = findings(made(qtc_bazett_ms=455.0), sex=sex)["long QT"]
    assert found.present is present
    assert ("not known" in found.because) is (sex is None)


@pytest.mark.parametrize(
    ("sex", "age", "level", "present"),
    [
        ("F", 30.0, 0.15, True), ("F", None, 0.14, False), ("M", 39.0, 0.24, False), ("M", 39.0, 0.25, True),
        ("M", 40.0, 0.2, True), ("M", 40.0, 0.19, False), ("M", None, 0.2, True), (None, 30.0, 0.19, False),
        (None, None, 0.2, True),
    ],
)  # fmt: skip
def test_st_elevation_in_v2_and_v3_depends_on_sex_and_age(
    sex: str, age: float | None, level: float, present: bool
) -> None:
    m = made(leads=dict.fromkeys(("V2", "V3"), {"st_j_mv": level}))
    found = findings(m, sex=sex, age=age)["ST elevation"]
    assert found.present is present
    assert ("not known" in found.because) is (sex is None or (sex == "M" and age is None))


@pytest.mark.parametrize(
    ("sex", "cornell", "present"), [("F", 2.01, True), ("F", 2.0, False), ("M", 2.8, False), ("M", 2.81, True)]
)
def test_the_threshold_of_cornell_depends_on_the_sex(sex: str, cornell: float, present: bool) -> None:
    name = "left ventricular hypertrophy by voltage"
    assert findings(made(cornell_mv=cornell), sex=sex)[name].present is present
    unknown = findings(made(cornell_mv=2.5))[name]
    assert unknown.present is False and "men, used as the sex is not known" in unknown.because


def test_leads_and_territory_are_named() -> None:
    found = findings(made(leads=inferior(st_j_mv=0.2)))["ST elevation"]
    assert (found.leads, found.territory) == (("II", "III", "aVF"), "inferior")
    assert territory(("V1", "V2", "V3", "V4")) == "septal and anterior"
    assert contiguous(["aVL", "I", "V3", "III", "V5", "V6"]) == ("I", "aVL", "V5", "V6")
    assert contiguous(["I", "III"]) == ()


def test_a_wrong_unit_is_not_judged_by_voltage() -> None:
    huge = dict.fromkeys(STANDARD, {"qrs_mv": 1300.0, "st_j_mv": 90.0, "t_mv": -300.0})
    found = findings(made(leads=huge, sokolow_lyon_mv=2000.0))
    assert found["left ventricular hypertrophy by voltage"].present is None
    assert found["ST elevation"].present is None and "mV" in found["ST elevation"].because


@pytest.mark.parametrize(
    ("lead", "values", "expected"),
    [
        ("III", {"pattern": "QS"}, True),
        ("V2", {"q_mv": -0.05, "q_ms": 20.0}, True),
        ("II", {"q_mv": -0.2, "q_ms": 29.0}, False),
        ("II", {"q_mv": -0.2, "q_ms": 30.0}, True),
        ("II", {}, False),
        ("V1", {"pattern": "QS"}, None),
    ],
)
def test_pathological_q(lead: str, values: dict[str, Any], expected: bool | None) -> None:
    assert pathological_q(lead, replace(NORMAL, **values)) is expected


@pytest.mark.parametrize(
    ("heart", "present", "absent"),
    [
        (
            Heart(conduction="left bundle branch block", qrs_ms=150),
            "left bundle branch block",
            "right bundle branch block",
        ),
        (
            Heart(conduction="right bundle branch block", qrs_ms=150),
            "right bundle branch block",
            "left bundle branch block",
        ),
        (Heart(rate_bpm=45), "sinus bradycardia", "sinus tachycardia"),
        (Heart(rate_bpm=120, qt_ms=300, pr_ms=140), "sinus tachycardia", "sinus bradycardia"),
        (Heart(pr_ms=260), "first degree AV block", "short PR"),
        (Heart(axis_deg=-60), "left axis deviation", "right axis deviation"),
        (Heart(st_territory="inferior", st_mv=0.4), "ST elevation", "ST depression"),
        (Heart(st_territory="lateral", st_mv=-0.3), "ST depression", "long QT"),
        (Heart(t_inverted=True), "T inversion", "ST elevation"),
        (Heart(voltage=2.1), "left ventricular hypertrophy by voltage", "low voltage in the limb leads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_on_a_simulated_heart(heart: Heart, present: str, absent: str) -> None:
    found = measure(simulate(heart, seed=4)[0]).findings
    assert found[present].present is True, found[present]
    assert found[absent].present is False, found[absent]
