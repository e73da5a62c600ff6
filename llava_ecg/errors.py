"""The one exception that a user's mistake becomes."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave can't be used.

    The message is one sentence: what is wrong, with the file and the numbers, and what to do about it.
    Commands print it after ``llava-ecg: `` on stderr and leave with exit code 2; libraries just raise it.
    """
