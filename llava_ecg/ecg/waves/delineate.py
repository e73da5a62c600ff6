"""`delineate`: a signal -> `Delineation`, by the network of `llava_ecg.ecg.waves.net` and rules across leads on top of
it.

The network says of each sample of each lead how probable P, QRS and T are. A beat is a QRS that the leads see together;
each lead's waves are its runs of one class around a beat, with edges where the probability crosses a half. A P wave
counts if enough leads show it, and the rhythm has P waves only if enough beats do. Where the weights can't be read,
`llava_ecg.ecg.waves.rules` finds the waves.

Axes: L leads, T samples, N beats, classes none, P, QRS, T.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava_ecg.ecg.waves import net
from llava_ecg.ecg.waves.beat_kinds import beat_kinds, pacing_spikes
from llava_ecg.ecg.waves.delineation import Delineation, across, empty
from llava_ecg.ecg.waves.gate import are_beats
from llava_ecg.ecg.waves.recorded import broken_intervals
from llava_ecg.ecg.waves.rules import RATE, by_rules, repeats, second_opinion
from llava_ecg.ecg.waves.runs import BRIDGE, QRS, P, T, before, behind, overlapping, runs_of_lead

_TWICE = RATE / net.RATE
_CHUNK_S, _MARGIN_S = 30.0, 3.0  # the network sees a long recording in parts, with so much on either side
LIVE_MV = 0.02  # a lead that moves less shows no waves
# of the usual size, and of the usual steepness: what is smaller than both is a P wave or a ripple, no QRS complex
_NO_BEAT = 0.3
_BEAT = 0.4  # mean probability of QRS over the leads that makes a beat
_REFRACTORY = 50  # samples between two beats: 0.2 s
_P_LEADS = 1 / 3  # share of the live leads that must show a P
_P_BEATS = 0.5  # share of the beats
# coefficient of variation of RR from which P waves need more; these limits are of LUDB out of fold and PTB-XL 1 to 8
_IRREGULAR = 0.12
_P_BEATS_IRREGULAR, _P_SURE, _PR_SPREAD_MS = 0.6, 0.6, 5.8  # share of beats, mean probability, median deviation of PR
_P_BEATS_ALL = 0.9  # share of beats from which PR may vary; no fibrillation showed more than 0.71
_MOSTLY_STEADY = 0.05  # median change of RR, of RR, below which only a few beats are early; no fibrillation below 0.1
_FEW, _FEW_IN_S = 4, 6.0  # fewer beats in a longer recording have to look like each other
_NO_BEATS = "no QRS complexes were found that repeat"
_OPINION_S = 60.0  # a longer recording is not counted again
# the mean probability of QRS, where there is some, below which it is; that for irregular beats, and from which
# coefficient of variation of RR on they are; rates
_SURE, _SURE_UNSTEADY, _UNSTEADY, _OPINION_BPM = 0.87, 0.9, 0.15, (45.0, 150.0)
_SHIFT_S = {
    "p": (0.002, 0.002),
    "qrs": (0.002, 0.0),
    "t": (0.0, -0.002),
}  # onset, end: how far hands put them from ours (LUDB, folds 0, 1)
_AFTER_SPIKE = 1.5  # samples: 6 ms


def probabilities(signal: np.ndarray, live: np.ndarray, network: net.Network) -> np.ndarray:
    """float32 [L, classes, T] from the signal [L, T] at `net.RATE`; of a long one in parts."""
    chunk, margin = round(_CHUNK_S * net.RATE), round(_MARGIN_S * net.RATE)
    if signal.shape[1] <= chunk + 2 * margin:
        return network.probabilities(net.normalise(signal), live)
    parts = []
    for start in range(0, signal.shape[1], chunk):
        first = max(0, start - margin)
        part = signal[:, first : start + chunk + margin]
        found = network.probabilities(net.normalise(part), live & (np.ptp(part, axis=1) > LIVE_MV))
        parts.append(found[:, :, start - first : start - first + chunk])
    return np.concatenate(parts, axis=2)


def delineate(
    signal: np.ndarray,
    leads: tuple[str, ...],
    *,
    recorded: np.ndarray | None = None,
    network: net.Network | None = None,
) -> Delineation:
    """The waves of a recording.

    Args:
        signal: float [L, T] in mV at `RATE`, high-passed at 0.5 Hz, without NaN (see `llava_ecg.ecg.filters`); any
            length.
        leads: their names.
        recorded: bool [L, T], False where the signal was bridged; None where all of it was recorded.
        network: in place of the package's own, for tests and benchmarks.
    """
    from llava_ecg.ecg.filters import resample

    live = np.ptp(signal, axis=1) > LIVE_MV if signal.size else np.zeros(len(signal), dtype=bool)
    if network is None:
        try:
            network = net.load()
        except (OSError, ValueError) as error:
            why = (
                f"the delineator's weights could not be read ({error}); waves are found by rules, which are less "
                "accurate"
            )
            found = by_rules(signal, leads)
            bounds = found.qrs_all[np.isfinite(found.qrs_all).all(axis=1)] * RATE
            if len(bounds) and not are_beats(signal[live], bounds[:, 0], bounds[:, 1]):
                found = empty(leads, live, _NO_BEATS, found.method)
            broken = np.zeros(max(0, len(found.r_s) - 1), dtype=bool)
            return replace(
                found, notes=(why,), broken=broken if recorded is None else broken_intervals(found.r_s, recorded, RATE)
            )
    method = f"net {network.digest}"
    if not live.any():
        return empty(leads, live, "no lead holds a signal", method)
    slow = resample(signal, RATE, net.RATE)
    probability = probabilities(slow, live, network)
    return from_probabilities(probability, signal, leads, live, method, recorded)


def from_probabilities(
    probability: np.ndarray,
    signal: np.ndarray,
    leads: tuple[str, ...],
    live: np.ndarray,
    method: str,
    recorded: np.ndarray | None = None,
) -> Delineation:
    """The waves from the network's answer [L, classes, T] at `net.RATE`; the signal [L, 2 T] at `RATE` gives the
    peaks."""
    there = np.ones((len(leads), probability.shape[2]), dtype=bool)
    if recorded is not None and not recorded.all():
        slow = recorded[:, ::2][:, : there.shape[1]]
        there[:, : slow.shape[1]] = slow
        probability = np.where(there[:, None], probability, np.array([1.0, 0, 0, 0], dtype=np.float32)[:, None])
    course = pooled(probability, live, QRS, there)
    starts, ends = _beats(course)
    starts, ends = _large_enough(signal[live], starts, ends)
    if len(starts) == 0:
        return empty(leads, live, "no QRS complexes were found", method)
    if not are_beats(signal[live], starts * _TWICE, ends * _TWICE):
        return empty(leads, live, _NO_BEATS, method)
    lead_runs = [
        runs_of_lead(part, row) if alive else None for part, row, alive in zip(probability, there, live, strict=True)
    ]
    length = probability.shape[2]
    qrs, p, t = (np.full((len(starts), len(leads), 2), np.nan) for _ in range(3))
    for row, lead in enumerate(lead_runs):
        if lead is not None:
            qrs[:, row] = overlapping(lead[QRS], starts, ends)
    qrs_all = across(_three(qrs), live)
    seen = np.isfinite(qrs_all[:, 0])
    starts, ends = np.where(seen, qrs_all[:, 0], starts), np.where(seen, qrs_all[:, 1], ends)
    spikes = pacing_spikes(signal[live], np.stack([starts, ends], axis=1) / net.RATE)
    qrs, starts = _behind_spikes(qrs, starts, spikes * net.RATE)
    for row, lead in enumerate(lead_runs):
        if lead is not None:
            t[:, row] = behind(lead[T], ends, np.append(starts[1:], length))
            p[:, row] = before(lead[P], starts, np.append(0, ends[:-1]))
    broken = broken_intervals(starts / net.RATE, there[live], net.RATE)
    shown = _agreeing(p, there[live][:, starts.clip(0, length - 1).astype(int)].sum(axis=0))
    p[~shown] = np.nan
    counted = np.maximum(1, there[live].sum(axis=0))
    p_present, why = _rhythm_has_p(across(_three(p), live), starts, probability[live, P].sum(axis=0) / counted, broken)
    if not p_present:
        p[:] = np.nan
    if len(starts) < _FEW and length > _FEW_IN_S * net.RATE and not _alike(signal[live], starts):
        return empty(leads, live, _NO_BEATS, method)
    times = {name: found / net.RATE + _SHIFT_S[name] for name, found in (("p", p), ("qrs", qrs), ("t", t))}
    level = _levels(signal, starts)
    waves = {name: _with_peaks(bounds, signal, level) for name, bounds in times.items()}
    bounds = {name: across(value, live) for name, value in waves.items()}
    bounds["qrs"] = np.stack([starts, ends], axis=1) / net.RATE + _SHIFT_S["qrs"]
    r = _r_times(signal, live, bounds["qrs"])
    kinds = beat_kinds(signal, live, r, bounds["qrs"], np.isfinite(bounds["p"][:, 0]), np.isfinite(spikes))
    reasons = {} if p_present else {"p": why}
    if not np.isfinite(bounds["t"]).any():
        reasons["t"] = "the end of the T wave could not be found"
    return Delineation(
        leads,
        r,
        kinds,
        waves["p"],
        waves["qrs"],
        waves["t"],
        bounds["p"],
        bounds["qrs"],
        bounds["t"],
        live,
        p_present,
        reasons,
        method,
        broken,
        tuple(_doubts(signal, probability, live & (there.mean(axis=1) > 0.9), r, course)),
    )


def _large_enough(signal: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The beats without those that are both small and slow beside the others: P waves of a heart block, ripples in a
    pause.

    Args:
        signal: [L, 2 T] of the live leads; `starts`, `ends`: [N] samples at `net.RATE`.
    """
    if len(starts) < 3:
        return starts, ends
    size, steep = np.zeros(len(starts)), np.zeros(len(starts))
    for beat, (first, last) in enumerate(zip(starts.astype(int) * 2, ends.astype(int) * 2 + 2, strict=True)):
        part = signal[:, max(0, first - 10) : last + 10]
        size[beat] = np.sqrt((np.ptp(part, axis=1) ** 2).mean())
        steep[beat] = np.sqrt((np.abs(part[:, 4:] - part[:, :-4]).max(axis=1) ** 2).mean())  # in 8 ms
    large = (size > _NO_BEAT * np.quantile(size, 0.8)) | (steep > _NO_BEAT * np.quantile(steep, 0.8))
    if large.mean() < 0.3:
        return starts, ends
    return starts[large], ends[large]


def _alike(signal: np.ndarray, starts: np.ndarray) -> bool:
    """Whether the few beats of a recording look like each other: a step or a knock on the electrode is no QRS
    complex."""
    at = np.rint((starts + 10) / net.RATE * RATE).astype(int)
    at = at[(at >= 45) & (at + 45 < signal.shape[1])]
    return len(at) > 1 and repeats(signal, at, at)


def _doubts(
    signal: np.ndarray, probability: np.ndarray, live: np.ndarray, r: np.ndarray, course: np.ndarray
) -> list[str]:
    """A note where sleepecg counts the QRS complexes of the surest lead differently.

    It is asked only where the network may be wrong: where it is not sure of its beats (surer, if they are irregular),
    or where their rate is what it is if each second one was missed or T waves were counted. On 2,000 recordings it
    disagreed 21 times; where the truth is known or RR is steady (10 of these), it was sleepecg that was wrong.

    Args:
        live: bool [L], the leads that it may be.
        r: [N] s.
        course: [T] the pooled probability of QRS.
    """
    if not live.any() or signal.shape[1] > _OPINION_S * RATE or not _may_be_wrong(r, course):
        return []
    row = int(np.flatnonzero(live)[np.argmax(np.quantile(probability[live, QRS], 0.97, axis=1))])
    other, count = len(second_opinion(signal[row])), len(r)
    if abs(other - count) <= max(2.0, 0.2 * count):
        return []
    return [f"two QRS detectors disagree: {count} beats by the network, {other} by sleepecg; check the rate"]


def _may_be_wrong(r: np.ndarray, course: np.ndarray) -> bool:
    there = course[course > 0.1]
    if len(r) < 3 or not len(there):
        return True
    rr, sure = np.diff(r), float((there**2).sum() / there.sum())
    least = _SURE_UNSTEADY if rr.std() > _UNSTEADY * rr.mean() else _SURE
    return sure < least or not _OPINION_BPM[0] < 60 / rr.mean() < _OPINION_BPM[1]


def pooled(probability: np.ndarray, live: np.ndarray, kind: int, recorded: np.ndarray | None = None) -> np.ndarray:
    """[T] the mean over the live leads of a class's probability, each lead weighted by how sure it is of its own
    complexes.

    A lead of noise, which shows none, does not vote the others down; nor does one where it was not recorded (bool [L,
    T]).
    """
    part = probability[live, kind]
    top = max(1, part.shape[1] // 100)
    weight = np.partition(part, -top, axis=1)[:, -top:].mean(axis=1) ** 2
    total = weight.sum() if recorded is None or recorded[live].all() else weight @ recorded[live]
    return np.asarray((weight[:, None] * part).sum(axis=0) / np.maximum(total, 0.25))


def _beats(course: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last sample of each QRS in the pooled probability [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], course > _BEAT, [False]]).astype(np.int8)))
    first, last = edges[::2], edges[1::2] - 1
    if len(first) > 1:
        apart = first[1:] - last[:-1] - 1 > BRIDGE[QRS]
        first, last = first[np.concatenate([[True], apart])], last[np.concatenate([apart, [True]])]
    keep = last - first + 1 >= 5
    first, last = first[keep], last[keep]
    total = np.concatenate([[0.0], np.cumsum(course)])
    mass = total[last + 1] - total[first]
    alone = np.ones(len(first), dtype=bool)
    for at in range(1, len(first)):  # of two that are too close, the smaller goes
        before = at - 1
        while before >= 0 and not alone[before]:
            before -= 1
        if before >= 0 and (first[at] + last[at] - first[before] - last[before]) / 2 < _REFRACTORY:
            alone[at if mass[at] <= mass[before] else before] = False
    return first[alone].astype(float), last[alone].astype(float)


def _agreeing(p: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """bool [N]: the beats whose P is shown by enough leads at about the same time (middles within 60 ms); `leads`: [N]
    recorded there."""
    middle = p.mean(axis=2)
    with np.errstate(all="ignore"):
        centre = np.array([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in middle])
    near = np.abs(middle - centre[:, None]) < 0.06 * net.RATE
    p[~near] = np.nan
    return np.asarray(near.sum(axis=1) >= np.maximum(1.0, _P_LEADS * leads))


def _rhythm_has_p(
    p: np.ndarray, starts: np.ndarray, probability: np.ndarray, broken: np.ndarray
) -> tuple[bool | None, str]:
    """Whether the rhythm has P waves, and why not.

    Half of the beats must show one. Where RR is irregular, as in atrial fibrillation, whose waves are taken for P now
    and then, it takes more beats, and waves that belong to them (see `_fits`).

    Args:
        p: [N, 2] onset and end over all leads, NaN where there is none; `starts`: [N] of QRS; samples at `net.RATE`.
        probability: [T] of P, mean over the live leads.
        broken: bool [N - 1], intervals across a gap.
    """
    whole = np.flatnonzero(starts > 0.4 * net.RATE)
    if len(whole) < 2:
        return None, "too few whole beats to tell whether there are P waves"
    shown = whole[np.isfinite(p[whole, 0])]
    rr = np.diff(starts)[~broken]
    if len(shown) < _P_BEATS * len(whole) or not len(shown):
        return False, "no P wave was found"
    if len(rr) < 3 or rr.std() < _IRREGULAR * rr.mean():
        return True, ""
    if len(shown) >= _P_BEATS_IRREGULAR * len(whole) and _fits(p[shown], starts[shown], probability, rr, len(whole)):
        return True, ""
    return False, "no P wave was found that belongs to the beats: the rhythm is irregular"


def _fits(p: np.ndarray, starts: np.ndarray, probability: np.ndarray, rr: np.ndarray, beats: int) -> bool:
    """Whether the P waves of an irregular rhythm belong to its beats.

    They do if they are surely P, and if only a few beats are early, or nearly every beat shows one, or PR stays the
    same.

    Args:
        p: [M, 2] of the beats that show one; `starts`: [M] of their QRS; `probability`: [T] of P; samples at
            `net.RATE`.
        rr: [N] samples; `beats`: how many whole beats there are.
    """
    sure = np.mean([probability[int(onset) : int(end) + 1].mean() for onset, end in p])
    pr = (starts - p[:, 0]) * 1000 / net.RATE
    spread = np.median(np.abs(pr - np.median(pr)))
    steady = np.median(np.abs(np.diff(rr))) < _MOSTLY_STEADY * np.median(rr)
    return bool(sure >= _P_SURE and (steady or len(p) >= _P_BEATS_ALL * beats or spread <= _PR_SPREAD_MS))


def _three(bounds: np.ndarray) -> np.ndarray:
    """[N, L, 2] -> [N, L, 3] with an empty peak."""
    return np.stack([bounds[:, :, 0], bounds[:, :, 0], bounds[:, :, 1]], axis=2)


def _levels(signal: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[N, L] the level of the last 16 ms before each QRS, mV."""
    at = np.clip(np.rint(starts / net.RATE * RATE).astype(int)[:, None] + np.arange(-8, 0), 0, signal.shape[1] - 1)
    return np.asarray(signal[:, at].mean(axis=2).T)


def _with_peaks(bounds: np.ndarray, signal: np.ndarray, level: np.ndarray) -> np.ndarray:
    """[N, L, 3]: between onset and end (s) the sample farthest from the level before QRS."""
    out = _three(bounds)
    there = np.isfinite(bounds[:, :, 0])
    beat, lead = np.nonzero(there)
    if len(beat) == 0:
        return out
    first = np.clip(np.ceil(bounds[there][:, 0] * RATE).astype(int), 0, signal.shape[1] - 1)
    last = np.clip(np.floor(bounds[there][:, 1] * RATE).astype(int), first, signal.shape[1] - 1)
    steps = np.arange((last - first).max() + 1)
    at = np.minimum(first[:, None] + steps, last[:, None])
    away = np.abs(signal[lead[:, None], at] - level[beat, lead][:, None])
    out[beat, lead, 1] = (first + away.argmax(axis=1)) / RATE
    return out


def _r_times(signal: np.ndarray, live: np.ndarray, qrs: np.ndarray) -> np.ndarray:
    """[N] s: the largest deflection of each QRS, the leads together.

    Of two deflections of one size now this, now that would be the larger: so it is the centre of each QRS's energy,
    shifted by what lies between centre and largest deflection in most beats. That is as exact as the shape is steady.
    """
    first = np.clip(np.rint(qrs[:, 0] * RATE).astype(int), 0, signal.shape[1] - 1)
    last = np.clip(np.rint(qrs[:, 1] * RATE).astype(int), first, signal.shape[1] - 1)
    at = np.minimum(first[:, None] + np.arange((last - first).max() + 1), last[:, None])
    part = signal[live][:, at]  # [L, N, W]
    largest = (first + np.abs(part - part[:, :, :1]).sum(axis=0).argmax(axis=1)) / RATE
    energy = (np.gradient(part, axis=2) ** 2).sum(axis=0) if part.shape[2] > 1 else np.ones(at.shape)
    centre = (energy * at).sum(axis=1) / np.maximum(energy.sum(axis=1), 1e-12) / RATE
    shift = float(np.median(largest - centre))
    return np.where(np.abs(largest - centre - shift) < 0.04, centre + shift, largest)


def _behind_spikes(qrs: np.ndarray, starts: np.ndarray, spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """QRS [N, L, 2] and its starts [N] with no onset before a pacing spike, which is not a part of it; samples at
    `net.RATE`."""
    least = np.where(np.isfinite(spikes), spikes + _AFTER_SPIKE, -np.inf)
    late = qrs.copy()
    late[:, :, 0] = np.where(qrs[:, :, 1] > least[:, None] + 2, np.maximum(qrs[:, :, 0], least[:, None]), qrs[:, :, 0])
    return late, np.maximum(starts, least)
