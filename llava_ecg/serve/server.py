"""uvicorn, with the times that it does not keep itself, a clean end, and a key where others can reach it."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import json
import logging
import signal
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llava_ecg.errors import InputError
from llava_ecg.serve.app import application
from llava_ecg.serve.limits import Limits, Refused
from llava_ecg.serve.service import Service

KEY_VARIABLE = "LLAVA_ECG_API_KEY"
SHORTEST_KEY = 16
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


def key_of(file: Path | None, environment: Mapping[str, str]) -> bytes | None:
    """The key that clients have to bring: from a file or the environment, so that a list of processes does not show it.

    Raises:
        InputError: both, an empty or short one, one that is no ASCII, or a file that others may read.
    """
    given = environment.get(KEY_VARIABLE)
    if file is not None:
        if given is not None:
            raise InputError(f"a key is in {KEY_VARIABLE} and in {file}; give one of them")
        try:
            if file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                raise InputError(f"others may read the key in {file}; chmod 600 {file}")
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"the key in {file} can't be read; give a file with one line of text") from error
    if given is None:
        return None
    key = given.strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"a key has at least {SHORTEST_KEY} letters of ASCII and no spaces; python -c "
            "'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )
    return key.encode()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        InputError: an address that is not this machine's, or a port that is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(2048)
        except BaseException:
            found.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"can't listen on {host} port {port} ({reason}); give another --host or --port") from error
    return found


def made(
    service: Service, place: socket.socket, host: str, key: bytes | None, started: Callable[[str], object]
) -> Server:
    """What serves on a socket, not yet begun.

    Args:
        host: as the socket was asked for.
        key: that clients have to bring; None for no key, and then only requests to this machine's own names are heard.
        started: called with the address when requests are taken.
    """
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its warnings tell of what strangers send
    config = uvicorn.Config(
        application(service, key, LOCAL_NAMES | {host} if key is None else None),
        http=protocol_of(service.limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(service.limits.grace_seconds) + 5,
    )
    shown = f"[{host}]" if ":" in host else host
    return Server(config, service, lambda: started(f"http://{shown}:{place.getsockname()[1]}"))


def run(service: Service, place: socket.socket, host: str, key: bytes | None, started: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C; see `made`.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
    """
    gc.collect()
    gc.freeze()  # the model and the libraries stay: a collection need not go through them while everybody waits
    former = signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # uvicorn raises it again behind its end: that is exit code 0
    try:
        made(service, place, host, key, started).run(sockets=[place])
    finally:
        signal.signal(signal.SIGTERM, former)


class Server(uvicorn.Server):
    """uvicorn's, which says when it has started, and ends answers that take longer than the grace."""

    def __init__(self, config: uvicorn.Config, service: Service, on_start: Callable[[], object]) -> None:
        super().__init__(config)
        self.service, self.on_start = service, on_start

    async def startup(self, sockets: Any = None) -> None:
        """Also tell that it has started."""
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Also let nobody in any more."""
        self.service.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: Any = None) -> None:
        """Also end, when the grace is over, what is still being answered."""
        over = asyncio.get_running_loop().call_later(self.service.limits.grace_seconds, self.service.worker.give_up)
        try:
            await super().shutdown(sockets)
        finally:
            over.cancel()


def protocol_of(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol, which waits neither for a header that does not come nor for a client that does not read."""

    class Timed(H11Protocol):
        _head: asyncio.TimerHandle | None = None
        _stall: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._head, self._stall):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stall = self.loop.call_later(limits.stall_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._stall is not None:
                self._stall.cancel()
                self._stall = None

        def _await_head(self) -> None:
            waits = self.conn.their_state is h11.IDLE
            if waits and self._head is None:
                self._head = self.loop.call_later(limits.head_seconds, self._no_head)
            elif not waits and self._head is not None:
                self._head.cancel()
                self._head = None

        def _no_head(self) -> None:
            if self.transport.is_closing():
                return
            told = Refused(408, f"no whole request came within {limits.head_seconds:g} s", code="too_slow")
            body = json.dumps(told.body()).encode()
            head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            self.transport.close()

    return Timed
