"""`llava-ecg serve` under load: many clients at once on this machine, each answer held against its own single run.

Some clients hang up in the midst of a stream, and some send what is no JSON; neither may harm the others. Without
`--model` a tiny model on random weights is made, whose answers hang on the ECG, the question and the seed, so an answer
that is another's shows.

Hardware: 2 cores, 3 GB, 2 minutes.

    OMP_NUM_THREADS=1 python scripts/bench/serve.py --clients 200 --seconds 60 --json serve.json
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import standing
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llava_ecg.assistant import Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.streams import StreamConfig

STEP_SECONDS = 2.0
TEXT = {
    "model_type": "llama",
    "vocab_size": 98,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "eos_token_id": 97,
}


def random_model(folder: Path) -> Path:
    """A model of two layers that sees signals and speaks in letters."""
    letters = {chr(code): number for number, code in enumerate(range(32, 127))} | {"\n": 95, "[UNK]": 96, "</s>": 97}
    spelling = Tokenizer(models.WordLevel(letters, unk_token="[UNK]"))
    spelling.pre_tokenizer = pre_tokenizers.Split(pattern="", behavior="isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelling, unk_token="[UNK]", pad_token="[UNK]")
    torch.manual_seed(4)
    ecg = StreamConfig("ecg_coca", {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}, "linear", None)
    model = LlavaEcgForCausalLM(LlavaEcgConfig(TEXT, {"ecg": ecg}, template="v1", derive=False))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1:
                value.mul_(30 if name.startswith("projectors") else 6)
    save_checkpoint(model, tokenizer, folder)
    return folder


@dataclass(frozen=True)
class Asked:
    """A question, how it is sent (by OpenAI's client, and as bytes, whole and streamed), and the answer that it has to
    get."""

    body: dict[str, Any]
    whole: bytes
    streamed: bytes
    answer: str
    finished: str


def questions(model: Path | str, name: str, count: int, tokens: int) -> list[Asked]:
    """About several hearts, in several ways, each answered alone."""
    assistant = Assistant(Assistant.open(model, device="cpu").checkpoint, reuse=False)
    hearts = [simulate(Heart(rate_bpm=50 + 8 * seed), seed=seed)[0] for seed in range(10)]
    parts = [_part(each) for each in hearts]
    made = []
    for number in range(count):
        text, which = f"Question {number % 7}?", number % len(hearts)
        decoding = Decoding(temperature=number % 3 * 0.7, seed=number, max_new_tokens=tokens // 2 + number % tokens)
        answer = assistant.ask([Turn("user", text)], Case(hearts[which]), decoding)
        body = {
            "messages": [{"role": "user", "content": [parts[which], {"type": "text", "text": text}]}],
            "temperature": decoding.temperature,
            "seed": number,
            "max_tokens": decoding.max_new_tokens,
        }
        named = {"model": name} | body
        sent = json.dumps(named).encode(), json.dumps(named | {"stream": True}).encode()
        made.append(Asked(body, *sent, answer.text, answer.finished))
    return made


def _part(recording: Recording) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, signal=recording.signal, rate=recording.rate, unit="mV", leads=recording.leads)
    data = f"data:application/octet-stream;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"type": "file", "file": {"filename": "ecg.npz", "file_data": data}}


@dataclass
class Load:
    """What is sent to a server, and what came of it."""

    address: str
    model: str
    asked: list[Asked]
    until: float = 0.0
    sent: int = 0
    right: int = 0
    wrong: list[int] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    hung_up: int = 0
    turned_away: int = 0
    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    async def client(self, client: openai.AsyncOpenAI, plain: httpx.AsyncClient) -> None:
        """One client: question after question until the time is over."""
        while time.monotonic() < self.until:
            number, self.sent = self.sent, self.sent + 1
            asked = self.asked[number * 31 % len(self.asked)]
            try:
                if number % 25 == 24:
                    found = await plain.post(PATH, content=b'{"model": ', headers=JSON)
                    self.turned_away += found.status_code == 400
                elif number % 20 == 19:
                    await self._hang_up(client, asked)
                else:
                    await self._one(client, plain, number, asked)
            except Exception as error:  # whatever comes is counted, and none may come
                self.failed[f"{type(error).__name__}: {str(error)[:120]}"] += 1

    async def _one(self, client: openai.AsyncOpenAI, plain: httpx.AsyncClient, number: int, asked: Asked) -> None:
        began = time.perf_counter()
        if number % 8 > 1:  # most without OpenAI's client, which takes more of the machine than the server
            text, finished = await self._plain(plain, asked, began, streamed=bool(number % 2))
        else:
            text, finished = await self._by_openai(client, asked, streamed=bool(number % 2))
        self.seconds.append(time.perf_counter() - began)
        if (text, finished) == (asked.answer, asked.finished):
            self.right += 1
        else:
            self.wrong.append(number)

    async def _by_openai(self, client: openai.AsyncOpenAI, asked: Asked, *, streamed: bool) -> tuple[str, str | None]:
        create: Any = client.chat.completions.create
        if not streamed:
            found = await create(model=self.model, **asked.body)
            return found.choices[0].message.content, found.choices[0].finish_reason
        text, finished = "", None
        async for chunk in await create(model=self.model, stream=True, **asked.body):
            text += chunk.choices[0].delta.content or ""
            finished = chunk.choices[0].finish_reason or finished
        return text, finished

    async def _plain(
        self, plain: httpx.AsyncClient, asked: Asked, began: float, *, streamed: bool
    ) -> tuple[str, str | None]:
        if not streamed:
            found = await plain.post(PATH, content=asked.whole, headers=JSON)
            choice = found.raise_for_status().json()["choices"][0]
            return choice["message"]["content"], choice["finish_reason"]
        text, finished = "", None
        async with plain.stream("POST", PATH, content=asked.streamed, headers=JSON) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                choice = json.loads(line.removeprefix("data: "))["choices"][0]
                if not text and choice["delta"].get("content"):
                    self.first.append(time.perf_counter() - began)
                text += choice["delta"].get("content", "")
                finished = choice["finish_reason"] or finished
        return text, finished

    async def _hang_up(self, client: openai.AsyncOpenAI, asked: Asked) -> None:
        create: Any = client.chat.completions.create
        stream = await create(model=self.model, stream=True, **asked.body)
        async for _ in stream:
            break
        await stream.close()
        self.hung_up += 1


PATH = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


async def driven(load: Load, clients: int, seconds: float) -> dict[str, Any]:
    """Send it all; memory of the server, in MiB, before, every two seconds with how many answers there were by then,
    and behind."""
    limits = httpx.Limits(max_connections=clients + 20, max_keepalive_connections=clients + 20)
    told = ("llava_ecg_request_seconds_sum", "llava_ecg_request_seconds_count")
    async with (
        httpx.AsyncClient(base_url=load.address, timeout=300, limits=limits) as plain,
        openai.AsyncOpenAI(base_url=f"{load.address}/v1", api_key="none", max_retries=0, http_client=plain) as client,
    ):
        memory: dict[str, Any] = {"before": await resident(plain)}
        load.until = time.monotonic() + seconds
        at_work = [asyncio.create_task(load.client(client, plain)) for _ in range(clients)]
        course, answers = [], []
        while time.monotonic() < load.until:
            await asyncio.sleep(min(STEP_SECONDS, seconds / 4))
            course.append(await resident(plain))
            answers.append(load.right)
        memory |= {"course": course, "answers": answers}
        await asyncio.gather(*at_work)
        await asyncio.sleep(1)
        memory["end"] = await resident(plain)
        health = (await plain.get("/health")).json()
        took, count = [await number_of(plain, name) for name in told]
        mean = round(took / max(1, count), 3)
        return {"memory_mib": memory, "seconds_in_the_server": mean, "health": health["status"]}


async def resident(client: httpx.AsyncClient) -> float:
    """What the server says it takes, MiB."""
    return round(await number_of(client, "process_resident_memory_bytes") / 2**20, 1)


async def number_of(client: httpx.AsyncClient, name: str) -> float:
    """One of the server's metrics."""
    told = (await client.get("/metrics")).text
    found = re.search(rf"^{name} (\S+)", told, re.MULTILINE)
    return float(found[1]) if found else float("nan")


def shares(seconds: list[float]) -> dict[str, float]:
    """Median and the slow ends, s."""
    if not seconds:
        return {}
    return {f"p{share}": round(float(np.percentile(seconds, share)), 3) for share in (50, 95, 99, 100)}


def main() -> int:
    """Measure and print JSON; 1 where an answer was wrong, or anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint; a tiny one on random weights is made where none is given")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--questions", type=int, default=60, help="different ones")
    parser.add_argument("--tokens", type=int, default=30, help="of an answer, half of it up to one and a half times it")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or random_model(Path(folder) / "tiny")
        name = Path(model).name
        asked = questions(model, name, arguments.questions, arguments.tokens)
        words = ["serve", "--model", model, "--port", 0, "--batch", arguments.batch, "--queue", 4 * arguments.clients]
        program = [sys.executable, "-m", "llava_ecg", *map(str, words)]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        with subprocess.Popen(program, env=os.environ, **pipes) as process:
            try:
                told = process.stdout.readline().split()
                load = Load(told[3].rstrip(",").removesuffix("/v1"), told[0], asked)
                began = time.monotonic()
                found = asyncio.run(driven(load, arguments.clients, arguments.seconds))
                took = time.monotonic() - began
                process.send_signal(signal.SIGTERM)
                ending = time.monotonic()
                code = process.wait(120)
                stopped = round(time.monotonic() - ending, 2)
            finally:
                process.kill()
    result = {
        "model": arguments.model or "random, 2 layers of 32",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, clients on the same",
        "torch": torch.__version__,
        "clients": arguments.clients,
        "seconds": round(took, 1),
        "slots": arguments.batch,
        "different_questions": len(asked),
        "right": load.right,
        "wrong": len(load.wrong),
        "failed": dict(load.failed),
        "hung_up": load.hung_up,
        "malformed_and_refused": load.turned_away,
        "requests_per_second": round(load.right / took, 1),
        "request_seconds": shares(load.seconds),
        "first_token_seconds": shares(load.first),
        **found,
        "exit_code": code,
        "stop_seconds": stopped,
    }
    standing.tell(result, arguments.json)
    return int(bool(load.wrong or load.failed or code or found["health"] != "ok"))


if __name__ == "__main__":
    raise SystemExit(main())
