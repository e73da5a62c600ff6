"""The schema: names, the round trip through JSON, the table of a terminal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llava_ecg.ecg.measurement_table import _ROWS
from llava_ecg.ecg.measurements import BeatMeasurements, Finding, LeadMeasurements, Measurements

SOME = Measurements(
    heart_rate_bpm=71.6,
    rhythm_regular=True,
    p_present=False,
    qrs_ms=96.0,
    beats=(
        BeatMeasurements(0.5, qrs_ms=94.0),
        BeatMeasurements(1.34, kind="ventricular", rr_before_ms=840.0, p_present=False),
    ),
    leads={
        "I": LeadMeasurements(r_mv=0.8125, st60_mv=-0.05, pattern="R", per_beat={"r_mv": (0.8, None)}),
        "V1": LeadMeasurements(quality="flat"),
    },
    findings={
        "ST depression": Finding(
            "ST depression", True, ("II", "aVF"), "inferior", "ST depression of 0.05 mV in II, aVF " * 3, "a source"
        ),
        "pause": Finding("pause", False, because="no RR longer than 2 s"),
    },
    spread={"qrs_ms": 3.2},
    notes=("a note that a user should see " * 4,),
    reasons={"pr_ms": "no P wave was found", "qt_ms": "the end of the T wave could not be found " * 3},
)


def test_round_trip_through_json() -> None:
    assert Measurements.from_dict(json.loads(json.dumps(SOME.to_dict()))) == SOME
    why = replace(SOME.leads["V1"], reasons={"r_mv": "the lead is flat"}, spread={"st60_mv": 0.02})
    whole = replace(SOME, leads={"V1": why}, beats=(BeatMeasurements(0.5, jt_ms=280.0, qtc_hodges_ms=411.0),))
    assert Measurements.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(TypeError):
        Measurements.from_dict({"heart_rate": 70})


def test_names_are_the_single_valued_fields() -> None:
    assert {"heart_rate_bpm", "pr_ms", "axis_deg"} <= set(Measurements.names())
    assert not {"beats", "leads", "findings", "spread", "reasons", "source", "notes"} & set(Measurements.names())


def test_the_compact_form_leaves_single_beats_out() -> None:
    short = SOME.to_dict(per_beat=False)
    assert short["beats"] == [] and short["leads"]["I"]["per_beat"] == {} and short["leads"]["I"]["r_mv"] == 0.8125
    assert len(json.dumps(short)) < len(json.dumps(SOME.to_dict()))


def test_beats_s_are_the_r_times() -> None:
    assert SOME.beats_s == (0.5, 1.34)


def test_table_shows_values_units_reasons_and_leads_in_80_columns() -> None:
    text = SOME.table()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "heart rate         71.6 bpm       (60 to 100)" in lines
    assert any(
        line.startswith("PR interval") and line.endswith("no P wave was found") and " - " in line for line in lines
    )
    assert (
        " ".join(text.split()).count("the end of the T wave could not be found") == 3
    )  # a long reason is wrapped, not cut
    assert [line for line in lines if line.startswith("P waves")] == ["P waves              no"]
    assert "I           -      -   0.81      -      -      -      -  -0.05  R      ok" in lines
    assert next(line for line in lines if line.startswith("V1")).split() == ["V1", *"---------", "flat"]
    assert any(line.startswith("QRS duration") and "+-3 " in line and line.endswith("(up to 110)") for line in lines)
    assert any(line.startswith("- ST depression (inferior): ") for line in lines)
    assert "pause" not in text  # what is not there is not listed
    assert " ".join(text.split()).count("a note that a user should see") == 4


def test_what_lies_beyond_its_reference_is_flagged() -> None:
    def line(**values: float) -> str:
        return Measurements(**values).table().splitlines()[list(_ROWS).index(next(iter(values)))]

    assert line(pr_ms=240.0) == "PR interval         240*ms        (120 to 200)"
    assert line(pr_ms=110.0) == "PR interval         110*ms        (120 to 200)"
    assert line(pr_ms=160.0) == "PR interval         160 ms        (120 to 200)"
    assert line(qrs_ms=150.0) == "QRS duration        150*ms        (up to 110)"
    assert "60 ms after it" in SOME.table()


def test_an_older_json_without_the_newer_fields_is_read() -> None:
    older = SOME.to_dict()
    for beat in older["beats"]:
        for name in ("jt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms"):
            del beat[name]
    for lead in older["leads"].values():
        del lead["reasons"], lead["spread"]
    assert Measurements.from_dict(older) == SOME
