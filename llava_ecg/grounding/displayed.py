"""An audit and the answer it is about as a notebook shows them, and the pieces of that which a report shows too.

The colours and lines are those of `llava_ecg.grounding.picture`: what is supported is underlined with a solid line,
what is contradicted with a wavy one, anything else with a dotted one, so that no colour says what a line does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llava_ecg import display
from llava_ecg.grounding.verdicts import Status, Verdict

if TYPE_CHECKING:
    from llava_ecg.grounding.audit import Audit

_CLASSES = {Status.SUPPORTED: "supported", Status.CONTRADICTED: "contradicted"}
_WEIGHT = {Status.SUPPORTED: 0, Status.CONTRADICTED: 2}  # of several claims in the same words the worst is shown
_ENDINGS = {
    "length": "the answer was cut off at its longest length; Decoding(max_new_tokens=...) sets it",
    "cancelled": "the answer was stopped",
}


def audit_html(audit: Audit) -> str:
    """The summary, and a line a claim with its verdict."""
    return display.fragment(*_audit(audit), display.paragraph(display.RESEARCH_USE, "quiet"))


def answer_html(text: str, model: str, audit: Audit | None, notes: Sequence[str] = (), finished: str = "stop") -> str:
    """An answer with its claims underlined, its audit below, and what a reader should know about it.

    Args:
        text: of the answer; the spans of the audit's claims are places in it.
        model: who answered.
        audit: None where nothing could be held against a signal.
        notes: sentences.
        finished: ``stop``, ``length`` or ``cancelled``.
    """
    verdicts = () if audit is None else audit.verdicts
    told = [*notes, *([_ENDINGS[finished]] if finished in _ENDINGS else [])]
    return display.fragment(
        f"<p>Answer of <strong>{display.text(model)}</strong></p>",
        f"<blockquote>{underlined(text, verdicts)}</blockquote>",
        *(_audit(audit) if audit is not None else [display.paragraph("The answer was not audited.")]),
        *(display.paragraph(note, "quiet") for note in told),
        display.paragraph(display.RESEARCH_USE, "quiet"),
    )


def _audit(audit: Audit) -> list[str]:
    return [
        display.paragraph(f"Audit against the signal: {audit.summary()}."),
        claim_list(audit.verdicts),
        *(display.paragraph(remark, "quiet") for remark in audit.remarks),
    ]


def claim_list(verdicts: Sequence[Verdict], name: str = "") -> str:
    """A line a claim; empty without any.

    Args:
        name: of the answer, so that its text can lead to the lines; no line can be led to without one.
    """
    told = []
    for place, verdict in enumerate(verdicts, 1):
        status, _, words = verdict.line().partition("  ")
        badge = f'<span class="badge {_class(verdict)}">{display.text(status.strip())}</span>'
        place_of = f' id="{name}-{place}"' if name else ""
        told.append(f"<li{place_of}>{badge} {display.text(words.strip())}</li>")
    return "\n".join(['<ol class="claims">', *told, "</ol>"]) if told else ""


def underlined(text: str, verdicts: Sequence[Verdict], name: str = "") -> str:
    """The text with its claims marked, each with its verdict to hover over and the number of its line of `claim_list`.

    A claim inside of another's words shares their mark.
    """
    found, at = [], 0
    order = sorted(range(len(verdicts)), key=lambda index: verdicts[index].claim.span)
    while order:
        begin, end = verdicts[order[0]].claim.span
        group = [order.pop(0)]
        while order and verdicts[order[0]].claim.span[0] < end:
            end = max(end, verdicts[order[0]].claim.span[1])
            group.append(order.pop(0))
        if end > len(text) or begin < at:
            continue
        worst = max((verdicts[index] for index in group), key=lambda each: _WEIGHT.get(each.status, 1))
        told = "; ".join(" ".join(verdicts[index].line().split()) for index in group)
        numbers = "".join(_number(index + 1, name) for index in group)
        found.append(display.lines(text[at:begin]))
        marked = f"{display.lines(text[begin:end])}{numbers}"
        found.append(f'<mark class="{_class(worst)}" title="{display.text(told)}">{marked}</mark>')
        at = end
    return "".join([*found, display.lines(text[at:])])


def _number(place: int, name: str) -> str:
    return f'<a href="#{name}-{place}">{place}</a>' if name else f"<sup>{place}</sup>"


def _class(verdict: Verdict) -> str:
    return _CLASSES.get(verdict.status, "unsure")
