"""From a request's body to its answer: what is done by which thread, how many at once, and for how long.

The event loop only moves bytes; what takes time (JSON, files, pages, towers, audits) is done by a few threads, and the
language model by the worker's. It knows no routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from llava_ecg import report
from llava_ecg.assistant import Answer, Assistant, Question
from llava_ecg.case import Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.engine.request import MemoryFull, memory_full
from llava_ecg.errors import InputError
from llava_ecg.serve import wire
from llava_ecg.serve.cases import case_of
from llava_ecg.serve.limits import Gone, Limits, Refused
from llava_ecg.serve.metrics import Metrics, resident_bytes
from llava_ecg.serve.worker import Broken, Job, Worker

THREADS = 2
"""That prepare questions; more would take the language model's time on a small machine."""
AHEAD = 4
"""Questions that are prepared beyond those in slots, so that a free slot does not wait."""
NO_RETRY = {"x-should-retry": "false"}  # heeded by OpenAI's clients: again it would take as long


class Ticket:
    """A request that was let in, and what it holds: `release` gives all of it back, once."""

    def __init__(self, service: Service) -> None:
        self.name, self.made = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.started = time.perf_counter()
        self.tokens: tuple[int, int] | None = None
        self._service, self._bytes, self._open = service, 0, True
        service.tickets += 1

    def hold(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            Refused: all requests together hold too many.
        """
        service = self._service
        self._bytes += count
        service.held += count
        if service.held > service.limits.held and service.held > self._bytes:
            raise service.busy("the server holds as much as it may of what others sent")

    def let_go(self) -> None:
        """What came is held no more."""
        self._service.held -= self._bytes
        self._bytes = 0

    def release(self) -> None:
        """It is over."""
        if self._open:
            self._open = False
            self._service.tickets -= 1
            self.let_go()


class Service:
    """One assistant behind a queue.

    Args:
        assistant: that answers.
        name: that it is asked for by.
        slots: how many requests are answered at once.
        defaults: how answers are chosen where a request does not say.
        limits: of a request.
        log: takes a line; none says anything of what was asked or about whom.

    Attributes:
        tickets: requests that were let in and are not over.
        held: bytes of them.
        draining: whether the server is about to stop.
    """

    def __init__(
        self,
        assistant: Assistant,
        name: str,
        slots: int,
        defaults: Decoding,
        limits: Limits,
        log: Callable[[str], object],
    ) -> None:
        self.assistant, self.name, self.defaults, self.limits, self.log = assistant, name, defaults, limits, log
        self.made = int(time.time())
        self.metrics = Metrics()
        self.tickets = self.held = 0
        self.draining = False
        self.slots = slots
        self.worker = Worker(
            assistant, slots, on_fewer=self._fewer, on_broken=self._broken, on_taken=lambda job: self._taken(job)
        )
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="llava-ecg-prepare")
        # one file at a time: the libraries that read them are not made for threads (numpy's reading of a header by ast
        # fails on CPython 3.11 where two threads are at it)
        self._reading = threading.Lock()
        self._ahead = asyncio.Semaphore(slots + AHEAD)
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within, requests are answered."""
        self._loop = asyncio.get_running_loop()
        self.worker.start()
        try:
            yield
        finally:
            self.draining = True
            ended = await self._loop.run_in_executor(None, self.worker.close, 5.0)
            self._pool.shutdown(wait=ended, cancel_futures=True)

    # -- letting in ----------------------------------------------------------------------------------------------------

    def admit(self) -> Ticket:
        """Let a request in, before its body is read.

        Raises:
            Refused: as many as there may be are there already, or the server is about to stop.
        """
        if self.draining:
            raise Refused(503, "the server is about to stop; ask another one")
        if self.tickets >= self.worker.slots + self.limits.queue:
            raise self.busy(f"{self.tickets} requests are answered or wait, as many as there may be")
        return Ticket(self)

    def busy(self, why: str) -> Refused:
        """What is said where there are too many requests."""
        mean = self.metrics.mean("llava_ecg_request_seconds") or 1.0
        seconds = min(60, max(1, math.ceil(mean)))
        told = f"{why}; try again in {seconds} s"
        return Refused(429, told, code="rate_limit_exceeded", headers={"retry-after": str(seconds)})

    # -- answering -----------------------------------------------------------------------------------------------------

    async def begin(self, ticket: Ticket, body: bytes | bytearray) -> tuple[wire.Wanted, Job]:
        """Read a request, prepare its question and put it before the worker; what was said is held no longer than that.

        Raises:
            Refused: what it asks for can't be had.
        """
        longest = self.assistant.processor.model_max_length
        wanted = await self._threaded(wire.wanted, body, self.name, self.defaults, longest, self.limits)
        del body
        job = Job(asyncio.get_running_loop())
        await self._ahead.acquire()
        try:
            await self._threaded(self._prepare, wanted, job)
        except BaseException:
            self._ahead.release()
            raise
        self.worker.submit(job)
        ticket.let_go()
        return replace(wanted, said=()), job

    def _prepare(self, wanted: wire.Wanted, job: Job) -> None:
        with self._reading:
            case = case_of(wanted.said, self.limits)
        turns = [Turn("assistant" if said.role == "assistant" else "user", said.text) for said in wanted.said]
        job.asked = self.assistant.prepare(
            Question(turns, case, job),
            wanted.decoding,
            on_text=job.feed if wanted.stream else None,
            cancelled=lambda: job.cancelled,
        )

    async def answer(self, ticket: Ticket, wanted: wire.Wanted, job: Job) -> Answer:
        """The answer, when all of it was written.

        Raises:
            Refused: the server is about to stop.
        """
        asked = job.asked
        assert asked is not None
        found = await self._threaded(lambda: self.assistant.answer(asked, audited=wanted.audit))
        if job.cancelled:
            raise Refused(503, "the server is about to stop, and the answer was ended; ask another one")
        new = found.tokens["new"]
        ticket.tokens = (found.tokens["prompt"], new)
        self.metrics.add("llava_ecg_tokens_total", found.tokens["prompt"], kind="prompt")
        self.metrics.add("llava_ecg_tokens_total", new, kind="new")
        self.metrics.time("llava_ecg_request_seconds", time.perf_counter() - ticket.started)
        if asked.writer.first is not None:
            self.metrics.time("llava_ecg_first_token_seconds", asked.writer.first - ticket.started)
        return found

    def beside(self, answer: Answer, wanted: wire.Wanted) -> dict[str, Any]:
        """What this server says beyond OpenAI's fields: notes, which part of the recording the model was shown, and the
        audit where it was asked for."""
        found: dict[str, Any] = {"notes": list(answer.notes), "shown": report.shown_dict(answer)}
        if wanted.audit:
            found["audit"] = None if answer.audit is None else report.plain(answer.audit.to_dict())
        return found

    async def in_time(self, ticket: Ticket, work: Coroutine[Any, Any, Any], gone: Callable[[], Any]) -> Any:
        """The result of `work`, unless it takes too long or the client hangs up first.

        Args:
            gone: an awaitable that ends when the client is gone.

        Raises:
            Refused: it took too long.
            Gone: the client hung up.
        """
        task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
        left = self.limits.seconds - (time.perf_counter() - ticket.started)
        try:
            done, _ = await asyncio.wait({task, watch}, timeout=max(0, left), return_when=asyncio.FIRST_COMPLETED)
            if task in done:
                return task.result()
            raise Gone if done else self.late()
        finally:
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    def late(self) -> Refused:
        """What is said of a request that took too long."""
        told = f"the answer was not there after {self.limits.seconds:g} s and was given up; ask for fewer tokens"
        return Refused(504, told, code="timeout", headers=NO_RETRY)

    # -- the rest ------------------------------------------------------------------------------------------------------

    def gauges(self) -> dict[str, float]:
        """What the metrics tell of just now."""
        found: dict[str, float] = {
            "llava_ecg_slots": self.worker.slots,
            "llava_ecg_slots_busy": self.worker.busy,
            "llava_ecg_waiting": self.worker.waiting,
            "llava_ecg_in_flight": self.tickets,
        }
        if (size := resident_bytes()) is not None:
            found["process_resident_memory_bytes"] = size
        return found

    async def _threaded(self, work: Callable[..., Any], *given: Any) -> Any:
        """Done by a thread of the pool."""
        with as_refused():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *given)

    def _taken(self, job: Job) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ahead.release)

    def _fewer(self, slots: int) -> None:
        self.metrics.add("llava_ecg_memory_full_total")
        self.log(f"memory is full: {slots} requests at once from now on")

    def _broken(self, error: BaseException) -> None:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        at = "" if place is None else f" at {place.tb_frame.f_code.co_name}:{place.tb_lineno}"
        # the error's own words might tell of what was asked
        self.log(f"the run of the model broke ({type(error).__name__}{at}); who was in it was told, and it begins anew")


@contextlib.contextmanager
def as_refused() -> Iterator[None]:
    """Within, what may go wrong with a request is a `Refused`."""
    try:
        yield
    except MemoryFull as error:
        raise Refused(503, str(error), code="memory_full", headers=NO_RETRY) from error
    except InputError as error:
        raise Refused(400, str(error), "messages") from error
    except Broken as error:
        raise Refused(500, str(error), code="broken") from error
    except (MemoryError, RuntimeError) as error:
        if not memory_full(error):
            raise
        raise Refused(503, "the memory is full; ask again later, or less at once", code="memory_full") from error
