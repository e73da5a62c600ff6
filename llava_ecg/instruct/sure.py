"""Which measured values texts may rest on: those whose own signs speak against them are taken out of the facts.

What is possible and doubtful stays in `llava_ecg.ecg.measure.measure`, where a person sees the note beside it. A text
to train on has no note, and the audit can't find a value wrong that it was itself measured with; so facts leave it out.

The limits were set on simulated hearts of known truth (seeds 0 to 99 and 1000 to 1499 of
`llava_ecg.ecg.simulate.simulate`), so that few right values go; that of QRS rests on one heart alone (seed 96).
docs/generate.md has what they cost on real recordings; `scripts/bench/instruct.py --simulated 100 --first_seed 2000`
measures what is left on hearts that nothing was set by.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llava_ecg.ecg.findings import findings
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.person import age_of, sex_of

FAST_BPM = 100.0  # from here on T reaches into the next P
P_HIDDEN_MS = 75.0  # a P wave shorter than this in a fast rhythm has begun under T
P_VARIES_MS, QT_VARIES_MS = 6.0, 15.0  # SD over the beats of a fast rhythm
QT_APART_MS = 25.0  # of the latest end of T beyond that of most leads: the tolerance of QT
QRS_VARIES_MS = 20.0  # SD over beats of one kind: some were cut short, or taken together

_P, _PR = ("p_ms",), ("p_ms", "pr_ms")
_QT = ("qt_ms", "jt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms", "qt_dispersion_ms")
_BEATS = ("heart_rate_bpm", "heart_rate_min_bpm", "heart_rate_max_bpm", "rr_ms", "rr_max_ms", "qrs_ms", *_QT)


def only_sure(measured: Measurements, *, sex: str | None = None, age: float | None = None) -> Measurements:
    """The measurements with None, and the reason, for values that their own signs speak against.

    Args:
        sex, age: as for `llava_ecg.ecg.measure.measure`; for the findings, which are made anew of what is left.
    """
    doubted = _doubted(measured)
    taken = {name: why for name, why in doubted.items() if getattr(measured, name) is not None}
    if not taken:
        return measured
    nothing: dict[str, Any] = dict.fromkeys(taken)
    bare = replace(measured, **nothing, reasons={**measured.reasons, **taken})
    return replace(bare, findings=findings(bare, sex=sex_of(sex), age=age_of(age)))


def _doubted(m: Measurements) -> dict[str, str]:
    """Field -> why its value can't be relied on."""
    found: dict[str, str] = {}
    fast = m.heart_rate_bpm is not None and m.heart_rate_bpm > FAST_BPM
    spread = {name: m.spread.get(f"{name}_ms", 0.0) for name in ("p", "qrs", "qt")}
    if m.p_ms is not None and fast:
        if m.p_ms < P_HIDDEN_MS:
            found |= dict.fromkeys(_PR, f"P begins so late, at {m.heart_rate_bpm:.0f} bpm, that T may hide its start")
        elif spread["p"] > P_VARIES_MS:
            found |= dict.fromkeys(_P, f"at {m.heart_rate_bpm:.0f} bpm P runs out of T, and its start differs by beats")
    if m.qt_ms is not None:
        apart = m.qt_ms - m.lead_medians.get("qt_ms", m.qt_ms)
        if apart > QT_APART_MS:
            found |= dict.fromkeys(_QT, f"T ends {apart:.0f} ms later in one lead than in most: its end can't be told")
        elif fast and spread["qt"] > QT_VARIES_MS:
            found |= dict.fromkeys(_QT, f"the end of T differs by {spread['qt']:.0f} ms (SD) between beats")
    if spread["qrs"] > QRS_VARIES_MS:
        found |= dict.fromkeys(_BEATS, f"QRS differs by {spread['qrs']:.0f} ms (SD): beats may be missed or cut short")
    return found
