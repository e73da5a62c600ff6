"""The tasks of `llava_ecg.plugins.tasks` as tasks of inspect_ai, with two scorers, and `run`, which runs them.

inspect_ai finds this module, and with it the provider, by an entry point of its own group. Each sample carries its
question as plain JSON, so a log can be scored again without the model or the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai import Task, eval_set
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessageUser, ContentData, ContentText, GenerateConfig, get_model
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from llava_ecg import __version__, plugins
from llava_ecg.errors import InputError
from llava_ecg.eval.provider import NAME, AssistantAPI, llava_ecg, shown
from llava_ecg.eval.scorers import Scores
from llava_ecg.eval.tasks import EvalTask, Item, chosen

__all__ = ["NAME", "Outcome", "TASKS", "fixed", "legacy", "llava_ecg", "pages", "run"]


@solver
def pages() -> Solver:
    """Shows a model of another provider the page of each ECG; ours reads the signal itself."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if not isinstance(get_model().api, AssistantAPI):
            state.messages = [shown(each) if isinstance(each, ChatMessageUser) else each for each in state.messages]
        return state

    return solve


@metric(scores="unreduced")
def figures() -> Metric:
    """All figures of a task: each metric with its interval, by chance, by majority, and the unparsed."""

    def compute(scores: list[SampleScore]) -> Any:
        return flat(scored(scores)) if scores else {}  # it is asked before there is any, too

    return compute


@metric(scores="unreduced")
def figures_legacy() -> Metric:
    """The figures of the public code."""

    def compute(scores: list[SampleScore]) -> Any:
        if not scores:
            return {}
        task, items, told = _rows(scores)
        return task.scores_legacy(items, [each["text"] for each in told])

    return compute


@scorer(metrics=[figures()])
def fixed() -> Scorer:
    """Scores without the faults of the public code; an answer that can't be read is wrong, and unparsed."""

    async def score(state: TaskState, target: Target) -> Score:
        task, item = _of(state.metadata)
        text = state.output.completion
        said = task.said(item, text)
        told = None if said is None else sorted(said)
        return Score(
            value="C" if said == frozenset(item.truth) else "I",
            answer="(unparsed)" if told is None else ", ".join(told),
            explanation=text,
            metadata={**state.metadata, "said": told, "text": text},
        )

    return score


@scorer(metrics=[figures_legacy()])
def legacy() -> Scorer:
    """Scores as the public code does, faults included, for comparison with what is published."""

    async def score(state: TaskState, target: Target) -> Score:
        task, item = _of(state.metadata)
        text = state.output.completion
        alone = task.scores_legacy([item], [text])
        right = alone.get("accuracy", 1 - alone.get("hamming_loss", 0)) == 1
        return Score(value="C" if right else "I", explanation=text, metadata={**state.metadata, "text": text})

    return score


def declared(name: str) -> Callable[..., Task]:
    """A task of the socket as one of inspect_ai; one that was plugged in at run time is declared when it is asked
    for."""
    if name not in TASKS:
        TASKS[name] = _declared(name)
    return TASKS[name]


def _declared(name: str) -> Callable[..., Task]:
    """A task of the socket, as one of inspect_ai; its questions are read when it is made."""

    def make(data: str) -> Task:
        [found] = chosen(name)
        return Task(
            dataset=MemoryDataset([_sample(found, item) for item in found.items(Path(data))], name=name),
            solver=[pages(), generate()],
            scorer=[fixed(), legacy()],
            fail_on_error=False,
            metadata={"llava_ecg": __version__, "inspect_ai": inspect_ai.__version__, "note": found.note},
        )

    make.__name__, make.__doc__ = name, f"The task {name} of llava_ecg.plugins.tasks."
    return inspect_ai.task(name=name)(make)


TASKS = {name: _declared(name) for name in plugins.tasks}


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Attributes:
        task: the task.
        scores: of all its answers; None where none could be scored.
        kinds: of those of each kind of question, where there are several.
        legacy: figures of the public code.
        failed: questions without an answer, and why the first failed.
        questions: how many were asked.
        log: the file that holds all of it.
    """

    task: EvalTask
    scores: Scores | None
    kinds: Mapping[str, Scores]
    legacy: Mapping[str, float]
    failed: tuple[int, str]
    questions: int
    log: str


def run(
    tasks: Sequence[EvalTask],
    model: str,
    data: Path,
    out: Path,
    *,
    limit: int | None = None,
    config: Mapping[str, Any] | None = None,
    model_args: Mapping[str, Any] | None = None,
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

    Raises:
        InputError: a question file can't be read, the model can't be opened, or `out` holds a run of something else.
    """
    for task in tasks:
        if not task.items(data):
            raise InputError(f"the task {task.name} finds no question below {data}")
    asked = get_model(model, config=GenerateConfig(**(config or {})), memoize=False, **(model_args or {}))
    if isinstance(asked.api, AssistantAPI):
        _ = asked.api.assistant  # a model that can't be opened is one mistake and not one a question
    try:
        _, logs = eval_set(
            [declared(task.name)(data=str(data.absolute())) for task in tasks],
            log_dir=str(out),
            model=asked,
            limit=limit,
            fail_on_error=False,
            retry_attempts=0,
            retry_immediate=False,
            display="none",
            score_display=False,  # figures once, at the end
            log_level="error",
            log_buffer=1,  # each answer is in the log before a kill can take it
        )
    except PrerequisiteError as error:
        raise InputError(f"{out} can't be used for this run: {error.message}") from error
    by_name = {log.eval.task.rpartition("/")[2]: log for log in logs}
    return [_outcome(task, read_eval_log(by_name[task.name].location)) for task in tasks]


def scored(scores: Sequence[SampleScore]) -> Scores:
    """The figures of a task from the scores of its samples."""
    task, items, told = _rows(scores)
    return task.scores(items, _said(told))


def flat(scores: Scores) -> dict[str, float]:
    """As names and numbers, for a log."""
    found: dict[str, float | None] = {"unparsed": scores.unparsed}
    for name, figure in scores.figures.items():
        ends = {"": figure.value, "_low": figure.low, "_high": figure.high}
        found |= {f"{name}{end}": value for end, value in ends.items()}
        found |= {f"{name}_chance": scores.chance.get(name), f"{name}_majority": scores.majority.get(name)}
    return {name: float(value) for name, value in found.items() if value is not None}


def _sample(task: EvalTask, item: Item) -> Sample:
    blocks = [ContentData(data=dict(block)) for block in item.sources]
    return Sample(
        id=item.name,
        input=[ChatMessageUser(content=[*blocks, ContentText(text=task.put(item))])],
        target=", ".join(item.truth),
        metadata={"task": task.name, "item": item.to_dict()},
    )


def _of(metadata: Mapping[str, Any]) -> tuple[EvalTask, Item]:
    [task] = chosen(metadata["task"])
    return task, Item.of(metadata["item"])


def _rows(scores: Sequence[SampleScore]) -> tuple[EvalTask, list[Item], list[dict[str, Any]]]:
    told = [each.score.metadata or {} for each in scores]
    names = {each["task"] for each in told}
    if len(names) != 1:
        raise InputError(f"answers of one task are scored at a time, and these are of {', '.join(sorted(names))}")
    [task] = chosen(names.pop())
    return task, [Item.of(each["item"]) for each in told], told


def _said(told: Sequence[Mapping[str, Any]]) -> list[frozenset[str] | None]:
    return [None if each["said"] is None else frozenset(each["said"]) for each in told]


def _outcome(task: EvalTask, log: EvalLog) -> Outcome:
    if log.status != "success" or log.samples is None:
        raise InputError(f"{log.location}: the run of {task.name} ended as {log.status}; give the same command again")
    done = [each for each in log.samples if each.error is None]
    told = [each.scores["fixed"].metadata or {} for each in done if each.scores]
    items = [Item.of(each["item"]) for each in told]
    kinds = sorted({item.kind for item in items})
    broken = [each.error.message for each in log.samples if each.error is not None]

    def of(kind: str | None) -> Scores:
        rows = [(item, each) for item, each in zip(items, told, strict=True) if kind in (None, item.kind)]
        return task.scores([item for item, _ in rows], _said([each for _, each in rows]))

    return Outcome(
        task,
        of(None) if items else None,
        {kind: of(kind) for kind in kinds} if len(kinds) > 1 else {},
        task.scores_legacy(items, [each["text"] for each in told]),
        (len(broken), broken[0] if broken else ""),
        len(log.samples),
        log.location,
    )
