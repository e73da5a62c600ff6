"""Answers that were given elsewhere, such as by the public code: JSONL of {question_id, text, [prompt, model_id]}.

They are scored as if the model had just given them, after a look at whether they are answers to these questions at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg import plugins
from llava_ecg.errors import InputError
from llava_ecg.eval.ecgbench import plain, records
from llava_ecg.eval.items import Item
from llava_ecg.eval.tasks import EvalTask

_IDS, _TEXTS = ("question_id", "id"), ("text", "response")


@dataclass(frozen=True)
class Recorded:
    """The answers of a file.

    Attributes:
        path: the file.
        model: that gave them, as the file says or as it was told.
        answers: question -> answer.
    """

    path: Path
    model: str
    answers: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Of questions and answers."""
        return hashlib.sha256(json.dumps(dict(self.answers), sort_keys=True).encode()).hexdigest()[:16]


def read(path: Path, task: EvalTask, items: Sequence[Item], data: Path, model: str | None = None) -> Recorded:
    """The answers of a file to a task's questions.

    Args:
        path: JSONL or a JSON list.
        task, items: whose questions they should answer.
        data: the data folder, to find whose they are if they are not.
        model: that should have given them; None: whoever the file names.

    Raises:
        InputError: they are of another task or another model, a question is answered twice, or the file can't be read.
    """
    if any(item.turns for item in items):
        raise InputError(f"the task {task.name} has conversations, and recorded answers are to one question each")
    try:
        told = records(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error
    known = {item.name: item for item in items}
    answers: dict[str, str] = {}
    for place, record in enumerate(told):
        name, text = (_first(record, names, path, place) for names in (_IDS, _TEXTS))
        if name not in known:
            raise InputError(
                _others(path, name, task, [_first(each, _IDS, path, n) for n, each in enumerate(told)], data)
            )
        if name in answers:
            raise InputError(f"{path} answers the question {name} twice; give each one answer")
        _same_question(path, record, known[name])
        answers[name] = text
    if not answers:
        raise InputError(f"{path} holds no answer")
    return Recorded(path, _model(path, told, model), answers)


def texts(path: Path) -> dict[str, str]:
    """Question -> answer, of a file that `read` has looked at.

    Raises:
        InputError: it can't be read.
    """
    told = enumerate(records(path))
    return {_first(each, _IDS, path, place): _first(each, _TEXTS, path, place) for place, each in told}


def _first(record: Mapping[str, Any], names: Sequence[str], path: Path, place: int) -> str:
    for name in names:
        if isinstance(record.get(name), str | int):
            return str(record[name])
    raise InputError(f"{path}: record {place} has no {' and no '.join(names)}, and is no answer")


def _model(path: Path, told: Sequence[Mapping[str, Any]], model: str | None) -> str:
    named = sorted({str(record["model_id"]) for record in told if record.get("model_id")})
    if len(named) > 1:
        raise InputError(f"{path} holds answers of several models: {', '.join(named)}; give each its own file")
    if model is not None and named and named != [model]:
        raise InputError(
            f"{path} holds answers of {named[0]} and not of {model}; leave --model away or give its answers"
        )
    return named[0] if named else model or path.stem


def _same_question(path: Path, record: Mapping[str, Any], item: Item) -> None:
    """Refuses an answer to a question of other words, where the record has them."""
    told = record.get("prompt")
    asked = told.get("prompt") if isinstance(told, dict) else told
    if not isinstance(asked, str) or not asked.strip():
        return
    one, other = (" ".join(plain(text).split()) for text in (asked, item.question))
    if other not in one and one not in other:
        raise InputError(
            f"{path}: what was asked as {item.name} is {one[:60]!r}, and the task's own question is {other[:60]!r}"
        )


def _others(path: Path, name: str, task: EvalTask, names: Sequence[str], data: Path) -> str:
    """What is to be said of answers to other questions: whose they are, where that can be found."""
    for each, found in plugins.tasks.usable():
        if each == task.name or not isinstance(found, EvalTask):
            continue
        try:
            known = {item.name for item in found.items(data)}
        except InputError:
            continue
        if set(names) <= known:
            return f"{path} holds answers to {each} and not to {task.name}; ask for --tasks {each}"
    return f"{path} holds answers to something else than {task.name}: that has no question called {name}"
