"""Lead names: the standard twelve, how files spell them, and the four limb leads that two others imply."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

_BY_KEY = {name.lower(): name for name in STANDARD} | {
    "1": "I",
    "2": "II",
    "3": "III",
    "d1": "I",
    "d2": "II",
    "d3": "III",
    "di": "I",
    "dii": "II",
    "diii": "III",
    "vr": "aVR",
    "vl": "aVL",
    "vf": "aVF",
    "avr": "aVR",
    "avl": "aVL",
    "avf": "aVF",
    **{f"c{n}": f"V{n}" for n in range(1, 7)},
}

# III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Einthoven, Goldberger)
_FROM_I_AND_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


def canonical(name: str) -> str:
    """The standard name for one spelling of a lead (``AVR``, ``avr``, ``Lead aVR``, ``MLII`` -> ``aVR``, ..., ``II``).

    A name that is no spelling of a standard lead comes back on one line, otherwise as it was (``Vx``, ``RESP``; ``-aVR``, the inverted lead
    of the Cabrera order, which must not pass for aVR; ``ECG1``, an ambulatory channel of unknown place).
    """
    key = re.sub(
        r"^(?:(?:mdc_)?(?:ecg|ekg)[\s_-]*)?lead[\s_-]*|^(?:ecg|ekg)(?![\s_-]*\d)[\s_-]*|^ml[\s_-]*|[\s_]+", "", name.strip().lower()
    )
    return _BY_KEY.get(key, " ".join(name.split()))


def derive(signal: np.ndarray, leads: Sequence[str]) -> dict[str, np.ndarray]:
    """The limb leads that are missing from ``leads`` and follow from I and II.

    Args:
        signal: float32 [L, T] in mV.
        leads: the canonical names of the L rows.

    Returns:
        name -> float32 [T] in mV for each of III, aVR, aVL, aVF that is absent; empty unless both I and II are there.
    """
    if "I" not in leads or "II" not in leads:
        return {}
    one, two = signal[list(leads).index("I")], signal[list(leads).index("II")]
    return {name: a * one + b * two for name, (a, b) in _FROM_I_AND_II.items() if name not in leads}
