"""Eight questions on one ECG: against one question, and against reading everything anew for each.

Each round asks about an ECG that was not seen before, which is measured and drawn beforehand; the ways take turns, and
times are medians over the rounds. What is measured is `Assistant.ask_many`: preparing, towers, language model, audit.

Hardware: 2 cores, 3 GB, 2 minutes.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/reuse.py --json reuse.json
"""

from __future__ import annotations

import time
from statistics import median

import standing
import torch

from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import Heart, simulate

TEXTS = (
    "Is the rhythm regular?",
    "What is the heart rate?",
    "Is the QT interval prolonged?",
    "How long is the PR interval?",
    "Is there ST elevation?",
    "What is the axis of the heart?",
    "Is there a bundle branch block?",
    "Are there signs of hypertrophy?",
)


def case_of(seed: int) -> Case:
    """A simulated ECG, measured and drawn."""
    case = Case(simulate(Heart(rate_bpm=50 + 5 * (seed % 12)), seed=seed)[0])
    _ = case.measurements, case.page
    return case


def answers(assistant: Assistant, case: Case, texts: tuple[str, ...], decoding: Decoding) -> tuple[list[str], float]:
    """The answers in the order of the questions, and the seconds that they took."""
    questions = [Question((Turn("user", text),), case, number) for number, text in enumerate(texts)]
    found: dict[int, str] = {}
    started = time.perf_counter()
    for question, answer in assistant.ask_many(questions, decoding, slots=len(texts)):
        if not isinstance(answer, Answer):
            raise answer
        found[question.tag] = answer.text
    return [found[number] for number in range(len(texts))], time.perf_counter() - started


def main() -> None:
    """Measure and print JSON."""
    parser = standing.parser(__doc__)
    parser.add_argument("--max-new-tokens", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fast = Assistant.open(arguments.model, device=arguments.device, dtype=arguments.dtype)
    slow = Assistant(fast.checkpoint, fast.device, reuse=False)
    decoding = Decoding(max_new_tokens=arguments.max_new_tokens)
    # an ECG of its own for each way and round: none finds what another left
    ways = {"one": (fast, TEXTS[:1]), "eight": (fast, TEXTS), "eight_anew": (slow, TEXTS)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    same = compared = 0
    for number in range(arguments.rounds + 1):
        seed = 10 + 2 * number
        said = {}
        for name, (assistant, texts) in ways.items():
            case = case_of(seed + (name == "one"))
            said[name], took = answers(assistant, case, texts, decoding)
            if number:  # the first round warms up
                seconds[name].append(took)
        same += sum(one == other for one, other in zip(said["eight"], said["eight_anew"], strict=True))
        compared += len(TEXTS)
    medians = {name: median(each) for name, each in seconds.items()}
    found = standing.standing(arguments) | {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "max_new_tokens": arguments.max_new_tokens,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "eight_over_one": round(medians["eight"] / medians["one"], 2),
        "anew_over_eight": round(medians["eight_anew"] / medians["eight"], 2),
        "same_text": same,
        "compared": compared,
    }
    standing.tell(found, arguments.json)


if __name__ == "__main__":
    main()
