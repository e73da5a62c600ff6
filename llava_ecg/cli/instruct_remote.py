"""The flags of ``llava-ecg instruct --writer remote``: the endpoint, its budget, and where answers are kept."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from llava_ecg.instruct.remote_writer import RemoteWriter

_KEY = "OPENAI_API_KEY"
_GIVEN = {"timeout": 120.0, "retries": 5, "temperature": 0.7, "max_answer_tokens": 1200, "at_once": 4}
"""What flags mean that are not given: argparse is told nothing, so that one that is given in vain can be refused."""


def add(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    group = parser.add_argument_group("with --writer remote (extra [remote])")

    def number(flag: str, kind: type[int] | type[float], low: float, high: float, said: str, of: str = "N") -> None:
        held = f" (default: {_GIVEN[flag]})" if flag in _GIVEN else ""
        kinds = flags.number(flag, kind, low, high)
        group.add_argument(f"--{flag}", type=kinds, metavar=of, help=f"{said}{held}")

    group.add_argument(
        "--endpoint", type=flags.name_or_path, metavar="URL", help="OpenAI-compatible, such as https://HOST/v1"
    )
    group.add_argument("--model", type=flags.name_or_path, metavar="NAME", help="its name there")
    group.add_argument(
        "--key_env", type=flags.name_or_path, metavar="NAME", help=f"variable that holds the key (default: {_KEY})"
    )
    group.add_argument(
        "--cache", type=flags.path, metavar="DIR", help="where answers are kept, so that none is paid twice (default: "
        "OUT.answers beside OUT)"
    )  # fmt: skip
    number("requests_per_minute", float, 0.01, 1e6, "at most")
    number("max_tokens_total", int, 1, 10**12, "of questions and answers, in all runs with this cache")
    number("max_cost", float, 1e-6, 1e9, "in all runs with this cache, by the prices", "MONEY")
    number("price_in", float, 0, 1e6, "of a million tokens of questions", "MONEY")
    number("price_out", float, 0, 1e6, "of a million tokens of answers", "MONEY")
    number("max_answer_tokens", int, 16, 100_000, "longest answer")
    number("temperature", float, 0, 2, "of the sampling", "T")
    number("at_once", int, 1, 1024, "requests that are waited for at once")
    number("timeout", float, 0.1, 3600, "for a whole answer", "S")
    number("retries", int, 0, 100, "of a request that the server does not answer")
    group.add_argument("--show_page", action="store_true", help="send the page too, as drawn for --images")
    group.add_argument(
        "--request",
        type=_fields,
        metavar="JSON",
        help="fields of each request, null leaves one away: '{\"response_format\": null}'",
    )


def _fields(text: str) -> dict[str, Any]:
    """An argparse type: fields of a request."""
    from llava_ecg.remote import check_fields

    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        check_fields(found)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"--request is a JSON object with fields of a request: {error}") from error
    return found


_NAMES = (
    "endpoint", "model", "key_env", "cache", "requests_per_minute", "max_tokens_total", "max_cost", "price_in",
    "price_out", "max_answer_tokens", "temperature", "at_once", "timeout", "retries", "show_page", "request",
)  # fmt: skip


def refuse_without(arguments: argparse.Namespace) -> None:
    """Refuse a flag of a remote writer where another one writes.

    Raises:
        InputError: one was given.
    """
    for name in _NAMES:
        if vars(arguments)[name] not in (None, False):
            raise InputError(f"--{name} is for a remote writer; give --writer remote with it")


@contextmanager
def writer(arguments: argparse.Namespace) -> Iterator[RemoteWriter]:
    """The remote writer that the flags describe; its folder of answers is this run's alone while it lasts.

    Raises:
        InputError: a flag that is missing, or does not go with the others.
    """
    _check(arguments)
    from llava_ecg.instruct.asking import Asker, answer_tokens
    from llava_ecg.instruct.budget import Budget, Limits
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.remote_writer import RemoteWriter
    from llava_ecg.remote import Endpoint

    own = {"max_tokens": given(arguments, "max_answer_tokens"), "temperature": given(arguments, "temperature")}
    fields = {**own, **(arguments.request or {})}
    answer_tokens(fields)
    limits = Limits(
        arguments.requests_per_minute,
        arguments.max_tokens_total,
        arguments.max_cost,
        arguments.price_in or 0.0,
        arguments.price_out or 0.0,
    )
    endpoint = Endpoint(arguments.endpoint, arguments.model, _key(arguments), given(arguments, "timeout"))
    folder: Path = arguments.cache or arguments.out.with_name(f"{arguments.out.stem}.answers")
    budget = Budget(limits, folder)
    try:
        asker = Asker(endpoint, budget, folder, given(arguments, "retries"))
        yield RemoteWriter(guide(), asker, fields, arguments.protocol, arguments.seed, arguments.show_page)
    finally:
        budget.close()


def given(arguments: argparse.Namespace, name: str) -> Any:
    """A flag's value, or what it means if it is not given."""
    value = vars(arguments)[name]
    return _GIVEN[name] if value is None else value


def _check(arguments: argparse.Namespace) -> None:
    for name in ("endpoint", "model"):
        if vars(arguments)[name] is None:
            raise InputError(f"--writer remote needs --{name}; give --endpoint URL and --model NAME")
    if (arguments.processes or 1) > 1 or arguments.engine != "processes":
        raise InputError(
            "--processes and --engine ray are for the offline writer; --at_once is how many requests a remote one waits"
            " for, and to measure in several processes run the offline one first with the same --facts"
        )
    if arguments.max_cost is not None and None in (arguments.price_in, arguments.price_out):
        raise InputError("--max_cost needs the prices of a million tokens; give --price_in and --price_out")
    if arguments.show_page and arguments.images is None:
        raise InputError("--show_page sends the page that is drawn for --images; give --images DIR with it")


def _key(arguments: argparse.Namespace) -> str:
    name = arguments.key_env or _KEY
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(
            f"the variable {name} holds no key for the endpoint; set it, to any word where the endpoint wants none"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the variable {name} holds what can't be a key; set it anew")
    return key


def told(found: RemoteWriter) -> list[str]:
    """What was used, in words."""
    spent = spent_by(found)
    used = spent["tokens_in"] + spent["tokens_out"]
    words = f"{spent['requests']} requests, {spent['kept']} answers kept before, {used} tokens"
    whole = f"{spent['all_tokens']} tokens in all runs with this cache"
    if spent["all_cost"]:
        words, whole = f"{words}, cost {spent['cost']:.4g}", f"{whole}, cost {spent['all_cost']:.4g}"
    return [f"{found.model}: {words}; {whole}"]


def spent_by(found: RemoteWriter) -> Mapping[str, Any]:
    """What was used, ready for JSON."""
    return {**found.asker.budget.spent(), "kept": found.asker.kept}
