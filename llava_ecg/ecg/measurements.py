"""`Measurements`: what was measured on a recording, each value None where it can't be, with the reason beside it.

Units are in the names: ms, mV (signed), bpm, degrees.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

_ROWS = {  # field -> (label, unit, format)
    "heart_rate_bpm": ("heart rate", "bpm", ".0f"),
    "rr_ms": ("RR, mean", "ms", ".0f"),
    "rr_cv": ("RR variation", "", ".3f"),
    "rhythm_regular": ("rhythm regular", "", ""),
    "p_present": ("P waves", "", ""),
    "p_ms": ("P duration", "ms", ".0f"),
    "pr_ms": ("PR interval", "ms", ".0f"),
    "qrs_ms": ("QRS duration", "ms", ".0f"),
    "qt_ms": ("QT interval", "ms", ".0f"),
    "qtc_bazett_ms": ("QTc, Bazett", "ms", ".0f"),
    "qtc_fridericia_ms": ("QTc, Fridericia", "ms", ".0f"),
    "axis_deg": ("QRS axis", "deg", ".0f"),
}
_LEAD_COLUMNS = {"p_mv": "P", "q_mv": "Q", "r_mv": "R", "s_mv": "S", "t_mv": "T", "st_mv": "ST60"}
_WIDTH = 80  # of a terminal


@dataclass(frozen=True)
class LeadMeasurements:
    """One lead, medians over its beats. Amplitudes in mV against the level before QRS; None where the wave is absent or unmeasurable.

    Attributes:
        p_mv, q_mv, r_mv, s_mv, t_mv: peak amplitudes, signed.
        st_mv: ST level at J + 60 ms.
        quality: ``"ok"`` or what is wrong (``"flat"``, ``"missing"``, ``"clipped"``, ``"noisy"``).
    """

    p_mv: float | None = None
    q_mv: float | None = None
    r_mv: float | None = None
    s_mv: float | None = None
    t_mv: float | None = None
    st_mv: float | None = None
    quality: str = "ok"


@dataclass(frozen=True)
class Measurements:
    """Measured values of one recording.

    Attributes:
        heart_rate_bpm: 60000 / mean RR.
        rr_ms: mean RR interval; `rr_cv` its coefficient of variation (SD / mean), a fraction.
        rhythm_regular: True or False, None with fewer than four beats.
        p_present: whether most beats have a P wave before them.
        p_ms, pr_ms, qrs_ms, qt_ms: intervals of the representative beat, all leads together.
        qtc_bazett_ms, qtc_fridericia_ms: QT / sqrt(RR), QT / cbrt(RR), RR in s.
        axis_deg: frontal QRS axis from the net areas of I and aVF, -180 to 180.
        beats_s: R times in seconds from the start.
        leads: lead name -> `LeadMeasurements`.
        reasons: field name -> why it is None.
        source: delineator, its version, filter.
    """

    heart_rate_bpm: float | None = None
    rr_ms: float | None = None
    rr_cv: float | None = None
    rhythm_regular: bool | None = None
    p_present: bool | None = None
    p_ms: float | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_bazett_ms: float | None = None
    qtc_fridericia_ms: float | None = None
    axis_deg: float | None = None
    beats_s: tuple[float, ...] = ()
    leads: Mapping[str, LeadMeasurements] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for ``json.dumps``."""
        out = asdict(self)
        out["beats_s"] = list(self.beats_s)
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Measurements:
        """The inverse of `to_dict`; unknown keys are an error (TypeError)."""
        known = dict(values)
        known["beats_s"] = tuple(known.get("beats_s", ()))
        known["leads"] = {name: LeadMeasurements(**lead) for name, lead in known.get("leads", {}).items()}
        return cls(**known)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the global, single-valued measurements."""
        return tuple(f.name for f in fields(cls) if f.name not in ("beats_s", "leads", "reasons", "source"))

    def table(self) -> str:
        """The values as plain text for a terminal of 80 columns: the global ones, ``-`` with the reason for None, then lead by lead."""
        lines = []
        for name, (label, unit, spec) in _ROWS.items():
            value = getattr(self, name)
            shown = {None: "-", True: "yes", False: "no"}
            text = shown[value] if value is None or isinstance(value, bool) else format(value, spec)
            start = f"{label:<16}{text:>7} {unit:<4}"
            why = self.reasons.get(name, "") if value is None else ""
            lines += textwrap.wrap(why, _WIDTH, initial_indent=start + " ", subsequent_indent=" " * (len(start) + 1)) or [start.rstrip()]
        if self.leads:
            heads = "".join(f"{head:>8}" for head in _LEAD_COLUMNS.values())
            lines += ["", f"{'mV':<8}{heads}  signal"]
        for name, lead in self.leads.items():
            values = [getattr(lead, column) for column in _LEAD_COLUMNS]
            cells = "".join(f"{'-':>8}" if value is None else f"{value:>8.2f}" for value in values)
            lines.append(f"{name[:8]:<8}{cells}  {lead.quality}")
        return "\n".join(lines)
