"""An answer that is asked for once more where the signal contradicts it: ``--revise N`` of ask and chat.

The first draft is audited; what the signal contradicts is sent back with the measured values, and the model answers the
same question again; a third draft is told what was wrong in either. The draft with the fewest contradicted claims
counts; all drafts and their audits are kept (`Answer.drafts`), and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.grounding.correction import correction

if TYPE_CHECKING:
    from llava_ecg.assistant import Answer, Assistant

REVISED = "revised: {wrong} of the first draft contradicted by the signal, asked again with the measured values"
NO_BETTER = "asked again with the measured values, and that was no better: the first draft counts"
STOPPED = "stopped while it was asked again: the first draft counts"


def ask_revised(
    assistant: Assistant,
    turns: Sequence[Turn],
    case: Case,
    decoding: Decoding,
    *,
    most: int,
    on_text: Callable[[str], None] | None = None,
    on_again: Callable[[Answer], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Answer:
    """`Assistant.ask`, and up to ``most`` more drafts while claims are contradicted.

    Args:
        most: drafts after the first; 0 asks once.
        on_text: called with each new piece of each draft.
        on_again: called with a draft before the next one begins.
        cancelled: as in `Assistant.ask`; a draft that was stopped is the last.

    Returns:
        The draft with the fewest contradicted claims, the earliest of these, with the other ones in ``drafts``.

    Raises:
        InputError: as in `Assistant.ask`.
    """
    drafts = [assistant.ask(turns, case, decoding, on_text=on_text, cancelled=cancelled)]
    while len(drafts) <= most and drafts[-1].finished == "stop" and contradicted(drafts[-1]):
        measured = case.within(drafts[-1].shown)
        audits = [draft.audit for draft in drafts if draft.audit is not None]
        told = "" if measured is None else correction(audits, measured)
        if not told:
            break
        if on_again is not None:
            on_again(drafts[-1])
        again = [*turns[:-1], replace(turns[-1], text=f"{turns[-1].text} {told}")]
        draft = assistant.ask(again, case, decoding, on_text=on_text, cancelled=cancelled)
        drafts.append(draft)
    if len(drafts) == 1:
        return drafts[0]
    whole = [draft for draft in drafts if draft.finished != "cancelled"]
    best = min(whole, key=contradicted)
    first = STOPPED if len(whole) < len(drafts) else NO_BETTER
    note = first if best is drafts[0] else REVISED.format(wrong=_claims(contradicted(drafts[0])))
    seconds = {**best.seconds, "total": round(sum(draft.seconds["total"] for draft in drafts), 3)}
    others = tuple(draft for draft in drafts if draft is not best)
    return replace(best, notes=(*best.notes, note), drafts=others, seconds=seconds)


def contradicted(answer: Answer) -> int:
    """How many of its claims the signal contradicts."""
    return 0 if answer.audit is None else answer.audit.counts["contradicted"]


def _claims(count: int) -> str:
    return f"{count} {'claim' if count == 1 else 'claims'}"
