"""A line that says how far a long look through records has come."""

from __future__ import annotations

import sys
import time

_EVERY_S = 0.2
_SLOW_S = 2.0  # before which no progress is shown


class Bar:
    """A line on standard error that says how far the looking has come; nothing while it is quick."""

    def __init__(self) -> None:
        self.begun = self.shown = time.monotonic()
        self.wrote = False

    def __call__(self, done: int, whole: int) -> None:
        now = time.monotonic()
        if now - self.begun < _SLOW_S or now - self.shown < _EVERY_S:
            return
        self.shown, self.wrote = now, True
        left = (now - self.begun) / done * (whole - done)
        sys.stderr.write(f"\r{done:,} of {whole:,} records, {left:.0f} s left\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.wrote:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
