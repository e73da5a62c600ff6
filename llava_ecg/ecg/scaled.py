"""Recordings whose leads were scaled one by one, as some published sets are: what can be got back of them, and what is
not measured.

Axes: L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llava_ecg.ecg.findings import findings
from llava_ecg.ecg.lead_facts import VALUES
from llava_ecg.ecg.limbs import LIMBS, limb_factors
from llava_ecg.ecg.measurements import LeadMeasurements, Measurements
from llava_ecg.ecg.person import age_of, sex_of

NO_VOLTS = "the recording is not calibrated in mV"
_OF_VOLTS = (
    "axis_deg", "p_axis_deg", "t_axis_deg", "sokolow_lyon_mv", "cornell_mv", "low_voltage_limb", "low_voltage_chest",
    "r_progression", "r_transition", "delta_wave",
)  # fmt: skip


def limb_scales(signal: np.ndarray) -> np.ndarray:
    """The factors that make six limb leads agree with Einthoven and Goldberger again.

    A recording whose leads were each divided by their own standard deviation keeps that the limb leads depend on each
    other: III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 hold for one set of factors, up to a
    common one.

    Args:
        signal: float [6, T], I II III aVR aVL aVF without their means.

    Returns:
        float [6] with a mean of 1.
    """
    factors = np.abs(limb_factors(signal @ signal.T / signal.shape[1]))
    return factors / factors.mean()


def with_limb_ratios(signal: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """A signal [L, T] without its leads' means, whose limb leads, where all six are there, agree with each other again;
    its scale stays arbitrary. NaN, where nothing was recorded, stays."""
    there = np.isfinite(signal)
    many = np.maximum(1, there.sum(axis=1, keepdims=True)).astype(signal.dtype)
    signal = signal - np.where(there, signal, 0).sum(axis=1, keepdims=True) / many
    if set(LIMBS) <= set(leads):
        rows = [list(leads).index(lead) for lead in LIMBS]
        all_there = there[rows].all(axis=0)
        if all_there.any():
            signal[rows] *= limb_scales(signal[rows][:, all_there])[:, None].astype(signal.dtype)
    return signal


def without_volts(measured: Measurements, *, sex: str | None = None, age: float | None = None) -> Measurements:
    """The measurements without all that rests on the scale of the leads; times and counts stay."""
    leads = {}
    for name, lead in measured.leads.items():
        kept = {column: values for column, values in lead.per_beat.items() if not column.endswith("_mv")}
        times = {field: getattr(lead, field) for field in ("p_present", "p_ms", "pr_ms", "qrs_ms", "t_ms", "qt_ms")}
        of_volts = [value for value in VALUES if value not in times and getattr(lead, value) is not None]
        reasons = {**lead.reasons, **dict.fromkeys(of_volts, NO_VOLTS)}
        leads[name] = LeadMeasurements(**times, quality=lead.quality, per_beat=kept, reasons=reasons)
    nothing: dict[str, Any] = dict.fromkeys(_OF_VOLTS)
    bare = replace(
        measured,
        **nothing,
        lead_reversal="",
        leads=leads,
        spread={name: value for name, value in measured.spread.items() if name not in _OF_VOLTS},
        reasons={**measured.reasons, **dict.fromkeys(_OF_VOLTS, NO_VOLTS)},
    )
    return replace(bare, findings=findings(bare, sex=sex_of(sex), age=age_of(age)))
