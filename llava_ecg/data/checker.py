"""What is wrong with one record: with what it says, with its files, and with its length for a model.

Picklable, so that several processes can look through a set (`llava_ecg.data.validate`). No torch is loaded unless a
model's encoder is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llava_ecg.data.conversation import Conversation, RecordError, parse, streams_with
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from llava_ecg.data.encoder import Encoder

KINDS = {
    "json": "the line or the list is no JSON, or no object",
    "record": "a field has a value that it can't have",
    "turns": "no turns, turns of an unknown form or twice the same speaker",
    "unanswered": "a question at the end, without an answer",
    "markers": "as many <image> markers as ECGs or images are needed, each with one of them",
    "missing": "a file that is not there",
    "unreadable": "a file that can't be read",
    "unit": "an ECG whose values can't be millivolts",
    "leads": "an ECG without some of the twelve leads (with a model: without those that it takes)",
    "preparation": "a file that the model's preparation refuses",
    "streams": "no file of a kind that the model takes",
    "long": "a signal does not fit into the longest sequence",
    "cut": "a part of an answer lies behind the longest sequence",
    "untaught": "no token is learnt from",
}
"""What a problem may be of."""
MILD = frozenset({"unanswered", "cut", "untaught"})
"""Kinds that training takes, and tells of as they come up: what is left of such a record is right."""
_KEPT = 100_000  # findings of files that a process remembers: records share their ECGs


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: one of `KINDS`.
        text: a sentence.
    """

    kind: str
    text: str


FileCheck = Callable[[Path], tuple[Any, list[tuple[str, str]]]]
"""A file -> what was read from it, None where it can't be, and what is wrong with it: pairs of kind and sentence."""


@dataclass(frozen=True)
class ReadCheck:
    """The `FileCheck` of a stream of which nothing is known but how it is read.

    Attributes:
        read: file -> source; `InputError` where that can't be.
    """

    read: Callable[[Path], Any]

    def __call__(self, path: Path) -> tuple[Any, list[tuple[str, str]]]:
        """What was read, and ``unreadable`` where that can't be, or ``missing`` where nothing is there either."""
        try:
            return self.read(path), []
        except InputError as error:
            return None, [("unreadable" if path.exists() else "missing", str(error))]


class _File(NamedTuple):
    findings: tuple[Finding, ...]
    tokens: int | None  # that stand in the sequence for it; None without a model or where it can't be prepared


@dataclass
class Checker:
    """Finds what is wrong with a record.

    Attributes:
        files: stream name -> how its files are checked; those of the model's other streams are read as it reads them.
        folders: stream name -> folder of its files.
        encoder: of the model that is to be trained; None checks without one.
        max_length: tokens; with an encoder only.
    """

    files: Mapping[str, FileCheck]
    folders: Mapping[str, Path] = field(default_factory=dict)
    encoder: Encoder | None = None
    max_length: int | None = None
    _known: dict[tuple[str, Path], _File] = field(default_factory=dict, init=False, repr=False)
    _derived: dict[frozenset[str], dict[str, int]] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": {}, "_derived": {}}

    @property
    def streams(self) -> tuple[str, ...]:
        """The fields of a record that name files."""
        return streams_with(() if self.encoder is None else self.encoder.preparers)

    def check(self, record: Mapping[str, Any]) -> list[Finding]:
        """All that is wrong with a record of LLaVA JSON; nothing where it can be trained on."""
        try:
            conversation = parse(record, self.streams)
        except RecordError as error:
            return [Finding(error.kind, str(error)), *self._findings_of_files(record)]
        found = []
        if conversation.turns[-1].role == "user":
            found.append(
                Finding("unanswered", f"its last turn ({len(conversation.turns)}) is a question without an answer")
            )
        elif not any(turn.text.strip() for turn in conversation.turns if turn.role == "assistant"):
            found.append(Finding("untaught", "its answers are empty, so nothing is learnt from it"))
        for stream, names in conversation.sources.items():
            found += [each for name in names if name for each in self._file(stream, name).findings]
        found = list(dict.fromkeys(found))
        if self.encoder is not None and all(each.kind in MILD for each in found):
            misfits = self._misfits(conversation, self.encoder)
            found += [each for each in misfits if not (found and each.kind == "untaught")]  # said already
        return found

    def _findings_of_files(self, record: Mapping[str, Any]) -> list[Finding]:
        """What is wrong with the files that a record names which is no conversation."""
        found: list[Finding] = []
        for stream in self.streams:
            given = record.get(stream)
            for name in given if isinstance(given, list) else [given]:
                if isinstance(name, str) and name:
                    found += self._file(stream, name).findings
        return list(dict.fromkeys(found))

    def _file(self, stream: str, name: str) -> _File:
        if not self._is_read(stream):
            return _File((), None)
        path = self.folders.get(stream, Path()) / name
        known = self._known.get((stream, path))
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[stream, path] = self._look(stream, path)
        return known

    def _is_read(self, stream: str) -> bool:
        """Whether training opens the files of this stream: those of none that the model has only to derive another."""
        if self.encoder is not None and stream in self.encoder.preparers:
            return True
        return stream in self.files and (self.encoder is None or self.encoder.derive)

    def _check_of(self, stream: str) -> FileCheck:
        """How a file of a stream that `_is_read` is checked."""
        if stream in self.files or self.encoder is None:
            return self.files[stream]
        return ReadCheck(self.encoder.preparers[stream].read)

    def _look(self, stream: str, path: Path) -> _File:
        source, pairs = self._check_of(stream)(path)
        findings = [Finding(*pair) for pair in pairs]
        if source is None or self.encoder is None:
            return _File(tuple(findings), None)
        if stream not in self.encoder.preparers:
            return _File(tuple(each for each in findings if each.kind != "leads"), None)
        try:
            tokens = self.encoder.preparers[stream].prepare(source).index.shape[0]
        except InputError as error:
            return _File(tuple(findings) or (Finding("preparation", str(error)),), None)
        return _File(tuple(each for each in findings if each.kind != "leads"), tokens)  # it takes what is there

    def _misfits(self, conversation: Conversation, encoder: Encoder) -> list[Finding]:
        """Whether the model takes the sources and the length of a record whose files are sound."""
        from llava_ecg.data.encode import encode

        streams: dict[str, list[Any]] = {name: [] for name in encoder.preparers}
        for marker in range(conversation.markers):
            files = conversation.at(marker)
            try:
                counts = self._tokens(files, encoder)
            except InputError as error:
                return [Finding("preparation", str(error))]
            if not counts:
                return [
                    Finding("streams", f"none of the files at marker {marker + 1} is of a kind that the model takes")
                ]
            for name, given in streams.items():
                given.append(_stand_in(counts[name]) if name in counts else None)
        try:
            sample = encode(
                conversation.turns, encoder.template, encoder.tokenizer, streams, max_length=self.max_length
            )
        except InputError as error:
            return [Finding("long", str(error))]
        if sample.cut:
            what = "a part of its answers is" if sample.taught else "all of its answer is"
            return [
                Finding(
                    "cut" if sample.taught else "untaught",
                    f"{what} cut at {self.max_length} tokens; --model_max_length {sample.needed} holds it whole",
                )
            ]
        return [] if sample.taught else [Finding("untaught", "no token of it is learnt from")]

    def _tokens(self, files: Mapping[str, str], encoder: Encoder) -> dict[str, int]:
        """Stream name -> places at a marker, those of derived streams too (which are counted once a kind of marker)."""
        counts = {}
        for name, file in files.items():
            tokens = self._file(name, file).tokens
            if tokens is not None:
                counts[name] = tokens
        kinds = frozenset(files)
        if encoder.derive and not set(encoder.preparers) <= kinds:
            if kinds not in self._derived:
                sources = {
                    name: self._check_of(name)(self.folders.get(name, Path()) / file)[0] for name, file in files.items()
                }
                self._derived[kinds] = {
                    name: encoder.preparers[name].prepare(source).index.shape[0]
                    for name, source in encoder.shown(sources).items()
                    if name not in files
                }
            counts |= self._derived[kinds]
        return counts


def _stand_in(tokens: int) -> Any:
    """What takes so many places of a sequence, without values."""
    import torch

    from llava_ecg.streams import Prepared

    return Prepared(torch.empty(0), tokens, torch.arange(tokens))
