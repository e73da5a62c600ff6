"""LLaVA JSON on disk -> `Encoded` samples, one at a time, in whatever process asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from llava_ecg.data.conversation import STREAMS, Conversation
from llava_ecg.data.encode import Encoded, tokenize
from llava_ecg.data.encoder import Encoder, Kept
from llava_ecg.data.mixture import SUFFIXES, Mixture, read_mixture
from llava_ecg.data.prepared_cache import PreparedCache, settings_of
from llava_ecg.data.records import Records
from llava_ecg.data.templates import Template
from llava_ecg.errors import InputError
from llava_ecg.streams import Preparer


def load_conversations(
    path: Path, progress: Callable[[int, int], None] | None = None, streams: tuple[str, ...] = STREAMS
) -> Sequence[Conversation]:
    """A LLaVA JSON file (a list of records), JSONL (a record a line), or a mixture of them (``data.yaml``).

    The file is looked through once; its records are then parsed as they are asked for
    (`llava_ecg.data.records.Records`, `llava_ecg.data.mixture.Mixture`).

    Args:
        path: of the file, which tells its kind by its suffix.
        progress: is told how many bytes of how many of a file have been read.
        streams: the fields of a record that name files (`llava_ecg.data.conversation.streams_with`).

    Raises:
        InputError: no such file, no JSON, or a record that `llava_ecg.data.conversation.parse` refuses.
    """
    read = read_mixture if path.suffix.lower() in SUFFIXES else Records.open
    return read(path, progress, streams)


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
        augment: stream name -> what changes a source of that stream, given the source and a generator that follows from
            seed, epoch, record and marker alone; before another stream is derived from it. Sources that are changed
            are not taken from the cache, nor put there.
        cache: keeps what is prepared, for the next epoch; None prepares it anew.
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
    augment: Mapping[str, Callable[[Any, np.random.Generator], Any]] = field(default_factory=dict)
    cache: PreparedCache | None = None
    _settings: str = field(default="", init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.conversations, Mixture):
            self.conversations = replace(self.conversations, seed=self.seed)
        if self.cache is not None:
            self._settings = settings_of(self.preparers, self.derive)

    @property
    def by_epoch(self) -> bool:
        """Whether samples differ from epoch to epoch, so that the order has to tell the epoch
        (`llava_ecg.data.grouping.EpochSampler`)."""
        return bool(self.modality_dropout or self.augment) or self._varies

    @property
    def _varies(self) -> bool:
        return isinstance(self.conversations, Mixture) and self.conversations.varies

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
        if isinstance(self.conversations, Mixture):
            conversation = self.conversations.at(number, epoch)
        else:
            conversation = self.conversations[number]
        try:
            kept: Kept = {}
            places = [
                self._left(self._shown(conversation, (epoch, number, marker), kept), epoch, number, marker)
                for marker in range(conversation.markers)
            ]
            sample = self.encoder.sample(conversation.turns, places, max_length=self.max_length, kept=kept)
        except InputError as error:
            raise InputError(f"record {conversation.id!r}: {error}") from error
        if self.tell is not None and not sample.taught and number not in self._told:
            self._told.add(number)
            self.tell(f"record {conversation.id!r}: {self._untaught(sample)}")
        return replace(sample, record=conversation.id)

    def lengths(self) -> list[int]:
        """How long each sample is, in tokens, without reading every file.

        The text is counted. What stands at a marker is counted in the first record that has the same kinds of file
        there; where an image becomes a number of tokens that depends on its shape, this is an estimate.

        Raises:
            InputError: one of these records can't be read; names it. Or the records of an epoch are not those of
                another.
        """
        if self._varies:
            raise InputError(
                "samples can't be ordered or packed by length where a mixture shows other records in each epoch; give "
                "its sets whole weights, such as 1 or 2"
            )
        counts: dict[frozenset[str], int] = {}
        found = []
        for conversation in self.conversations:
            length = len(tokenize(self.template.spans(conversation.turns), self.tokenizer)[0])
            for marker in range(conversation.markers):
                kinds = frozenset(conversation.at(marker))
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

    def _shown(self, conversation: Conversation, place: tuple[int, int, int], kept: Kept) -> dict[str, Any]:
        """What stands at a place (epoch, record, marker), augmented or from the cache: stream name -> source.

        Args:
            kept: gets what the cache has prepared; it stands for its source then.
        """
        _, _, marker = place
        files = self._files(conversation, marker)
        if self.cache is None or set(self.augment) & set(files):
            return self._sources(conversation, marker, place)
        key = self.cache.key(self._settings, files)
        found = None if key is None else self.cache.get(key)
        if found is None:
            sources = self._sources(conversation, marker)
            found = {name: self.preparers[name].prepare(source) for name, source in sources.items()}
            if key is not None:
                self.cache.put(key, found)
        kept.update({(name, id(prepared)): (prepared, prepared) for name, prepared in found.items()})
        return dict(found)

    def _readers(self) -> dict[str, Callable[[Path], Any]]:
        own: dict[str, Callable[[Path], Any]] = {name: preparer.read for name, preparer in self.preparers.items()}
        return {**self.readers, **own} if self.derive else own

    def _files(self, conversation: Conversation, marker: int) -> dict[str, Path]:
        """The files at one marker that are read: stream name -> file."""
        readers = self._readers()
        return {
            name: self.folders.get(name, Path()) / file
            for name, file in conversation.at(marker).items()
            if name in readers
        }

    def _sources(
        self, conversation: Conversation, marker: int, place: tuple[int, int, int] | None = None
    ) -> dict[str, Any]:
        """What stands at one marker: stream name -> source, as far as the model takes it.

        Args:
            place: (epoch, record, marker) that the augmentation follows from; None for the sources as they are.
        """
        readers = self._readers()
        sources: dict[str, Any] = {
            name: readers[name](file) for name, file in self._files(conversation, marker).items()
        }
        for number, name in enumerate(self.augment if place is not None else (), 1):
            if name in sources and place is not None:
                # the number at the end is never 0: numpy draws the same for [1, 2] and [1, 2, 0]
                rng = np.random.default_rng([self.seed, *place, number])
                sources[name] = self.augment[name](sources[name], rng)
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
