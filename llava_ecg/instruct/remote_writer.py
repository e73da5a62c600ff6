"""`RemoteWriter`: facts and guide -> full interpretations that a model behind an OpenAI-compatible endpoint writes.

It writes one task, the interpretation, by the protocol of `prompting`. What comes back is data: JSON of a schema, or a
fault; then it goes through the same audit as any text, and what is refused is sent back with the reasons.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_ecg.instruct.asking import Asker
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import Guide
from llava_ecg.instruct.phrases import Voice, phrases
from llava_ecg.instruct.prompting import SCHEMAS, again, composed, dossier, messages, parsed, prompts
from llava_ecg.instruct.samples import Exchange, Sample
from llava_ecg.instruct.writer import TOLD, Draft, drawn

_LONGEST = 6000  # characters of a refused answer that are sent back


@dataclass(frozen=True)
class RemoteWriter:
    """Asks for the interpretation of a recording.

    Attributes:
        guide: what has to be cited.
        asker: of the model.
        fields: of each request, such as ``max_tokens`` and ``temperature``.
        protocol: of `llava_ecg.instruct.prompting.SCHEMAS`.
        seed: of the question, and of the sampling where the server knows one.
        show: whether the page is sent, where one was drawn.
    """

    guide: Guide
    asker: Asker
    fields: Mapping[str, Any]
    protocol: str = "gem"
    seed: int = 0
    show: bool = False
    name: str = field(default="remote", init=False)

    @property
    def model(self) -> str:
        """Its name at the endpoint."""
        return self.asker.endpoint.model

    @property
    def prompt(self) -> str:
        """The version of what it says to the model."""
        return f"prompts {prompts().version}, phrases {phrases().version}, {self.protocol}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What else its lines hang on."""
        return {"model": self.model, "request": dict(self.fields), "show_page": self.show}

    def single(self, facts: Facts, page: Path | None = None) -> Iterator[tuple[str, Draft]]:
        """The interpretation, with what drafts it."""
        yield "interpretation", _Interpretation(self, facts, page if self.show else None)

    def pair(self, one: Facts, other: Facts) -> Draft | None:
        """It compares none."""
        return None

    def rng(self, facts: Facts, *what: object) -> random.Random:
        """What is drawn from for one recording and task."""
        return drawn(self.seed, facts, *what)


class _Interpretation:
    """One recording's question, and what was answered to it last; each call asks once more."""

    def __init__(self, writer: RemoteWriter, facts: Facts, page: Path | None) -> None:
        self.writer = writer
        rng = writer.rng(facts, "interpretation")
        self.voice = Voice(facts, rng, told=rng.random() < TOLD)
        self.question = self.voice.ask("six-step" if writer.protocol == "six-step" else "interpretation")
        self.known = dossier(writer.guide, self.voice)
        image = page.read_bytes() if page is not None else None
        told = self.voice.told
        self.first = messages(writer.protocol, self.question, self.known, told=told, page=image)
        self.last = ""
        self.asked = 0

    def __call__(self, rng: random.Random, faults: Sequence[str] = ()) -> Sample | None:
        """See `Draft`."""
        writer = self.writer
        schema = {"name": "answer", "strict": True, "schema": SCHEMAS[writer.protocol]}
        own = {"seed": writer.seed + self.asked, "response_format": {"type": "json_schema", "json_schema": schema}}
        fields = {name: value for name, value in {**own, **writer.fields}.items() if value is not None}
        talk = list(self.first)
        if faults:
            talk += [{"role": "assistant", "content": self.last[:_LONGEST]}, {"role": "user", "content": again(faults)}]
        self.asked += 1
        self.last = writer.asker.ask(talk, fields).text
        answer = composed(parsed(self.last, writer.protocol), writer.protocol, self.known, self.voice)
        sources = [source for name in (*self.known.sure, *self.known.compatible) for source in self._sources(name)]
        exchange = Exchange(self.question, answer)
        return Sample(
            "interpretation", (exchange,), (self.voice.facts,), self.voice.told, tuple(dict.fromkeys(sources))
        )

    def _sources(self, name: str) -> tuple[str, ...]:
        return self.writer.guide.judge(name, self.voice.facts).sources
