"""How far a claim may lie from what was measured, and the thresholds of the category words; sources in
docs/grounding.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from llava_ecg.ecg.measurements import Measurements


@dataclass(frozen=True)
class Tolerances:
    """How far a claim may lie from the measured value and still be supported; also how far a category word may lie from
    its threshold.

    The intervals are one and a half to two standard deviations of what hand marks differ by (between the leads of one
    LUDB record: SD 13 ms in PR, 10 ms in QRS, 17 ms in QT), so that no answer is called wrong for a difference that two
    experts could have. Where the beats disagree so much that twice the standard error of their mean is larger, that
    counts instead (at most twice the tolerance).

    Attributes:
        rate_bpm, rate_fraction: the larger of 5 bpm and 5 % of the measured rate; a beat more or less in 10 s is 6 bpm.
        rr_ms, rr_fraction: the larger of 40 ms, a small square at 25 mm/s, and 5 % of the measured RR; of a pause too.
        p_ms, pr_ms, qrs_ms: 20, half a small square at 25 mm/s.
        qrs_wide_ms: 25, from 120 ms on: the end of a slurred QRS is the harder to see.
        qt_ms: 25; the end of T is the least certain mark.
        qtc_ms: 30; QT's 25 ms, scaled by 1 / sqrt(RR) (1.3 at 100 bpm), with half the relative error of the rate.
        axis_deg: 20, around the circle; limb leads are placed no better. p_axis_deg, t_axis_deg: 30, of small waves.
        st_mv: 0.05, half a small square at 10 mm/mV, or st_fraction.
        p_mv: 0.05.
        wave_mv, wave_fraction: the larger of 0.1 mV, a small square, and 15 % of the measured value (R, S, Q, T and QRS
            amplitudes).
        sum_mv, sum_fraction: of Sokolow-Lyon and Cornell, which add two amplitudes.
        near_st_mv: 0.03, around the thresholds of "ST elevation" and "depression".
        near_rate_bpm: 1, around those of brady- and tachycardia: a rate is measured to a few tenths.
    """

    rate_bpm: float = 5.0
    rate_fraction: float = 0.05
    rr_ms: float = 40.0
    rr_fraction: float = 0.05
    p_ms: float = 20.0
    pr_ms: float = 20.0
    qrs_ms: float = 20.0
    qrs_wide_ms: float = 25.0
    qt_ms: float = 25.0
    qtc_ms: float = 30.0
    axis_deg: float = 20.0
    p_axis_deg: float = 30.0
    t_axis_deg: float = 30.0
    st_mv: float = 0.05
    st_fraction: float = 0.2
    p_mv: float = 0.05
    wave_mv: float = 0.1
    wave_fraction: float = 0.15
    sum_mv: float = 0.2
    sum_fraction: float = 0.1
    near_st_mv: float = 0.03
    near_rate_bpm: float = 1.0

    def of(self, name: str, measured: float, measurements: Measurements | None = None) -> float:
        """The tolerance of the measurement `name` at a measured value; wider where its beats disagree."""
        base = self._base(name, abs(measured))
        if measurements is None or name not in measurements.spread:
            return base
        beats = sum(beat.kind in ("dominant", "paced") for beat in measurements.beats)
        error = 2 * measurements.spread[name] / math.sqrt(beats) if beats > 1 else 0.0
        return min(max(base, error), 2 * base)

    def near(self, name: str, measured: float, measurements: Measurements | None = None) -> float:
        """How near to a threshold the measurement's own uncertainty decides: half the tolerance, of the rate
        `near_rate_bpm`."""
        return self.near_rate_bpm if name == "heart_rate_bpm" else self.of(name, measured, measurements) / 2

    def _base(self, name: str, size: float) -> float:
        if name == "heart_rate_bpm":
            return max(self.rate_bpm, self.rate_fraction * size)
        if name in ("rr_ms", "rr_max_ms"):
            return max(self.rr_ms, self.rr_fraction * size)
        if name == "qrs_ms":
            return self.qrs_wide_ms if size >= 120 else self.qrs_ms
        if name.startswith("qtc_"):
            return self.qtc_ms
        if name == "st_mv":
            return max(self.st_mv, self.st_fraction * size)
        if name in ("sokolow_lyon_mv", "cornell_mv"):
            return max(self.sum_mv, self.sum_fraction * size)
        if name in ("r_mv", "s_mv", "q_mv", "t_mv", "qrs_mv"):
            return max(self.wave_mv, self.wave_fraction * size)
        fixed = {
            "p_ms": self.p_ms, "pr_ms": self.pr_ms, "qt_ms": self.qt_ms, "p_mv": self.p_mv,
            "axis_deg": self.axis_deg, "p_axis_deg": self.p_axis_deg, "t_axis_deg": self.t_axis_deg,
        }  # fmt: skip
        return fixed[name]


DEFAULT = Tolerances()


class Bounds(NamedTuple):
    """A category as an interval of its measured quantity; for the axis an arc from low up to high."""

    low: float
    high: float


NO_LIMIT = math.inf
CATEGORIES: dict[tuple[str, str], Bounds] = {
    ("rate_category", "bradycardia"): Bounds(-NO_LIMIT, 60),
    ("rate_category", "normal"): Bounds(60, 100),
    ("rate_category", "tachycardia"): Bounds(100, NO_LIMIT),
    ("pr_category", "short"): Bounds(-NO_LIMIT, 120),
    ("pr_category", "normal"): Bounds(120, 200),
    ("pr_category", "prolonged"): Bounds(200, NO_LIMIT),
    ("qrs_category", "narrow"): Bounds(-NO_LIMIT, 120),
    ("qrs_category", "wide"): Bounds(120, NO_LIMIT),
    ("axis_category", "normal"): Bounds(-30, 90),
    ("axis_category", "left"): Bounds(-90, -30),
    ("axis_category", "right"): Bounds(90, 180),
    ("axis_category", "extreme"): Bounds(-180, -90),
    ("axis_type", "ueberdrehter linkstyp"): Bounds(-120, -30),
    ("axis_type", "linkstyp"): Bounds(-30, 30),
    ("axis_type", "normaltyp"): Bounds(30, 60),
    ("axis_type", "steiltyp"): Bounds(60, 90),
    ("axis_type", "rechtstyp"): Bounds(90, 120),
    ("axis_type", "ueberdrehter rechtstyp"): Bounds(120, -150),
}
QTC_SHORT = 360.0

MEASURED_AS = {
    "qtc_ms": "qtc_bazett_ms",
    "pause_ms": "rr_max_ms",
    "rate_category": "heart_rate_bpm",
    "pr_category": "pr_ms",
    "qrs_category": "qrs_ms",
    "qtc_category": "qtc_bazett_ms",
    "axis_category": "axis_deg",
    "axis_type": "axis_deg",
}  # quantity of a claim -> the measurement that it is held against, where the names differ
GLOBAL = (
    "heart_rate_bpm", "rr_ms", "rr_max_ms", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms",
    "qtc_framingham_ms", "qtc_hodges_ms", "axis_deg", "p_axis_deg", "t_axis_deg", "sokolow_lyon_mv", "cornell_mv",
)  # fmt: skip
PER_LEAD = ("p_ms", "pr_ms", "qrs_ms", "qt_ms", "st_mv", "p_mv", "q_mv", "r_mv", "s_mv", "t_mv", "qrs_mv")


def circular(a: float, b: float) -> float:
    """The angle between two directions, degrees."""
    return abs((a - b + 180) % 360 - 180)


def outside(name: str, measured: float, bounds: Bounds) -> float:
    """How far a value lies outside an interval; around the circle for the axes."""
    if not name.endswith("axis_deg"):
        return max(bounds.low - measured, measured - bounds.high, 0.0)
    if (measured - bounds.low) % 360 <= (bounds.high - bounds.low) % 360 or bounds.high - bounds.low >= 360:
        return 0.0
    return min(circular(measured, bounds.low), circular(measured, bounds.high))
