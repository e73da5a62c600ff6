"""``llava-ecg eval``: benchmarks, run by inspect_ai, which the extra ``eval`` brings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llava_ecg import plugins
from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import show, show_json

if TYPE_CHECKING:
    from llava_ecg.eval.runs import Outcome
    from llava_ecg.eval.scorers import Scores
    from llava_ecg.eval.tasks import EvalTask

_OF_ANSWERS = ("tasks", "data", "out", "limit", "answers", "model", "judge_timeout")
"""Flags that mean something without a model."""
MISSING = 'llava-ecg eval runs on inspect_ai, which is not installed; pip install "llava-ecg[eval]" brings it'


def add(commands: Any) -> None:
    """Declare ``eval``."""
    parser = flags.command(
        commands,
        "eval",
        "ask a model the questions of benchmarks and score its answers, with intervals, chance and majority",
        "llava-ecg eval --tasks ecgqa --data data --out runs/tiny",
    )
    parser.add_argument("--tasks", metavar="NAME,...|all", help="what is asked; --list shows the names")
    parser.add_argument("--data", type=flags.path, metavar="DIR", help="folder that holds the files of the tasks")
    parser.add_argument(
        "--out", type=flags.path, metavar="RUN", help="folder of the logs; what it has already is not asked again"
    )
    parser.add_argument(
        "--limit", type=flags.number("limit", int, 1, 10**9), metavar="N", help="the first N questions of a task only"
    )
    parser.add_argument("--list", action="store_true", help="show the tasks and what they read, and ask nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.add_argument(
        "--answers",
        type=flags.path,
        metavar="FILE.jsonl",
        help="score answers to one task that were given elsewhere (question_id, text, model_id a line); ask no model",
    )
    _add_judges(parser)
    flags.add_model(parser)
    parser.set_defaults(run=run_eval)


def _add_judges(parser: argparse.ArgumentParser) -> None:
    """--batch, --likelihoods, --judge, --judge-timeout."""
    parser.add_argument(
        "--batch",
        type=flags.number("batch", int, 1, 1024),
        default=1,
        metavar="N",
        help="so many questions are answered at once (default: %(default)s)",
    )
    parser.add_argument(
        "--likelihoods",
        action="store_true",
        help="also ask how likely each label is, one pass a question more, and report the true AUC",
    )
    group = parser.add_argument_group("judges of free text")
    group.add_argument(
        "--judge",
        type=flags.name_or_path,
        action="append",
        default=[],
        metavar="PROVIDER/MODEL",
        help="a model of inspect_ai, such as openai/gpt-4o; given twice, both score the same answers, the first one "
        "counts and their agreement is reported",
    )
    group.add_argument(
        "--judge-timeout",
        type=flags.number("judge-timeout", float, 0.1, 100_000),
        default=120,
        metavar="S",
        help="a judge that has said nothing by then has not answered, in seconds (default: %(default)s)",
    )


def run_eval(arguments: argparse.Namespace, opener: Opener | None) -> int:
    """Run the tasks and print their figures; exit code 1 where questions stayed without an answer."""
    if arguments.list:
        return _list(arguments)
    for name in ("tasks", "data", "out"):
        if vars(arguments)[name] is None:
            raise InputError(f"--{name} is needed; llava-ecg eval --list shows the tasks and what they read")
    from llava_ecg.eval.tasks import chosen

    tasks = chosen(arguments.tasks)
    if find_spec("inspect_ai") is None:
        raise InputError(MISSING)
    left_out: dict[str, str] = {}
    if arguments.tasks.strip() == "all":
        left_out = _can_not(tasks, arguments)
        tasks = [task for task in tasks if task.name not in left_out]
        if not tasks:
            raise InputError(
                f"no task has its files below {arguments.data}; llava-ecg eval --list shows what they read"
            )
    outcomes = _run(tasks, arguments, opener) if arguments.answers is None else [_score(tasks, arguments)]
    if arguments.json:
        show_json(
            {
                "model": arguments.model if arguments.answers is None else outcomes[0].model,
                "tasks": [_told(each) for each in outcomes],
                "left_out": left_out,
            }
        )
    else:
        for each in outcomes:
            show(*_lines(arguments.model if arguments.answers is None else each.model, each))
        for name, why in left_out.items():
            show(f"left out: {name}, {why}")
    return 1 if any(each.failed[0] for each in outcomes) else 0


def _can_not(tasks: Sequence[EvalTask], arguments: argparse.Namespace) -> dict[str, str]:
    """Tasks that ``all`` leaves out, and why."""
    found = {}
    for task in tasks:
        if not task.there(arguments.data):
            found[task.name] = f"which reads {task.needs}"
        elif task.marking.rubric is not None and not arguments.judge:
            found[task.name] = "which needs --judge"
    return found


def _run(tasks: Sequence[EvalTask], arguments: argparse.Namespace, opener: Opener | None) -> list[Outcome]:
    from llava_ecg.eval.provider import NAME
    from llava_ecg.eval.runs import run

    if arguments.judge and all(task.marking.rubric is None for task in tasks):
        raise InputError("none of these tasks is scored by a judge; leave --judge away")
    if arguments.likelihoods and not any(task.marking.named for task in tasks):
        raise InputError(
            "none of these tasks has labels, whose likelihoods could be asked for; leave --likelihoods away"
        )
    told = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_new_tokens"}
    return run(
        tasks,
        f"{NAME}/{arguments.model}",
        arguments.data,
        arguments.out,
        limit=arguments.limit,
        config={"seed": arguments.seed} | {name: vars(arguments)[flag] for name, flag in told.items()},
        model_args={
            "repetition_penalty": arguments.repetition_penalty,
            **({"batch": arguments.batch} if arguments.batch > 1 else {}),
            **flags.opening(arguments),
            **({} if opener is None else {"opener": opener}),
        },
        judges=arguments.judge,
        judge_seconds=arguments.judge_timeout,
        likelihoods=arguments.likelihoods,
    )


def _score(tasks: Sequence[EvalTask], arguments: argparse.Namespace) -> Outcome:
    """Of recorded answers; flags that speak to a model are refused."""
    from llava_ecg.eval.runs import score_recorded

    if len(tasks) != 1:
        raise InputError(f"--answers {arguments.answers} is scored for one task at a time; name it with --tasks")
    given = {name for name in vars(arguments).get("_given", set()) if name not in _OF_ANSWERS}
    idle = sorted(given | {name for name in ("likelihoods", "trust_pickle", "prepare") if vars(arguments)[name]}) + (
        [] if arguments.strict else ["no_strict"]
    )
    if idle:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise InputError(f"--answers asks no model, so {told} would do nothing; leave it away")
    return score_recorded(
        tasks[0],
        arguments.answers,
        arguments.data,
        arguments.out,
        model=arguments.model if "model" in vars(arguments).get("_given", set()) else None,
        limit=arguments.limit,
        judges=arguments.judge,
        judge_seconds=arguments.judge_timeout,
    )


def _list(arguments: argparse.Namespace) -> int:
    from llava_ecg.eval.tasks import chosen

    tasks = chosen(arguments.tasks or "all")
    if arguments.json:
        rows = [
            {"name": each.name, "summary": each.summary, "needs": each.needs, "published": each.published}
            for each in tasks
        ]
        show_json({"tasks": rows})
        return 0
    for each in tasks:
        show(f"{each.name}  {each.summary}", f"  reads {each.needs}", f"  from  {plugins.tasks.where(each.name)}")
    return 0


def _lines(model: str, outcome: Outcome) -> list[str]:
    """A task as a table in percent."""
    task, (failed, why) = outcome.task, outcome.failed
    lines = [f"{task.name}: {task.summary}", f"  log {outcome.log}"]
    if failed:
        lines.append(f"  without an answer: {failed} of {outcome.questions}, the first because {why}")
    if outcome.scores is None:
        return lines
    scores = outcome.scores
    wrong = " and so counted wrong" if task.marking.by_text else ""
    lines.append(f"  answers {scores.count}, unparsed{wrong} {scores.unparsed}")
    for metric, figure in scores.figures.items():
        unit = scores.units.get(metric, "")
        lines.append(f"  {metric}, {unit or '%'}{_unscored(scores, metric)}")
        low_high = "" if figure.low is None else f"  [{_number(figure.low, unit)}, {_number(figure.high, unit)}]"
        lines.append(f"    {model:<29}{_number(figure.value, unit)}{low_high}")
        for name, base in (("chance", scores.chance), ("majority", scores.majority)):
            if metric in base:
                lines.append(f"    {name:<29}{_number(base.get(metric), unit)}")
        for name, known in task.published.items():
            if metric in known:
                lines.append(f"    {name + ', published':<29}{known[metric]}")
    for kind, each in outcome.kinds.items():
        figures = ", ".join(
            f"{name} {_number(figure.value, each.units.get(name, ''))}" for name, figure in each.figures.items()
        )
        lines.append(f"  {kind} ({each.count}): {figures}")
    for title, table in scores.tables.items():
        lines.append(f"  {title}")
        for row, cells in table.items():
            lines.append(f"    {row:<29}{', '.join(f'{name} {value:.3g}' for name, value in cells.items())}")
    told = ", ".join(f"{name} {_number(each, scores.units.get(name, ''))}" for name, each in outcome.legacy.items())
    notes = [note for note in (*scores.notes, task.note) if note]
    return [*lines, *([f"  as the public code scores: {told}"] if told else []), *(f"  note: {note}" for note in notes)]


def _unscored(scores: Scores, metric: str) -> str:
    share = scores.unscored.get(metric, 0.0)
    return f" (unscored: {100 * share:.1f} % of the answers)" if share else ""


def _number(value: float | None, unit: str) -> str:
    """A share in percent, anything else in its unit."""
    if value is None or value != value:
        return "-"
    return f"{value:.2f}" if unit else f"{100 * value:.1f}"


def _told(outcome: Outcome) -> dict[str, Any]:
    """A task for JSON; figures are shares from 0 to 1 where no unit is told, published ones in percent."""
    return {
        "task": outcome.task.name,
        "questions": outcome.questions,
        "failed": outcome.failed[0],
        "scores": None if outcome.scores is None else _shares(outcome.scores),
        "kinds": {kind: _shares(each) for kind, each in outcome.kinds.items()},
        "legacy": {name: None if value != value else value for name, value in outcome.legacy.items()},
        "published": {name: dict(each) for name, each in outcome.task.published.items()},
        "stands_on": dict(outcome.facts),
        "notes": _notes(outcome),
        "log": outcome.log,
    }


def _notes(outcome: Outcome) -> Sequence[str]:
    return [note for note in (*(outcome.scores.notes if outcome.scores else ()), outcome.task.note) if note]


def _shares(scores: Scores) -> Mapping[str, Any]:
    return {
        "count": scores.count,
        "unparsed": scores.unparsed,
        "figures": {
            name: {"value": each.value, "low": each.low, "high": each.high} for name, each in scores.figures.items()
        },
        "chance": dict(scores.chance),
        "majority": dict(scores.majority),
        "units": dict(scores.units),
        "unscored": dict(scores.unscored),
        "tables": {name: {row: dict(cells) for row, cells in each.items()} for name, each in scores.tables.items()},
    }
