"""Every problem of a set before the first step: `validate`, and `sound_conversations`, by which training refuses.

Several processes share the records; what they find comes back in the order of the file.
"""

from __future__ import annotations

import json
import multiprocessing
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llava_ecg.data.checker import MILD, Checker, Finding
from llava_ecg.data.conversation import Conversation
from llava_ecg.data.mixture import SUFFIXES, Mixture, Set, read_sets
from llava_ecg.data.records import Records, scan, stamp_of
from llava_ecg.errors import InputError

_CHUNK = 64  # records that a process is handed at a time

Progress = Callable[[int, int], None]
"""Is told how many records have been looked at, and how many there are."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        file: of the records.
        record: its number, from 1.
        line: where it begins, from 1.
        id: of the record, empty where it has none.
        kind: one of `llava_ecg.data.checker.KINDS`.
        text: a sentence.
    """

    file: str
    record: int
    line: int
    id: str
    kind: str
    text: str

    def __str__(self) -> str:
        named = f" {self.id!r}" if self.id else ""
        return f"{self.file}:{self.line}: record {self.record}{named}: {self.kind}: {self.text}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        records: how many were looked at.
        problems: in the order of the files.
        kept: for each file the numbers, from 0, of the records without a problem.
        conversations: those records, as training takes them.
    """

    records: int
    problems: tuple[Problem, ...]
    kept: tuple[np.ndarray, ...]
    conversations: Sequence[Conversation]

    @property
    def bad(self) -> int:
        """Records with a problem."""
        return self.records - sum(map(len, self.kept))


class _Place(NamedTuple):
    number: int
    line: int
    start: int
    end: int
    fault: str | None


def validate(
    path: Path,
    checker: Checker,
    *,
    mild: Collection[str] = (),
    processes: int = 1,
    progress: Progress | None = None,
) -> Checked:
    """Every problem of a file of records, or of the files of a mixture.

    Args:
        path: JSON, JSONL or ``data.yaml``.
        checker: what is asked of a record.
        mild: kinds of problem that a record is kept with, and that are not told.
        processes: that look at records; 1 is this one.
        progress: is told of the records of one file after the other.

    Raises:
        InputError: the file can't be opened, is no list, or is a mixture with a mistake; a process was killed.
    """
    if path.suffix.lower() not in SUFFIXES:
        return _validate_one(path, checker, mild, processes, progress)
    parts, sets = [], []
    for settings in read_sets(path, checker.streams):
        folders = {name: settings[key] for name in checker.streams if (key := f"{name}_folder") in settings}
        own = replace(checker, folders={**checker.folders, **folders})
        parts.append(_validate_one(settings["path"], own, mild, processes, progress))
        sets.append(Set(parts[-1].conversations, settings["weight"], folders))
    return Checked(
        sum(part.records for part in parts),
        tuple(problem for part in parts for problem in part.problems),
        tuple(kept for part in parts for kept in part.kept),
        Mixture(tuple(sets)),
    )


def sound_conversations(
    path: Path, checker: Checker, *, skip_bad: int = 0, processes: int = 1, progress: Progress | None = None
) -> Checked:
    """As `validate`, for training: no more records than ``skip_bad`` may have a problem that is not `MILD`, and those
    are left out.

    Raises:
        InputError: more have, or none is left; it names the first, and how to see them all.
    """
    found = validate(path, checker, mild=MILD, processes=processes, progress=progress)
    if found.bad == found.records:
        why = f"; the first: {found.problems[0]}" if found.problems else ""
        raise InputError(f"{path} holds no record to train on{why}")
    if found.bad > skip_bad:
        which = "has a problem" if found.bad == 1 else "have problems"
        raise InputError(
            f"{found.bad} of {found.records} records {which}, the first: {found.problems[0]}; llava-ecg validate "
            f"lists all, and --skip_bad {found.bad} trains without them"
        )
    return found


@dataclass(frozen=True)
class _File:
    """The records of a file by their places, as `Records` has them, those included that are no JSON."""

    path: Path
    spans: np.ndarray
    lines: np.ndarray
    faults: dict[int, str]

    def chunk(self, first: int) -> list[_Place]:
        return [
            _Place(first + number, int(line), int(start), int(end), self.faults.get(first + number))
            for number, (line, (start, end)) in enumerate(
                zip(self.lines[first : first + _CHUNK], self.spans[first : first + _CHUNK], strict=True)
            )
        ]


def _places(path: Path) -> _File:
    spans, lines, faults = array("q"), array("q"), {}
    for number, entry in enumerate(scan(path)):
        spans.extend((entry.start, entry.end))
        lines.append(entry.line)
        if entry.fault is not None:
            faults[number] = entry.fault
    return _File(path, np.array(spans, dtype=np.int64).reshape(-1, 2), np.array(lines, dtype=np.int64), faults)


def _validate_one(
    path: Path, checker: Checker, mild: Collection[str], processes: int, progress: Progress | None
) -> Checked:
    before, file = stamp_of(path), _places(path)
    good = np.ones(len(file.lines), dtype=bool)
    problems = []
    for done, (place, name, findings) in enumerate(_looked_at(file, checker, processes), 1):
        for finding in [each for each in findings if each.kind not in mild]:
            good[place.number] = False
            problems.append(Problem(str(path), place.number + 1, place.line, name, finding.kind, finding.text))
        if progress is not None:
            progress(done, len(good))
    kept = np.flatnonzero(good)
    records = Records(path, file.spans[kept], file.lines[kept], before, checker.streams)
    return Checked(len(good), tuple(problems), (kept,), records)


_Seen = tuple[_Place, str, list[Finding]]


def _looked_at(file: _File, checker: Checker, processes: int) -> Iterator[_Seen]:
    """Each place with its record's id and findings, in order."""
    path, firsts = file.path, range(0, len(file.lines), _CHUNK)
    if processes == 1 or len(firsts) < 2:
        for first in firsts:
            yield from _look(path, checker, file.chunk(first))
        return
    # Not forked: a model's libraries run threads, which a fork would leave behind half-way.
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(firsts))
    try:
        with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(path, checker)) as pool:
            waiting: list[Future[list[_Seen]]] = []
            for first in firsts:
                waiting.append(pool.submit(_look_in_process, file.chunk(first)))
                if len(waiting) > 4 * workers:
                    yield from waiting.pop(0).result()
            for each in waiting:
                yield from each.result()
    except BrokenProcessPool as error:
        raise InputError(
            f"a process that looked at {path} was killed, probably for want of memory; give fewer --processes"
        ) from error


_state: dict[str, Any] = {}  # of a process that looks at chunks: what `_begin` was given


def _begin(path: Path, checker: Checker) -> None:
    _state.update(path=path, checker=checker)


def _look_in_process(chunk: Sequence[_Place]) -> list[_Seen]:
    return list(_look(_state["path"], _state["checker"], chunk))


def _look(path: Path, checker: Checker, chunk: Sequence[_Place]) -> Iterator[_Seen]:
    with path.open("rb") as file:
        for place in chunk:
            if place.fault is not None:
                yield place, "", [Finding("json", place.fault)]
                continue
            file.seek(place.start)
            record = json.loads(file.read(place.end - place.start))
            name = record.get("id")
            yield place, str(name) if isinstance(name, str | int | float) else "", checker.check(record)
