"""`Job`: a few recordings in a row -> the lines of them, in whatever process it is called.

A set is made in chunks of `CHUNK` recordings, wherever and in whatever order they are worked on. What a chunk gives
follows from its recordings and the options alone, so the set is the same however many processes make it. Nothing is
written here but facts and pages, which are kept by their content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_ecg.data.conversation import MARKER, STREAMS, Conversation, Turn, to_record
from llava_ecg.errors import InputError
from llava_ecg.instruct.asking import NoAnswerError
from llava_ecg.instruct.facts import CantWriteError, Facts, FactsFolder, Given, measure_version
from llava_ecg.instruct.kept import Checked, check
from llava_ecg.instruct.prompting import UnusableError
from llava_ecg.instruct.samples import Sample
from llava_ecg.instruct.summary import Options, Summary
from llava_ecg.instruct.writer import Draft, Writer

CHUNK = 16
"""Recordings: about a second and a half of measuring. Two ECGs are compared within a chunk only."""


@dataclass(frozen=True)
class Chunk:
    """Some recordings in a row.

    Attributes:
        number: from 0, in the order of the recordings.
        given: of each, and the part of the set (``train`` or ``val``) that it belongs to.
    """

    number: int
    given: tuple[tuple[Given, str], ...]


@dataclass(frozen=True)
class Part:
    """What a chunk gave.

    Attributes:
        number: of the chunk.
        lines: ``train``, ``val``, ``setaside``, ``failures`` -> JSON lines, each with its line end.
        summary: `Summary.to_dict` without what is empty.
    """

    number: int
    lines: Mapping[str, str]
    summary: Mapping[str, Any]


def chunked(given: tuple[Given, ...], splits: Iterator[str], first: int = 0) -> Iterator[Chunk]:
    """The recordings in chunks, without the first so many of them.

    Args:
        splits: which part of the set each recording belongs to.
    """
    for start in range(0, len(given), CHUNK):
        pairs = tuple(zip(given[start : start + CHUNK], splits, strict=False))
        if start // CHUNK >= first:
            yield Chunk(start // CHUNK, pairs)


@dataclass(frozen=True)
class Job:
    """What is done to each chunk; it can be pickled where its writer can, as the offline one.

    Attributes:
        writer: of the texts.
        options: where facts and pages are kept, and what a line holds.
        measure: the code that measures where the job was made: another machine's may be of another version.
    """

    writer: Writer
    options: Options
    measure: str = field(default_factory=measure_version)

    def __call__(self, chunk: Chunk) -> Part:
        """The lines of a chunk.

        Raises:
            InputError: this process measures with other code than the one that made the job.
            CantWriteError: facts or a page can't be kept. What can't be read is a line of ``failures``.
        """
        if measure_version() != self.measure:
            raise InputError(
                f"a process measures with other code ({measure_version()}) than the one that began ({self.measure}); "
                "install the same version of llava-ecg on every machine, and let it alone during a run"
            )
        return _Working(self.writer, self.options).part(chunk)


class _Working:
    """One chunk while it is worked on."""

    def __init__(self, writer: Writer, options: Options) -> None:
        self.writer, self.options = writer, options
        self.folder = FactsFolder(options.facts)
        self.summary = Summary()
        self.lines: dict[str, list[str]] = {}

    def part(self, chunk: Chunk) -> Part:
        last: dict[str, Facts] = {}
        for given, split in chunk.given:
            self.summary.recordings += 1
            if (facts := self.usable(given)) is None:
                continue
            page = self.page(given, facts)
            drawn = self.options.images / page if self.options.images is not None and page else None
            drafts = list(self.writer.single(facts, drawn))
            if (before := last.get(split)) is not None and (both := self.writer.pair(before, facts)) is not None:
                drafts.append(("two ECGs", both))
            last[split] = facts
            for task, draft in drafts:
                self.keep(task, draft, facts, split, page)
        counted = {key: value for key, value in self.summary.to_dict().items() if value}
        return Part(chunk.number, {what: "".join(lines) for what, lines in self.lines.items()}, counted)

    def write(self, what: str, line: Mapping[str, Any]) -> None:
        """Add a line."""
        self.lines.setdefault(what, []).append(json.dumps(line, ensure_ascii=False) + "\n")

    def usable(self, given: Given) -> Facts | None:
        """The facts of a recording that samples may be made of."""
        try:
            facts, kept = self.folder.get(given)
        except CantWriteError:
            raise
        except Exception as error:  # whatever is wrong with one file, the others are gone through
            said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self.summary.failures += 1
            self.write("failures", {"record": given.name, "reason": " ".join(said.split())})
            return None
        self.summary.measured += not kept
        conflicts = self.writer.guide.conflicts(facts)
        reasons = [sentence for _, sentence in conflicts]
        if not facts.measured.beats:
            reasons.append(f"no beat was found: {facts.measured.reasons.get('heart_rate_bpm', 'nothing was measured')}")
        if reasons:
            self.summary.set_aside += 1
            self.summary.set_aside_for.update([name for name, _ in conflicts] or ["no beat"])
            self.write("setaside", {"record": given.name, "facts": facts.digest, "reasons": reasons})
            return None
        return facts

    def keep(self, task: str, draft: Draft, facts: Facts, split: str, page: str) -> None:
        """Draw versions of a sample until one passes, and write it; if none does, say why."""
        faults: tuple[str, ...] = ()
        for attempt in range(1, self.options.attempts + 1):
            try:
                sample = draft(self.writer.rng(facts, task, attempt), faults)
            except NoAnswerError as error:
                self.summary.failures += 1
                self.write("failures", {"record": facts.name, "task": task, "reason": str(error)})
                return
            except UnusableError as error:
                faults = self.refused(error.kind, (str(error),))
                continue
            if sample is None:
                break
            checked = check(sample)
            if not checked.refused:
                self.accept(sample, split, self.record(task, sample, checked, attempt, page), checked)
                return
            faults = self.refused(checked.refused, checked.faults)
            self.summary.told([f"{facts.name}, {task}: {words}" for words in checked.contradicted])
        if faults:
            self.summary.given_up[task] += 1
            self.write("setaside", {"record": facts.name, "facts": facts.digest, "task": task, "reasons": list(faults)})

    def refused(self, kind: str, faults: tuple[str, ...]) -> tuple[str, ...]:
        """Count a version that is not kept."""
        self.summary.drafts += 1
        self.summary.refused[kind] += 1
        return faults

    def accept(self, sample: Sample, split: str, line: Mapping[str, Any], checked: Checked) -> None:
        """Write a version and count it."""
        self.write(split, line)
        self.summary.drafts += 1
        self.summary.lines[split] += 1
        self.summary.tasks[sample.task.split(" ")[0] if sample.task.startswith("feature") else sample.task] += 1
        self.summary.audit.update(checked.audit)

    def record(self, task: str, sample: Sample, checked: Checked, attempts: int, page: str) -> dict[str, Any]:
        """A line of LLaVA JSON with its provenance."""
        turns = []
        for number, exchange in enumerate(sample.exchanges):
            markers = f"{MARKER}\n" * len(sample.facts) if number == 0 else ""
            turns += [Turn("user", f"{markers}{exchange.question}"), Turn("assistant", exchange.answer)]
        names = tuple(facts.name for facts in sample.facts)
        signal, image = STREAMS
        sources = {signal: names} | ({image: (page,)} if page and len(names) == 1 else {})
        stem = names[-1].rsplit(".", 1)[0]
        record = to_record(Conversation(tuple(turns), sources, f"{stem}#{task.replace(' ', '-')}"))
        record["task"] = sample.task
        if self.options.gem:
            from llava_ecg.ecg.views import machine_measurements

            views = [machine_measurements(facts.measured) for facts in sample.facts]
            record["machine_measurements"] = views[0] if len(views) == 1 else views
        record["provenance"] = {
            "facts": [facts.digest for facts in sample.facts],
            "guide": self.writer.guide.version,
            "sources": list(sample.sources),
            "writer": self.writer.name,
            "model": self.writer.model,
            "prompt": self.writer.prompt,
            "seed": self.writer.seed,
            "attempts": attempts,
            "audit": dict(checked.audit),
        }
        return record

    def page(self, given: Given, facts: Facts) -> str:
        """The name of the recording's page in the folder of pages, drawn if it is not there; empty where none is."""
        if self.options.images is None:
            return ""
        if not given.volts:
            self.summary.pages_left_out += 1
            return ""
        from llava_ecg.ecg.formats import read
        from llava_ecg.ecg.render import render

        name = f"{given.name.rsplit('.', 1)[0].lstrip('/')}-{facts.key[:8]}.png"
        path = self.options.images / name
        if not path.is_file():
            page = render(read(given.path))
            partial = path.with_name(f".{path.name}.{_process()}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                page.save(partial, format="PNG", dpi=page.info["dpi"])
                partial.replace(path)
            except OSError as error:
                raise CantWriteError(f"can't write {path}: {error.strerror or error}") from error
        return name


def _process() -> str:
    """What no other process that draws the same page has."""
    import os
    import platform

    return f"{platform.node()}-{os.getpid()}"
