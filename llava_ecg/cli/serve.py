"""``llava-ecg serve``: an OpenAI-compatible HTTP endpoint, which the extra ``serve`` brings."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llava_ecg.cli import flags
from llava_ecg.cli.ask import decoding_of, open_model
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show

MISSING = (
    'llava-ecg serve runs on fastapi and uvicorn, which are not installed; pip install "llava-ecg[serve]" brings them'
)


def add(commands: Any) -> None:
    """Declare ``serve``."""
    parser = flags.command(
        commands,
        "serve",
        "answer over HTTP as OpenAI's chat completions do, for the openai client and others",
        "llava-ecg serve --port 8000",
    )
    parser.add_argument(
        "--host",
        type=flags.name_or_path,
        default="127.0.0.1",
        help="address to listen on; one that other machines reach needs a key (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=flags.number("port", int, 0, 65535),
        default=8000,
        help="0 takes a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--api-key-file",
        type=flags.path,
        metavar="FILE",
        help="file that holds the key which clients have to send; or set LLAVA_ECG_API_KEY",
    )
    parser.add_argument(
        "--name", type=flags.name_or_path, help="what requests call the model (default: its name or its folder's)"
    )
    group = parser.add_argument_group("how much at once, and for how long")
    for flag, kind, low, high, default, metavar, summary in (
        (
            "batch",
            int,
            1,
            10_000,
            None,
            "N",
            "requests that are answered at once (default: what a quarter of the memory holds)",
        ),
        ("queue", int, 0, 100_000, 256, "N", "requests that wait, beyond which one is told to try later"),
        ("max-body", float, 0.001, 4096, 32, "MIB", "largest request"),
        ("max-seconds", float, 0.01, 86_400, 300, "S", "longest time for an answer"),
        ("grace", float, 0, 3600, 30, "S", "time that answers get to finish at SIGTERM"),
    ):
        more = "" if default is None else " (default: %(default)s)"
        group.add_argument(
            f"--{flag}", type=flags.number(flag, kind, low, high), default=default, metavar=metavar, help=summary + more
        )
    flags.add_model(parser)
    parser.set_defaults(run=run_serve)


def run_serve(arguments: argparse.Namespace, opener: Opener | None) -> int:
    """Serve until SIGTERM (exit code 0) or Ctrl-C (130)."""
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise InputError(MISSING)
    from llava_ecg.serve import server
    from llava_ecg.serve.limits import MEBIBYTE, Limits
    from llava_ecg.serve.service import Service

    key = server.key_of(arguments.api_key_file, os.environ)
    if key is None and not server.is_loopback(arguments.host):
        raise InputError(
            f"others reach {arguments.host}, so a key is needed: set {server.KEY_VARIABLE} or give --api-key-file FILE"
        )
    limits = Limits(
        body=int(arguments.max_body * MEBIBYTE),
        queue=arguments.queue,
        seconds=arguments.max_seconds,
        grace_seconds=arguments.grace,
    )
    place = server.listen(arguments.host, arguments.port)  # before the model is loaded: a taken port costs no waiting
    try:
        decoding = decoding_of(arguments, drawn=True)
        assistant = open_model(arguments, opener)
        service = Service(
            assistant,
            arguments.name or name_of(arguments.model),
            arguments.batch or assistant.slots(decoding),
            decoding,
            limits,
            lambda line: show(line, file=sys.stderr),
        )

        def started(address: str) -> None:
            show(f"{service.name} answers at {address}/v1, {service.slots} at once. {RESEARCH_USE}")

        server.run(service, place, arguments.host, key, started)
    finally:
        place.close()
    show("stopped", file=sys.stderr)
    return 0


def name_of(model: str) -> str:
    """What requests call a model: its name, of a folder the last part."""
    return Path(model).resolve().name if Path(model).exists() else model
