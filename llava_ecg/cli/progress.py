"""A line on standard error that says how far a long run is, how fast it goes and how long the rest will take."""

from __future__ import annotations

import sys
import time

_EVERY_S = {True: 0.5, False: 30.0}  # a line of progress: on a terminal, in a log


class Progress:
    """How many are done and how long the rest will take.

    Args:
        whole: how many there are to do.
        before: how many of them were done before this run; they don't count for its speed.
    """

    def __init__(self, whole: int, before: int = 0) -> None:
        self.whole, self.done, self.before = whole, before, before
        self.begun = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def add(self, count: int = 1) -> None:
        """So many more."""
        self.done += count
        now = time.monotonic()
        if now - self.shown >= _EVERY_S[self.terminal]:
            self.shown = now
            self._write(now)

    def end(self) -> None:
        """All of them, or as many as there will be."""
        self._write(time.monotonic())
        if self.terminal:
            sys.stderr.write("\n")

    def _write(self, now: float) -> None:
        rate = (self.done - self.before) / max(now - self.begun, 1e-9)
        left = f", {clock((self.whole - self.done) / rate)} left" if rate else ""
        text = f"{self.done:,} of {self.whole:,}, {60 * rate:.3g} a minute{left}"
        sys.stderr.write(f"\r{text}\x1b[K" if self.terminal else f"{text}\n")
        sys.stderr.flush()


def clock(seconds: float) -> str:
    """``3:07`` or ``12:03:07``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
