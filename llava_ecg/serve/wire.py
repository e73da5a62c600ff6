"""The JSON of a request -> `Wanted`, and of a response; both in the shapes of OpenAI's chat completions.

What would change an answer and is not known here is refused, never passed over. It opens no file and no address.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llava_ecg.case import Decoding
from llava_ecg.errors import InputError
from llava_ecg.files import check_question
from llava_ecg.serve.data_urls import Attachment, file_of, picture_of
from llava_ecg.serve.limits import Limits, Refused

SAID: dict[Any, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
TAKEN = (
    *("model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "stop"),
    *("temperature", "top_p", "seed", "top_k", "repetition_penalty", "audit"),
)
WITHOUT_EFFECT = ("user", "metadata", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention")
"""They say who asks, or how an account is served, and change no answer here."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
    "store": (False,),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
"""What OpenAI knows and this does not: taken with a value that asks for nothing, else refused."""
MOST_STOPS = 4
_EMPTY: tuple[Any, ...] = (None, [], {})


@dataclass(frozen=True)
class Said:
    """One message: who speaks, what, and what comes with it."""

    role: Literal["system", "user", "assistant"]
    text: str
    attached: tuple[Attachment, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        said: alternating, a user's first and last; of a system message before, the text is in the first.
        decoding: how the answer is chosen, and which texts end it.
        stream: whether it is sent as it comes.
        usage: whether a stream ends with the count of its tokens.
        audit: whether its claims are held against the signal.
    """

    said: tuple[Said, ...]
    decoding: Decoding
    stream: bool
    usage: bool
    audit: bool


def wanted(body: bytes | bytearray, model: str, defaults: Decoding, longest: int, limits: Limits) -> Wanted:
    """What a request's body asks for.

    Args:
        model: the name of the one model that is served.
        defaults: how answers are chosen where the request does not say.
        longest: tokens that the model reads, those of the answer among them.

    Raises:
        Refused: it is no JSON, or asks for what there is not.
    """
    given = _object(body)
    _check_names(given)
    asked = given.get("model")
    if not isinstance(asked, str):
        raise Refused(400, f'the request names no model; give "model": "{model}"', "model")
    if asked != model:
        raise Refused(404, f"the model {asked[:80]!r} is not served here; this is {model}", "model", "model_not_found")
    if given.get("n", 1) not in (None, 1) or given.get("n") is True:
        raise Refused(400, "one answer is given to a request; leave n away, or send the request again", "n")
    stream = _flag(given, "stream")
    options = given.get("stream_options")
    if options is not None and not (stream and isinstance(options, dict) and set(options) <= {"include_usage"}):
        raise Refused(400, 'stream_options takes {"include_usage": true}, with "stream": true', "stream_options")
    return Wanted(
        said=_said(given.get("messages"), limits),
        decoding=_decoding(given, defaults, longest),
        stream=stream,
        usage=_flag(options or {}, "include_usage"),
        audit=_flag(given, "audit"),
    )


def _object(body: bytes | bytearray) -> dict[str, Any]:
    try:
        given = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep or no UTF-8"
        raise Refused(400, f"the body is no JSON ({reason}); send one object", code="invalid_json") from error
    if not isinstance(given, dict):
        raise Refused(400, f"the body is a {type(given).__name__}; send one JSON object", code="invalid_json")
    return given


def _no_number(text: str) -> float:
    raise json.JSONDecodeError(f"{text} is not in JSON", text, 0)  # Python's reader takes NaN and Infinity


def _check_names(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in TAKEN or name in WITHOUT_EFFECT or value is None:
            continue
        if name not in NEUTRAL:
            near = difflib.get_close_matches(name, TAKEN, n=1)
            hint = f"did you mean {near[0]}?" if near else "leave it away"
            raise Refused(400, f"unknown parameter {name[:80]!r}; {hint}", name[:80], "unknown_parameter")
        if not any(value == known and type(value) in (type(known), int, float) for known in NEUTRAL[name]):
            raise Refused(400, f"{name} is not supported by this server; leave it away", name, "unsupported_parameter")


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(400, f"{name} must be true or false", name)
    return bool(value)


def number(given: Mapping[str, Any], name: str, kind: type, low: float, high: float, default: Any) -> Any:
    """A number of the request, or the default where it is absent or null.

    Raises:
        Refused: another type, or out of its range.
    """
    value = given.get(name)
    if value is None:
        return default
    right = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if isinstance(value, bool) or not right or not low <= value <= high:
        whole = "a whole number" if kind is int else "a number"
        raise Refused(400, f"{name} must be {whole} from {low:g} to {high:g}", name)
    return kind(value)


def _decoding(given: Mapping[str, Any], defaults: Decoding, longest: int) -> Decoding:
    if None not in (given.get("max_tokens"), given.get("max_completion_tokens")):
        raise Refused(400, "max_tokens and max_completion_tokens say the same; give one", "max_tokens")
    named = "max_tokens" if given.get("max_tokens") is not None else "max_completion_tokens"
    top_k = number(given, "top_k", int, 0, 10**9, None)
    found = Decoding(
        temperature=number(given, "temperature", float, 0, 100, defaults.temperature),
        top_p=number(given, "top_p", float, 1e-6, 1, defaults.top_p),
        max_new_tokens=number(given, named, int, 1, longest, min(defaults.max_new_tokens, longest)),
        seed=number(given, "seed", int, 0, 2**63 - 1, defaults.seed),
        top_k=defaults.top_k if top_k is None else top_k,
        repetition_penalty=number(given, "repetition_penalty", float, 0.01, 100, defaults.repetition_penalty),
        stop=_stop(given.get("stop")) or defaults.stop,
    )
    if top_k and found.temperature == 0:
        raise Refused(400, "top_k draws from the likeliest words, and nothing is drawn at a temperature of 0", "top_k")
    return found


def _stop(given: Any) -> tuple[str, ...]:
    texts = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or len(texts) > MOST_STOPS:
        raise Refused(400, f"stop is a text or a list of at most {MOST_STOPS}", "stop")
    if not all(isinstance(text, str) and 0 < len(text) <= 200 for text in texts):
        raise Refused(400, "each text of stop has 1 to 200 characters", "stop")
    return tuple(texts)


# -- messages ----------------------------------------------------------------------------------------------------------


def _said(given: Any, limits: Limits) -> tuple[Said, ...]:
    """The conversation: a system's text put before the first question, messages of one speaker in a row joined."""
    if not isinstance(given, list) or not given:
        raise Refused(400, "messages must be a list with at least one message of the user", "messages")
    if len(given) > limits.messages:
        raise Refused(400, f"{len(given)} messages; at most {limits.messages} are read", "messages")
    each = [_message(message, f"messages[{number}]") for number, message in enumerate(given)]
    lead = 0
    while lead < len(each) and each[lead].role == "system":
        lead += 1
    if any(said.role == "system" for said in each[lead:]):
        raise Refused(400, "a system message stands before all others", "messages")
    turns: list[Said] = []
    for said in each[lead:]:
        if turns and turns[-1].role == said.role:
            former = turns.pop()
            text = "\n".join(filter(None, (former.text, said.text)))
            said = Said(said.role, text, former.attached + said.attached)
        turns.append(said)
    if not turns or turns[0].role != "user" or turns[-1].role != "user":
        raise Refused(400, "a conversation begins with the user and ends with the user's question", "messages")
    system = "\n\n".join(said.text for said in each[:lead])
    if system:
        turns[0] = replace(turns[0], text=f"{system}\n\n{turns[0].text}")
    for number, said in enumerate(turns):
        if not said.text:
            raise Refused(400, f"turn {number + 1} of the conversation has no text; say something", "messages")
    if (count := sum(len(said.attached) for said in turns)) > limits.parts:
        raise Refused(400, f"{count} files and images; at most {limits.parts} are read", "messages")
    return tuple(turns)


def _message(given: Any, at: str) -> Said:
    role = given.get("role") if isinstance(given, dict) else None
    if not isinstance(role, str) or role not in SAID:
        raise Refused(400, f"{at} needs a role of {', '.join(SAID)}", at)
    for name, value in given.items():
        if name not in ("role", "content") and value not in _EMPTY:
            raise Refused(
                400, f"{at}.{name[:40]} is not supported; a message has a role and a content", f"{at}.{name[:40]}"
            )
    speaker = SAID[role]
    content = given.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise Refused(400, f"{at}.content is a text or a list of parts", f"{at}.content")
    texts: list[str] = []
    attached: list[Attachment] = []
    for number, part in enumerate(parts):
        place = f"{at}.content[{number}]"
        found = _part(part, place)
        if isinstance(found, str):
            texts.append(_clean(found, place))
        elif speaker == "user":
            attached.append(found)
        else:
            raise Refused(400, f"{place}: files and images come with messages of the user", place)
    return Said(speaker, "\n".join(filter(None, texts)), tuple(attached))


def _clean(text: str, place: str) -> str:
    if not text.strip():
        return ""
    try:
        return check_question(text)
    except InputError as error:
        raise Refused(400, f"{place}: {error}", place) from error


def _part(part: Any, at: str) -> str | Attachment:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    if kind == "image_url":
        return picture_of(part.get("image_url"), at)
    if kind == "file":
        return file_of(part.get("file"), at)
    raise Refused(400, f"{at} is no part that is read here: text, image_url and file are", at)


# -- responses ---------------------------------------------------------------------------------------------------------


class Trimmed:
    """A text that comes in pieces, without the white space at its end, as a whole answer is."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be told by now; white space waits for what follows it."""
        text = self._held + piece
        told = text.rstrip()
        self._held = text[len(told) :]
        return told


def usage_of(tokens: Mapping[str, int]) -> dict[str, int]:
    """An answer's tokens as OpenAI counts them."""
    prompt, new = tokens["prompt"], tokens["new"]
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def completion(name: str, made: int, model: str, text: str, finished: str) -> dict[str, Any]:
    """A whole answer, without its usage."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finished}
    return {"id": name, "object": "chat.completion", "created": made, "model": model, "choices": [choice]}


def chunk(
    name: str, made: int, model: str, delta: Mapping[str, Any] | None, finished: str | None = None
) -> dict[str, Any]:
    """A piece of a streamed answer; without a delta one that has no choices, for the usage."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finished}
    choices: Sequence[Any] = [] if delta is None else [choice]
    return {"id": name, "object": "chat.completion.chunk", "created": made, "model": model, "choices": choices}


def event(value: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n\n"
