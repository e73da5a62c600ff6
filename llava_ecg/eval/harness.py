"""The tasks of `llava_ecg.plugins.tasks` as tasks of inspect_ai, with two scorers; `llava_ecg.eval.runs` runs them.

inspect_ai finds this module, and with it the provider, by an entry point of its own group. Each sample carries its
question as plain JSON, so a log can be scored again without the model; without the data too, but where answers are held
against the signal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    ContentData,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
    get_model,
    model_roles,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from llava_ecg import plugins
from llava_ecg.errors import InputError
from llava_ecg.eval import fingerprint
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.judging import SECONDS, Judge, judged
from llava_ecg.eval.provider import NAME, AssistantAPI, llava_ecg, shown
from llava_ecg.eval.recorded import texts
from llava_ecg.eval.rubrics import Rubric
from llava_ecg.eval.scorers import Scores
from llava_ecg.eval.tasks import EvalTask, chosen

__all__ = ["GRADER", "NAME", "TASKS", "declared", "fixed", "legacy", "llava_ecg", "pages", "recorded", "told_of"]
GRADER = "grader"
"""The role of judges."""
LIKELIHOODS = "likelihoods"


@solver
def pages() -> Solver:
    """Shows a model of another provider the page of each ECG; ours reads the signal itself."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if not isinstance(get_model().api, AssistantAPI):
            state.messages = [shown(each) if isinstance(each, ChatMessageUser) else each for each in state.messages]
        return state

    return solve


@solver
def label_likelihoods() -> Solver:
    """Asks our model how likely each label is, before it answers; the true AUC is made of that."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        task, _ = _of(state.metadata)
        api = get_model().api
        if not isinstance(api, AssistantAPI):
            raise InputError(
                "likelihoods of labels can be had of checkpoints that are opened here, and of no other model"
            )
        if task.marking.named:
            state.metadata[LIKELIHOODS] = await api.likelihoods(state.messages, task.marking.named)
        return state

    return solve


@solver
def more_turns() -> Solver:
    """Puts the further questions of a conversation, each after the answer to the one before."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for turn in _of(state.metadata)[1].turns:
            state.messages.append(ChatMessageUser(content=turn))
            state = await generate(state)
        return state

    return solve


@solver
def recorded(path: str, model: str) -> Solver:
    """Gives the answers of a file, in place of a model."""
    answers = texts(Path(path))

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        text = answers.get(str(state.sample_id))
        if text is None:
            raise InputError(f"{path} has no answer to this question")
        state.output = ModelOutput.from_content(model, text, stop_reason="stop")
        state.messages.append(state.output.message)
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
        return task.scores_legacy(items, told)

    return compute


@scorer(metrics=[figures()])
def fixed(seconds: float = SECONDS) -> Scorer:
    """Scores without the faults of the public code; an answer that can't be read is wrong, and unparsed.

    Args:
        seconds: a judge that has said nothing by then has not answered.
    """

    async def score(state: TaskState, target: Target) -> Score:
        task, item = _of(state.metadata)
        answered = _answered(state)
        if task.marking.by_text and not item.truth:
            raise InputError(f"the right answer of this question can't be read: {item.reference[:80]!r}")
        if task.marking.rubric is None:
            told = await to_thread.run_sync(task.marking.read, item, answered)
        else:
            rubric = task.marking.rubric
            told = await judged(rubric, item, answered, _judges(rubric), seconds=seconds)
        return Score(
            value="C" if task.marking.right(item, told) else "I",
            answer=_short(told),
            explanation=told.text,
            metadata={**state.metadata, "said": told.said, "text": told.text, "more": dict(told.more)},
        )

    return score


@scorer(metrics=[figures_legacy()])
def legacy() -> Scorer:
    """Scores as the public code does, faults included, for comparison with what is published."""

    async def score(state: TaskState, target: Target) -> Score:
        task, item = _of(state.metadata)
        text = state.output.completion
        alone = task.scores_legacy([item], [Told(text, None)])
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

    def make(data: str, likelihoods: bool = False, judge_seconds: float = SECONDS) -> Task:
        [found] = chosen(name)
        items = found.items(Path(data))
        asked = [label_likelihoods()] if likelihoods else []
        public = [legacy()] if found.marking.by_text else []
        facts = {
            "versions": fingerprint.versions(),
            "data_fingerprint": fingerprint.of_data(items),
            "records_fingerprint": fingerprint.of_records(items),
            "note": found.note,
        }
        if found.marking.rubric is not None:
            facts["rubric"] = found.marking.rubric.told
        return Task(
            dataset=MemoryDataset([_sample(found, item) for item in items], name=name),
            solver=[pages(), *asked, generate(), more_turns()],
            scorer=[fixed(judge_seconds), *public],
            fail_on_error=False,
            metadata=facts,
        )

    make.__name__, make.__doc__ = name, f"The task {name} of llava_ecg.plugins.tasks."
    return task(name=name)(make)


TASKS = {name: _declared(name) for name in plugins.tasks}


def scored(scores: Sequence[SampleScore]) -> Scores:
    """The figures of a task from the scores of its samples."""
    task, items, told = _rows(scores)
    return task.scores(items, told)


def flat(scores: Scores) -> dict[str, float]:
    """As names and numbers, for a log."""
    found: dict[str, float | None] = {"unparsed": scores.unparsed}
    for name, figure in scores.figures.items():
        ends = {"": figure.value, "_low": figure.low, "_high": figure.high}
        found |= {f"{name}{end}": value for end, value in ends.items()}
        found |= {f"{name}_chance": scores.chance.get(name), f"{name}_majority": scores.majority.get(name)}
    found |= {f"{name}_unscored": share for name, share in scores.unscored.items()}
    for table in scores.tables.values():
        found |= {f"{row}, {column}": value for row, cells in table.items() for column, value in cells.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def told_of(metadata: Mapping[str, Any]) -> tuple[str, Item, Told]:
    """Name of the task, question, and answer as it was read, from the metadata of a `fixed` score."""
    told = Told(metadata["text"], metadata.get("said"), metadata.get("more", {}))
    return metadata["task"], Item.of(metadata["item"]), told


def _sample(task: EvalTask, item: Item) -> Sample:
    blocks = [ContentData(data=dict(block)) for block in item.sources]
    return Sample(
        id=item.name,
        input=[ChatMessageUser(content=[*blocks, ContentText(text=task.put(item))])],
        target=", ".join(item.truth) or item.reference,
        metadata={"task": task.name, "item": item.to_dict()},
    )


def _of(metadata: Mapping[str, Any]) -> tuple[EvalTask, Item]:
    [task] = chosen(metadata["task"])
    return task, Item.of(metadata["item"])


def _answered(state: TaskState) -> Answered:
    texts = [each.text for each in state.messages if isinstance(each, ChatMessageAssistant)]
    told = (state.output.metadata or {}).get("shown")
    return Answered(
        state.output.completion,
        tuple(texts),
        whole=state.output.stop_reason == "stop",
        shown=None if told is None else (float(told[0]), float(told[1])),
        likelihoods=state.metadata.get(LIKELIHOODS),
    )


def _judges(rubric: Rubric) -> list[Judge]:
    """The models in the role of the grader, each as a function of the prompt; at temperature 0, by the schema."""
    named = model_roles().get(GRADER)
    models = named if isinstance(named, list) else [named] if named is not None else []
    if not models:
        raise InputError(
            f"the rubric {rubric.told} needs a judge: --judge PROVIDER/MODEL, or --model-role {GRADER}=... of inspect"
        )
    schema = ResponseSchema.model_validate({"name": rubric.name, "json_schema": rubric.schema()})
    config = GenerateConfig(temperature=0, seed=0, response_schema=schema)

    def judge(model: Model) -> Judge:
        async def ask(prompt: str) -> str:
            return (await model.generate([ChatMessageUser(content=prompt)], config=config)).completion

        return ask

    return [judge(model) for model in models]


def _rows(scores: Sequence[SampleScore]) -> tuple[EvalTask, list[Item], list[Told]]:
    rows = [told_of(each.score.metadata or {}) for each in scores]
    names = {name for name, _, _ in rows}
    if len(names) != 1:
        raise InputError(f"answers of one task are scored at a time, and these are of {', '.join(sorted(names))}")
    [task] = chosen(names.pop())
    return task, [item for _, item, _ in rows], [told for _, _, told in rows]


def _short(told: Told) -> str:
    """What was read of an answer, for a log's list of samples."""
    if told.said is None:
        return "(unparsed)"
    if isinstance(told.said, dict):
        return ", ".join(f"{name} {value}" for name, value in told.said.items())
    return ", ".join(map(str, told.said))
