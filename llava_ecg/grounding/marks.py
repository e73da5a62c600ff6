"""Where on a page the waves that a claim cites stand: calipers for intervals, heights for amplitudes, levels for ST,
brackets for leads.

Nothing is drawn here; `llava_ecg.grounding.picture` does. Times are seconds from the start of the recording, voltages
mV, places pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from llava_ecg.ecg.measurements import BeatMeasurements, LeadMeasurements, Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import Box, Page
from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.verdicts import Verdict

Bounds = tuple[str, str]
SPANS: dict[str, Bounds] = {
    "p_ms": ("p_onset_s", "p_end_s"),
    "pr_ms": ("p_onset_s", "qrs_onset_s"),
    "qrs_ms": ("qrs_onset_s", "qrs_end_s"),
    "qt_ms": ("qrs_onset_s", "t_end_s"),
}
_SPAN_OF = {
    **{name: name for name in SPANS}, "pr_category": "pr_ms", "av_block": "pr_ms", "p_present": "p_ms",
    "qrs_category": "qrs_ms", "conduction": "qrs_ms", "qtc_category": "qt_ms", "atrial": "p_ms",
    **{f"qtc_{formula}ms": "qt_ms" for formula in ("", "bazett_", "fridericia_", "framingham_", "hodges_")},
}  # fmt: skip
_RR = ("heart_rate_bpm", "rate_category", "rr_ms", "pause", "pause_ms")
_EVERY_BEAT = ("rhythm", "rhythm_regular")
_HEIGHTS = {
    "p_mv": ("p",), "q_mv": ("q",), "r_mv": ("r",), "s_mv": ("s",), "t_mv": ("t",), "qrs_mv": ("qrs",),
    "t_category": ("t",), "q_wave": ("q",),
}  # fmt: skip
_SUMS = {"sokolow_lyon_mv": (("V1", "s"), ("V5", "r")), "cornell_mv": (("aVL", "r"), ("V3", "s"))}
_SUM_OF = {"left ventricular hypertrophy": "sokolow_lyon_mv"}
_LEADS_OF = {
    "axis_deg": ("I", "aVF"), "axis_category": ("I", "aVF"), "axis_type": ("I", "aVF"), "p_axis_deg": ("I", "aVF"),
    "t_axis_deg": ("I", "aVF"), "r_progression": ("V1", "V2", "V3", "V4", "V5", "V6"),
    "r_transition": ("V1", "V2", "V3", "V4", "V5", "V6"),
}  # fmt: skip
_STRIP_ROWS, _LEAD_ROWS = (7.0, 11.0, 15.0, 19.0), (9.0, 13.0, 17.0)  # mm below the baseline
_EDGE_S = 0.02
_BADGE_MM = 5.0
_NAME_MM, _MOST_BRACKETS = 6.0, 5  # a bracket is as wide as the lead's name; so many stand side by side under it


class Mark(NamedTuple):
    """One mark on the page.

    Attributes:
        number: of the claim, from 1.
        kind: ``caliper`` (t0 to t1), ``beats`` (a tick at each of `times`), ``height`` (mv0 to mv1 at t0), ``level``
            (ST: the level mv1 from t0 to t1, against the line mv0) or ``bracket`` (under the lead's name).
        box: the lead's box.
        x0, y0, x1, y1: its ends, pixels.
        t0, t1, mv0, mv1: the same in the recording; 0 for a bracket.
        times: of the ticks.
    """

    number: int
    kind: str
    box: Box
    x0: float
    y0: float
    x1: float
    y1: float
    t0: float = 0.0
    t1: float = 0.0
    mv0: float = 0.0
    mv1: float = 0.0
    times: tuple[float, ...] = ()


@dataclass
class Planner:
    """Finds a free place for each claim's marks.

    Args:
        page: with its boxes.
        recording: what the page shows, with the derived leads.
        measured: of the recording.
    """

    page: Page
    recording: Recording
    measured: Measurements
    marks: list[Mark] = field(default_factory=list)
    _taken: dict[tuple[Box, float], list[tuple[float, float]]] = field(default_factory=dict)
    _used: Counter[tuple[Box, float]] = field(default_factory=Counter)
    _brackets: Counter[Box] = field(default_factory=Counter)

    def plan(self, verdicts: Sequence[Verdict]) -> list[Mark]:
        """The marks of all verdicts, numbered from 1 in their order."""
        for number, verdict in enumerate(verdicts, 1):
            claim = verdict.claim
            for lead in claim.leads or _LEADS_OF.get(claim.quantity, ()):
                self._bracket(number, lead)
            self._claim(number, claim)
        return self.marks

    def _claim(self, number: int, claim: Claim) -> None:
        span = _SPAN_OF.get(claim.quantity)
        total = claim.quantity if claim.quantity in _SUMS else _SUM_OF.get(str(claim.value), "")
        if claim.quantity in _EVERY_BEAT:
            self._beats(number, [beat.r_s for beat in self.measured.beats])
        elif claim.quantity in ("premature", "pacing"):
            kinds = ("paced",) if claim.quantity == "pacing" else ("ventricular", "supraventricular")
            self._beats(number, [beat.r_s for beat in self.measured.beats if beat.kind in kinds])
        elif claim.quantity in _RR:
            self._caliper(number, self._strip(), "rr")
        elif span is not None:
            boxes = [box for lead in claim.leads[:3] if (box := self._box(lead))] or [self._strip()]
            for box in boxes:
                self._caliper(number, box, span)
        elif claim.quantity in ("st_mv", "st_category"):
            for lead in claim.leads or self._leads_of_finding(claim):
                self._level(number, lead)
        elif claim.quantity in _HEIGHTS:
            for lead in claim.leads or self._leads_of_finding(claim):
                self._height(number, lead, _HEIGHTS[claim.quantity][0])
        elif total:
            for lead, wave in _SUMS[total]:
                self._height(number, lead, wave)

    def _leads_of_finding(self, claim: Claim) -> tuple[str, ...]:
        """Where the signal shows what is claimed of no lead."""
        name = {
            "elevation": "ST elevation",
            "depression": "ST depression",
            "inverted": "T inversion",
            "pathological": "pathological Q waves",
        }
        found = self.measured.findings.get(name.get(str(claim.value), ""))
        return found.leads if found is not None else ()

    # places

    def _strip(self) -> Box:
        return next((box for box in self.page.boxes if box.rhythm), self.page.boxes[0])

    def _box(self, lead: str) -> Box | None:
        return next((box for box in self.page.boxes if box.lead == lead and not box.rhythm and box.recorded), None)

    def _free_row(self, box: Box, x0: float, x1: float) -> float:
        """The pixel row of the first row under the box's trace where nothing stands between x0 and x1; the last if all
        are full."""
        rows = _STRIP_ROWS if box.rhythm else _LEAD_ROWS
        room = _BADGE_MM * self.page.px_per_mm
        for row in rows:
            taken = self._taken.setdefault((box, row), [])
            if all(x1 + room < a or x0 - room > b for a, b in taken):
                break
        taken.append((x0, x1))
        return box.baseline + row * self.page.px_per_mm

    def _spans(self, box: Box, name: str) -> Iterator[tuple[float, float, BeatMeasurements]]:
        """(start, end, beat) of an interval in each beat that the box shows whole; the lead's own bounds where it is no
        strip."""
        lead = None if box.rhythm else self.measured.leads.get(box.lead)
        beats = self.measured.beats
        for at, beat in enumerate(beats):
            ends: tuple[float | None, float | None]
            if name == "rr":
                ends = (beat.r_s, beats[at + 1].r_s if at + 1 < len(beats) else None)
            elif name == "p_ms" and not self.measured.p_present and beat.qrs_onset_s is not None:
                ends = (beat.qrs_onset_s - 0.2, beat.qrs_onset_s)  # where a P would stand
            else:
                own = [
                    None if lead is None else lead.per_beat.get(bound, (None,) * len(beats))[at]
                    for bound in SPANS[name]
                ]
                ends = (
                    (own[0], own[1])
                    if None not in own
                    else (getattr(beat, SPANS[name][0]), getattr(beat, SPANS[name][1]))
                )
            if (
                ends[0] is not None
                and ends[1] is not None
                and box.t0 + _EDGE_S <= ends[0] < ends[1] <= box.t1 - _EDGE_S
            ):
                yield ends[0], ends[1], beat

    def _beat(self, box: Box, name: str) -> tuple[float, float, BeatMeasurements] | None:
        """The whole beat of a box that has the fewest marks yet; an ordinary one where there is one."""
        found = list(self._spans(box, name))
        usual = [each for each in found if each[2].kind in ("dominant", "paced")] or found
        return min(usual, key=lambda each: (self._used[box, each[2].r_s], each[0]), default=None)

    # marks

    def _caliper(self, number: int, box: Box, name: str) -> None:
        found = self._beat(box, name)
        if found is None:
            return
        start, end, beat = found
        self._used[box, beat.r_s] += 1
        x0, x1 = self.page.at(box, start, 0)[0], self.page.at(box, end, 0)[0]
        y = self._free_row(box, x0, x1 + _BADGE_MM * self.page.px_per_mm)
        self.marks.append(Mark(number, "caliper", box, x0, y, x1, y, start, end))

    def _beats(self, number: int, times: Sequence[float]) -> None:
        box = self._strip()
        shown = tuple(t for t in times if box.t0 <= t <= box.t1)
        if shown:
            x0, x1 = self.page.at(box, shown[0], 0)[0], self.page.at(box, shown[-1], 0)[0]
            y = self._free_row(box, x0, x1 + _BADGE_MM * self.page.px_per_mm)
            self.marks.append(Mark(number, "beats", box, x0, y, x1, y, shown[0], shown[-1], times=shown))

    def _bracket(self, number: int, lead: str) -> None:
        box = self._box(lead)
        if box is None or self._brackets[box] >= _MOST_BRACKETS:
            return
        scale = self.page.px_per_mm
        x = box.x0 + (1.5 + self._brackets[box] * (_NAME_MM + _BADGE_MM)) * scale
        y = box.baseline - 15.0 * scale
        self._brackets[box] += 1
        self.marks.append(Mark(number, "bracket", box, x, y, x + _NAME_MM * scale, y))

    def _level(self, number: int, lead: str) -> None:
        box, measured = self._box(lead), self.measured.leads.get(lead)
        if box is None or measured is None or measured.st60_mv is None:
            return
        found = self._beat(box, "qt_ms") or self._beat(box, "qrs_ms")
        if found is None or found[2].qrs_onset_s is None or found[2].qrs_end_s is None:
            return
        beat = found[2]
        self._used[box, beat.r_s] += 1
        level = self._baseline(lead, beat)
        t0, t1 = beat.qrs_end_s or 0.0, min((beat.qrs_end_s or 0.0) + 0.08, box.t1)
        x0, y = self.page.at(box, t0, level + measured.st60_mv)
        self.marks.append(
            Mark(
                number,
                "level",
                box,
                x0,
                y,
                self.page.at(box, t1, 0)[0],
                y,
                t0,
                t1,
                level,
                level + measured.st60_mv,
                (beat.qrs_onset_s or 0.0,),
            )
        )

    def _height(self, number: int, lead: str, wave: str) -> None:
        box, measured = self._box(lead), self.measured.leads.get(lead)
        found = (
            None
            if box is None or measured is None
            else self._beat(box, "p_ms" if wave == "p" else "qt_ms" if wave == "t" else "qrs_ms")
        )
        if box is None or measured is None or found is None:
            return
        start, end, beat = found
        part = self._part(lead, start, end)
        if not np.isfinite(part).any():
            return
        level = self._baseline(lead, beat)
        low, high = level, level + (_amplitude(measured, wave) or 0.0)
        if wave == "qrs":
            low, high = float(np.nanmin(part)), float(np.nanmax(part))
        elif high == low:
            return
        if wave == "t" and beat.qrs_end_s is not None:
            part[: round((beat.qrs_end_s - start) * self.recording.rate)] = np.nan
        at = start + int(np.nanargmin(np.abs(part - high))) / self.recording.rate
        self._used[box, beat.r_s] += 1
        x, y0 = self.page.at(box, at, low)
        self.marks.append(Mark(number, "height", box, x, y0, x, self.page.at(box, at, high)[1], at, at, low, high))

    def _part(self, lead: str, start: float, end: float) -> np.ndarray:
        rate = self.recording.rate
        return self.recording.lead(lead)[max(0, round(start * rate)) : max(1, round(end * rate)) + 1].astype(np.float64)

    def _baseline(self, lead: str, beat: BeatMeasurements) -> float:
        """The level of the last 16 ms before QRS, mV."""
        onset = beat.qrs_onset_s or 0.0
        part = self._part(lead, onset - 0.016, onset)
        return float(np.nanmean(part)) if np.isfinite(part).any() else 0.0


def _amplitude(lead: LeadMeasurements, wave: str) -> float | None:
    """The signed height of a wave in mV; a QS is a Q."""
    return {
        "p": lead.p_mv,
        "q": lead.q_mv,
        "r": lead.r_mv,
        "s": lead.s_mv if lead.s_mv is not None else lead.q_mv,
        "t": lead.t_mv,
    }.get(wave)
