"""One chat completion of an OpenAI-compatible endpoint, through the `openai` package: the only door to a remote model.

It asks once and says what became of it; budgets, retries and caches are the caller's. Knows nothing of ECGs. The key is
in no error and no reply: a reply that holds it is refused. What comes back is data, of a limited size and time, and is
never run or obeyed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from llava_ecg.errors import InputError

_LARGEST = 2_000_000  # bytes of an answer; the longest that is asked for has some ten thousand
_SAID = 200  # characters of what the server says about an error
_AGAIN = (408, 409, 425, 429)
_FATAL = (401, 403, 404, 405)
_OWN = ("model", "messages", "stream", "n")


@dataclass(frozen=True)
class Reply:
    """What a model wrote.

    Attributes:
        text: of the first choice.
        finish: why it ended, such as ``stop`` or ``length``.
        prompt_tokens, answer_tokens: as the server counts them; None where it does not say.
    """

    text: str
    finish: str
    prompt_tokens: int | None
    answer_tokens: int | None


class RemoteError(Exception):
    """No reply. The message is one line without the key.

    Attributes:
        billed: whether the server may have charged for it all the same.
    """

    billed = False


class BusyError(RemoteError):
    """It may be asked again: too many requests, a fault of the server, a time-out, no connection, or a reply that is
    none.

    Attributes:
        wait_s: how long the server asks to wait; None where it does not say.
    """

    def __init__(self, said: str, wait_s: float | None = None, *, billed: bool = False) -> None:
        super().__init__(said)
        self.wait_s, self.billed = wait_s, billed


class RefusedError(RemoteError):
    """Asking the same again won't help.

    Attributes:
        everything: whether other questions will be refused too (the key, the address or the model).
    """

    def __init__(self, said: str, *, everything: bool) -> None:
        super().__init__(said)
        self.everything = everything


class Endpoint:
    """A model behind an address.

    Args:
        url: up to and with ``/v1``.
        model: its name there.
        key: sent as a bearer token.
        timeout_s: for a whole reply, however slowly it trickles in.

    Raises:
        InputError: the `openai` package is not installed, or the address is none.
    """

    def __init__(self, url: str, model: str, key: str, timeout_s: float = 120.0) -> None:
        check_url(url)
        try:
            import openai
        except ImportError as error:
            raise InputError(
                f'a remote model needs the openai package ({error}); install it with pip install "llava-ecg[remote]"'
            ) from error
        self.url, self.model, self.timeout_s = url, model, timeout_s
        self._key = key
        self._client = openai.OpenAI(
            base_url=url,
            api_key=key,
            max_retries=0,  # each request is counted by the caller
            timeout=timeout_s,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    def ask(self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> Reply:
        """One request.

        Args:
            messages: of the chat, as the API has them.
            fields: of the request beside them, such as ``max_tokens`` and ``response_format``.

        Raises:
            BusyError: see there.
            RefusedError: see there.
        """
        import openai

        ends = time.monotonic() + self.timeout_s
        create: Any = self._client.chat.completions.with_streaming_response.create
        try:
            # as a stream of bytes, since the client's own time-out begins anew with each piece and knows no size
            with create(model=self.model, messages=list(messages), extra_body=dict(fields)) as response:
                content = self._read(response.iter_bytes(), ends)
        except openai.APITimeoutError as error:
            raise BusyError(f"no answer within {self.timeout_s:g} s", billed=True) from error
        except openai.APIStatusError as error:
            raise self._status(error) from None  # its text may quote the request
        except (openai.APIError, OSError) as error:
            raise BusyError(self.clean(f"no connection: {error}"), billed=True) from None
        except RemoteError:
            raise
        except Exception as error:  # of the library below openai, while the body comes
            raise BusyError(self.clean(f"the answer broke off: {type(error).__name__}"), billed=True) from None
        return self._reply(content)

    def clean(self, text: str) -> str:
        """The beginning of a text on one line, without the key."""
        return " ".join(text.replace(self._key, "[key]").split())[:_SAID]

    def _read(self, pieces: Any, ends: float) -> bytes:
        content = bytearray()
        for piece in pieces:
            content += piece
            if len(content) > _LARGEST:
                raise BusyError(f"an answer of more than {_LARGEST} bytes", billed=True)
            if time.monotonic() > ends:
                raise BusyError(f"no whole answer within {self.timeout_s:g} s", billed=True)
        return bytes(content)

    def _status(self, error: Any) -> RemoteError:
        code = error.status_code
        said = self.clean(f"status {code}: {_message(error.body) or error.message}")
        if code in _AGAIN or code >= 500:
            return BusyError(said, _wait(error.response.headers.get("retry-after")))
        if code in (401, 403):
            return RefusedError(f"status {code}", everything=True)  # servers quote a part of the key here
        return RefusedError(said, everything=code in _FATAL or code < 400)

    def _reply(self, content: bytes) -> Reply:
        try:
            found = json.loads(content)
            choice = found["choices"][0]
            text = choice["message"]["content"]
            usage = found.get("usage") or {}
            if not isinstance(text, str):
                raise TypeError("no text")
            reply = Reply(
                text,
                str(choice.get("finish_reason") or ""),
                *(_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")),
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise BusyError(f"what came is no chat completion ({type(error).__name__})", billed=True) from None
        if self._key in text:
            raise BusyError("the answer holds the key", billed=True)
        return reply


def check_url(url: str) -> None:
    """Refuse what is no address of an endpoint, and one that holds a secret, which would get into logs.

    Raises:
        InputError: in one sentence that does not repeat the address where it holds a secret.
    """
    try:
        found = urlsplit(url)
        host, _ = found.hostname, found.port
    except ValueError as error:
        raise InputError(f"the endpoint is no address ({error}); write it as https://HOST/v1") from error
    if found.username or found.password or found.query or found.fragment:
        raise InputError("the endpoint holds more than an address; write it as https://HOST/v1, and give the key apart")
    if found.scheme not in ("http", "https") or not host:
        raise InputError(f"the endpoint {url!r} is no address; write it as https://HOST/v1")


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields of a request that are not a user's to set.

    Raises:
        InputError: one of them is.
    """
    if taken := sorted(set(fields) & set(_OWN)):
        raise InputError(f"the field {taken[0]!r} of a request is set otherwise and can't be given; leave it away")


def _message(body: Any) -> str:
    """What the server says of an error, in OpenAI's form or as text."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return str(inner.get("message", "")) if isinstance(inner, Mapping) else str(inner)
    return body if isinstance(body, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _wait(header: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None where it is neither."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
