"""The schema: names, the round trip through JSON, the table of a terminal."""

from __future__ import annotations

import json

import pytest

from llava_ecg.ecg.measurements import LeadMeasurements, Measurements

SOME = Measurements(
    heart_rate_bpm=71.6,
    rhythm_regular=True,
    p_present=False,
    qrs_ms=96.0,
    beats_s=(0.5, 1.34),
    leads={"I": LeadMeasurements(r_mv=0.8125, st_mv=-0.05), "V1": LeadMeasurements(quality="flat")},
    reasons={"pr_ms": "no P wave was found", "qt_ms": "the end of the T wave could not be found " * 3},
)


def test_round_trip_through_json() -> None:
    assert Measurements.from_dict(json.loads(json.dumps(SOME.to_dict()))) == SOME


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(TypeError):
        Measurements.from_dict({"heart_rate": 70})


def test_names_are_the_single_valued_fields() -> None:
    assert {"heart_rate_bpm", "pr_ms", "axis_deg"} <= set(Measurements.names())
    assert not {"beats_s", "leads", "reasons", "source"} & set(Measurements.names())


def test_table_shows_values_units_reasons_and_leads_in_80_columns() -> None:
    text = SOME.table()
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "heart rate           72 bpm" in lines
    assert any(line.startswith("PR interval") and line.endswith("no P wave was found") and " - " in line for line in lines)
    assert " ".join(text.split()).count("the end of the T wave could not be found") == 3  # a long reason is wrapped, not cut
    assert [line for line in lines if line.startswith("P waves")] == ["P waves              no"]
    assert "I              -       -    0.81       -       -   -0.05  ok" in lines
    assert lines[-1].split() == ["V1", *"------", "flat"]


def test_table_has_a_row_for_every_global_value() -> None:
    assert len(Measurements().table().splitlines()) == len(Measurements.names())
