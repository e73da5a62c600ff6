"""File names as people type, paste or drop them into the terminal: quoted, with backslashes before blanks, as a file://
address.

What terminals write when a file is dropped on them: ``my\\ ecg.hea`` (macOS Terminal, iTerm2, Konsole), ``'my
ecg.hea'`` (GNOME Terminal, with ``'\\''`` for an apostrophe), ``"C:\\my ecg.hea"`` (Windows); file managers copy
``file:///home/me/my%20ecg.hea``.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

from llava_ecg.errors import InputError

_WINDOWS = re.compile(r"[\"']?(?:[A-Za-z]:\\|\\\\)")


def file_name(text: str) -> str:
    """The one file name in a text.

    A name that is there as it stands is never changed; one that stays in pieces when it is read as a shell would (``my
    ecg.hea``) is taken whole.

    Raises:
        InputError: several files at once.
    """
    text = text.strip()
    if text.lower().startswith("file://"):
        return _of_address(text)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if not quoted and _is_there(text):
        return text
    words = _words(text)
    if len(words) == 1:
        return _of_address(words[0]) if words[0].lower().startswith("file://") else words[0]
    if len(words) > 1 and all(map(_is_there, words)):
        raise InputError(f"one file at a time, not {len(words)}: {', '.join(words)}")
    return text[1:-1] if quoted else text


def expanded(name: str) -> Path:
    """The path of a file name, with ``~`` for the home folder; as it stands where ``~name`` is nobody here."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def is_dropped(line: str) -> bool:
    """Whether a line is nothing but the whole path of a file, as a terminal writes it when the file is dropped on
    it."""
    if not line.lstrip("'\"").lower().startswith(("/", "~/", "file://")):
        return False
    try:
        return _is_there(file_name(line))
    except InputError:  # several files
        return True


def _words(text: str) -> list[str]:
    """The text as a shell takes it apart; nothing where a quote stays open, as the apostrophe of a name does."""
    windows = os.name == "nt" or _WINDOWS.match(text) is not None  # there a backslash is part of the path
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", "" if windows else "\\"
    try:
        return list(lexer)
    except ValueError:
        return []


def _of_address(text: str) -> str:
    path = unquote(re.sub(r"^file://(?:localhost(?=/))?", "", text, flags=re.IGNORECASE))
    return path[1:] if re.match(r"/[A-Za-z]:[/\\]", path) else path


def _is_there(name: str) -> bool:
    try:
        return bool(name) and expanded(name).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False
