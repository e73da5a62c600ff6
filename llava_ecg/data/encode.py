"""A conversation and its prepared sources -> `Encoded`: THE joint sequence, made here and nowhere else.

Axes: S sequence, N tower tokens in the sequence, P tokens a tower makes of one value.

At each ``<image>`` marker stand the tokens of every stream that is given there, in the model's order of streams (GEM:
ECG, then image). Their ids are the pad id, their labels `IGNORE`; `Encoded.slots` says who lives where: 0 text, k the
k-th stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from llava_ecg.data.conversation import MARKER, Turn
from llava_ecg.data.templates import Span, Template
from llava_ecg.errors import InputError
from llava_ecg.streams import Prepared

IGNORE = -100


@dataclass(frozen=True)
class Encoded:
    """One sample as the model takes it.

    Attributes:
        ids: int64 [S]; the pad id where a tower token stands.
        labels: int64 [S]; `IGNORE` where there is no loss.
        slots: int8 [S]; 0 for text, k for the k-th stream.
        streams: stream name -> what was prepared, in order of place.
        needed: places up to the end of the last answer, before anything was cut; 0 without an answer.
        record: id of the record that it was made from; empty where there is none.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    slots: torch.Tensor
    streams: Mapping[str, tuple[Prepared, ...]]
    needed: int = 0
    record: str = ""

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def taught(self) -> bool:
        """Whether anything is learnt from it: a label that is predicted from a place before it."""
        return bool((self.labels[1:] != IGNORE).any())

    @property
    def shown(self) -> tuple[float, float] | None:
        """From and to which second of the recording any stream shows; None where none says."""
        spans = [each.shown for given in self.streams.values() for each in given if each.shown is not None]
        return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None

    @property
    def places(self) -> dict[str, int]:
        """How many places of the sequence each stream has."""
        return {name: int((self.slots == slot).sum()) for slot, name in enumerate(self.streams, 1)}

    @property
    def cut(self) -> bool:
        """Whether an answer, or a part of one, was cut away."""
        return self.needed > len(self)


def encode(
    turns: Sequence[Turn],
    template: Template,
    tokenizer: Any,
    streams: Mapping[str, Sequence[Prepared | None]],
    *,
    max_length: int | None = None,
) -> Encoded:
    """The joint sequence of a conversation.

    Args:
        turns: with one marker for each entry of the streams' lists.
        template: how it is written.
        tokenizer: a fast transformers tokenizer (its offsets say which tokens are trained on).
        streams: stream name -> one entry a marker, None where the stream is left out; in the model's order of streams,
            all of them, since the position in the mapping is the slot number.
        max_length: cut the text behind the last stream to this many tokens.

    Raises:
        InputError: markers and entries differ in number, or the streams do not fit in `max_length`.
    """
    ids, labels, places = tokenize(template.spans(turns), tokenizer)
    for name, given in streams.items():
        if len(given) != len(places):
            raise InputError(f"{len(given)} sources of the stream {name!r} for {len(places)} {MARKER} markers")
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    whole = place(ids, labels, places, streams, pad)
    answers = torch.nonzero(whole.labels != IGNORE)
    whole = replace(whole, needed=int(answers[-1]) + 1 if len(answers) else 0)
    return whole if max_length is None else truncate(whole, max_length)


def tokenize(spans: Sequence[Span], tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Text spans -> ids and labels, with the places of the markers.

    The text between two markers is tokenised as one piece (so span borders don't change the tokens, as in LLaVA); a
    token is trained on if it overlaps a trained span.

    Returns:
        ids, labels (equally long, markers taken out), and for each marker the index in them before which it stood.
    """
    text = "".join(span.text for span in spans)
    trained = [flag for span in spans for flag in [span.trained] * len(span.text)]
    ids: list[int] = []
    labels: list[int] = []
    places: list[int] = []
    start = 0
    pieces = text.split(MARKER)
    for number, piece in enumerate(pieces):
        coded = tokenizer(piece, return_offsets_mapping=True, add_special_tokens=True)
        piece_ids, offsets = coded["input_ids"], coded["offset_mapping"]
        if number and piece_ids and piece_ids[0] == tokenizer.bos_token_id and offsets[0] == (0, 0):
            piece_ids, offsets = piece_ids[1:], offsets[1:]  # the sequence has one BOS, at its front
        ids += piece_ids
        labels += [
            token if any(trained[start + first : start + last]) else IGNORE
            for token, (first, last) in zip(piece_ids, offsets, strict=True)
        ]
        start += len(piece) + len(MARKER)
        if number < len(pieces) - 1:
            places.append(len(ids))
    return ids, labels, places


def place(
    ids: Sequence[int],
    labels: Sequence[int],
    places: Sequence[int],
    streams: Mapping[str, Sequence[Prepared | None]],
    pad: int,
) -> Encoded:
    """Open the text at each place and put the streams' slots there."""
    out_ids: list[int] = []
    out_labels: list[int] = []
    slots: list[int] = []
    kept: dict[str, list[Prepared]] = {name: [] for name in streams}
    begin = 0
    for number, end in enumerate([*places, len(ids)]):
        out_ids += ids[begin:end]
        out_labels += labels[begin:end]
        slots += [0] * (end - begin)
        begin = end
        if number == len(places):
            break
        for slot, (name, given) in enumerate(streams.items(), 1):
            prepared = given[number]
            if prepared is None:
                continue
            count = prepared.index.shape[0]
            out_ids += [pad] * count
            out_labels += [IGNORE] * count
            slots += [slot] * count
            kept[name].append(prepared)
    return Encoded(
        torch.tensor(out_ids, dtype=torch.long),
        torch.tensor(out_labels, dtype=torch.long),
        torch.tensor(slots, dtype=torch.int8),
        {name: tuple(given) for name, given in kept.items()},
    )


def truncate(encoded: Encoded, length: int, *, streams: Literal["keep", "cut"] = "keep") -> Encoded:
    """The first `length` places.

    Args:
        streams: ``keep`` raises where a tower token would be lost; ``cut`` loses it, as the original does.

    Raises:
        InputError: a stream does not fit.
    """
    if len(encoded) <= length:
        return encoded
    lost = encoded.slots[length:]
    kept: dict[str, tuple[Prepared, ...]] = dict(encoded.streams)
    if bool((lost != 0).any()):
        if streams == "keep":
            last = int(torch.nonzero(encoded.slots)[-1]) + 1
            raise InputError(
                f"the ECG and image tokens reach to place {last} of the sequence, over the limit of {length} tokens; "
                f"raise --model_max_length to {len(encoded)}, which holds the whole record, or shorten the text "
                "before them"
            )
        for slot, name in enumerate(kept, 1):
            kept[name] = _first(kept[name], int((encoded.slots[:length] == slot).sum()))
    return Encoded(
        encoded.ids[:length], encoded.labels[:length], encoded.slots[:length], kept, encoded.needed, encoded.record
    )


def _first(prepared: Sequence[Prepared], count: int) -> tuple[Prepared, ...]:
    """The first `count` tokens of several prepared sources."""
    out = []
    for item in prepared:
        index = item.index[:count]
        if index.shape[0]:
            out.append(Prepared(item.values, item.tokens, index, item.notes))
        count -= index.shape[0]
    return tuple(out)
