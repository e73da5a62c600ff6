"""What a written text must pass before it is kept: the audit against the signal, and the rules of form.

A text that contradicts what was measured is never kept. `refusal` is what every writer's text goes through, whoever
wrote it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from llava_ecg.data.conversation import MARKER
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.verdicts import Status
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.samples import Exchange, Sample

LONGEST_QUESTION, SHORTEST_ANSWER, LONGEST_ANSWER = 600, 3, 3000
"""Characters."""

_LEAK = re.compile(
    r"\b(?:the|this|given|provided|original|accompanying|clinical|cardiologist'?s?|machine|reference)\s+(?:ecg\s+)?(?:report|label|annotation"
    r"|diagnosis list|statement|metadata)s?\b"
    r"|\bground[- ]truth\b|\blabel+ed\b|\bannotat\w+|\bas (?:reported|stated|labelled|given)\b|\baccording to the\b"
    r"|\bSCP\b|\bSNOMED\b|\bmachine[_ ]measurements?\b|\breport(?:s|ed)? (?:says?|states?|mentions?|that)\b|\b\d{8,}\b",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"\{[^}]*\}?|\[[^\]]*\]|<[^>]+>|\b(?:None|nan|NaN|inf|null|TODO|TBD|XX+|N/A)\b"
    r"|_{2,}|\.{3,}|\?{2,}|\bundefined\b| {2,}"
)


@dataclass(frozen=True)
class Checked:
    """What became of a sample.

    Attributes:
        refused: why it is not kept; empty where it is.
        audit: status -> how many claims of its answers have it.
        contradicted: the words of the claims that the signal contradicts.
        faults: all that is wrong, in words that its writer can go by.
    """

    refused: str
    audit: Mapping[str, int]
    contradicted: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def check(sample: Sample) -> Checked:
    """Audit every answer of a sample, and hold its texts to the rules of form."""
    counts: Counter[str] = Counter({status.value: 0 for status in Status})
    wrong: list[str] = []
    without: list[str] = []
    unsure = False
    refused = ""
    for exchange in sample.exchanges:
        refused = refused or malformed(exchange)
        for facts, text in _audited(exchange, sample):
            sex, age = (facts.sex, facts.age) if sample.told else (None, None)
            found = audit_answer(exchange.question, text, facts.measured, sex=sex, age=age)
            counts.update(found.counts)
            wrong += [verdict.line() for verdict in found.verdicts if verdict.status is Status.CONTRADICTED]
            without += [verdict.line() for verdict in found.verdicts if verdict.status is Status.UNMEASURABLE]
            unsure = unsure or (exchange.decided and found.counts[Status.BORDERLINE.value] > 0)
    if wrong:
        refused = "contradicted"
    elif without and not refused:
        refused = "not measured"
    elif unsure and not refused:
        refused = "too near to a threshold"
    faults = (*wrong, *without) or (refused,)
    return Checked(refused, dict(counts), tuple(wrong), faults if refused else ())


def _audited(exchange: Exchange, sample: Sample) -> list[tuple[Facts, str]]:
    if exchange.parts:
        return [(sample.facts[which], text) for which, text in exchange.parts]
    return [(sample.facts[0], exchange.answer)]


def malformed(exchange: Exchange) -> str:
    """What is wrong with the form of a question and its answer; empty where nothing is."""
    answer = exchange.answer.strip()
    if (
        not SHORTEST_ANSWER <= len(answer) <= LONGEST_ANSWER
        or not 0 < len(exchange.question.strip()) <= LONGEST_QUESTION
    ):
        return "too short or too long"
    if _PLACEHOLDER.search(answer) or _PLACEHOLDER.search(exchange.question) or MARKER in exchange.question + answer:
        return "a placeholder was left"
    return "it speaks of the report" if _LEAK.search(answer) else ""
