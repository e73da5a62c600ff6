"""A question on its way through `llava_ecg.assistant`, and the answer that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.data.encode import Encoded
from llava_ecg.engine.request import Request
from llava_ecg.grounding.audit import Audit
from llava_ecg.writer import Writer


@dataclass(frozen=True)
class Answer:
    """What the model said, and what that is worth.

    Attributes:
        text: the answer.
        model: name of the model.
        tokens: ``prompt`` (all), each stream's share by its name, and ``new``.
        seconds: ``prepare``, ``first_token`` (from the start) and ``total``.
        finished: ``stop``, ``length`` or ``cancelled``.
        notes: what a reader should know about how it came to be.
        audit: the answer's claims held against the measurements of what was shown; None without anything to read them
            from.
        shown: from and to which second of the recording the model was shown; None where that is not known, as of an
            image alone.
        overrides: what was asked for otherwise than the checkpoint brings it (`Checkpoint.overrides`).
        drafts: the other drafts of an answer that was asked for again (`llava_ecg.revising`), in their order.
    """

    text: str
    model: str
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]
    finished: str
    notes: tuple[str, ...] = ()
    audit: Audit | None = None
    shown: tuple[float, float] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    drafts: tuple[Answer, ...] = ()

    def _repr_html_(self) -> str:
        """As a notebook shows it: the text with its claims underlined, and the audit."""
        from llava_ecg.grounding.displayed import answer_html

        return answer_html(self.text, self.model, self.audit, self.notes, self.finished)


@dataclass(frozen=True)
class Question:
    """What `Assistant.ask_many` is asked.

    Attributes:
        turns: alternating, a user's first and last.
        case: what it is about.
        tag: whatever its maker wants to know it by.
    """

    turns: Sequence[Turn]
    case: Case
    tag: Any = None


@dataclass
class Asked:
    """A question on its way; see `Assistant.prepare`.

    Attributes:
        question, decoding: what was asked, and how it is answered.
        sample: the joint sequence.
        notes: what a user should know about how its sources were prepared.
        writer: writes the answer down.
        new_tokens: the longest answer that there is room for.
        started, prepared: when, in seconds of `time.perf_counter`.
        request: what the engine is asked, where that is made already.
    """

    question: Question
    decoding: Decoding
    sample: Encoded
    notes: list[str]
    writer: Writer
    new_tokens: int
    started: float
    prepared: float
    request: Request | None = None
