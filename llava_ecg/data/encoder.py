"""`Encoder`: what a sample shows. Training, asking and evaluation make their joint sequence here, so that they can't
differ.

At each marker of the conversation stands what one question is about: its sources by stream (a recording, an image),
those that the model has no stream for left out, and what its other streams make of them (the page drawn from a
recording) where the checkpoint says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llava_ecg.data.conversation import MARKER, Turn
from llava_ecg.data.encode import Encoded, encode
from llava_ecg.data.templates import Template
from llava_ecg.streams import Prepared, Preparer

Place = Mapping[str, Any]
"""What stands at one marker: stream name -> source."""
Kept = dict[tuple[str, int], tuple[Any, Prepared]]
"""(stream, identity of a source) -> the source, and what was prepared from it: the turns of a chat prepare it once."""


@dataclass(frozen=True)
class Encoder:
    """A model's way from a conversation and its sources to the joint sequence.

    Attributes:
        template: how a conversation is written.
        tokenizer: a fast transformers tokenizer.
        preparers: stream name -> the model's preparer, in the model's order of streams.
        derive: whether a stream that a place lacks is made from its others, where the stream's preparer can.
    """

    template: Template
    tokenizer: Any
    preparers: Mapping[str, Preparer]
    derive: bool = True

    def whole(self, place: Place) -> dict[str, Any]:
        """The sources of a place, and what the model's other streams make of them; those of no stream are still
        there."""
        found = dict(place)
        for name, preparer in self.preparers.items() if self.derive else ():
            made = preparer.derive(found) if name not in found else None
            if made is not None:
                found[name] = made
        return found

    def shown(self, place: Place) -> dict[str, Any]:
        """What of a place the model is shown: `whole`, without sources that it has no stream for; may be empty."""
        return {name: source for name, source in self.whole(place).items() if name in self.preparers}

    def sample(
        self, turns: Sequence[Turn], places: Sequence[Place], *, max_length: int | None = None, kept: Kept | None = None
    ) -> Encoded:
        """The joint sequence.

        Args:
            turns: with a marker for each place.
            places: what is shown at each, as `shown` gives it.
            max_length: tokens; text behind is cut, streams that do not fit are an error.
            kept: what was prepared before, and is again.

        Raises:
            InputError: a source that can't be prepared, or as `llava_ecg.data.encode.encode`.
        """
        kept = {} if kept is None else kept
        streams = {name: [self._prepared(name, place, kept) for place in places] for name in self.preparers}
        return encode(turns, self.template, self.tokenizer, streams, max_length=max_length)

    def _prepared(self, name: str, place: Place, kept: Kept) -> Prepared | None:
        if name not in place:
            return None
        key = (name, id(place[name]))
        if key not in kept:
            kept[key] = (place[name], self.preparers[name].prepare(place[name]))
        return kept[key][1]


def marked(turns: Sequence[Turn], places: int = 1) -> list[Turn]:
    """Turns that ask, with so many markers in front of the first: a marker that a user typed is only text, and goes."""
    clean = [Turn(turn.role, turn.text.replace(MARKER, "")) for turn in turns]
    return [Turn("user", f"{MARKER}\n" * places + clean[0].text.strip()), *clean[1:]]


def notes_of(sample: Encoded) -> list[str]:
    """What a user should know about how the sources of a sample were prepared, each once."""
    return list(
        dict.fromkeys(note for given in sample.streams.values() for prepared in given for note in prepared.notes)
    )
