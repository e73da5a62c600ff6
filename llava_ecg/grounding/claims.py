"""`find_claims`: an answer's text -> what it says of the ECG that can be held against a signal, or at least be named.

Each sentence is cut into phrases; what is not said of this ECG is marked (questions, conditionals, definitions, other
recordings), and two readers go over the rest: one for rate, intervals, axis, regularity and P waves, one for waves and
findings.
"""

from __future__ import annotations

from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.findings import Findings
from llava_ecg.grounding.intervals import Intervals
from llava_ecg.grounding.scope import unsaid
from llava_ecg.grounding.sentences import sentences
from llava_ecg.grounding.tokens import Kind

__all__ = ["Claim", "find_claims"]

_CLAIMING = frozenset(  # a sentence without one of these claims nothing, and the next one can't refer to it
    (Kind.SUBJECT, Kind.P_WAVE, Kind.WAVE, Kind.CHANGE, Kind.FINDING, Kind.ECTOPY, Kind.CATEGORY, Kind.FULL,
     Kind.NUMBER, Kind.LEAD)
)  # fmt: skip


def find_claims(text: str) -> list[Claim]:
    """The checkable statements of ``text``, in the order of their spans.

    Reference ranges, definitions, conditionals, questions, other recordings, the person's history and advice are no
    claims. What is denied is one with `Claim.negated`, what is only thought possible one with `Claim.hedged`. Any
    string is accepted; the time is linear.
    """
    claims: dict[tuple[str, object, tuple[int, int]], Claim] = {}
    same: tuple[str, ...] = ()
    carried = ""
    for sentence in sentences(text):
        if _CLAIMING.isdisjoint([token.kind for token in sentence]):
            continue
        said = unsaid(sentence)
        findings, intervals = (
            Findings(text, sentence, said, same),
            Intervals(text, sentence, said, same, carried=carried),
        )
        for claim in (*intervals.read(), *findings.read()):
            claims.setdefault((claim.quantity, claim.value, claim.span), claim)
        same, carried = findings.same, intervals.carried
    return sorted(claims.values(), key=lambda claim: (claim.span, claim.quantity, str(claim.value)))
