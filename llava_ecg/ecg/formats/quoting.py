"""What a message may quote of a file. Who the patient is stands anywhere: in a cell of a table, in a field that is read
as a number. So a message quotes what is like a number, and of all else it tells the place.
"""

from __future__ import annotations

import re

# Without two separators, which dates have, and with too few digits for the number of a patient.
_LIKE_NUMBER = re.compile(
    r"[-+]?\d{0,5}(?:[.,]\d{0,6})?(?:[eE][-+]?\d{1,3})?\s?(?:[numk\u00b5\u03bc]?V|%)?|[-?*#.,]{1,3}"
)
_VALUE = re.compile(
    r"((?:string to float|literal for int\(\) with base \d+|time data|isoformat string"
    r"|(?:date|time) for format [\w.:]+):? )b?('[^']*'|\"[^\"]*\")"
)


def quoted(text: str) -> str:
    """The text in quotes where it is short and like a number; else the word ``text``."""
    return repr(text) if _LIKE_NUMBER.fullmatch(text) else "text"


def without_values(message: str) -> str:
    """The message of a library without the value that it quotes, unless that is like a number."""
    return _VALUE.sub(lambda found: found[1] + quoted(found[2][1:-1]), message)
