"""What an answer says: a letter, options, or labels; None where that can't be read.

Nothing is guessed: an answer that names no option, or more of them than one can choose, is unparsed, and the scorers
count it as wrong. Labels and options are found as words, never inside other words. `parsers_legacy` has the readings of
the public code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FINAL = re.compile(r"\b(?:final\s+answer|answer|correct\s+(?:option|choice))\b\s*(?:is\b|:)[\s:*_]*", re.IGNORECASE)
_DENIED = r"\b(?:no|not|without|absence\s+of|excludes?|rules?\s+out)\s+(?:(?:an?|any|evidence|signs?)\s+(?:of\s+)?)*"
_ALONE = r"(?=[ \t]*(?:[.):,;*\]\n]|$))"
_FILLING = re.compile(r"(?:\b(?:and|or)\b|[\s,;.&+/|*_\"'()\[\]-])*", re.IGNORECASE)


@dataclass(frozen=True)
class Label:
    """A label and how else it is said.

    Attributes:
        name: the label, found in its own spelling; in any where the answer is nothing but labels.
        others: further names, found in any spelling.
        unless: regular expression; where it follows the name or one of the others, that is not this label.
    """

    name: str
    others: tuple[str, ...] = ()
    unless: str = ""

    def pattern(self, any_case: bool) -> str:
        """A regular expression that finds it as words."""
        names = [re.escape(self.name) if not any_case else f"(?i:{re.escape(self.name)})"]
        names += [f"(?i:{_spaced(other)})" for other in sorted(self.others, key=len, reverse=True)]
        after = f"(?!(?i:{self.unless}))" if self.unless else ""
        return f"(?<![\\w-])(?:{'|'.join(names)})(?![\\w-]){after}"


def final(text: str) -> str:
    """What stands behind the last "answer:" or "the correct option is"; the whole text where neither is said."""
    ends = [found.end() for found in _FINAL.finditer(text)]
    return text[ends[-1] :] if ends and text[ends[-1] :].strip() else text


def letter(text: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses.

    Read as a choice are: a letter that stands alone at the beginning (``B``, ``(B)``, ``B. sinus rhythm``), of the part
    behind the last "answer:" or of the whole, or the words of exactly one option.

    Args:
        text: the answer.
        options: their words, for A, B, ...; at most 26.

    Returns:
        The letter; None where no single option is chosen.
    """
    letters = [chr(ord("A") + place) for place in range(len(options))]
    told = final(text).strip()
    begins = re.match(rf"[(\[*_\s]*([{letters[0]}-{letters[-1]}]){_ALONE}", told)
    if begins is not None:
        rest = told[begins.end() :]
        more = re.match(rf"[\s.,;)\]*]*(?:or|and|,)?\s*\(?([{letters[0]}-{letters[-1]}]){_ALONE}", rest)
        return None if more is not None and more[1] != begins[1] else begins[1]
    named = _named(told, options)
    return letters[options.index(named[0])] if len(named) == 1 else None


def options(text: str, choices: Sequence[str], *, several: bool = True) -> frozenset[str] | None:
    """The options that an answer names, as words and in any spelling; a longer one is not also the shorter in it.

    Args:
        text: the answer; what stands behind its last "answer:" counts, where that is said.
        choices: the options.
        several: whether more than one may be chosen; if not, an answer that names more is unparsed.

    Returns:
        Those named and not denied ("not atrial flutter"); None where none is named.
    """
    told = final(text)
    plain = [choice for choice in choices if choice.lower() in ("yes", "no", "not sure", "none")]
    if len(plain) == len(choices):  # "no" is an option there, and denies nothing
        begins = re.match(rf"\W*({'|'.join(map(_spaced, _longest(choices)))})\b", told, re.IGNORECASE)
        if begins is not None:
            both = re.match(
                rf"\s*(?:or|and|/)\s*(?:{'|'.join(map(_spaced, choices))})\b", told[begins.end() :], re.IGNORECASE
            )
            return None if both else frozenset(choice for choice in choices if _same(choice, begins[1]))
        named = _named(told, choices, deny=False)
        return frozenset(named) if len(named) == 1 else None
    named = _named(told, choices)
    return frozenset(named) if named and (several or len(named) == 1) else None


def labels(text: str, known: Sequence[Label]) -> frozenset[str] | None:
    """The labels that an answer gives.

    Args:
        text: the answer; what stands behind its last "answer:" counts, where that is said.
        known: the labels.

    Returns:
        The names of those said, without those only denied ("no MI", "no MI, CD or HYP"), so that an empty set is an
        answer; None where no label is said at all.
    """
    told = final(text)
    for any_case in (False, True):
        pattern = "|".join(f"(?P<l{place}>{label.pattern(any_case)})" for place, label in _by_length(known))
        if any_case and not _FILLING.fullmatch(re.sub(pattern, " ", told)):
            return None  # "the norm" in a sentence is no NORM
        found = list(re.finditer(pattern, told))
        if found:
            denied = list(_denials(told, found))
            said = (each for each in found if not any(start <= each.start() < end for start, end in denied))
            return frozenset(known[int(str(each.lastgroup)[1:])].name for each in said)
    return None


def _denials(text: str, found: Sequence[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """From and to where labels are denied: one behind a "no", and a list behind it that goes on with "or" or "nor"."""
    for place, each in enumerate(found):
        if not re.search(f"{_DENIED}$", text[: each.start()], re.IGNORECASE):
            continue
        end, last = each.end(), each.end()
        for later in found[place + 1 :]:
            between = text[last : later.start()].strip().lower()
            if between not in (",", "or", "nor", ", or", ", nor", "/"):
                break
            last = later.end()
            if "or" in between:
                end = last
        yield each.start(), end


def _by_length(known: Sequence[Label]) -> list[tuple[int, Label]]:
    return sorted(enumerate(known), key=lambda each: -max(map(len, (each[1].name, *each[1].others))))


def _named(text: str, choices: Sequence[str], deny: bool = True) -> list[str]:
    """The choices that stand in a text as words; where one lies inside another's words only the longer counts."""
    taken: list[tuple[int, int]] = []
    named = set()
    for choice in _longest(choices):
        for found in re.finditer(rf"(?<![\w-]){_spaced(choice)}(?![\w-])", text, re.IGNORECASE):
            if any(start <= found.start() < end for start, end in taken):
                continue
            taken.append(found.span())
            if not (deny and re.search(f"{_DENIED}$", text[: found.start()], re.IGNORECASE)):
                named.add(choice)
    return [choice for choice in choices if choice in named]


def _longest(choices: Sequence[str]) -> list[str]:
    return sorted(choices, key=len, reverse=True)


def _spaced(words: str) -> str:
    """A regular expression for words with any spaces between them."""
    return r"\s+".join(map(re.escape, words.split()))


def _same(one: str, other: str) -> bool:
    return one.lower().split() == other.lower().split()
