"""Where chunks are worked on: here, in several processes of this machine, or in threads where a remote writer is waited
for. Ray, for many machines, is in `on_ray`.

An engine gives the parts in the order of the chunks and runs only so far ahead of what was taken, whatever the set's
size: what is in flight fits into memory, and one slow recording holds back no more than that.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Protocol

from llava_ecg.errors import InputError
from llava_ecg.instruct.chunks import Chunk, Part

Work = Callable[[Chunk], Part]
_AHEAD = 3  # chunks for each process: one in work, one waiting for it, one done and waiting for its turn
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Engine(Protocol):
    """Where chunks are worked on."""

    def run(self, work: Work, chunks: Iterable[Chunk]) -> Iterator[Part]:
        """The part of each chunk, in their order.

        Raises:
            InputError: what `work` raised, or a process was lost.
        """


class Here:
    """In this very process."""

    def run(self, work: Work, chunks: Iterable[Chunk]) -> Iterator[Part]:
        """See `Engine`."""
        return map(work, chunks)


class Threads:
    """In so many threads of this process, which wait for a remote writer at once.

    Args:
        count: of the threads.
        stop: ends what they wait for; called when the run is over, however it ends.
    """

    def __init__(self, count: int, stop: Callable[[], None]) -> None:
        self.count, self.stop = count, stop

    def run(self, work: Work, chunks: Iterable[Chunk]) -> Iterator[Part]:
        """See `Engine`."""
        todo: queue.SimpleQueue[tuple[Chunk, Future[Part]] | None] = queue.SimpleQueue()

        def worker() -> None:
            while (item := todo.get()) is not None:
                chunk, future = item
                try:
                    future.set_result(work(chunk))
                except BaseException as error:
                    future.set_exception(error)

        def submit(chunk: Chunk) -> Future[Part]:
            future: Future[Part] = Future()
            todo.put((chunk, future))
            return future

        for _ in range(self.count):  # daemons, which an endpoint that hangs does not keep the program waiting for
            threading.Thread(target=worker, daemon=True).start()
        try:
            yield from in_order(submit, chunks, _AHEAD * self.count)
        finally:
            self.stop()
            for _ in range(self.count):
                todo.put(None)


class Processes:
    """In so many processes of this machine, with one thread each unless the environment says otherwise."""

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Work, chunks: Iterable[Chunk]) -> Iterator[Part]:
        """See `Engine`."""
        with _environment(dict.fromkeys(_THREADS, "1")):
            pool = ProcessPoolExecutor(
                self.count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(work,)
            )
            try:
                yield from in_order(lambda chunk: pool.submit(_work, chunk), chunks, _AHEAD * self.count)
            except BrokenProcessPool as error:
                raise InputError(
                    "a process was killed, probably for want of memory; what is done is kept, and the same command "
                    "goes on there, with fewer --processes if it happens again"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def in_order(submit: Callable[[Chunk], Future[Part]], chunks: Iterable[Chunk], ahead: int) -> Iterator[Part]:
    """What the futures give, in the order of the chunks, with at most `ahead` of them in flight."""
    waiting: deque[Future[Part]] = deque()
    for chunk in chunks:
        waiting.append(submit(chunk))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables for processes that are begun meanwhile, where they are not set."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


# -- in a process of `Processes` ---------------------------------------------------------------------------------------

_held: dict[str, Work] = {}


def _begin(work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to all of them; the first one ends the others
    threading.Thread(target=_with_parent, daemon=True).start()
    _held["work"] = work


def _with_parent() -> None:
    """End with the process that began this one, even where that was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(chunk: Chunk) -> Part:
    return _held["work"](chunk)
