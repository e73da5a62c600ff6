"""Tokens a second of one answer: the engine against transformers' generate on the same weights, in turns in one run.

Both are given the same embeddings (a simulated ECG and its page in front of a question), greedy, with no token that
ends the answer; what is timed is the time from the first token to the last. The tokens are compared too.

Hardware: 2 cores, 2 GB, 2 minutes; with `--dtype bfloat16 --device cuda` one GPU.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/decode.py --json decode.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import standing
import torch
from transformers.generation.streamers import BaseStreamer

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import simulate
from llava_ecg.engine.run import Engine, Request

NO_TOKEN = 10**7


class Clock(BaseStreamer):
    """When each token came."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """New ids."""
        for one in value.flatten().tolist():
            self.take(one)

    def take(self, token: int) -> bool:
        """A new id, as the engine gives it."""
        self.ids.append(token)
        self.times.append(time.perf_counter())
        return False

    def end(self) -> None:
        """No more."""

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (len(self.times) - 1) / (self.times[-1] - self.times[0])


def engine_way(model: Any, values: torch.Tensor, tokens: int) -> Clock:
    """Ours."""
    clock = Clock()
    list(Engine(model.language_model).run([Request(values[0], tokens, on_token=clock.take)]))
    return clock


def transformers_way(model: Any, values: torch.Tensor, tokens: int) -> Clock:
    """Theirs, in the way in which llava-ecg itself answered before it had an engine."""
    clock = Clock()
    model.generate(
        inputs_embeds=values,
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=[NO_TOKEN],
        pad_token_id=0,
        streamer=clock,
    )
    return clock


WAYS: dict[str, Callable[[Any, torch.Tensor, int], Clock]] = {"engine": engine_way, "transformers": transformers_way}


@torch.no_grad()
def prompt(assistant: Assistant) -> torch.Tensor:
    """Embeddings [1, S, D] of a question about a simulated ECG."""
    case = Case(simulate(seed=1)[0])
    sample, _ = assistant.processor.encode([Turn("user", "Interpret this ECG.")], case.sources())
    batch = pad([sample], 0)
    model = assistant.checkpoint.model
    streams = {
        name: {key: value.to(model.device) for key, value in of.items()} for name, of in batch["streams"].items()
    }
    found: torch.Tensor = model.embed(batch["input_ids"].to(model.device), batch["slots"].to(model.device), streams)
    return found


def measure(model: Any, values: torch.Tensor, threads: int, tokens: int, repeats: int) -> dict[str, Any]:
    """Each way once to warm up, then in turns."""
    torch.set_num_threads(threads)
    warm = {name: way(model, values, 8) for name, way in WAYS.items()}
    del warm
    clocks: dict[str, list[Clock]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, way in WAYS.items():
            clocks[name].append(way(model, values, tokens))
    rates = {name: [clock.rate for clock in of] for name, of in clocks.items()}
    first, second = (clocks[name][0].ids for name in WAYS)
    ratios = [one / other for one, other in zip(rates["engine"], rates["transformers"], strict=True)]
    return {
        "threads": threads,
        "tokens_per_second": {name: round(statistics.median(of), 2) for name, of in rates.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "same_tokens": first == second,
    }


def main() -> None:
    """Measure and print JSON."""
    parser = standing.parser(__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    arguments = parser.parse_args()
    assistant = Assistant.open(arguments.model, device=arguments.device, dtype=arguments.dtype)
    values = prompt(assistant)
    model = assistant.checkpoint.model
    found = standing.standing(arguments) | {
        "prompt": values.shape[1],
        "tokens": arguments.tokens,
        "runs": [measure(model, values, count, arguments.tokens, arguments.repeats) for count in arguments.threads],
    }
    standing.tell(found, arguments.json)


if __name__ == "__main__":
    main()
