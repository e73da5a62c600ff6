"""`find_claims`: an answer's text -> what it says of the ECG that can be held against a signal, or at least be named.

Each sentence is cut into phrases; what is not said of this ECG is marked (questions, conditionals, definitions, other
recordings), and two readers go over the rest: one for rate, intervals, axis, regularity and P waves, one for waves and
findings.
"""

from __future__ import annotations

from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.findings import Findings
from llava_ecg.grounding.intervals import Intervals
from llava_ecg.grounding.phrases import sentences
from llava_ecg.grounding.scope import unsaid

__all__ = ["Claim", "find_claims"]


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
        said = unsaid(sentence)
        findings, intervals = (
            Findings(text, sentence, said, same),
            Intervals(text, sentence, said, same, carried=carried),
        )
        for claim in (*intervals.read(), *findings.read()):
            claims.setdefault((claim.quantity, claim.value, claim.span), claim)
        same, carried = findings.same, intervals.carried
    return sorted(claims.values(), key=lambda claim: (claim.span, claim.quantity, str(claim.value)))
