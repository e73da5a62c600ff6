"""A data set: made once, in the folder that keeps what llava-ecg has fetched. Another would be downloaded there."""

from __future__ import annotations

import json
from pathlib import Path

from llava_ecg.cache import cache_folder
from llava_ecg.ecg.simulate import simulate
from llava_ecg.ecg.simulated_heart import Heart
from llava_ecg_example.reader import write_strip

QUESTION = "Is this rhythm fast or slow?"


def fast_or_slow() -> Path:
    """Eight strips of lead II, four of them fast. The field ``rhythm`` is the stream's name."""
    folder = cache_folder() / "llava-ecg-example-1.0"
    records = folder / "records.json"
    if not records.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        found = [_record(folder, number, *(("slow", 48.0), ("fast", 130.0))[number % 2]) for number in range(8)]
        records.write_text(json.dumps(found, indent=1), encoding="utf-8")  # last: it says that the strips are there
    return records


def _record(folder: Path, number: int, answer: str, rate_bpm: float) -> dict[str, object]:
    path = folder / f"{number}.strip"
    qt = 300.0 if answer == "fast" else 420.0
    write_strip(path, simulate(Heart(rate_bpm=rate_bpm, qt_ms=qt), seed=number, rate=125, seconds=8)[0], ("II",))
    turns = [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": answer}]
    return {"id": path.stem, "rhythm": str(path), "conversations": turns}
