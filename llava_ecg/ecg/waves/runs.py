"""Runs: stretches of one lead in which the network finds one class most probable, and which of them belong to a beat.

Axes: T samples at `llava_ecg.ecg.waves.net.RATE`, N beats, classes none, P, QRS, T.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

P, QRS, T = 1, 2, 3
BRIDGE = {P: 5, QRS: 6, T: 12}  # a hole in a run that is not longer belongs to it
_LEAST = {P: 6, QRS: 7, T: 12}  # samples of a run: 24, 28 and 48 ms
_P_REACH, _T_REACH = 95, 170  # samples: a P starts at most 0.38 s before QRS, a T ends at most 0.68 s behind its start


class Runs(NamedTuple):
    """Runs of one class in one lead: onset and end in samples at 250 Hz (fractions), and the mean probability."""

    onset: np.ndarray
    end: np.ndarray
    mean: np.ndarray


def runs(probability: np.ndarray, winning: np.ndarray, kind: int) -> Runs:
    """The runs of a class in one lead.

    Args:
        probability: [T] of the class.
        winning: bool [T], where it is the most probable one.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], winning, [False]]).astype(np.int8)))
    first, last = edges[::2], edges[1::2] - 1
    if len(first) > 1:
        apart = first[1:] - last[:-1] - 1 > BRIDGE[kind]
        first, last = first[np.concatenate([[True], apart])], last[np.concatenate([apart, [True]])]
    keep = last - first + 1 >= _LEAST[kind]
    first, last = first[keep], last[keep]
    total = np.concatenate([[0.0], np.cumsum(probability)])
    mean = (total[last + 1] - total[first]) / np.maximum(1, last - first + 1)
    return Runs(_crossing(probability, first, -1), _crossing(probability, last, 1), mean)


def runs_of_lead(probability: np.ndarray, recorded: np.ndarray) -> dict[int, Runs]:
    """The runs of P, QRS and T in one lead's [classes, T], but for those that a gap cuts off."""
    winner = probability.argmax(axis=0)
    found = {kind: runs(probability[kind], winner == kind, kind) for kind in _LEAST}
    if recorded.all():
        return found
    gone = np.concatenate([[0], np.cumsum(~recorded)])
    for kind, each in found.items():
        first, last = np.maximum(0, each.onset.astype(int) - 2), np.minimum(len(recorded), each.end.astype(int) + 4)
        whole = gone[last] == gone[first]
        found[kind] = Runs(each.onset[whole], each.end[whole], each.mean[whole])
    return found


def _crossing(probability: np.ndarray, at: np.ndarray, step: int) -> np.ndarray:
    """Where the probability crosses a half next to the samples `at`, going by `step`; half a sample beyond at most."""
    beyond = np.clip(at + step, 0, len(probability) - 1)
    inside, outside = probability[at], probability[beyond]
    gap = inside - outside
    share = np.where(gap > 1e-6, (inside - 0.5) / np.where(gap > 1e-6, gap, 1.0), 0.0)
    return at + step * np.clip(share, 0.0, 1.0)


def overlapping(found: Runs, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[N, 2] onset and end of the runs that overlap each of the spans; NaN where none does."""
    out = np.full((len(starts), 2), np.nan)
    first = np.searchsorted(found.end, starts)
    last = np.searchsorted(found.onset, ends, side="right") - 1
    there = first <= last
    out[there] = np.stack([found.onset[first[there]], found.end[last[there]]], axis=1)
    return out


def behind(found: Runs, ends: np.ndarray, following: np.ndarray) -> np.ndarray:
    """[N, 2] the T wave of each beat: the weightiest run between QRS and the next QRS."""
    out = np.full((len(ends), 2), np.nan)
    mass = found.mean * (found.end - found.onset)
    middle = (found.onset + found.end) / 2
    for beat, (end, until) in enumerate(zip(ends, following, strict=True)):
        near = np.flatnonzero((middle > end) & (middle < min(until, end + _T_REACH)))
        if len(near):
            best = near[np.argmax(mass[near])]
            out[beat] = found.onset[best], found.end[best]
    return out


def before(found: Runs, starts: np.ndarray, preceding: np.ndarray) -> np.ndarray:
    """[N, 2] the P wave of each beat: the last run between the QRS before and this one."""
    out = np.full((len(starts), 2), np.nan)
    middle = (found.onset + found.end) / 2
    at = np.searchsorted(middle, starts) - 1
    there = at >= 0
    there[there] &= (middle[at[there]] > preceding[there]) & (found.onset[at[there]] > starts[there] - _P_REACH)
    out[there] = np.stack([found.onset[at[there]], found.end[at[there]]], axis=1)
    return out
