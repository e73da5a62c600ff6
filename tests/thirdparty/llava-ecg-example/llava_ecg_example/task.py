"""An evaluation task: one question about each strip of a folder, whose answer is in the file's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_ecg.eval.marking import Options
from llava_ecg.eval.tasks import EvalTask
from llava_ecg_example.records import QUESTION


def rows(data: Path) -> list[dict[str, Any]]:
    """The fields of a `llava_ecg.eval.items.Item` for each file, such as ``7_fast.strip``."""
    strips = sorted((data / "strips").glob("*_*.strip"))
    if not strips:
        raise FileNotFoundError(2, "no such file", str(data / "strips/*_*.strip"))
    return [
        {
            "name": path.stem,
            "question": QUESTION,
            "truth": (path.stem.rpartition("_")[2],),
            "options": ("fast", "slow"),
            "sources": ({"ecg": str(path)},),
        }
        for path in strips
    ]


fast_or_slow = EvalTask(
    name="fast_or_slow",
    summary="whether a rhythm is fast or slow",
    needs="strips/*_fast.strip and strips/*_slow.strip",
    read=rows,
    prompt="{question} Options: {options}",
    marking=Options(several=False),
)
