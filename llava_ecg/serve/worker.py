"""The one thread that runs the language model, and the requests that wait for it.

Requests come prepared, are answered together as slots become free, and give out their text as it comes. No HTTP here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from llava_ecg.assistant import Asked, Assistant
from llava_ecg.errors import InputError

BROKEN = 3
"""So many runs that broke one behind the other, with no answer in between, and the worker counts as broken."""


class Broken(RuntimeError):
    """What ran the model broke, for a reason that is none of the request's."""


class Job:
    """A request on its way: fed by the worker's thread, waited for on the event loop.

    Attributes:
        asked: what is asked, once it is prepared.
        cancelled: nobody waits for it any more; the worker lets it go at the next token.
        error: why it failed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked: Asked | None = None
        self.cancelled = False
        self.error: Exception | None = None
        self._loop = loop
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._ended = self._woken = False
        self._news = asyncio.Event()

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.cancelled = True

    def over(self) -> None:
        """Nobody waits any more, and what was asked, which knows its job, is let go at once."""
        self.cancelled, self.asked = True, None

    # by the worker's thread

    def feed(self, piece: str) -> None:
        """More of the answer."""
        with self._lock:
            self._pieces.append(piece)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more will come."""
        with self._lock:
            self.error, self._ended = error, True
        self._wake()

    def _wake(self) -> None:
        """Once for all that came since the event loop looked: it must not drown in calls."""
        with self._lock:
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop is closed, and nobody waits
            self.cancelled = True

    # on the event loop

    async def more(self) -> tuple[str, bool]:
        """What came since the last time, as soon as something has; and whether that was the end.

        Raises:
            Exception: what made it fail.
        """
        await self._news.wait()
        with self._lock:
            self._news.clear()
            self._woken = False
            piece = "".join(self._pieces)
            self._pieces.clear()
            if self._ended and self.error is not None:
                raise self.error
            return piece, self._ended


class Worker:
    """Answers jobs in a thread of its own.

    Args:
        assistant: that answers.
        slots: how many are answered at once.
        on_fewer: told how many slots are left when memory was full.
        on_broken: told what broke a run that should not have.
        on_taken: called, in the worker's thread, for each job that leaves the queue.

    Attributes:
        slots: how many are answered at once, now.
    """

    def __init__(
        self,
        assistant: Assistant,
        slots: int,
        *,
        on_fewer: Callable[[int], object] = lambda slots: None,
        on_broken: Callable[[BaseException], object] = lambda error: None,
        on_taken: Callable[[Job], object] = lambda job: None,
    ) -> None:
        self.assistant, self.slots = assistant, slots
        self._on_fewer, self._on_broken, self._on_taken = on_fewer, on_broken, on_taken
        self._ready: deque[Job] = deque()
        self._active: dict[int, Job] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._broke = 0
        self._thread = threading.Thread(target=self._work, name="llava-ecg-worker", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Answer it as soon as there is a slot; it was prepared, and its question's tag is itself."""
        with self._changed:
            self._ready.append(job)
            self._changed.notify()

    def close(self, seconds: float) -> bool:
        """Answer what is there and end; what is not answered by then is given up. Whether it has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        self.give_up()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """End everything at the next token."""
        with self._changed:
            for job in (*self._ready, *self._active.values()):
                job.cancel()

    @property
    def waiting(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._ready)

    @property
    def busy(self) -> int:
        """Jobs that are being answered."""
        return len(self._active)

    @property
    def sound(self) -> bool:
        """Whether it is at work, and its last runs did not break."""
        return self._thread.is_alive() and self._broke < BROKEN

    def _work(self) -> None:
        while True:
            try:
                for asked, error in self.assistant.run(self._next(), slots=self.slots, on_fewer=self._fewer):
                    self._leave(asked.question.tag, error)
                    self._broke = 0
                return  # `_next` ends when it is time to
            except Exception as error:  # anything: a request that breaks a run must not end the server
                self._broke += 1
                self._on_broken(error)
                for job in list(self._active.values()):
                    self._leave(job, Broken("the model's run broke; the request may be sent again"))

    def _next(self) -> Iterator[Asked | None]:
        """What is to be answered next; None where nothing waits and others are being answered."""
        while True:
            with self._changed:
                while not (self._ready or self._active or self._closing):
                    self._changed.wait()
                if not self._ready and not self._active:
                    return
                job = self._ready.popleft() if self._ready else None
            if job is None:
                yield None
                continue
            self._on_taken(job)
            asked = job.asked  # taken before it is looked at: its client may hang up meanwhile
            if job.cancelled or asked is None:
                job.end()
                continue
            with self._changed:
                self._active[id(job)] = job
            yield asked

    def _leave(self, job: Any, error: InputError | Broken | None) -> None:
        with self._changed:
            self._active.pop(id(job), None)
        job.end(error)

    def _fewer(self, slots: int) -> None:
        self.slots = slots
        self._on_fewer(slots)
