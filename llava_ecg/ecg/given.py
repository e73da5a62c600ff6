"""Whether what was handed in is a recording.

What a recording itself uses, such as its page, asks here, where its class is not known.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

from llava_ecg.errors import InputError

_PARTS = ("signal", "rate", "leads", "with_derived")


def check_recording(value: Any, who: str) -> None:
    """Raise `InputError` for what is no `Recording`, such as the path of a file.

    Args:
        who: takes one, such as ``a Case``.
    """
    if not all(hasattr(value, name) for name in _PARTS):
        given = ascii(str(value)) if isinstance(value, str | PathLike) else f"a {type(value).__name__}"
        raise InputError(
            f"{who} takes a Recording, not {given}; read a file with llava_ecg.ecg.read(FILE), or put an array into "
            "llava_ecg.ecg.Recording"
        )
