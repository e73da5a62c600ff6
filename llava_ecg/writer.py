"""From the ids of an answer to its text, while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer


class Writer(BaseStreamer):
    """Collects ids as they are chosen, and gives out text as soon as it can't change any more.

    Args:
        tokenizer: that decodes them.
        stop: the texts that end an answer, and are no part of it; the first that comes does.
        stops: the ids that end one.
        on_text: called with each new piece.
        cancelled: asked after every token; True ends the answer.

    Attributes:
        ids: so far.
        text: of them.
        first: when the first came, in seconds of `time.perf_counter`.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: str | tuple[str, ...],
        stops: tuple[int, ...],
        on_text: Callable[[str], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.tokenizer, self.stops, self.on_text, self.cancelled = tokenizer, stops, on_text, cancelled
        self.stop = tuple(filter(None, (stop,) if isinstance(stop, str) else stop))
        self.ids: list[int] = []
        self.text = ""
        self.first: float | None = None
        self._reason = "length"
        self._given = self._context = self._told = 0

    def put(self, value: torch.Tensor) -> None:
        """New ids (transformers also passes the prompt's, which are none with embeddings)."""
        if ids := value.flatten().tolist():
            self._add(ids)

    def take(self, token: int) -> bool:
        """A new id, as the engine gives it; whether the answer is over with it."""
        self._add([token])
        return self.over()

    def over(self) -> bool:
        """Whether the answer ends here: at the stop text, or cancelled."""
        if self.cancelled is not None and self.cancelled():
            self._reason = "cancelled"
        return self._reason != "length"

    def _add(self, ids: list[int]) -> None:
        self.first = self.first or time.perf_counter()
        self.ids += ids
        piece = self._new_text() if self._reason == "length" else ""
        if not piece:
            return
        before = len(self.text)
        self.text += piece
        found = [self.text.find(stop, max(0, before - len(stop))) for stop in self.stop]
        end = min((place for place in found if place >= 0), default=None)
        if end is not None:
            self._reason, self.text = "stop", self.text[:end]
        open_end = 0 if end is not None else max((_overlap(self.text, stop) for stop in self.stop), default=0)
        self._give(len(self.text) - open_end)

    def _new_text(self) -> str:
        """The text of the ids that have not been told yet; "" while they end in the midst of a character.

        Only the last ids are decoded, together with those before them that say whether a space stands in between:
        decoding all of them at each token would cost the square of an answer's length.
        """
        before = self._decoded(self.ids[self._context : self._told])
        whole = self._decoded(self.ids[self._context :])
        if len(whole) <= len(before) or whole.endswith("\ufffd"):
            return ""
        self._context, self._told = self._told, len(self.ids)
        return whole[len(before) :]

    def _decoded(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def end(self) -> None:
        """No more ids will come: what is left of the text is told, a character that was broken off as U+FFFD."""
        if self._reason != "stop":
            before = self._decoded(self.ids[self._context : self._told])
            self.text += self._decoded(self.ids[self._context :])[len(before) :]
        self._give(len(self.text))

    def finished(self) -> str:
        """Why it ended."""
        return "stop" if self._reason == "length" and self.ids and self.ids[-1] in self.stops else self._reason

    def _give(self, until: int) -> None:
        piece = self.text[self._given : until]
        if not self._given:
            piece = piece.lstrip()
        if piece and self.on_text is not None:
            self.on_text(piece)
        self._given = max(self._given, until) if piece or self._given else self._given

    def criterion(self) -> StoppingCriteria:
        """Ends the answer at the stop text or when cancelled."""
        writer = self

        class Stop(StoppingCriteria):
            def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
                return torch.full((input_ids.shape[0],), writer.over(), device=input_ids.device, dtype=torch.bool)

        return Stop()


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` might be the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
