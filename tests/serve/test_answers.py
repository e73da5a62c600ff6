"""Answers over HTTP are those of the assistant, alone and beside others, whole and streamed, by OpenAI's own client."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from llava_ecg.assistant import Answer, Asked, Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.serve.data_urls import Attachment
from llava_ecg.serve.service import Ticket
from llava_ecg.serve.wire import Wanted
from llava_ecg.serve.worker import Job
from llava_ecg.terminal import RESEARCH_USE
from tests.serve.running import NAME, Running, asking, file_part, packed, serving
from tests.test_assistant import folder


def client(running: Running, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.address}/v1", api_key=key, max_retries=0)


def alone(assistant: Assistant, recording: Recording, turns: Any = "Rate?", **decoding: Any) -> Answer:
    said = [Turn("user", turns)] if isinstance(turns, str) else turns
    return assistant.ask(said, Case(recording), Decoding(**{"max_new_tokens": 12} | decoding))


def test_an_answer_is_the_assistants(running: Running, assistant: Assistant, recordings: list[Recording]) -> None:
    given: Any = asking(file_part("a.npz", packed(recordings[0])))
    found = client(running).chat.completions.create(**given)
    wanted = alone(assistant, recordings[0])
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (wanted.text, "length")
    assert found.choices[0].message.role == "assistant" and found.id.startswith("chatcmpl-") and found.model == NAME
    assert found.usage is not None and found.usage.total_tokens == wanted.tokens["prompt"] + 12
    assert wanted.shown is not None
    beside = {"notes": list(wanted.notes), "shown": {"from_s": wanted.shown[0], "to_s": wanted.shown[1]}}
    assert found.model_extra is not None
    assert found.model_extra["llava_ecg"] == beside
    other: Any = asking(file_part("a.npz", packed(recordings[1])))
    assert client(running).chat.completions.create(**other).choices[0].message.content != wanted.text


@pytest.mark.parametrize(
    ("given", "decoding"),
    [
        ({"temperature": 1.5, "seed": 7}, {"temperature": 1.5, "seed": 7}),
        ({"temperature": 1.5, "seed": 8, "top_p": 0.5}, {"temperature": 1.5, "seed": 8, "top_p": 0.5}),
        ({"temperature": 2.0, "top_k": 3, "repetition_penalty": 1.5, "max_completion_tokens": 5}, None),
        ({"max_tokens": 3}, {"max_new_tokens": 3}),
    ],
)
def test_what_chooses_the_answer(
    given: Any, decoding: Any, running: Running, assistant: Assistant, recordings: list[Recording]
) -> None:
    if decoding is None:
        decoding = {"temperature": 2.0, "top_k": 3, "repetition_penalty": 1.5, "max_new_tokens": 5}
    plain = running.post(asking(file_part("a.npz", packed(recordings[2])))).json()
    found = running.post(asking(file_part("a.npz", packed(recordings[2])), **given)).json()
    text = found["choices"][0]["message"]["content"]
    assert text == alone(assistant, recordings[2], **decoding).text != plain["choices"][0]["message"]["content"]


def test_a_streamed_answer_is_the_whole_one(
    running: Running, assistant: Assistant, recordings: list[Recording]
) -> None:
    given: Any = asking(file_part("a.npz", packed(recordings[3])), stream=True, stream_options={"include_usage": True})
    chunks = list(client(running).chat.completions.create(**given))
    *pieces, last = chunks
    wanted = alone(assistant, recordings[3])
    texts = [piece.choices[0].delta.content or "" for piece in pieces]
    assert "".join(texts) == wanted.text and len(list(filter(None, texts))) > 1
    assert [piece.choices[0].finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert pieces[0].choices[0].delta.role == "assistant"
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 12
    assert pieces[-1].model_extra is not None and "notes" in pieces[-1].model_extra["llava_ecg"]
    raw = running.post(given | {"stream_options": None}).text
    assert raw.endswith("data: [DONE]\n\n") and '"usage"' not in raw


def test_a_stop_text_ends_it_whole_and_streamed(
    running: Running, assistant: Assistant, recordings: list[Recording]
) -> None:
    text = alone(assistant, recordings[0], max_new_tokens=40).text
    stop, never = text[6:8], "\x01never"
    given = asking(file_part("a.npz", packed(recordings[0])), stop=[never, stop], max_tokens=40)
    found = running.post(given).json()["choices"][0]
    wanted = text[: text.index(stop)].strip()
    assert (found["message"]["content"], found["finish_reason"]) == (wanted, "stop")
    told: Any = given | {"stream": True}
    chunks = list(client(running).chat.completions.create(**told))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_conversation_goes_on(running: Running, assistant: Assistant, recordings: list[Recording]) -> None:
    part = file_part("a.npz", packed(recordings[1]))
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [part]},
        {"role": "user", "content": [{"type": "text", "text": "Rate?"}]},
        {"role": "assistant", "content": "72 bpm", "refusal": None, "tool_calls": []},
        {"role": "user", "content": "Axis?"},
    ]
    turns = [Turn("user", "Be brief.\n\nRate?"), Turn("assistant", "72 bpm"), Turn("user", "Axis?")]
    wanted = alone(assistant, recordings[1], turns)
    found = running.post({"model": NAME, "messages": messages}).json()
    assert found["choices"][0]["message"]["content"] == wanted.text
    messages[-1] = {"role": "user", "content": [part, {"type": "text", "text": "Axis?"}]}
    again = running.post({"model": NAME, "messages": messages}).json()
    assert again["usage"] == found["usage"], "the same ECG again is the same one, and not shown twice"
    assert again["choices"][0]["message"]["content"] == wanted.text


def test_a_model_of_images_says_which_part_its_page_shows(tmp_path: Path, letters: Any) -> None:
    """No note of a tower does: the page is drawn of the beginning."""
    seer = Assistant.open(folder(tmp_path, letters, ("image",)), device="cpu")
    long, _ = simulate(Heart(rate_bpm=70), seed=4, seconds=25.0)
    with serving(seer) as running:
        given = asking(file_part("a.npz", packed(long)))
        said = running.post(given).json()["llava_ecg"]
        last = json.loads(running.post(given | {"stream": True}).text.split("data: ")[-2])["llava_ecg"]
    assert said["shown"] == last["shown"]
    assert said["shown"]["from_s"] == 0
    assert 9 < said["shown"]["to_s"] < 11


def test_the_audit_comes_where_it_is_asked_for(
    running: Running, assistant: Assistant, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = asking(file_part("a.npz", packed(recordings[0])))
    assert "audit" not in running.post(given).json()["llava_ecg"]
    audit = running.post(given | {"audit": True}).json()["llava_ecg"]["audit"]
    wanted = alone(assistant, recordings[0]).audit
    assert wanted is not None and audit == json.loads(json.dumps(wanted.to_dict()))
    assert set(audit) >= {"counts", "verdicts"}
    streamed = running.post(given | {"audit": True, "stream": True}).text
    last = json.loads(streamed.split("data: ")[-2])
    assert last["llava_ecg"]["audit"] == audit


def test_forty_clients_at_once_each_get_their_own(
    running: Running, assistant: Assistant, recordings: list[Recording]
) -> None:
    """Each client several questions of several lengths, seeds and ways; no answer is another's."""
    cases = []
    for number in range(40):
        more = {"max_new_tokens": 5 + number % 9, "temperature": (number % 3) * 0.8, "seed": number}
        recording, text = recordings[number % len(recordings)], f"Question {number % 7}?"
        cases.append((recording, text, more, alone(assistant, recording, text, **more).text))
    parts = {id(recording): file_part("a.npz", packed(recording)) for recording in recordings}

    async def one(asked: openai.AsyncOpenAI, number: int) -> tuple[int, str]:
        recording, text, more, _ = cases[number % len(cases)]
        sent = {"max_tokens": more["max_new_tokens"], "temperature": more["temperature"], "seed": more["seed"]}
        given: Any = asking(parts[id(recording)], text=text, **sent)
        if number % 2:
            stream = await asked.chat.completions.create(**given, stream=True)
            return number, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        found = await asked.chat.completions.create(**given)
        return number, found.choices[0].message.content or ""

    async def everybody() -> list[tuple[int, str]]:
        async with openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0) as asked:

            async def client(first: int) -> list[tuple[int, str]]:
                return [await one(asked, first + 41 * turn) for turn in range(3)]

            found = await asyncio.gather(*(client(first) for first in range(40)))
        return [each for of in found for each in of]

    answers = asyncio.run(everybody())
    assert len(answers) == 120 and len({text for *_, text in cases}) > 30
    assert [number for number, text in answers if text != cases[number % len(cases)][3]] == []
    running.waits_for(lambda: running.service.tickets == 0 == running.service.held)

    def left() -> Counter[str]:
        gc.collect()
        kinds = (Job, Ticket, Asked, Attachment, Wanted)
        return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in kinds)

    # of 120 requests nothing is left but the last ones, in the hands of threads that wait for the next
    running.waits_for(lambda: left() <= Counter(Job=4, Asked=4))


def test_models_health_and_metrics(running: Running) -> None:
    listed = client(running).models.list().data
    assert [model.id for model in listed] == [NAME] and RESEARCH_USE in str(listed[0].model_extra)
    assert client(running).models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError, match="is not served here; this is tiny"):
        client(running).models.retrieve("gpt-9")
    health = running.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert health.headers["x-llava-ecg-notice"] == RESEARCH_USE
    before = numbers(running)
    given = asking(file_part("a.npz", packed_of(1)), max_tokens=7)
    used = running.post(given).json()["usage"]
    after = numbers(running)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown['llava_ecg_tokens_total{kind="new"}'] == 7
    assert grown['llava_ecg_tokens_total{kind="prompt"}'] == used["prompt_tokens"]
    assert grown['llava_ecg_requests_total{route="/v1/chat/completions",status="200"}'] == 1
    assert grown["llava_ecg_request_seconds_count"] == 1 == grown['llava_ecg_request_seconds_bucket{le="300"}']
    assert after["llava_ecg_slots"] == 4 and after["llava_ecg_waiting"] == 0
    assert after["process_resident_memory_bytes"] > 1e7


def numbers(running: Running) -> dict[str, float]:
    lines = running.get("/metrics").text.splitlines()
    rows = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def packed_of(seed: int) -> bytes:
    from llava_ecg.ecg.simulate import simulate

    return packed(simulate(seed=seed)[0])


def test_what_is_read_beside_the_file(running: Running, assistant: Assistant, recordings: list[Recording]) -> None:
    rows = "\n".join(",".join(f"{value:.4f}" for value in column) for column in recordings[0].signal.T)
    text = f"{','.join(recordings[0].leads)}\n{rows}\n".encode()
    refused = running.post(asking(file_part("a.csv", text))).json()["error"]
    assert refused["code"] == "unreadable_input" and '"rate": 500' in refused["message"]
    assert "a.csv does not say" in refused["message"] and "/" not in refused["message"].replace("mV/", "")
    found = running.post(asking(file_part("a.csv", text, rate=500, unit="mV")))
    assert found.status_code == 200, found.text
    rounded = Recording(np.round(recordings[0].signal, 4), 500.0, recordings[0].leads)
    assert found.json()["choices"][0]["message"]["content"] == alone(assistant, rounded).text
