"""A real server on a free port of this machine, in a thread, and what is sent to it."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from llava_ecg.assistant import Assistant
from llava_ecg.case import Decoding
from llava_ecg.ecg.recording import Recording
from llava_ecg.serve import server
from llava_ecg.serve.limits import Limits
from llava_ecg.serve.service import Service

NAME = "tiny"


@dataclass
class Running:
    """A server that runs."""

    service: Service
    address: str
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    def post(self, body: Any, **more: Any) -> httpx.Response:
        """Ask for an answer."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"content-type": "application/json"} | more.pop("headers", {})
        return httpx.post(f"{self.address}/v1/chat/completions", timeout=60, headers=headers, **given, **more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Any other path."""
        return httpx.get(f"{self.address}{path}", timeout=60, **more)

    def waits_for(self, what: Callable[[], bool], seconds: float = 20) -> None:
        """Until something is so."""
        until = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until, "it does not come to be"
            time.sleep(0.01)


@contextlib.contextmanager
def serving(
    assistant: Assistant,
    *,
    slots: int = 4,
    key: bytes | None = None,
    decoding: Decoding | None = None,
    send_buffer: int | None = None,
    **limits: Any,
) -> Iterator[Running]:
    """Within, a server runs."""
    lines: list[str] = []
    decoding = decoding or Decoding(max_new_tokens=12)
    service = Service(assistant, NAME, slots, decoding, Limits(**limits), lines.append)
    place, begun, told = server.listen("127.0.0.1", 0), threading.Event(), [""]
    if send_buffer is not None:  # of each connection: what the system holds of what was sent and is not read
        place.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)

    def started(address: str) -> None:
        told[0] = address
        begun.set()

    made = server.made(service, place, "127.0.0.1", key, started)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        assert begun.wait(20)
        yield Running(service, told[0], lines)
    finally:
        made.should_exit = True
        thread.join(60)
        left = [each for each in (thread, service.worker._thread) if each.is_alive()]
        assert not left, "\n".join(f"{each.name} is still at:\n{_stack(each)}" for each in left)


def _stack(thread: threading.Thread) -> str:
    """Where a thread is."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "nowhere"


def packed(recording: Recording, **more: Any) -> bytes:
    """A recording as npz, which says everything itself."""
    buffer = io.BytesIO()
    said = {"rate": recording.rate, "unit": "mV", "leads": recording.leads} | more
    np.savez(buffer, signal=recording.signal, **said)
    return buffer.getvalue()


def data_url(content: bytes, kind: str = "application/octet-stream") -> str:
    """A data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def file_part(name: str, content: bytes, **more: Any) -> dict[str, Any]:
    """A file as OpenAI's clients send it."""
    return {"type": "file", "file": {"filename": name, "file_data": data_url(content), **more}}


def image_part(content: bytes, kind: str = "image/png") -> dict[str, Any]:
    """An image as OpenAI's clients send it."""
    return {"type": "image_url", "image_url": {"url": data_url(content, kind)}}


def asking(*parts: Any, text: str = "Rate?", **more: Any) -> dict[str, Any]:
    """The body of a request with one message."""
    content = [*parts, {"type": "text", "text": text}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], **more}
