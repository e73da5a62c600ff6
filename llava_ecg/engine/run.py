"""Requests in, ids out: `Engine` answers several at once, each in a slot, and gives a slot to the next request as soon
as it is free (continuous batching).

What begins as another prompt did, one that is being answered or one of the last, takes over its keys and values for as
long as the two are the same (`llava_ecg.engine.kept`), and only the rest is read.

A request's embeddings may be made when its turn comes: requests are taken from an iterable, not a list. None from it
says that nothing waits just now: those that are being answered go on, and it is asked again.

On CUDA a step begins before Python has read what the one before it gave (`llava_ecg.engine.step`), as long as the same
sequences go on and each takes its likeliest token: the device waits for nobody.

Where memory is full, what was kept goes first, then half of the slots; who was in them is read again, with what was
answered so far, and goes on. A request that finds no room alone fails alone (`llava_ecg.engine.request.MemoryFull`).

Axes: S places of a prompt, D width, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from llava_ecg.engine.attention import extend, varlen
from llava_ecg.engine.decoder import Decoder, refusal
from llava_ecg.engine.kept import Finished, Kept, shared, worth
from llava_ecg.engine.memory import free_bytes
from llava_ecg.engine.request import NO_ROOM, MemoryFull, Request, memory_full
from llava_ecg.engine.slots import Slots
from llava_ecg.engine.state import State
from llava_ecg.engine.step import Ahead, Known, Steps, Told

PROMPTS = 4096
"""Places of prompts that are read in one pass, at most, unless one alone has more."""

_END = object()


class Engine:
    """Answers requests on one language model.

    Args:
        language_model: see `llava_ecg.engine.decoder.Decoder`.
        kept: the last finished sequences, for what begins as they did; None to read every prompt whole.
        ahead: whether a step may begin before the one before it was read; None for where it pays, on CUDA.

    Raises:
        ValueError: it is none that the step knows; see `llava_ecg.engine.decoder.refusal`.
    """

    def __init__(self, language_model: Any, kept: Kept | None = None, *, ahead: bool | None = None) -> None:
        self.language_model = language_model
        self.decoder = Decoder(language_model)
        self.kept = kept
        self.ahead = ahead
        self._left: tuple[State, Slots, Ahead] | None = None

    @property
    def place_bytes(self) -> int:
        """What the keys and values of one place take, in all layers."""
        decoder = self.decoder
        return 2 * len(decoder.layers) * decoder.key_heads * decoder.head_width * decoder.weight.element_size()

    def free_bytes(self) -> int:
        """Memory that is free on its device."""
        return free_bytes(self.decoder.weight.device)

    def run(
        self, requests: Iterable[Request | None], slots: int = 1, *, on_fewer: Callable[[int], object] | None = None
    ) -> Iterator[Request]:
        """Answer them, at most `slots` at once, and give each out when it is finished.

        What a callback raises ends the run; scores that are no number end their request alone, as its `error`.

        Args:
            requests: taken one by one as slots become free. None says that nothing waits just now; where nothing is
                being answered either it is asked again at once, so then it had better wait itself.
            slots: at most so many at once.
            on_fewer: told how many slots are left each time that memory is full; by default a warning says so.

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
        run = _Run(self, slots, kept, on_fewer or _warn)
        try:
            yield from run.all(iter(requests))
        finally:
            self._leave(run.slots, run.steps)

    def room(self, count: int) -> tuple[Slots, Steps]:
        """Slots for so many at once, and the steps on them; those of the last run where they fit, with its graphs."""
        left, self._left = self._left, None
        if left is not None and len(left[1].lengths) == count and left[0].same(State(self.language_model)):
            return left[1:]
        del left  # before the new ones take their place
        decoder = self.decoder
        slots = Slots(len(decoder.layers), count, decoder.key_heads, decoder.head_width, decoder.weight.detach())
        ahead = decoder.weight.is_cuda if self.ahead is None else self.ahead
        return slots, Ahead(decoder, slots) if ahead else Known(decoder, slots)

    def _leave(self, slots: Slots, steps: Steps) -> None:
        """Keep for the next run what took long to make."""
        if isinstance(steps, Ahead) and steps.graphs:
            slots.lengths = [0] * len(slots.lengths)
            self._left = State(self.language_model), slots, steps


class _Flight(NamedTuple):
    """A step that was begun, and whose it is: slot -> request."""

    told: Told
    of: dict[int, Request]

    def is_of(self, active: dict[int, Request]) -> bool:
        """Whether it is of these, all of them, and of no other."""
        return self.of.keys() == active.keys() and all(self.of[row] is active[row] for row in active)


class _Run:
    """One run: its slots, and who is in them."""

    def __init__(self, engine: Engine, count: int, kept: Kept | None, on_fewer: Callable[[int], object]) -> None:
        self.engine, self.decoder, self.kept, self.on_fewer = engine, engine.decoder, kept, on_fewer
        self.slots, self.steps = engine.room(count)
        self.flight: _Flight | None = None
        self.active: dict[int, Request] = {}
        self.prompts: dict[int, torch.Tensor] = {}  # [S, D] of those in slots, to be compared
        self._again: deque[Request] = deque()  # to be read again, before those that wait
        self._out: list[Request] = []
        self._more = True

    def all(self, waiting: Iterator[Request | None]) -> Iterator[Request]:
        while self._more or self.active or self._again:
            if taken := self._next(waiting):
                self._within_memory(self._begin, taken)
                yield from self._finished()
            if self.active:
                self._within_memory(self._go_on, {})
                yield from self._finished()

    def _next(self, waiting: Iterator[Request | None]) -> dict[int, Request]:
        """Requests for the free slots, as long as their prompts are read in one pass."""
        free = [slot for slot in range(len(self.slots.lengths)) if slot not in self.active]
        taken: dict[int, Request] = {}
        places = 0
        while len(taken) < len(free) and places < PROMPTS:
            request: Any = self._again.popleft() if self._again else next(waiting, _END) if self._more else _END
            if request is None:
                break
            if request is _END:
                self._more = False
                break
            if request.embeddings is None or not len(request.embeddings):
                raise ValueError("a request needs embeddings [S, D] of at least one place")
            taken[free[len(taken)]] = request
            places += len(request.embeddings)
        return taken

    def _begin(self, taken: dict[int, Request]) -> None:
        """Read the prompts of those that were taken, and choose the first token of each."""
        while taken:
            wave, begun = self._wave(taken)
            taken = {slot: request for slot, request in taken.items() if slot not in wave}
            self._choose(list(wave), self._read(wave, begun))

    def _go_on(self, _: dict[int, Request]) -> None:
        """One token more of each; where steps may begin ahead, of the step that is on its way."""
        ahead = isinstance(self.steps, Ahead) and all(request.sampling.plain for request in self.active.values())
        flight = self.flight
        if flight is not None and not (ahead and flight.is_of(self.active)):
            self._land(flight)
            return
        flight = flight or self._launch({row: request.ids[-1] for row, request in self.active.items()})
        # the token on its way is the last of some: then who goes on is known once it came
        goes_on = ahead and all(len(request.ids) + 1 < request.new_tokens for request in self.active.values())
        self.flight = self._launch(None) if goes_on and self.slots.places > max(self.slots.lengths) + 1 else None
        self._land(flight, self.flight)

    def _within_memory(self, work: Callable[[dict[int, Request]], None], taken: dict[int, Request]) -> None:
        """Work on requests, and where there is no memory for it make room, so that they can be read again."""
        try:
            work(taken)
            return
        except (MemoryError, RuntimeError) as error:
            if not memory_full(error):
                raise
        # behind the except: what the error's frames hold is let go by now
        self._make_room(taken)

    def _make_room(self, taken: dict[int, Request]) -> None:
        """Put everybody back who is not finished; drop what is kept, or half of the slots where nothing is.

        A request that is alone and still has no room fails.
        """
        back = {slot: request for slot, request in (self.active | taken).items() if request.finished is None}
        for slot, request in back.items():
            if request.embeddings is None:
                said = torch.tensor(request.ids[request.begun :], dtype=torch.long, device=self.decoder.weight.device)
                prompt = self.prompts[slot]
                request.embeddings = torch.cat([prompt, self.decoder.embed(said).detach().to(prompt.dtype)])
                request.begun = len(request.ids)
            self.active.pop(slot, None)
            self.prompts.pop(slot, None)
        self._out += self.active.values()  # finished in this very pass: given out with those that failed
        for slot in list(self.active):
            del self.active[slot], self.prompts[slot]
        count, kept = len(self.slots.lengths), self.kept is not None and len(self.kept)
        if self.kept is not None:
            self.kept.clear()
        if not kept and count == 1:
            for request in back.values():
                request.error, request.finished = MemoryFull(NO_ROOM), "error"
                self._out.append(request)
        else:
            self._again.extendleft(reversed(back.values()))
        fewer = count if kept else max(1, count // 2)
        self.flight = None
        self.slots, self.steps = self.engine.room(fewer)
        if self.decoder.weight.is_cuda:
            torch.cuda.empty_cache()
        if fewer < count:
            self.on_fewer(fewer)

    def _reserve(self, places: int) -> None:
        """Room for so many places in each slot.

        Raises:
            MemoryError: more than is free on a CPU, where the system promises memory that it does not have.
        """
        if places > self.slots.places:
            wanted = self.slots.rounded(places) * len(self.slots.lengths) * self.engine.place_bytes
            if self.decoder.weight.device.type == "cpu" and wanted > self.engine.free_bytes():
                raise MemoryError
        self.slots.reserve(places)

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
        room = 1
        if isinstance(self.steps, Ahead) and self.steps.graphs:  # slots that move later cost their graphs
            room = max(request.new_tokens - len(request.ids) for request in taken.values())
        self._reserve(max(lengths) + max(1, room))
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
        self.active |= taken
        return self.decoder.scores(last)

    def _launch(self, ids: dict[int, int] | None) -> _Flight:
        """One place more of each that is active.

        Args:
            ids: of each, at that place; None for what comes of the step that is on its way.
        """
        rows = list(self.active)
        before = [self.slots.lengths[row] + (ids is None) for row in rows]
        self._reserve(max(before) + 1)
        told = self.steps.launch(rows, before, None if ids is None else [ids[row] for row in rows])
        return _Flight(told, dict(self.active))

    def _land(self, flight: _Flight, following: _Flight | None = None) -> None:
        """Take what a step gave; not for a request that ended meanwhile, or that another one followed in its slot."""
        self.flight = following
        for (row, request), scores, (likeliest, best) in zip(
            flight.of.items(), flight.told.scores, flight.told.read(), strict=True
        ):
            if self.active.get(row) is request:
                self.slots.lengths[row] += 1
                request.take(scores, likeliest, best)

    def _choose(self, rows: Sequence[int], scores: torch.Tensor) -> None:
        """The next token of each; outside of the inference mode, as callbacks are others' code."""
        best, likeliest = scores.max(dim=-1)
        for row, own, first, score in zip(rows, scores, likeliest.tolist(), best.tolist(), strict=True):
            self.active[row].take(own, first, score)

    def _finished(self) -> Iterator[Request]:
        while self._out:
            yield self._out.pop(0)
        for slot in [slot for slot, request in self.active.items() if request.finished is not None]:
            request, prompt = self.active.pop(slot), self.prompts.pop(slot)
            if self.kept is not None:
                try:
                    self._keep(self.kept, slot, prompt, request)
                except (MemoryError, RuntimeError) as error:
                    if not memory_full(error):
                        raise
                    self.kept.clear()
            self.slots.lengths[slot] = 0
            yield request

    @torch.inference_mode()
    def _keep(self, kept: Kept, slot: int, prompt: torch.Tensor, request: Request) -> None:
        """Keep what was read and answered: all but the last token, which nothing followed."""
        held = self.slots.held(slot, self.slots.lengths[slot])
        if request.error is not None or held.numel() * held.element_size() > kept.limit:
            return
        said = torch.tensor(request.ids[request.begun : -1], dtype=torch.long, device=prompt.device)
        kept.add(Finished(torch.cat([prompt, self.decoder.embed(said).to(prompt.dtype)]), held.clone()))


def _warn(slots: int) -> None:
    warnings.warn(f"memory is full: {slots} at once from now on", stacklevel=2)
