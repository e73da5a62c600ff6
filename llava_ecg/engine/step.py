"""One step of answering: one place more of each of several sequences, and the likeliest token of each.

`Known` is the obvious way: Python knows each number and hands it over. `Ahead` keeps the numbers on the device, in
buffers of a few fixed sizes, so that the next step can begin before Python has heard of this one, and so that on CUDA
all of a step is one captured graph. Both give the same tokens.

Axes: B sequences, N slots, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from llava_ecg.engine.attention import NoFlash, decode
from llava_ecg.engine.decoder import Decoder
from llava_ecg.engine.kernels import Numbers
from llava_ecg.engine.slots import Slots

WARM = 2
"""Runs before a graph is captured: kernels are compiled, and libraries take their workspaces."""


class Told(Protocol):
    """What a step gives.

    Attributes:
        scores: float32 [B, V]; of a captured graph, until its next step.
    """

    scores: torch.Tensor

    def read(self) -> list[tuple[int, float]]:
        """The likeliest token of each, and its score; waits for them."""
        ...


class Steps(Protocol):
    """Steps on the slots of a run."""

    def launch(self, rows: Sequence[int], lengths: Sequence[int], ids: Sequence[int] | None) -> Told:
        """One place more of each.

        Args:
            rows: the slot of each of the B sequences.
            lengths: how many places of its slot each has filled, without the new one.
            ids: the token at the new place; None for what the step before gave, of the same sequences.
        """
        ...


class Read:
    """Scores of which nothing is kept on the way."""

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores

    def read(self) -> list[tuple[int, float]]:
        """See `Told`."""
        best, likeliest = self.scores.max(dim=-1)
        return list(zip(likeliest.tolist(), best.tolist(), strict=True))


class Known:
    """See `Steps`; it needs ids."""

    def __init__(self, decoder: Decoder, slots: Slots) -> None:
        self.decoder, self.slots = decoder, slots

    @torch.inference_mode()
    def launch(self, rows: Sequence[int], lengths: Sequence[int], ids: Sequence[int] | None) -> Told:
        """See `Steps`."""
        if ids is None:
            raise ValueError("this step begins when its ids are known")
        numbers = torch.tensor([ids, lengths, rows], device=self.decoder.weight.device)
        return Read(_scores(self.decoder, self.slots, numbers, rows, [length + 1 for length in lengths]))


class Ahead:
    """See `Steps`; a step may begin before the one before it was read.

    Args:
        decoder, slots: what is read, and where keys and values are kept.
        graphs: capture a graph for each number of sequences; None to do so on CUDA, where the model allows it.
    """

    def __init__(self, decoder: Decoder, slots: Slots, *, graphs: bool | None = None) -> None:
        self.decoder, self.slots = decoder, slots
        self.graphs = decoder.weight.is_cuda and not decoder.moving if graphs is None else graphs
        self._buffers: dict[int, _Buffer] = {}
        self._moves = slots.moves
        self._given: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @torch.inference_mode()
    def launch(self, rows: Sequence[int], lengths: Sequence[int], ids: Sequence[int] | None) -> Told:
        """See `Steps`."""
        if self._moves != self.slots.moves:  # a graph reads where they lay
            for each in self._buffers.values():
                each.forget()
            self._moves = self.slots.moves
        buffer = self._buffer(len(rows))
        if ids is not None:
            buffer.fill(ids, lengths, rows)
        elif self._given != (tuple(rows), tuple(lengths)):
            raise ValueError("these are not the sequences of the step before, one place on; give this step its ids")
        self._given = tuple(rows), tuple(length + 1 for length in lengths)
        try:
            return buffer.step(len(rows), captured=self.graphs)
        except NotCaptured as error:
            told = f"a step of this model can't be captured as a CUDA graph ({error}); it goes on without"
            warnings.warn(told, stacklevel=2)
            self.graphs = False
            return buffer.step(len(rows), captured=False)

    def _buffer(self, count: int) -> _Buffer:
        size = size_of(count, len(self.slots.lengths))
        if size not in self._buffers:
            self._buffers[size] = _Buffer(self.decoder, self.slots, size)
        return self._buffers[size]


class NotCaptured(RuntimeError):
    """A step that could not be captured as a graph."""


def size_of(count: int, slots: int) -> int:
    """How many sequences the buffer for so many has: the next power of two, but at most one for each slot."""
    return min(1 << (count - 1).bit_length(), slots)


class _Buffer:
    """A step of so many sequences. Where fewer are given the first stands in for the others too: it writes the same
    numbers to the same place again."""

    def __init__(self, decoder: Decoder, slots: Slots, size: int) -> None:
        self.decoder, self.slots, self.size = decoder, slots, size
        self.device = decoder.weight.device
        self.numbers = torch.zeros(3, size, dtype=torch.long, device=self.device)  # ids, places, rows
        self._graph: Any = None
        self._out: tuple[torch.Tensor, torch.Tensor] | None = None

    def forget(self) -> None:
        """Capture anew, at the next step."""
        self._graph = self._out = None

    def fill(self, ids: Sequence[int], lengths: Sequence[int], rows: Sequence[int]) -> None:
        spare = self.size - len(ids)
        told = torch.tensor([[*each, *[each[0]] * spare] for each in (ids, lengths, rows)])
        if self.device.type == "cuda":
            told = told.pin_memory()
        self.numbers.copy_(told, non_blocking=True)

    def step(self, count: int, *, captured: bool) -> Told:
        if not captured:
            scores, told = self._work()
        else:
            if self._graph is None:
                self._capture()
            self._graph.replay()
            scores, told = self._out or self._work()
        return OnItsWay(scores[:count], told[:, :count])

    def _work(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores [size, V]; and best scores and their tokens, float32 [2, size]: token numbers are whole there up to
        2 ** 24. Then the numbers are those of the next step."""
        _, places, rows = self.numbers
        scores = _scores(self.decoder, self.slots, self.numbers, rows.int(), (places + 1).int())
        best, likeliest = scores.max(dim=-1)
        self.numbers[0].copy_(likeliest)
        places.add_(1)
        return scores, torch.stack((best, likeliest.float()))

    def _capture(self) -> None:
        given = self.numbers.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):  # each writes what the step itself will write
                self._work()
                self.numbers.copy_(given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._out = self._work()
        except (torch.OutOfMemoryError, NoFlash):
            raise
        except RuntimeError as error:
            self.numbers.copy_(given)
            raise NotCaptured(str(error).partition("\n")[0]) from error
        self._graph = graph


class OnItsWay:
    """See `Told`: results that go to the host while the device goes on."""

    def __init__(self, scores: torch.Tensor, told: torch.Tensor) -> None:
        self.scores = scores
        self._came: torch.cuda.Event | None = None
        if told.is_cuda:
            self._told = torch.empty(told.shape, dtype=told.dtype, pin_memory=True)
            self._told.copy_(told, non_blocking=True)
            self._came = torch.cuda.Event()
            self._came.record()
        else:
            self._told = told

    def read(self) -> list[tuple[int, float]]:
        """See `Told`."""
        if self._came is not None:
            self._came.synchronize()
        best, likeliest = self._told.tolist()
        return [(int(token), score) for token, score in zip(likeliest, best, strict=True)]


def _scores(decoder: Decoder, slots: Slots, numbers: torch.Tensor, rows: Numbers, lengths: Numbers) -> torch.Tensor:
    """The pass itself: scores [B, V].

    Args:
        numbers: int64 [3, B], ids, places and slots.
        rows, lengths: slots, and how many places of them are filled with this one, as attention reads them.
    """
    ids, places, at = numbers

    def attend(
        number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, window: int | None
    ) -> torch.Tensor:
        slots.append(number, at, places, key, value)
        keys, values = slots.layers[number]
        return decode(query, keys, values, rows, lengths, scale=scale, window=window)

    return decoder.scores(decoder.hidden(decoder.embed(ids), places, [1] * len(ids), attend))
