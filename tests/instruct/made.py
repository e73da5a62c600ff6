"""Simulated recordings on disk, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.instruct.facts import Facts, Given, make_facts

HEARTS = {
    "normal": Heart(rate_bpm=72),
    "slow": Heart(rate_bpm=48),
    "lbbb": Heart(rate_bpm=76, conduction="left bundle branch block", qrs_ms=152),
    "af": Heart(rate_bpm=88, rhythm="atrial fibrillation", rr_cv=0.24),
    "block": Heart(rate_bpm=66, pr_ms=250),
    "injury": Heart(rate_bpm=80, st_territory="inferior", st_mv=0.7),
}


def save(folder: Path, name: str, heart: Heart, seed: int = 1, leads: int = 12) -> Path:
    """A simulated recording as ``folder/name.npz``, with its first so many leads."""
    recording, _ = simulate(heart, seed=seed)
    path = folder / f"{name}.npz"
    names = np.array(recording.leads[:leads])
    np.savez(path, signal=recording.signal[:leads], rate=recording.rate, unit="mV", leads=names)
    return path


def facts_of(folder: Path, name: str, **given: object) -> Facts:
    """The facts of one of `HEARTS`."""
    path = save(folder, name, HEARTS[name], seed=2)
    return make_facts(Given(path, path.name, **given))  # type: ignore[arg-type]
