"""Standard input and output: lines with editing, history and completion where there is a terminal, and text shown as it
comes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from llava_ecg.display import RESEARCH_USE as RESEARCH_USE
from llava_ecg.display import STEERING, printable, printable_line
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

WIDEST = 100
"""Text is broken at so many columns even where the terminal has more."""


def write(text: str) -> None:
    """Show text on standard output at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def show(*lines: str, file: TextIO | None = None) -> None:
    """Print lines at once, to standard output or ``file``. What came from a stranger's file can't steer the terminal or
    fake a line.

    Args:
        lines: without line ends; a table is split before.
    """
    print("\n".join(map(printable_line, lines)), file=file, flush=True)


def show_json(value: Any, file: TextIO | None = None) -> None:
    """Print plain dicts and lists as JSON on one line; of what steers a terminal, JSON itself escapes a part and this
    the rest."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    print(STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text), file=file, flush=True)


def width() -> int | None:
    """The columns to fill, or None where standard output is no terminal."""
    return max(20, min(WIDEST, shutil.get_terminal_size().columns)) if sys.stdout.isatty() else None


class Stream:
    """Text that comes in pieces, written as it comes: words kept whole at the edge of a terminal, control characters
    shown as text.

    Args:
        write: takes text.
        width: columns, or None to break no lines.
    """

    def __init__(self, write: Callable[[str], object], width: int | None = None) -> None:
        self._write = write
        self._width = width
        self._column = 0
        self._word = ""
        self._gap = ""
        self._half = ""  # a \r whose \n may be in the next piece

    def feed(self, piece: str) -> None:
        """Write what can be written of ``piece``; with a width, the last word waits until it is whole."""
        piece = self._half + piece
        self._half = "\r" if piece.endswith("\r") else ""
        self._put(printable(piece.removesuffix("\r")))

    def _put(self, piece: str) -> None:
        if self._width is None:
            self._write(piece)
            self._column = 0 if piece.endswith("\n") else self._column + len(piece)
            return
        for mark in piece:
            if mark not in " \n\t":
                self._word += mark
                continue
            self._put_word()
            if mark == "\n":
                self._write("\n")
                self._column, self._gap = 0, ""
            else:
                self._gap += " "

    def close(self) -> None:
        """Write the word that waits, and end the line if one was begun."""
        self._put(printable(self._half))
        self._put_word()
        if self._column:
            self._write("\n")
        self._column, self._gap, self._half = 0, "", ""

    def _put_word(self) -> None:
        if not self._word:
            return
        if self._width is not None and self._column and self._column + len(self._gap) + len(self._word) > self._width:
            self._write("\n")
            self._column, self._gap = 0, ""
        self._write(self._gap + self._word)
        self._column += len(self._gap) + len(self._word)
        self._word, self._gap = "", ""


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Within, the first Ctrl-C sets `stop`, which whoever writes looks at, and the second raises KeyboardInterrupt."""
    stop.clear()
    if threading.current_thread() is not threading.main_thread():  # only there can a handler be set
        yield
        return

    def on_interrupt(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    former = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def line_reader(commands: Mapping[str, str], with_file: Collection[str]) -> Callable[[str], str]:
    """What reads a line after a prompt; raises EOFError at the end of the input and KeyboardInterrupt on Ctrl-C.

    With a terminal on both sides that can move its cursor there is line editing, a history that is kept, and completion
    (Tab). Otherwise lines are read as they are; those that come from no terminal are shown after the prompt, so that
    the output reads as a conversation.

    Args:
        commands: what completes at the start of a line, and what it is for.
        with_file: those of them after which file names complete.

    Raises:
        InputError: standard input is closed.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed, so there is nobody to talk to; llava-ecg ask takes one question")
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        return _line_editor(commands, with_file)
    return _plain_lines(echo=not sys.stdin.isatty())


def _plain_lines(*, echo: bool) -> Callable[[str], str]:
    def read(prompt: str) -> str:
        write(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        if echo:
            write(printable(line if line.endswith("\n") else line + "\n"))
        return line

    return read


def _line_editor(commands: Mapping[str, str], with_file: Collection[str]) -> Callable[[str], str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    history = _history_file()
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory() if history is None else FileHistory(str(history)),
        completer=completer(commands, with_file),
        complete_while_typing=False,
    )
    return session.prompt


def completer(commands: Mapping[str, str], with_file: Collection[str]) -> Completer:
    """What Tab offers: commands at the start of a line, file names after those of ``with_file``."""
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    files = PathCompleter(expanduser=True)

    class Commands(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            text = document.text_before_cursor
            word, space, rest = text.partition(" ")
            if space and word in with_file:
                yield from files.get_completions(Document(rest), complete_event)
            elif text.startswith("/") and not space:
                yield from (
                    Completion(name, -len(text), display_meta=does)
                    for name, does in commands.items()
                    if name.startswith(text)
                )

    return Commands()


def _history_file() -> Path | None:
    """The file of former questions, for its owner's eyes only; None where it can't be written."""
    from llava_ecg.cache import cache_folder

    path = cache_folder() / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("a"):
            return path
    except OSError:
        return None
