"""`Measurements` in the shapes of others: GEM's ``machine_measurements`` and a row of MIMIC-IV-ECG's
``machine_measurements.csv``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llava_ecg.ecg.measure import corrected_qt
from llava_ecg.ecg.measurements import LeadMeasurements, Measurements

MIMIC_MISSING = 29999

GEM_NAMES = (
    "Heart Rate", "RR Interval 1", "RR Interval 2", "P Amplitude", "P Duration", "PR Interval", "QRS Amplitude",
    "QRS Duration", "T Amplitude", "T Duration", "ST Duration", "ST Form", "QT Interval", "QTc Interval",
)  # fmt: skip


def machine_measurements(measured: Measurements) -> dict[str, dict[str, list[Any]]]:
    """GEM's view: lead -> each of `GEM_NAMES` -> a value a beat, None where it is missing.

    Times in ms, amplitudes in mV, rates in bpm. ``RR Interval 1`` is to the beat before, ``RR Interval 2`` to the one
    after; ``ST Form`` is the lead's. What GEM's public source computes wrongly (QT without QRS, RR in samples, P where
    there is none) is right here.
    """
    return {name: _lead(measured, lead) for name, lead in measured.leads.items()}


def _lead(measured: Measurements, lead: LeadMeasurements) -> dict[str, list[Any]]:
    none: list[Any] = [None] * len(measured.beats)

    def column(name: str) -> list[Any]:
        return list(lead.per_beat.get(name, none))

    before = [beat.rr_before_ms for beat in measured.beats]
    st = _pairwise(column("qrs_end_s"), column("t_onset_s"), lambda end, onset: round((onset - end) * 1000, 1))
    qtc = _pairwise(column("qt_ms"), before, lambda qt, rr: round(corrected_qt(qt, rr / 1000)[0], 1))
    columns = (
        [beat.rate_bpm for beat in measured.beats],
        before,
        [beat.rr_after_ms for beat in measured.beats],
        column("p_mv"),
        column("p_ms"),
        column("pr_ms"),
        column("qrs_mv"),
        column("qrs_ms"),
        column("t_mv"),
        column("t_ms"),
        st,
        [lead.st_form] * len(measured.beats),
        column("qt_ms"),
        qtc,
    )
    return dict(zip(GEM_NAMES, columns, strict=True))


def _pairwise(one: list[Any], other: list[Any], made: Callable[[float, float], float]) -> list[Any]:
    return [None if a is None or b is None else made(a, b) for a, b in zip(one, other, strict=True)]


def mimic_row(measured: Measurements) -> dict[str, int]:
    """The columns of MIMIC-IV-ECG's carts: ``rr_interval``; ``p_onset`` to ``t_end`` of the representative beat,
    counted from P onset (or from QRS onset without P), all in ms; axes in degrees; `MIMIC_MISSING` where there is
    none."""
    start = 0.0 if measured.pr_ms is None else measured.pr_ms
    there = measured.qrs_ms is not None
    values = {
        "rr_interval": measured.rr_ms,
        "p_onset": 0.0 if measured.pr_ms is not None else None,
        "p_end": measured.p_ms,
        "qrs_onset": start if there else None,
        "qrs_end": start + measured.qrs_ms if measured.qrs_ms is not None else None,
        "t_end": start + measured.qt_ms if measured.qt_ms is not None else None,
        "p_axis": measured.p_axis_deg,
        "qrs_axis": measured.axis_deg,
        "t_axis": measured.t_axis_deg,
    }
    return {name: MIMIC_MISSING if value is None else round(value) for name, value in values.items()}
