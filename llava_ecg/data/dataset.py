"""LLaVA JSON on disk -> `Encoded` samples, one at a time, in whatever process asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from llava_ecg.data.conversation import Conversation, parse
from llava_ecg.data.encode import Encoded, tokenize
from llava_ecg.data.encoder import Encoder
from llava_ecg.data.templates import Template
from llava_ecg.errors import InputError
from llava_ecg.streams import Preparer


def load_conversations(path: Path) -> list[Conversation]:
    """A LLaVA JSON file (a list of records), or JSONL (a record a line).

    Raises:
        InputError: no such file, no JSON, or a record that `llava_ecg.data.conversation.parse` refuses.
    """
    try:
        text = path.read_text(encoding="utf-8")
        records = (
            [json.loads(line) for line in text.split("\n") if line.strip()]
            if path.suffix == ".jsonl"
            else json.loads(text)
        )
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(records, list) or not all(isinstance(record, Mapping) for record in records):
        raise InputError(f"{path} is not a list of records")
    conversations = []
    for number, record in enumerate(records, 1):
        try:
            conversations.append(parse(record))
        except InputError as error:
            raise InputError(f"{path}, record {number}: {error}") from error
    return conversations


@dataclass
class ConversationDataset(Dataset[Encoded]):
    """Conversations as training samples.

    Attributes:
        conversations: what is said.
        template, tokenizer: how it is written.
        preparers: stream name -> the model's preparer, in the model's order.
        folders: stream name -> folder of its files.
        max_length: tokens; text behind is cut, streams that do not fit are an error.
        derive: make the source of a stream that a record lacks from its others (the page of a recording), where its
            preparer can.
        readers: stream name -> reader, for sources that the model does not take but another may be derived from (the
            recording behind the page that an image-only model sees); used only with `derive`.
        modality_dropout: the share of samples with several streams in which one of them is left out. Which, follows
            from seed, epoch, record and marker alone: the same in any number of workers, another in each epoch.
        seed: of that choice.
        tell: is told, once a process, of each record that nothing is learnt from; a function of a module, where workers
            are spawned.
    """

    conversations: Sequence[Conversation]
    template: Template
    tokenizer: Any
    preparers: Mapping[str, Preparer]
    folders: Mapping[str, Path]
    max_length: int
    derive: bool = False
    readers: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    modality_dropout: float = 0.0
    seed: int = 0
    tell: Callable[[str], None] | None = None
    _told: set[int] = field(default_factory=set, init=False)

    def __len__(self) -> int:
        return len(self.conversations)

    def __getitem__(self, number: int) -> Encoded:
        """Read, prepare and encode one conversation.

        Args:
            number: of the record, and in later epochs plus the number of records for each epoch
                (`llava_ecg.data.grouping.EpochSampler`).

        Raises:
            InputError: a file is missing or unreadable, or the streams do not fit; names the record.
        """
        epoch, number = divmod(number, len(self.conversations))
        conversation = self.conversations[number]
        try:
            places = [
                self._left(self._sources(conversation, marker), epoch, number, marker)
                for marker in range(conversation.markers)
            ]
            sample = self.encoder.sample(conversation.turns, places, max_length=self.max_length)
        except InputError as error:
            raise InputError(f"record {conversation.id!r}: {error}") from error
        if self.tell is not None and not sample.taught and number not in self._told:
            self._told.add(number)
            self.tell(f"record {conversation.id!r}: {self._untaught(sample)}")
        return sample

    def lengths(self) -> list[int]:
        """How long each sample is, in tokens, without reading every file.

        The text is counted. What stands at a marker is counted in the first record that has the same kinds of file
        there; where an image becomes a number of tokens that depends on its shape, this is an estimate.

        Raises:
            InputError: one of these records can't be read; names it.
        """
        counts: dict[frozenset[str], int] = {}
        found = []
        for conversation in self.conversations:
            length = len(tokenize(self.template.spans(conversation.turns), self.tokenizer)[0])
            for marker in range(conversation.markers):
                kinds = frozenset(name for name, given in conversation.sources.items() if marker < len(given))
                if kinds not in counts:
                    counts[kinds] = self._tokens_at(conversation, marker)
                length += counts[kinds]
            found.append(min(length, self.max_length))
        return found

    def goes_without(self) -> bool:
        """Whether a record lacks a stream that could be made from its others and is not: then a question is not to get
        it either.

        The first such record is read.

        Raises:
            InputError: it can't be.
        """
        if self.derive:
            return False
        for conversation in self.conversations:
            if conversation.sources and not set(self.preparers) <= set(conversation.sources):
                try:
                    place = self._sources(conversation, 0)
                except InputError as error:
                    raise InputError(f"record {conversation.id!r}: {error}") from error
                if len(replace(self.encoder, derive=True).shown(place)) > len(place):
                    return True
        return False

    def _tokens_at(self, conversation: Conversation, marker: int) -> int:
        """How many tower tokens stand at a marker, with all its streams."""
        try:
            sources = self._sources(conversation, marker)
            return sum(self.preparers[name].prepare(source).index.shape[0] for name, source in sources.items())
        except InputError as error:
            raise InputError(f"record {conversation.id!r}: {error}") from error

    def _untaught(self, sample: Encoded) -> str:
        if not sample.needed:
            return "it has no answer, so nothing is learnt from it"
        return (
            f"its answer lies behind the first {self.max_length} tokens, so nothing is learnt from it; "
            f"raise --model_max_length to {sample.needed}, which holds the whole record"
        )

    def _sources(self, conversation: Conversation, marker: int) -> dict[str, Any]:
        """What stands at one marker: stream name -> source, as far as the model takes it."""
        readers = {name: preparer.read for name, preparer in self.preparers.items()}
        if self.derive:
            readers = {**self.readers, **readers}
        sources: dict[str, Any] = {
            name: readers[name](self.folders.get(name, Path()) / given[marker])
            for name, given in conversation.sources.items()
            if name in readers and marker < len(given)
        }
        shown = self.encoder.shown(sources)
        if not shown:
            raise InputError("none of its files is of a kind that the model takes")
        return shown

    def _left(self, sources: dict[str, Any], epoch: int, number: int, marker: int) -> dict[str, Any]:
        """The sources without the one that is dropped this time, if one is."""
        if len(sources) < 2 or not self.modality_dropout:
            return sources
        rng = np.random.default_rng([self.seed, epoch, number, marker])
        lost = str(rng.choice(sorted(sources))) if rng.random() < self.modality_dropout else None
        return {name: source for name, source in sources.items() if name != lost}

    @property
    def encoder(self) -> Encoder:
        """What makes the samples."""
        return Encoder(self.template, self.tokenizer, self.preparers, self.derive)
