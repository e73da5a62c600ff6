"""Questions a second of `llava-ecg eval` on ECG-QA, against a loop that asks one at a time with transformers' generate,
as inspect_ai's own provider ``hf`` does; and which share of the evaluation's time is the harness's own.

All ways answer the same questions of the same checkpoint, from the files to the audited text, in turns:

- ``loop``: one at a time, transformers' generate, no harness.
- ``eval``: `llava_ecg.eval.runs.run`, that is inspect_ai with its logs and scores, a batch at a time.
- ``engine``: the same batches without any harness.

The harness's share is the part of ``eval`` in which no question is being answered: reading the questions, starting,
writing logs, scoring. The libraries of all ways, inspect_ai's too, are loaded before the clock runs, and each way
begins with an assistant of its own, which has read nothing yet.

Hardware: 2 cores, 3 GB, 10 minutes for 64 questions; best on an idle machine.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/evaluate.py --questions 64 --json evaluate.json
"""

from __future__ import annotations

import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.eval.items import Item
from llava_ecg.eval.sources import case
from llava_ecg.eval.tasks import EvalTask, chosen

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def main() -> None:
    """Measure and print JSON."""
    import standing

    parser = standing.parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with ecgqa and ptbxl")
    parser.add_argument("--task", default="ecgqa")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    opener = functools.partial(Assistant.open, arguments.model, device=arguments.device, dtype=arguments.dtype)
    [task] = chosen(arguments.task)
    found = measured(
        opener,
        task,
        arguments.data,
        questions=arguments.questions,
        batch=arguments.batch,
        rounds=arguments.rounds,
        tokens=arguments.max_new_tokens,
    )
    told = {"task": task.name, "batch": arguments.batch, "threads": arguments.threads}
    standing.tell({**standing.standing(arguments), **told, **found}, arguments.json)


def measured(
    opener: Callable[[], Assistant],
    task: EvalTask,
    data: Path,
    *,
    questions: int,
    batch: int,
    rounds: int,
    tokens: int,
) -> dict[str, Any]:
    """All ways in turns, each round from an assistant that is new.

    Returns:
        ``seconds`` of each way and round; ``questions_a_second`` over all rounds; ``eval_over_loop``, a ratio of these
        (target: at least 3); ``harness_percent`` (target: below 5) and ``eval_over_engine``, seconds over seconds; and
        how many answers of eval are the loop's, letter by letter.
    """
    items = task.items(data)[:questions]
    if len(items) < questions:
        raise SystemExit(f"the task {task.name} has {len(items)} questions below {data}, not {questions}")
    decoding = Decoding(max_new_tokens=tokens)
    _warm(opener(), task, data, items)
    ways = {
        "loop": lambda: looped(opener(), task, items, decoding),
        "eval": lambda: evaluated(opener(), task, data, len(items), batch, tokens),
        "engine": lambda: batched(opener(), task, items, decoding, batch),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    texts: dict[str, dict[str, str]] = {}
    busy = 0.0
    for turn in range(rounds):
        for name in ways if turn % 2 == 0 else reversed(ways):
            took, texts[name], answering = ways[name]()
            seconds[name].append(took)
            busy += answering if name == "eval" else 0.0
    whole = {name: sum(each) for name, each in seconds.items()}
    return {
        "questions": len(items),
        "rounds": rounds,
        "seconds": {name: [round(each, 2) for each in tried] for name, tried in seconds.items()},
        "questions_a_second": {name: round(len(items) * rounds / each, 3) for name, each in whole.items()},
        "eval_over_loop": round(whole["loop"] / whole["eval"], 2),
        "harness_percent": round(100 * (1 - busy / whole["eval"]), 1),
        "eval_over_engine": round(whole["eval"] / whole["engine"], 3),
        "same_answers": sum(texts["eval"].get(name) == text for name, text in texts["loop"].items()),
    }


Told = tuple[float, dict[str, str], float]
"""Seconds on the clock, name of the question -> its answer, and the seconds in which something was being answered."""


def asked_of(task: EvalTask, item: Item) -> Question:
    """The question as the provider makes it of the harness's messages."""
    return Question((Turn("user", task.put(item)),), case(item.sources), item.name)


def looped(assistant: Assistant, task: EvalTask, items: Sequence[Item], decoding: Decoding) -> Told:
    """One at a time, by transformers' generate."""
    begun, texts = time.perf_counter(), {}
    for item in items:
        prepared = assistant._prepare(asked_of(task, item), decoding)
        assistant._generate(prepared)
        texts[item.name] = assistant.answer(prepared).text
    took = time.perf_counter() - begun
    return took, texts, took


def batched(assistant: Assistant, task: EvalTask, items: Sequence[Item], decoding: Decoding, batch: int) -> Told:
    """Several at a time, by the engine."""
    begun, texts = time.perf_counter(), {}
    for question, answer in assistant.ask_many((asked_of(task, item) for item in items), decoding, slots=batch):
        if not isinstance(answer, Answer):
            raise answer
        texts[question.tag] = answer.text
    took = time.perf_counter() - begun
    return took, texts, took


def evaluated(assistant: Assistant, task: EvalTask, data: Path, count: int, batch: int, tokens: int) -> Told:
    """By the harness, logs and scores included."""
    from llava_ecg.eval.runs import run

    with tempfile.TemporaryDirectory() as folder, spans() as answering:
        begun = time.perf_counter()
        [outcome] = run(
            [task],
            "llava_ecg/bench",
            data,
            Path(folder) / "run",
            limit=count,
            config={"max_tokens": tokens},
            model_args={"opener": lambda *_, **__: assistant, "batch": batch},
        )
        took = time.perf_counter() - begun
    if outcome.failed[0]:
        raise SystemExit(f"{outcome.failed[0]} questions failed: {outcome.failed[1]}")
    texts = {item.name: told.text for item, told in zip(outcome.items, outcome.told, strict=True)}
    return took, texts, union(answering)


@contextmanager
def spans() -> Iterator[list[tuple[float, float]]]:
    """Begin and end of each answer that the provider gives meanwhile."""
    from llava_ecg.eval.provider import AssistantAPI

    found: list[tuple[float, float]] = []
    lock, own = threading.Lock(), AssistantAPI._ask

    def ask(self: AssistantAPI, *arguments: Any) -> Answer:
        begun = time.perf_counter()
        try:
            return own(self, *arguments)
        finally:
            with lock:
                found.append((begun, time.perf_counter()))

    with mock.patch.object(AssistantAPI, "_ask", ask):
        yield found


def union(found: Sequence[tuple[float, float]]) -> float:
    """The length of time that lies in at least one of these spans."""
    length, reached = 0.0, float("-inf")
    for begun, ended in sorted(found):
        length += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return length


def _warm(assistant: Assistant, task: EvalTask, data: Path, items: Sequence[Item]) -> None:
    """Libraries are loaded and kernels chosen before the clock runs."""
    looped(assistant, task, items[:1], Decoding(max_new_tokens=4))
    batched(assistant, task, items[:2], Decoding(max_new_tokens=4), 2)
    evaluated(assistant, task, data, min(2, len(items)), 2, 4)


if __name__ == "__main__":
    main()
