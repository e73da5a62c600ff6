"""Where a statement is about: the leads and territories that the words around it name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.grounding.claim import TERRITORIES
from llava_ecg.grounding.tokens import Kind, Token

_AHEAD, _BACK = 18, 12
_SKIPPED_AHEAD = (
    Kind.GLUE,
    Kind.SEEN,
    Kind.ARTICLE,
    Kind.OPEN,
    Kind.NUMBER,
    Kind.UNIT,
    Kind.COMPARE,
    Kind.COPULA,
    Kind.PARTIAL,
    Kind.TO,
    Kind.BETWEEN,
    Kind.CLOSE,
)
_SKIPPED_BACK = (
    Kind.GLUE,
    Kind.SEEN,
    Kind.ARTICLE,
    Kind.COPULA,
    Kind.NEGATION,
    Kind.HEDGE,
    Kind.PARTIAL,
    Kind.CHANGE,
    Kind.PRECEDED,
    Kind.CATEGORY,
)
_EVENTS = (Kind.WAVE, Kind.CHANGE, Kind.FINDING, Kind.ECTOPY)


class Place(NamedTuple):
    """Leads, the territory's word where one names them, and the tokens from first to last that say it (-1 where none
    does)."""

    leads: tuple[str, ...] = ()
    territory: str = ""
    first: int = -1
    last: int = -1


def place_at(tokens: Sequence[Token], i: int, same: tuple[str, ...] = ()) -> Place:
    """The leads of the list that begins at token i, a LEAD or a TERRITORY; all its members together."""
    leads: list[str] = []
    territory, j, last = "", i, i
    while j < min(i + 40, len(tokens)):
        token = tokens[j]
        if token.kind is Kind.LEAD:
            if (
                j > i
                and territory
                and not token.territory
                and tokens[j - 1].kind in (Kind.LEAD, Kind.TERRITORY, Kind.OPEN)
            ):
                leads = []  # "precordial leads V2-V4", "inferior leads (II, III)"
            leads += same if token.value == "same" else [name for name in token.value.split(", ") if name]
            territory = territory or token.territory
        elif token.kind is Kind.TERRITORY:
            leads += TERRITORIES.get(token.value, ())
            territory = territory or token.value
        else:
            break
        last = j
        j += 1
        if j < len(tokens) and (tokens[j].kind in (Kind.BUT, Kind.NEGATION) or tokens[j].value in ("other", "than")):
            k = j + 1 + (j + 1 < len(tokens) and tokens[j + 1].kind is Kind.GLUE)
            if k < len(tokens) and tokens[k].kind is Kind.LEAD and tokens[j].value in ("but", "except", "without"):
                leads = [name for name in leads if name not in tokens[k].value.split(", ")]
                last = k
            break
        step = _joint(tokens, j)
        if not step:
            break
        j += step
    names = tuple(dict.fromkeys(leads))
    return Place(names if len(names) < len(STANDARD) else (), territory, i, last)


def _joint(tokens: Sequence[Token], j: int) -> int:
    """How many tokens at j join two places: "and", "," or "(" before another LEAD; 0 where they don't."""
    step = 0
    while step < 4 and j + step < len(tokens):
        token = tokens[j + step]
        if token.kind in (Kind.LEAD, Kind.TERRITORY):
            return step if step or token.kind is Kind.LEAD else 0
        if token.kind not in (Kind.AND, Kind.COMMA, Kind.OR, Kind.OPEN) and token.value not in (
            "as",
            "well",
            "also",
            "the",
            "in",
        ):
            return 0
        if token.kind is Kind.OPEN and step:
            return 0
        step += 1
    return 0


def place_behind(tokens: Sequence[Token], last: int, same: tuple[str, ...], *, shared: bool = True) -> Place:
    """The place named behind a statement that ends at token `last`: "in V1-V3", "(II, III, aVF)", also past "and T wave
    inversion"."""
    joined, words, number = False, 0, False
    for j in range(last + 1, min(last + 1 + _AHEAD, len(tokens))):
        kind, value = tokens[j].kind, tokens[j].value
        if kind is Kind.LEAD or (
            kind is Kind.TERRITORY and (j + 1 == len(tokens) or tokens[j + 1].kind not in _EVENTS)
        ):
            return place_at(tokens, j, same)
        if kind in (Kind.AND, Kind.OR):
            if not shared:
                return Place()
            joined = True
        elif kind is Kind.COMMA:
            if j + 1 < len(tokens) and tokens[j + 1].kind is Kind.OR and shared:
                joined = True
            elif _place_after_comma(tokens, j):
                continue
            elif not (_best_seen(tokens, j) or (shared and _list_to_place(tokens, j))):
                return Place()
            else:
                joined = True
        elif (
            kind is Kind.CHANGE
            and j == last + 1
            and value in ("pathological", "high", "tall", "below baseline", "above baseline")
        ):  # "3 mm deep in V3"
            continue
        elif kind in _EVENTS or value.startswith("rate_category"):
            if not joined:
                return Place()
        elif kind is Kind.NEGATION and j + 1 < len(tokens) and tokens[j + 1].kind is Kind.SEEN:
            continue
        elif value == "with" and not number:
            return Place()
        elif kind is Kind.WORD:
            words += 1
            if words > 4:
                return Place()
        elif kind not in _SKIPPED_AHEAD:
            return Place()
        number = number or kind is Kind.NUMBER
    return Place()


def _place_after_comma(tokens: Sequence[Token], j: int) -> bool:
    """Whether only a place, or one word more, follows the comma at j: "0.5 mm, in V5", "nonspecific, in I and aVL", ",
    lateral leads"."""
    k = j + 1
    while k < min(j + 5, len(tokens)) and (tokens[k].kind is Kind.GLUE or (tokens[k].kind is Kind.COMMA and k > j + 1)):
        k += 1
    if k >= len(tokens) or tokens[k].kind is not Kind.LEAD:
        return False
    place = place_at(tokens, k)
    after = tokens[place.last + 1] if place.last + 1 < len(tokens) else None
    return after is None or after.kind in (Kind.COMMA, Kind.CLOSE, Kind.BUT) or (after.kind is Kind.AND)


def _best_seen(tokens: Sequence[Token], j: int) -> bool:
    """Whether the comma at j goes on with "best seen in V2", "most marked in"."""
    return j + 1 < len(tokens) and tokens[j + 1].value in (
        "best",
        "most",
        "especially",
        "particularly",
        "mainly",
        "predominantly",
        "more",
    )


def _list_to_place(tokens: Sequence[Token], j: int) -> bool:
    """Whether a list of bare findings that ends in "or" or "and" goes on behind the comma at j: "depression or Q waves
    in V2"."""
    for token in tokens[j + 1 : j + 10]:
        if token.kind in (Kind.OR, Kind.AND):
            return True
        if token.kind not in (Kind.WAVE, Kind.CHANGE, Kind.COMMA, Kind.GLUE):
            return False
    return False


def place_before(tokens: Sequence[Token], first: int, same: tuple[str, ...], taken: set[int]) -> Place:
    """The place named in front: "inferior Q waves", "V1-V3 show ST elevation", "In II and III there is"; not one of
    another statement."""
    words, apart = 0, False
    for j in range(first - 1, max(-1, first - 1 - _BACK), -1):
        kind, value = tokens[j].kind, tokens[j].value
        if kind in (Kind.LEAD, Kind.TERRITORY):
            start = j
            while start and _joins_back(tokens, start):
                start -= 1
            while tokens[start].kind not in (Kind.LEAD, Kind.TERRITORY):
                start += 1
            owned = any(k in taken for k in range(start, j + 1)) or (apart and not _opens_clause(tokens, start))
            return Place() if owned else place_at(tokens, start, same)
        apart = apart or kind in (Kind.COMMA, Kind.CLOSE) or value in (":", "=")
        if kind is Kind.WORD:
            words += 1
            if words > 2:
                return Place()
        elif kind not in _SKIPPED_BACK and kind not in (Kind.COMMA, Kind.CLOSE) and value != "upright":
            return Place()
    return Place()


def _joins_back(tokens: Sequence[Token], j: int) -> bool:
    """Whether the place at token j goes on to the left."""
    return tokens[j - 1].kind in (Kind.LEAD, Kind.TERRITORY, Kind.AND, Kind.COMMA, Kind.OR, Kind.OPEN) and (
        tokens[j - 1].kind in (Kind.LEAD, Kind.TERRITORY)
        or (j >= 2 and tokens[j - 2].kind in (Kind.LEAD, Kind.TERRITORY))
    )


def _opens_clause(tokens: Sequence[Token], i: int) -> bool:
    """Whether nothing but small words stands before token i in its clause."""
    j = i - 1
    while j >= 0 and tokens[j].kind in (Kind.GLUE, Kind.ARTICLE, Kind.TO):
        j -= 1
    return j < 0 or tokens[j].kind in (Kind.COMMA, Kind.BUT)


def topics(tokens: Sequence[Token], same: tuple[str, ...]) -> list[tuple[int, Place]]:
    """Where the clauses that begin with a place begin, and the place: "V1-V3: ...", "In the inferior leads, ...",
    "while V6 shows"."""
    found = []
    for j, token in enumerate(tokens):
        if token.kind is not Kind.LEAD or (j and tokens[j - 1].kind is Kind.LEAD):
            continue
        start = j - 1
        while start >= 0 and (
            tokens[start].kind in (Kind.GLUE, Kind.ARTICLE, Kind.NOW, Kind.TO) or tokens[start].value in ("all", "|")
        ):
            start -= 1
        place = place_at(tokens, j, same)
        after = tokens[place.last + 1] if place.last + 1 < len(tokens) else None
        if after is None or (start >= 0 and tokens[start].kind is Kind.HEDGE and start):
            continue
        begins = start < 0 or tokens[start].kind is Kind.BUT or (tokens[start].kind is Kind.HEDGE and not start)
        listed = start >= 0 and tokens[start].kind in (Kind.COMMA, Kind.AND) and after.kind in _AFTER_TOPIC
        if begins or (listed and (start + 1 < j or after.value in (":", "shows", "show"))):
            found.append((j, place))
    return found


_AFTER_TOPIC = (Kind.WAVE, Kind.COPULA, Kind.NUMBER, Kind.ARTICLE, Kind.COMMA, Kind.GLUE, Kind.P_WAVE)
