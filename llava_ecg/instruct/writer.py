"""`Writer`, what writes texts, and `OfflineWriter`: facts and guide -> conversations, without any model. Everything
drawn follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llava_ecg.instruct import tasks, tasks_decided
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import Guide
from llava_ecg.instruct.phrases import Voice, phrases
from llava_ecg.instruct.samples import Sample
from llava_ecg.instruct.tasks_pair import pair


class Draft(Protocol):
    """Draws one version of a sample."""

    def __call__(self, rng: random.Random, faults: Sequence[str] = ()) -> Sample | None:
        """A version.

        Args:
            rng: to draw it from.
            faults: of the version before it, in words, where that was refused.

        Returns:
            None where the recording has nothing for it.
        """


class Writer(Protocol):
    """What writes the texts of a set."""

    @property
    def guide(self) -> Guide:
        """What has to be cited."""

    @property
    def name(self) -> str:
        """For the provenance, as the next three."""

    @property
    def model(self) -> str | None:
        """The model that writes; None where there is none."""

    @property
    def prompt(self) -> str:
        """The version of its words."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else its lines hang on, by the names of flags."""

    def single(self, facts: Facts, page: Path | None = None) -> Iterator[tuple[str, Draft]]:
        """Each task of one recording, with what drafts it; `page` is the image that was drawn of it."""

    def pair(self, one: Facts, other: Facts) -> Draft | None:
        """What drafts the comparison of two recordings; None where it compares none."""

    def rng(self, facts: Facts, *what: object) -> random.Random:
        """What is drawn from for one recording and task."""


TOLD = 0.6  # of the questions say sex and age, where they are known
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

    model: str | None = field(default=None, init=False)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing more than the above."""
        return {}

    @property
    def prompt(self) -> str:
        """The version of the words it writes with."""
        return f"phrases {phrases().version}, {self.protocol}"

    def single(self, facts: Facts, page: Path | None = None) -> Iterator[tuple[str, Draft]]:
        """Each task of one recording, with what drafts it."""

        def draft(make: Callable[[Voice], Sample | None]) -> Draft:
            return lambda rng, faults=(): make(Voice(facts, rng, told=rng.random() < TOLD))

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
        return lambda rng, faults=(): pair(self.guide, one, other, rng)

    def rng(self, facts: Facts, *what: object) -> random.Random:
        """What is drawn from for one recording and task."""
        return drawn(self.seed, facts, *what)


def drawn(seed: int, facts: Facts, *what: object) -> random.Random:
    """What follows from a seed, a recording and a task."""
    return random.Random("/".join(map(str, (seed, facts.key, *what))))


def _first(guide: Guide, voice: Voice, topics: list[str]) -> Sample | None:
    return next((found for topic in topics if (found := tasks.feature(guide, voice, topic)) is not None), None)
