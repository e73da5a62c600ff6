"""``llava-ecg ask --ecg DIR --out answers.jsonl``: one question about many ECGs, a line for each.

The file only grows, and a line is on the disk before the next answer is told, so the same command goes on where it was
broken off: nothing is lost, nothing is there twice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.progress import Progress
from llava_ecg.data.journal import Journal
from llava_ecg.errors import InputError
from llava_ecg.files import each_record, is_pattern
from llava_ecg.terminal import RESEARCH_USE, show

if TYPE_CHECKING:
    from llava_ecg.assistant import Answer, Assistant, Question
    from llava_ecg.case import Case, Decoding

SUFFIX = ".jsonl"


def add(parser: argparse.ArgumentParser) -> None:
    """--batch."""
    parser.add_argument(
        "--batch",
        type=flags.number("batch", int, 1, 4096),
        metavar="N",
        help=f"how many ECGs are answered at once, with --out FILE{SUFFIX} (default: by memory, at most 32)",
    )


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether a run over many is asked for.

    Raises:
        InputError: a flag or a folder that only goes with such a run, without it.
    """
    if arguments.out is not None and arguments.out.suffix == SUFFIX:
        return True
    if arguments.batch is not None:
        raise InputError(f"--batch is for many ECGs; it goes with --out FILE{SUFFIX}, which gets a line for each")
    for path in arguments.ecg:
        if path.is_dir() or (is_pattern(path) and not path.exists()):
            raise InputError(f"{path} stands for many ECGs; with --out FILE{SUFFIX} each of them is asked about")
    return False


def run(arguments: argparse.Namespace, question: str, decoding: Decoding, open_assistant: Any) -> int:
    """Ask about each ECG that has no line yet; exit code 1 where any of them failed.

    Args:
        question: checked already.
        open_assistant: opens the model, if there is anything to ask.

    Raises:
        InputError: flags that don't go together, no ECG, or a file that holds another run's answers.
    """
    source = _source(arguments)
    records = list(dict.fromkeys(map(str, each_record(source))))
    if not records:
        raise InputError(f"{source} holds no ECG that can be read; give a folder, a pattern or a list of files")
    settings = _settings(arguments)
    with Journal(arguments.out, "file") as journal:
        done = _done(journal, question, settings)
        if journal.torn:
            show(f"{journal.path}: an unfinished last line was taken away", file=sys.stderr)
        left = [record for record in records if record not in done]
        failed = sum(done[record] for record in records if record in done)
        if done:
            show(f"{journal.path}: {len(records) - len(left)} of {len(records)} are there already", file=sys.stderr)
        if left:
            progress = Progress(len(left))
            for found in _asked(arguments, left, question, decoding, open_assistant(arguments)):
                journal.add(found | {"settings": settings})
                failed += found["error"] is not None
                progress.add()
            progress.end()
    say = f", {failed} of them failed and say why under error" if failed else ""
    show(f"{len(records)} ECGs, a line each in {arguments.out}{say}", RESEARCH_USE)
    return 1 if failed else 0


def _source(arguments: argparse.Namespace) -> Path:
    for flag, given in (("--image", arguments.image), ("--page", arguments.page), ("--json", arguments.json)):
        if given:
            raise InputError(f"{flag} is for one ECG, and --out FILE{SUFFIX} asks about many; leave one of them away")
    if len(arguments.ecg) != 1:
        raise InputError(
            f"--out FILE{SUFFIX} takes one --ecg: a folder, a pattern in quotes, or a list of files (.txt), not "
            f"{len(arguments.ecg)}"
        )
    source: Path = arguments.ecg[0]
    return source


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What else an answer hangs on, as the line of each has it: another run's answers do not mix with these."""
    names = ("model", "missing_leads", "temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "seed")
    given = {name: vars(arguments)[name] for name in names}
    more: dict[str, Any] = flags.reading(arguments) | flags.opening(arguments) | {"stop": arguments.stop or None}
    return given | {name: value for name, value in more.items() if value is not None}


def _done(journal: Journal, question: str, settings: dict[str, Any]) -> dict[str, bool]:
    """ECGs that have a line -> whether they failed.

    Raises:
        InputError: the file is about something else.
    """
    done: dict[str, bool] = {}
    for number, line in enumerate(journal.lines, 1):
        if not {"file", "question", "error", "settings"} <= line.keys():
            raise InputError(f"line {number} of {journal.path} is no line of llava-ecg ask; choose another file")
        if line["question"] != question:
            raise InputError(f"{journal.path} holds answers to {line['question']!r}; choose another file for this one")
        if line["settings"] != settings:
            both = settings.keys() | dict(line["settings"]).keys()
            other = sorted(name for name in both if settings.get(name) != line["settings"].get(name))
            raise InputError(
                f"{journal.path} holds answers of a run with other settings ({', '.join(other)}); give the same, or "
                "choose another file"
            )
        done[line["file"]] = line["error"] is not None
    return done


def _asked(
    arguments: argparse.Namespace, left: Sequence[str], question: str, decoding: Decoding, assistant: Assistant
) -> Iterator[dict[str, Any]]:
    """The line of each, in the order in which they are finished, but for its settings."""
    from llava_ecg import report
    from llava_ecg.assistant import Question
    from llava_ecg.data.conversation import Turn

    if assistant.slow is not None:
        show(assistant.slow, file=sys.stderr)
    slots = arguments.batch or assistant.slots(decoding)
    failed: list[dict[str, Any]] = []

    def failure(record: str, error: Exception) -> dict[str, Any]:
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return {"file": record, "question": question, "answer": None, "model": assistant.name, "error": said}

    def questions() -> Iterator[Question]:
        for record in left:
            try:
                case = _case(Path(record), arguments)
            except Exception as error:  # whatever is wrong with one file, the others are asked about
                failed.append(failure(record, error))
            else:
                yield Question((Turn("user", question),), case, record)

    def line(asked: Question, answer: Answer | Exception) -> dict[str, Any]:
        if isinstance(answer, Exception):
            return failure(asked.tag, answer)
        found = report.answer_dict(question, answer, asked.case, None)
        return {"file": asked.tag} | found | {"finished": answer.finished, "error": None}

    for asked, answer in assistant.ask_many(questions(), decoding, slots=slots):
        yield from failed
        failed.clear()
        yield line(asked, answer)
    yield from failed


def _case(path: Path, arguments: argparse.Namespace) -> Case:
    """An ECG, measured and drawn."""
    from llava_ecg import files
    from llava_ecg.case import Case

    recording = files.read_recording(path, **flags.reading(arguments))
    case = Case(files.complete_leads(recording, arguments.missing_leads))
    _ = case.measurements
    return case
