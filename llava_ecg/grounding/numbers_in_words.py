"""Numbers written as words: "seventy-two", "one hundred and sixty", "two to three" before a unit."""

from __future__ import annotations

from collections.abc import Sequence

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ONES = {word: value for value, word in enumerate(_SMALL.split())}
_TENS = dict(
    zip(("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), range(20, 100, 10), strict=True)
)
_UNITS = ("ms", "msec", "s", "sec", "second", "seconds", "bpm", "mm", "mv", "degree", "degrees")
_LONG_UNITS = ("milli", "micro")  # millisecond, millimeter, millivolts, ...
_LONGEST = 8
_SURE = 13  # a smaller number counts only before a unit: "one P wave", "two leads"


def read_words(words: Sequence[str], i: int) -> tuple[float, int] | None:
    """The number that the words from i on spell, and the index after it; None where they spell none or may mean
    something else."""
    if words[i] not in _ONES and words[i] not in _TENS and words[i] not in ("a", "half"):
        return None
    value, after = _spelled(words, i)
    if after == i:
        return None
    if value >= _SURE or _unit_at(words, after):
        return value, after
    joined = (
        words[after : after + 1] == ["to"] or words[after : after + 1] == ["or"] or words[after : after + 1] == ["-"]
    )
    if joined and after + 1 < len(words):
        _, end = _spelled(words, after + 1)
        if end > after + 1 and _unit_at(words, end):
            return value, after
    return None


def _unit_at(words: Sequence[str], i: int) -> bool:
    if words[i : i + 1] and words[i] in ("small", "large", "big", "little"):
        return list(words[i + 1 : i + 2]) in (["box"], ["boxes"], ["square"], ["squares"])
    return (i < len(words) and (words[i] in _UNITS or words[i].startswith(_LONG_UNITS))) or list(words[i : i + 2]) == [
        "beats",
        "per",
    ]


def _spelled(words: Sequence[str], i: int) -> tuple[float, int]:
    """The value and the index after the last word that belongs to it; the index is i where nothing is spelled."""
    if list(words[i : i + 2]) == ["half", "a"]:
        return 0.5, i + 2
    total, j, seen = 0.0, i, False
    while j < min(len(words), i + _LONGEST):
        word, follows = words[j], words[j + 1] if j + 1 < len(words) else ""
        if (word in _TENS and total % 100 == 0) or (word in _ONES and _takes_ones(total, seen, word)):
            total += _TENS.get(word, _ONES.get(word, 0))
        elif word == "hundred" and 0 < total < 10:
            total *= 100
        elif word == "a" and not seen and follows == "hundred":
            total, j = 100.0, j + 1
        elif word == "and" and total >= 100 and total % 100 == 0 and (follows in _ONES or follows in _TENS):
            j += 1
            continue
        elif word == "and" and seen and list(words[j + 1 : j + 3]) == ["a", "half"]:
            return total + 0.5, j + 3
        elif word == "point" and seen and follows in _ONES:
            return total + _ONES[follows] / 10, j + 2
        else:
            break
        seen, j = True, j + 1
    return (total, j) if seen else (0.0, i)


def _takes_ones(total: float, seen: bool, word: str) -> bool:
    """Whether a number below twenty can follow what was read: after twenty, after a hundred, at the start."""
    if not seen:
        return True
    room = total % 100 == 0 or (total % 10 == 0 and total % 100 >= 20 and _ONES[word] < 10)
    return room and word != "zero"
