"""Rate and rhythm from the beats' times and kinds.

Axes: N beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# of RR without the intervals around premature beats: sinus rhythm lies below 0.05, atrial fibrillation above 0.1
REGULAR_CV = 0.08
PAUSE_MS = 2000.0
_PREMATURE = ("ventricular", "supraventricular")


def rhythm(
    r_s: np.ndarray, kinds: Sequence[str], p_present: bool | None, broken: np.ndarray | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The rate and rhythm fields of `llava_ecg.ecg.measurements.Measurements`, and the reasons of those that are None.

    Args:
        r_s: [N] seconds.
        kinds: of `llava_ecg.ecg.waves.delineation.KINDS`.
        p_present: of the whole rhythm.
        broken: bool [N - 1], intervals across a stretch that was not recorded, which are no RR intervals.
    """
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    if len(r_s):
        values["ventricular_premature"] = sum(kind == "ventricular" for kind in kinds)
        values["supraventricular_premature"] = sum(kind == "supraventricular" for kind in kinds)
        values["paced_beats"] = sum(kind == "paced" for kind in kinds)
    else:
        counts = ("ventricular_premature", "supraventricular_premature", "paced_beats")
        reasons.update(dict.fromkeys(counts, "no QRS complexes were found"))
    rr = np.diff(r_s) * 1000
    apart = np.array([kinds[at] in _PREMATURE or kinds[at + 1] in _PREMATURE for at in range(len(rr))], dtype=bool)
    if broken is not None:
        rr, apart = rr[~broken], apart[~broken]
    if len(rr) < 1:
        why = "only one QRS complex was found" if len(r_s) else "no QRS complexes were found"
        why = "no two beats follow each other without a gap in the recording" if len(r_s) > 1 else why
        names = (
            "heart_rate_bpm",
            "heart_rate_min_bpm",
            "heart_rate_max_bpm",
            "rr_ms",
            "rr_max_ms",
            "rr_cv",
            "rhythm_regular",
            "af_evidence",
        )
        reasons.update(dict.fromkeys((*names, "pauses"), why))
        return values, reasons
    mean = float(rr.mean())
    values |= {
        "heart_rate_bpm": round(60000 / mean, 1),
        "heart_rate_min_bpm": round(60000 / float(rr.max()), 1),
        "heart_rate_max_bpm": round(60000 / float(rr.min()), 1),
        "rr_ms": round(mean, 1),
        "rr_max_ms": round(float(rr.max()), 1),
        "rr_cv": round(float(rr.std() / mean), 4),
        "pauses": int((rr > PAUSE_MS).sum()),
    }
    if len(rr) < 3:
        reasons["rhythm_regular"] = reasons["af_evidence"] = "fewer than four beats"
        return values, reasons
    values["rhythm_regular"] = _steady(rr, np.zeros(len(rr), dtype=bool))
    if p_present is None:
        reasons["af_evidence"] = "whether there are P waves can't be told"
    else:
        values["af_evidence"] = not p_present and not _steady(rr, apart)
    return values, reasons


def _steady(rr: np.ndarray, apart: np.ndarray) -> bool:
    """Whether RR intervals vary little: each is compared with the running median of five, so that a slow drift is no
    irregularity.

    Args:
        rr: ms.
        apart: bool, intervals that are left out.
    """
    middle = np.array([np.median(rr[max(0, at - 2) : at + 3]) for at in range(len(rr))])
    off, rest = ((rr - middle) / middle)[~apart], rr[~apart]
    if len(rest) < 3:
        return True
    return bool(np.sqrt(np.mean(off**2)) < REGULAR_CV and rest.std() / rest.mean() < 2 * REGULAR_CV)
