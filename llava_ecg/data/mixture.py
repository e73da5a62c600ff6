"""Several sets of records as one: a ``data.yaml`` with a weight for each.

    sets:
      - path: ecgqa.jsonl
        ecg_folder: ptbxl
        weight: 2        # each record twice an epoch
      - path: reports.json
        ecg_folder: mimic
        weight: 0.25     # a quarter of them an epoch, another quarter in the next

Paths are relative to the file. The weight says how often a record of the set is seen in an epoch; its share of the
epoch follows: weight times records, of the sum over all sets.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np

from llava_ecg.data.conversation import STREAMS, Conversation
from llava_ecg.data.records import Records
from llava_ecg.errors import InputError, refuse_streams

SUFFIXES = (".yaml", ".yml")
_LARGEST = 1000.0


@dataclass(frozen=True)
class Set:
    """One set of a mixture.

    Attributes:
        records: its conversations.
        weight: how often each is seen in an epoch, on average.
        folders: stream name -> folder of its files; for streams that are absent the one given for all sets.
    """

    records: Sequence[Conversation]
    weight: float = 1.0
    folders: Mapping[str, Path] | None = None

    @property
    def count(self) -> int:
        """Samples an epoch: weight times records, and one at least where there is a record."""
        return max(min(1, len(self.records)), round(self.weight * len(self.records)))


@dataclass(frozen=True)
class Mixture(Sequence[Conversation]):
    """The conversations of an epoch of several sets, one set behind the other.

    Which record stands at a number follows from seed, epoch and number alone. A set of a whole weight has the same ones
    at the same numbers in each epoch; one of another weight goes through all its records in an order by chance before
    it shows one again, epoch after epoch.

    Attributes:
        sets: in order.
        seed: of the orders.
    """

    sets: tuple[Set, ...]
    seed: int = 0

    @property
    def varies(self) -> bool:
        """Whether another epoch has other records at the same numbers."""
        return any(each.count % len(each.records) for each in self.sets if len(each.records))

    def at(self, number: int, epoch: int = 0) -> Conversation:
        """The conversation at a number (from 0 to below the length) in an epoch."""
        part, record = self.place(number, epoch)
        return self._whole(self.sets[part], self.sets[part].records[record])

    def place(self, number: int, epoch: int = 0) -> tuple[int, int]:
        """(number of the set, number of the record in it) of what stands at a number in an epoch."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        part = 0
        while number >= self.sets[part].count:
            number -= self.sets[part].count
            part += 1
        each = self.sets[part]
        size = len(each.records)
        if each.count % size == 0:
            return part, number % size
        turn, place = divmod(epoch * each.count + number, size)
        return part, int(_order(self.seed, part, turn, size)[place])

    def __len__(self) -> int:
        return sum(each.count for each in self.sets)

    @overload
    def __getitem__(self, number: int) -> Conversation: ...
    @overload
    def __getitem__(self, number: slice) -> list[Conversation]: ...
    def __getitem__(self, number: int | slice) -> Conversation | list[Conversation]:
        """What stands at a number in the first epoch."""
        if isinstance(number, slice):
            return [self.at(each) for each in range(*number.indices(len(self)))]
        return self.at(number + len(self) if number < 0 else number)

    def __iter__(self) -> Iterator[Conversation]:
        first = 0
        for each in self.sets:
            if len(each.records) and each.count % len(each.records) == 0:  # reads its file from front to end
                for _ in range(each.count // len(each.records)):
                    yield from (self._whole(each, conversation) for conversation in each.records)
            else:
                yield from (self.at(first + number) for number in range(each.count))
            first += each.count

    @staticmethod
    def _whole(part: Set, conversation: Conversation) -> Conversation:
        """A conversation with its files in the folders of its set."""
        folders = part.folders
        if not folders or not conversation.sources:
            return conversation
        sources = {
            stream: tuple(str(folders[stream] / file) if file and stream in folders else file for file in files)
            for stream, files in conversation.sources.items()
        }
        return replace(conversation, sources=sources)


@lru_cache(maxsize=32)
def _order(seed: int, part: int, turn: int, size: int) -> np.ndarray:
    """The order in which a set's records are shown for the ``turn``-th time."""
    return np.random.default_rng([seed, part, turn, 2]).permutation(size)


def read_mixture(
    path: Path, progress: Callable[[int, int], None] | None = None, streams: tuple[str, ...] = STREAMS
) -> Mixture:
    """A ``data.yaml`` with its sets, each looked through once.

    Args:
        path, progress, streams: as of `Records.open`.

    Raises:
        InputError: it can't be read, has a setting that is unknown or impossible, or a set holds a mistake.
    """
    sets = []
    for settings in read_sets(path, streams):
        folders = {stream: settings[key] for stream in streams if (key := f"{stream}_folder") in settings}
        sets.append(Set(Records.open(settings["path"], progress, streams), settings["weight"], folders))
    return Mixture(tuple(sets))


def read_sets(path: Path, streams: tuple[str, ...] = STREAMS) -> list[dict[str, Any]]:
    """The sets of a ``data.yaml``: of each path, weight, and the folders that it names for these streams, all paths
    whole.

    Raises:
        InputError: as `read_mixture`, without a look into the sets.
    """
    import yaml

    refuse_streams(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict) or not isinstance(content.get("sets"), list) or not content["sets"]:
        raise InputError(f"{path} must have a list called sets, each with a path (docs/data.md has an example)")
    _refuse_unknown(f"{path}", content, ("sets",))
    return [_settings(path, number, given, streams) for number, given in enumerate(content["sets"], 1)]


def _settings(path: Path, number: int, given: Any, streams: tuple[str, ...]) -> dict[str, Any]:
    where = f"set {number} of {path}"
    if not isinstance(given, dict):
        raise InputError(f"{where} must have settings such as path: train.json and weight: 1")
    places = ("path", *(f"{stream}_folder" for stream in streams))
    _refuse_unknown(where, given, (*places, "weight"))
    if "path" not in given:
        raise InputError(f"{where} has no path; give it one, such as path: train.json")
    found: dict[str, Any] = {}
    for key in places:
        if key in given:
            if not isinstance(given[key], str) or not given[key].strip():
                raise InputError(f"the {key} of {where} must be a path, not {given[key]!r}")
            found[key] = path.parent / Path(given[key]).expanduser()
    if found["path"].suffix.lower() in SUFFIXES:
        raise InputError(f"{where} is a mixture itself; list its sets in {path.name}")
    weight = given.get("weight", 1)
    sound = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    if not sound or not 0 < weight <= _LARGEST:
        raise InputError(
            f"the weight of {where} must be a number above 0 and up to {_LARGEST:g}, not {weight!r}: 2 shows each "
            "record twice an epoch, 0.5 half of them"
        )
    found["weight"] = float(weight)
    return found


def _refuse_unknown(where: str, given: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            raise InputError(f"{where} has an unknown setting {str(key)!r}{hint}")
