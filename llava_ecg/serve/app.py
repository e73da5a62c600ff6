"""The routes: /v1/chat/completions, /v1/models, /health and /metrics, and the door before them.

The door looks at the key and the host, counts, writes a line for each request, and says research use in each response.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from llava_ecg import __version__
from llava_ecg.serve import wire
from llava_ecg.serve.limits import Gone, Refused
from llava_ecg.serve.service import Service, Ticket, as_refused
from llava_ecg.serve.worker import Job
from llava_ecg.terminal import RESEARCH_USE

ROUTES = ("/v1/chat/completions", "/v1/models", "/health", "/metrics")
OPEN = "/health"
"""Needs no key: a balancer asks it."""
NOTICE = "x-llava-ecg-notice"
PING_SECONDS = 15.0
DRAIN_SECONDS = 5.0
"""How long a body that is too large is read and thrown away, so that its sender gets to read why."""

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


def application(service: Service, key: bytes | None, hosts: frozenset[str] | None) -> Door:
    """Everything that uvicorn runs.

    Args:
        service: that answers.
        key: that each request but those for /health brings as its bearer; None for no key.
        hosts: names that a request may call the server by; None for any.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    # no pages of FastAPI's own: they fetch scripts from elsewhere
    app = FastAPI(
        title="llava-ecg", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    _add_routes(app, service)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _fault)
    return Door(app, service, key, hosts)


def _add_routes(app: FastAPI, service: Service) -> None:
    def model() -> dict[str, Any]:
        told = f"Answers questions about ECGs. {RESEARCH_USE}"
        return {
            "id": service.name,
            "object": "model",
            "created": service.made,
            "owned_by": "llava-ecg",
            "description": told,
        }

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await _chat(service, request)

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model()]})

    @app.get("/v1/models/{name:path}")
    async def one(name: str) -> Response:
        if name != service.name:
            raise Refused(
                404, f"the model {name[:80]!r} is not served here; this is {service.name}", "model", "model_not_found"
            )
        return JSONResponse(model())

    @app.get("/health")
    async def health() -> Response:
        status = "stopping" if service.draining else "ok" if service.worker.sound else "broken"
        told = {"status": status, "slots": service.worker.slots, "version": __version__}
        return JSONResponse(told, 200 if status == "ok" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(service.gauges()), media_type="text/plain; version=0.0.4")


# -- an answer ---------------------------------------------------------------------------------------------------------


async def _chat(service: Service, request: Request) -> Response:
    with contextlib.ExitStack() as until_over:
        ticket = service.admit()
        until_over.callback(ticket.release)
        request.scope["ticket"] = ticket

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        try:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refused(415, "send the request as application/json", code="unsupported_media_type")
            begun = service.begin(ticket, await _body(service, request, ticket))
            ticket.started = time.perf_counter()
            wanted, job = await service.in_time(ticket, begun, gone)
            until_over.callback(job.over)
            if wanted.stream:
                return _Stream(service, ticket, wanted, job, until_over.pop_all())
            return JSONResponse(await service.in_time(ticket, _whole(service, ticket, wanted, job), gone))
        except Gone:
            return Response(status_code=499)  # for the log: nobody reads it


async def _whole(service: Service, ticket: Ticket, wanted: wire.Wanted, job: Job) -> dict[str, Any]:
    with as_refused():
        await job.more()
    answer = await service.answer(ticket, wanted, job)
    found = wire.completion(ticket.name, ticket.made, service.name, answer.text, answer.finished)
    return found | {"usage": wire.usage_of(answer.tokens), "llava_ecg": service.beside(answer, wanted)}


class _Stream(StreamingResponse):
    """An answer as server-sent events; it ends the request when it is over, however that comes about."""

    def __init__(
        self, service: Service, ticket: Ticket, wanted: wire.Wanted, job: Job, until_over: contextlib.ExitStack
    ) -> None:
        self.service, self.ticket, self.wanted, self.job = service, ticket, wanted, job
        self.until_over = until_over
        super().__init__(self._events(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self.until_over:
            await super().__call__(scope, receive, send)

    async def _events(self) -> AsyncIterator[bytes]:
        service, ticket, wanted = self.service, self.ticket, self.wanted
        made = (ticket.name, ticket.made, service.name)
        more = {"usage": None} if wanted.usage else {}
        try:
            yield wire.event(wire.chunk(*made, {"role": "assistant", "content": ""}) | more)
            trimmed = wire.Trimmed()
            async for piece in self._pieces():
                if piece is None:
                    yield b": still at work\n\n"
                    continue
                if told := trimmed.feed(piece):
                    yield wire.event(wire.chunk(*made, {"content": told}) | more)
            answer = await service.answer(ticket, wanted, self.job)
            beside = {"llava_ecg": service.beside(answer, wanted)}
            yield wire.event(wire.chunk(*made, {}, answer.finished) | more | beside)
            if wanted.usage:
                yield wire.event(wire.chunk(*made, None) | {"usage": wire.usage_of(answer.tokens)})
            yield b"data: [DONE]\n\n"
        except Refused as refused:
            yield wire.event(refused.body())

    async def _pieces(self) -> AsyncIterator[str | None]:
        """The text as it comes, and None where it takes long."""
        while True:
            left = self.service.limits.seconds - (time.perf_counter() - self.ticket.started)
            try:
                with as_refused():
                    piece, ended = await asyncio.wait_for(self.job.more(), max(0.0, min(PING_SECONDS, left)))
            except TimeoutError:
                if left <= PING_SECONDS:
                    raise self.service.late() from None
                yield None
                continue
            yield piece
            if ended:
                return


async def _body(service: Service, request: Request, ticket: Ticket) -> bytearray:
    """The request's body.

    Raises:
        Refused: too large, or too slow.
    """
    limit, seconds = service.limits.body, service.limits.body_seconds
    declared = request.headers.get("content-length", "")
    more, whole = True, bytearray()
    large = declared.isdecimal() and int(declared[:20]) > limit
    try:
        async with asyncio.timeout(seconds):
            while more and not large:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                piece = message.get("body", b"")
                large = len(whole) + len(piece) > limit
                ticket.hold(len(piece))
                whole += piece
                more = bool(message.get("more_body"))
    except TimeoutError:
        told = f"the request was not there after {seconds:g} s"
        raise Refused(408, told, code="too_slow", headers={"connection": "close", "x-should-retry": "false"}) from None
    if not large:
        return whole
    whole.clear()
    if more and "expect" not in request.headers:
        await _drained(request, 4 * limit)
    told = f"the request is larger than the {limit / (1 << 20):g} MiB that are read; send less at once"
    raise Refused(413, told, code="body_too_large", headers={"connection": "close"})


async def _drained(request: Request, most: int) -> None:
    """Read the rest of a body and throw it away, for a while: a sender that is cut off does not read why."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while most > 0:
                message = await request.receive()
                if not message.get("more_body"):
                    return
                most -= len(message["body"])


# -- the door ----------------------------------------------------------------------------------------------------------


class Door:
    """What every request passes, before its body is read."""

    def __init__(self, app: FastAPI, service: Service, key: bytes | None, hosts: frozenset[str] | None) -> None:
        self.app, self.service, self.hosts = app, service, hosts
        self._key = None if key is None else hashlib.sha256(key).digest()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (NOTICE.encode(), RESEARCH_USE.encode())]
            await send(message)

        try:
            refused = self._turned_away(scope)
            if refused is not None:
                await _told(refused)(scope, receive, sent)
            else:
                await self.app(scope, receive, sent)
        except Exception as error:  # a fault of ours, and `_fault` told of it: its words might tell of what was asked
            self.service.log(f"a request failed by a fault of the server's ({type(error).__name__})")
        finally:
            self._note(scope, status or 499, time.perf_counter() - started)

    def _turned_away(self, scope: Any) -> Refused | None:
        headers = {name: value for name, value in scope["headers"] if name in (b"authorization", b"host")}
        if self.hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            named = _HOST.fullmatch(host)
            if named is None or named[1] not in self.hosts:  # a page of the web whose name was turned to this machine
                return Refused(403, "without a key this server answers to localhost only", code="wrong_host")
        if self._key is None or scope["path"] == OPEN:
            return None
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = hmac.compare_digest(hashlib.sha256(given.strip()).digest(), self._key)
        if kind.lower() == b"bearer" and right:
            return None
        told = "a key is needed, as Authorization: Bearer KEY, and none or a wrong one came"
        return Refused(401, told, code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    def _note(self, scope: Any, status: int, seconds: float) -> None:
        """Count a request and write its line: the route, not what was behind it."""
        path = scope["path"]
        route = next((each for each in ROUTES if path == each or path.startswith(f"{each}/")), "other")
        self.service.metrics.add("llava_ecg_requests_total", route=route, status=str(status))
        if route in (OPEN, "/metrics"):
            return
        ticket: Ticket | None = scope.get("ticket")
        told = "" if ticket is None else f" {ticket.name}"
        if ticket is not None and ticket.tokens is not None:
            told += f", {ticket.tokens[0]} + {ticket.tokens[1]} tokens"
        self.service.log(f"{scope['method'][:8]} {route} {status} in {seconds:.2f} s{told}")


def _told(refused: Refused) -> Response:
    return JSONResponse(refused.body(), refused.status, dict(refused.headers))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _told(error)


async def _fault(request: Request, error: Exception) -> Response:
    return _told(Refused(500, "the server failed at this request, by a fault of its own"))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: f"there is no such path; there are {', '.join(ROUTES)}", 405: "this path takes another method"}
    message = told.get(error.status_code, str(error.detail))
    return _told(Refused(error.status_code, message, headers=dict(error.headers or {})))
