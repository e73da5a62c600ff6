"""Reads the question files of ECGBench and of Grounded ECG Understanding, as they come or as `prepare` left them.

A file is a JSON list, or JSONL, of {id or No, image, [ecg], conversations}; a conversation is LLaVA's {from, value} or
pairs of {question, answer}. They lie in ``DATA/ecgbench``, images below ``DATA/ecgbench/images``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.data.conversation import MARKER, STREAMS
from llava_ecg.errors import InputError
from llava_ecg.eval import parsers
from llava_ecg.eval.parsers import Label
from llava_ecg.eval.samples import with_lent

FOLDER = "ecgbench"
IMAGES = "images"
SIGNAL, PAGE = STREAMS
_OPTIONS = re.compile(r"options\s*:", re.IGNORECASE)
_ONLY = re.compile(r"only answer based on .*", re.IGNORECASE | re.DOTALL)
_A_LINE = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_IN_LINE = re.compile(r"(?<!\w)\(?([A-Z])[.):]\s+(\S.*?)(?=[\s,;]+\(?[A-Z][.):]\s|\s*$)", re.DOTALL)


@dataclass(frozen=True)
class Split:
    """A question file, as rows for a task.

    Attributes:
        name: of the file, without its ending.
        labels: what the right answers are sets of.
        letters: whether the right answer is the letter of an option.
        listed: whether it is a set of the options behind "Options:".
        lent: whether each row gets another patient's ECG.
        also: further names of the file.

    With none of the three the right answer is free text, an `Item.reference`.
    """

    name: str
    labels: tuple[Label, ...] = ()
    letters: bool = False
    listed: bool = False
    lent: bool = False
    also: tuple[str, ...] = ()

    def __call__(self, data: Path) -> list[dict[str, Any]]:
        """The rows; the fields of an `Item`.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: it holds something else, or none of its right answers can be read.
        """
        path = question_file(data / FOLDER, self.name, *self.also)
        rows, names = [], dict[str, int]()
        for place, record in enumerate(records(path)):
            row = self._row(record, path, place)
            names[row["name"]] = names.get(row["name"], 0) + 1
            if names[row["name"]] > 1:
                row["name"] += f"#{names[row['name']]}"
            rows.append(row)
        chosen = bool(self.labels or self.letters or self.listed)
        if rows and chosen and not any(row["truth"] for row in rows):
            raise InputError(
                f"{path}: no right answer can be read, such as {rows[0]['reference'][:80]!r} of {rows[0]['name']}"
            )
        return with_lent(rows) if self.lent else rows

    def _row(self, record: Mapping[str, Any], path: Path, place: int) -> dict[str, Any]:
        turns = turns_of(record, path, place)
        name = str(record.get("id", record.get("No", place)))
        questions = [plain(question) for question, _ in turns]
        answer = turns[0][1]
        sources = _sources(record, path.parent)
        row: dict[str, Any] = {
            "name": name,
            "question": questions[0],
            "turns": tuple(questions[1:]),
            "truth": (),
            "sources": sources,
            "group": str(record.get("group") or (sources and next(iter(sources[0].values()))) or name),
        }
        if self.labels:
            row["truth"] = tuple(sorted(parsers.labels(_text(answer), self.labels) or ()))
        elif self.letters:
            options = lettered(questions[0])
            letter = parsers.letter(_text(answer), options) if options else None
            row |= {"options": options, "truth": (letter,) if letter else ()}
        elif self.listed:
            options = listed(questions[0])
            row |= {"options": options, "truth": _chosen(answer, options)}
        else:
            row["reference"] = "\n\n".join(_text(each) for _, each in turns)
            return row
        if not row["truth"]:
            row["reference"] = _text(answer)  # the question stays and fails alone when it is scored
        return row


def question_file(folder: Path, *names: str) -> Path:
    """The JSON or JSONL of the first name that has one.

    Raises:
        FileNotFoundError: none is there.
    """
    for name in names:
        for ending in (".json", ".jsonl"):
            if (path := folder / f"{name}{ending}").is_file():
                return path
    raise FileNotFoundError(2, "no such file", str(folder / f"{names[0]}.json"))


def records(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON list or of JSONL.

    Raises:
        InputError: it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        found = json.loads(text) if told is None else told
    except ValueError as error:
        raise InputError(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{path} is no question file: a list of records with id, image and conversations")
    return found


def turns_of(record: Mapping[str, Any], path: Path, place: int) -> list[tuple[str, Any]]:
    """Question and right answer of each turn.

    Raises:
        InputError: it has no conversation in either form.
    """
    told = record.get("conversations")
    if isinstance(told, list) and told and all(isinstance(each, dict) for each in told):
        if all({"question", "answer"} <= each.keys() for each in told):
            return [(str(each["question"]), each["answer"]) for each in told]
        if len(told) % 2 == 0 and all({"from", "value"} <= each.keys() for each in told):
            asked, answered = told[::2], told[1::2]
            if all(each["from"] in ("human", "user") for each in asked):
                return [(str(one["value"]), two["value"]) for one, two in zip(asked, answered, strict=True)]
    raise InputError(f"{path}: record {place} has no conversation of questions with their answers")


def plain(question: str) -> str:
    """The question without the marks of where an ECG or an image stands."""
    return question.replace(MARKER, "").replace("<ecg>", "").strip()


def lettered(question: str) -> tuple[str, ...]:
    """The options A, B, ... of a question, a line each or one behind the other; empty where it has none."""
    for pattern in (_A_LINE, _IN_LINE):
        found: list[str] = []
        for match in pattern.finditer(question):
            if match[1] == chr(ord("A") + len(found)):
                found.append(match[2].strip())
        if len(found) > 1:
            return tuple(found)
    return ()


def listed(question: str) -> tuple[str, ...]:
    """The options behind "Options:", between commas; empty where it has none."""
    parts = _OPTIONS.split(question)
    if len(parts) < 2:
        return ()
    told = _ONLY.sub("", parts[-1]).strip().rstrip(".")
    return tuple(dict.fromkeys(each.strip() for each in told.split(",") if each.strip()))


def _chosen(answer: Any, options: tuple[str, ...]) -> tuple[str, ...]:
    """The options that are right, as the question spells them."""
    told = answer if isinstance(answer, list) else str(answer).split(",")
    known = {option.lower(): option for option in options}
    found = [known.get(str(each).strip().rstrip(".").lower()) for each in told]
    return tuple(each for each in found if each is not None) if None not in found else ()


def _text(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _sources(record: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], ...]:
    """The block of each ECG; an image that is not there is left to be drawn from the signal, where there is one."""
    signals, pages = _listed(record.get(SIGNAL)), _listed(record.get(PAGE))
    found = []
    for place in range(max(len(signals), len(pages))):
        signal = signals[place] if place < len(signals) else None
        page = pages[place] if place < len(pages) else None
        block = {} if not signal else {SIGNAL: str(folder / signal)}
        image = None if not page else folder / IMAGES / page
        if image is not None and (image.is_file() or not block):
            block[PAGE] = str(image)
        if block:
            found.append(block)
    return tuple(found)


def _listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [] if told is None else [told]
