"""Which words of a sentence say nothing of this ECG: definitions, conditionals, other recordings, negations; and what
"no P waves" says.

Functions over the phrases of one sentence. Each looks a bounded number of phrases around, or walks the sentence once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llava_ecg.grounding.tokens import Kind, Token

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
    clause, clauses, starts = 0, [], [0]
    for i, kind in enumerate(kinds):
        if kind in _CLAUSE_ENDS:
            clause += 1
            starts.append(i)
        clauses.append(clause)
    defined = clauses[kinds.index(Kind.DEFINITION)] if Kind.DEFINITION in kinds else None
    if defined == 0 or _is_reference(tokens) or _is_general(tokens) or tokens[0].value in _INVERTED:
        return Unsaid([True] * len(tokens), True, ectopy)
    if Kind.CONDITION in kinds and Kind.MODAL in kinds:
        return Unsaid([True] * len(tokens), True, ectopy)
    supposed = {clauses[i] for i, kind in enumerate(kinds) if kind is Kind.MODAL}
    until = starts[clauses[kinds.index(Kind.CONDITION)]] if Kind.CONDITION in kinds else len(tokens)
    if defined is not None:
        until = min(until, starts[defined])
    elsewhere = _elsewhere(tokens, clauses)
    silent = [clauses[i] in supposed or i >= until or elsewhere[i] for i in range(len(tokens))]
    return Unsaid(silent, bool(supposed) or until < len(tokens), ectopy)


_INVERTED = ("were", "had", "should")  # "Were the PR interval longer"


def _elsewhere(tokens: Sequence[Token], clauses: Sequence[int]) -> list[bool]:
    """Per token, whether it speaks of another recording or of the history: from the clause that says so until one that
    says "now"."""
    present = {
        clause for token, clause in zip(tokens, clauses, strict=True) if token.kind is Kind.NOW or token.value == "gone"
    }
    other: set[int] = set()
    later: dict[int, int] = {}  # clause -> the token from which on it speaks of another recording
    for i, token in enumerate(tokens):
        if token.kind is Kind.OTHER_TIME and not _of_a_scar(tokens, i):
            other.add(clauses[i])
            later.setdefault(clauses[i], i if token.value == "compared" else -1)
    replaced = next((i for i, token in enumerate(tokens) if token.kind is Kind.NOW and token.value == "replaced"), -1)
    out, away = [], False
    for i, clause in enumerate(clauses):
        away = clause not in present and (away or (clause in other and i >= later[clause]))
        out.append(away or i < replaced)
    return out


def _of_a_scar(tokens: Sequence[Token], i: int) -> bool:
    """Whether "previous" at i belongs to an infarct, which this recording may show."""
    return tokens[i].value in ("previous", "prior") and any(
        t.value == "diagnosis=myocardial infarction" for t in tokens[i + 1 : i + 4]
    )


def _is_reference(tokens: Sequence[Token]) -> bool:
    """Whether a sentence is a line of reference values: it begins by saying so."""
    for token in tokens[:4]:
        if token.kind in (Kind.REFERENCE, Kind.RANGE_WORD):
            return True
        if token.kind not in (*_TRANSPARENT, Kind.TO, Kind.OPEN):
            return False
    return False


def _is_general(tokens: Sequence[Token]) -> bool:
    """Whether a sentence explains a word: "tachycardia is a rate over 100", "a rate above 100 is fast", "normal PR:
    120-200 ms"."""
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
    if (
        tokens[start].kind is Kind.FULL
        and first == start + 1
        and first + 1 < len(tokens)
        and tokens[first + 1].kind is Kind.ARTICLE
    ):
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


class Polarity(NamedTuple):
    """How a statement is meant: denied, or only thought possible."""

    negated: bool
    hedged: bool


SAID = Polarity(False, False)
_FINDS = (Kind.FINDING, Kind.ECTOPY, Kind.FULL, Kind.CHANGE)
_STEPS_BACK = 24


def polarity(tokens: Sequence[Token], first: int, last: int) -> Polarity:
    """How the words at tokens first to last are meant.

    "no A" reaches over "or" and over a list that ends in "or", over "and" only before another finding, not over "but",
    "with" or ":".
    """
    after = _behind_the_words(tokens, last)
    before = _before_the_words(tokens, first)
    hedged = after.hedged or before.hedged or tokens[0].value == "all" and tokens[0].kind is Kind.HEDGE
    return Polarity(after.negated != before.negated and not (before.hedged and after.negated), hedged)


def _before_the_words(tokens: Sequence[Token], first: int) -> Polarity:
    """What the words in front make of the finding that begins at `first`."""
    listed = _ends_in_or(tokens, first)
    joined, past_with, past_verb, passed = False, False, False, False
    j = first
    while j > max(0, first - _STEPS_BACK):
        j -= 1
        kind, value = tokens[j].kind, tokens[j].value
        if kind is Kind.CLOSE:
            j = _opening(tokens, j)
            continue
        if kind is Kind.HEDGE and value != "after":
            if _of_the_age(tokens, j):
                continue
            if value == "all" or (past_with and not tokens[first].value.startswith("diagnosis=")):
                return SAID
            return _doubt(tokens, j)
        if kind is Kind.NEGATION:
            if value in ("passive", "gone"):
                return SAID
            if value == "absent" and j >= first - 2:  # "absent Q waves"
                return Polarity(True, False)
            noun = value == "no" and (past_with or (past_verb and not _there(tokens, j)))
            return Polarity(value != "absent" and not noun, False)
        if kind is Kind.AND and not _carries_on(tokens, j, first):
            return SAID
        if kind is Kind.COMMA and not (listed or tokens[j + 1].kind is Kind.OR):
            return SAID
        if kind in (Kind.BUT, Kind.OPEN, Kind.NOW) or value in (":", "="):
            return SAID
        if kind in (Kind.UNIT, Kind.NUMBER) and not joined:
            return SAID
        if kind in (Kind.FINDING, Kind.FULL, Kind.ECTOPY) or (kind is Kind.CHANGE and passed):
            if not joined:
                return SAID
            joined = False
        passed = passed or kind is Kind.WAVE
        joined = joined or kind in (Kind.OR, Kind.AND, Kind.COMMA)
        listed = listed or kind is Kind.OR
        past_with = past_with or value == "with"
        past_verb = past_verb or (kind is Kind.COPULA and not _there(tokens, j))
    return SAID


_AGES = ("alt", "akut", "old", "acute", "recent", "chronic", "subacute")


def _of_the_age(tokens: Sequence[Token], j: int) -> bool:
    """Whether the doubt at j is about the age of the infarct named right before it: "infarkt wahrscheinlich alt"."""
    behind = tokens[j + 1].value if j + 1 < len(tokens) else ""
    return behind in _AGES and j > 0 and tokens[j - 1].value.startswith("diagnosis=")


def _opening(tokens: Sequence[Token], j: int) -> int:
    """The bracket that the one at j closes, or the token in front of j where none does within a few words."""
    for k in range(j - 1, max(-1, j - 12), -1):
        if tokens[k].kind is Kind.OPEN:
            return k
    return j


def _doubt(tokens: Sequence[Token], j: int) -> Polarity:
    """What a word of doubt at j makes of what it stands before: "not consistent with" denies."""
    k = j - 1
    while k >= max(0, j - 3) and tokens[k].kind in (Kind.COPULA, Kind.GLUE):
        k -= 1
    denied = k >= 0 and tokens[k].kind is Kind.NEGATION and tokens[k].value == "not"
    return Polarity(denied, not denied)


def _there(tokens: Sequence[Token], j: int) -> bool:
    """Whether a verb around token j only introduces what comes: "there is no", "there are"."""
    return any(token.value in ("there", "this", "it") for token in tokens[max(0, j - 2) : j])


def _ends_in_or(tokens: Sequence[Token], i: int) -> bool:
    """Whether the list that goes on behind token i ends in "or"."""
    steps = 0
    for token in tokens[i + 1 : i + 16]:
        if token.kind is Kind.OR:
            return True
        if token.kind in (Kind.BUT, Kind.COPULA, Kind.NUMBER, Kind.NEGATION, Kind.HEDGE) or (
            token.kind is Kind.AND and steps > 1
        ):
            return False
        steps += token.kind is Kind.COMMA
    return False


def _carries_on(tokens: Sequence[Token], j: int, first: int) -> bool:
    """Whether "and" at j joins what is before it and the finding at `first` to one denial or doubt."""
    if tokens[j].value == "/":
        return True
    between = tokens[j + 1 : first]
    if any(
        token.kind in (Kind.COPULA, Kind.ARTICLE, Kind.SEEN, Kind.SUBJECT) or token.value in ("with", "there")
        for token in between
    ):
        return False
    k = _opening(tokens, j - 1) - 1 if j and tokens[j - 1].kind is Kind.CLOSE else j - 1
    before = tokens[k].kind if k >= 0 else None
    return before in (*_FINDS, Kind.WAVE, Kind.LEAD, Kind.TERRITORY, Kind.CATEGORY) and tokens[first].kind in (
        *_FINDS,
        Kind.WAVE,
    )


def _behind_the_words(tokens: Sequence[Token], last: int) -> Polarity:
    """What the words behind make of the finding that ends at `last`: "is absent", "are not seen", "cannot be excluded",
    ": no"."""
    colon, brackets = False, 0
    for j in range(last + 1, min(last + 16, len(tokens))):
        kind, value = tokens[j].kind, tokens[j].value
        brackets += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
        if brackets > 0 or kind is Kind.CLOSE:
            if brackets < 0:
                return SAID
            continue
        if kind is Kind.HEDGE and j + 1 < len(tokens) and tokens[j + 1].value in _AGES:
            return SAID
        if (kind is Kind.HEDGE and value == "before") or value == "versus":
            return Polarity(False, value == "versus")
        if kind is Kind.HEDGE:
            ends = j + 1 == len(tokens) or tokens[j + 1].kind in _CLAUSE_ENDS
            k = j - 1 - (tokens[j - 1].kind is Kind.ARTICLE)
            return Polarity(
                False, value == "after" or (ends and j <= last + 3) or (k > last and tokens[k].kind is Kind.COPULA)
            )
        if kind is Kind.NEGATION:
            return _denied_behind(tokens, j, colon)
        if kind is Kind.COPULA or value == "|":
            colon = colon or value in (":", "=", "|")
        elif kind not in _BETWEEN_WORDS or (kind is Kind.GLUE and value == "with"):
            return SAID
    return SAID


_BETWEEN_WORDS = (Kind.GLUE, Kind.LEAD, Kind.OR, Kind.SEEN, Kind.WAVE, Kind.CHANGE, Kind.ARTICLE, Kind.PARTIAL)


def _denied_behind(tokens: Sequence[Token], j: int, colon: bool) -> Polarity:
    value = tokens[j].value
    if value in ("absent", "passive", "gone"):
        return Polarity(True, False)
    follows = tokens[j + 1] if j + 1 < len(tokens) else None
    if colon and value == "no":
        return Polarity(follows is None or follows.kind in _CLAUSE_ENDS or follows.value == "|", False)
    if value == "not":
        denied = (
            follows is None
            or follows.kind in (Kind.SEEN, *_CLAUSE_ENDS)
            or follows.value in ("met", "fulfilled", "shown")
        )
        return Polarity(denied, False)
    passive = tokens[j - 1].kind is Kind.COPULA and (follows is None or follows.kind is not Kind.CHANGE)
    return Polarity(passive and tokens[j - 1].value not in (":", "="), False)


def p_waves(tokens: Sequence[Token], i: int) -> tuple[str, int, int] | None:
    """What is said of the P waves at token i: ("present" or "absent", first token, last token), or None where nothing
    is."""
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
        if value in ("passive", "gone"):
            break
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
    """The words after: "are absent", "before each QRS", "are not visible"; ("", i, i) where they deny something
    else."""
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
            if (
                value == "no"
                and tokens[j - 1].value == ":"
                and (j + 1 == len(tokens) or tokens[j + 1].kind in _CLAUSE_ENDS)
            ):
                return "absent", i, j
        elif kind is Kind.SEEN or (kind is Kind.BEFORE and denied):
            repeats = (
                j + 1 < len(tokens) and tokens[j + 1].kind is Kind.P_WAVE
            )  # "P waves: clear P waves": that one says it
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
