"""Lead names: the standard twelve, how files spell them, and the four limb leads that two others imply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STANDARD = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FURTHER = ("V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R")  # of the back and the right; no standard recording has them

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

_STRAY = " \t,;:.|/'\"`*\u2018\u2019\u201c\u201d"
_LAYERS = 9  # of brackets around a name; each takes a look at all of it
# a hyphen after a blank is a sign ("Lead -aVR" is inverted), one without a blank joins the words ("Lead-II")
_JOIN = r"(?:[\s_:.]+|-)?"
_PREFIX = re.compile(
    rf"^(?:(?:mdc[\s_-]?)?(?:ecg|ekg){_JOIN})?(?:lead|ableitung){_JOIN}|^(?:mdc[\s_-]?)?(?:ecg|ekg)(?![\s_:.-]*\d){_JOIN}|^ml[\s_-]*"
)
_REFERENCE = re.compile(r"[\s_-](?:ref|wct)$")  # what a lead is held against, as EDF has it: "ECG V1-Ref"
_SYSTEM_PREFIX = re.compile(r"^(?:(?:ecg|ekg|lead|ableitung|easi|frank)[\s_:.-]+)+", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")
_OTHER = re.compile(
    r"(?:ppg|pleth|plethysmogram|plethysmograph|photosensor|spo|sao|etco|co|resp|rsp|respiration|respiratory|breath|breathing|"
    r"airflow|flow|thorax|thor|thoracic|abdomen|abdo|abdominal|acc|accel|acceleration|accelerometer|gyro|gyroscope|mag|"
    r"magnetometer|imu|temp|temperature|skt|eda|gsr|emg|eog|eeg|ecog|scg|bcg|pcg|abp|art|bp|ibp|nibp|nbp|cvp|pap|icp|pressure|"
    r"hr|heartrate|bpm|ibi|marker|markers|event|events|label|labels|annotation|annotations|annot|trigger|trig|stim|battery|"
    r"batt|quality|sqi|snore|position|counter|humidity|steps|pulse|lux|light|comment|comments|note|notes|class|target)"
)
_EEG = re.compile(r"^(?:fp|f|c|p|o|t|a|m)[z\d]*[-/](?:a\d|m\d|cz|pz|oz|fz|ref|le)$")  # 10-20 derivations: C4-A1, Fpz-Cz
_USUAL = re.compile(
    r"^(?:v\d{0,2}r?|v\d{1,2}(?:l|r)|v?[xyz]|m(?:odified)?\d?|mcl\d?|ml\w{0,3}|mv\d|c[mcsb]\d|mx|d\d?|es|as|ai|nasa"
    r"|(?:ch|chan|channel|signal|sig|derivation|holter)[\s_.:-]*\w{0,3})$"
)


def canonical(name: str) -> str:
    """The standard name for one spelling of a lead (``AVR``, ``Lead aVR``, ``II,``, ``ECG (V1)``, ``MLII`` -> ``aVR``,
    ``aVR``, ...).

    A name that is no spelling of a standard lead comes back on one line without punctuation around it, otherwise as it
    was (``Vx``, ``RESP``; ``-aVR``, the inverted lead of the Cabrera order, which must not pass for aVR; ``ECG1``, an
    ambulatory channel of unknown place).
    """
    plain = _bare(" ".join(name.split()))
    lower = plain.lower()
    own = lower if _EEG.match(lower) else _REFERENCE.sub("", lower)  # C4-Ref is of the brain
    key = re.sub(r"[\s_]+", "", _bare(_PREFIX.sub("", own)))
    return _BY_KEY.get(key, plain)


def _bare(name: str) -> str:
    """The name without stray punctuation, quotes or brackets around it; as it was if nothing else is left."""
    for _ in range(_LAYERS):
        inner = name.strip(_STRAY)
        if len(inner) > 1 and inner[0] + inner[-1] in ("()", "[]", "{}", "<>"):
            inner = inner[1:-1]
        if inner == name or not inner:
            break
        name = inner
    return name


def is_other_signal(name: str) -> bool:
    """Whether a name says that the signal is something else than an ECG (``PLETH``, ``RESP``, ``acc_x``, ``EEG
    Fpz-Cz``, ``label``)."""
    words = _WORD.findall(name.lower())
    return any(map(_OTHER.fullmatch, words)) or _EEG.match(" ".join(name.split()).lower()) is not None


def says_ecg(name: str) -> bool:
    """Whether a name says that the signal is an ECG: a standard lead, or one of the words ECG, EKG and lead in it."""
    return canonical(name) in STANDARD or not {"ecg", "ekg", "lead", "ableitung"}.isdisjoint(
        _WORD.findall(name.lower())
    )


def may_be_lead(name: str) -> bool:
    """Whether a name is usual for an ECG lead: standard, further chest leads, ambulatory, bipolar and Frank leads,
    numbered channels."""
    return says_ecg(name) or _USUAL.match(canonical(name).lower()) is not None


EASI_I = "EASI-I"
"""The electrode I of the EASI system, which must not pass for lead I."""


def is_known(name: str) -> bool:
    """Whether a canonical name is that of a lead: one that `may_be_lead`, or an electrode of the EASI system."""
    bare = _SYSTEM_PREFIX.sub("", name)
    return may_be_lead(bare) or name == EASI_I or bare in ("E", "A", "S")


_SYSTEMS = {  # canonical names in capitals, without what joins them -> what they are
    ("E", "A", "S", "I"): "the electrodes of the EASI system (its I is not lead I)",
    ("ES", "AS", "AI"): "the leads of the EASI system",
    ("X", "Y", "Z"): "the orthogonal leads of Frank",
    ("VX", "VY", "VZ"): "the orthogonal leads of Frank",
}


class System(NamedTuple):
    """Leads of another system than the standard one, in a recording.

    Attributes:
        names: all names of the recording, in its order; none of them passes for a standard lead that it is not.
        rows: which of them are of that system.
        note: what they are and what can be done with them, in a sentence.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    note: str


def other_system(names: Sequence[str]) -> System | None:
    """The EASI or Frank leads among canonical names; None where no system is there with all of its leads."""
    keys = [re.sub(r"[\s_-]", "", _SYSTEM_PREFIX.sub("", name)).upper() for name in names]
    if EASI_I in names and "I" in names:
        keys[list(names).index("I")] = ""  # lead I beside them
    for leads, what in _SYSTEMS.items():
        if not set(leads) <= set(keys) or (leads[-1] == "I" and "II" in keys):  # beside II it is lead I
            continue
        rows = tuple(keys.index(lead) for lead in leads)
        own = tuple(EASI_I if row in rows and name == "I" else name for row, name in enumerate(names))
        *most, last = (own[row] for row in rows)
        done = (
            "what needs standard leads goes by those beside them"
            if set(STANDARD) <= set(own)
            else "rate and intervals are measured on them, but axes, the page and a model need standard leads: give a "
            "recording that was converted to the 12 leads where it was made"
        )
        return System(
            own, rows, f"{', '.join(most)} and {last} are read as {what}, which are no standard leads; {done}"
        )
    return None


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
