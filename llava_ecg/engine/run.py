"""Requests in, ids out: `Engine` answers several at once, each in a slot, and gives a slot to the next request as soon
as it is free (continuous batching).

What begins as another prompt did, one that is being answered or one of the last, takes over its keys and values for as
long as the two are the same (`llava_ecg.engine.kept`), and only the rest is read.

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

from llava_ecg.engine.attention import decode, extend, varlen
from llava_ecg.engine.decoder import Decoder, refusal
from llava_ecg.engine.kept import Finished, Kept, shared, worth
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
        kept: the last finished sequences, for what begins as they did; None to read every prompt whole.

    Raises:
        ValueError: it is none that the step knows; see `llava_ecg.engine.decoder.refusal`.
    """

    def __init__(self, language_model: Any, kept: Kept | None = None) -> None:
        self.language_model = language_model
        self.decoder = Decoder(language_model)
        self.kept = kept

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
        # where frequencies hang on a sequence's length, its first places' keys are others in a longer one
        kept = None if self.decoder.moving else self.kept
        if kept is not None:
            kept.hold_for(self.language_model)
        yield from _Run(self.decoder, slots, kept).all(iter(requests))


class _Run:
    """One run: its slots, and who is in them."""

    def __init__(self, decoder: Decoder, count: int, kept: Kept | None) -> None:
        self.decoder, self.kept = decoder, kept
        self.slots = Slots(len(decoder.layers), count, decoder.key_heads, decoder.head_width, decoder.weight.detach())
        self.active: dict[int, Request] = {}
        self.prompts: dict[int, torch.Tensor] = {}  # [S, D] of those in slots, to be compared
        self._more = True

    def all(self, waiting: Iterator[Request]) -> Iterator[Request]:
        while self._more or self.active:
            taken = self._next(waiting)
            if taken:
                while taken:
                    wave, begun = self._wave(taken)
                    taken = {slot: request for slot, request in taken.items() if slot not in wave}
                    self._choose(list(wave), self._read(wave, begun))
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

    def _wave(self, taken: dict[int, Request]) -> tuple[dict[int, Request], list[torch.Tensor]]:
        """Which of them to read in one pass, and what is there of each already (empty where nothing is).

        Those that begin as an earlier one among them does wait for it; it may be read in this pass.
        """
        like = self.decoder.weight
        for slot, request in taken.items():
            if slot not in self.prompts and request.embeddings is not None:
                self.prompts[slot] = request.embeddings.detach().to(like.device, like.dtype)
        if self.kept is None:
            return taken, []
        fresh: dict[int, Request] = {}
        going_on: dict[int, Request] = {}
        begun = []
        for number, (slot, request) in enumerate(taken.items()):
            places, source = self._like(slot)
            earlier = list(taken)[:number]
            if any(worth(self._shared(slot, self.prompts[other]), places) for other in earlier):
                continue
            if source is None:
                fresh[slot] = request
            else:
                going_on[slot] = request
                begun.append(source)
        return (fresh, []) if fresh else (going_on, begun)

    def _like(self, slot: int) -> tuple[int, torch.Tensor | None]:
        """How many first places of a prompt are in another slot, or kept, and their keys and values."""
        most, found, used = 0, None, None
        for other in self.active:
            if (places := self._shared(slot, self.prompts[other])) > most:
                most, found = places, self.slots.held(other, places)
        for sequence in self.kept or ():
            if (places := self._shared(slot, sequence.embeddings)) > most:
                most, found, used = places, sequence.held[:, :, :, :places], sequence
        if self.kept is not None and used is not None:
            self.kept.used(used)
        return most, found

    def _shared(self, slot: int, other: torch.Tensor) -> int:
        """At most all places but the last one, whose scores are wanted."""
        own = self.prompts[slot]
        return min(shared(own, other), len(own) - 1)

    @torch.inference_mode()
    def _read(self, taken: dict[int, Request], begun: list[torch.Tensor]) -> torch.Tensor:
        """Read prompts, one behind the other in one pass: scores [n, V] of each one's first token.

        Args:
            taken: by slot.
            begun: keys and values [2, layers, K, places, d] of each one's first places; empty if there are none.
        """
        like = self.decoder.weight
        lengths = [len(self.prompts[slot]) for slot in taken]
        firsts = [held.shape[3] for held in begun] or [0] * len(taken)
        counts = [length - first for length, first in zip(lengths, firsts, strict=True)]
        self.slots.reserve(max(lengths) + 1)
        for slot, held in zip(taken, begun, strict=bool(begun)):
            self.slots.put(slot, held)
        segments = torch.tensor([0, *counts], device=like.device).cumsum(0)
        positions = torch.cat([torch.arange(*ends, device=like.device) for ends in zip(firsts, lengths, strict=True)])

        def attend(
            number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
        ) -> torch.Tensor:
            for slot, k, v, first in zip(taken, key.split(counts), value.split(counts), firsts, strict=True):
                self.slots.write(number, slot, k, v, first)
            if begun:
                keys, values = self.slots.layers[number]
                return extend(query, keys, values, list(taken), counts, lengths, scale=scale, window=window)
            return varlen(query, key, value, segments.int(), max(counts), scale=scale, window=window)

        values = torch.cat([self.prompts[slot][first:] for slot, first in zip(taken, firsts, strict=True)])
        last = self.decoder.hidden(values, positions, counts, attend)[segments[1:] - 1]
        for (slot, request), length in zip(taken.items(), lengths, strict=True):
            self.slots.lengths[slot], request.embeddings = length, None
            if self.kept is None:
                del self.prompts[slot]
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
            request = self.active.pop(slot)
            if self.kept is not None:
                self._keep(self.kept, slot, request)
            self.slots.lengths[slot] = 0
            yield request

    @torch.inference_mode()
    def _keep(self, kept: Kept, slot: int, request: Request) -> None:
        """Keep what was read and answered: all but the last token, which nothing followed."""
        prompt, places = self.prompts.pop(slot), self.slots.lengths[slot]
        held = self.slots.held(slot, places)
        if request.error is not None or held.numel() * held.element_size() > kept.limit:
            return
        said = torch.tensor(request.ids[:-1], dtype=torch.long, device=prompt.device)
        kept.add(Finished(torch.cat([prompt, self.decoder.embed(said).to(prompt.dtype)]), held.clone()))
