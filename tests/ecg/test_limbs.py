"""Limb leads that are not what their names say, and names that are no lead's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg import Recording, read
from llava_ecg.ecg.leads import STANDARD, is_known
from llava_ecg.ecg.limbs import LIMBS, limb_note
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.quality import quality
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from scripts.bench.measure_inputs import CINC2011


@pytest.fixture(scope="module")
def clean() -> Recording:
    return simulate(Heart(muscle_mv=0.01), seed=1)[0]


def renamed(recording: Recording, **names: str) -> Recording:
    return replace(recording, leads=tuple(names.get(name, name) for name in recording.leads))


def said(recording: Recording) -> str:
    return "; ".join(note.text for note in quality(recording) if note.kind == "limbs")


def real(data: Path) -> Iterator[Recording]:
    """Every recording in mV of the shared data with the six limb leads."""
    for path in sorted(path for folder in ("ludb", "cinc2021", "formats") for path in (data / folder).glob("*")):
        if path.suffix not in (".dat", ".mat") and path.suffix[1:].isalpha():
            try:
                recording = read(path)
            except InputError:
                continue
            if set(LIMBS) <= set(recording.leads):
                yield recording
    for number, values in enumerate(np.load(data / "cinc2011/signals_500hz_int16.npy")):
        yield Recording((values / 200).astype(np.float32), 500.0, CINC2011, source=f"cinc2011 {number}")


def test_no_false_alarm_on_any_real_recording(shared: Path) -> None:
    count = 0
    for recording in real(shared / "data"):
        count += 1
        kinds = [str(note) for note in quality(recording) if note.kind in ("limbs", "unknown")]
        assert not kinds, (recording.source, kinds)
    assert count >= 340


def test_exchanged_and_inverted_limb_leads_of_real_recordings_are_named(shared: Path) -> None:
    told = {"exchanged": 0, "inverted": 0}
    for path in sorted((shared / "data/ludb").glob("*.hea"))[::16]:
        recording = read(path)
        for one, other in combinations(LIMBS, 2):
            told["exchanged"] += said(renamed(recording, **{one: other, other: one})).endswith(
                f": {one} and {other} look exchanged"
            )
        for name in LIMBS:
            signal = recording.signal.copy()
            signal[recording.leads.index(name)] *= -1
            told["inverted"] += said(replace(recording, signal=signal)).endswith(f": {name} looks inverted")
    assert told == {"exchanged": 150, "inverted": 60}


def test_leads_that_were_scaled_one_by_one_are_told_as_such(shared: Path) -> None:
    signals = np.load(shared / "data/ptbxl/signals_250hz_int16.npy", mmap_mode="r")
    told = [said(Recording((signals[row] / 1000).astype(np.float32), 250.0, STANDARD)) for row in range(0, 1600, 40)]
    assert sum("were scaled one by one" in text for text in told) == len(told)


def test_chest_leads_under_limb_names(clean: Recording) -> None:
    shifted = replace(clean, leads=STANDARD[6:] + STANDARD[:6])
    assert "wrong names, or not recorded together" in said(shifted)
    assert said(clean) == "" == said(clean.select(["I", "II", "V1"]))


def test_what_is_wrong_with_a_limb_lead_is_no_wrong_name(clean: Recording) -> None:
    flat, noisy, gaps, drift = (clean.signal.copy() for _ in range(4))
    flat[3] = 0.0
    noisy[:6] += np.random.default_rng(0).normal(0, 0.2, (6, 5000))
    gaps[2, 500:4000] = np.nan
    drift[:6] += 3 * np.sin(np.arange(5000) / 800)
    for signal in (flat, noisy, gaps, drift):
        assert said(replace(clean, signal=signal.astype(np.float32))) == ""
    assert "aVL and aVF look exchanged" in said(renamed(replace(clean, signal=gaps), aVL="aVF", aVF="aVL"))
    assert limb_note(clean.signal[:, :499], CINC2011, 500.0) == ""  # less than a second
    assert limb_note(clean.signal[:, :500], CINC2011, 500.0).endswith("aVL and aVF look exchanged")


def test_tiny_leads_are_not_judged_by_the_steps_of_their_converter(clean: Recording) -> None:
    small = renamed(replace(clean, signal=clean.signal / 100), I="II", II="I")
    assert limb_note(small.signal, small.leads, 500.0) == ""


def test_names_that_are_no_lead(clean: Recording) -> None:
    unknown = [str(note) for note in quality(renamed(clean, III="foo")) if note.kind == "unknown"]
    assert unknown == ["lead foo is not known by name: what needs named leads goes by the others"]
    assert all(map(is_known, (*STANDARD, "V7", "V4R", "Vx", "MLII", "CM5", "ECG1", "ES", "S", "EASI-I")))
    assert not any(map(is_known, ("foo", "-aVR", "PLETH", "acc_x", "1.5")))


def test_v1_and_v6_exchanged_of_real_recordings(shared: Path) -> None:
    """All right names are kept, and nearly all exchanges told, over each tenth recording of LUDB."""
    told = {"right": 0, "exchanged": 0}
    paths = sorted((shared / "data/ludb").glob("*.hea"))[::10]
    for recording in map(read, paths):
        for kind, names in (("right", {}), ("exchanged", {"V1": "V6", "V6": "V1"})):
            told[kind] += any("V1 and V6 look exchanged" in note for note in measure(renamed(recording, **names)).notes)
    assert told["right"] == 0 and told["exchanged"] >= len(paths) - 1, told
