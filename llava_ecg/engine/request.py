"""What the engine is asked, and later the answer: `Request`; and what is said where memory is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from llava_ecg.engine.sampling import Chooser, Sampling
from llava_ecg.errors import InputError

NO_NUMBER = "the language model's scores hold NaN or infinity"
NO_ROOM = "the memory has no room for this question, even alone; ask less at once, or give the model more memory"


class MemoryFull(InputError):
    """The memory has no room for a request, even alone."""


@dataclass
class Request:
    """What is to be answered, and, later, the answer.

    Attributes:
        embeddings: [S, D] of the prompt; let go when it was read.
        new_tokens: the longest answer.
        stops: ids that end an answer; the one that did is its last.
        sampling: how tokens are chosen.
        on_token: called with each new id; True ends the answer there.
        on_no_number: called with scores [V] that hold NaN or infinity, to raise what is to be said of them.
        tag: whatever its maker wants to know it by.
        ids: the answer so far.
        finished: ``stop``, ``length``, ``over`` (`on_token` said so), ``error``; None while it goes on.
        error: why it failed.
        begun: how many of `ids` are in `embeddings` already, as memory was full and they are read again.
    """

    embeddings: torch.Tensor | None
    new_tokens: int
    stops: frozenset[int] = frozenset()
    sampling: Sampling = Sampling()  # noqa: RUF009 (frozen)
    on_token: Callable[[int], bool] | None = None
    on_no_number: Callable[[torch.Tensor], object] | None = None
    tag: Any = None
    ids: list[int] = field(default_factory=list)
    finished: str | None = None
    error: InputError | None = None
    begun: int = 0
    _chooser: Chooser = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._chooser = Chooser(self.sampling)

    def take(self, scores: torch.Tensor, likeliest: int, best: float) -> None:
        """The next token, from scores [V], the likeliest of them and its score."""
        if not best < float("inf"):  # NaN neither: a maximum is NaN if any is
            try:
                if self.on_no_number is not None:
                    self.on_no_number(scores)
                raise InputError(NO_NUMBER)
            except InputError as error:
                self.error, self.finished = error, "error"
            return
        token = likeliest if self.sampling.plain else self._chooser.choose(scores, self.ids)
        self.ids.append(token)
        over = self.on_token is not None and self.on_token(token)
        if token in self.stops:
            self.finished = "stop"
        elif over:
            self.finished = "over"
        elif len(self.ids) >= self.new_tokens:
            self.finished = "length"


def memory_full(error: BaseException) -> bool:
    """Whether an error says that there is no memory for something: a device's, Python's, or torch's on a CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
