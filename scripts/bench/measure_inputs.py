"""What must not happen when `measure` is given anything: the section `--robustness` of ``scripts/bench/measure.py``.

Every recording of the shared data, signals without a heartbeat, and a good signal to which one thing happened that has
to be said.

Axes: L leads, T samples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.quality import lead_quality, quality
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.eval.scorers import macro_auc

CINC2011 = ("I", "II", "III", "aVR", "aVF", "aVL", *STANDARD[6:])
"""Leads of the shared table of CinC 2011. Its description names aVL before aVF; with these names III = II - I and the
other equations hold in all 120 recordings, with those in none."""
RATE = 500.0
T = np.arange(5000) / RATE
DEAD_MV = 0.002


@dataclass(frozen=True)
class Input:
    """A recording; `heartless`: it holds no heartbeat, so that a beat in it is invented; `says`: words that what is
    told of it must hold."""

    recording: Recording
    heartless: bool = False
    says: str = ""


def robustness(data: Path, every: int) -> dict[str, int]:
    """How many inputs were measured, and how many raised, got a wave where there is none, or had a fault unsaid.

    Args:
        data: the folder ``../shared/data``.
        every: take each n-th record of the large tables.
    """
    names = (
        "inputs", "refused", "exceptions", "dead leads", "dead leads with a wave", "without a heart",
        "without a heart, given a beat", "with a fault", "with a fault unsaid",
    )  # fmt: skip
    counts = dict.fromkeys(names, 0)
    for given in inputs(data, every):
        counts["inputs"] += 1
        try:
            found = measure(given.recording)
        except InputError:
            counts["refused"] += 1
            continue
        except Exception as error:
            counts["exceptions"] += 1
            print(f"{given.recording.source}: {type(error).__name__}: {error}")
            continue
        dead, waves = _dead_leads(given.recording, found)
        counts["dead leads"] += dead
        counts["dead leads with a wave"] += waves
        counts["without a heart"] += given.heartless
        counts["without a heart, given a beat"] += given.heartless and bool(found.beats)
        unsaid = given.says not in told(given.recording, found)
        counts["with a fault"] += bool(given.says)
        counts["with a fault unsaid"] += unsaid
        if unsaid or (given.heartless and found.beats):
            print(f"{given.recording.source}: {len(found.beats)} beats, told: {told(given.recording, found)}")
    return counts


def judged(folder: Path) -> float:
    """How well the number of leads with a note tells the recordings of CinC 2011 that people found unacceptable: AUC.

    Args:
        folder: its ``signals_500hz_int16.npy`` and ``labels.csv``.
    """
    with (folder / "labels.csv").open() as file:
        bad = np.array([row["quality"] == "unacceptable" for row in csv.DictReader(file)])
    noted = [
        sum(bool(lead_quality(name, row, 500.0)) for name, row in zip(CINC2011, values / 200, strict=True))
        for values in np.load(folder / "signals_500hz_int16.npy")
    ]
    area = macro_auc(np.array(noted, dtype=float)[:, None], bad[:, None])
    assert area is not None, "both kinds are needed"
    return area


def told(recording: Recording, found: Measurements) -> str:
    """All that a user is told of a recording beside its values."""
    paced = f"{found.paced_beats} paced beats" if found.paced_beats else ""
    parts = (*map(str, quality(recording)), *found.notes, found.lead_reversal, paced, found.source.get("filter", ""))
    return "; ".join(part for part in parts if part)


def _dead_leads(recording: Recording, found: Measurements) -> tuple[int, int]:
    """(leads without a signal, how many of them have a wave)."""
    dead = waves = 0
    for name, row in zip(recording.leads, recording.signal, strict=True):
        finite = row[np.isfinite(row)]
        if len(finite) == 0 or np.ptp(finite) < DEAD_MV:
            lead = found.leads[name]
            dead += 1
            waves += any(value is not None for value in (lead.r_mv, lead.q_mv, lead.t_mv, lead.p_mv, lead.qt_ms))
    return dead, waves


def inputs(data: Path, every: int) -> Iterator[Input]:
    """Every recording of the shared data (each `every`-th of the large tables), and what can go wrong with one."""
    for path in sorted(
        [*(data / "ludb").glob("*.hea"), *(data / "cinc2021").glob("*.hea"), *(data / "formats").glob("*")]
    ):
        try:
            yield Input(read(path))
        except InputError:
            continue
    for name, file, gain, rate, leads in (
        ("cinc2011", "signals_500hz_int16.npy", 200, 500.0, CINC2011),
        ("ptbxl", "signals_250hz_int16.npy", 1000, 250.0, STANDARD),
    ):
        signals = np.load(data / name / file, mmap_mode="r")
        for row in range(0, len(signals), every):
            yield Input(Recording((signals[row] / gain).astype(np.float32), rate, leads, source=f"{name} {row}"))
    yield from no_hearts(seeds=8)
    yield from faults()
    for seconds in (1.0, 2.0, 2.5, 600.0):
        yield Input(simulate(Heart(), seed=2, seconds=seconds)[0])
    for rate in (100.0, 125.0, 240.0, 250.0, 257.0, 360.0, 1000.0):
        yield Input(simulate(Heart(), seed=3, rate=rate)[0])
    good, _ = simulate(Heart(muscle_mv=0.01), seed=1)
    for leads in (("II",), ("I", "II", "V5"), STANDARD[6:]):
        yield Input(good.select(leads), says="missing" if len(leads) > 2 else "")


def no_hearts(seeds: int) -> Iterator[Input]:
    """Nothing, noise, random walks, mains hum and ventricular fibrillation, in 1, 3 and 12 leads."""
    for name, value in (("flat", 0.0), ("level", 3.3), ("NaN", np.nan), ("infinite", np.inf)):
        yield _made(name, np.full((12, T.size), value))
    for seed in range(seeds):
        for leads in (1, 3, 12):
            rng = np.random.default_rng(seed)
            gain = rng.uniform(0.2, 1, (leads, 1)) * rng.choice([-1, 1], (leads, 1))
            yield _made("white noise", rng.normal(0, rng.choice([0.02, 0.2, 1.0]), (leads, T.size)))
            yield _made("random walk, each lead its own", 0.01 * rng.standard_normal((leads, T.size)).cumsum(axis=1))
            yield _made("a random walk in all leads", 0.01 * gain * rng.standard_normal(T.size).cumsum())
            hertz = rng.choice([50.0, 60.0, 49.8])
            yield _made("mains hum", gain * rng.uniform(0.05, 1) * np.sin(2 * np.pi * hertz * T))
            waves = sum(np.sin(2 * np.pi * np.cumsum(_wobbling(rng)) / RATE) for _ in range(3))
            yield _made("ventricular fibrillation", 0.3 * gain * waves + rng.normal(0, 0.005, (leads, T.size)))


def _wobbling(rng: np.random.Generator) -> np.ndarray:
    """[T] a frequency of 3 to 7 Hz that moves, Hz."""
    return np.asarray(rng.uniform(3, 7) + rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * rng.uniform(0.05, 0.4) * T))


def _made(name: str, signal: np.ndarray) -> Input:
    leads = {1: ("II",), 3: ("I", "II", "V5"), 12: STANDARD}[len(signal)]
    return Input(Recording(signal.astype(np.float32), RATE, leads, source=name), heartless=True)


def faults() -> Iterator[Input]:
    """A good signal to which one thing happened, with the words that must be told of it."""
    good, truth = simulate(Heart(muscle_mv=0.01), seed=1)
    rng = np.random.default_rng(0)
    gap, some_dead, paced = good.signal.copy(), good.signal.copy(), good.signal.copy()
    gap[:, 1000:2200] = np.nan
    some_dead[[1, 7]], some_dead[8] = 0.0, np.nan
    for r in truth.beats_s:
        paced[:, max(0, round((r - 0.06) * RATE))] += 1.0
    swapped = good.signal[[0, 2, 1, 4, 3, 5, *range(6, 12)]] * np.array([-1.0] + [1.0] * 11)[:, None]
    hum = np.outer(rng.uniform(0.05, 0.5, 12), np.sin(2 * np.pi * 50 * T))
    cases = {
        "a gap": (gap, "gaps"),
        "flat leads": (some_dead, "is flat"),
        "a lead without values": (some_dead, "holds no values"),
        "paced": (paced, "paced beats"),
        "noise in every lead": (good.signal + rng.normal(0, 0.15, good.signal.shape), "noisy"),
        "mains": (good.signal + hum, "50 Hz notch"),
        "drift": (good.signal + 3 * np.sin(2 * np.pi * 0.08 * T), "drifts"),
        "clipped": ((3 * good.signal).clip(-1.2, 1.2), "clipped"),
        "upside down": (-good.signal, "upside down"),
        "arms": (swapped, "arm electrodes look swapped"),
        "uV as mV": (good.signal * 1000, "uV"),
        "V as mV": (good.signal / 1000, "volts"),
    }
    for name, (signal, words) in cases.items():
        yield Input(replace(good, signal=signal.astype(np.float32), source=name), says=words)
    named = {
        "a name that is no lead's": ({"III": "foo"}, "foo is not known by name"),
        "I and II exchanged": ({"I": "II", "II": "I"}, "I and II look exchanged"),
        "aVR and aVL exchanged": ({"aVR": "aVL", "aVL": "aVR"}, "aVR and aVL look exchanged"),
        "limb names on chest leads": (dict(zip(STANDARD, STANDARD[6:] + STANDARD[:6], strict=True)), "wrong names"),
        "V1 and V6 exchanged": ({"V1": "V6", "V6": "V1"}, "V1 and V6 look exchanged"),
    }
    for name, (names, words) in named.items():
        yield Input(replace(good, leads=tuple(names.get(lead, lead) for lead in STANDARD), source=name), says=words)
