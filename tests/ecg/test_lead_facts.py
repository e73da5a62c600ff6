"""Why a lead's values are None, and how far axes, heights and ST levels differ between beats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llava_ecg.ecg import Recording
from llava_ecg.ecg.lead_facts import VALUES, lead_spreads, with_reasons
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import LeadMeasurements
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves.delineation import empty

ABSENT = {f"{wave}_{unit}" for wave in ("q", "r", "s", "r2", "s2") for unit in ("mv", "ms")}


def none_of(lead: LeadMeasurements) -> set[str]:
    return {name for name in VALUES if getattr(lead, name) is None}


def alternating(usual: Heart, other: Heart) -> Recording:
    """Every second beat is one of the other heart."""
    recording, truth = simulate(usual, seed=1)
    second, _ = simulate(other, seed=1)
    signal = recording.signal.copy()
    for r in truth.beats_s[1::2]:
        part = slice(round((r - 0.3) * 500), round((r + 0.5) * 500))
        signal[:, part] = second.signal[:, part]
    return replace(recording, signal=signal)


def test_a_dead_lead_says_of_each_value_why() -> None:
    recording, _ = simulate(Heart(), seed=1)
    signal = recording.signal.copy()
    signal[7], signal[8] = 0.0, np.nan
    leads = measure(replace(recording, signal=signal)).leads
    assert leads["V2"].reasons == dict.fromkeys(VALUES, "the lead is flat")
    assert leads["V3"].reasons == dict.fromkeys(VALUES, "the lead holds no values")
    assert leads["V2"].spread == {} and leads["V4"].reasons.get("r_mv") is None


def test_a_lead_without_beats_and_one_that_was_off_during_them() -> None:
    recording, truth = simulate(Heart(), seed=1)
    noise = np.random.default_rng(0).normal(0, 0.04, recording.signal.shape).astype(np.float32)
    none = measure(replace(recording, signal=noise))
    assert none.leads["II"].reasons["qt_ms"] == none.reasons["qt_ms"]
    away = recording.signal.copy()
    for r in truth.beats_s:
        away[6, round((r - 0.08) * 500) : round((r + 0.08) * 500)] = np.nan
    v1 = measure(replace(recording, signal=away)).leads["V1"]
    assert set(v1.reasons.values()) == {"the lead was not recorded during the usual QRS complexes"}


@pytest.mark.parametrize("rhythm", ["sinus", "atrial fibrillation"])
def test_every_value_that_is_none_has_its_reason_but_absent_waves_of_qrs(rhythm: str) -> None:
    found = measure(simulate(Heart(rhythm=rhythm, rr_cv=0.2 if rhythm != "sinus" else 0.02), seed=2)[0])  # type: ignore[arg-type]
    for name, lead in found.leads.items():
        assert set(lead.reasons) == none_of(lead) - ABSENT, name
        assert all(lead.reasons.values())
        assert ("q_pathological" in lead.reasons) is (name in ("V1", "aVR"))
    if rhythm != "sinus":
        assert found.leads["II"].reasons["pr_ms"] == found.reasons["pr_ms"]


def test_a_wave_that_one_lead_does_not_show_is_told_from_one_that_none_shows() -> None:
    lead = LeadMeasurements(qrs_mv=1.0, qrs_ms=90.0, p_mv=0.01, p_form="flat", p_present=False)
    nothing = empty(("II", "V1"), np.ones(2, dtype=bool), "no P wave was found", "rules")
    shown = replace(nothing, p_present=True, t_all=np.array([[0.3, 0.4]]))
    here, nowhere = (with_reasons("V1", lead, found, None).reasons for found in (shown, nothing))
    assert here["pr_ms"] == here["qt_ms"] == "it is seen in fewer than half of the beats in this lead"
    assert nowhere["pr_ms"] == nowhere["qt_ms"] == "no P wave was found"  # of `empty`, the same for every wave
    assert here["st80_mv"] == "the recording ends too soon after QRS"


def test_axes_vary_with_the_beats_the_short_way_round() -> None:
    steady = measure(simulate(Heart(axis_deg=40), seed=1)[0]).spread
    assert max(steady[name] for name in ("axis_deg", "t_axis_deg", "p_axis_deg")) < 3
    for low, high in ((20.0, 60.0), (165.0, -155.0)):
        spread = measure(alternating(Heart(axis_deg=low), Heart(axis_deg=high))).spread
        assert spread["axis_deg"] == pytest.approx(20.0, abs=4.0), (low, high)


def test_heights_and_st_vary_with_the_beats() -> None:
    steady = measure(simulate(Heart(st_territory="anterior", st_mv=0.2), seed=1)[0]).leads["V3"].spread
    other = Heart(st_territory="anterior", st_mv=0.4)
    varied = measure(alternating(Heart(st_territory="anterior", st_mv=0.2), other)).leads["V3"]
    assert varied.spread["st60_mv"] > 0.04 > 4 * steady["st60_mv"]
    values = np.array([value for value in varied.per_beat["st60_mv"][1:-1] if value is not None])
    assert varied.spread["st60_mv"] == pytest.approx(values.std(), rel=0.15)


def test_spread_leaves_out_other_beats_and_needs_two() -> None:
    nothing: tuple[float | None, ...] = (None, None, None, None)
    names = ("p_mv", "q_mv", "r_mv", "s_mv", "r2_mv", "s2_mv", "t_mv", "qrs_mv", "st_j_mv", "st60_mv")
    columns = {**dict.fromkeys(names, nothing), "r_mv": (1.0, 1.2, 9.0, None), "s_mv": (-0.5, None, -0.7, None)}
    assert lead_spreads([columns], np.array([True, True, False, True])) == [{"r_mv": 0.1}]
