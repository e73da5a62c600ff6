"""What a sentence speaks of, from left to right, and how a claim about it is said: what `Intervals` stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.places import Place, place_at
from llava_ecg.grounding.readings import Reading
from llava_ecg.grounding.scope import SAID, Polarity, Unsaid, p_waves
from llava_ecg.grounding.tokens import Kind, Token, Walk

_TIMES = ("p_ms", "rr_ms", "pr_ms", "qrs_ms", "qrs_complex", "qt_ms", "qtc_ms", "qtc_bazett_ms", "qtc_fridericia_ms")
FAMILY = {
    "heart_rate_bpm": "bpm",
    "response": "bpm",
    **dict.fromkeys(("axis_deg", "p_axis_deg", "t_axis_deg"), "deg"),
    **dict.fromkeys(_TIMES, "ms"),
}
RHYTHM = ("rhythm", "response", "rr_ms")
LONGEST_LIST = 10  # "HR/PR/QRS/QT/QTc/axis"
AXES = ("p_axis_deg", "axis_deg", "t_axis_deg")


@dataclass
class Subject:
    """A quantity that was named; its index is -1 where only a unit or a rhythm named it.

    Attributes:
        filled: it has its number.
        described: the category word that is said of it.
    """

    quantity: str
    index: int
    filled: bool = False
    described: str = ""


@dataclass
class Spoken(Walk):
    """The state of one pass over one sentence; `same` are the leads that "these leads" means."""

    text: str
    tokens: Sequence[Token]
    unsaid: Unsaid
    same: tuple[str, ...] = ()
    claims: list[Claim] = field(default_factory=list)
    current: list[Subject] = field(default_factory=list)  # what was named last; several after "PR and QRS"
    rhythm: Subject | None = None
    qrs: Subject | None = None
    joinable: bool = False  # only list words since the last subject
    gap: int = 0  # unknown words since it
    comma: bool = False
    other_rate: bool = False  # the last rate named is not the heart's
    unit: str = ""  # "PR (ms): 160"
    carried: str = ""  # what the sentence before spoke of last, and after `read` this one: "It is 158 ms"
    ahead: int = -1  # a subject that the number before it has filled
    described: dict[int, str] = field(default_factory=dict)  # subjects that the category word before them describes

    def noun(self, i: int) -> None:
        """Another noun lets go of what was named; a rhythm may be called regular, and "P 110 ms" is a duration."""
        kind, value = self._kind(i), self._value(i)
        self.current, self.other_rate = [], value == "rate"
        if value.startswith("rhythm="):
            self.rhythm = Subject("rhythm", i)
            self.current, self.gap, self.comma = [self.rhythm], 0, False
        if kind is Kind.P_WAVE:
            self._p_wave(i)
            self.current, self.gap, self.comma = [Subject("p_ms", i)], 0, False

    def subject(self, i: int) -> None:
        """A quantity is named: alone, or beside those that were named just before ("PR and QRS")."""
        if self._value(i) == "axes":
            self.current, self.gap, self.comma, self.unit = [Subject(name, i) for name in AXES], 0, False, ""
            return
        new = Subject(self.tokens[i].value, i, i == self.ahead, self.described.get(i, ""))
        self.current = [*self.current, new] if self.joinable and len(self.current) < LONGEST_LIST else [new]
        self.joinable, self.gap, self.comma, self.other_rate, self.unit = True, 0, False, False, ""
        if new.quantity in RHYTHM:
            self.rhythm = new
        elif new.quantity in ("qrs_ms", "qrs_complex"):
            self.qrs = new

    def say(
        self,
        subject: str,
        quantity: str,
        value: float | str | None,
        at: tuple[int, int],
        reading: Reading | None = None,
        meant: Polarity = SAID,
    ) -> None:
        """Add a claim whose words are the tokens at[0] to at[1], unless they stand where nothing is said of this
        ECG."""
        if self.unsaid.silent[at[1]]:
            return
        if quantity in ("qrs_category", "p_present") and any(
            at[0] - 6 <= e <= at[1] + 4 or e < at[0] for e in self.unsaid.ectopy
        ):
            return
        start, end = self.tokens[at[0]].start, self.tokens[at[1]].end
        place = self._place(at) if FAMILY.get(subject) == "ms" or quantity == "p_present" else Place()
        unit, comparison, low, high = "", "=", None, None
        if reading is not None:
            unit, comparison, meant = FAMILY[subject], reading.comparison, SAID
            if comparison == "range":
                value, low, high = None, reading.value, reading.high
                if low > high and (unit != "deg" or low - high < 180):
                    low, high = high, low
        elif quantity == "rhythm_regular" and meant.negated:
            value, meant = "irregular" if value == "regular" else "regular", Polarity(False, meant.hedged)
        self.claims.append(
            Claim(
                quantity,
                value,
                unit,
                place.leads,
                place.territory,
                comparison,
                low,
                high,
                negated=meant.negated,
                hedged=meant.hedged and not meant.negated,
                span=(start, end),
                text=self.text[start:end],
            )  # fmt: skip
        )

    def _place(self, at: tuple[int, int]) -> Place:
        """The leads right after the words ("160 ms in lead II") or right before their subject ("in lead II, the
        PR")."""
        after = at[1] + 1
        while self._kind(after) in (Kind.GLUE, Kind.SEEN, Kind.CLOSE) and after < at[1] + 4:
            after += 1
        if self._kind(after) is Kind.LEAD:
            return place_at(self.tokens, after, self.same)
        own = self.current[-1].index if self.current else -1
        inner = [j for j in range(max(own, 0), at[0]) if self._kind(j) is Kind.LEAD] if own >= 0 else []
        if inner:  # "the QT interval in V5 is 390 ms"
            return place_at(self.tokens, inner[-1], self.same)
        before = (self.current[0].index if self.current and self.current[0].index >= 0 else at[0]) - 1
        stop, apart = before - 3, False
        while before > stop and self._kind(before) in (Kind.GLUE, Kind.COMMA, Kind.ARTICLE, Kind.COPULA, Kind.SEEN):
            apart = apart or self._kind(before) is Kind.COMMA
            before -= 1
        while before > 0 and self._kind(before) is Kind.LEAD and self._kind(before - 1) is Kind.LEAD:
            before -= 1
        start = before - 1
        while self._kind(start) in (Kind.GLUE, Kind.ARTICLE, Kind.TO):
            start -= 1
        if (
            self._kind(before) is not Kind.LEAD
            or self._kind(start) not in (None, Kind.BUT, Kind.COMMA, Kind.AND)[: 2 if apart else 4]
        ):
            return Place()
        return place_at(self.tokens, before, self.same)

    def _p_wave(self, i: int) -> None:
        found = p_waves(self.tokens, i)
        if found is not None and not self._of_a_pause(found[1]):
            self.say("p_present", "p_present", found[0], found[1:])

    def _of_a_pause(self, first: int) -> bool:
        """Whether "without a P wave" at token `first` tells what a pause is like: "a pause of 2 s without a P wave"."""
        if self._value(first) != "no":
            return False
        j = first - 1
        while j >= 0 and self._kind(j) in (Kind.GLUE, Kind.NUMBER, Kind.UNIT, Kind.COMPARE, Kind.ARTICLE, Kind.SEEN):
            j -= 1
        return self._value(j) == "pause=present" and self._kind(j) is Kind.FINDING
