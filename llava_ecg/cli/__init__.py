"""What a person types: ``llava-ecg ask | chat | audit | measure | render | list | fetch | inspect | convert | merge |
validate | instruct | eval | compare | prepare | serve | report | doctor | completion``.

One module for each family of commands, with ``add(commands)``, which declares them; `flags` has what several of them
share. Everything heavy is imported inside the command that needs it: ``--version``, ``--help`` and ``list`` load no
numpy; ``audit``, ``measure``, ``render`` and ``inspect`` no torch. Exit codes: 0 done, 1 ``validate`` found
problems or some of many ECGs failed, 2 something the person gave can't be used (one sentence on stderr), 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from llava_ecg import __version__
from llava_ecg.cli import (
    ask,
    audit,
    checkpoints,
    compare,
    doctor,
    evaluate,
    instruct,
    plugins,
    prepare,
    report,
    serve,
    signal,
    validate,
)
from llava_ecg.cli.flags import Opener
from llava_ecg.cli.parser import Parser
from llava_ecg.errors import InputError
from llava_ecg.files import printable_line
from llava_ecg.terminal import RESEARCH_USE, show

FAMILIES = (
    ask,
    audit,
    signal,
    plugins,
    checkpoints,
    validate,
    instruct,
    evaluate,
    compare,
    prepare,
    serve,
    report,
    doctor,
)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; nothing heavy is imported for it."""
    parser = Parser(
        prog="llava-ecg",
        description=f"Ask a language model about an ECG and have its claims checked against the signal. {RESEARCH_USE}",
        epilog='example: llava-ecg ask --ecg patient.hea "Is the rhythm regular?"',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"llava-ecg {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in FAMILIES:
        family.add(commands)
    parser.set_defaults(whole=parser)
    return parser


def main(argv: Sequence[str] | None = None, *, open_assistant: Opener | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the words after ``llava-ecg``; those of the process by default.
        open_assistant: what opens a model, called as ``open_assistant(model, device=, dtype=)`` and with what else
            `flags.opening` makes of the flags; `Assistant.open` by default.

    Raises:
        SystemExit: from argparse, for ``--help``, ``--version`` (0) and what it can't parse (2).
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(
                io.UnsupportedOperation
            ):  # a caller who runs this in his own process has read from it already
                stream.reconfigure(
                    errors="replace"
                )  # a Latin-1 terminal shows ? for what it lacks and does not end the program
    try:
        with _plain_warnings():
            arguments = build_parser().parse_args(argv)
            code = arguments.run(arguments, open_assistant)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    except OSError as error:
        if error.strerror is None:
            raise
        return _refuse(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Within, a warning is one line without a place in the code, and what it quotes of a file can't steer the
    terminal."""
    former = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"{printable_line(f'llava-ecg: warning: {message}')}\n"
    try:
        yield
    finally:
        warnings.formatwarning = former


def _refuse(sentence: str) -> int:
    show(f"llava-ecg: {' '.join(sentence.split())}", file=sys.stderr)
    return 2
