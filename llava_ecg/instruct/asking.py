"""`Asker`: a remote model's answers, each paid once: kept by content, asked within a budget, and again where the server
was busy.

An answer is kept in the folder of answers under a digest of the whole request (model, address, messages with their
images, fields), before anything is made of it, so a run that is broken off pays for none of them again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from llava_ecg.errors import InputError
from llava_ecg.instruct.budget import Budget, Reserved, StoppedError
from llava_ecg.remote import BusyError, RefusedError, RemoteError, Reply

_LETTERS_A_TOKEN = 2  # of JSON with many numbers; text has four, so this is on the safe side
_IMAGE_TOKENS = 6000
_LOST = 3  # requests in a row that got no answer though they were repeated: then the endpoint is at fault
_FIRST_S, _LONGEST_S = 1.0, 60.0


class NoAnswerError(Exception):
    """This question gets no answer; the message says why."""


class Asked(Protocol):
    """What `Asker` asks: a `llava_ecg.remote.Endpoint`."""

    url: str
    model: str

    def ask(self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> Reply:
        """One request."""


class Asker:
    """Threads may share it.

    Args:
        endpoint: that is asked.
        budget: within which.
        folder: of the answers.
        retries: how often a request that the server did not answer is repeated.

    Attributes:
        kept: how many answers were there already.

    Raises:
        InputError: the folder can't be made.
    """

    def __init__(self, endpoint: Asked, budget: Budget, folder: Path, retries: int = 5) -> None:
        self.endpoint, self.budget, self.folder, self.retries = endpoint, budget, folder, retries
        self.kept = 0
        self._lost = 0
        self._lock = threading.Lock()
        self._of: dict[str, threading.Lock] = {}

    def ask(self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> Reply:
        """The answer to a request, from the folder if it is there.

        Raises:
            NoAnswerError: there is none to this request.
            StoppedError: the budget is used up, or there is none to any request.
        """
        asked = {"model": self.endpoint.model, "url": self.endpoint.url, "messages": messages, "fields": fields}
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        with self._lock:
            only = self._of.setdefault(key, threading.Lock())
        with only:  # two recordings of the same content are asked about once
            if (reply := self._read(key)) is not None:
                with self._lock:
                    self.kept += 1
                return reply
            reply = self._asked(messages, fields, key)
            self._write(key, reply)
            return reply

    def _asked(self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], key: str) -> Reply:
        need = Reserved(_tokens(messages), answer_tokens(fields))
        jitter = random.Random(key)
        for tried in range(self.retries + 1):
            reserved = self.budget.take(need)
            used: Reserved | None = need  # unless it is known better, all that it could cost
            sent = False
            try:
                sent = True
                reply = self.endpoint.ask(messages, fields)
                used = Reserved(
                    *(_or(*each) for each in zip(_used(reply), (need.tokens_in, need.tokens_out), strict=True))
                )
            except RemoteError as error:
                used = need if error.billed else None
                if isinstance(error, RefusedError) or tried == self.retries:
                    raise self._none(error) from None
                pause = error.wait_s if isinstance(error, BusyError) else None
            else:
                with self._lock:
                    self._lost = 0
                return reply
            finally:
                self.budget.settle(reserved, used, sent=sent)
            self.budget.wait(_pause(tried, pause, jitter))
        raise AssertionError("unreachable")

    def _none(self, error: RemoteError) -> Exception:
        """Why there is no answer: to this request, or to any."""
        if isinstance(error, RefusedError) and error.everything:
            said = f"the endpoint refuses what is asked ({error}); are --endpoint, --model and the key right?"
            self.budget.stop(said)
            return StoppedError(said)
        with self._lock:
            self._lost += 1
            lost = self._lost
        if lost >= _LOST:
            said = f"the endpoint gave no answer to {lost} requests in a row, the last time: {error}"
            self.budget.stop(said)
            return StoppedError(said)
        return NoAnswerError(str(error))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"

    def _read(self, key: str) -> Reply | None:
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
            return Reply(**found)
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, key: str, reply: Reply) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(vars(reply), file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except OSError as error:
            said = f"can't keep an answer in {self.folder}: {error.strerror}"
            self.budget.stop(said)
            raise InputError(said) from error


def answer_tokens(fields: Mapping[str, Any]) -> int:
    """The longest answer that a request allows.

    Raises:
        InputError: it sets no bound.
    """
    bounds = [fields[name] for name in ("max_tokens", "max_completion_tokens") if fields.get(name) is not None]
    if not bounds or not all(isinstance(bound, int) and bound > 0 for bound in bounds):
        raise InputError("a request needs a whole number under max_tokens or max_completion_tokens; give one of them")
    return max(bounds)


def _used(reply: Reply) -> tuple[int | None, int | None]:
    return reply.prompt_tokens, reply.answer_tokens


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


def _tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Not less than a request's text and images make."""
    letters = images = 0
    for message in messages:
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if part["type"] == "text":
                letters += len(part["text"])
            else:
                images += 1
    return letters // _LETTERS_A_TOKEN + 20 * len(messages) + _IMAGE_TOKENS * images


def _pause(tried: int, asked: float | None, jitter: random.Random) -> float:
    """Seconds: what the server asks for, or twice as long each time; a random part more, so that not all come back at
    once."""
    least = _FIRST_S * 2**tried if asked is None else asked
    return min(_LONGEST_S, least) * jitter.uniform(1.0, 1.5)
