"""What stands beside the values of one lead: why a value is None, and how far heights and ST levels differ between
beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np

from llava_ecg.ecg.amplitudes import MedianBeat
from llava_ecg.ecg.measurements import LeadMeasurements
from llava_ecg.ecg.waves.delineation import Delineation

_BESIDE = ("pattern", "quality", "per_beat", "reasons", "spread")
VALUES = tuple(field.name for field in fields(LeadMeasurements) if field.name not in _BESIDE)
"""The single values of a lead."""
_OF_QRS = {f"{wave}_{unit}" for wave in ("q", "r", "s", "r2", "s2") for unit in ("mv", "ms")}
_SPREAD = ("p_mv", "q_mv", "r_mv", "s_mv", "r2_mv", "s2_mv", "t_mv", "qrs_mv", "st_j_mv", "st60_mv")


def with_reasons(name: str, lead: LeadMeasurements, found: Delineation, beat: MedianBeat | None) -> LeadMeasurements:
    """The lead with the reason of every value that is None. A Q, R, S, R' or S' that a measured QRS does not have
    needs none: its pattern says so."""
    if lead.qrs_mv is None:
        return replace(lead, reasons=dict.fromkeys(VALUES, _unmeasured(lead.quality, found, beat)))
    p, t = found.reasons.get("p", "no P wave was found"), found.reasons.get("t", "the end of T was not found")
    few = "it is seen in fewer than half of the beats in this lead"
    why = {
        "p_present": p,
        **dict.fromkeys(("p_ms", "pr_ms"), few if found.p_present else p),
        **dict.fromkeys(("p_mv", "p_form"), p),
        **dict.fromkeys(("t_ms", "qt_ms"), few if np.isfinite(found.t_all).any() else t),
        **dict.fromkeys(("t_mv", "t_form"), t),
        "qrs_ms": few,
        "q_pathological": f"it is not judged in {name}",
    }
    ends = "the recording ends too soon after QRS"  # what is left are the levels of ST
    none = [value for value in VALUES if value not in _OF_QRS and getattr(lead, value) is None]
    return replace(lead, reasons={value: why.get(value, ends) for value in none})


def _unmeasured(quality: str, found: Delineation, beat: MedianBeat | None) -> str:
    """Why nothing of a lead is measured."""
    if quality in ("flat", "empty"):
        return "the lead is flat" if quality == "flat" else "the lead holds no values"
    if not len(found.r_s):
        return found.reasons.get("beats", "no QRS complexes were found")
    if beat is None:
        return "no whole beat lies in the recording"
    return "the lead was not recorded during the usual QRS complexes"


def lead_spreads(
    columns: Sequence[Mapping[str, tuple[float | None, ...]]], usual: np.ndarray
) -> list[dict[str, float]]:
    """Of each lead, heights and ST levels -> SD in mV over the dominant beats, where two or more have one.

    Args:
        columns: [L] of `LeadMeasurements.per_beat`.
        usual: bool [N], the dominant beats.
    """
    cells = [lead[name] for lead in columns for name in _SPREAD]
    table = np.array(cells, dtype=np.float64).reshape(len(cells), -1)[:, usual]
    there = np.isfinite(table)
    many = there.sum(axis=1)
    mean = np.where(there, table, 0.0).sum(axis=1) / np.maximum(1, many)
    off = np.where(there, table - mean[:, None], 0.0)
    deviations = np.sqrt((off**2).sum(axis=1) / np.maximum(1, many)).round(4)
    deviations[many < 2] = np.nan
    rows = deviations.reshape(len(columns), len(_SPREAD)).tolist()
    return [{name: value for name, value in zip(_SPREAD, row, strict=True) if value == value} for row in rows]
