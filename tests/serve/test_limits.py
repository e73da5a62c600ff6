"""Too large, too slow, too many, gone, or without a key: said with a reason, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from llava_ecg.assistant import Assistant
from llava_ecg.case import Decoding
from llava_ecg.ecg.recording import Recording
from llava_ecg.serve import app
from llava_ecg.serve.service import AHEAD
from tests.serve.running import NAME, Running, asking, file_part, packed, serving

LONG: Any = {"max_tokens": 2000}


@pytest.fixture(scope="module")
def part(recordings: list[Recording]) -> Any:
    return file_part("a.npz", packed(recordings[0]))


@contextlib.contextmanager
def connected(running: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as found:
        yield found


def everything(line: socket.socket) -> bytes:
    """Until the server hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := line.recv(65536):
            found += piece
    return found


def answered(line: socket.socket) -> bytes:
    """A whole small answer in JSON."""
    found = b""
    while not found.endswith(b"}"):
        found += line.recv(65536)
    return found


def head(running: Running, length: int, *more: str) -> bytes:
    lines = ["POST /v1/chat/completions HTTP/1.1", f"host: 127.0.0.1:{running.port}", "content-type: application/json"]
    return "\r\n".join([*lines, f"content-length: {length}", *more, "", ""]).encode()


def sound(running: Running, part: Any) -> None:
    """It still answers, and holds nothing of what was."""
    assert running.post(asking(part)).status_code == 200
    running.waits_for(lambda: running.service.tickets == 0 == running.service.held == running.service.worker.busy)


def test_a_body_that_is_too_large(served: Assistant, part: Any) -> None:
    began = time.monotonic()
    with serving(served, body=700_000) as running:
        for body in (b"x" * 700_001, (b"x" * 1000 for _ in range(701))):  # with its length said, and without
            found = running.post(None, content=body) if isinstance(body, bytes) else streamed(running, body)
            error = found.json()["error"]
            assert (found.status_code, error["code"]) == (413, "body_too_large") and "0.667572 MiB" in error["message"]
        with connected(running) as line:
            line.sendall(head(running, 10**15, "expect: 100-continue"))
            found = everything(line)
            assert b" 413 " in found and b"100 Continue" not in found, "told before it is sent"
        with connected(running) as line:
            line.sendall(head(running, 9 * 10**30))
            line.shutdown(socket.SHUT_WR)
            everything(line)
        sound(running, part)
    assert time.monotonic() - began < 4.5, "who has sent everything is told at once"


def streamed(running: Running, body: Iterator[bytes]) -> httpx.Response:
    return httpx.post(
        f"{running.address}/v1/chat/completions", content=body, headers={"content-type": "application/json"}, timeout=30
    )


def test_slow_clients(served: Assistant, part: Any) -> None:
    with serving(served, head_seconds=0.3, body_seconds=0.3) as running:
        with connected(running) as line:
            line.sendall(b"POST /v1/chat/comp")
            found = everything(line)
            assert b" 408 " in found and b"no whole request came within 0.3 s" in found
        with connected(running) as line:
            line.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in answered(line)
            time.sleep(0.5)
            line.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in answered(line), "one that only waits is not slow"
            line.sendall(b"GET /he")
            assert b" 408 " in everything(line)
        with connected(running) as line:
            line.sendall(head(running, 1000) + b"{")
            found = everything(line)
            assert b" 408 " in found and b"was not there after 0.3 s" in found
        sound(running, part)


def test_what_is_no_http(running: Running, part: Any) -> None:
    for sent in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"):
        with connected(running) as line:
            line.sendall(sent)
            assert b" 400 " in everything(line)[:20]
    for sent in (b"A" * 2_000_000, b"GET / HTTP/1.1\r\nx: " + b"y" * 2_000_000):
        with connected(running) as line, contextlib.suppress(OSError):
            line.sendall(sent)
            assert b" 400 " in everything(line)[:20], "it does not read on for ever"
    sound(running, part)


@pytest.mark.parametrize("stream", [True, False])
def test_who_hangs_up_gives_back_the_slot(served: Assistant, part: Any, stream: bool, slowly: None) -> None:
    with serving(served, slots=1) as running:
        body = json.dumps(asking(part, stream=stream, **LONG)).encode()
        with connected(running) as line:
            line.sendall(head(running, len(body)) + body)
            if stream:
                assert b" 200 " in line.recv(100)
            running.waits_for(lambda: running.service.worker.busy == 1)
        running.waits_for(lambda: running.service.worker.busy == 0, seconds=2)
        sound(running, part)
        running.waits_for(
            lambda: any(line.startswith("POST /v1/chat/completions") and "tokens" not in line for line in running.lines)
        )


def test_who_hangs_up_while_he_waits_is_not_asked_for(served: Assistant, part: Any, slowly: None) -> None:
    with serving(served, slots=1) as running, ThreadPoolExecutor() as pool:
        first = pool.submit(running.post, asking(part, max_tokens=60))
        running.waits_for(lambda: running.service.worker.busy == 1)
        body = json.dumps(asking(part, **LONG)).encode()
        with connected(running) as line:
            line.sendall(head(running, len(body)) + body)
            running.waits_for(lambda: running.service.worker.waiting == 1)
        assert first.result().json()["usage"]["completion_tokens"] == 60
        running.waits_for(lambda: running.service.worker.waiting == 0 == running.service.worker.busy, seconds=2)


def test_who_does_not_read_is_cut_off(served: Assistant, part: Any) -> None:
    with serving(served, slots=1, stall_seconds=0.3, send_buffer=4096) as running, socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(20)
        line.connect(("127.0.0.1", running.port))
        body = json.dumps(asking(part, stream=True, **LONG)).encode()
        line.sendall(head(running, len(body)) + body)
        running.waits_for(lambda: running.service.worker.busy == 1)
        running.waits_for(lambda: running.service.worker.busy == 0)
        running.waits_for(lambda: running.service.tickets == 0, seconds=5)
        assert b"[DONE]" not in everything(line)
        sound(running, part)


def test_more_than_may_wait_are_told_when_to_come_again(served: Assistant, part: Any, slowly: None) -> None:
    with serving(served, slots=1, queue=2) as running, ThreadPoolExecutor() as pool:
        asked = [pool.submit(running.post, asking(part, max_tokens=50)) for _ in range(3)]
        running.waits_for(lambda: running.service.tickets == 3)
        late = running.post(asking(part))
        error = late.json()["error"]
        assert (late.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
        assert 1 <= int(late.headers["retry-after"]) <= 60 and "try again in" in error["message"]
        assert running.get("/health").status_code == 200
        assert [each.result().status_code for each in asked] == [200] * 3
        client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0)
        given: Any = asking(part)
        assert client.chat.completions.create(**given).choices[0].finish_reason == "length"


def test_what_all_hold_together_is_limited(served: Assistant, part: Any, slowly: None) -> None:
    body = json.dumps(asking(part, **LONG)).encode()
    with serving(served, slots=1, held=int(len(body) * 1.5)) as running, ThreadPoolExecutor() as pool:
        worker, asked = running.service.worker, []
        with connected(running) as line:
            line.sendall(head(running, len(body)) + body)
            running.waits_for(lambda: worker.busy == 1)
            for number in range(1 + AHEAD):  # one after the other: what is prepared is not held any more
                asked.append(pool.submit(running.post, asking(part, max_tokens=2)))
                running.waits_for(lambda number=number: worker.waiting == number + 1)  # type: ignore[misc]
            assert running.service.held == 0
            asked.append(pool.submit(running.post, asking(part, max_tokens=2)))
            running.waits_for(lambda: running.service.held > len(body) // 2)
            assert "holds as much as it may" in running.post(asking(part)).json()["error"]["message"]
        assert {each.result().status_code for each in asked} == {200}
        sound(running, part)


def test_an_answer_that_takes_too_long(served: Assistant, part: Any, slowly: None) -> None:
    with serving(served, slots=1, seconds=0.6) as running:
        found = running.post(asking(part, **LONG))
        assert (found.status_code, found.json()["error"]["code"]) == (504, "timeout")
        assert "after 0.6 s" in found.json()["error"]["message"] and found.headers["x-should-retry"] == "false"
        running.waits_for(lambda: running.service.worker.busy == 0, seconds=2)
        client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="none")
        given: Any = asking(part, stream=True, **LONG)
        pieces = []
        with pytest.raises(openai.APIError, match="was not there after"):
            for chunk in client.chat.completions.create(**given):
                pieces.append(chunk)  # noqa: PERF402 (they are to be kept when it fails)
        assert len(pieces) > 5
        running.waits_for(lambda: running.service.worker.busy == 0, seconds=2)
        sound(running, part)


def test_a_key(served: Assistant, part: Any) -> None:
    with serving(served, key=b"a-key-that-is-long") as running:
        for headers in (
            {},
            {"authorization": "Bearer none"},
            {"authorization": "a-key-that-is-long"},
            {"authorization": "Basic a-key-that-is-long"},
            {"authorization": "Bearer a-key-that-is-long2"},
            {"authorization": "Bearer \xe9"},
        ):
            told = {name: value.encode("latin-1") for name, value in headers.items()}
            found = running.post(asking(part), headers=told)
            error = found.json()["error"]
            assert (found.status_code, error["code"]) == (401, "invalid_api_key"), headers
            assert running.get("/metrics", headers=told).status_code == 401
            assert running.get("/v1/models", headers=told).status_code == 401
        assert running.get("/health").status_code == 200, "a balancer asks it without"
        client = openai.OpenAI(base_url=f"{running.address}/v1", api_key="a-key-that-is-long")
        given: Any = asking(part)
        assert client.chat.completions.create(**given).model == NAME
        assert running.get("/health", headers={"host": "ecg.example.org"}).status_code == 200
        assert not [line for line in running.lines if "a-key" in line]


def test_without_a_key_only_this_machine_is_heard(running: Running) -> None:
    for host, status in (
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example.org", 403),
        ("evil.example.org:8000", 403),
        ("localhost.evil.org", 403),
        ("[::1].evil.org", 403),
    ):
        assert running.get("/v1/models", headers={"host": host}).status_code == status, host


def test_a_fault_of_the_servers_is_said_and_nothing_else(
    running: Running, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of Jane Doe")

    with monkeypatch.context() as patched:
        patched.setattr(running.service.assistant, "prepare", broken, raising=False)
        found = running.post(asking(part))
        assert (found.status_code, found.json()["error"]["type"]) == (500, "server_error")
        # its line is written when the answer is on its way already
        running.waits_for(lambda: any("ZeroDivisionError" in line for line in running.lines))
        assert "Jane" not in found.text and not [line for line in running.lines if "Jane" in line]
    sound(running, part)


def test_the_defaults_are_the_flags(served: Assistant, part: Any) -> None:
    with serving(served, decoding=Decoding(temperature=2.0, seed=3, max_new_tokens=9)) as running:
        plain = running.post(asking(part)).json()
        said = running.post(asking(part, temperature=2.0, seed=3, max_tokens=9)).json()
        other = running.post(asking(part, temperature=0, max_tokens=9)).json()
        texts = [each["choices"][0]["message"]["content"] for each in (plain, said, other)]
        assert texts[0] == texts[1] != texts[2] and plain["usage"]["completion_tokens"] == 9


def test_who_waits_for_long_hears_that_it_goes_on(
    served: Assistant, part: Any, slowly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy cuts off what is silent for long."""
    monkeypatch.setattr(app, "PING_SECONDS", 0.05)
    with serving(served, slots=1) as running:
        first, second = (json.dumps(asking(part, stream=True, **more)).encode() for more in (LONG, {"max_tokens": 3}))
        with connected(running) as line:
            line.sendall(head(running, len(first)) + first)
            running.waits_for(lambda: running.service.worker.busy == 1)
            with connected(running) as other:
                other.sendall(head(running, len(second), "connection: close") + second)
                found = b""
                while b": still at work\n\n" not in found:
                    found += other.recv(65536)
                line.close()
                assert b"data: [DONE]" in everything(other)
