"""Ending in good order: who is asked to end while something is half-made on disk tidies up first. Needs no torch."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stops_orderly() -> Iterator[None]:
    """While the block runs, a request to end (SIGTERM, SIGHUP) leaves it by SystemExit, so that nothing half-made stays
    on disk.

    Where somebody else handles the signal, or outside of the main thread, which alone may, all stays as it is.
    """
    numbers = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def stop(number: int, _: Any) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # the second request finds the first at work
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
