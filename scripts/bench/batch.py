"""Questions a second over many ECGs: `Assistant.ask_many` against a loop that asks one at a time with transformers'
generate, on the same weights, in one run.

Both do the whole of it: measuring, drawing the page, towers, answer, audit. The loop may be given fewer questions
(`--baseline`), since its rate does not hang on how many they are; the two take turns, a part of each at a time.

Hardware: 2 cores, 3 GB, 5 minutes.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/batch.py --json batch.json
"""

from __future__ import annotations

import time
from typing import Any

import standing
import torch

from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import Heart, simulate

TURNS = (Turn("user", "Interpret this ECG."),)


def questions(begin: int, end: int) -> list[Question]:
    """About simulated ECGs of different rates."""
    made = []
    for seed in range(begin, end):
        heart = Heart(rate_bpm=50 + 5 * (seed % 12))
        made.append(Question(TURNS, Case(simulate(heart, seed=seed)[0]), seed))
    return made


def loop(assistant: Assistant, asked: list[Question], decoding: Decoding) -> dict[int, Answer]:
    """One at a time, by transformers' generate."""
    found = {}
    for question in asked:
        prepared = assistant._prepare(question, decoding)
        assistant._generate(prepared)
        found[question.tag] = assistant.answer(prepared)
    return found


def batched(assistant: Assistant, asked: list[Question], decoding: Decoding, slots: int) -> dict[int, Answer]:
    """Several at a time, by the engine."""
    found = {}
    for question, answer in assistant.ask_many(iter(asked), decoding, slots=slots):
        if not isinstance(answer, Answer):
            raise answer
        found[question.tag] = answer
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = standing.parser(__doc__)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--baseline", type=int, default=64, help="how many of them the loop is asked")
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--parts", type=int, default=2, help="in how many turns")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    assistant = Assistant.open(arguments.model, device=arguments.device, dtype=arguments.dtype)
    decoding = Decoding(max_new_tokens=arguments.max_new_tokens)
    warm = Decoding(max_new_tokens=4)
    loop(assistant, questions(1000, 1001), warm)
    batched(assistant, questions(1000, 1002), warm, 2)
    seconds = {"transformers": 0.0, "engine": 0.0}
    answers: dict[str, dict[int, Answer]] = {"transformers": {}, "engine": {}}
    counts = {"transformers": arguments.baseline, "engine": arguments.questions}
    for part in range(arguments.parts):
        for name, whole in counts.items():
            begin, end = (whole * at // arguments.parts for at in (part, part + 1))
            asked = questions(begin, end)
            started = time.perf_counter()
            more = (arguments.batch,) if name == "engine" else ()
            way: Any = batched if name == "engine" else loop
            answers[name] |= way(assistant, asked, decoding, *more)
            seconds[name] += time.perf_counter() - started
    rates = {name: counts[name] / seconds[name] for name in counts}
    both = answers["transformers"].keys() & answers["engine"].keys()
    found = standing.standing(arguments) | {
        "threads": arguments.threads,
        "questions": counts,
        "batch": arguments.batch,
        "new_tokens": {
            name: round(sum(answer.tokens["new"] for answer in of.values()) / len(of), 1)
            for name, of in answers.items()
        },
        "questions_per_minute": {name: round(60 * rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["engine"] / rates["transformers"], 2),
        "same_text": sum(answers["transformers"][each].text == answers["engine"][each].text for each in both),
        "compared": len(both),
    }
    standing.tell(found, arguments.json)


if __name__ == "__main__":
    main()
