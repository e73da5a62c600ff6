"""`Heart`, what a simulated heart does, and `Truth`, what is known of its recording; see `llava_ecg.ecg.simulate`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Rhythm = Literal["sinus", "atrial fibrillation", "premature ventricular beats", "sinus arrhythmia"]
Conduction = Literal["normal", "right bundle branch block", "left bundle branch block"]

RECORDED = (
    "I",
    "II",
    "V1",
    "V2",
    "V3",
    "V4",
    "V5",
    "V6",
)  # the eight independent leads; the other four follow from I and II

LEAD_VECTORS = np.array(  # x, y, z of each; Dower's z points to the back, ours to the front
    [
        (1.0, 0.5, -0.515, 0.044, 0.882, 1.213, 1.125, 0.831),
        (0.0, math.sqrt(3) / 2, 0.157, 0.164, 0.098, 0.127, 0.127, 0.076),
        (0.0, 0.0, 0.917, 1.387, 1.277, 0.601, 0.086, -0.230),
    ]
).T

# In LUDB a lead reaches 7 % of its QRS peak 18 ms (median) after the onset that hands marked, and is below it 12 ms
# before the end: QRS begins and ends slowly. Lobes that fill all of QRS do so after 6 ms.
SLOW_START_MS, SLOW_END_MS = 12.0, 6.0

TERRITORIES = {"inferior": (0.15, 1.0, -0.1), "anterior": (0.25, 0.0, 0.75), "lateral": (0.9, -0.35, -0.1)}


@dataclass(frozen=True)
class Heart:
    """What a simulated heart does, and what disturbs the recording.

    Attributes:
        rate_bpm: the rate that RR intervals are drawn around.
        rhythm: see `Rhythm`; atrial fibrillation has no P waves, f-waves instead, and irregular RR.
        rr_cv: coefficient of variation of the RR intervals (of the sinus beats, where there are premature ones).
        p_ms, pr_ms, qrs_ms, qt_ms: P duration and the intervals PR, QRS and QT.
        axis_deg: frontal axis of the net QRS area, -180 to 180; the T axis lies `t_turn_deg` clockwise of it.
        conduction: see `Conduction`: gives the terminal vector of a wide QRS its direction.
        qrs_mv, p_mv, t_mv: length of the main vector of each wave.
        posterior: how far the main QRS vector points to the back, as a fraction of its frontal part (moves the R/S
            transition).
        voltage: a factor on the QRS; above 1.5 it is ventricular hypertrophy by voltage.
        t_inverted: the T vector is turned round.
        st_territory, st_mv: where ST is shifted and how far (negative is depression); no shift where the territory is
            None.
        f_wave_mv: amplitude of the f-waves of atrial fibrillation.
        muscle_mv: SD of the muscle noise; wander_mv: amplitude of the baseline wander; mains_mv, mains_hz: the hum.
    """

    rate_bpm: float = 70.0
    rhythm: Rhythm = "sinus"
    rr_cv: float = 0.02
    p_ms: float = 100.0
    pr_ms: float = 160.0
    qrs_ms: float = 90.0
    qt_ms: float = 390.0
    axis_deg: float = 45.0
    t_turn_deg: float = 0.0
    conduction: Conduction = "normal"
    qrs_mv: float = 1.2
    p_mv: float = 0.15
    t_mv: float = 0.35
    posterior: float = 0.45
    voltage: float = 1.0
    t_inverted: bool = False
    st_territory: str | None = None
    st_mv: float = 0.0
    f_wave_mv: float = 0.08
    muscle_mv: float = 0.0
    wander_mv: float = 0.0
    mains_mv: float = 0.0
    mains_hz: float = 50.0


@dataclass(frozen=True)
class Truth:
    """What is known of a simulated recording; names and units as in `llava_ecg.ecg.measurements.Measurements`.

    Attributes:
        heart_rate_bpm, rr_ms, rr_cv: from the beats that lie in the recording; None with fewer than two (three for
            `rr_cv`).
        rhythm, conduction: as in `Heart`.
        rhythm_regular: whether the rhythm is one of steady RR intervals.
        p_present: whether every (sinus) beat has a P wave before it; `p_ms` and `pr_ms` are None without.
        qrs_ms, qt_ms: of the beats that are not premature.
        axis_deg: direction of the net QRS area in Einthoven's triangle: I = cos, aVF = sqrt(3)/2 sin.
        st_territory, st_mv, t_inverted: as in `Heart`.
        high_voltage, premature_beats: whether QRS is as tall as in ventricular hypertrophy; how many beats are
            premature.
        beats_s: times of the peak of the main QRS vector, seconds from the start.
    """

    heart_rate_bpm: float | None
    rr_ms: float | None
    rr_cv: float | None
    rhythm: Rhythm
    rhythm_regular: bool
    p_present: bool
    p_ms: float | None
    pr_ms: float | None
    qrs_ms: float
    qt_ms: float
    qtc_bazett_ms: float | None
    qtc_fridericia_ms: float | None
    axis_deg: float
    conduction: Conduction
    st_territory: str | None
    st_mv: float
    t_inverted: bool
    high_voltage: bool
    premature_beats: int
    beats_s: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return {**asdict(self), "beats_s": list(self.beats_s)}
