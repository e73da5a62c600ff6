"""Make a toy data set: ECGs as .npz, their pages, and LLaVA JSON with questions and answers that are true of them.

    python playground/make_toy.py OUT --count 300 --seed 0 --pages

It writes OUT/ecg/*.npz (signal int16 [12, T] in uV, rate, unit, leads), OUT/image/*.png with --pages, OUT/train.json,
OUT/test.json, and OUT/truth.json (record -> source, split, what is true of it, times of its beats). The same
arguments give the same bytes. About 15 ms a record, 30 with a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Truth, draw, simulate
from llava_ecg.errors import InputError


@dataclass(frozen=True)
class Facts:
    """What the text may say of an ECG; None is "not measured" for a number and "not known" for the rest, of which
    nothing is said.

    Units as in `Measurements`. `conduction` and `rhythm` are the names of `llava_ecg.ecg.simulate`.
    """

    heart_rate_bpm: float
    rhythm_regular: bool | None = None
    p_present: bool | None = None
    pr_ms: float | None = None
    qrs_ms: float | None = None
    qt_ms: float | None = None
    qtc_bazett_ms: float | None = None
    axis_deg: float | None = None
    premature_beats: int | None = None
    conduction: str | None = None
    st_territory: str | None = None
    st_mv: float = 0.0
    t_inverted: bool | None = None
    high_voltage: bool | None = None

    @classmethod
    def of_truth(cls, truth: Truth) -> Facts:
        """The facts of a simulated recording with two beats or more."""
        if truth.heart_rate_bpm is None:
            raise InputError("a simulated recording with fewer than two beats has no heart rate; make it longer")
        shared = cls.__dataclass_fields__.keys() - {"heart_rate_bpm"}
        return cls(
            heart_rate_bpm=truth.heart_rate_bpm,
            **{name: value for name, value in truth.to_dict().items() if name in shared},
        )


# ---------------------------------------------------------------- words; every category is taken of the rounded number
# that is said


def _near(value: float, step: int) -> int:
    return int(step * np.floor(value / step + 0.5))


def _rate(facts: Facts) -> tuple[int, str, str]:
    """The rate in bpm, its category in words, and how an impression names it."""
    bpm = _near(facts.heart_rate_bpm, 1)
    if bpm < 60:
        return bpm, "a slow rate (bradycardia)", "slow"
    return (bpm, "a normal rate", "normal") if bpm <= 100 else (bpm, "a fast rate (tachycardia)", "fast")


def _rhythm(facts: Facts) -> tuple[str, str]:
    """How the rhythm looks, and what it is consistent with."""
    waves = {
        True: "with a P wave before each QRS complex",
        False: "without P waves",
        None: "with P waves that could not be judged",
    }
    regular = {True: "regular", False: "irregular", None: "of unknown regularity"}[facts.rhythm_regular]
    if facts.premature_beats:
        beats = (
            "a premature ventricular beat"
            if facts.premature_beats == 1
            else f"{facts.premature_beats} premature ventricular beats"
        )
        return f"irregular with {beats}", "sinus rhythm with premature ventricular beats"
    if facts.p_present is False and facts.rhythm_regular is False:
        name = "atrial fibrillation"
    elif facts.p_present:
        name = "sinus arrhythmia" if facts.rhythm_regular is False else "sinus rhythm"
    else:
        name = "a rhythm that could not be determined"
    return f"{regular} {waves[facts.p_present]}", name


def _pr(facts: Facts) -> str:
    if facts.pr_ms is None:
        return "could not be measured" if facts.p_present is not False else "cannot be given without P waves"
    pr = _near(facts.pr_ms, 10)
    return f"is {pr} ms ({'short' if pr < 120 else 'normal' if pr <= 200 else 'prolonged'})"


def _qrs(facts: Facts) -> str:
    if facts.qrs_ms is None:
        return "could not be measured"
    qrs = _near(facts.qrs_ms, 5)
    return f"is {qrs} ms ({'wide' if qrs >= 120 else 'narrow'})"


def _qtc(facts: Facts) -> str:
    if facts.qtc_bazett_ms is None or facts.qt_ms is None:
        return "could not be measured"
    qtc = _near(facts.qtc_bazett_ms, 10)
    word = "short" if qtc < 350 else "normal" if qtc <= 460 else "prolonged"
    return f"is {qtc} ms ({word}, Bazett; QT {_near(facts.qt_ms, 10)} ms)"


def _intervals(facts: Facts) -> str:
    return f"The PR interval {_pr(facts)}, the QRS duration {_qrs(facts)} and the QTc {_qtc(facts)}."


def _axis(facts: Facts) -> str:
    if facts.axis_deg is None:
        return "The QRS axis could not be measured."
    axis = (_near(facts.axis_deg, 10) + 179) % 360 - 179
    word = (
        "normal"
        if -30 <= axis <= 90
        else "left axis deviation"
        if -90 <= axis < -30
        else "right axis deviation"
        if axis > 90
        else "extreme axis deviation"
    )
    return f"The QRS axis is {axis} degrees ({word})."


def _findings(facts: Facts) -> list[str]:
    """What else there is to say, as noun phrases for the impression."""
    out = []
    if facts.pr_ms is not None and _near(facts.pr_ms, 10) > 200:
        out.append("first-degree AV block")
    if facts.conduction not in (None, "normal"):
        out.append(str(facts.conduction))
    elif facts.qrs_ms is not None and _near(facts.qrs_ms, 5) >= 120:
        out.append("a wide QRS complex")
    if facts.st_territory is not None:
        out.append(
            f"{facts.st_territory} ST {'elevation' if facts.st_mv > 0 else 'depression'} of {abs(facts.st_mv):.1f} mV"
        )
    if facts.t_inverted:
        out.append("inverted T waves")
    if facts.high_voltage:
        out.append("high QRS voltage as in ventricular hypertrophy")
    if facts.qtc_bazett_ms is not None and facts.qt_ms is not None and _near(facts.qtc_bazett_ms, 10) > 460:
        out.append("a prolonged QTc")
    return out


def _impression(facts: Facts) -> str:
    _, _, speed = _rate(facts)
    _, name = _rhythm(facts)
    if name == "sinus rhythm" and speed != "normal":
        head = "sinus bradycardia" if speed == "slow" else "sinus tachycardia"
    else:
        head = f"{name} at a {speed} rate"
    return ", ".join([head, *_findings(facts)])


def interpretation(facts: Facts, rng: np.random.Generator) -> str:
    """An answer of about a hundred tokens: rhythm and rate, intervals, axis, impression, always in this order."""
    bpm, rate, _ = _rate(facts)
    looks, name = _rhythm(facts)
    first = (
        f"The rhythm is {looks}, at {bpm} bpm: {rate}, consistent with {name}.",
        f"The heart rate is {bpm} bpm, {rate}. The rhythm is {looks}, consistent with {name}.",
    )[rng.integers(2)]
    return f"{first} {_intervals(facts)} {_axis(facts)} Impression: {_impression(facts)}."


def questions(facts: Facts, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Short questions with answers of one sentence, in a fixed order; `rng` chooses how each is asked."""
    bpm, rate, _ = _rate(facts)
    looks, name = _rhythm(facts)
    wide = None if facts.qrs_ms is None else _near(facts.qrs_ms, 5) >= 120
    if facts.conduction not in (None, "normal"):
        block = f"Yes, the QRS duration {_qrs(facts)}, with the pattern of {facts.conduction}."
    elif wide is None:
        block = "The QRS duration could not be measured, so a bundle branch block can't be judged."
    else:
        block = f"{'The QRS complex is wide' if wide else 'No'}, the QRS duration {_qrs(facts)}."
    steady = {True: "Yes, the rhythm is ", False: "No, the rhythm is ", None: "The rhythm is "}[facts.rhythm_regular]
    asked = [
        (("What is the heart rate?", "How fast is the heart beating?"), f"The heart rate is {bpm} bpm, {rate}."),
        (("Is the rhythm regular?", "Does the heart beat regularly?"), f"{steady}{looks}, at {bpm} bpm."),
        (
            ("What is the rhythm?", "Which rhythm does this ECG show?"),
            f"The rhythm is {looks}, consistent with {name} at {bpm} bpm.",
        ),
        (("What are the PR, QRS and QTc intervals?", "Give the intervals."), _intervals(facts)),
        (("What is the QRS axis?", "Is there an axis deviation?"), _axis(facts)),
        (("Is there a bundle branch block?", "Is the QRS complex wide?"), block),
    ]
    return [(ways[rng.integers(len(ways))], answer) for ways, answer in asked]


def conversation(facts: Facts, rng: np.random.Generator) -> list[dict[str, str]]:
    """The turns of one record in LLaVA form: mostly an interpretation and a question or two, else two or three short
    questions."""
    short = questions(facts, rng)
    if rng.random() < 0.65:
        ask = ("Interpret this ECG.", "Interpret this ECG.", "Please describe this ECG.", "What does this ECG show?")[
            rng.integers(4)
        ]
        pairs = [(ask, interpretation(facts, rng))] + [
            short[i] for i in rng.choice(len(short), rng.integers(1, 3), replace=False)
        ]
    else:
        pairs = [short[i] for i in rng.choice(len(short), rng.integers(2, 4), replace=False)]
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = "<image>\n" + turns[0]["value"]
    return turns


# ---------------------------------------------------------------- records


@dataclass(frozen=True, eq=False)
class Record:
    """One ECG of the set, with the split it belongs to."""

    name: str
    source: str
    split: str
    recording: Recording
    facts: Facts
    beats_s: tuple[float, ...]


def simulated(count: int, seed: int, test_share: float) -> Iterator[Record]:
    """`count` simulated records; the last `test_share` of them are for testing."""
    rng = np.random.default_rng(seed)
    for i, number in enumerate(rng.integers(0, 2**62, count)):
        recording, truth = simulate(draw(np.random.default_rng(number)), seed=int(number))
        split = "test" if i >= round(count * (1 - test_share)) else "train"
        yield Record(f"{i:06d}", f"simulated, seed {number}", split, recording, Facts.of_truth(truth), truth.beats_s)


def save(record: Record, out: Path, dpi: float | None) -> dict[str, Any]:
    """Write the signal, and the page where `dpi` is given; returns the paths for the JSON."""
    stored = np.nan_to_num(np.clip(np.rint(record.recording.signal * 1000), -32768, 32767)).astype(np.int16)
    files = {"ecg": f"ecg/{record.name}.npz"}
    np.savez_compressed(
        out / files["ecg"],
        signal=stored,
        rate=np.float64(record.recording.rate),
        unit=np.array("uV"),
        leads=np.array(record.recording.leads),
    )
    if dpi is not None:
        from llava_ecg.ecg.render import render

        files["image"] = f"image/{record.name}.png"
        page = render(replace(record.recording, signal=stored.astype(np.float32) / 1000), dpi=dpi)
        page.save(out / files["image"], dpi=page.info["dpi"])
    return files


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make_toy.py", description="make a toy data set of ECGs, pages, and questions with true answers"
    )
    parser.add_argument("out", type=Path, help="folder to write; made if need be")
    parser.add_argument("--count", type=int, default=300, help="simulated records (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="fixes everything (default 0)")
    parser.add_argument("--test-share", type=float, default=0.1, help="of the simulated records (default 0.1)")
    parser.add_argument("--pages", action="store_true", help="also write the 12-lead page of each record")
    parser.add_argument("--dpi", type=float, default=50.0, help="of the pages (default 50: 550 x 425 pixels)")
    arguments = parser.parse_args(argv)
    if arguments.count < 0 or not 0 <= arguments.test_share <= 1:
        parser.error("--count must not be negative and --test-share must lie in 0-1")
    return arguments


def _records(arguments: argparse.Namespace) -> Iterator[Record]:
    yield from simulated(arguments.count, arguments.seed, arguments.test_share)


def main(argv: list[str] | None = None) -> int:
    """Write the data set; 0 when done, 2 for input that can't be used."""
    arguments = _arguments(argv)
    out: Path = arguments.out
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    truth: dict[str, dict[str, Any]] = {}
    try:
        for folder in ("ecg", "image")[: 2 if arguments.pages else 1]:
            (out / folder).mkdir(parents=True, exist_ok=True)
        for number, record in enumerate(_records(arguments)):
            files = save(record, out, arguments.dpi if arguments.pages else None)
            turns = conversation(record.facts, np.random.default_rng([arguments.seed, 2, number]))
            splits[record.split].append({"id": record.name, **files, "conversations": turns})
            entry = {"source": record.source, "split": record.split, "facts": asdict(record.facts)}
            truth[record.name] = entry | {"beats_s": [round(beat, 3) for beat in record.beats_s]}
        for name, content in {**splits, "truth": truth}.items():
            (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"make_toy.py: {error}", file=sys.stderr)
        return 2
    print(f"{out}: {len(splits['train'])} records for training, {len(splits['test'])} for testing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
