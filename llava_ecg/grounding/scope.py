"""Which words of a sentence say nothing of this ECG: definitions, conditionals, other recordings, negations; and what "no P waves" says.

Functions over the phrases of one sentence. Each looks a bounded number of phrases around, or walks the sentence once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llava_ecg.grounding.phrases import Kind, Token

_CLAUSE_ENDS = (Kind.COMMA, Kind.OPEN, Kind.CLOSE, Kind.BUT)
_TRANSPARENT = (Kind.GLUE, Kind.ARTICLE, Kind.COPULA)


class Unsaid(NamedTuple):
    """What a sentence leaves unsaid.

    Attributes:
        silent: per token, whether what stands there is not said of this ECG.
        no_limits: the sentence supposes something, so its ranges and comparisons are not claims.
        ectopy: where single beats are spoken of.
    """

    silent: list[bool]
    no_limits: bool
    ectopy: list[int]


def unsaid(tokens: Sequence[Token]) -> Unsaid:
    """Mark the parts of a sentence that are no statement about this ECG."""
    kinds = [token.kind for token in tokens]
    ectopy = [i for i, kind in enumerate(kinds) if kind is Kind.ECTOPY][:1]
    if Kind.DEFINITION in kinds or _is_reference(tokens) or _is_general(tokens):
        return Unsaid([True] * len(tokens), True, ectopy)
    clause, clauses, starts = 0, [], [0]
    for i, kind in enumerate(kinds):
        if kind in _CLAUSE_ENDS:
            clause += 1
            starts.append(i)
        clauses.append(clause)
    if Kind.CONDITION in kinds and Kind.MODAL in kinds:
        return Unsaid([True] * len(tokens), True, ectopy)
    supposed = {clauses[i] for i, kind in enumerate(kinds) if kind is Kind.MODAL}
    until = starts[clauses[kinds.index(Kind.CONDITION)]] if Kind.CONDITION in kinds else len(tokens)
    silent = [clauses[i] in supposed or i >= until for i in range(len(tokens))]
    return Unsaid(silent, bool(supposed) or until < len(tokens), ectopy)


def _is_reference(tokens: Sequence[Token]) -> bool:
    """Whether a sentence is a line of reference values: it begins by saying so."""
    for token in tokens[:4]:
        if token.kind in (Kind.REFERENCE, Kind.RANGE_WORD):
            return True
        if token.kind not in (*_TRANSPARENT, Kind.TO, Kind.OPEN):
            return False
    return False


def _is_general(tokens: Sequence[Token]) -> bool:
    """Whether a sentence explains a word: "tachycardia is a rate over 100", "a rate above 100 is fast", "normal PR: 120-200 ms"."""
    start = 0
    while start < len(tokens) and (tokens[start].kind in (Kind.GLUE, Kind.TO)) and start < 4:
        start += 1
    if start < len(tokens) - 1 and tokens[start].kind is Kind.SUBJECT and tokens[start + 1].value == "values":
        start += 1
    if start >= len(tokens) or tokens[start].kind not in (Kind.ARTICLE, Kind.CATEGORY, Kind.FULL):
        return False
    copulas = [i for i, token in enumerate(tokens) if token.kind is Kind.COPULA and i > start]
    if not copulas or (copulas[0] + 1 < len(tokens) and tokens[copulas[0] + 1].kind is Kind.SEEN):
        return False
    first = copulas[0]
    if tokens[start].kind is Kind.FULL and first == start + 1 and first + 1 < len(tokens) and tokens[first + 1].kind is Kind.ARTICLE:
        return True
    near = {i + step for i in copulas for step in range(-4, 5)}
    return any(i in near for i in range(start, len(tokens)) if is_limit(tokens, i))


def is_limit(tokens: Sequence[Token], i: int) -> bool:
    """Whether a comparison or a range begins at token i ("< 120", "between 60", "60-100", "60 bpm to")."""
    kind = tokens[i].kind
    if kind in (Kind.COMPARE, Kind.BETWEEN):
        return i + 1 < len(tokens) and tokens[i + 1].kind is Kind.NUMBER
    if kind is not Kind.NUMBER:
        return False
    j = i + 1 + (i + 1 < len(tokens) and tokens[i + 1].kind is Kind.UNIT)
    return j + 1 < len(tokens) and tokens[j].kind is Kind.TO and tokens[j + 1].kind is Kind.NUMBER


def negated(tokens: Sequence[Token], i: int) -> bool:
    """Whether the category at token i is denied or only thought possible.

    "no A" reaches over "or" and over a list that ends in "or", not over "and" (unless another finding follows), "but", "with" or ":".
    """
    ends = tokens[i + 1 : i + 4]
    if ends and ends[0].kind is Kind.COPULA and len(ends) > 1:
        closed = len(ends) == 2 or ends[2].kind in (Kind.COMMA, Kind.CLOSE) or ends[0].value != ":"
        if ends[1].kind is Kind.NEGATION and closed and (ends[0].value != ":" or ends[1].value in ("no", "absent")):
            return tokens[i].kind is Kind.FULL or ends[0].value in (":", "=")
    listed = any(token.kind is Kind.OR or token.value == "nor" for token in tokens[i + 1 : i + 5])
    past_with = False
    for j in range(i - 1, max(-1, i - 15), -1):
        kind, value = tokens[j].kind, tokens[j].value
        if kind is Kind.HEDGE:
            return not past_with
        if kind is Kind.NEGATION:
            return value == "not" or (value == "no" and not past_with)
        if kind is Kind.COMMA and not listed and tokens[j + 1].kind is not Kind.OR:
            return False
        if kind is Kind.AND and not (j + 1 == i and tokens[i].kind is Kind.FULL):
            return False
        if kind in (Kind.BUT, Kind.OPEN, Kind.CLOSE, Kind.UNIT, Kind.NUMBER) or value in (":", "="):
            return False
        listed = listed or kind is Kind.OR
        past_with = past_with or value == "with"
    return False


def p_waves(tokens: Sequence[Token], i: int) -> tuple[str, int, int] | None:
    """What is said of the P waves at token i: ("present" or "absent", first token, last token), or None where nothing is."""
    behind = _p_behind(tokens, i)
    if behind is not None and behind[0] == "absent":
        return behind
    ahead = _p_ahead(tokens, i)
    if ahead is None:
        return behind
    return ahead if ahead[0] else None


def _p_behind(tokens: Sequence[Token], i: int) -> tuple[str, int, int] | None:
    """The words before: "no discernible P waves", "preceded by a P wave", "clear P waves"."""
    found: tuple[str, int, int] | None = None
    for j in range(i - 1, max(-1, i - 7), -1):
        kind, value = tokens[j].kind, tokens[j].value
        if kind is Kind.NEGATION:
            return None if value == "not" and found is None else ("absent", j, i)
        if kind in (Kind.SEEN, Kind.PRECEDED) or (kind is Kind.CATEGORY and value == "normal" and j == i - 1):
            found = ("present", j, i)
        elif kind is Kind.PARTIAL or kind is Kind.CATEGORY:
            return None
        elif kind not in (*_TRANSPARENT, Kind.OR, Kind.BEFORE) or value in (":", "="):
            break
    return found


def _p_ahead(tokens: Sequence[Token], i: int) -> tuple[str, int, int] | None:
    """The words after: "are absent", "before each QRS", "are not visible"; ("", i, i) where they deny something else."""
    denied = False
    if tokens[i].value in ("p present", "p absent"):  # a key of JSON
        word = tokens[i].value.split()[1]
        flips = any(token.kind is Kind.NEGATION for token in tokens[i + 1 : i + 3])
        return ({"present": "absent", "absent": "present"}[word] if flips else word), i, i
    words, found = 0, None
    for j in range(i + 1, min(i + 9, len(tokens))):
        kind, value = tokens[j].kind, tokens[j].value
        if found is not None and kind is Kind.NEGATION and tokens[j - 1].kind is not Kind.COPULA:
            break
        if kind is Kind.NEGATION and value == "absent":
            return ("", i, i) if denied else ("absent", i, j)
        if kind is Kind.NEGATION:
            denied = True
            if value == "no" and tokens[j - 1].value == ":" and (j + 1 == len(tokens) or tokens[j + 1].kind in _CLAUSE_ENDS):
                return "absent", i, j
        elif kind is Kind.SEEN or (kind is Kind.BEFORE and denied):
            repeats = j + 1 < len(tokens) and tokens[j + 1].kind is Kind.P_WAVE  # "P waves: clear P waves": that one says it
            return ("" if repeats else "absent" if denied else "present"), i, j
        elif kind is Kind.BEFORE or (value == "normal" and not denied):
            found = found or ("present", i, j)
        elif kind is Kind.PARTIAL and denied:
            return "", i, i
        elif kind is Kind.WORD:
            words += 1
            if denied or words > 3:
                break
        elif kind not in (*_TRANSPARENT, Kind.CATEGORY, Kind.PARTIAL) and not (found and value.startswith("qrs")):
            break
    return ("", i, i) if denied else found
