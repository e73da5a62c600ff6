"""What is summed over leads: Sokolow-Lyon, Cornell, low voltage, R progression, a delta wave."""

from __future__ import annotations

from typing import Any

from llava_ecg.ecg.amplitudes import MedianBeat
from llava_ecg.ecg.hints import CHEST, delta_wave, r_progression
from llava_ecg.ecg.measurements import LeadMeasurements

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


def voltages(
    leads: dict[str, LeadMeasurements], beat: MedianBeat | None, values: dict[str, Any], reasons: dict[str, str]
) -> None:
    """Sokolow-Lyon, Cornell, low voltage, R progression, delta wave."""
    names = (
        "sokolow_lyon_mv",
        "cornell_mv",
        "low_voltage_limb",
        "low_voltage_chest",
        "r_progression",
        "r_transition",
        "delta_wave",
    )
    if beat is None:
        reasons.update(dict.fromkeys(names, "no QRS complexes were found"))
        return

    def up(name: str) -> float | None:
        lead = leads.get(name)
        return None if lead is None or lead.qrs_mv is None else lead.up_mv

    def down(name: str) -> float | None:
        lead = leads.get(name)
        return None if lead is None or lead.qrs_mv is None else lead.down_mv

    s1, r5, r6, r_avl, s3 = down("V1"), up("V5"), up("V6"), up("aVL"), down("V3")
    if s1 is None or (r5 is None and r6 is None):
        reasons["sokolow_lyon_mv"] = "leads V1 and V5 or V6 are needed"
    else:
        values["sokolow_lyon_mv"] = round(s1 + max(r5 or 0.0, r6 or 0.0), 4)
    if r_avl is None or s3 is None:
        reasons["cornell_mv"] = "leads aVL and V3 are needed"
    else:
        values["cornell_mv"] = round(r_avl + s3, 4)
    for name, group, limit in (("low_voltage_limb", LIMB, 0.5), ("low_voltage_chest", CHEST, 1.0)):
        sizes = [leads[lead].qrs_mv for lead in group if lead in leads]
        if len(sizes) < 6 or any(size is None for size in sizes):
            reasons[name] = f"all six {'limb' if group is LIMB else 'chest'} leads are needed"
        else:
            values[name] = all(size < limit for size in sizes if size is not None)
    progression, transition = r_progression({name: up(name) for name in CHEST}, {name: down(name) for name in CHEST})
    if progression is None:
        reasons["r_progression"] = reasons["r_transition"] = "leads V1 to V6 are needed"
    else:
        values["r_progression"], values["r_transition"] = progression, transition
        if transition is None:
            reasons["r_transition"] = "R is nowhere above S in V1 to V6"
    values["delta_wave"] = delta_wave(beat, values.get("pr_ms"), values.get("qrs_ms"))
    if values["delta_wave"] is None:
        reasons["delta_wave"] = "without P waves a delta wave can't be told"
