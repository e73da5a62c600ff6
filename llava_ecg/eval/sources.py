"""A block of plain JSON -> the `Case` that it tells of.

{"ecg": "a.hea", "image": "a.png"}                       files, either or both
{"ecg": "signals.npy", "row": 7, "rate": 250, "unit": 0.001, "leads": ["I", ...]}     one of a table [N, L, T]
{"ecg": "a.hea", "scaled": true}         whose leads were scaled one by one: no volts are measured
{"ecg": "a.hea", "show": ["image"]}                      measured by the signal, and the model sees the page alone
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.case import Case
from llava_ecg.data.conversation import STREAMS
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.images import read_image
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.scaled import with_limb_ratios
from llava_ecg.errors import InputError

_OF_TABLE = ("row", "rate", "unit", "leads")
_KNOWN = {*STREAMS, *_OF_TABLE, "note", "metadata", "show", "scaled"}


@dataclass(frozen=True)
class Partly(Case):
    """A case of which the model is shown some streams alone; it is measured all the same.

    Attributes:
        show: names of the streams that it is shown.
    """

    show: tuple[str, ...] = STREAMS

    def sources(self, derive: bool = True) -> dict[str, Any]:
        """As `Case.sources`, without the streams that are not shown; the page is drawn where that alone is."""
        found = super().sources(derive or STREAMS[0] not in self.show)
        return {name: source for name, source in found.items() if name in self.show}


def case(blocks: Sequence[Mapping[str, Any]]) -> Case:
    """What a question is about: one ECG, or several.

    Raises:
        InputError: no block, one that tells of nothing or says something unknown, or a file that can't be read.
    """
    if not blocks:
        raise InputError("the question comes with no ECG and no image")
    first, *more = (_one(block) for block in blocks)
    return replace(first, more=tuple(more))


class Lately:
    """`case`, which gives the last cases again, so that an ECG that many questions are about is read, measured and
    drawn once.

    Args:
        most: so many are held.
    """

    def __init__(self, most: int = 16) -> None:
        self._most, self._lock = most, threading.Lock()
        self._cases: dict[str, Case] = {}

    def __call__(self, blocks: Sequence[Mapping[str, Any]]) -> Case:
        """As `case`; several threads may call it."""
        key = json.dumps(list(blocks), sort_keys=True, default=str)
        with self._lock:
            found = self._cases.pop(key, None) or case(blocks)
            self._cases[key] = found
            if len(self._cases) > self._most:
                self._cases.pop(next(iter(self._cases)))
        return found


def _one(block: Mapping[str, Any]) -> Case:
    if strange := set(block) - _KNOWN:
        raise InputError(f"a block says {', '.join(sorted(strange))}, and known are {', '.join(sorted(_KNOWN))}")
    signal, picture = (block.get(name) for name in STREAMS)
    if not signal and not picture:
        raise InputError(f"a block names neither of {' and '.join(STREAMS)}; give a file")
    recording = None
    if signal:
        recording = _of_table(Path(signal), block) if "row" in block else read(signal)
        if block.get("scaled"):
            recording = replace(recording, signal=with_limb_ratios(recording.signal, recording.leads))
    image = None if not picture else read_image(Path(picture))
    if (show := block.get("show")) is None:
        return Case(recording, image)
    if not show or set(show) - set(STREAMS):
        raise InputError(f"a block shows {', '.join(show) or 'nothing'}; known are {', '.join(STREAMS)}")
    return Partly(recording, image, show=tuple(show))


def _of_table(path: Path, block: Mapping[str, Any]) -> Recording:
    """A row of a table of signals, npy [N, L, T]."""
    if missing := [name for name in _OF_TABLE if name not in block]:
        raise InputError(f"a block with a row of {path} needs {', '.join(missing)} too")
    try:
        signals = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a table of signals: {error}") from error
    if signals.ndim != 3 or not 0 <= block["row"] < len(signals):
        raise InputError(f"{path} has the shape {signals.shape} and no row {block['row']} of [ECG, lead, sample]")
    return Recording(
        np.asarray(signals[block["row"]], dtype=np.float32) * np.float32(block["unit"]),
        float(block["rate"]),
        tuple(block["leads"]),
        source=f"{path}[{block['row']}]",
        format="numpy",
        metadata=dict(block.get("metadata", {})),
        notes=(block["note"],) if block.get("note") else (),
    )
