r"""How good the embedded model is on recordings that it has not seen, with 95 % intervals, beside what costs nothing.

Hardware: two CPU cores. Time: about 12 minutes for all records in 8 bits. Memory: 2 GB.

    python scripts/bench/tiny_quality.py --model gem-tiny --data ../shared/data \
        --json scripts/bench/results/tiny_quality.json

The records are PTB-XL's fold 9 of the sample (limb leads with their ratios restored, without voltages) and those of the
2021 challenge but for PTB-XL's; see `llava_ecg.train.tiny.sources`. Each is asked for an interpretation with signal and
page; those of fold 9 also for their superclasses and how likely each is, with signal and page, the signal alone and
the page alone. Truth is the label of the record's makers for diagnoses, and `llava_ecg.ecg.measure` for numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg import __version__
from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.cli.flags import QUANTIZATIONS
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.scaled import without_volts
from llava_ecg.eval.intervals import Figure, bootstrap
from llava_ecg.eval.measured import NORMAL, Heard, grounding
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.parsers import labels as read_labels
from llava_ecg.eval.samples import INTERPRET, SUPERCLASSES
from llava_ecg.eval.scorers import macro_auc, macro_f1
from llava_ecg.eval.sources import Partly
from llava_ecg.grounding.claims import find_claims
from llava_ecg.train.tiny.questions import LIKELIHOODS
from llava_ecg.train.tiny.sources import SUPERCLASSES as LABELS
from llava_ecg.train.tiny.sources import Source, challenge_2021, ptbxl

WAYS = ("both", "signal", "image")
ALONE = {"signal": ("ecg",), "image": ("image",)}
BLOCK = re.compile(r"(?<!incomplete )(left|right) bundle branch block")
TOKENS = 200


@dataclass(frozen=True, eq=False)
class Record:
    """A record, what was measured on it, and what was answered: (what, way) -> answer."""

    source: Source
    measured: Measurements
    answers: dict[tuple[str, str], Answer]

    @property
    def name(self) -> str:
        return self.source.name


def records(data: Path, limit: int) -> list[Record]:
    """The records that were not trained on, measured."""
    found = [source for source in ptbxl(data / "ptbxl") if source.split == "test"]
    found += challenge_2021(data / "cinc2021")
    if limit:
        found = found[:: max(1, math.ceil(len(found) / limit))]
    out = []
    for source in found:
        measured = Case(source.recording).measurements
        if measured is not None and measured.heart_rate_bpm is not None:
            out.append(Record(source, without_volts(measured) if source.scaled else measured, {}))
    return out


def questions(records: Sequence[Record], ways: Sequence[str]) -> Iterator[Question]:
    """All that is asked, record by record, so that what was read of one is used again."""
    for record in records:
        whole = Case(record.source.recording)
        for way in ways:
            case = whole if way == "both" else Partly(whole.recording, whole.page, show=ALONE[way])
            asked = {"note": INTERPRET} if way == "both" else {}
            if record.source.labels.get("NORM") is not None:
                asked |= {"superclasses": SUPERCLASSES, "likely": LIKELIHOODS[0]}
            for what, text in asked.items():
                yield Question([Turn("user", text)], case, (record, what, way))


def ask(assistant: Assistant, found: Sequence[Record], ways: Sequence[str], slots: int) -> None:
    """Fill in the answers."""
    began = time.time()
    answers = assistant.ask_many(questions(found, ways), Decoding(max_new_tokens=TOKENS), slots=slots)
    for done, (question, answer) in enumerate(answers, 1):
        if not isinstance(answer, Answer):
            raise answer
        record, what, way = question.tag
        record.answers[what, way] = answer
        if done % 100 == 0:
            print(f"  {done} answers, {time.time() - began:.0f} s", flush=True)


# -- figures -----------------------------------------------------------------------------------------------------------


def superclasses(found: Sequence[Record], way: str) -> dict[str, Figure]:
    """Macro F1 of the labels named, macro AUC of how likely they are said to be."""
    asked = [record for record in found if ("superclasses", way) in record.answers]
    is_so = np.array([[record.source.labels[name] for name in LABELS] for record in asked])
    said = np.array([named(record, way) for record in asked])
    scores = np.array([[likely(text(record, "likely", way), name) for name in LABELS] for record in asked])
    groups = [record.name for record in asked]
    return {
        "macro F1": bootstrap(lambda at: macro_f1(said[at], is_so[at]), len(asked), groups=groups),
        "macro AUC": bootstrap(lambda at: macro_auc(scores[at], is_so[at]), len(asked), groups=groups),
    }


def floors(found: Sequence[Record]) -> dict[str, float | None]:
    """Macro F1 of answers that cost nothing: labels drawn as often as they are so, the commonest set, shuffled ones."""
    asked = [record for record in found if ("superclasses", "both") in record.answers]
    is_so = np.array([[record.source.labels[name] for name in LABELS] for record in asked])
    rng = np.random.default_rng(0)
    drawn = [macro_f1(rng.random(is_so.shape) < is_so.mean(axis=0), is_so) or 0.0 for _ in range(200)]
    said = np.array([named(record, "both") for record in asked])
    mixed = [macro_f1(said[rng.permutation(len(said))], is_so) or 0.0 for _ in range(200)]
    rows = [tuple(row) for row in is_so.tolist()]
    commonest = np.array([max(set(rows), key=rows.count)] * len(rows))
    return {
        "chance": statistics.mean(drawn),
        "majority": macro_f1(commonest, is_so),
        "shuffled": statistics.mean(mixed),
    }


def text(record: Record, what: str, way: str = "both") -> str:
    """An answer's text."""
    return record.answers[what, way].text


def named(record: Record, way: str) -> list[bool]:
    """Which of the superclasses an answer gives, as `llava-ecg eval` reads it."""
    found = read_labels(text(record, "superclasses", way), [Label(name) for name in LABELS]) or frozenset()
    return [name in found for name in LABELS]


def likely(said: str, name: str) -> float:
    """The number behind a label; a half where there is none."""
    number = re.search(rf"\b{name}\s+(0?\.\d+|[01](?:\.0)?)\b", said)
    return float(number[1]) if number else 0.5


def values_of(note: str) -> dict[str, Any]:
    """Quantity -> the first value of an interpretation."""
    out: dict[str, Any] = {}
    for claim in find_claims(note):
        if claim.value is not None:
            out.setdefault(claim.quantity, claim.value)
    return out


def yes_no(found: Sequence[Record], label: Callable[[Record], bool | None], told: Callable[[str], bool]) -> Figure:
    """F1 of a finding in the interpretations, over the records of which it is known."""
    known = [record for record in found if label(record) is not None]
    truth = np.array([[bool(label(record))] for record in known])
    said = np.array([[told(text(record, "note"))] for record in known])
    return bootstrap(lambda at: macro_f1(said[at], truth[at]), len(known))


def category(rate: float) -> str:
    """bradycardia < 60 <= normal <= 100 < tachycardia, of the rate in whole bpm."""
    return "bradycardia" if round(rate) < 60 else "normal" if round(rate) <= 100 else "tachycardia"


def rates(found: Sequence[Record]) -> dict[str, Figure]:
    """How often a rate is stated, how far it is off, and whether its category is right."""
    said = [values_of(text(record, "note")).get("heart_rate_bpm") for record in found]
    true = [float(record.measured.heart_rate_bpm or 0) for record in found]
    off = np.array(
        [math.nan if value is None else abs(float(value) - rate) for value, rate in zip(said, true, strict=True)]
    )
    right = np.array(
        [value is not None and category(float(value)) == category(rate) for value, rate in zip(said, true, strict=True)]
    )
    return {
        "stated": bootstrap(lambda at: float(np.isfinite(off[at]).mean()), len(found)),
        "mean absolute error, bpm": bootstrap(lambda at: _mean(off[at]), len(found)),
        "category right": bootstrap(lambda at: float(right[at].mean()), len(found)),
    }


def interval(found: Sequence[Record], name: str) -> Figure:
    """Mean absolute error of a stated interval, ms, where it was measured and stated."""
    errors = np.array(_errors(found, [values_of(text(record, "note")) for record in found], name))
    return bootstrap(lambda at: _mean(errors[at]), len(errors))


def _errors(found: Sequence[Record], said: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """How far stated values are off, where one was measured and stated."""
    pairs = [(values.get(name), getattr(record.measured, name)) for values, record in zip(said, found, strict=True)]
    return [abs(float(value) - true) for value, true in pairs if value is not None and true is not None]


def number_floors(found: Sequence[Record]) -> dict[str, dict[str, float | None]]:
    """Mean absolute errors, and the share of right categories, of the constant normal text and of shuffled notes."""
    notes = [values_of(text(record, "note")) for record in found]
    rng = np.random.default_rng(0)
    mixed = [[notes[place] for place in rng.permutation(len(notes))] for _ in range(50)]
    out = {}
    for kind, draws in (("normal", [[values_of(NORMAL)] * len(found)]), ("shuffled", mixed)):
        errors = {
            name: _mean(np.array([error for said in draws for error in _errors(found, said, name)]))
            for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms")
        }
        right = [
            category(float(values.get("heart_rate_bpm", math.nan))) == category(record.measured.heart_rate_bpm or 0)
            for said in draws
            for values, record in zip(said, found, strict=True)
            if "heart_rate_bpm" in values
        ]
        out[kind] = {**errors, "category right": statistics.mean(right) if right else None}
    return out


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def broken(answer: Answer) -> str:
    """What is wrong with the form of an answer; empty where nothing is."""
    sentences = [each.strip() for each in re.split(r"(?<=[.!?])\s+", answer.text) if each.strip()]
    if not answer.text.strip():
        return "empty"
    if answer.finished != "stop":
        return "not ended"
    return "repeats itself" if len(set(sentences)) < len(sentences) else ""


def figures(found: Sequence[Record], ways: Sequence[str]) -> dict[str, Any]:
    """The table."""
    noted = [record for record in found if ("note", "both") in record.answers]
    own = [record for record in noted if record.name.startswith("cinc2021")]
    blocks = ("left bundle branch block", "right bundle branch block")

    def block(record: Record) -> bool | None:
        known = [record.source.labels.get(name) for name in blocks]
        return None if None in known else any(known)

    heard = [Heard(INTERPRET, text(record, "note"), record.measured, record.name) for record in noted]
    grounded = grounding(heard)
    faults = [fault for record in found for answer in record.answers.values() if (fault := broken(answer))]
    return {
        "records": {"all": len(noted), "cinc2021": len(own)},
        "superclasses": {way: superclasses(found, way) for way in ways},
        "superclasses, floors": floors(found),
        "atrial fibrillation, F1": yes_no(
            noted,
            lambda record: record.source.labels.get("atrial fibrillation"),
            lambda note: "atrial fibrillation" in note,
        ),
        "complete bundle branch block, F1": yes_no(noted, block, lambda note: bool(BLOCK.search(note))),
        "rate, cinc2021": rates(own),
        "rate, all": rates(noted),
        **{f"{name}, error": interval(noted, name) for name in ("pr_ms", "qrs_ms", "qt_ms")},
        "numbers, floors": {"cinc2021": number_floors(own), "all": number_floors(noted)},
        "grounding": {
            "score": grounded.score,
            "lift": grounded.lift,
            "constant": grounded.constant,
            "shuffled": grounded.shuffled,
            "settled claims an answer": grounded.settled,
        },
        "answers": sum(len(record.answers) for record in found),
        "broken answers": len(faults),
        "faults": {name: faults.count(name) for name in sorted(set(faults))},
    }


def plain(value: Any) -> Any:
    """Figures as dicts."""
    if isinstance(value, Figure):
        return asdict(value)
    return {name: plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def lines(value: Any, before: str = "") -> Iterator[str]:
    """A line a figure."""
    if isinstance(value, Figure):
        shown = "none" if value.value is None else f"{value.value:.3f}"
        interval = "" if value.low is None else f" [{value.low:.3f}, {value.high:.3f}]"
        yield f"{before}: {shown}{interval}, of {value.count}"
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from lines(each, f"{before}, {name}" if before else name)
    else:
        yield f"{before}: {value if not isinstance(value, float) else round(value, 3)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, score, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gem-tiny")
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="auto", help="default: auto")
    parser.add_argument("--data", type=Path, required=True, help="folder with ptbxl/ and cinc2021/")
    parser.add_argument("--limit", type=int, default=0, help="so many records, evenly (0: all)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--slots", type=int, default=8, help="answers at once")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    if "both" not in options.ways:
        parser.error("--ways needs both, of which the interpretations are")
    if missing := [name for name in ("ptbxl", "cinc2021") if not (options.data / name).is_dir()]:
        parser.error(f"--data {options.data} has no folder {' and no '.join(missing)}")
    found = records(options.data, options.limit)
    ask(Assistant.open(options.model, quantization=options.quantization), found, options.ways, options.slots)
    table = figures(found, options.ways)
    print("\n".join(lines(table)))
    if options.json:
        answers = [
            {"record": record.name, "asked": what, "shown": way, "answer": answer.text}
            for record in found
            for (what, way), answer in record.answers.items()
        ]
        machine = f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}"
        content = {
            "model": str(options.model),
            "quantization": options.quantization,
            "version": __version__,
            "machine": machine,
            "floor text": NORMAL,
        }
        options.json.write_text(json.dumps(content | {"figures": plain(table), "answers": answers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
