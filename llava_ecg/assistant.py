"""The only inference: `Assistant.ask`, and `Assistant.ask_many` for many questions at once. Chat, evaluation and
serving call them; both run on `llava_ecg.engine`, and on transformers' generate where that does not know the language
model.

With a signal and no image the page is rendered for a model that sees images; with an image and no signal the ECG stream
is left out, and the answer says that nothing could be measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteriaList

from llava_ecg.asked import Answer as Answer
from llava_ecg.asked import Asked as Asked
from llava_ecg.asked import Question as Question
from llava_ecg.case import Case, Decoding
from llava_ecg.checkpoint import quantize
from llava_ecg.data.batch import pad
from llava_ecg.data.conversation import Turn
from llava_ecg.data.encode import Encoded
from llava_ecg.engine.decoder import refusal
from llava_ecg.engine.features import Features
from llava_ecg.engine.kept import Kept
from llava_ecg.engine.request import Request
from llava_ecg.engine.run import Engine
from llava_ecg.engine.sampling import Sampling
from llava_ecg.errors import InputError
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.audit import Audit
from llava_ecg.model.finite import finite_or_refused
from llava_ecg.model.loading import Checkpoint, open_checkpoint
from llava_ecg.processor import Inputs, Processor
from llava_ecg.writer import Writer

SEVERAL = "several ECGs were asked about, and nothing says which of them this is about"
MOST_SLOTS = 32
"""Answers at once beyond which a CPU gains nothing; see scripts/bench/batch.py."""
USUAL_PROMPT = 1024
"""Places of a question with its ECG and page, of a GEM of full size."""
NO_ECG = "no ECG was given, so measurements are not available and the answer can't be audited"
NO_SIGNAL = "no signal was given, only an image: measurements are not available and the answer can't be audited"


@dataclass
class Assistant:
    """A checkpoint that answers.

    Attributes:
        checkpoint: model and tokenizer.
        device: where the model is.
        reuse: whether what was read of earlier questions is used again where a later one begins alike.
        processor: makes the model's inputs.
    """

    checkpoint: Checkpoint
    device: str = "cpu"
    reuse: bool = True
    processor: Processor = field(init=False)
    _engine: Engine | None = field(init=False, repr=False, default=None)
    _features: Features = field(init=False, repr=False, default_factory=Features)
    _preparing: Any = field(init=False, repr=False, compare=False, default_factory=threading.Lock)

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

    @property
    def slow(self) -> str | None:
        """What is to be said of a language model that the engine does not know; None where it does."""
        why = refusal(self.checkpoint.model.language_model)
        return None if why is None else f"transformers' generate runs the language model, an answer at a time: {why}"

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
            decoding: greedy unless said otherwise; its `stop` are texts that end the answer.
            on_text: called with each new piece of the answer.
            cancelled: asked after every token; True ends the answer there.

        Raises:
            InputError: the model can't see what the case holds, or the conversation is longer than its context.
        """
        question = Question(turns, case)

        def asked() -> Iterator[Asked]:
            yield self._prepare(question, decoding, on_text, cancelled)

        for each, error in self.run(asked()):
            if error is not None:
                raise error
            return self.answer(each)
        raise AssertionError("a run gives out what it was given")

    def ask_many(
        self,
        questions: Iterable[Question],
        decoding: Decoding = Decoding(),  # noqa: B008 (frozen)
        *,
        slots: int = 8,
    ) -> Iterator[tuple[Question, Answer | InputError]]:
        """Answers to many questions, several at a time, each given out when it is finished.

        A question that can't be asked, or whose scores are no number, gives its InputError and stops no other. Each
        answer is the one that `ask` gives, but for roundings of floats; where the engine does not know the language
        model the questions are asked one by one.

        Args:
            questions: taken one by one as slots become free, so what they hold may be made then.
            slots: how many are answered at once; memory for keys and values grows with it.
        """
        failed: list[tuple[Question, InputError]] = []

        def prepared() -> Iterator[Asked]:
            for question in questions:
                try:
                    yield self._prepare(question, decoding)
                except InputError as error:
                    failed.append((question, error))

        for asked, error in self.run(prepared(), slots=slots):
            yield from failed
            failed.clear()
            yield asked.question, self.answer(asked) if error is None else error
        yield from failed

    def run(
        self, asked: Iterable[Asked | None], *, slots: int = 8, on_fewer: Callable[[int], object] | None = None
    ) -> Iterator[tuple[Asked, InputError | None]]:
        """Answer questions that were prepared, several at a time, each given out when it is finished, with what made it
        fail or None; `answer` makes an answer of it.

        Args:
            asked: taken as slots become free; None says that nothing waits just now, as in `Engine.run`.
            slots: how many are answered at once; one where the engine does not know the language model.
            on_fewer: told how many slots are left where memory is full.
        """
        if (engine := self._runner()) is None:
            for each in asked:
                if each is not None:
                    yield each, self._generate(each)
            return
        requests = (None if each is None else each.request or self._request(each) for each in asked)
        for request in engine.run(requests, slots, on_fewer=on_fewer):
            if request.error is None:
                request.tag.writer.end()
            yield request.tag, request.error

    def slots(self, decoding: Decoding = Decoding()) -> int:  # noqa: B008 (frozen)
        """How many questions of a usual length to answer at once: so many that their keys and values take a quarter of
        the free memory, at most `MOST_SLOTS`."""
        engine = self._runner()
        places = min(USUAL_PROMPT + decoding.max_new_tokens, self.processor.model_max_length)
        if engine is None:
            return 1
        return max(1, min(MOST_SLOTS, engine.free_bytes() // 4 // (places * engine.place_bytes)))

    def _runner(self) -> Engine | None:
        """What answers; None where it does not know the language model."""
        language_model = self.checkpoint.model.language_model
        if refusal(language_model) is not None:
            return None
        if self._engine is None or self._engine.language_model is not language_model:
            self._engine = Engine(language_model, Kept() if self.reuse else None)
        if self.reuse:
            with self._preparing:
                self._features.hold_for(self.checkpoint.model, without=language_model)
        return self._engine

    def prepare(
        self,
        question: Question,
        decoding: Decoding = Decoding(),  # noqa: B008 (frozen)
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Asked:
        """A question made ready for `run`: its page drawn, its sequence made, its towers run. Several threads may do so
        at once, also while `run` goes on; what they have in common is done by one at a time.

        Args:
            on_text, cancelled: as in `ask`; called by the thread that runs.

        Raises:
            InputError: as in `ask`.
        """
        asked = self._prepare(question, decoding, on_text, cancelled)
        if refusal(self.checkpoint.model.language_model) is None:
            asked.request = self._request(asked)
        return asked

    def _prepare(
        self,
        question: Question,
        decoding: Decoding,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Asked:
        """All of it but the towers, which run at the last moment where only one thread is at work."""
        started = time.perf_counter()
        case = question.case
        places = [each.sources(self.processor.derive) for each in (case, *case.more)]
        with self._preparing:
            sample, notes = self.processor.encode(question.turns, *places)
        room = self.processor.room(sample)
        prepared = time.perf_counter()
        stops = (self.processor.template.stop, *decoding.stop)
        writer = Writer(self.checkpoint.tokenizer, stops, self._stops(), on_text, cancelled)
        new_tokens = min(decoding.max_new_tokens, room)
        return Asked(question, decoding, sample, notes, writer, new_tokens, started, prepared)

    def answer(self, asked: Asked, *, audited: bool = True) -> Answer:
        """The answer to a question that `run` gave out.

        Args:
            audited: whether its claims are held against the signal, which takes a part of a second.
        """
        ended = time.perf_counter()
        sample, writer, case, notes = asked.sample, asked.writer, asked.question.case, asked.notes
        notes = [*notes]
        text, finished, shown = writer.text.strip(), writer.finished(), sample.shown
        if case.recording is None:
            notes.append(NO_ECG if case.image is None else NO_SIGNAL)
        if case.more:
            notes.append(f"{SEVERAL}: no claim is held against a signal")
        notes += self.checkpoint.notes
        if self.slow is not None:
            notes.append(self.slow)
        if not text and writer.finished() != "cancelled":
            notes.append("the answer is empty: the model chose no token that stands for text")
        if others := _settings(self.checkpoint.overrides):
            notes.append(f"not as the checkpoint brings it: {others}")
        return Answer(
            text=text,
            model=self.name,
            tokens={"prompt": len(sample), **sample.places, "new": len(writer.ids)},
            seconds={
                "prepare": round(asked.prepared - asked.started, 3),
                "first_token": round((writer.first or ended) - asked.started, 3),
                "total": round(ended - asked.started, 3),
            },
            finished=finished,
            notes=tuple(notes),
            overrides=self.checkpoint.overrides,
            audit=audit_of(asked.question.turns[-1].text, text, case, shown, whole=finished == "stop")
            if audited
            else None,
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

    @torch.no_grad()
    def _request(self, asked: Asked) -> Request:
        """What the engine is asked: the sequence, embedded and filled."""
        model, decoding, batch = self.checkpoint.model, asked.decoding, self._batch(asked.sample)
        refuse: Any = finite_or_refused(model)
        find = self._features.through(model.features) if self.reuse else None
        with self._preparing:
            embeddings = model.embed(batch["input_ids"], batch["slots"], batch["streams"], find)[0]
        return Request(
            embeddings,
            asked.new_tokens,
            frozenset(asked.writer.stops),
            Sampling(
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                top_k=decoding.top_k,
                repetition_penalty=decoding.repetition_penalty,
                seed=decoding.seed,
            ),
            on_token=asked.writer.take,
            on_no_number=lambda scores: refuse(None, scores),
            tag=asked,
        )

    def _batch(self, sample: Encoded) -> dict[str, Any]:
        batch = Inputs(pad([sample], 0, side="left")).to(self.device)
        return {name: value for name, value in batch.items() if name != "labels"}

    def _generate(self, asked: Asked) -> InputError | None:
        """The slow way, for a language model that the engine does not know; what made it fail."""
        try:
            self._generated(asked)
        except InputError as error:
            return error
        return None

    def _generated(self, asked: Asked) -> None:
        tokenizer, decoding, writer = self.checkpoint.tokenizer, asked.decoding, asked.writer
        chosen: dict[str, Any] = {"do_sample": False, "repetition_penalty": decoding.repetition_penalty}
        if decoding.temperature > 0:
            drawn = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": decoding.top_k}
            chosen |= {"do_sample": True, **drawn}
        device = torch.device(self.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # the caller's chance stays its own
            torch.manual_seed(decoding.seed)
            self.checkpoint.model.generate(
                **self._batch(asked.sample),
                **chosen,
                max_new_tokens=asked.new_tokens,
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


def _settings(overrides: Mapping[str, Any]) -> str:
    """``template=plain, image.aspect=pad``; a quantization that nobody asked for is left to the JSON."""
    said = []
    for name, value in overrides.items():
        if name == "quantization" and str(value).startswith(quantize.AUTO):
            continue
        said += (
            [f"{name}.{key}={each}" for key, each in value.items()]
            if isinstance(value, Mapping)
            else [f"{name}={value}"]
        )
    return ", ".join(said)


def _single_token(tokenizer: Any, text: str) -> int | None:
    """The id of a text that is one token, else None."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids[0] if len(ids) == 1 else None
