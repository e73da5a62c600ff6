"""`OfflineWriter`: facts and guide -> conversations, without any model. Everything drawn follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llava_ecg.instruct import tasks, tasks_decided
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import Guide
from llava_ecg.instruct.phrases import Voice, phrases
from llava_ecg.instruct.samples import Sample
from llava_ecg.instruct.tasks_pair import pair

Draft = Callable[[random.Random], Sample | None]
"""Draws one version of a sample; None where the recording has nothing for it."""
_TOLD = 0.6  # of the questions say sex and age, where they are known
_FEATURES = 3  # questions about single features of a recording


@dataclass(frozen=True)
class OfflineWriter:
    """Composes the samples of a recording.

    Attributes:
        guide: what has to be cited.
        protocol: of `llava_ecg.instruct.tasks.PROTOCOLS`, for full interpretations.
        seed: of all that is drawn, together with the recording and the task.
        name: for the provenance; `prompt` is the version of its words.
    """

    guide: Guide
    protocol: str = "gem"
    seed: int = 0
    name: str = field(default="offline", init=False)

    @property
    def prompt(self) -> str:
        """The version of the words it writes with."""
        return f"phrases {phrases().version}, {self.protocol}"

    def single(self, facts: Facts) -> Iterator[tuple[str, Draft]]:
        """Each task of one recording, with what drafts it."""

        def draft(make: Callable[[Voice], Sample | None]) -> Draft:
            return lambda rng: make(Voice(facts, rng, told=rng.random() < _TOLD))

        guide = self.guide
        yield "interpretation", draft(lambda voice: tasks.interpretation(guide, voice, self.protocol))
        yield "report", draft(lambda voice: tasks.report(guide, voice))
        yield "rhythm", draft(lambda voice: tasks.rhythm(guide, voice))
        topics = self.rng(facts, "topics").sample(tasks.FEATURES, len(tasks.FEATURES))
        for number in range(_FEATURES):
            offered = topics[number::_FEATURES]  # the first of them that was measured
            yield f"feature {number + 1}", draft(lambda voice, offered=offered: _first(guide, voice, offered))  # type: ignore[misc]
        yield "evidence", draft(lambda voice: tasks.evidence(guide, voice))
        yield "multi-turn", draft(lambda voice: tasks.multi_turn(guide, voice))
        yield "leads", draft(lambda voice: tasks_decided.leads(guide, voice))
        for number in (1, 2):
            yield f"yes or no {number}", draft(lambda voice: tasks_decided.yes_no(guide, voice))
            yield f"choice {number}", draft(lambda voice: tasks_decided.choice(guide, voice))
        yield "cannot", draft(lambda voice: tasks_decided.cannot(guide, voice))

    def pair(self, one: Facts, other: Facts) -> Draft:
        """What drafts the comparison of two recordings."""
        return lambda rng: pair(self.guide, one, other, rng)

    def rng(self, facts: Facts, *what: object) -> random.Random:
        """What is drawn from for one recording and task."""
        return random.Random("/".join(map(str, (self.seed, facts.key, *what))))


def _first(guide: Guide, voice: Voice, topics: list[str]) -> Sample | None:
    return next((found for topic in topics if (found := tasks.feature(guide, voice, topic)) is not None), None)
