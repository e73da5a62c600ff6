"""Scores of wave marks against marks by hand: the metrics of ``scripts/bench/measure.py`` and of
tests/ecg/test_accuracy.py.

Everything is scored between a lead's first and last mark by hand, because the first and last beats of LUDB carry none.
A wave found and a wave marked are the same if their middles lie within 150 ms, one to one.

Axes: N waves, L leads.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llava_ecg.ecg.waves.marks import NAMES, Marked, Waves

MATCH_S = 0.150
TOLERANCE_MS = {"pr_ms": 20.0, "qrs_ms": 20.0, "qt_ms": 25.0}
IEC_MS = {
    "p_ms": (10, 15),
    "pr_ms": (10, 10),
    "qrs_ms": (10, 10),
    "qt_ms": (25, 30),
}  # mean, SD; IEC 60601-2-25, restated from memory


@dataclass
class Tally:
    """What is counted of one record.

    Attributes:
        counts: wave -> [hits, missed, extra]; `errors`: wave -> (onset error, end error) in ms of each hit.
        claims: ``pr_ms``, ``qrs_ms``, ``qt_ms``, ``no P`` -> [right, all], a lead each.
        record: value -> found minus by hand, medians over leads, ms; `overall`: the same over all leads
            (second-earliest, second-latest).
        has_p: by hand, found; `p_unmarked`: no P was marked in a sinus rhythm, so that the hand does not say whether
            there are any.
    """

    counts: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0, 0] for name in NAMES.values()})
    errors: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in NAMES.values()})
    claims: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in (*TOLERANCE_MS, "no P")})
    record: dict[str, float] = field(default_factory=dict)
    overall: dict[str, float] = field(default_factory=dict)
    has_p: tuple[bool, bool] = (False, False)
    p_unmarked: bool = False


def inside(waves: Waves, span: tuple[float, float]) -> Waves:
    """The waves whose middle lies within the span."""
    return {name: rows[(_middle(rows) >= span[0]) & (_middle(rows) <= span[1])] for name, rows in waves.items()}


def _middle(rows: np.ndarray) -> np.ndarray:
    return np.asarray((rows[:, 0] + rows[:, 2]) / 2)


def matched(found: np.ndarray, hand: np.ndarray, span: tuple[float, float]) -> tuple[list[tuple[int, int]], int, int]:
    """(pairs of numbers, missed, extra) of one wave in one lead."""
    pairs, extra = [], 0
    free = np.ones(len(hand), dtype=bool)
    centres = _middle(hand)
    for number, centre in enumerate(_middle(found)):
        away = np.where(free, np.abs(centres - centre), np.inf)
        if len(away) and away.min() <= MATCH_S:
            at = int(away.argmin())
            free[at] = False
            pairs.append((number, at))
        else:
            extra += bool(span[0] <= centre <= span[1])
    return pairs, int(free.sum()), extra


def intervals(waves: Waves) -> dict[str, list[float]]:
    """Each beat's PR, QRS, QT and P duration in ms of one lead, and under ``p`` whether it has a P (the first beat is
    not asked)."""
    out: dict[str, list[float]] = {"p_ms": [], "pr_ms": [], "qrs_ms": [], "qt_ms": [], "p": []}
    qrs = waves["qrs"]
    for beat, (onset, _, end) in enumerate(qrs):
        before = qrs[beat - 1, 2] if beat else -np.inf
        after = qrs[beat + 1, 0] if beat + 1 < len(qrs) else np.inf
        p = waves["p"][(_middle(waves["p"]) > before) & (_middle(waves["p"]) < onset + 0.02)]
        t = waves["t"][(_middle(waves["t"]) > end - 0.02) & (_middle(waves["t"]) < after)]
        out["qrs_ms"].append((end - onset) * 1000)
        if len(p):
            out["pr_ms"].append((onset - p[-1, 0]) * 1000)
            out["p_ms"].append((p[-1, 2] - p[-1, 0]) * 1000)
        if beat:
            out["p"].append(float(len(p) > 0))
        if len(t):
            out["qt_ms"].append((t[-1, 2] - onset) * 1000)
    return out


def overall(leads: Sequence[Waves], beats: np.ndarray) -> dict[str, float]:
    """P, PR, QRS and QT over all leads in ms: per beat second-earliest onset to second-latest end, then the median over
    beats."""
    bounds: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES.values()}
    for number, beat in enumerate(beats):
        before = beats[number - 1] if number else -np.inf
        after = beats[number + 1] if number + 1 < len(beats) else np.inf
        reach = {
            "p": (max(beat - 0.45, before), beat),
            "qrs": (beat - MATCH_S, beat + MATCH_S),
            "t": (beat, min(beat + 0.75, after)),
        }
        for name, (low, high) in reach.items():
            near = [rows[(_middle(rows) > low) & (_middle(rows) < high)] for rows in (lead[name] for lead in leads)]
            there = np.array([rows[-1] for rows in near if len(rows)]).reshape(-1, 3)
            if len(there) > 2:
                bounds[name].append((float(np.sort(there[:, 0])[1]), float(np.sort(there[:, 2])[-2])))
            else:
                bounds[name].append((np.nan, np.nan))
    p, qrs, t = (np.array(bounds[name]).reshape(-1, 2) for name in ("p", "qrs", "t"))
    columns = {
        "p_ms": p[:, 1] - p[:, 0],
        "pr_ms": qrs[:, 0] - p[:, 0],
        "qrs_ms": qrs[:, 1] - qrs[:, 0],
        "qt_ms": t[:, 1] - qrs[:, 0],
    }
    return {name: float(np.nanmedian(column)) * 1000 for name, column in columns.items() if np.isfinite(column).any()}


def tally(record: Marked, found: Sequence[Waves], has_p: bool) -> Tally:
    """One record's score.

    Args:
        found: a `Waves` a lead, in standard order.
        has_p: whether the rhythm is said to have P waves.
    """
    out = Tally(p_unmarked=record.p_unmarked)
    own, hand = [], []
    for waves, marks, span in zip(found, record.leads, record.spans, strict=True):
        for name in NAMES.values():
            pairs, missed, extra = matched(waves[name], marks[name], span)
            for at, value in enumerate((len(pairs), missed, extra)):
                out.counts[name][at] += value
            errors = ((waves[name][a] - marks[name][b]) * 1000 for a, b in pairs)
            out.errors[name] += [(float(error[0]), float(error[2])) for error in errors]
        ours, theirs = intervals(inside(waves, span)), intervals(marks)
        own.append(ours)
        hand.append(theirs)
        for name, allowed in TOLERANCE_MS.items():
            if theirs[name] and len(marks["qrs"]):
                right = (
                    bool(ours[name]) and abs(statistics.median(ours[name]) - statistics.median(theirs[name])) <= allowed
                )
                out.claims[name][0] += right
                out.claims[name][1] += 1
        if not theirs["pr_ms"] and len(marks["qrs"]):
            out.claims["no P"][0] += not ours["pr_ms"]
            out.claims["no P"][1] += 1
    out.has_p = (statistics.mean([statistics.mean(lead["p"]) for lead in hand if lead["p"]] or [0.0]) >= 0.5, has_p)
    for name in IEC_MS:
        values = [[statistics.median(lead[name]) for lead in side if lead[name]] for side in (own, hand)]
        if all(values) and (name not in ("pr_ms", "p_ms") or out.has_p[0]):
            out.record[name] = statistics.median(values[0]) - statistics.median(values[1])
    peaks = sorted(float(peak) for lead in record.leads for peak in lead["qrs"][:, 1])
    beats = np.array([statistics.median(group) for group in _groups(peaks)])
    ours_all, theirs_all = (
        overall([inside(w, s) for w, s in zip(found, record.spans, strict=True)], beats),
        overall(record.leads, beats),
    )
    for name in IEC_MS:
        if name in ours_all and name in theirs_all and (name not in ("pr_ms", "p_ms") or out.has_p[0]):
            out.overall[name] = ours_all[name] - theirs_all[name]
    return out


def _groups(times: Sequence[float]) -> list[list[float]]:
    groups: list[list[float]] = []
    for t in times:
        if groups and t - groups[-1][0] < MATCH_S:
            groups[-1].append(t)
        else:
            groups.append([t])
    return groups


def summary(tallies: Sequence[Tally]) -> dict[str, Any]:
    """The figures over many records: flat, name -> number."""
    out: dict[str, Any] = {"records": len(tallies)}
    for name in NAMES.values():
        hits, missed, extra = (sum(each.counts[name][at] for each in tallies) for at in range(3))
        errors = np.array([error for each in tallies for error in each.errors[name]]).reshape(-1, 2)
        out[f"{name} Se %"] = 100 * hits / max(1, hits + missed)
        out[f"{name} PPV %"] = 100 * hits / max(1, hits + extra)
        for at, edge in enumerate(("onset", "end")):
            out[f"{name} {edge} bias"] = float(errors[:, at].mean()) if len(errors) else float("nan")
            out[f"{name} {edge} SD"] = float(errors[:, at].std()) if len(errors) else float("nan")
    right, every = (sum(each.claims[name][at] for each in tallies for name in each.claims) for at in range(2))
    out["claims"], out["claims right %"] = every, 100 * right / max(1, every)
    for name in (*TOLERANCE_MS, "no P"):
        right, every = (sum(each.claims[name][at] for each in tallies) for at in range(2))
        out[f"{name} right %"] = 100 * right / max(1, every)
    for kind in ("record", "overall"):
        for name in IEC_MS:
            values = np.array([getattr(each, kind)[name] for each in tallies if name in getattr(each, kind)])
            if len(values):
                out[f"{kind} {name} MAE"] = float(np.abs(values).mean())
                out[f"{kind} {name} mean"], out[f"{kind} {name} SD"] = float(values.mean()), float(values.std())
    without = [each.has_p[1] for each in tallies if not each.has_p[0] and not each.p_unmarked]
    with_p = [each.has_p[1] for each in tallies if each.has_p[0]]
    out["records without P"], out["P reported there %"] = len(without), 100 * sum(without) / max(1, len(without))
    out["records with P"], out["P found there %"] = len(with_p), 100 * sum(with_p) / max(1, len(with_p))
    return out
