"""`held`: an answer audited against the ECG of a question, which is read and measured once a process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.scaled import without_volts
from llava_ecg.eval.sources import case
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.audit import Audit

Span = tuple[float, float]


def measured(blocks: Sequence[Mapping[str, Any]], shown: Span | None = None) -> Measurements | None:
    """The measurements of what the model was shown of an ECG; None without a signal.

    Raises:
        InputError: it can't be read.
    """
    return _measured(json.dumps(list(blocks), sort_keys=True), shown)[0]


def held(
    question: str, text: str, blocks: Sequence[Mapping[str, Any]], shown: Span | None = None, *, whole: bool = True
) -> Audit:
    """A text's claims held against an ECG.

    Args:
        question: that it answers.
        blocks: the ECG, as `llava_ecg.eval.sources.case` takes it.
        shown: from and to which second of it the model was shown; None: all.
        whole: whether the text came to its own end.

    Raises:
        InputError: the ECG can't be read.
    """
    found, who = _measured(json.dumps(list(blocks), sort_keys=True), shown)
    return audit_answer(question, text, found, whole=whole, sex=who.get("sex"), age=who.get("age"))


@lru_cache(maxsize=1024)
def _measured(blocks: str, shown: Span | None) -> tuple[Measurements | None, Mapping[str, Any]]:
    told = json.loads(blocks)
    found = case(told)
    who = {} if found.recording is None else found.recording.metadata
    measured = found.within(shown)
    if measured is not None and any(block.get("scaled") for block in told):
        measured = without_volts(measured, sex=who.get("sex"), age=who.get("age"))
    return measured, who
