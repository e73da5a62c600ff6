"""`run` asks a model the questions of tasks and scores its answers; `outcomes` reads what a folder of logs holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inspect_ai import eval_set
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log
from inspect_ai.model import GenerateConfig, Model, get_model
from inspect_ai.solver import Solver

from llava_ecg.errors import InputError
from llava_ecg.eval import fingerprint
from llava_ecg.eval.harness import GRADER, declared, recorded, told_of
from llava_ecg.eval.items import Item, Told
from llava_ecg.eval.judging import SECONDS
from llava_ecg.eval.provider import AssistantAPI
from llava_ecg.eval.recorded import read as read_recorded
from llava_ecg.eval.scorers import Scores
from llava_ecg.eval.tasks import EvalTask, chosen

_STANDS_ON = (
    "answers_of",
    "answers_fingerprint",
    "data_fingerprint",
    "checkpoint_fingerprint",
    "template",
    "preparation",
    "decoding",
    "rubric",
    "judges",
)
"""What two runs must share for the one to go on where the other stopped."""


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        task: the task.
        model: that answered.
        items, told: questions that were answered, and the answers as they were read.
        scores: of all its answers; None where none could be scored.
        kinds: of those of each kind of question, where there are several.
        legacy: figures of the public code.
        failed: questions without an answer, and why the first failed.
        questions: how many were asked.
        log: the file that holds all of it.
        facts: what the run stands on: fingerprints, template, preparation, decoding, versions.
    """

    task: EvalTask
    model: str
    items: Sequence[Item]
    told: Sequence[Told]
    scores: Scores | None
    kinds: Mapping[str, Scores]
    legacy: Mapping[str, float]
    failed: tuple[int, str]
    questions: int
    log: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def run(
    tasks: Sequence[EvalTask],
    model: str,
    data: Path,
    out: Path,
    *,
    limit: int | None = None,
    config: Mapping[str, Any] | None = None,
    model_args: Mapping[str, Any] | None = None,
    judges: Sequence[str | Model] = (),
    judge_seconds: float = SECONDS,
    likelihoods: bool = False,
) -> list[Outcome]:
    """Ask a model the questions of tasks and score the answers; what `out` already has of it is not asked again.

    Args:
        tasks: what is asked.
        model: as inspect_ai names it, such as ``llava_ecg/gem-tiny``.
        data: the data folder.
        out: the folder of the logs.
        limit: at most so many questions a task, the first ones.
        config: settings of inspect_ai's GenerateConfig.
        model_args: keywords of the provider.
        judges: models that score free text, as inspect_ai names them; the points of the first count.
        judge_seconds: a judge that has said nothing by then has not answered.
        likelihoods: whether the labels' likelihoods are asked for, and the true AUC is made of them.

    Raises:
        InputError: a question file can't be read, the model can't be opened, a judge is missing, or `out` holds a run
            of something else.
    """
    _check(tasks, data, judges)
    opened = _judges(judges)
    asked = get_model(model, config=GenerateConfig(**(config or {})), memoize=False, **(model_args or {}))
    if likelihoods and not isinstance(asked.api, AssistantAPI):
        raise InputError(f"likelihoods of labels can be had of checkpoints that are opened here, and not of {model}")
    facts = _facts(asked, config or {})
    return _evaluate(tasks, asked, data, out, facts, limit, opened, judge_seconds, likelihoods=likelihoods)


def score_recorded(
    task: EvalTask,
    answers: Path,
    data: Path,
    out: Path,
    *,
    model: str | None = None,
    limit: int | None = None,
    judges: Sequence[str | Model] = (),
    judge_seconds: float = SECONDS,
) -> Outcome:
    """Score answers that were given elsewhere; a question that they leave out has failed.

    Args:
        task: whose questions they answer.
        answers: JSONL, as `llava_ecg.eval.recorded` takes it.
        model: that should have given them.
        data, out, limit, judges, judge_seconds: as in `run`.

    Raises:
        InputError: they are of another task or model, or as `run`.
    """
    _check([task], data, judges)
    found = read_recorded(answers, task, task.items(data), data, model)
    facts = {"answers_of": found.model, "answers_fingerprint": found.fingerprint}
    told = recorded(str(answers.absolute()), found.model)
    opened, asked = _judges(judges), get_model("none/none")
    [outcome] = _evaluate([task], asked, data, out, facts, limit, opened, judge_seconds, solver=told)
    return outcome


def _check(tasks: Sequence[EvalTask], data: Path, judges: Sequence[str | Model]) -> None:
    for task in tasks:
        if not task.items(data):
            raise InputError(f"the task {task.name} finds no question below {data}")
        if task.marking.rubric is not None and not judges:
            raise InputError(f"the task {task.name} is scored by a judge; name one: --judge PROVIDER/MODEL")


def _judges(judges: Sequence[str | Model]) -> list[Model]:
    """Opened, so that a judge that can't be asked is one mistake and not one a question."""
    found = []
    for each in judges:
        try:
            model = get_model(each, memoize=False)
        except Exception as error:  # each provider has its own; a missing key or package is the commonest
            told = getattr(error, "message", None) or error
            raise InputError(f"the judge {each} can't be opened: {' '.join(str(told).split())}") from error
        if isinstance(model.api, AssistantAPI):
            raise InputError(f"{each} answers questions about ECGs and can't be a judge of texts; name another model")
        found.append(model)
    return found


def _evaluate(
    tasks: Sequence[EvalTask],
    asked: Model,
    data: Path,
    out: Path,
    facts: Mapping[str, Any],
    limit: int | None,
    judges: Sequence[Model],
    judge_seconds: float,
    *,
    likelihoods: bool = False,
    solver: Solver | None = None,
) -> list[Outcome]:
    """Run inspect_ai on the tasks, or go on where it stopped."""
    more: dict[str, Any] = {"likelihoods": True} if likelihoods else {}
    if judge_seconds != SECONDS:
        more["judge_seconds"] = judge_seconds
    made = []
    for task in tasks:
        one = declared(task.name)(data=str(data.absolute()), **more)
        one.metadata = {**(one.metadata or {}), **facts}
        if task.marking.rubric is not None:
            one.metadata["judges"] = [str(each) for each in judges]
        _refuse_others(out, task.name, str(asked), one.metadata)
        made.append(one)
    try:
        _, logs = eval_set(
            made,
            log_dir=str(out),
            model=asked,
            model_roles={GRADER: list(judges)} if judges else None,
            solver=solver,
            limit=limit,
            fail_on_error=True,  # so a log with failed questions is no success, and the next run asks these again
            continue_on_fail=True,  # and asks all others first
            retry_attempts=0,
            retry_immediate=False,
            display="none",
            score_display=False,  # figures once, at the end
            log_level="error",
            log_buffer=1,  # each answer is in the log before a kill can take it
        )
    except PrerequisiteError as error:
        raise InputError(f"{out} can't be used for this run: {error.message}") from error
    by_name = {_task_of(log): log for log in logs}
    return [_outcome(task, read_eval_log(by_name[task.name].location)) for task in tasks]


def outcomes(out: Path) -> list[Outcome]:
    """The tasks of a folder of logs.

    Raises:
        InputError: it holds none, one that did not end, or one of a task that is not there.
    """
    found: dict[str, EvalLog] = {}
    for log in _logs(out):
        found.setdefault(_task_of(log), log)  # the newest comes first
    if not found:
        raise InputError(f"{out} holds no log of llava-ecg eval; give the folder that --out named")
    return [_outcome(chosen(name)[0], read_eval_log(found[name].location)) for name in sorted(found)]


def _logs(out: Path) -> list[EvalLog]:
    """Headers of the logs in a folder, the newest first."""
    if not out.is_dir():
        return []
    return [read_eval_log(each.name, header_only=True) for each in list_eval_logs(str(out), recursive=False)]


def _task_of(log: EvalLog) -> str:
    return log.eval.task.rpartition("/")[2]


def _facts(asked: Model, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the run stands on, for its log. A model that can't be opened is one mistake here, and not one a question."""
    facts: dict[str, Any] = {"decoding": dict(config)}
    if isinstance(asked.api, AssistantAPI):
        facts["decoding"]["repetition_penalty"] = asked.api.penalty
        if hasattr(asked.api.assistant, "checkpoint"):  # what a caller hands in as an opener may have none
            facts |= fingerprint.of_assistant(asked.api.assistant)
    facts["decoding"] = json.loads(json.dumps(facts["decoding"], default=str))
    return facts


def _refuse_others(out: Path, name: str, model: str, facts: Mapping[str, Any]) -> None:
    """Refuses to go on in a folder that holds the same task of another model, data or settings."""
    for log in _logs(out):
        if _task_of(log) != name:
            continue
        if log.eval.model != model:
            raise InputError(
                f"{out} holds answers of {log.eval.model} to {name}, and this run asks {model}; give another --out"
            )
        former = log.eval.metadata or {}
        for fact in _STANDS_ON:
            if former.get(fact) != facts.get(fact):
                raise InputError(
                    f"{out} holds a run of {name} with {fact.replace('_', ' ')} {former.get(fact)}, and this one has "
                    f"{facts.get(fact)}; give another --out"
                )


def _whole(log: EvalLog) -> bool:
    """Whether each question was asked: it has its scores, or what made it fail."""
    asked = log.eval.dataset.samples or 0
    if isinstance(log.eval.config.limit, int):
        asked = min(asked, log.eval.config.limit)
    return len(log.samples or []) >= asked and all(each.scores or each.error for each in log.samples or [])


def _outcome(task: EvalTask, log: EvalLog) -> Outcome:
    if log.status not in ("success", "error") or log.samples is None or not _whole(log):
        raise InputError(f"{log.location}: the run of {task.name} ended as {log.status}; give the same command again")
    done = [each for each in log.samples if each.error is None]
    rows = [told_of(each.scores["fixed"].metadata or {}) for each in done if each.scores]
    items, told = [item for _, item, _ in rows], [each for _, _, each in rows]
    kinds = sorted({item.kind for item in items})
    broken = [each.error.message for each in log.samples if each.error is not None]

    def of(kind: str | None) -> Scores:
        kept = [(item, each) for item, each in zip(items, told, strict=True) if kind in (None, item.kind)]
        return task.scores([item for item, _ in kept], [each for _, each in kept])

    return Outcome(
        task,
        (log.eval.metadata or {}).get("answers_of", log.eval.model),
        items,
        told,
        of(None) if items else None,
        {kind: of(kind) for kind in kinds} if len(kinds) > 1 else {},
        task.scores_legacy(items, told),
        (len(broken), broken[0] if broken else ""),
        len(log.samples),
        log.location,
        dict(log.eval.metadata or {}),
    )
