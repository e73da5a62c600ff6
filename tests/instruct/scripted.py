"""A server on loopback that answers chat completions by a script, and what a good model would write."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Step = Callable[["Answering", dict[str, Any]], None]
"""Answers one request: the handler and the request's JSON."""


class Answering(BaseHTTPRequestHandler):
    """Hands each request to the server's script."""

    server: Scripted

    def do_POST(self) -> None:  # noqa: N802  (the library's name)
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        step = self.server.next(asked, {name.lower(): value for name, value in self.headers.items()})
        step(self, asked)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


class Scripted(ThreadingHTTPServer):
    """Goes through its steps, one a request, and then gives `otherwise` for ever.

    Attributes:
        asked: the JSON of each request; headers: of each, in small letters.
    """

    daemon_threads = True

    def __init__(self, otherwise: Step, *steps: Step) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.otherwise, self.steps = otherwise, list(steps)
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()  # what hangs, hangs until then
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def next(self, asked: dict[str, Any], headers: dict[str, str]) -> Step:
        with self._lock:
            self.asked.append(asked)
            self.headers.append(headers)
            return self.steps.pop(0) if self.steps else self.otherwise

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(otherwise: Step, *steps: Step) -> Iterator[Scripted]:
    server = Scripted(otherwise, *steps)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


# -- steps -------------------------------------------------------------------------------------------------------------


def completion(content: str, **more: Any) -> bytes:
    usage = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return json.dumps({**whole, **more}).encode()


def says(content: str | Callable[[dict[str, Any]], str], **more: Any) -> Step:
    """A model that writes this, or what this makes of the request."""
    return lambda handler, asked: handler.send(
        200, completion(content if isinstance(content, str) else content(asked), **more)
    )


def fails(status: int, message: str = "no", **headers: str) -> Step:
    return lambda handler, _: handler.send(status, json.dumps({"error": {"message": message}}).encode(), **headers)


def raw(body: bytes, **headers: str) -> Step:
    return lambda handler, _: handler.send(200, body, **headers)


def hangs(handler: Answering, _: dict[str, Any]) -> None:
    handler.server.over.wait(30)


def trickles(handler: Answering, _: dict[str, Any]) -> None:
    """A byte now and then, each of which a time-out between bytes would forgive."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _byte in range(300):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        if handler.server.over.wait(0.05):
            return


def closes(handler: Answering, _: dict[str, Any]) -> None:
    """A header that promises more than comes."""
    handler.send(200, b'{"choices": [{"mess', Content_Length="5000")
    handler.close_connection = True
    handler.connection.close()


# -- what a good model writes ------------------------------------------------------------------------------------------


def facts(asked: dict[str, Any]) -> dict[str, Any]:
    """What a request tells of the recording."""
    content = asked["messages"][1]["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    found: dict[str, Any] = json.loads(text.rstrip().rsplit("\n", 1)[1])
    return found


def good(asked: dict[str, Any]) -> str:
    """An answer by the protocol that is asked for, of what was measured."""
    known = facts(asked)
    m = known["measured"]
    labels = [each["name"] for each in known["diagnoses"] if each["verdict"] == "confirmed"]
    evidence = f"The ventricular rate is {m['heart_rate_bpm']} bpm."
    rest = f"The QRS duration is {m['qrs_ms']} ms. The QT interval is {m['qt_ms']} ms."
    conclusion = f"This is {' and '.join(labels)}." if labels else "No diagnosis is concluded."
    schema = asked["response_format"]["json_schema"]["schema"]
    if "paragraph" in schema["properties"]:
        return json.dumps({"paragraph": f"{evidence} {rest} {conclusion}", "labels": labels})
    against = [{"diagnosis": each["name"], "evidence": each["evidence"][0]} for each in known["excluded"][:1]]
    steps = [
        evidence,
        rest,
        "Voltages can not be judged here.",
        "ST can not be judged here.",
        "QT can not be judged here.",
    ]
    return json.dumps({"steps": steps, "conclusion": conclusion, "exclusions": against, "labels": labels})


def wrong(asked: dict[str, Any]) -> str:
    """The same with a rate that is not the measured one."""
    rate = facts(asked)["measured"]["heart_rate_bpm"]
    return good(asked).replace(f"{rate} bpm", f"{rate + 60} bpm")
