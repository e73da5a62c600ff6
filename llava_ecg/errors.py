"""The one exception that a user's mistake becomes, and the mistake that every door for files would wait for."""

from __future__ import annotations

import stat
from pathlib import Path


class InputError(ValueError):
    """Something the user gave can't be used.

    The message is one sentence: what is wrong, with the file and the numbers, and what to do about it.
    Commands print it after ``llava-ecg: `` on stderr and leave with exit code 2; libraries just raise it.
    """


def refuse_streams(path: Path) -> None:
    """Nothing for a file, a folder, or what is not there, which who opens it will say.

    Of a pipe or a device no one knows whether it ever ends or begins, and what is read of it to see what it is would be
    lost to the reader.

    Raises:
        InputError: the path is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    what = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
    shown = str(path) if str(path).isprintable() else repr(str(path))
    raise InputError(f"{shown} is {what} and no regular file; save what comes out of it as a file and give that")
