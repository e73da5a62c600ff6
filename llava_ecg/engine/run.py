"""Requests in, ids out: `Engine` answers several at once, each in a slot, and gives a slot to the next request as soon
as it is free (continuous batching).

A request's embeddings may be made when its turn comes: requests are taken from an iterable, not a list.

Axes: S places of a prompt, D width, V vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llava_ecg.engine.attention import decode, varlen
from llava_ecg.engine.decoder import Decoder, refusal
from llava_ecg.engine.sampling import Chooser, Sampling
from llava_ecg.engine.slots import Slots
from llava_ecg.errors import InputError

PROMPTS = 4096
"""Places of prompts that are read in one pass, at most, unless one alone has more."""

NO_NUMBER = "the language model's scores hold NaN or infinity"


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


class Engine:
    """Answers requests on one language model.

    Args:
        language_model: see `llava_ecg.engine.decoder.Decoder`.

    Raises:
        ValueError: it is none that the step knows; see `llava_ecg.engine.decoder.refusal`.
    """

    def __init__(self, language_model: Any) -> None:
        self.language_model = language_model
        self.decoder = Decoder(language_model)

    @property
    def place_bytes(self) -> int:
        """What the keys and values of one place take, in all layers."""
        decoder = self.decoder
        return 2 * len(decoder.layers) * decoder.key_heads * decoder.head_width * decoder.weight.element_size()

    def free_bytes(self) -> int:
        """Memory that is free on its device."""
        device = self.decoder.weight.device
        if device.type == "cuda":
            free: int = torch.cuda.mem_get_info(device)[0]
            return free
        try:  # what the system would give, caches of files included
            lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        except (OSError, StopIteration):
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2

    def run(self, requests: Iterable[Request], slots: int = 1) -> Iterator[Request]:
        """Answer them, at most `slots` at once, and give each out when it is finished.

        What a callback raises ends the run; scores that are no number end their request alone, as its `error`.

        Raises:
            ValueError: the language model changed into one that the step does not know, or no slot.
        """
        if slots < 1:
            raise ValueError(f"{slots} slots can't answer anything; give at least 1")
        if (why := refusal(self.language_model)) is not None:
            raise ValueError(f"the step can't run this language model: {why}")
        self.decoder.refresh()
        yield from _Run(self.decoder, slots).all(iter(requests))


class _Run:
    """One run: its slots, and who is in them."""

    def __init__(self, decoder: Decoder, count: int) -> None:
        self.decoder = decoder
        self.slots = Slots(len(decoder.layers), count, decoder.key_heads, decoder.head_width, decoder.weight.detach())
        self.active: dict[int, Request] = {}
        self._more = True

    def all(self, waiting: Iterator[Request]) -> Iterator[Request]:
        while self._more or self.active:
            taken = self._next(waiting)
            if taken:
                self._choose(list(taken), self._read(taken))
                yield from self._finished()
            if self.active:
                self._choose(list(self.active), self._step())
                yield from self._finished()

    def _next(self, waiting: Iterator[Request]) -> dict[int, Request]:
        """Requests for the free slots, as long as their prompts are read in one pass."""
        free = [slot for slot in range(len(self.slots.lengths)) if slot not in self.active]
        taken: dict[int, Request] = {}
        places = 0
        while self._more and len(taken) < len(free) and places < PROMPTS:
            request = next(waiting, None)
            if request is None:
                self._more = False
                break
            if request.embeddings is None or not len(request.embeddings):
                raise ValueError("a request needs embeddings [S, D] of at least one place")
            taken[free[len(taken)]] = request
            places += len(request.embeddings)
        return taken

    @torch.inference_mode()
    def _read(self, taken: dict[int, Request]) -> torch.Tensor:
        """Read prompts, one behind the other in one pass: scores [n, V] of each one's first token."""
        like = self.decoder.weight
        prompts = [request.embeddings for request in taken.values() if request.embeddings is not None]
        counts = [len(prompt) for prompt in prompts]
        self.slots.reserve(max(counts) + 1)
        segments = torch.tensor([0, *counts], device=like.device).cumsum(0)
        positions = torch.cat([torch.arange(count, device=like.device) for count in counts])

        def attend(
            number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
        ) -> torch.Tensor:
            for slot, k, v in zip(taken, key.split(counts), value.split(counts), strict=True):
                self.slots.write(number, slot, k, v)
            return varlen(query, key, value, segments.int(), max(counts), scale=scale, window=window)

        values = torch.cat(prompts).to(like.device, like.dtype)
        last = self.decoder.hidden(values, positions, counts, attend)[segments[1:] - 1]
        for (slot, request), count in zip(taken.items(), counts, strict=True):
            self.slots.lengths[slot], request.embeddings = count, None
        self.active |= taken
        return self.decoder.scores(last)

    @torch.inference_mode()
    def _step(self) -> torch.Tensor:
        """One place more of each: scores [B, V]."""
        rows = list(self.active)
        device = self.decoder.weight.device
        before = [self.slots.lengths[row] for row in rows]
        after = [length + 1 for length in before]
        self.slots.reserve(max(after))
        ids, places, slots = torch.tensor([[self.active[row].ids[-1] for row in rows], before, rows], device=device)

        def attend(
            number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
        ) -> torch.Tensor:
            self.slots.append(number, slots, places, key, value)
            keys, values = self.slots.layers[number]
            return decode(query, keys, values, rows, after, scale=scale, window=window)

        last = self.decoder.hidden(self.decoder.embed(ids), places, [1] * len(rows), attend)
        for row in rows:
            self.slots.lengths[row] += 1
        return self.decoder.scores(last)

    def _choose(self, rows: Sequence[int], scores: torch.Tensor) -> None:
        """The next token of each; outside of the inference mode, as callbacks are others' code."""
        best, likeliest = scores.max(dim=-1)
        for row, own, first, score in zip(rows, scores, likeliest.tolist(), best.tolist(), strict=True):
            self.active[row].take(own, first, score)

    def _finished(self) -> Iterator[Request]:
        for slot in [slot for slot, request in self.active.items() if request.finished is not None]:
            self.slots.lengths[slot] = 0
            yield self.active.pop(slot)
