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
    from llava_ecg.eval.harness import Outcome
    from llava_ecg.eval.scorers import Scores

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
    flags.add_model(parser)
    parser.set_defaults(run=run_eval)


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
    from llava_ecg.eval.harness import NAME, run

    told = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_new_tokens"}
    outcomes = run(
        tasks,
        f"{NAME}/{arguments.model}",
        arguments.data,
        arguments.out,
        limit=arguments.limit,
        config={"seed": arguments.seed} | {name: vars(arguments)[flag] for name, flag in told.items()},
        model_args={
            "repetition_penalty": arguments.repetition_penalty,
            **flags.opening(arguments),
            **({} if opener is None else {"opener": opener}),
        },
    )
    if arguments.json:
        show_json({"model": arguments.model, "tasks": [_told(each) for each in outcomes]})
    else:
        for each in outcomes:
            show(*_lines(arguments.model, each))
    return 1 if any(each.failed[0] for each in outcomes) else 0


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
    lines.append(f"  answers {scores.count}, unparsed and so counted wrong {scores.unparsed}")
    for metric, figure in scores.figures.items():
        lines.append(f"  {metric}, %")
        low_high = "" if figure.low is None else f"  [{_percent(figure.low)}, {_percent(figure.high)}]"
        lines.append(f"    {model:<29}{_percent(figure.value)}{low_high}")
        for name, row in (("chance", scores.chance), ("majority", scores.majority)):
            lines.append(f"    {name:<29}{_percent(row.get(metric))}")
        for name, published in task.published.items():
            if metric in published:
                lines.append(f"    {name + ', published':<29}{published[metric]:.1f}")
    for kind, each in outcome.kinds.items():
        figures = ", ".join(f"{name} {_percent(figure.value)}" for name, figure in each.figures.items())
        lines.append(f"  {kind} ({each.count}): {figures}")
    told = ", ".join(f"{name} {_percent(value)}" for name, value in outcome.legacy.items())
    return [*lines, f"  as the public code scores: {told}", *(f"  note: {note}" for note in (*scores.notes, task.note))]


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{100 * value:.1f}"


def _told(outcome: Outcome) -> dict[str, Any]:
    """A task for JSON; shares from 0 to 1."""
    return {
        "task": outcome.task.name,
        "questions": outcome.questions,
        "failed": outcome.failed[0],
        "scores": None if outcome.scores is None else _shares(outcome.scores),
        "kinds": {kind: _shares(each) for kind, each in outcome.kinds.items()},
        "legacy": {name: None if value != value else value for name, value in outcome.legacy.items()},
        "published_percent": {name: dict(each) for name, each in outcome.task.published.items()},
        "notes": _notes(outcome),
        "log": outcome.log,
    }


def _notes(outcome: Outcome) -> Sequence[str]:
    return [*(outcome.scores.notes if outcome.scores else ()), outcome.task.note]


def _shares(scores: Scores) -> Mapping[str, Any]:
    return {
        "count": scores.count,
        "unparsed": scores.unparsed,
        "figures": {
            name: {"value": each.value, "low": each.low, "high": each.high} for name, each in scores.figures.items()
        },
        "chance": dict(scores.chance),
        "majority": dict(scores.majority),
    }
