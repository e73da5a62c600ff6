"""`audit_answer`: an answer beside its question, so that nothing looks checked that was not.

`audit` holds the claims of a text against the measurements. Of an answer more can be said: a bare "yes" or "no" claims
what was asked, what was asked about and not answered with a claim was not checked, a number that the answer breaks off
in is no claim, and advice on treatment is outside of what a signal settles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.grounding.audit import DEFAULT, Audit, Tolerances, audit
from llava_ecg.grounding.claims import Claim, find_claims
from llava_ecg.grounding.sentences import sentences
from llava_ecg.grounding.tokens import Kind, Token
from llava_ecg.grounding.verdicts import Status, Verdict, number, unit_of

TREATMENT = (
    "the question asks for treatment or advice, which lies outside of what this can do: nothing of it is checked, "
    "and a clinician decides"
)

_ADVICE = re.compile(
    r"\b(treat(ment|ed|ing)?|therap(y|ies)|medicat\w+|medicines?|drugs?|dos(e|es|age|ing)|prescri\w+|administ\w+|anticoagul\w+|thromboly\w+"
    r"|cardiover\w+|defibrillat\w+|ablat\w+|shock(ed)?|stent\w*|surger(y|ies)|aspirin|heparin|beta.?blockers?|amiodarone"
    r"|adenosine|atropine"
    r"|should (i|we|he|she|they|the patient)|what (do|should|can) (i|we) do|refer(ral|red)?"
    r"|discharge[ds]?|admit(ted)?|prognosis"
    r"|behand\w+|therapie|medikament\w*)\b",
    re.IGNORECASE,
)
_ASKING = re.compile(
    r"""\s*(?:and\s+|so\s+|or\s+)?(?:please\s+)?(?:
    (?:is|are|was|were)\s+there(?:\s+(?:any|an?))?(?:\s+(?:signs?|evidence|indications?|hints?)\s+(?:of|for))?
    |(?:do|does|can|could)\s+(?:you|this|that|it|the|one)\b(?:\s+(?:ecg|ekg|tracing|recording|patient|signal|page))?
        \s*(?:show|see|have|has|find|detect|suggest|demonstrate|contain|indicate|identify|make\s+out)?(?:\s+(?:any|signs?\s+of|evidence\s+of))?
    |any(?:\s+(?:signs?|evidence)\s+of)?|is|are|gibt\s+es|zeigt\s+das\s+ekg|ist|sind
    )\s+""",
    re.IGNORECASE | re.VERBOSE,
)
_YES_NO = re.compile(
    r"\s*[*_\"'(]*(?P<word>yes|yeah|no|nope|ja|nein)\b(?=[*_\"')]*(?:\s*$|\s*[.,;:!\u2013\u2014-]|\s+(?:it|there|the|this|that|i)\b))",
    re.IGNORECASE,
)
_NO = ("no", "nope", "nein")

_FAMILIES = (  # beginning of a quantity -> what it is about
    ("heart_rate", "rate"), ("rate_", "rate"), ("response", "rate"), ("rr_", "RR"), ("pr_", "PR"),
    ("qrs_mv", "voltage"), ("qrs_", "QRS"), ("qtc", "QTc"), ("qt_", "QT"), ("axis", "axis"), ("axes", "axis"),
    ("rhythm", "rhythm"), ("p_", "P waves"), ("st", "ST"), ("t_", "T waves"), ("q_", "Q waves"),
    ("r_progression", "R progression"), ("r_transition", "R progression"),
    ("progression", "R progression"), ("r_mv", "voltage"), ("s_mv", "voltage"),
    ("sokolow", "voltage"), ("cornell", "voltage"), ("voltage", "voltage"), ("t", "T waves"), ("q", "Q waves"),
    ("conduction", "conduction"), ("av_block", "AV block"), ("premature", "premature beats"), ("pacing", "pacing"),
    ("pause", "pauses"), ("atrial", "atria"),
)  # fmt: skip
_NAMED = re.compile(  # what the tables know only as something else than what is measured
    r"(u|f|delta|osborn|j) waves?|jt( interval)?|qrs t angle|qt dispersion|pr (segments?|depression|elevation)"
    r"|p wave (abnormalit|enlarge|area|inversion|morpholog|notching|dispersion|changes).*"
    r"|repolari[sz]ation|qrs (morphology|fragmentation|pattern)|(atrial|flutter) rates?"
)


class Topic(NamedTuple):
    """What a text speaks of: the family of quantities, and its words."""

    family: str
    words: str


def audit_answer(
    question: str,
    answer: str,
    measurements: Measurements | None,
    *,
    whole: bool = True,
    tolerances: Tolerances = DEFAULT,
    sex: str | None = None,
    age: float | str | None = None,
) -> Audit:
    """Hold an answer against what was measured, beside its question.

    Args:
        question: what was asked.
        answer: the text of the answer.
        measurements: of what the model was shown; None where there was only an image.
        whole: whether the answer came to its own end; if not, what stands at its very end is no claim.
        tolerances, sex, age: as in `llava_ecg.grounding.audit.audit`.

    Returns:
        The audit of the answer's claims, with what was not checked in `Audit.unchecked` and remarks in `Audit.remarks`.
    """
    claims = find_claims(answer)
    if not whole:
        claims = [claim for claim in claims if not _broken(claim, answer)]
    claims = _yes_or_no(question, answer, claims) + claims
    found = audit(claims, measurements, tolerances=tolerances, sex=sex, age=age)
    remarks = (TREATMENT,) if _ADVICE.search(question) else ()
    return replace(found, unchecked=_unchecked(question, answer, found.verdicts), remarks=remarks)


def corrected(text: str, found: Audit) -> str:
    """The text with each contradicted value struck and the measured one beside it: ``PR ~~260 ms~~ [160 ms
    measured]``."""
    out = text
    wrong = [
        verdict
        for verdict in found.verdicts
        if verdict.status is Status.CONTRADICTED and verdict.claim.span[1] > verdict.claim.span[0]
    ]
    for verdict in sorted(wrong, key=lambda each: each.claim.span, reverse=True):
        start, end = verdict.claim.span
        unit = unit_of(verdict.claim.quantity)
        value = verdict.measured
        told = (
            value
            if isinstance(value, str)
            else verdict.reason
            if value is None
            else f"{number(value, unit)} {unit}".rstrip()
        )
        out = f"{out[:start]}~~{out[start:end]}~~ [{told} measured]{out[end:]}"
    return out


def _broken(claim: Claim, answer: str) -> bool:
    """Whether a claim stands at the very end of an answer, where a digit or a syllable may be missing; a number with
    its unit is whole."""
    return claim.span[1] >= len(answer) and (isinstance(claim.value, str) or answer[-1:].isdigit())


def _yes_or_no(question: str, answer: str, claims: Sequence[Claim]) -> list[Claim]:
    """What a "yes" or "no" at the beginning of an answer says of what was asked; nothing where the answer says it
    again."""
    said = _YES_NO.match(answer)
    asked = _statement(question)
    if said is None or asked is None:
        return []
    about, spoken = find_claims(asked), {_family(claim.quantity) for claim in claims}
    denied = said["word"].lower() in _NO  # "A or B?" - "no" denies both, and "yes" does not say which
    if not about or (len(about) > 1 and not denied) or any(_family(claim.quantity) in spoken for claim in about):
        return []
    return [
        replace(claim, negated=claim.negated is not denied, span=said.span("word"), text=said["word"])
        for claim in about
    ]


def _statement(question: str) -> str | None:
    """The last yes-or-no question as the statement that a "yes" would make; None where it is no such question."""
    last = [part for part in re.split(r"(?<=[?.!])\s+", question.strip()) if part.endswith("?")]
    if not last:
        return None
    begin = _ASKING.match(last[-1])
    return None if begin is None else f"{last[-1][begin.end() :].rstrip(' ?')}."


def _unchecked(question: str, answer: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """What the question asks and the answer speaks of, and no verdict tells; each once, in the words of the text."""
    told = {_family(verdict.claim.quantity) or str(verdict.claim.value) for verdict in verdicts}
    found: dict[str, str] = {}
    for topic in (*topics(question.replace("?", ".")), *topics(answer)):
        if topic.family not in told:
            found.setdefault(topic.family.lower(), topic.words)
    return tuple(found.values())


def topics(text: str) -> tuple[Topic, ...]:
    """What a text speaks of that a signal shows, or that it shows and nothing here measures; in order, each once."""
    found: dict[tuple[str, str], Topic] = {}
    for sentence in sentences(text):
        for topic in _topics_of(text, sentence):
            found.setdefault((topic.family, topic.words.lower()), topic)
    return tuple(found.values())


def _topics_of(text: str, tokens: Sequence[Token]) -> Iterable[Topic]:
    for place, token in enumerate(tokens):
        words = text[token.start : token.end]
        quantity, _, value = token.value.partition("=")
        if token.kind is Kind.FOREIGN:
            if _NAMED.fullmatch(" ".join(words.lower().replace("-", " ").split())):
                yield Topic(words.lower(), words)
        elif token.kind is Kind.P_WAVE:
            yield Topic("P waves", words)
        elif token.kind is Kind.WAVE:
            near = next((each for each in tokens[place + 1 : place + 3] if each.kind is Kind.CHANGE), None)
            if family := _family(quantity):
                yield Topic(family, words if near is None else text[token.start : near.end])
        elif value and token.kind in (Kind.FULL, Kind.FINDING, Kind.ECTOPY):
            if quantity == "diagnosis" or _family(quantity):
                yield Topic(_family(quantity) or value, words)
        elif token.kind is Kind.SUBJECT and _family(quantity):
            yield Topic(_family(quantity), words)


def _family(quantity: str) -> str:
    """What a quantity is about, "" if nothing that is known."""
    return next((family for start, family in _FAMILIES if quantity.startswith(start)), "")
