"""`Phrases`: the writer's words from ``phrases.yaml``, and `Voice`, which fills them with one recording's facts."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import fill

_AN = re.compile(r"\ba(?= (?:8\d?|11|18)-)")  # an 86-year-old
_ONE = re.compile(r"(?<![\d.])(-?1 (?:(?:early|wide|ventricular|premature) )*(?:degree|beat))s\b")


@dataclass(frozen=True)
class Phrases:
    """The table, and a digest of its text for the provenance of what is written with it."""

    table: Mapping[str, Any]
    version: str

    def of(self, *path: str) -> Sequence[Any]:
        """The variants at a place of the table."""
        found: Any = self.table
        for name in path:
            found = found[name]
        return found


@lru_cache(maxsize=1)
def phrases() -> Phrases:
    """The table of this package."""
    import yaml

    text = Path(__file__).with_name("phrases.yaml").read_text(encoding="utf-8")
    return Phrases(yaml.safe_load(text), hashlib.sha256(text.encode()).hexdigest()[:12])


class Voice:
    """Draws variants and fills them for one recording.

    Attributes:
        facts: of the recording.
        rng: what is drawn follows from it alone.
        told: whether the question says sex and age; thresholds that depend on them are used only then.
    """

    def __init__(self, facts: Facts, rng: random.Random, *, told: bool = False) -> None:
        self.facts = facts
        self.rng = rng
        self.told = told and facts.sex is not None and facts.age is not None

    def say(self, *path: str, **words: str) -> str:
        """A variant at a place of the table, filled; empty where none can be.

        Args:
            path: into ``phrases.yaml``.
            words: for names in capitals that are not measured, such as ``X="sinus rhythm"``.
        """
        variants = list(phrases().of(*path))
        self.rng.shuffle(variants)
        for variant in variants:
            text = variant
            for name, word in words.items():
                text = text.replace(f"{{{name}}}", word)
            if (filled := fill(text, self.facts)) is not None:
                return capital(singular(filled))
        return ""

    def sentence(self, key: str, **words: str) -> str:
        """A variant of ``sentences``."""
        return self.say("sentences", key, **words)

    def ask(self, key: str, **words: str) -> str:
        """A variant of ``questions``, with the person before it where that is told."""
        return self.about(self.say("questions", key, **words))

    def question_of(self, topic: str, answer: str) -> str:
        """A variant of ``questions`` that the answer does answer, by the words that ``answered by`` asks of it; empty
        where there is none."""
        table = phrases()
        wanted = table.table["answered by"]
        variants = [each for each in table.of("questions", topic) if re.search(wanted.get(each, ""), answer)]
        return str(self.rng.choice(variants)) if variants else ""

    def about(self, question: str) -> str:
        """The question, with sex and age before it where they are told."""
        if not self.told or self.facts.age is None:
            return question
        sex = {"male": "man", "female": "woman"}[str(self.facts.sex)]
        person = self.say("person", AGE=f"{self.facts.age:.0f}", SEX=sex)
        return f"{_AN.sub('an', person)} {question}"


def capital(text: str) -> str:
    """The text with its first letter large, names such as ``rS`` and ``aVL`` left as they are."""
    first = text.split(" ", 1)[0]
    return text if any(letter.isupper() for letter in first[1:]) else text[:1].upper() + text[1:]


def singular(text: str) -> str:
    """The text with one degree and one beat, not one degrees."""
    return _ONE.sub(r"\1", text)


def listing(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    from llava_ecg.instruct.guide import in_words

    return in_words(parts)
