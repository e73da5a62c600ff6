"""How the public code of ECGBench reads answers, faults included, so that its published numbers can be compared.

The faults are listed in docs/evaluate.md. Nothing of ours is scored by these unless it is asked for by name.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

_WORDS = "Only answer based on the given Options without any explanation."
_OPTION = "The correct option is "
_ANSWER = "Answer:"


def letter(text: str, count: int, rng: random.Random) -> str:
    """The first of A ... H that is followed by a full stop anywhere, so "ECG." answers G; else what comes behind two
    set phrases; else a random one of the first `count` letters."""
    letters = "ABCDEFGH"
    drawn = letters[rng.randrange(count)]  # drawn always, so that one answer's reading does not change the next's
    if len(text) == 1 and text in letters:
        return text
    dotted = next((each for each in letters if f"{each}." in text), None)
    if dotted is not None:
        return dotted
    if _OPTION in text:
        first = text.split(_OPTION)[-1][:1]
        return first if first and first in letters else drawn
    if _ANSWER in text:
        answer = text.split(_ANSWER)[-1]
        return next((each for each in letters if each in answer), drawn)
    return drawn


def labels(text: str, known: Sequence[str]) -> frozenset[str]:
    """The labels that occur anywhere in a text, inside of other words too; an answer without any says none."""
    return frozenset(label for label in known if label in text)


def labels_or_normal(text: str, known: Sequence[str], normal: tuple[str, str]) -> frozenset[str]:
    """As `labels`, behind the last "Answer:", with one of (normal, abnormal) at most: the second where it occurs."""
    told = text.split(_ANSWER)[-1]
    found = labels(told, known) - set(normal)
    at_most = normal[1] if normal[1] in told else normal[0] if normal[0] in told else None
    return found if at_most is None else found | {at_most}


def candidates(prompt: str) -> list[str]:
    """The options of a prompt: what stands behind "Options:", cut at every comma."""
    return [each.strip() for each in prompt.split("Options:")[-1].replace(_WORDS, "").split(",")]


def options_agree(text: str, prompt: str, golden: str) -> bool:
    """Whether an answer of ECG-QA passes: the candidates found in it, joined, have the *letters* of the right
    answer."""
    named = [each for each in candidates(prompt) if each.lower() in text.lower()]
    return set("".join(named)) == set(golden)
