"""Where ``llava-ecg ask --out`` puts an answer: under the name of its file, unless an answer about another file stands
there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from llava_ecg.terminal import show


def answer_file(folder: Path, stem: str) -> Path:
    """The JSON of one answer; its pages lie beside it."""
    return folder / f"{stem}_answer.json"


def free_stem(folder: Path, stem: str, files: Mapping[str, str | None]) -> str:
    """``stem``, or ``stem-2``, ``stem-3``, ...: the first under which no answer lies, or one about the same files,
    which may be replaced.

    Args:
        files: what was asked about, as the JSON of an answer has it under ``files``.
    """
    number, free = 1, stem
    while answer_file(folder, free).exists() and not _about(answer_file(folder, free), files):
        number += 1
        free = f"{stem}-{number}"
    if free != stem:
        show(
            f"{answer_file(folder, stem)} is not about this file and stays; this answer is {answer_file(folder, free)}",
            file=sys.stderr,
        )
    return free


def _about(answer: Path, files: Mapping[str, str | None]) -> bool:
    """Whether the JSON is an answer about these very files; what can't be read is none."""
    try:
        found = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("files") == dict(files)
