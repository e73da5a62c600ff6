"""What the words of an ECG answer mean: text -> `Token` by `Token`, by the tables of phrases in the vocabulary files.

Every character keeps its place (normalising maps one character to one), so a token's span is a span of the text. A
phrase is found by its first word and the longest one wins; nothing looks further ahead than the longest phrase, so the
time is linear in the text. What depends on a word alone (its spelling, whether it names a lead) is kept for the last
few thousand words, since a text says the same words again and again.
"""

from __future__ import annotations

import re
import string
from functools import cache, lru_cache
from typing import NamedTuple

from llava_ecg.ecg.leads import FURTHER, STANDARD, canonical
from llava_ecg.grounding.claim import TERRITORIES
from llava_ecg.grounding.numbers_in_words import read_words
from llava_ecg.grounding.tokens import Kind, Token
from llava_ecg.grounding.vocabulary import GENERAL
from llava_ecg.grounding.vocabulary_diagnoses import DIAGNOSES, HYPERTROPHY
from llava_ecg.grounding.vocabulary_findings import FINDINGS
from llava_ecg.grounding.vocabulary_german import GERMAN
from llava_ecg.grounding.vocabulary_places import PLACES

TABLE = (*GENERAL, *FINDINGS, *HYPERTROPHY, *DIAGNOSES, *PLACES, *GERMAN)

_MINUS = "-‐‑‒–—−﹣-"
_FOLD = str.maketrans(
    {**dict(zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)), **dict.fromkeys(_MINUS, "-")}
    | dict.fromkeys('*_`"“”„«»\u200b\u200c\u200d\ufeff', " ")
    | {"Ä": "ä", "Ö": "ö", "Ü": "ü"}
    | dict(zip("₁₂₃₄₅₆", "123456", strict=True))
    | {"º": "°", "˚": "°", "’": "'", "‘": "'", "（": "(", "）": ")", "：": ":", "；": ";"}
)
# White space matches from its first line end on, and else not at all, which is to say that it is passed over.
_RAW = re.compile(r"\n\s*|[0-9][0-9.,]*[0-9]|[0-9]|(?<![\w.])\.[0-9]+|[^\W\d_][^\W_]*(?:'[a-z]{1,3})?|\S")
_NUMBER = re.compile(
    r"[0-9]{0,6}\.[0-9]{1,6}|[0-9]{1,6}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,2}(?:\.[0-9]{1,6})?|0,[0-9]{1,3}|[0-9]{1,3},[0-9]"
)
_BULLET = re.compile(r"[-+•·>] |[|#*>•]|[0-9]{1,3}[.)]\s")
_LABEL = re.compile(r"[^\n:=.,;]{1,40}[:=]")
_SHORT_LINE = 50  # text that is wrapped has longer lines
_BARE_LEAD = re.compile(r"v[1-9]r?|av[rlf]")
_ORDER = (*STANDARD, *FURTHER[:3])
_ANNOUNCE = ("lead", "leads", "ableitung", "ableitungen", "in")
_CHEST = re.compile(r"[1-6](?:,[1-6])*")
_SHORT_LIMB = {"f": "aVF", "l": "aVL", "r": "aVR"}  # "III, F"
_OFTEN_WRONG = dict.fromkeys(("rythm", "rhythmn", "rhythym", "rythym", "rhytm", "rhythem"), "rhythm") | {
    "degre": "degree",
    "blok": "block",
}
_LEAST_FUZZY = 7  # letters of a word that may be misspelled

Meaning = tuple[Kind, str]
_WORDS_KEPT = 4096


@cache
def _phrases() -> dict[str, dict[tuple[str, ...], Meaning]]:
    """First word -> the phrases (as words) that begin with it."""
    found: dict[str, dict[tuple[str, ...], Meaning]] = {"|": {("|",): (Kind.GLUE, "|")}}
    for kind, value, spellings in TABLE:
        for phrase in spellings.split("|"):
            plain = re.sub(r"\b([123])(st|nd|rd)\b", r"\1 \2", phrase)
            for written in {plain, *(plain.translate(table) for table in _WITHOUT_UMLAUT)}:
                words = tuple(written.split())
                found.setdefault(words[0], {}).setdefault(words, (kind, value or phrase))
    return found


class _Entry(NamedTuple):
    """What begins with a word: its own meaning, and second word -> the longer phrases, the longest first."""

    alone: Meaning | None
    longer: dict[str, list[tuple[list[str], Meaning]]]


@cache
def _index() -> dict[str, _Entry]:
    """`_phrases` as it is looked up."""
    found = {}
    for first, phrases in _phrases().items():
        longer: dict[str, list[tuple[list[str], Meaning]]] = {}
        for words, meaning in sorted(phrases.items(), key=lambda item: -len(item[0])):
            if len(words) > 1:
                longer.setdefault(words[1], []).append((list(words), meaning))
        found[first] = _Entry(phrases.get((first,)), longer)
    return found


_WITHOUT_UMLAUT = (
    str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}),
    str.maketrans({"ß": "ss"}),
    str.maketrans({"ä": "a", "ö": "o", "ü": "u", "ß": "ss"}),
)


@cache
def _misspelled() -> dict[str, str]:
    """Each long word of the tables with one letter left out -> the word; "" where two words would fit."""
    found: dict[str, str] = {}
    words = {word for phrases in _phrases().values() for phrase in phrases for word in phrase}
    for word in sorted(words):
        if len(word) >= _LEAST_FUZZY and word.isalpha():
            for i in range(len(word)):
                shorter = word[:i] + word[i + 1 :]
                found[shorter] = word if found.get(shorter, word) == word else ""
    return found


@cache
def _known() -> frozenset[str]:
    return frozenset(word for phrases in _phrases().values() for phrase in phrases for word in phrase)


@lru_cache(_WORDS_KEPT)
def _spelling(word: str) -> str:
    """A word of the tables that differs from this one by one letter (left out, put in, changed, or two swapped), else
    the word."""
    if word in _OFTEN_WRONG:
        return _OFTEN_WRONG[word]
    if len(word) < _LEAST_FUZZY - 1 or len(word) > 40 or word in _known() or not word.isalpha():
        return word
    table = _misspelled()
    if table.get(word):
        return table[word]
    for i in range(len(word)):
        shorter = word[:i] + word[i + 1 :]
        if shorter in _known() and len(shorter) >= _LEAST_FUZZY:
            return shorter
        other = table.get(shorter)
        if other and len(other) == len(word) and (other[:i] == word[:i] or other[i + 2 :] == word[i + 2 :]):
            return other
    return word


def _raw(text: str) -> list[Token]:
    """Words, numbers and signs as they stand; white space is gone except where it ends a sentence."""
    folded = text.translate(_FOLD)
    out: list[Token] = []
    fresh, line = True, 0  # at the start of a line, which began at `line`
    behind = 0  # the last word or sign
    for match in _RAW.finditer(folded):
        word = match.group()
        start, end = match.span()
        if word[0] == "\n":
            start, lines = behind, word.count("\n")
            listed = (
                _BULLET.match(text, end)
                or _LABEL.match(folded, end)
                or (start - line < _SHORT_LINE and text[end : end + 1].isupper())
            )
            if lines > 1 or listed:
                out.append(Token(Kind.STOP, "\n", start, end))
            fresh, line, behind = True, end, end
            continue
        behind = end
        if word[0] in "0123456789." and len(word) <= 16 and _NUMBER.fullmatch(word):
            number = float(word.replace(",", "." if re.fullmatch(r"0,.*|.*,[0-9]", word) else ""))
            out.append(Token(Kind.NUMBER, word, start, end, number))
            if fresh and _BULLET.match(folded, start):
                out[-1] = Token(Kind.STOP, "\n", start, end)
        elif word == "?" and folded[end : end + 1].isalpha() and not folded[start - 1 : start].isalnum():
            out.append(Token(Kind.WORD, word, start, end))  # "?LVH"
        elif word in ".;!?":
            out.append(Token(Kind.STOP, word, start, end))
        elif word == "-" and out and end < len(folded) and folded[end].isalpha() and folded[start - 1].isalpha():
            continue  # first-degree, R-R
        else:
            out.append(Token(Kind.WORD, _spelling(word), start, end))
        fresh = False
    return out


_SIGNS = ("minus", "negative", "-", "+")


def _signed(raw: list[Token], i: int, folded_before: str) -> bool:
    """Whether raw[i] is a sign of the number that comes next, and not a dash between two things."""
    if i + 1 >= len(raw) or raw[i + 1].kind is not Kind.NUMBER:
        return False
    if raw[i].value in ("minus", "negative"):
        return True
    return (
        raw[i].value in ("-", "+")
        and raw[i].end == raw[i + 1].start
        and not (folded_before.isalnum() or folded_before in ")°%-+'")
    )


def _lead(raw: list[Token], i: int) -> tuple[tuple[str, ...], int]:
    """The leads named from raw[i] on, as canonical names, and the index after them; ((), i) where none is."""
    announced = raw[i].value in _ANNOUNCE
    if not announced and not _standard(raw[i].value):
        return (), i
    strict = raw[i].value == "in" or not announced  # "I" alone is a pronoun, a grade or a type
    names: list[str] = []
    j = after = i + announced
    joint = ""
    while j < len(raw) and j < i + 40:
        more = _named(raw, j, names, joint, bare=strict and not names)
        if not more:
            break
        if joint in ("-", "to", "through", "thru", "bis") and names and {names[-1], more[0]} <= set(_ORDER):
            names += _ORDER[_ORDER.index(names[-1]) + 1 : _ORDER.index(more[0])]
        names += more
        after = j + 1
        joint = raw[after].value if after < len(raw) else ""
        if joint in ("-", "to", "through", "thru", "bis", ",", "and", "/", "&", "or", "und", "+", "."):
            j = after + 1
            if joint == "," and j < len(raw) and raw[j].value in ("and", "or", "und"):
                j += 1
            if joint == "." and not (j < len(raw) and raw[j].start == raw[after].end):
                break
        else:
            j, joint = after, " "
    alone = len(names) == 1 and not _BARE_LEAD.fullmatch(names[0].lower())
    if not names or (alone and not _stands_alone(raw, i, announced, after)):
        return (), i
    return tuple(dict.fromkeys(names)), after


def _named(raw: list[Token], j: int, names: list[str], joint: str, *, bare: bool) -> list[str]:
    """The canonical names that raw[j] stands for in a list of leads that has `names` already; empty where it is no
    lead."""
    word = raw[j].value
    if word[0].isdigit():  # "V2,3", "V3-6"
        chest = (
            bool(names)
            and names[-1].startswith("V")
            and joint in (",", "-", "/", "and", "to")
            and _CHEST.fullmatch(word)
        )
        follows = raw[j + 1].value if j + 1 < len(raw) else ""
        return [f"V{n}" for n in word.split(",")] if chest and follows not in _NO_LEAD_AFTER else []
    if word in _SHORT_LIMB:
        limb = bool(names) and names[-1] in STANDARD[:6] and joint in (",", "/")
        return [_SHORT_LIMB[word]] if limb and not (j + 1 < len(raw) and raw[j + 1].kind is Kind.NUMBER) else []
    name = _standard(word)
    if word == "i" and [t.value for t in raw[j + 1 : j + 3]] == [".", "e"]:
        return []
    if not name or word in _ANNOUNCE or (joint == " " and word == "i") or (bare and word.startswith("c")):
        return []
    return [name]


@lru_cache(_WORDS_KEPT)
def _standard(word: str) -> str:
    """The lead that a word names, "" for none."""
    name = canonical(word)
    return name if name in STANDARD else word.upper() if word.upper() in FURTHER else ""


_NO_LEAD_AFTER = ("mm", "mv", "ms", "bpm", "°", "degrees", "beats", "leads", "s", "%")


_GRADED = ("type", "typ", "mobitz", "grade", "stage", "class", "block", "degree", "phase", "nerve")


def _stands_alone(raw: list[Token], i: int, announced: bool, after: int) -> bool:
    """Whether a single I, II or III is a lead: "lead II", "in III"; not "type II", "grade I", "class III"."""
    if announced:
        return raw[i].value != "in" or raw[i + 1].value != "i" or after >= len(raw) or not raw[after].value.isalpha()
    before = raw[i - 1].value if i else "\n"
    if before in ("-", "•", "+") and (i == 1 or raw[i - 2].value == "\n"):  # a list
        before = "\n"
    if before in (":", ",") and after < len(raw) and raw[after].kind is Kind.NUMBER and "." in raw[after].value:
        return True  # "T wave amplitudes: I 0.2 mV, II 0.3 mV"
    if before == "(" and after < len(raw) and raw[after].value == ")" and i > 1 and raw[i - 2].value != "block":
        return True
    if before == "\n" and after < len(raw) and raw[after].value == ":":
        return True
    return raw[i].value in ("ii", "iii") and before not in _GRADED


def tokens(text: str) -> list[Token]:
    """The phrases of a text, in order, without gaps of meaning: what is no known phrase is a WORD."""
    raw, table = _raw(text), _index()
    words = [token.value for token in raw]
    out: list[Token] = []
    i = 0
    while i < len(raw):
        here = raw[i]
        is_word = here.kind is Kind.WORD
        phrase, step = _phrase(words, i, table)
        leads, after = _lead(raw, i) if is_word else ((), i)
        if leads and after - i >= step:
            out.append(Token(Kind.LEAD, ", ".join(leads), here.start, raw[after - 1].end))
            i = after
            continue
        if is_word and here.value in _SIGNS and _signed(raw, i, text[here.start - 1 : here.start]):
            number = raw[i + 1]
            sign = 1.0 if here.value == "+" else -1.0
            out.append(Token(Kind.NUMBER, number.value, here.start, number.end, sign * number.number))
            i += 2
            continue
        spelled = read_words(words, i) if is_word else None
        if spelled is not None:
            value, after = spelled
            sign = bool(out) and words[i - 1] in ("minus", "negative") and out[-1].start == raw[i - 1].start
            start = out.pop().start if sign else here.start
            out.append(Token(Kind.NUMBER, here.value, start, raw[after - 1].end, -value if sign else value))
            i = after
            continue
        if phrase is None and is_word and here.value.endswith("n't"):
            phrase = (Kind.NEGATION, "not")
        if _is_decade(raw, i, out):  # "in the 70s"
            tens = out[-1]
            out += [tens._replace(kind=Kind.TO, value="to"), tens._replace(number=tens.number + 9, end=here.end)]
            i += 1
            continue
        if here.value == "s" and step <= 2 and out:
            if out[-1].kind in (Kind.NUMBER, Kind.OPEN) or out[-1].value == "/":
                phrase, step = (Kind.UNIT, "s"), 1
            else:
                phrase = (Kind.WAVE, "s")
        if phrase == (Kind.UNIT, "other") and here.value == ":" and not (out and out[-1].kind is Kind.NUMBER):
            phrase, step = _phrase(words[i : i + 1], 0, table)  # "2:1" is a ratio, "ST: 1 mm" is not
        if phrase is None or (not is_word and step == 1):
            out.append(here)
            i += 1
            continue
        token = Token(phrase[0], phrase[1], here.start, raw[i + step - 1].end)
        out.append(_lead_of(token) if token.kind is Kind.LEAD else token)
        i += step
        if token.kind is Kind.TERRITORY and i < len(raw) and words[i] in ("leads", "lead", "ableitungen", "ableitung"):
            leads_token = Token(Kind.LEAD, token.value, token.start, raw[i].end)
            if not _lead(raw, i)[0]:
                out[-1] = _lead_of(leads_token)
                i += 1
    return out


def _is_decade(raw: list[Token], i: int, out: list[Token]) -> bool:
    """Whether the "s" at raw[i] makes a decade of the number before it, as in "the rate is in the 70s"."""
    if raw[i].value != "s" or len(out) < 2 or out[-1].kind is not Kind.NUMBER or out[-1].end != raw[i].start:
        return False
    return out[-1].number % 10 == 0 and out[-2].value in ("the", "low", "mid", "high", "upper", "lower")


def _phrase(words: list[str], i: int, table: dict[str, _Entry]) -> tuple[Meaning | None, int]:
    """The longest phrase that begins at word i, and how many words it has; (None, 1) where none does."""
    entry = table.get(words[i])
    if entry is None:
        return None, 1
    if entry.longer and i + 1 < len(words):
        for phrase, meaning in entry.longer.get(words[i + 1], ()):
            if words[i : i + len(phrase)] == phrase:
                return meaning, len(phrase)
    return entry.alone, 1


def _lead_of(token: Token) -> Token:
    """A LEAD token whose value is a territory, "all" or "same" -> one whose value is names."""
    if token.value == "same":
        return token
    if token.value == "all":
        return token._replace(value=", ".join(STANDARD))
    return token._replace(value=", ".join(TERRITORIES.get(token.value, ())), territory=token.value)
