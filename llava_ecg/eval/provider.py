"""The provider ``llava_ecg/<checkpoint>`` of inspect_ai: every request is asked of an `Assistant`.

What a question is about travels as data blocks (`llava_ecg.eval.sources`), or as images. A setting or a message that
an `Assistant` can't follow is refused, never passed over. `shown` makes the same question fit for other providers.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anyio import CapacityLimiter, to_thread
from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    ContentData,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)

from llava_ecg.assistant import Answer, Assistant
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import STREAMS, Turn
from llava_ecg.ecg.images import as_seen
from llava_ecg.errors import InputError
from llava_ecg.eval.likelihood import likelihoods
from llava_ecg.eval.sources import Lately, case
from llava_ecg.eval.together import Together

NAME = "llava_ecg"
_FOLLOWED = {"temperature", "top_p", "top_k", "max_tokens", "seed"}
_OF_HARNESS = {  # what inspect_ai itself does with a request
    "max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections", "adaptive_connections",
    "cache", "max_tool_output", "fallback_models",
}  # fmt: skip
_ENDS: dict[str, Any] = {"stop": "stop", "length": "max_tokens"}


class AssistantAPI(ModelAPI):
    """A checkpoint that inspect_ai may ask.

    Args:
        model_name: folder, name or hub id of the checkpoint.
        repetition_penalty: as in `llava_ecg.case.Decoding`.
        batch: so many questions are answered at once.
        opener: what opens it; `Assistant.open` by default.
        opening: the keywords of the opener, such as ``device`` and ``dtype``.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 (as inspect_ai declares it)
        repetition_penalty: float = 1.0,
        batch: int = 1,
        opener: Callable[..., Assistant] | None = None,
        **opening: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if base_url or api_key:
            raise InputError("a checkpoint is opened here and takes no base URL and no key")
        if not isinstance(batch, int) or batch < 1:
            raise InputError(f"batch is how many questions are answered at once, at least 1, and not {batch!r}")
        self.penalty, self.batch = repetition_penalty, batch
        self._open = opener or Assistant.open
        self._opening = {"device": None, "dtype": None} | opening
        self._assistant: Assistant | None = None
        self._case = Lately()
        self._together: Together | None = None
        self._room: tuple[asyncio.AbstractEventLoop, CapacityLimiter] | None = None
        self._lock = threading.Lock()  # one answer at a time, unless they are answered together

    @property
    def assistant(self) -> Assistant:
        """Opened when first asked."""
        if self._assistant is None:
            self._assistant = self._open(self.model_name, **self._opening)
        return self._assistant

    def max_connections(self) -> int:
        """Questions on their way at once."""
        return self.batch

    async def generate(self, input: list[ChatMessage], tools: list[Any], tool_choice: Any, config: Any) -> ModelOutput:
        """The answer to the last message.

        Raises:
            InputError: a tool, a setting or a message that can't be followed, or what `Assistant.ask` raises.
        """
        if tools:
            raise InputError("this model calls no tools; ask it without")
        decoding = decoding_of(config, self.penalty)

        def answered() -> Answer:
            turns, about = conversation(input, self._case)
            return self._ask(turns, about, decoding)

        return _output(await to_thread.run_sync(answered, limiter=self._limiter()))

    def _limiter(self) -> CapacityLimiter:
        """Of this event loop: the harness may send a hundred requests at once, each with its page."""
        loop = asyncio.get_running_loop()
        if self._room is None or self._room[0] is not loop:
            self._room = (loop, CapacityLimiter(self.batch))
        return self._room[1]

    async def likelihoods(self, input: list[ChatMessage], answers: Sequence[str]) -> dict[str, float]:
        """Answer -> how likely it is as the beginning of the next message; see `llava_ecg.eval.likelihood`.

        Raises:
            InputError: as there, or a message that can't be followed.
        """

        def found() -> dict[str, float]:
            turns, about = conversation(input, self._case)
            with self._lock:
                return likelihoods(self.assistant, turns, about, answers)

        return await to_thread.run_sync(found, limiter=self._limiter())

    def _ask(self, turns: Sequence[Turn], about: Case, decoding: Decoding) -> Answer:
        if self.batch > 1:
            with self._lock:
                if self._together is None:
                    self._together = Together(self.assistant, self.batch)
            return self._together.ask(turns, about, decoding)
        with self._lock:
            return self.assistant.ask(turns, about, decoding)


@modelapi(name=NAME)
def llava_ecg() -> type[ModelAPI]:
    """The provider, by its name."""
    return AssistantAPI


def decoding_of(config: GenerateConfig, repetition_penalty: float = 1.0) -> Decoding:
    """inspect_ai's settings as ours.

    Raises:
        InputError: a setting that can't be followed.
    """
    given = config.model_dump(exclude_none=True)
    if strange := sorted(set(given) - _FOLLOWED - _OF_HARNESS):
        raise InputError(f"this model can't follow {', '.join(strange)}; it knows {', '.join(sorted(_FOLLOWED))}")
    renamed = {"max_new_tokens" if name == "max_tokens" else name: given[name] for name in _FOLLOWED & set(given)}
    return Decoding(**renamed, repetition_penalty=repetition_penalty)


def conversation(
    messages: Sequence[ChatMessage], opened: Callable[[Sequence[Mapping[str, Any]]], Case] = case
) -> tuple[list[Turn], Case]:
    """inspect_ai's messages as turns, and what they are about; `opened` makes a case of data blocks.

    Raises:
        InputError: a message of a system or a tool, content of another kind, or no ECG and no image.
    """
    turns: list[Turn] = []
    blocks: list[Mapping[str, Any]] = []
    images: list[Case] = []
    for message in messages:
        if message.role not in ("user", "assistant"):
            raise InputError(
                f"a message of the {message.role} can't be followed: the checkpoint's template has its own"
            )
        content = [ContentText(text=message.content)] if isinstance(message.content, str) else message.content
        for part in content:
            if isinstance(part, ContentData):
                blocks.append(part.data)
            elif isinstance(part, ContentImage):
                images.append(Case(image=_image(part.image)))
            elif not isinstance(part, ContentText):
                raise InputError(f"content of the kind {part.type} can't be shown to this model")
        turns.append(Turn(message.role, "\n".join(part.text for part in content if isinstance(part, ContentText))))
    if blocks and images:
        raise InputError("a question with data blocks takes no further images: name the image in its block")
    if not images:
        return turns, opened(blocks)
    return turns, Case(image=images[0].image, more=tuple(images[1:]))


def shown(message: ChatMessageUser) -> ChatMessageUser:
    """The same question for a model of another provider: the page of each ECG in place of its data block."""
    if isinstance(message.content, str):
        return message
    parts = [_page(part) if isinstance(part, ContentData) else part for part in message.content]
    return message.model_copy(update={"content": parts})


def _page(part: ContentData) -> ContentImage:
    about = case([part.data])
    page = about.sources().get(STREAMS[1])
    if page is None:
        raise InputError(
            "a question about the signal alone can't be put to a model of another provider, which sees pages"
        )
    written = io.BytesIO()
    page.convert("RGB").save(written, "PNG")
    return ContentImage(image=f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}")


def _image(told: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    head, comma, body = told.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise InputError("an image reaches this model as a data URI (data:image/png;base64,...) only")
    try:
        return as_seen(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))
    except (ValueError, UnidentifiedImageError, OSError) as error:
        raise InputError(f"the image of the question can't be read: {error}") from error


def _output(answer: Answer) -> ModelOutput:
    output = ModelOutput.from_content(answer.model, answer.text, stop_reason=_ENDS.get(answer.finished, "unknown"))
    prompt, new = answer.tokens["prompt"], answer.tokens["new"]
    output.usage = ModelUsage(input_tokens=prompt, output_tokens=new, total_tokens=prompt + new)
    output.time = answer.seconds["total"]
    output.metadata = {
        "notes": list(answer.notes),
        "shown": answer.shown,
        "overrides": dict(answer.overrides),
        "seconds": dict(answer.seconds),
        "audit": None if answer.audit is None else answer.audit.counts,
    }
    return output
