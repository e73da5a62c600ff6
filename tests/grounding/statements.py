"""Statements about simulated ECGs whose truth is known: true ones, clearly false ones, and texts with one number
changed.

The truth comes from the simulator alone, amplitudes from its noise-free signal, in which the level before QRS is
exactly zero; nothing here reads a measurement. A false number lies at least `WRONG` tolerances from the truth, a false
word well past its threshold.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, Truth, draw, simulate
from llava_ecg.grounding.audit import Status, audit
from llava_ecg.grounding.tolerances import DEFAULT, circular
from tests.grounding.scoring import SENTENCES

WRONG = 2.5
_CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")
_LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")
_RANGES = {
    "heart_rate_bpm": (35, 180), "rr_ms": (330, 1700), "p_ms": (60, 180), "pr_ms": (90, 320), "qrs_ms": (60, 200),
    "qt_ms": (250, 560), "qtc_bazett_ms": (320, 600), "qtc_fridericia_ms": (320, 600), "axis_deg": (-179, 180),
    "r_mv": (0.05, 3.5), "s_mv": (0.05, 3.5), "t_mv": (-0.8, 1.2), "st_mv": (-0.5, 0.6), "sokolow_lyon_mv": (0.5, 7.0),
    "cornell_mv": (0.2, 5.0),
}  # fmt: skip


@dataclass(frozen=True)
class Wave:
    """Amplitudes of one lead in mV, S as a depth; noise-free."""

    r: float
    s: float
    t: float
    st60: float
    size: float


@dataclass(frozen=True)
class Case:
    """A simulated recording and all that is true of it."""

    seed: int
    heart: Heart
    recording: Recording
    truth: Truth
    waves: dict[str, Wave]

    @property
    def sokolow(self) -> float:
        return self.waves["V1"].s + max(self.waves["V5"].r, self.waves["V6"].r)

    @property
    def cornell(self) -> float:
        return self.waves["aVL"].r + self.waves["V3"].s


def cases(count: int, first_seed: int = 20_000) -> Iterator[Case]:
    """Hearts drawn by the simulator, with its noise."""
    for seed in range(first_seed, first_seed + count):
        heart = draw(np.random.default_rng(seed))
        recording, truth = simulate(heart, seed=seed)
        quiet = replace(heart, muscle_mv=0.0, wander_mv=0.0, mains_mv=0.0, f_wave_mv=0.0)
        yield Case(seed, heart, recording, truth, _waves(quiet, seed))


def _waves(heart: Heart, seed: int) -> dict[str, Wave]:
    """Amplitudes of an ordinary beat of a noise-free recording at 500 Hz."""
    steady = (
        replace(heart, rhythm="sinus", rr_cv=0.0, rate_bpm=min(heart.rate_bpm, 60.0))
        if heart.rhythm != "atrial fibrillation"
        else heart
    )
    recording, truth = simulate(steady, seed=seed)
    signal = np.asarray(recording.signal, dtype=float)
    peak = round(truth.beats_s[len(truth.beats_s) // 2] * 500)
    start = peak
    while np.abs(signal[:, start - 1]).max() > 1e-6 and peak - start < heart.qrs_ms / 2:
        start -= 1
    end = start + round(heart.qrs_ms / 2)
    out = {}
    for row, name in enumerate(recording.leads):
        qrs, rest = signal[row, start : end + 1], signal[row, end : start + round(heart.qt_ms / 2)]
        t = float(rest[np.abs(rest).argmax()])
        after = qrs[_first_peak(qrs) :]
        out[name] = Wave(
            max(float(qrs.max()), 0.0),
            max(-float(after.min()), 0.0),
            t,
            float(signal[row, min(end + 30, signal.shape[1] - 1)]),
            float(np.ptp(qrs)),
        )
    return out


def _first_peak(qrs: np.ndarray) -> int:
    """The first R: where the signal first falls after it rose past 0.03 mV; 0 where it never does."""
    for i in range(1, len(qrs) - 1):
        if qrs[i] > 0.03 and qrs[i] >= qrs[i - 1] and qrs[i] > qrs[i + 1]:
            return i
    return 0


# true ones


def true_statements(case: Case) -> list[str]:
    """Sentences that are so, as a reader would put them."""
    t, said = case.truth, []
    if t.heart_rate_bpm is not None:
        rate = t.heart_rate_bpm
        word = "bradycardia" if rate < 60 else "tachycardia" if rate > 100 else "normal rate"
        said += [
            f"Heart rate {rate:.0f} bpm.",
            f"There is a {word}.",
            f"The rate is between {10 * math.floor(rate / 10)} and {10 * math.ceil(rate / 10)} bpm.",
        ]
    said += _true_intervals(case) + _true_rhythm(case) + _true_waves(case)
    return said


def _true_intervals(case: Case) -> list[str]:
    t, said = case.truth, [f"QRS duration is {case.truth.qrs_ms:.0f} ms.", f"QT {case.truth.qt_ms:.0f} ms."]
    said.append(f"The axis is {t.axis_deg:.0f} degrees.")
    axis = (
        "Extreme axis deviation"
        if t.axis_deg < -90
        else "Left axis deviation"
        if t.axis_deg < -30
        else "Normal axis"
        if t.axis_deg <= 90
        else "Right axis deviation"
    )
    said += [f"{axis}.", "The QRS is narrow." if t.qrs_ms < 120 else "Wide QRS complexes."]
    if t.pr_ms is not None and t.p_ms is not None:
        said += [
            f"PR interval: {t.pr_ms / 1000:.2f} s",
            f"The PR interval is {t.pr_ms:.0f} ms.",
            f"P wave duration {t.p_ms:.0f} ms.",
        ]
        said.append("First-degree AV block." if t.pr_ms > 200 else "No first-degree AV block.")
        said.append(
            "Prolonged PR interval."
            if t.pr_ms > 200
            else "Short PR interval."
            if t.pr_ms < 120
            else "The PR interval is normal."
        )
    if t.qtc_bazett_ms is not None:
        said += [
            f"QTc (Bazett) {t.qtc_bazett_ms:.0f} ms.",
            "The QTc is prolonged." if t.qtc_bazett_ms > 460 else "No QT prolongation.",
        ]
    return said


def _true_rhythm(case: Case) -> list[str]:
    t, said = case.truth, []
    fibrillation = t.rhythm == "atrial fibrillation"
    said.append("Atrial fibrillation." if fibrillation else "Sinus rhythm.")
    said.append("No discernible P waves." if fibrillation else "P waves before each QRS.")
    said.append("No sinus rhythm." if fibrillation else "No atrial fibrillation.")
    if t.rhythm in ("sinus", "atrial fibrillation", "sinus arrhythmia"):
        said.append("The rhythm is regular." if t.rhythm == "sinus" else "The rhythm is irregular.")
    said.append("Premature ventricular complexes are seen." if t.premature_beats else "No PVCs.")
    said += ["No pacemaker spikes.", "No ventricular tachycardia."]
    if t.conduction == "normal":
        said += ["No bundle branch block.", "There is no evidence of LBBB or RBBB."]
    else:
        said += [f"{t.conduction.capitalize()}.", f"QRS {t.qrs_ms:.0f} ms with {t.conduction}."]
    if not fibrillation:
        said.append("No complete heart block.")
    return said


def _true_waves(case: Case) -> list[str]:
    w, said = case.waves, []
    shown = ("I", "II", "V2", "V5", "V6")
    said += [f"R wave in {name} {w[name].r:.1f} mV." for name in shown if w[name].r > 0.3]
    said += [f"S wave in {name} {10 * w[name].s:.0f} mm." for name in ("V1", "V2") if w[name].s > 0.3]
    said += [f"T wave amplitude {w[name].t:.2f} mV in {name}." for name in ("II", "V5") if abs(w[name].t) > 0.1]
    upright = [name for name in ("I", "II", "V4", "V5", "V6") if w[name].t >= 0.1]
    inverted = [name for name in (*_LIMB, *_CHEST) if w[name].t <= -0.1 and name != "aVR"]
    said += [f"T waves are upright in {', '.join(upright)}."] if upright else []
    said += [f"T wave inversion in {' and '.join(inverted[:3])}."] if inverted else []
    if not inverted:
        said.append("No T wave inversion.")
    said += [f"Sokolow-Lyon index {case.sokolow:.1f} mV."]
    high = case.sokolow >= 3.5 or case.cornell > 2.8
    said += (
        ["Left ventricular hypertrophy by voltage."]
        if high
        else ["No LVH."]
        if case.sokolow < 3.2 and case.cornell < 2.2
        else []
    )
    limb = max(w[name].size for name in _LIMB)
    said += ["No low voltage."] if limb > 0.55 else []
    up = [name for name in (*_LIMB, *_CHEST) if w[name].st60 >= 0.1 and name not in ("aVR", "V2", "V3")]
    down = [name for name in (*_LIMB, *_CHEST) if w[name].st60 <= -0.06 and name != "aVR"]
    if case.truth.st_territory and up:
        said += [f"ST elevation in {', '.join(up[:3])}.", f"{w[up[0]].st60 * 10:.1f} mm of ST elevation in {up[0]}."]
    if case.truth.st_territory and down:
        said += [f"ST segment depression in {', '.join(down[:3])}."]
    if not case.truth.st_territory and case.truth.conduction == "normal":
        said += [
            "No ST elevation.",
            "No ST elevation or depression in the inferior leads.",
            "ST segments are isoelectric.",
        ]
    return said


# false ones


def false_statements(case: Case, rng: np.random.Generator) -> list[str]:
    """Sentences that are clearly not so."""
    t, said = case.truth, []
    if t.heart_rate_bpm is not None:
        rate = t.heart_rate_bpm
        said += [f"Heart rate {wrong('heart_rate_bpm', rate, rng):.0f} bpm."]
        said += ["Tachycardia is present."] if rate < 88 else ["Bradycardia is present."] if rate > 70 else []
        said += ["There is no tachycardia."] if rate > 112 else ["There is no bradycardia."] if rate < 52 else []
        said += [
            f"The rate is above {rate * 1.25:.0f} bpm.",
            f"The rate is between {rate * 1.2:.0f} and {rate * 1.5:.0f} bpm.",
        ]
    said += _false_intervals(case, rng) + _false_rhythm(case) + _false_waves(case, rng)
    return said


def _false_intervals(case: Case, rng: np.random.Generator) -> list[str]:
    t = case.truth
    said = [f"QRS duration is {wrong('qrs_ms', t.qrs_ms, rng):.0f} ms.", f"QT {wrong('qt_ms', t.qt_ms, rng):.0f} ms."]
    said.append(f"The axis is {wrong('axis_deg', t.axis_deg, rng):.0f} degrees.")
    said += ["Wide QRS complexes."] if t.qrs_ms < 92 else ["The QRS is narrow."] if t.qrs_ms > 150 else []
    said += (
        ["Left axis deviation."]
        if 20 < t.axis_deg < 150
        else ["Right axis deviation."]
        if -60 < t.axis_deg < 40
        else []
    )
    said += ["Normal axis."] if not -70 < t.axis_deg < 130 else []
    if t.pr_ms is not None and t.p_ms is not None:
        said += [
            f"The PR interval is {wrong('pr_ms', t.pr_ms, rng):.0f} ms.",
            f"PR interval: {wrong('pr_ms', t.pr_ms, rng) / 1000:.2f} s",
        ]
        said += ["First-degree AV block."] if t.pr_ms < 165 else ["The PR interval is normal."] if t.pr_ms > 240 else []
        said += ["PR > 220 ms."] if t.pr_ms < 180 else []
    if t.qtc_bazett_ms is not None:
        said.append(f"QTc (Bazett) {wrong('qtc_bazett_ms', t.qtc_bazett_ms, rng):.0f} ms.")
        said += (
            ["The QTc is prolonged."]
            if t.qtc_bazett_ms < 400
            else ["No QT prolongation."]
            if t.qtc_bazett_ms > 520
            else []
        )
    return said


def _false_rhythm(case: Case) -> list[str]:
    t = case.truth
    if t.rhythm == "atrial fibrillation":
        said = [
            "Sinus rhythm.",
            "P waves are present before each QRS.",
            "The rhythm is regular.",
            "No atrial fibrillation.",
        ]
    else:
        said = ["No P waves.", "Junctional rhythm."]
        said += (
            ["Atrial fibrillation.", "The rhythm is irregularly irregular."]
            if t.rhythm == "sinus" and not t.premature_beats
            else []
        )
        said += ["Complete heart block."] if t.rhythm == "sinus" and (t.heart_rate_bpm or 0) > 72 else []
    said += ["Paced rhythm.", "Ventricular tachycardia."] if t.qrs_ms < 95 else ["Pacemaker spikes."]
    if t.conduction == "normal" and t.qrs_ms < 98:
        said += ["Left bundle branch block.", "Complete RBBB."]
    elif t.conduction != "normal":
        said += ["Normal ECG."] if t.qrs_ms > 145 else []
        said += ["No bundle branch block."] if t.qrs_ms > 140 else []
    said += (
        ["Left anterior fascicular block."]
        if 0 < t.axis_deg < 120
        else ["Left posterior fascicular block."]
        if -60 < t.axis_deg < 45
        else []
    )
    said += (
        ["Frequent PVCs."]
        if t.rhythm == "sinus" and not t.premature_beats
        else ["No premature beats."]
        if t.premature_beats
        else []
    )
    return said


def _false_waves(case: Case, rng: np.random.Generator) -> list[str]:
    w, said = case.waves, []
    said += [f"R wave in {name} {wrong('r_mv', w[name].r, rng):.2f} mV." for name in ("I", "V5") if w[name].r > 0.2]
    said += [f"T wave amplitude {wrong('t_mv', w['V5'].t, rng):.2f} mV in V5."]
    upright = [name for name in ("I", "II", "V4", "V5", "V6") if w[name].t >= 0.18]
    inverted = [name for name in ("I", "II", "V4", "V5", "V6") if w[name].t <= -0.15]
    said += (
        [f"T wave inversion in {', '.join(upright)}.", f"Inverted T waves in {upright[0]}."]
        if len(upright) >= 2
        else []
    )
    said += (
        [f"T waves are upright in {', '.join(inverted)}.", f"No T wave inversion in {inverted[0]}."] if inverted else []
    )
    said += ["Left ventricular hypertrophy."] if case.sokolow < 2.4 and case.cornell < 1.3 and w["aVL"].r < 0.8 else []
    said += ["No LVH."] if case.sokolow > 4.2 else []
    said += ["Low voltage in the limb leads."] if max(w[name].size for name in _LIMB) > 0.7 else []
    level = {name: wave.st60 for name, wave in w.items()}
    if all(abs(level[name]) < 0.02 for name in ("II", "III", "aVF")):
        said += [
            "ST elevation in the inferior leads.",
            "2 mm ST elevation in II, III and aVF.",
            "ST depression of 1.5 mm in lead II.",
        ]
    up = [name for name in (*_LIMB, *_CHEST) if level[name] >= 0.17 and name not in ("aVR", "V2", "V3")]
    down = [name for name in (*_LIMB, *_CHEST) if level[name] <= -0.12 and name != "aVR"]
    said += (
        [f"No ST elevation in {up[0]}.", "ST segments are normal."] if len(up) >= 2 and case.truth.st_territory else []
    )
    said += [f"No ST depression in {down[0]}."] if down and case.truth.st_territory else []
    return said


def wrong(name: str, true: float, rng: np.random.Generator) -> float:
    """Another value of the quantity, at least `WRONG` tolerances from the true one."""
    low, high = _RANGES[name]
    least = WRONG * DEFAULT.of(name, true)
    while True:
        value = float(rng.uniform(low, high))
        apart = circular(value, true) if name == "axis_deg" else abs(value - true)
        if apart >= least:
            return value


# texts with one wrong number

_PLACE = re.compile(r"\{(\w+?)(?::(\w+))?\}")


@dataclass(frozen=True)
class Planted:
    """A text from a template: as it is, and with one number changed; `quantity` and `lead` say which."""

    right: str
    wrong: str
    quantity: str
    lead: str


def planted(case: Case, part: str, rng: np.random.Generator) -> Iterator[Planted]:
    """The templates of planted_numbers.jsonl that this heart can fill, each with one wrong number."""
    for line in (SENTENCES / "planted_numbers.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        places = list(_PLACE.finditer(row["text"]))
        values = [_value(case, place.group(1), place.group(2) or "") for place in places]
        if row["part"] != part or any(value is None for value in values) or not places:
            continue
        at = int(rng.integers(len(places)))
        name = {"st60_mv": "st_mv"}.get(places[at].group(1), places[at].group(1))
        changed = [wrong(name, value, rng) if i == at else value for i, value in enumerate(values)]  # type: ignore[arg-type]
        fill = [_filled(row["text"], places, numbers) for numbers in (values, changed)]
        yield Planted(fill[0], fill[1], name, places[at].group(2) or "")


def _value(case: Case, name: str, lead: str) -> float | None:
    if lead:
        wave = case.waves[lead]
        value = {"r_mv": wave.r, "s_mv": wave.s, "t_mv": wave.t, "st60_mv": wave.st60}[name]
        return value if name == "st60_mv" or abs(value) > 0.1 else None
    sums = {"sokolow_lyon_mv": case.sokolow, "cornell_mv": case.cornell}
    return sums[name] if name in sums else getattr(case.truth, name)


def _filled(text: str, places: list[re.Match[str]], values: list[float | None]) -> str:
    out, last = [], 0
    for place, value in zip(places, values, strict=True):
        out.append(text[last : place.start()])
        out.append(f"{value:.2f}" if place.group(1).endswith("_mv") else f"{value:.0f}")
        last = place.end()
    return "".join(out) + text[last:]


# what the audit makes of them


@dataclass
class Outcome:
    """Counts of statuses over one case. A false statement or planted number counts as contradicted if the claim of it
    is."""

    true: Counter[str]
    false: Counter[str]
    planted_right: Counter[str]
    planted: int
    planted_found: int
    alarms: list[str]
    missed: list[str]
    overlooked: list[str]


def judge_case(case: Case, measurements: Measurements, rng: np.random.Generator, part: str) -> Outcome:
    """Audit every statement about a case, and the planted texts of one part."""
    out = Outcome(Counter(), Counter(), Counter(), 0, 0, [], [], [])
    for text in true_statements(case):
        verdicts = audit(text, measurements).verdicts
        out.true.update([verdict.status.value for verdict in verdicts] or ["no claim"])
        out.alarms += [f"{case.seed} {text} {v.line()}" for v in verdicts if v.status is Status.CONTRADICTED]
    for text in false_statements(case, rng):
        verdicts = audit(text, measurements).verdicts
        found = [v for v in verdicts if v.status is Status.CONTRADICTED]
        out.false[(found or verdicts)[0].status.value if verdicts else "no claim"] += 1
        out.missed += [] if found else [f"{case.seed} {text} {[v.line() for v in verdicts]}"]
    for plant in planted(case, part, rng):
        out.planted_right.update(verdict.status.value for verdict in audit(plant.right, measurements).verdicts)
        family = plant.quantity.split("_")[0]
        found = [
            v
            for v in audit(plant.wrong, measurements).verdicts
            if v.status is Status.CONTRADICTED and v.claim.quantity.startswith(family)
        ]
        out.planted += 1
        out.planted_found += bool(found)
        out.overlooked += [] if found else [f"{case.seed} {plant.quantity} {plant.lead} {plant.wrong}"]
    return out
