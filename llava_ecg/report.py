"""How a recording, its measurements, an answer and its audit look: as text for a person, as plain dicts for
``--json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from llava_ecg.assistant import Answer
    from llava_ecg.case import Case
    from llava_ecg.ecg.recording import Recording
    from llava_ecg.grounding.audit import Audit


def plain(value: Any) -> Any:
    """The value as ``json.dumps(..., allow_nan=False)`` takes it: numpy scalars and arrays unpacked, dates as ISO text,
    NaN as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (np.generic, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def recording_dict(recording: Recording) -> dict[str, Any]:
    """What was read and its quality, without the samples. Rate in Hz, length in s."""
    from llava_ecg.ecg.quality import quality

    return plain(
        {
            "file": recording.source,
            "format": recording.format,
            "leads": recording.leads,
            "derived": [name for name in recording.leads if name in recording.derived],
            "rate_hz": recording.rate,
            "samples": recording.signal.shape[1],
            "seconds": round(recording.duration, 3),
            "start": recording.start,
            "metadata": recording.metadata,
            "notes": recording.notes,
            "quality": [asdict(note) for note in quality(recording)],
        }
    )


def recording_lines(recording: Recording) -> list[str]:
    """What was read, a line each for the file, the leads, the quality and the reader's notes."""
    from llava_ecg.ecg.quality import describe_quality, quality

    leads = " ".join(name + ("*" if name in recording.derived else "") for name in recording.leads)
    alive, all_leads = int(np.isfinite(recording.signal).any(axis=1).sum()), len(recording.leads)
    count = f"{alive} of {all_leads} leads" if alive < all_leads else f"{all_leads} lead{'s'[: all_leads != 1]}"
    size = f"{count}, {recording.rate:g} Hz, {recording.duration:.1f} s"
    lines = [
        f"ECG      {recording.source or 'made'} ({recording.format or 'no file'}), {size}",
        f"leads    {leads}" + ("   (* computed from I and II)" if recording.derived else ""),
    ]
    lines.append(f"quality  {describe_quality(quality(recording))}")
    return lines + [f"note     {note}" for note in recording.notes]


def case_lines(case: Case, image_file: object = "", input_files: Mapping[str, object] | None = None) -> list[str]:
    """What is asked about: the recording, the image, and files of other streams, a line each; none for a drawn page."""
    lines = [] if case.recording is None else recording_lines(case.recording)
    if case.image is not None:
        lines.append(f"image    {image_file or 'given'} ({case.image.width} x {case.image.height} pixels)")
    return lines + [f"{name:<8} {(input_files or {}).get(name, 'given')}" for name in case.inputs]


def audit_summary(audit: Audit | None) -> str:
    """One line on an audit: how many claims, and of which verdict."""
    from llava_ecg.grounding.audit import NOTHING_TO_CHECK

    return NOTHING_TO_CHECK if audit is None else audit.summary()


def audit_lines(audit: Audit | None) -> list[str]:
    """The summary, then a line a claim."""
    claims = audit.lines() if audit is not None and (audit.verdicts or audit.unchecked or audit.remarks) else []
    return [f"audit    {audit_summary(audit)}", *(f"  {line}" for line in claims)]


def ending(answer: Answer) -> str | None:
    """The sentence for an answer that did not come to its own end; None for one that did."""
    if answer.finished == "length":
        return f"the answer was cut off at {answer.tokens.get('new', 0)} new tokens (--max-new-tokens)"
    return "the answer was stopped" if answer.finished == "cancelled" else None


def notes_of(answer: Answer) -> list[str]:
    """The answer's notes, and its `ending` if it has one."""
    last = ending(answer)
    return [*answer.notes, *([last] if last else [])]


def asked_again(draft: Answer) -> str:
    """What a reader is told between a draft and the next."""
    count = 0 if draft.audit is None else draft.audit.counts["contradicted"]
    told = "1 claim is" if count == 1 else f"{count} claims are"
    return f"{told} contradicted by the signal: asked again with the measured values"


def draft_dicts(answer: Answer) -> list[dict[str, Any]]:
    """The other drafts of an answer that was asked for again, each with its audit."""
    return [
        {"answer": draft.text, "audit": None if draft.audit is None else draft.audit.to_dict()}
        for draft in answer.drafts
    ]


def beside(answer: Answer, case: Case) -> str | None:
    """The line on what was measured beyond the part that the model was shown and the audit goes by; None where that is
    all there is."""
    whole, part = case.measurements, case.within(answer.shown)
    if whole is None or part is whole or answer.shown is None or case.recording is None or case.more:
        return None
    names = (("heart_rate_bpm", "rate", "bpm"), ("pr_ms", "PR", "ms"), ("qrs_ms", "QRS", "ms"), ("qt_ms", "QT", "ms"))
    told = [f"{word} {value:.0f} {unit}" for name, word, unit in names if (value := getattr(whole, name)) is not None]
    return (
        f"audited against {answer.shown[0]:g} to {answer.shown[1]:g} s, which the model was shown; "
        f"over the whole {case.recording.duration:.1f} s: {', '.join(told) or 'nothing could be measured'}"
    )


def shown_dict(answer: Answer) -> dict[str, float] | None:
    """From and to which second of the recording the model was shown; None where that is not known."""
    return None if answer.shown is None else {"from_s": answer.shown[0], "to_s": answer.shown[1]}


def answer_dict(question: str, answer: Answer, case: Case, page: str | None) -> dict[str, Any]:
    """The JSON of ``llava-ecg ask`` but for ``files``, which the command adds; docs/chat.md describes its keys."""
    recording, measurements = case.recording, case.measurements
    return plain(
        {
            "question": question,
            "answer": answer.text,
            "model": answer.model,
            "recording": None if recording is None else recording_dict(recording),
            "measurements": None if measurements is None else measurements.to_dict(per_beat=False),
            "shown": shown_dict(answer),
            "measurements_shown": _part(answer, case),
            "audit": None if answer.audit is None else answer.audit.to_dict(),
            "drafts": draft_dicts(answer),
            "page": page,
            "marked_page": None,
            "tokens": answer.tokens,
            "seconds": answer.seconds,
            "notes": notes_of(answer),
            "overrides": answer.overrides,
        }
    )


def exchange_dict(question: str, answer: Answer) -> dict[str, Any]:
    """A question of a conversation and its answer; docs/chat.md describes the keys."""
    return {
        "question": question,
        "answer": answer.text,
        "finished": answer.finished,
        "audit": None if answer.audit is None else answer.audit.to_dict(),
        "drafts": draft_dicts(answer),
        "tokens": answer.tokens,
        "seconds": answer.seconds,
        "notes": answer.notes,
    }


def _part(answer: Answer, case: Case) -> dict[str, Any] | None:
    """The measurements that the audit goes by, where they are of a part of the recording."""
    part = case.within(answer.shown)
    return None if part is None or part is case.measurements else part.to_dict(per_beat=False)
