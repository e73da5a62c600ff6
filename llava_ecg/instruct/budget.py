"""`Budget`: how many requests a minute, and how many tokens and how much money in all, a remote writer may use.

What a request may cost at most is set aside before it is sent, so no bound is ever passed. What was used stands in
``spent.jsonl`` in the folder of answers: the bounds on tokens and money are on all runs with that folder together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.data.journal import Journal

_MILLION = 1_000_000


class StoppedError(Exception):
    """The run ends here, and the same command goes on; the message is a sentence that says why."""


@dataclass(frozen=True)
class Limits:
    """Bounds, each None where there is none.

    Attributes:
        requests_per_minute: evenly spread.
        max_tokens_total: of questions and answers together.
        max_cost: in the currency of the prices.
        price_in, price_out: for a million tokens of questions and of answers.
    """

    requests_per_minute: float | None = None
    max_tokens_total: int | None = None
    max_cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / _MILLION


@dataclass(frozen=True)
class Reserved:
    """Tokens that are set aside for a request."""

    tokens_in: int
    tokens_out: int


class Budget:
    """The bounds, and what was used of them. Threads may share it.

    Args:
        limits: the bounds.
        folder: of the answers; one run at a time uses it.
        clock: seconds.

    Attributes:
        requests, tokens_in, tokens_out: of this run; `before` are the tokens, in and out, of the runs before it.

    Raises:
        InputError: another run uses the folder, or it can't be written.
    """

    def __init__(self, limits: Limits, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        self._journal = Journal(folder / "spent.jsonl", "tokens_in")
        self.before = (
            sum(line["tokens_in"] for line in self._journal.lines),
            sum(line["tokens_out"] for line in self._journal.lines),
        )
        self._journal.lines.clear()
        self.requests = self.tokens_in = self.tokens_out = 0
        self._held: dict[int, Reserved] = {}
        self._lock = threading.Lock()
        self._next = clock()
        self._stop = threading.Event()
        self._why = ""
        self._closed = False

    def close(self) -> None:
        """Let no more requests through, wake who waits, and let another run have the folder."""
        self.stop("the run is over")
        with self._lock:
            self._closed = True
            self._journal.__exit__(None, None, None)

    def stop(self, why: str) -> None:
        """Let no more requests through."""
        self._why = self._why or why
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait, unless the run is stopped.

        Raises:
            StoppedError: it is.
        """
        if self._stop.wait(max(0.0, seconds)):
            raise StoppedError(self._why)

    def take(self, need: Reserved) -> Reserved:
        """Set tokens aside for one request and wait for its turn.

        Returns:
            What `settle` wants back.

        Raises:
            StoppedError: a bound would be passed, or the run was stopped.
        """
        with self._lock:
            if self._stop.is_set():
                raise StoppedError(self._why)
            own = Reserved(need.tokens_in, need.tokens_out)
            if said := self._passed(own):
                self.stop(said)
                raise StoppedError(said)
            self._held[id(own)] = own
            now = self.clock()
            turn = max(now, self._next)
            if self.limits.requests_per_minute is not None:
                self._next = turn + 60.0 / self.limits.requests_per_minute
        try:
            self.wait(turn - now)
        except StoppedError:
            self.settle(own, None)
            raise
        return own

    def settle(self, reserved: Reserved, used: Reserved | None, *, sent: bool = False) -> None:
        """Give back what was set aside, and note what was used.

        Args:
            used: None where nothing is charged.
            sent: whether a request was made.
        """
        with self._lock:
            self._held.pop(id(reserved), None)
            self.requests += sent
            if used is not None:
                self.tokens_in += used.tokens_in
                self.tokens_out += used.tokens_out
                if not self._closed:  # else a request that the end of the run left behind
                    self._journal.add({"tokens_in": used.tokens_in, "tokens_out": used.tokens_out})

    def spent(self) -> Mapping[str, Any]:
        """What this run used, and all runs with this folder."""
        tokens_in, tokens_out = self.before[0] + self.tokens_in, self.before[1] + self.tokens_out
        return {
            "requests": self.requests,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "cost": round(self.limits.cost(self.tokens_in, self.tokens_out), 6),
            "all_tokens": tokens_in + tokens_out,
            "all_cost": round(self.limits.cost(tokens_in, tokens_out), 6),
        }

    def _passed(self, more: Reserved) -> str:
        """A sentence where the bounds do not allow so much more; else empty."""
        tokens_in = self.before[0] + self.tokens_in + sum(each.tokens_in for each in self._held.values())
        tokens_out = self.before[1] + self.tokens_out + sum(each.tokens_out for each in self._held.values())
        whole = tokens_in + tokens_out + more.tokens_in + more.tokens_out
        bound = self.limits.max_tokens_total
        if bound is not None and whole > bound:
            return f"--max_tokens_total {bound} is used up: the next request might pass it, with {whole}"
        cost = self.limits.cost(tokens_in + more.tokens_in, tokens_out + more.tokens_out)
        if self.limits.max_cost is not None and cost > self.limits.max_cost:
            return f"--max_cost {self.limits.max_cost:g} is used up: the next request might pass it, with {cost:.4g}"
        return ""
