"""`Delineation`: where the waves of a recording are, beat by beat and lead by lead.

Axes: N beats, L leads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

KINDS = ("dominant", "ventricular", "supraventricular", "paced", "partial")


@dataclass(frozen=True, eq=False)
class Delineation:
    """Where the waves are. Times are float64 seconds from the start of the recording, NaN where there is no such wave.

    Attributes:
        leads: the names of the L leads.
        r_s: [N] the main deflection of each QRS, all leads together, in order of time.
        kinds: N of `KINDS`: of the commonest shape; premature and of another shape; premature, but shaped like the
            others or narrow; with a pacing spike; not whole in the recording.
        p, qrs, t: [N, L, 3] onset, peak and end in each lead. The peak is the sample farthest from the level before
            QRS.
        p_all, qrs_all, t_all: [N, 2] onset and end over all leads: the second-earliest onset and the second-latest end.
        live: bool [L] leads with a signal.
        p_present: whether the rhythm has P waves: True, False, or None where that can't be judged. Single beats without
            one have NaN in `p`.
        reasons: ``"beats"``, ``"p"``, ``"t"`` -> why nothing was found.
        method: ``"net"`` or ``"rules"``, and its version.
        broken: bool [N - 1] the intervals between beats that lead across a stretch in which nothing was recorded.
        notes: sentences that a user should see before trusting the waves.
        p_unsure: bool [N] the beats that may have a P wave though none is given: it is not whole in the recording, or
            what was found is none; empty stands for no such beat.
    """

    leads: tuple[str, ...]
    r_s: np.ndarray
    kinds: tuple[str, ...]
    p: np.ndarray
    qrs: np.ndarray
    t: np.ndarray
    p_all: np.ndarray
    qrs_all: np.ndarray
    t_all: np.ndarray
    live: np.ndarray
    p_present: bool | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    broken: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    notes: tuple[str, ...] = ()
    p_unsure: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        if len(self.p_unsure) != len(self.r_s):
            object.__setattr__(self, "p_unsure", np.zeros(len(self.r_s), dtype=bool))

    @property
    def dominant(self) -> np.ndarray:
        """bool [N]: the beats of the commonest shape, paced ones where pacing is the rule."""
        kinds = np.array(self.kinds, dtype=object)
        usual = "paced" if (kinds == "paced").sum() > (kinds == "dominant").sum() else "dominant"
        return np.asarray(kinds == usual, dtype=bool)


def across(times: np.ndarray, live: np.ndarray) -> np.ndarray:
    """[N, 2]: the second-earliest onset and the second-latest end over the leads of [N, L, 3]; of one or two leads the
    outermost.

    The outermost mark of twelve is an outlier more often than not (the definition of a global interval in the
    benchmarks of ../shared/reference/measurement.md).
    """
    out = np.full((len(times), 2), np.nan)
    for beat, row in enumerate(times[:, live]):
        there = row[np.isfinite(row[:, 0]) & np.isfinite(row[:, 2])]
        if len(there):
            second = min(1, len(there) - 1) if len(there) > 2 else 0
            out[beat] = np.sort(there[:, 0])[second], np.sort(there[:, 2])[-1 - second]
    return out


def empty(leads: tuple[str, ...], live: np.ndarray, why: str, method: str) -> Delineation:
    """A delineation without a beat, and why there is none."""
    three, two = np.zeros((0, len(leads), 3)), np.zeros((0, 2))
    reasons = {"beats": why, "p": why, "t": why}
    return Delineation(leads, np.zeros(0), (), three, three, three, two, two, two, live, None, reasons, method)
