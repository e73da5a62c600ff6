"""Numbers as they are written: 72, < 120 ms, 60-100 bpm, between -30 and 90 degrees, 72 +- 3 bpm; and those that are
only bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llava_ecg.grounding.tokens import Kind, Token


class Reading(NamedTuple):
    """A number or a range, in its own unit.

    Attributes:
        comparison: ``"="``, ``"<"``, ``">"`` or ``"range"``.
        value: the number, or a range's first one; `high` the range's second one, else the same.
        unit: ``"bpm"``, ``"ms"``, ``"s"``, ``"deg"``, ``""`` for none, ``"other"`` for one that no checked quantity
            has.
        first, last: the tokens that say it.
    """

    comparison: str
    value: float
    high: float
    unit: str
    first: int
    last: int


BOX_MS = {"small box": 40.0, "large box": 200.0}
"""Squares of ECG paper at 25 mm/s."""


def family_of(unit: str) -> str:
    """The unit that a quantity is kept in; a box of the paper is a time unless a wave is measured by it."""
    return "ms" if unit == "s" or unit in BOX_MS else unit


def read_number(tokens: Sequence[Token], i: int) -> Reading:
    """The number or range whose first number is token i, with the comparison before it and the unit after it."""
    before = tokens[i - 1].kind if i else None
    comparison, first = (tokens[i - 1].value, i - 1) if before is Kind.COMPARE else ("=", i)
    low, (unit, j) = tokens[i].number, _unit(tokens, i + 1)
    if j + 1 < len(tokens) and tokens[j + 1].kind is Kind.NUMBER:
        joint = tokens[j].kind
        other, after = _unit(tokens, j + 2)
        same = not unit or not other or unit == other
        if joint is Kind.PLUS_MINUS and same:
            return Reading(comparison, low, low, unit or other, first, after - 1)
        if same and (joint is Kind.TO or (joint is Kind.AND and before is Kind.BETWEEN and tokens[j].value != "/")):
            return Reading("range", low, tokens[j + 1].number, unit or other, i - (before is Kind.BETWEEN), after - 1)
    return Reading(comparison, low, low, unit, first, j - 1)


def _unit(tokens: Sequence[Token], j: int) -> tuple[str, int]:
    """The unit at token j, "" for none, and the token after it; "2.5-second" has its hyphen before it."""
    hyphen = j + 1 < len(tokens) and tokens[j].kind is Kind.TO and tokens[j].value == "-"
    if hyphen and tokens[j + 1].kind is Kind.UNIT:
        j += 1
    return (tokens[j].value, j + 1) if j < len(tokens) and tokens[j].kind is Kind.UNIT else ("", j)


def is_denied(tokens: Sequence[Token], reading: Reading) -> bool:
    """Whether "not" stands right before a number ("the rate is not 72")."""
    for token in reversed(tokens[max(0, reading.first - 4) : reading.first]):
        if token.kind is Kind.NEGATION:
            return token.value == "not"
        if token.kind not in (Kind.GLUE, Kind.COPULA, Kind.ARTICLE):
            return False
    return False


def is_bound(tokens: Sequence[Token], reading: Reading) -> bool:
    """Whether the words before a number make it a limit: "upper limit of 200 ms", "normal 120-200 ms"."""
    joined = False
    for token in reversed(tokens[max(0, reading.first - 12) : reading.first]):
        if token.kind is Kind.REFERENCE or (token.kind is Kind.RANGE_WORD and reading.comparison != "="):
            return True
        if token.kind in (Kind.COMMA, Kind.CLOSE, Kind.BUT) or (token.kind is Kind.NUMBER and not joined):
            return False
        joined = joined or token.kind is Kind.AND
    before = [token for token in tokens[max(0, reading.first - 2) : reading.first] if token.kind is not Kind.COPULA]
    return reading.comparison != "=" and bool(before) and before[-1].kind is Kind.CATEGORY


def formula_of(tokens: Sequence[Token], named: int, reading: Reading, *, only_after: bool = False) -> str:
    """The QTc quantity of the formula that is named around a number, "" where none is; `named`: the token of the QTc,
    -1 without."""
    if not only_after:
        around = range(max(0, named - 2), reading.first) if named >= 0 else range(0)
        for j in list(around)[:14]:
            if tokens[j].kind is Kind.FORMULA:
                return f"qtc_{tokens[j].value}_ms"
    if only_after and reading.first and tokens[reading.first - 1].kind is Kind.FORMULA:
        return f"qtc_{tokens[reading.first - 1].value}_ms"
    for token in tokens[reading.last + 1 : reading.last + 7]:
        if token.kind is Kind.FORMULA:
            return f"qtc_{token.value}_ms"
        if token.kind in (Kind.SUBJECT, Kind.NUMBER):
            break
    return ""
