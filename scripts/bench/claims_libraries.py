r"""Whether a clinical-text library finds quantities and denials in the test sentences as well as our own reader does.

Hardware: any CPU, one core. Time: half a minute. Memory: 1 GB. Runs from the root of the repository in an environment
of its own, in which nothing of ours is installed; no model of spaCy's is downloaded:

    python -m venv TEXT && TEXT/bin/pip install quantulum3==0.10.0 negspacy==1.1.0 medspacy==1.3.1
    PYTHONPATH=. TEXT/bin/python -W ignore scripts/bench/claims_libraries.py

Where pip can't build a dependency of medspacy, ``pip install --no-deps medspacy==1.3.1`` and ``pip install pysbd`` do.

- Quantities: each number or range of the sentences in ms, bpm, degrees or mV. Right is a number that stands where it
  does and is it within 1 %, and the unit if it is one that such a number can be in (mm count as 0.1 mV, s as 1000 ms;
  quantulum3's reading of "bpm" as base pair metre counts as right, since a unit can be added to it). What the number is
  *of*, which is most of the work, is not asked.
- Denials: findings, such as ST elevation, LBBB or fibrillation, that the text names. The libraries are handed the words
  of each finding (without "no", "is absent", ...) and only say whether they are denied; ours has to find them, and one
  that it misses counts as wrong.
- In doubt ("possible", "cannot exclude"): the same; negspacy does not know it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llava_ecg.grounding.claims import find_claims
from tests.grounding.scoring import Sentence, load

UNITS = {  # unit of a claim -> quantulum3's name of a unit it can be written in -> factor
    "ms": {"millisecond": 1.0, "second": 1000.0},
    "mV": {"millivolt": 1.0, "millimetre": 0.1, "microvolt": 0.001},
    "bpm": {"per minute": 1.0, "beat per minute": 1.0, "beats per minute": 1.0, "base pair metre": 1.0},
    "deg": {"degree angle": 1.0, "degree": 1.0},
}
_SUFFIXES = (("_ms", "ms"), ("_bpm", "bpm"), ("_deg", "deg"), ("_mv", "mV"))
FINDINGS = ("conduction", "av_block", "voltage", "st_category", "t_category", "q_wave", "diagnosis", "premature",
            "pacing", "pause", "atrial", "rhythm", "rate_category")  # fmt: skip
_NOT_THE_WORDS = ("normal", "abnormal", "upright", "sinus", "present", "regular")  # of which "no" denies the opposite
_CUE = re.compile(
    r"^(?:(?:no|not|without|absent|absence of|negative for|denies|any|a|an|of|evidence|signs?)\s+)+", re.I
)
_CUE_BEHIND = re.compile(
    r"(?:\s+(?:is|are|was|were))?\s+(?:absent|excluded|ruled out|not (?:seen|present|evident)|no longer evident)$", re.I
)
Span = tuple[int, int]


class Number(NamedTuple):
    """A number of a text: from low to high (the same where it is one), in the claim's unit, and where it stands."""

    low: float
    high: float
    unit: str
    span: Span


class Finding(NamedTuple):
    """A finding that a text names: its words, and whether it is denied or in doubt."""

    quantity: str
    value: str
    span: Span
    negated: bool
    hedged: bool


def span_of(sentence: Sentence, claim: Mapping[str, Any]) -> Span:
    """Where the words of a claim stand."""
    start = claim["at"] if "at" in claim else sentence.text.find(claim["says"])
    return start, start + len(claim["says"])


def numbers(sentence: Sentence) -> list[Number]:
    """The numbers that the claims of a sentence give, without sign."""
    out = []
    for claim in sentence.claims:
        unit = next((unit for suffix, unit in _SUFFIXES if claim["quantity"].endswith(suffix)), "")
        ends = (
            (claim.get("low"), claim.get("high")) if claim.get("comparison") == "range" else (claim.get("value"),) * 2
        )
        if unit and isinstance(ends[0], int | float) and isinstance(ends[1], int | float):
            low, high = sorted(map(abs, ends))
            out.append(Number(low, high, unit, span_of(sentence, claim)))
    return out


def findings(sentence: Sentence) -> list[Finding]:
    """The findings that the claims of a sentence name, each wording once."""
    out: dict[Span, Finding] = {}
    for claim in sentence.claims:
        if claim["quantity"] not in FINDINGS or claim["value"] in _NOT_THE_WORDS or not claim.get("says"):
            continue
        start, end = span_of(sentence, claim)
        cue = _CUE.match(sentence.text[start:end])
        start += cue.end() if cue else 0
        cue = _CUE_BEHIND.search(sentence.text[start:end])
        end -= cue.end() - cue.start() if cue else 0
        if start < end:
            out.setdefault(
                (start, end),
                Finding(
                    claim["quantity"],
                    claim["value"],
                    (start, end),
                    bool(claim.get("negated")),
                    bool(claim.get("hedged")),
                ),
            )
    return list(out.values())


def overlaps(a: Span, b: Span) -> bool:
    """Whether two spans have a character in common."""
    return a[0] < b[1] and b[0] < a[1]


def near(a: float, b: float) -> bool:
    """Equal within 1 %."""
    return abs(a - b) <= 0.01 * max(abs(a), abs(b), 1e-9)


# -- numbers -----------------------------------------------------------------------------------------------------------


def by_quantulum3(text: str) -> list[tuple[float, float, str, Span]]:
    """(low, high, name of the unit, span) of each quantity."""
    from quantulum3 import parser

    try:
        found = parser.parse(text)
    except Exception:  # the library's own failure is what is counted
        return []
    return [
        (abs(q.value) - (q.uncertainty or 0), abs(q.value) + (q.uncertainty or 0), q.unit.name, q.span) for q in found
    ]


def score_quantulum3(sentences: Iterable[Sentence]) -> dict[str, float]:
    """Shares of the numbers with the right value, and with the right unit too."""
    said = value = unit = 0
    for sentence in sentences:
        found = by_quantulum3(sentence.text)
        for number in numbers(sentence):
            said += 1
            here = [each for each in found if overlaps(each[3], number.span)]
            known = UNITS[number.unit]
            factors = {*known.values(), 1.0}
            value += any(near(a * f, number.low) and near(b * f, number.high) for a, b, _, _ in here for f in factors)
            unit += any(
                name in known and near(a * known[name], number.low) and near(b * known[name], number.high)
                for a, b, name, _ in here
            )
    return {"numbers": said, "value right %": 100 * value / said, "value and unit right %": 100 * unit / said}


def score_our_numbers(sentences: Iterable[Sentence]) -> dict[str, float]:
    """The same of `find_claims`."""
    said = unit = 0
    for sentence in sentences:
        found = find_claims(sentence.text)
        for number in numbers(sentence):
            said += 1
            for claim in found:
                ends = (claim.low, claim.high) if claim.comparison == "range" else (claim.value, claim.value)
                if not all(isinstance(end, int | float) for end in ends) or not overlaps(claim.span, number.span):
                    continue
                low, high = sorted(abs(float(end)) for end in ends)  # type: ignore[arg-type]
                if claim.unit == number.unit and near(low, number.low) and near(high, number.high):
                    unit += 1
                    break
    return {"numbers": said, "value and unit right %": 100 * unit / said}


# -- denials and doubts ------------------------------------------------------------------------------------------------

Judge = Callable[[Sentence, list[Finding]], list[tuple[bool, bool] | None]]
"""A sentence and its findings -> (denied, in doubt) of each, None where it was not found."""


def ours(sentence: Sentence, named: list[Finding]) -> list[tuple[bool, bool] | None]:
    """By `find_claims`, which is not told where the findings are."""
    claims = find_claims(sentence.text)
    out: list[tuple[bool, bool] | None] = []
    for finding in named:
        same = [
            claim
            for claim in claims
            if (claim.quantity, claim.value) == (finding.quantity, finding.value) and overlaps(claim.span, finding.span)
        ]
        out.append((same[0].negated, same[0].hedged) if same else None)
    return out


def _with_entities(nlp: Any, sentence: Sentence, named: list[Finding]) -> tuple[Any, list[Any]]:
    """A document with the findings as its entities, and the entity of each (None where another one covers it)."""
    from spacy.util import filter_spans

    document = nlp(sentence.text)
    spans = [document.char_span(*each.span, label="FINDING", alignment_mode="expand") for each in named]
    document.ents = filter_spans([span for span in spans if span is not None])
    covering = [
        next((ent for ent in document.ents if span is not None and ent.start < span.end and span.start < ent.end), None)
        for span in spans
    ]
    return document, covering


def negspacy() -> Judge:
    """NegEx by negspacy with its clinical terms."""
    import spacy
    from negspacy.negation import Negex
    from negspacy.termsets import termset

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    negex = Negex(
        nlp, "negex", neg_termset=termset("en_clinical").get_patterns(), ent_types=[], extension_name="negex",
        chunk_prefix=[],
    )  # fmt: skip

    def judge(sentence: Sentence, named: list[Finding]) -> list[tuple[bool, bool] | None]:
        document, entities = _with_entities(nlp, sentence, named)
        negex(document)
        return [None if entity is None else (bool(entity._.negex), False) for entity in entities]

    return judge


def context() -> Judge:
    """ConText by medspacy with its default rules."""
    import spacy
    from medspacy.context import ConText

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    rules = ConText(nlp, rules="default")

    def judge(sentence: Sentence, named: list[Finding]) -> list[tuple[bool, bool] | None]:
        document, entities = _with_entities(nlp, sentence, named)
        rules(document)
        return [
            None if entity is None else (bool(entity._.is_negated), bool(entity._.is_uncertain)) for entity in entities
        ]

    return judge


def score_polarity(sentences: Iterable[Sentence], judge: Judge) -> dict[str, float]:
    """Shares of the denied findings called denied, of the others not, and the same of doubt."""
    counts = {name: [0, 0] for name in ("denied", "not denied", "in doubt", "not in doubt")}
    for sentence in sentences:
        named = findings(sentence)
        for finding, said in zip(named, judge(sentence, named), strict=True):
            for yes, no, gold, at in (
                ("denied", "not denied", finding.negated, 0),
                ("in doubt", "not in doubt", finding.hedged, 1),
            ):
                tally = counts[yes if gold else no]
                tally[0] += said is not None and said[at] == gold
                tally[1] += 1
    return {f"{name} right % (of {total})": 100 * right / max(1, total) for name, (right, total) in counts.items()}


def main() -> None:
    """Score what is installed, print, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--part", choices=("dev", "test", "both"), default="test", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    chosen = [each for each in load() if options.part in (each.part, "both")]
    english = [each for each in chosen if each.file != "german"]
    out: dict[str, dict[str, float]] = {
        "numbers, ours": score_our_numbers(chosen),
        "numbers, quantulum3": score_quantulum3(chosen),
        "findings, ours": score_polarity(english, ours),
        "findings, negspacy": score_polarity(english, negspacy()),
        "findings, medspacy": score_polarity(english, context()),
    }
    print(f"{len(chosen)} texts, {len(english)} of them English, for denials and doubts")
    for name, figures in out.items():
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:<32}{value:.1f}" if isinstance(value, float) else f"  {figure:<32}{value}")
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
