"""The only inference: `Assistant.ask`. Chat, evaluation and serving all call it.

With a signal and no image the page is rendered for a model that sees images; with an image and no signal the ECG stream
is left out, and the answer says that nothing could be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from llava_ecg.case import Case, Decoding
from llava_ecg.checkpoint import quantize
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import Turn
from llava_ecg.data.encode import Encoded
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.audit import Audit
from llava_ecg.model.loading import Checkpoint, open_checkpoint
from llava_ecg.processor import Processor

SEVERAL = "several ECGs were asked about, and nothing says which of them this is about"
NO_SIGNAL = "no signal was given, only an image: measurements are not available and the answer can't be audited"


@dataclass(frozen=True)
class Answer:
    """What the model said, and what that is worth.

    Attributes:
        text: the answer.
        model: name of the model.
        tokens: ``prompt`` (all), each stream's share by its name, and ``new``.
        seconds: ``prepare``, ``first_token`` (from the start) and ``total``.
        finished: ``stop``, ``length`` or ``cancelled``.
        notes: what a reader should know about how it came to be.
        audit: the answer's claims held against the measurements of what was shown; None without anything to read them
            from.
        shown: from and to which second of the recording the model was shown; None where that is not known, as of an
            image alone.
        overrides: what was asked for otherwise than the checkpoint brings it (`Checkpoint.overrides`).
    """

    text: str
    model: str
    tokens: Mapping[str, int]
    seconds: Mapping[str, float]
    finished: str
    notes: tuple[str, ...] = ()
    audit: Audit | None = None
    shown: tuple[float, float] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Assistant:
    """A checkpoint that answers.

    Attributes:
        checkpoint: model and tokenizer.
        device: where the model is.
        processor: makes the model's inputs.
    """

    checkpoint: Checkpoint
    device: str = "cpu"
    processor: Processor = field(init=False)

    def __post_init__(self) -> None:
        model: Any = self.checkpoint.model
        self.processor = Processor.of(model.config, self.checkpoint.tokenizer, self.checkpoint.name, model.towers)

    @classmethod
    def open(
        cls, model: str | Path = "gem-tiny", *, device: str | None = None, dtype: str | None = None, **more: Any
    ) -> Assistant:
        """Load a model.

        Args:
            model: folder of a checkpoint in any layout, the name of an embedded one, or a hub id.
            device: ``cpu``, ``cuda``, ...; None takes CUDA where there is one.
            dtype: ``float32``, ``bfloat16`` or ``float16``; None takes float32 on a CPU and bfloat16 elsewhere.
            more: the other keywords of `llava_ecg.load`.

        Raises:
            InputError: unknown model or dtype, unusable device, or a folder that does not hold one.
        """
        checkpoint = open_checkpoint(model, device=device, dtype=dtype, **more)
        quantize.repack_for_cpu(checkpoint.model)
        return cls(checkpoint, str(checkpoint.model.device))

    @property
    def name(self) -> str:
        """What the model was asked for by."""
        return self.checkpoint.name

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the model has."""
        return tuple(self.processor.preparers)

    def ask(
        self,
        turns: Sequence[Turn],
        case: Case,
        decoding: Decoding = Decoding(),  # noqa: B008 (frozen)
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Answer:
        """The answer to the last turn.

        Args:
            turns: alternating, a user's first and last.
            case: what it is about.
            decoding: greedy unless said otherwise.
            on_text: called with each new piece of the answer.
            cancelled: asked after every token; True ends the answer there.

        Raises:
            InputError: the model can't see what the case holds, or the conversation is longer than its context.
        """
        started = time.perf_counter()
        sample, notes = self.processor.encode(
            turns, *(each.sources(self.processor.derive) for each in (case, *case.more))
        )
        room = self.processor.room(sample)
        prepared_at = time.perf_counter()
        writer = _Writer(self.checkpoint.tokenizer, self.processor.template.stop, self._stops(), on_text, cancelled)
        self._generate(sample, decoding, min(decoding.max_new_tokens, room), writer)
        ended = time.perf_counter()
        text, finished, shown = writer.text.strip(), writer.finished(), _shown(sample)
        if case.recording is None:
            notes.append(NO_SIGNAL)
        if case.more:
            notes.append(f"{SEVERAL}: no claim is held against a signal")
        notes += self.checkpoint.notes
        if not text and writer.finished() != "cancelled":
            notes.append("the answer is empty: the model chose no token that stands for text")
        if self.checkpoint.overrides:
            notes.append(f"not as the checkpoint brings it: {_settings(self.checkpoint.overrides)}")
        return Answer(
            text=text,
            model=self.name,
            tokens={"prompt": len(sample), **_shares(sample), "new": len(writer.ids)},
            seconds={
                "prepare": round(prepared_at - started, 3),
                "first_token": round((writer.first or ended) - started, 3),
                "total": round(ended - started, 3),
            },
            finished=finished,
            notes=tuple(notes),
            overrides=self.checkpoint.overrides,
            audit=audit_of(turns[-1].text, text, case, shown, whole=finished == "stop"),
            shown=shown,
        )

    def _stops(self) -> tuple[int, ...]:
        """The ids that end an answer: the language model's own, the tokenizer's, and the template's where it is one
        token."""
        language_model: Any = self.checkpoint.model.language_model
        own = language_model.generation_config.eos_token_id
        tokenizer = self.checkpoint.tokenizer
        ends = [
            *(own if isinstance(own, list) else [own]),
            tokenizer.eos_token_id,
            _single_token(tokenizer, self.processor.template.stop),
        ]
        return tuple(dict.fromkeys(token for token in ends if token is not None))

    def _generate(self, sample: Encoded, decoding: Decoding, new_tokens: int, writer: _Writer) -> None:
        tokenizer = self.checkpoint.tokenizer
        batch = _to_device(pad([sample], 0, side="left"), self.device)
        batch.pop("labels")
        chosen: dict[str, Any] = {"do_sample": False}
        if decoding.temperature > 0:
            torch.manual_seed(decoding.seed)
            chosen = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
        self.checkpoint.model.generate(
            **batch,
            **chosen,
            max_new_tokens=new_tokens,
            eos_token_id=list(writer.stops),
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            streamer=writer,
            stopping_criteria=StoppingCriteriaList([writer.criterion()]),
        )


def audit_of(question: str, text: str, case: Case, shown: tuple[float, float] | None, *, whole: bool) -> Audit:
    """The audit of an answer against what the model was shown of the case; see
    `llava_ecg.grounding.answer.audit_answer`."""
    if case.more:
        found = audit_answer(question, text, None, whole=whole)
        return replace(found, verdicts=tuple(replace(verdict, reason=SEVERAL) for verdict in found.verdicts))
    who = {} if case.recording is None else case.recording.metadata
    return audit_answer(question, text, case.within(shown), whole=whole, sex=who.get("sex"), age=who.get("age"))


def _shown(sample: Encoded) -> tuple[float, float] | None:
    """From and to which second of the recording any stream shows; None where none says."""
    spans = [prepared.shown for given in sample.streams.values() for prepared in given if prepared.shown is not None]
    return (min(start for start, _ in spans), max(end for _, end in spans)) if spans else None


def _settings(overrides: Mapping[str, Any]) -> str:
    """``template=plain, image.aspect=pad``."""
    said = []
    for name, value in overrides.items():
        said += (
            [f"{name}.{key}={each}" for key, each in value.items()]
            if isinstance(value, Mapping)
            else [f"{name}={value}"]
        )
    return ", ".join(said)


def _shares(sample: Encoded) -> dict[str, int]:
    """How many places of the sequence each stream has."""
    return {name: int((sample.slots == slot).sum()) for slot, name in enumerate(sample.streams, 1)}


def _single_token(tokenizer: Any, text: str) -> int | None:
    """The id of a text that is one token, else None."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids[0] if len(ids) == 1 else None


def _to_device(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return {name: _to_device(item, device) for name, item in value.items()} if isinstance(value, Mapping) else value


class _Writer(BaseStreamer):
    """Collects ids as they are chosen, and gives out text as soon as it can't change any more."""

    def __init__(
        self,
        tokenizer: Any,
        stop: str,
        stops: tuple[int, ...],
        on_text: Callable[[str], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self.tokenizer, self.stop, self.stops, self.on_text, self.cancelled = tokenizer, stop, stops, on_text, cancelled
        self.ids: list[int] = []
        self.text = ""
        self.first: float | None = None
        self._reason = "length"
        self._given = self._context = self._told = 0

    def put(self, value: torch.Tensor) -> None:
        """New ids (transformers also passes the prompt's, which are none with embeddings)."""
        ids = value.flatten().tolist()
        if not ids:
            return
        self.first = self.first or time.perf_counter()
        self.ids += ids
        piece = self._new_text() if self._reason == "length" else ""
        if not piece:
            return
        start = max(0, len(self.text) - len(self.stop))
        self.text += piece
        end = self.text.find(self.stop, start)
        if end >= 0:
            self._reason, self.text = "stop", self.text[:end]
        self._give(len(self.text) if end >= 0 else len(self.text) - _overlap(self.text, self.stop))

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
                if writer.cancelled is not None and writer.cancelled():
                    writer._reason = "cancelled"
                done = writer._reason != "length"
                return torch.full((input_ids.shape[0],), done, device=input_ids.device, dtype=torch.bool)

        return Stop()


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` might be the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
