"""`Kind` and `Token`: what the words of an ECG answer can be. The words themselves stand in the vocabulary files beside
this one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The part that a phrase plays in a sentence."""

    SUBJECT = "subject"  # a quantity that numbers and words are said of; value: its name
    FOREIGN = "foreign"  # another quantity or noun: what follows is about that; value "rate" for other rates
    P_WAVE = "p wave"
    # a part of the tracing that a CHANGE is said of; value: "st", "t", "st-t", "q", "r", "progression", "voltage", ...
    WAVE = "wave"
    CHANGE = "change"  # what a wave does; value: "elevation", "inverted", ...
    FINDING = "finding"  # complete in itself; value: "quantity=value"
    ECTOPY = "ectopy"  # single beats that are not the rhythm; value: "premature=..." where it is a finding too
    TERRITORY = "territory"  # value: a key of `llava_ecg.grounding.claim.TERRITORIES`, or "posterior"
    CATEGORY = "category"  # a word that needs a subject; value: the word
    FULL = "full"  # a word that carries its subject; value: "quantity=category"
    NUMBER = "number"
    UNIT = "unit"
    FORMULA = "formula"  # of QTc
    LEAD = "lead"  # value: canonical names, joined by ", "; "same" for "these leads"
    COMPARE = "compare"  # value: "<" or ">"
    BETWEEN = "between"
    TO = "to"
    PLUS_MINUS = "plus minus"
    NEGATION = "negation"  # value: "no" (of nouns), "not" (of verbs), "absent" (on its own)
    HEDGE = "hedge"  # value: "before" or "after" where it always stands on that side of what it doubts, else "any"
    MODAL = "modal"  # what is not so, or not now: its clause claims nothing
    CONDITION = "condition"  # from its clause to the end of the sentence nothing is claimed
    DEFINITION = "definition"  # its sentence claims nothing
    REFERENCE = "reference"  # numbers after it are limits
    RANGE_WORD = "range word"  # "normal range": ranges after it are limits
    OTHER_TIME = "other time"  # another recording or the history: nothing is claimed until NOW
    NOW = "now"
    SEEN = "seen"
    BEFORE = "before"
    PRECEDED = "preceded"
    PARTIAL = "partial"
    AND = "and"
    OR = "or"
    BUT = "but"
    COMMA = "comma"
    OPEN = "open"
    CLOSE = "close"
    COPULA = "copula"
    ARTICLE = "article"  # a sentence that starts so may speak of ECGs in general
    GLUE = "glue"  # says nothing about what belongs to what; value: the phrase
    STOP = "stop"  # end of a sentence; value: the character
    WORD = "word"  # anything else


class Token(NamedTuple):
    """A phrase at text[start:end]."""

    kind: Kind
    value: str
    start: int
    end: int
    number: float = 0.0
    territory: str = ""  # of a LEAD that was named by one


Rows = tuple[tuple[Kind, str, str], ...]  # kind, value, spellings joined by "|"


class Walk:
    """What stands at an index of a sentence; nothing outside of it."""

    tokens: Sequence[Token]

    def _kind(self, i: int) -> Kind | None:
        return self.tokens[i].kind if 0 <= i < len(self.tokens) else None

    def _value(self, i: int) -> str:
        return self.tokens[i].value if 0 <= i < len(self.tokens) else ""
