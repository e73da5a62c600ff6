"""Where gem-tiny's training records come from: simulated hearts, and the public recordings of a folder.

Each source yields `Source`s: a signal, the split it belongs to, and the labels that its makers gave it. Patients of
`test` are in no other split. The folder is laid out as the one of the data's description (``ludb/``, ``cinc2011/``,
``cinc2021/``, ``ptbxl/``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.scaled import with_limb_ratios
from llava_ecg.ecg.simulate import draw, simulate
from llava_ecg.errors import InputError

CHALLENGE_2011 = (*STANDARD[:4], "aVF", "aVL", *STANDARD[6:])
"""The leads of that challenge as they stand in its array: only so do aVL = I - II / 2 and aVF = II - I / 2 hold."""
LABELS = (
    "NORM",
    "MI",
    "STTC",
    "CD",
    "HYP",
    "atrial fibrillation",
    "left bundle branch block",
    "right bundle branch block",
    "incomplete right bundle branch block",
    "left anterior fascicular block",
    "anterior infarction",
    "inferior infarction",
    "left ventricular hypertrophy",
    "premature beats",
)
"""What a record may be labelled with: PTB-XL's superclasses, then single diagnoses. `premature beats` is measured."""
SUPERCLASSES = LABELS[:5]
PTBXL_SUBCLASSES = {
    "CLBBB": "left bundle branch block",
    "CRBBB": "right bundle branch block",
    "IRBBB": "incomplete right bundle branch block",
    "LAFB/LPFB": "left anterior fascicular block",
    "AMI": "anterior infarction",
    "IMI": "inferior infarction",
    "LVH": "left ventricular hypertrophy",
}
SNOMED = {
    "atrial fibrillation": {"164889003"},
    "left bundle branch block": {"164909002", "733534002"},
    "right bundle branch block": {"59118001", "713427006"},
}
"""Label -> its codes in the headers of the 2021 challenge."""
VALIDATION_FOLD, TEST_FOLD = "8", "9"
SCALED_SD_MV = 0.2
"""What a lead's standard deviation is set to where a record comes scaled lead by lead."""


@dataclass(frozen=True, eq=False)
class Source:
    """One record before it is measured.

    Attributes:
        name, split: ``train``, ``val`` or ``test``.
        recording: 10 s of the twelve standard leads in mV.
        labels: label -> whether it applies; what is missing is not known.
        facts: what is known of it by construction, over what is measured.
        scaled: its leads are in no unit; the limb leads' ratios are right, and the axis is.
    """

    name: str
    split: str
    recording: Recording
    labels: Mapping[str, bool] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False


def simulated(number: int, seed: int, validation: int) -> Source:
    """The simulated heart of this number; the first `validation` ones are for validation."""
    own = int(np.random.default_rng([seed, number]).integers(2**62))
    recording, truth = simulate(draw(np.random.default_rng(own)), seed=own)
    names = ("left bundle branch block", "right bundle branch block")
    labels = {name: truth.conduction == name for name in names}
    labels |= {"atrial fibrillation": truth.rhythm == "atrial fibrillation"}
    labels |= {"premature beats": truth.premature_beats > 0}
    if any(labels[name] for name in names):
        labels |= {"CD": True, "NORM": False}
    facts = truth.to_dict()
    told = ("rhythm_regular", "p_present", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "axis_deg", "heart_rate_bpm")
    split = "val" if number < validation else "train"
    return Source(f"simulated-{number:06d}", split, recording, labels, {name: facts[name] for name in told})


def ptbxl(folder: Path) -> Iterator[Source]:
    """The sample of PTB-XL, whose leads come z-scored one by one: limb leads get their ratios back."""
    signals = np.load(folder / "signals_250hz_int16.npy", mmap_mode="r")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        signal = with_limb_ratios(signals[int(row["row"])].astype(np.float32) / 1000, STANDARD)
        labels: dict[str, bool] = {}
        if row["super_class"]:
            labels |= {name: name in row["super_class"].split("|") for name in SUPERCLASSES}
            parts = row["sub_class"].split("|")
            labels |= {name: code in parts for code, name in PTBXL_SUBCLASSES.items()}
        if row["rhythm"]:
            labels |= {"atrial fibrillation": "AFIB" in row["rhythm"].split("|")}
        fold = row["strat_fold"]
        split = "test" if fold == TEST_FOLD else "val" if fold == VALIDATION_FOLD else "train"
        recording = Recording(signal * np.float32(SCALED_SD_MV), 250.0, STANDARD, source=f"ptbxl/{row['ecg_id']}")
        yield Source(f"ptbxl-{row['ecg_id']}", split, recording, labels, scaled=True)


def ludb(folder: Path) -> Iterator[Source]:
    """LUDB with what its table says, in PTB-XL's words."""
    with (folder / "ludb.csv").open(encoding="utf-8", newline="") as lines:
        rows = {
            row["ID"]: {name: " ".join(text.lower().split()) for name, text in row.items()}
            for row in csv.DictReader(lines)
        }
    for path in sorted(folder.rglob("*.hea")):
        row = rows.get(path.stem)
        if row is None:
            continue
        conduction, scar = row["Conduction abnormalities"], row["Ischemia"]
        infarction = "scar" in scar or "stemi" in scar
        labels = {
            "CD": bool(conduction),
            "MI": infarction,
            "STTC": bool(row["Non-specific repolarization abnormalities"]) or "ischemia:" in scar,
            "HYP": "ventricular hypertrophy" in row["Hypertrophies"],
            "left bundle branch block": "complete left bundle" in conduction.replace("incomplete", "partial"),
            "right bundle branch block": "complete right bundle" in conduction.replace("incomplete", "partial"),
            "incomplete right bundle branch block": "incomplete right bundle" in conduction,
            "left anterior fascicular block": "left anterior hemiblock" in conduction,
            "left ventricular hypertrophy": "left ventricular hypertrophy" in row["Hypertrophies"],
            "atrial fibrillation": "atrial fibrillation" in row["Rhythms"],
        }  # fmt: skip
        labels["NORM"] = not any(labels[name] for name in SUPERCLASSES[1:]) and not row["Hypertrophies"]
        yield Source(f"ludb-{path.stem}", "train", _ten_seconds(read(path)), labels)


def challenge_2011(folder: Path) -> Iterator[Source]:
    """The acceptable recordings of the 2011 challenge, 5 uV a step, of which nothing is told."""
    signals = np.load(folder / "signals_500hz_int16.npy", mmap_mode="r")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["quality"] == "acceptable"]
    for row in rows:
        signal = (signals[int(row["row"])] / 200).astype(np.float32)
        recording = Recording(signal[[CHALLENGE_2011.index(lead) for lead in STANDARD]], 500.0, STANDARD)
        yield Source(f"cinc2011-{row['id']}", "train", recording)


def challenge_2021(folder: Path) -> Iterator[Source]:
    """The recordings of the 2021 challenge, for testing alone; PTB-XL's (HR) are left out, as their patients may stand
    in ptbxl/."""
    for path in sorted(folder.glob("*.hea")):
        if not path.stem.startswith("HR"):
            recording = _ten_seconds(read(path))
            told = set(recording.metadata.get("snomed", ()))
            labels = {name: bool(codes & told) for name, codes in SNOMED.items()}
            yield Source(f"cinc2021-{path.stem}", "test", recording, labels)


def real(folder: Path) -> Iterator[Source]:
    """All that the folder has.

    Raises:
        InputError: none of the known sources.
    """
    known = {"ptbxl": ptbxl, "ludb": ludb, "cinc2011": challenge_2011, "cinc2021": challenge_2021}
    there = [name for name in known if (folder / name).is_dir()]
    if not there:
        raise InputError(f"{folder} has none of the folders {', '.join(known)}")
    for name in there:
        yield from known[name](folder / name)


def _ten_seconds(recording: Recording) -> Recording:
    return replace(recording.select(STANDARD).window(0, 10), notes=())
