"""`produce`: recordings and what was said of them -> LLaVA JSONL for training and validation, with what was left out
and why.

Beside ``OUT.jsonl`` stand ``OUT.val.jsonl``, ``OUT.setaside.jsonl`` (the report contradicts the measurements) and
``OUT.failures.jsonl`` (a recording that can't be read); each only where it has a line.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llava_ecg.data.conversation import MARKER, STREAMS, Conversation, Turn, to_record
from llava_ecg.errors import InputError
from llava_ecg.instruct.facts import Facts, FactsFolder, Given
from llava_ecg.instruct.kept import Checked, check
from llava_ecg.instruct.samples import Sample
from llava_ecg.instruct.sources import Listed
from llava_ecg.instruct.writer import Draft, OfflineWriter

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Options:
    """How a set is made.

    Attributes:
        out: the file for training, ``.jsonl``.
        facts: the folder of facts.
        images: where the pages are drawn; None draws none.
        gem: whether each line carries GEM's ``machine_measurements``.
        val: the share of the patients that is kept for validation where the source does not say it.
        attempts: versions of a text that are drawn before a task is given up.
    """

    out: Path
    facts: Path
    images: Path | None = None
    gem: bool = False
    val: float = 0.05
    attempts: int = 4

    def beside(self, what: str) -> Path:
        """``OUT.WHAT.jsonl``."""
        return self.out.with_name(f"{self.out.stem}.{what}.jsonl")


@dataclass
class Summary:
    """What became of it.

    Attributes:
        recordings, measured: how many there were, and how many of them had to be measured.
        lines: split -> lines written; tasks: task -> lines.
        set_aside, failures: recordings.
        set_aside_for: diagnosis -> recordings set aside because of it.
        drafts: versions of texts that were drawn; refused: reason -> how many of them.
        given_up: task -> recordings for which no version was kept.
        audit: status -> claims in the lines written.
        contradicted: the first claims that the audit refused, in words.
        pages_left_out: recordings without a page, since they are not in mV.
    """

    recordings: int = 0
    measured: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0
    failures: int = 0
    set_aside_for: Counter[str] = field(default_factory=Counter)
    drafts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    audit: Counter[str] = field(default_factory=Counter)
    contradicted: list[str] = field(default_factory=list)
    pages_left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return {key: dict(value) if isinstance(value, Counter) else value for key, value in vars(self).items()}


def produce(
    listed: Listed, writer: OfflineWriter, options: Options, progress: Callable[[int, int], None] | None = None
) -> Summary:
    """Write the set.

    Args:
        progress: is told after each recording how many of how many are done.

    Raises:
        InputError: a file or folder that can't be written.
    """
    summary = Summary()
    folder = FactsFolder(options.facts)
    split_of = splits(listed.given, options.val)
    with _Files(options) as files:
        last: dict[str, Facts] = {}
        for number, given in enumerate(listed.given, 1):
            summary.recordings += 1
            facts = _usable(given, folder, writer, files, summary)
            if facts is not None:
                split = split_of(given)
                page = _page(given, facts, options, summary)
                drafts = list(writer.single(facts))
                if (before := last.get(split)) is not None:
                    drafts.append(("two ECGs", writer.pair(before, facts)))
                last[split] = facts
                for task, draft in drafts:
                    _keep(task, draft, facts, writer, options, split, page, files, summary)
            if progress is not None:
                progress(number, len(listed.given))
    return summary


def splits(given: tuple[Given, ...], share: float) -> Callable[[Given], str]:
    """Recording -> ``train`` or ``val``, each patient in one of them.

    What the source fixes holds, and a patient of whom it puts one recording into ``val`` is there with all; of the
    others those whose name's digest is among the first `share` are. Without a patient a recording stands for itself.
    """
    fixed: dict[str, str] = {}
    for each in given:
        if each.split and fixed.get(_who(each)) != "val":
            fixed[_who(each)] = each.split

    def split(each: Given) -> str:
        if (held := fixed.get(_who(each))) is not None:
            return held
        digest = int.from_bytes(hashlib.sha256(_who(each).encode()).digest()[:8], "big")
        return "val" if digest < share * 2**64 else "train"

    return split


def _who(given: Given) -> str:
    return f"patient {given.patient}" if given.patient else f"recording {given.name}"


def _usable(given: Given, folder: FactsFolder, writer: OfflineWriter, files: _Files, summary: Summary) -> Facts | None:
    """The facts of a recording that samples may be made of."""
    try:
        facts, kept = folder.get(given)
    except InputError as error:
        summary.failures += 1
        files.write("failures", {"record": given.name, "reason": " ".join(str(error).split())})
        return None
    summary.measured += not kept
    conflicts = writer.guide.conflicts(facts)
    reasons = [sentence for _, sentence in conflicts]
    if not facts.measured.beats:
        reasons.append(f"no beat was found: {facts.measured.reasons.get('heart_rate_bpm', 'nothing was measured')}")
    if reasons:
        summary.set_aside += 1
        summary.set_aside_for.update([name for name, _ in conflicts] or ["no beat"])
        files.write("setaside", {"record": given.name, "facts": facts.digest, "reasons": reasons})
        return None
    return facts


def _keep(
    task: str,
    draft: Draft,
    facts: Facts,
    writer: OfflineWriter,
    options: Options,
    split: str,
    page: str,
    files: _Files,
    summary: Summary,
) -> None:
    """Draw versions of a sample until one passes, and write it."""
    drawn = False
    for attempt in range(1, options.attempts + 1):
        sample = draft(writer.rng(facts, task, attempt))
        if sample is None:
            break
        drawn = True
        summary.drafts += 1
        checked = check(sample)
        if checked.refused:
            summary.refused[checked.refused] += 1
            summary.contradicted += [f"{facts.name}, {task}: {words}" for words in checked.contradicted][
                : 50 - len(summary.contradicted)
            ]
            continue
        record = _record(task, sample, checked, attempt, writer, options, page)
        files.write(split, record)
        summary.lines[split] += 1
        summary.tasks[sample.task.split(" ")[0] if sample.task.startswith("feature") else sample.task] += 1
        summary.audit.update(checked.audit)
        return
    if drawn:
        summary.given_up[task] += 1


def _record(
    task: str, sample: Sample, checked: Checked, attempts: int, writer: OfflineWriter, options: Options, page: str
) -> dict[str, Any]:
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
    if options.gem:
        from llava_ecg.ecg.views import machine_measurements

        views = [machine_measurements(facts.measured) for facts in sample.facts]
        record["machine_measurements"] = views[0] if len(views) == 1 else views
    record["provenance"] = {
        "facts": [facts.digest for facts in sample.facts],
        "guide": writer.guide.version,
        "sources": list(sample.sources),
        "writer": writer.name,
        "model": None,
        "prompt": writer.prompt,
        "seed": writer.seed,
        "attempts": attempts,
        "audit": dict(checked.audit),
    }
    return record


def _page(given: Given, facts: Facts, options: Options, summary: Summary) -> str:
    """The name of the recording's page in the folder of pages, drawn if it is not there; empty where none is."""
    if options.images is None:
        return ""
    if not given.volts:
        summary.pages_left_out += 1
        return ""
    from llava_ecg.ecg.formats import read
    from llava_ecg.ecg.render import render

    name = f"{given.name.rsplit('.', 1)[0].lstrip('/')}-{facts.key[:8]}.png"
    path = options.images / name
    if not path.is_file():
        page = render(read(given.path))
        partial = path.with_name(f".{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            page.save(partial, format="PNG", dpi=page.info["dpi"])
            partial.replace(path)
        except OSError as error:
            raise InputError(f"can't write {path}: {error.strerror or error}") from error
    return name


class _Files:
    """The files of a run, written beside their places and renamed when all is done; what ends early leaves the former
    ones as they were."""

    def __init__(self, options: Options) -> None:
        self.places = {"train": options.out} | {what: options.beside(what) for what in ("val", "setaside", "failures")}
        self._open: dict[str, IO[str]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Files:
        try:
            self.places["train"].parent.mkdir(parents=True, exist_ok=True)
            for what, path in self.places.items():
                self._open[what] = self._stack.enter_context(_part(path).open("w", encoding="utf-8"))
        except OSError as error:
            raise InputError(f"can't write {error.filename}: {error.strerror}") from error
        return self

    def write(self, what: str, line: Mapping[str, Any]) -> None:
        """Add a line."""
        self._open[what].write(json.dumps(line, ensure_ascii=False) + "\n")

    def __exit__(self, kind: object, *_: object) -> None:
        self._stack.close()
        for path in self.places.values():
            part = _part(path)
            if kind is None and part.stat().st_size:
                part.replace(path)
            else:
                part.unlink(missing_ok=True)
                if kind is None:
                    path.unlink(missing_ok=True)  # of a former run


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def texts(path: Path) -> Iterator[tuple[str, str, str]]:
    """(task, question, answer) of each exchange of a file that `produce` wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            turns = [turn["value"] for turn in record["conversations"]]
            for question, answer in zip(turns[::2], turns[1::2], strict=True):
                yield record["task"], question, answer
