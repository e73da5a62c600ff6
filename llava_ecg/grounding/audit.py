"""`audit`: claims x measurements -> supported, borderline, contradicted, unmeasurable or not checked, with value,
tolerance and reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.person import Person
from llava_ecg.grounding import judge_findings as facts
from llava_ecg.grounding import judge_waves as waves
from llava_ecg.grounding.claims import Claim, find_claims
from llava_ecg.grounding.judge_numbers import judge_category, judge_number, usable
from llava_ecg.grounding.judge_progression import judge_dominance, judge_progression, judge_transition
from llava_ecg.grounding.tolerances import DEFAULT, MEASURED_AS, Tolerances
from llava_ecg.grounding.verdicts import Found, State, Status, Verdict, weigh

__all__ = ["DEFAULT", "Audit", "Status", "Tolerances", "Verdict", "audit"]

NOTHING_TO_CHECK = "no claim that can be checked"


@dataclass(frozen=True)
class Audit:
    """The verdicts on an answer's claims, in the order of the claims.

    Attributes:
        verdicts: one a claim.
        unchecked: what was asked or spoken of and no verdict tells, in the words of the text; see
            `llava_ecg.grounding.answer`.
        remarks: sentences on the question, such as that treatment is outside of what a signal settles.
    """

    verdicts: tuple[Verdict, ...]
    unchecked: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Status -> how many; all five are there. Only supported and contradicted count as right and wrong."""
        return {status.value: sum(verdict.status is status for verdict in self.verdicts) for status in Status}

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, ready for ``json.dumps``: {counts, verdicts: [{claim, status, measured, tolerance,
        reason}], unchecked, remarks}."""
        verdicts = [
            {
                **asdict(verdict),
                "status": verdict.status.value,
                "claim": {
                    **asdict(verdict.claim),
                    "leads": list(verdict.claim.leads),
                    "span": list(verdict.claim.span),
                },
            }
            for verdict in self.verdicts
        ]
        return {
            "counts": self.counts,
            "verdicts": verdicts,
            "unchecked": list(self.unchecked),
            "remarks": list(self.remarks),
        }

    def summary(self) -> str:
        """One line: how many claims, of which verdict, and what was not checked."""
        total = sum(self.counts.values())
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in self.counts.items() if count)
        told = f"{total} {'claim' if total == 1 else 'claims'}: {verdicts}" if total else NOTHING_TO_CHECK
        return f"{told}; not checked: {', '.join(self.unchecked)}" if self.unchecked else told

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from llava_ecg.grounding.displayed import audit_html

        return audit_html(self)

    def lines(self) -> list[str]:
        """Plain text for a terminal: a line a verdict, then what was not checked; where there was nothing to check, a
        line says so."""
        told = [verdict.line() for verdict in self.verdicts] or ["no claim that can be checked was found in the answer"]
        return [*told, *(f"{Status.NOT_CHECKED.value:<13}  {words}" for words in self.unchecked), *self.remarks]


def audit(
    answer: str | Sequence[Claim],
    measurements: Measurements | None,
    *,
    tolerances: Tolerances = DEFAULT,
    sex: str | None = None,
    age: float | str | None = None,
) -> Audit:
    """Hold each claim of an answer against what was measured.

    A number is supported within the tolerance, a range if the measured value lies in it widened by the tolerance, a
    comparison if it holds with the tolerance given. A word is supported if its threshold is met by more than its own
    uncertainty, contradicted if it is missed by more than the tolerance, and in between borderline, which counts as
    neither. A claim that is made twice is judged once. What the text denies is contradicted where it clearly is so;
    what it only thinks possible is never contradicted.

    Args:
        answer: the text, or the claims that `find_claims` found in it.
        measurements: of the recording; None where there was only an image, which makes every claim unmeasurable.
        tolerances: see `Tolerances`.
        sex, age: as the file says them, such as ``"male"`` or ``"F"`` and years; they set the thresholds of QTc, of
            Cornell's voltage and of ST elevation in V2 and V3, see `llava_ecg.ecg.person.Person`.

    Returns:
        A verdict for each claim; each depends on nothing but its own claim.
    """
    claims = find_claims(answer) if isinstance(answer, str) else answer
    person = Person.of(sex, age)
    once: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        once.setdefault(claim.said, claim)
    return Audit(tuple(weigh(claim, judge(claim, measurements, tolerances, person)) for claim in once.values()))


def judge(
    claim: Claim, m: Measurements | None, tolerances: Tolerances = DEFAULT, person: Person = waves.NOBODY
) -> Found:
    """Whether the statement of a claim, taken without its "no" or "possibly", is so; of several leads those decide that
    could be measured, and the reason tells which could not."""
    found = _judge(claim, m, tolerances, person)
    if m is None or len(claim.leads) < 2 or found.state in (State.UNKNOWN, State.OPEN):
        return found
    left = [name for name in claim.leads if name not in usable(m, claim.leads)[0]]
    if not left:
        return found
    note = f"without {', '.join(left)}, which {'was' if len(left) == 1 else 'were'} not recorded or can't be measured"
    return found._replace(reason="; ".join(part for part in (found.reason, note) if part))


def _judge(claim: Claim, m: Measurements | None, tolerances: Tolerances, person: Person) -> Found:
    if claim.quantity == "diagnosis":
        return Found(State.OPEN, reason="a diagnosis can't be settled by measuring")
    if m is None:
        return Found(State.UNKNOWN, reason="no signal was given")
    if not isinstance(claim.value, str):
        return judge_number(claim, m, tolerances)
    if claim.quantity in MEASURED_AS:
        return judge_category(claim, m, tolerances, person)
    if claim.quantity == "st_category":
        return waves.judge_st(claim, m, tolerances, person)
    if claim.quantity == "voltage":
        return waves.judge_voltage(claim, m, person)
    if claim.quantity == "normal_ecg":
        return facts.judge_normal(claim, m, person)
    judges = {
        "rhythm_regular": facts.judge_regular, "rhythm": facts.judge_rhythm, "p_present": facts.judge_p,
        "av_block": facts.judge_av, "conduction": facts.judge_conduction, "premature": facts.judge_count,
        "pacing": facts.judge_count, "pause": facts.judge_count, "atrial": facts.judge_atrial,
        "t_category": waves.judge_t, "q_wave": waves.judge_q,
        "r_progression": judge_progression, "r_transition": judge_transition, "dominance": judge_dominance,
    }  # fmt: skip
    found = judges[claim.quantity](claim, m) if claim.quantity in judges else Found(State.OPEN)
    return (
        found
        if found.reason or found.state is not State.OPEN
        else found._replace(reason="nothing that is measured settles it")
    )
