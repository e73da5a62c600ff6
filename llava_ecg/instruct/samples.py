"""`Sample`: a conversation that a writer proposes, before it is audited; and what the tasks share."""

from __future__ import annotations

from dataclasses import dataclass, field

from llava_ecg.instruct.facts import Facts


@dataclass(frozen=True)
class Exchange:
    """A question and its answer.

    Attributes:
        question: without markers.
        answer: the whole text.
        parts: (which ECG, text), for an answer about several: each part is audited against its own ECG; empty where all
            of it is about the first.
        decided: whether the answer decides something (yes or no, a choice): then nothing in it may be too near to a
            threshold.
    """

    question: str
    answer: str
    parts: tuple[tuple[int, str], ...] = ()
    decided: bool = False


@dataclass(frozen=True)
class Sample:
    """A conversation about one or two recordings.

    Attributes:
        task: what kind it is of.
        exchanges: in order.
        facts: of the recordings, in the order in which they are shown.
        told: whether the question says sex and age.
        sources: of the guide's lines that were used.
    """

    task: str
    exchanges: tuple[Exchange, ...]
    facts: tuple[Facts, ...]
    told: bool = False
    sources: tuple[str, ...] = field(default=())
