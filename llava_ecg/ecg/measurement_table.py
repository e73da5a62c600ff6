"""`Measurements` as plain text for a terminal of 80 columns, with reference values for adults."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from llava_ecg.ecg.measurements import Measurements

WIDTH = 80
_ROWS = {  # field -> (label, unit, format)
    "heart_rate_bpm": ("heart rate", "bpm", ".1f"),
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
    "p_axis_deg": ("P axis", "deg", ".0f"),
    "t_axis_deg": ("T axis", "deg", ".0f"),
    "sokolow_lyon_mv": ("Sokolow-Lyon", "mV", ".2f"),
    "cornell_mv": ("Cornell", "mV", ".2f"),
    "r_progression": ("R progression", "", ""),
}
_OF_DEVICES = {  # what a file may have of its device beyond these
    "qtc_ms": ("QTc, no formula", "ms", ".0f"),
    "qtc_framingham_ms": ("QTc, Framingham", "ms", ".0f"),
    "qtc_hodges_ms": ("QTc, Hodges", "ms", ".0f"),
}
_REFERENCE: dict[
    str, tuple[float | None, float]
] = {  # field -> low, high of healthy adults, as the thresholds of docs/measure.md; None where there is none
    "heart_rate_bpm": (60, 100),
    "p_ms": (None, 120),
    "pr_ms": (120, 200),
    "qrs_ms": (None, 110),
    "qtc_bazett_ms": (360, 460),  # 450 for men; the finding "long QT" knows the sex
    "axis_deg": (-30, 90),
    "sokolow_lyon_mv": (None, 3.5),
    "cornell_mv": (None, 2.8),  # 2.0 for women
}
_MEANING = (
    "P, Q, R, S, R', T: heights of the waves. ST J, ST60: the level at the J point, where QRS ends, and 60 ms "
    "after it, against the level "
    "before QRS. * beyond the reference for adults; a reference is no diagnosis."
)
_SPREAD = {"p_ms", "pr_ms", "qrs_ms", "qt_ms"}
_KINDS = {
    "ventricular_premature": "ventricular premature",
    "supraventricular_premature": "supraventricular premature",
    "paced_beats": "paced",
}
_COLUMNS = {
    "p_mv": "P",
    "q_mv": "Q",
    "r_mv": "R",
    "s_mv": "S",
    "r2_mv": "R'",
    "t_mv": "T",
    "st_j_mv": "ST J",
    "st60_mv": "ST60",
}


class Row(NamedTuple):
    """A global value as it is shown.

    Attributes:
        name: field of `Measurements`.
        label, unit: for a person.
        value: ``-`` where it is None.
        spread: over the beats; empty where there is none.
        reference: of healthy adults; empty where there is none.
        flagged: whether the value lies beyond it.
        why: why there is no value.
    """

    name: str
    label: str
    value: str
    unit: str
    spread: str
    reference: str
    flagged: bool
    why: str


def rows(measured: Measurements) -> list[Row]:
    """The global values."""
    found = []
    for name, (label, unit, spec) in _ROWS.items():
        value = getattr(measured, name)
        shown = {None: "-", True: "yes", False: "no"}
        text = shown[value] if value is None or isinstance(value, bool) else format(value, spec)
        spread = measured.spread.get(name) if name in _SPREAD and value is not None else None
        beside = _reference(name, value)
        why = measured.reasons.get(name, "") if value is None else ""
        told = "" if spread is None else f"+-{spread:.0f}"
        found.append(Row(name, label, text, unit, told, beside.text, beside.flagged, why))
    return found


def lead_rows(measured: Measurements) -> tuple[list[str], list[list[str]]]:
    """(heads, rows) of the heights in mV, a row a lead, its QRS and its quality last; ``-`` where there is none."""
    heads = ["lead", *_COLUMNS.values(), "QRS", "signal"]
    cells = [
        [
            name,
            *("-" if (value := getattr(lead, column)) is None else f"{value:.2f}" for column in _COLUMNS),
            lead.pattern or "-",
            lead.quality,
        ]
        for name, lead in measured.leads.items()
    ]
    return heads, cells


def table(measured: Measurements) -> str:
    """The global values, ``-`` with the reason for None; then lead by lead; then the findings that are there, and the
    notes."""
    lines = []
    for row in rows(measured):
        start = f"{row.label:<16}{row.value:>7}{'*' if row.flagged else ' '}{row.unit:<4}{row.spread:<6}"
        start = (start + (f"({row.reference})" if row.reference else "")).rstrip()
        lines += textwrap.wrap(
            row.why, WIDTH, initial_indent=start + " ", subsequent_indent=" " * (len(start) + 1)
        ) or [start]
    counts = [f"{getattr(measured, name)} {word}" for name, word in _KINDS.items() if getattr(measured, name)]
    if measured.beats:
        lines.append(f"{'beats':<16}{len(measured.beats):>7}" + (f"  {', '.join(counts)}" if counts else ""))
    if measured.leads:
        lines += ["", f"{'mV':<6}" + "".join(f"{head:>7}" for head in _COLUMNS.values()) + "  QRS    signal"]
    for name, lead in measured.leads.items():
        cells = "".join(
            "      -" if (value := getattr(lead, column)) is None else f"{value:>7.2f}" for column in _COLUMNS
        )
        lines.append(f"{name[:6]:<6}{cells}  {lead.pattern[:6] or '-':<6} {lead.quality}".rstrip())
    lines += ["", *textwrap.wrap(_MEANING, WIDTH)]
    there = [finding for finding in measured.findings.values() if finding.present]
    if there:
        lines += ["", "findings (facts about the signal, no diagnosis)"]
    for finding in there:
        where = f" ({finding.territory})" if finding.territory else ""
        lines += textwrap.wrap(
            f"{finding.name}{where}: {finding.because}", WIDTH, initial_indent="- ", subsequent_indent="  "
        )
    notes = [*measured.notes, *([measured.lead_reversal] if measured.lead_reversal else [])]
    if notes:
        lines += [
            "",
            *(line for note in notes for line in textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="      ")),
        ]
    return "\n".join(lines)


class DeviceRow(NamedTuple):
    """A value of the device that recorded the ECG, beside ours.

    Attributes:
        label, unit: for a person.
        device: its value.
        ours: ``-`` where we have none; both of ours where the device does not say by which formula it corrected QT.
    """

    label: str
    device: str
    unit: str
    ours: str


def device_rows(measured: Measurements, metadata: Mapping[str, Any]) -> list[DeviceRow]:
    """What the device measured, beside ours; empty where the file has none of it.

    Args:
        metadata: a recording's, see `llava_ecg.ecg.formats.device`.
    """
    known = {**_ROWS, **_OF_DEVICES}
    return [
        DeviceRow(known[name][0], f"{value:g}", known[name][1], _ours(measured, name, known[name][2]))
        for name, value in metadata.get("device_measurements", {}).items()
        if name in known
    ]


def _ours(measured: Measurements, name: str, spec: str) -> str:
    if name == "qtc_ms":
        told = {"Bazett": measured.qtc_bazett_ms, "Fridericia": measured.qtc_fridericia_ms}
        return ", ".join(f"{value:.0f} {formula}" for formula, value in told.items() if value is not None) or "-"
    value = getattr(measured, name)
    return "-" if value is None else format(value, spec)


def device_table(measured: Measurements, metadata: Mapping[str, Any]) -> str:
    """What the device measured, beside ours, and what it stated; empty where the file has neither.

    Args:
        metadata: as for `device_rows`.
    """
    values, said = device_rows(measured, metadata), metadata.get("device_statements", [])
    if not values and not said:
        return ""
    lines = [f"{'of the device':<16}{'device':>7}     {'ours':>7}"] if values else ["of the device"]
    lines += [f"{row.label:<16}{row.device:>7} {row.unit:<4}{row.ours:>7}" for row in values]
    for text in said:
        lines += textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


class _Beside(NamedTuple):
    """What stands beside a value: its reference, and whether it lies beyond."""

    text: str
    flagged: bool


def _reference(name: str, value: float | str | bool | None) -> _Beside:
    if name not in _REFERENCE:
        return _Beside("", False)
    low, high = _REFERENCE[name]
    text = f"up to {high:g}" if low is None else f"{low:g} to {high:g}"
    if isinstance(value, str) or value is None:
        return _Beside(text, False)
    return _Beside(text, (low is not None and value < low) or value > high)
