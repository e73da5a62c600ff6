"""`Turn` and `Conversation`: what is said, and to which ECGs and images it refers; LLaVA JSON in and out.

A record of LLaVA JSON, with GEM's ``ecg`` field::

    {"id": "1", "ecg": "a.hea", "image": "a.png",
     "conversations": [{"from": "human", "value": "<image>\\nRhythm?"}, {"from": "gpt", "value": "Sinus rhythm."}]}

``<image>`` marks the place of all streams: at each marker stands first the ECG, then the image (either may be absent).
Where there are several, ``ecg`` and ``image`` are lists, an entry a marker, ``null`` where a marker has none of that
kind. The id is text, a number or absent. A model with a stream of another name is trained on records that have a field
of that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llava_ecg.errors import InputError

MARKER = "<image>"
STREAMS = ("ecg", "image")
"""What a record may bring for every model, under these names; a model's own streams beside them: `streams_with`."""
_ROLES: dict[str, Literal["user", "assistant"]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_FROM = {"user": "human", "assistant": "gpt"}


def streams_with(names: Iterable[str]) -> tuple[str, ...]:
    """The fields of a record that name files, for a model with streams of these names."""
    return tuple(dict.fromkeys((*STREAMS, *names)))


class RecordError(InputError):
    """A record that is no conversation.

    Attributes:
        kind: ``record``, ``turns`` or ``markers``: what of it is wrong.
    """

    def __init__(self, sentence: str, kind: str = "record") -> None:
        super().__init__(sentence)
        self.kind = kind


@dataclass(frozen=True)
class Turn:
    """One utterance. An assistant's empty text is a turn that is still to be written."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True)
class Conversation:
    """Turns that alternate, a user's first, and what they speak about.

    Attributes:
        turns: the utterances; markers (``<image>``) stand where the sources belong.
        sources: stream name (``ecg``, ``image``, ...) -> the files, one a marker, as written in the record; an empty
            name where a marker has none, and fewer than there are markers where the last ones have none.
        id: the record's id.
    """

    turns: tuple[Turn, ...]
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    id: str = ""

    @property
    def markers(self) -> int:
        """How many places for sources the text has."""
        return sum(turn.text.count(MARKER) for turn in self.turns)

    def at(self, marker: int) -> dict[str, str]:
        """The files at one marker: stream name -> file."""
        return {name: files[marker] for name, files in self.sources.items() if marker < len(files) and files[marker]}


def parse(record: Mapping[str, Any], streams: tuple[str, ...] = STREAMS) -> Conversation:
    """One record of LLaVA JSON.

    Turns that come before the first human one are dropped, as LLaVA does. In a turn with a marker, where the record has
    one source of each kind, the marker goes to the front on a line of its own, and further markers are dropped (LLaVA's
    ``preprocess_multimodal``). A record with sources and no marker gets one at the front of its first turn.

    Raises:
        RecordError: no conversations, unknown speaker, two turns of the same speaker in a row, an id that is neither
            text nor number, or markers that do not match the sources.
    """
    name = _name(record.get("id"))
    spoken = record.get("conversations")
    if not isinstance(spoken, list) or not spoken:
        raise RecordError(f"record {name!r} has no conversations", "turns")
    turns: list[Turn] = []
    for number, said in enumerate(spoken, 1):
        speaker = said.get("from", said.get("role")) if isinstance(said, Mapping) else None
        text = said.get("value", said.get("content")) if isinstance(said, Mapping) else None
        if speaker not in _ROLES or not isinstance(text, str):
            raise RecordError(
                f"turn {number} of record {name!r} is not {{'from': 'human' or 'gpt', 'value': text}}", "turns"
            )
        role = _ROLES[speaker]
        if not turns and role == "assistant":
            continue
        if turns and turns[-1].role == role:
            raise RecordError(
                f"turns {number - 1} and {number} of record {name!r} are both of {speaker!r}; speakers must alternate",
                "turns",
            )
        turns.append(Turn(role, text))
    if not turns:
        raise RecordError(f"record {name!r} has no human turn", "turns")

    sources = {stream: _as_tuple(record[stream], name, stream) for stream in streams if record.get(stream)}
    count = max(map(len, sources.values()), default=0)
    if count == 1:
        turns = [Turn(turn.role, marker_first(turn.text)) for turn in turns]
    conversation = Conversation(tuple(turns), sources, name)
    if count == 1 and conversation.markers == 0:
        turns[0] = Turn("user", f"{MARKER}\n{turns[0].text}")
        conversation = Conversation(tuple(turns), sources, name)
    if conversation.markers != count:
        raise RecordError(
            f"record {name!r} has {conversation.markers} {MARKER} markers for {count} ECGs or images", "markers"
        )
    for marker in range(count):
        if not conversation.at(marker):
            raise RecordError(
                f"record {name!r} has neither an ECG nor an image for its {MARKER} marker {marker + 1}", "markers"
            )
    return conversation


def _name(value: Any) -> str:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise RecordError(f"the id of a record is text or a number, not {str(value)[:60]!r}")
    return "" if value is None else str(value)


def marker_first(text: str) -> str:
    """The text with its markers made one, at the front on its own line; unchanged without a marker."""
    if MARKER not in text:
        return text
    return f"{MARKER}\n{text.replace(MARKER, '').strip()}".strip()


def to_record(conversation: Conversation) -> dict[str, Any]:
    """LLaVA JSON of a conversation (the inverse of `parse` for records that are already in its form)."""
    record: dict[str, Any] = {"id": conversation.id}
    for stream, files in conversation.sources.items():
        record[stream] = files[0] if len(files) == 1 else [file or None for file in files]
    record["conversations"] = [{"from": _FROM[turn.role], "value": turn.text} for turn in conversation.turns]
    return record


def _as_tuple(value: Any, record: str, stream: str) -> tuple[str, ...]:
    files = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else ()
    if not files or not all(file is None or (isinstance(file, str) and file) for file in files):
        raise RecordError(f"the {stream!r} of record {record!r} is neither a file name nor a list of them")
    return tuple(file or "" for file in files)
