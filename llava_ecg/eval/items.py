"""What passes between a task, a model and the figures, all of it plain JSON in a log: `Item`, `Answered` and `Told`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """A question with its right answer.

    Attributes:
        name: of the question, once in a task.
        question: what is asked, without the options.
        truth: the options or labels that are right; empty where a judge or the signal decides, or where the right
            answer, which is then the `reference`, could not be read.
        sources: what it is about, for each ECG a block as `llava_ecg.eval.sources.case` takes it; plain JSON.
        options: what may be answered; empty where the task has labels or nothing to choose from.
        group: what shares a patient, drawn together for the intervals.
        kind: of the question; figures are made for each kind too where there are several.
        turns: what is asked after the first answer, in the same conversation.
        reference: the text that a good answer would be, or those of all turns, one behind the other.
        lent: blocks of another patient's ECG, which the floor of the measured grounding holds the answer against.
    """

    name: str
    question: str
    truth: tuple[str, ...]
    sources: tuple[Mapping[str, Any], ...]
    options: tuple[str, ...] = ()
    group: str = ""
    kind: str = ""
    turns: tuple[str, ...] = ()
    reference: str = ""
    lent: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, which `of` reads."""
        return asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Item:
        """From plain JSON."""
        listed = {name: tuple(told[name]) for name in ("truth", "sources", "options", "turns", "lent") if name in told}
        return cls(**{**told, **listed})


def by_ecg(items: Iterable[Item]) -> list[Item]:
    """Questions about the same ECGs one behind the other, so that what a model read of them is used again; ECGs and
    questions otherwise in their order."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        shown = [{name: told for name, told in block.items() if name != "show"} for block in item.sources]
        groups.setdefault(json.dumps(shown, sort_keys=True, default=str), []).append(item)
    return [item for group in groups.values() for item in group]


@dataclass(frozen=True)
class Answered:
    """What a model answered.

    Attributes:
        text: the answer; of several turns the last.
        texts: those of all turns.
        whole: whether it came to its own end.
        shown: from and to which second of the recording the model was shown; None where that is not known.
        likelihoods: label -> how likely it was to the model, up to a factor; None where that was not asked for.
    """

    text: str
    texts: tuple[str, ...] = ()
    whole: bool = True
    shown: tuple[float, float] | None = None
    likelihoods: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Told:
    """An answer as it was read, from which figures are made.

    Attributes:
        text: the answer.
        said: what it says, in the form of the task's marking; None where that could not be read.
        more: what the marking wants to know beside it, such as a second judge's points.
    """

    text: str
    said: Any
    more: Mapping[str, Any] = field(default_factory=dict)
