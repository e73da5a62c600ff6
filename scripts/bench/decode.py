"""Tokens a second of one answer: the engine against transformers' generate on the same weights, in turns in one run.

Both are given the same embeddings (a simulated ECG and its page in front of a question), greedy, with no token that
ends the answer; what is timed is the time from the first token to the last. The tokens are compared too. The engine's
model may be quantised, that of transformers in another kind of number, and llama.cpp may run beside them
(`gguf_q8.py` makes a file for it).

Hardware: 2 cores, 2 GB, 2 minutes; with `--dtype bfloat16 --device cuda` one GPU.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/decode.py --json decode.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
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


class LlamaCpp:
    """llama.cpp on a GGUF of the same language model, on as many tokens of text: the speed alone, no ECG.

    Args:
        path: a GGUF file. xllamacpp must be installed, which is no dependency of this project.
        threads: that it computes with.
    """

    def __init__(self, path: Path, threads: int) -> None:
        import xllamacpp

        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.warmup = 2048, 1, True
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        self.server = xllamacpp.Server(settings)

    def __call__(self, places: int, tokens: int) -> float:
        """Tokens a second after a prompt of so many tokens."""
        ids = [1 + number % 900 for number in range(places)]
        asked = {"prompt": ids, "n_predict": tokens, "ignore_eos": True, "temperature": 0, "cache_prompt": False}
        answer = self.server.handle_completions(asked)
        if tokens != answer["timings"]["predicted_n"]:
            raise RuntimeError(f"llama.cpp made {answer['timings']['predicted_n']} tokens")
        return float(answer["timings"]["predicted_per_second"])


def measure(
    models: dict[str, Any], values: dict[str, torch.Tensor], threads: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Each way once to warm up, then in turns."""
    torch.set_num_threads(threads)
    for name, way in WAYS.items():
        way(models[name], values[name], 8)
    other = LlamaCpp(options.llama_cpp, threads) if options.llama_cpp else None
    clocks: dict[str, list[Clock]] = {name: [] for name in WAYS}
    rates: dict[str, list[float]] = {"llama.cpp": []} if other else {}
    for _ in range(options.repeats):
        for name, way in WAYS.items():
            clocks[name].append(way(models[name], values[name], options.tokens))
        if other:
            rates["llama.cpp"].append(other(values["engine"].shape[1], options.tokens))
    rates |= {name: [clock.rate for clock in of] for name, of in clocks.items()}
    first, second = (clocks[name][0].ids for name in WAYS)
    found: dict[str, Any] = {
        "threads": threads,
        "tokens_per_second": {name: round(statistics.median(of), 2) for name, of in rates.items()},
    }
    for name in rates.keys() - {"engine"}:
        ratios = [one / two for one, two in zip(rates["engine"], rates[name], strict=True)]
        found[f"ratio to {name}"] = round(statistics.median(ratios), 3)
        found[f"ratios to {name}"] = [round(ratio, 3) for ratio in ratios]
    alike = [one == two for one, two in zip(first, second, strict=True)]
    return found | {"first_tokens_alike": (*alike, False).index(False)}


def main() -> None:
    """Measure and print JSON."""
    parser = standing.parser(__doc__)
    parser.add_argument("--quantization", choices=("w8a8", "int8", "nf4"), help="of the engine's model")
    parser.add_argument("--baseline_dtype", choices=("float32", "bfloat16"), help="of transformers' (default: --dtype)")
    parser.add_argument("--llama_cpp", type=Path, metavar="GGUF", help="measure llama.cpp on this file too")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    arguments = parser.parse_args()
    opened = {
        "engine": {"dtype": arguments.dtype, "quantization": arguments.quantization},
        "transformers": {"dtype": arguments.baseline_dtype or arguments.dtype},
    }
    assistants = {
        name: Assistant.open(arguments.model, device=arguments.device, **settings) for name, settings in opened.items()
    }
    values = {name: prompt(assistant) for name, assistant in assistants.items()}
    models = {name: assistant.checkpoint.model for name, assistant in assistants.items()}
    found = standing.standing(arguments) | {
        "opened": opened,
        "prompt": values["engine"].shape[1],
        "tokens": arguments.tokens,
        "runs": [measure(models, values, count, arguments) for count in arguments.threads],
    }
    standing.tell(found, arguments.json)


if __name__ == "__main__":
    main()
