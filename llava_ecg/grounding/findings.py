"""Claims of waves and findings: ST, T, Q and R, voltages, conduction, rhythm, ectopy and diagnoses, over the phrases of
one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llava_ecg.grounding.claim import TERRITORIES, Claim
from llava_ecg.grounding.events import Amount, Event, Events
from llava_ecg.grounding.meanings import AMPLITUDE, MV, PAUSE
from llava_ecg.grounding.places import Place, place_at, place_before, place_behind, topics
from llava_ecg.grounding.readings import Reading
from llava_ecg.grounding.scope import Unsaid, polarity
from llava_ecg.grounding.tokens import Kind, Token, Walk

_WITH_AMOUNT = (
    ("st_category", "elevation"),
    ("st_category", "depression"),
    ("t_category", "inverted"),
    ("t_category", "upright"),
    ("t_category", "tall"),
)
_PLACED = ("st_category", "t_category", "q_wave", "diagnosis", "voltage", "r_progression", "conduction", "dominance")
_DIFFERENTIAL = ("rhythm", "diagnosis", "conduction", "voltage", "atrial")


@dataclass
class Findings(Walk):
    """One sentence; `same` are the leads that "these leads" means, and after `read` those that were named last."""

    text: str
    tokens: Sequence[Token]
    unsaid: Unsaid
    same: tuple[str, ...] = ()
    claims: list[Claim] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)  # tokens of places that belong to a claim
    topics: list[tuple[int, Place]] = field(default_factory=list)

    def read(self) -> list[Claim]:
        """The claims of the sentence, in no order."""
        found = Events(self.text, self.tokens, self.same)
        found.collect()
        self.tokens, self.events = found.tokens, found.events
        self.topics = topics(self.tokens, self.same)
        amounts = [(self._event_of(amount), amount) for amount in found.amounts]
        self._bounded_pauses(found.amounts)
        shifted = {e.at for e in self.events if (e.quantity, e.value) in _WITH_AMOUNT} | {
            amount.wave for amount in found.amounts
        }
        for event in self.events:
            if not event.measured and not (event.value == "changed" and event.at in shifted):
                self._event(event)
        for event_of, amount in amounts:
            if self._value(amount.wave) == PAUSE:
                self._length(amount)
            else:
                self._amount(event_of, amount)
        named = [place_at(self.tokens, i, self.same) for i, token in enumerate(self.tokens) if token.kind is Kind.LEAD]
        if named:
            self.same = tuple(dict.fromkeys(lead for place in named for lead in place.leads))
        return self.claims

    def _topic(self, i: int) -> Place:
        """What the clause of token i is about."""
        before = [place for start, place in self.topics if start < i]
        return before[-1] if before else Place()

    def _event_of(self, amount: Amount) -> Event | None:
        """The elevation, depression or inversion whose amount a number is: the nearest one of the same wave."""
        events = [e for e in self.events if e.at == amount.wave and (e.quantity, e.value) in _WITH_AMOUNT]
        if not events:
            return None
        found = min(events, key=lambda e: min(abs(e.last - amount.reading.first), abs(e.first - amount.reading.last)))
        found.measured = True
        return found

    def _bounded_pauses(self, amounts: Sequence[Amount]) -> None:
        """ "No pause longer than 3 s" does not say that there is none."""
        for wave, reading, _ in amounts:
            for event in self.events:
                if event.quantity == "pause" and event.first == wave and reading.comparison != "=":
                    event.measured = polarity(self.tokens, wave, wave).negated

    def _length(self, amount: Amount) -> None:
        """Of a pause."""
        wave, reading, _ = amount
        first, last = min(wave, reading.first), max(wave, reading.last)
        negated, hedged = polarity(self.tokens, first, last)
        low, high = (round(v * 1000, 6) if reading.unit == "s" else v for v in (reading.value, reading.high))
        claim = Claim(
            "pause_ms", low, "ms", comparison=reading.comparison, negated=negated, hedged=hedged and not negated
        )
        if reading.comparison == "range":
            claim = replace(claim, value=None, low=min(low, high), high=max(low, high))
        self._add(Event("pause_ms", "", "", reading.first, reading.last), claim)

    def _event(self, event: Event) -> None:
        negated, hedged = polarity(self.tokens, event.first, event.last)
        quantity, value = event.quantity, event.value
        if value in ("changed", "abnormal") and quantity in ("st_category", "normal_ecg"):
            value, negated = "normal", not negated
        if value == "borderline":
            value, negated, hedged = "normal", True, True
        value, _, territory = value.partition("@")
        if value.endswith("?"):
            value, hedged = value[:-1], True
        if quantity == "rhythm_regular" and negated:
            value, negated = ("irregular" if value == "regular" else "regular"), False
        if not negated and quantity in _DIFFERENTIAL and self._differs(event):
            hedged = True
        place = self._place(event) if quantity in _PLACED else Place()
        if territory:
            place = Place(TERRITORIES[territory], territory)
        hedged = hedged and (not negated or event.value == "borderline")
        self._add(
            event, Claim(quantity, value, leads=place.leads, territory=place.territory, negated=negated, hedged=hedged)
        )

    def _differs(self, event: Event) -> bool:
        """Whether a finding is one of "A or B", "A versus B"."""
        for j, step in ((event.last + 1, 1), (event.first - 1, -1)):
            k = j
            while self._kind(k) in (Kind.TERRITORY, Kind.GLUE) and abs(k - j) < 3:
                k += step
            joint = self._kind(k) is Kind.OR or self._value(k) == "versus"
            k += step
            while joint and self._kind(k) in (Kind.TERRITORY, Kind.GLUE, Kind.ARTICLE) and abs(k - j) < 6:
                k += step
            if joint and self._kind(k) is Kind.FINDING:
                return True
        return False

    def _place(self, event: Event) -> Place:
        if event.quantity == "conduction":
            return (
                place_behind(self.tokens, event.last, self.same, shared=False)
                if event.value == "pre-excitation"
                else Place()
            )
        if event.quantity == "diagnosis" or (event.quantity == "voltage" and event.value != "low"):
            return self._place_of_diagnosis(event)
        ahead = place_behind(self.tokens, event.last, self.same)
        inner = (
            [j for j in range(event.at + 1, event.last) if self._kind(j) is Kind.LEAD and j not in self.taken]
            if event.at >= 0
            else []
        )
        if inner and ahead.first < 0:  # "the ST segments in V1-V3 are elevated"
            ahead = place_at(self.tokens, inner[0], self.same)
        if ahead.first >= 0:
            self.taken.update(range(ahead.first, ahead.last + 1))
            return ahead
        before = place_before(self.tokens, event.first, self.same, self.taken)
        return before if before.leads or before.territory else self._topic(event.first)

    def _place_of_diagnosis(self, event: Event) -> Place:
        if self._kind(event.first - 1) is Kind.TERRITORY or (
            self._kind(event.first - 1) in (Kind.GLUE,) and self._kind(event.first - 2) is Kind.TERRITORY
        ):
            before = place_before(self.tokens, event.first, self.same, set())
            behind = event.last + 1
            if self._kind(behind) is Kind.OPEN and self._kind(behind + 1) is Kind.LEAD:
                return replace_leads(before, place_at(self.tokens, behind + 1, self.same))
            return before
        return place_behind(self.tokens, event.last, self.same, shared=False)

    def _amount(self, event: Event | None, amount: Amount) -> None:
        wave, reading, lead = amount
        name = "p" if self._kind(wave) is Kind.P_WAVE else self._value(wave)
        quantity = AMPLITUDE[name]
        factor = MV.get(reading.unit, 1.0 if reading.value < 10 else 0.1)
        down = self._value(reading.last + 1) == "below baseline"
        sign = -1.0 if down or (event is not None and event.value in ("depression", "inverted")) else 1.0
        low, high = (
            round(sign * factor * (abs(v) if sign < 0 or event else v), 6) for v in (reading.value, reading.high)
        )
        comparison = reading.comparison
        if sign < 0 and comparison in ("<", ">"):
            comparison = {"<": ">", ">": "<"}[comparison]
        first, last = reading.first, reading.last
        negated, hedged = polarity(
            self.tokens, min(first, event.first if event else wave, wave), max(last, event.last if event else wave)
        )
        place = Place((lead,) if lead else ())
        if not lead and quantity not in ("sokolow_lyon_mv", "cornell_mv"):
            place = self._place_of_amount(event, wave, reading)
        at = Event(quantity, "", name, first, last)
        claim = Claim(
            quantity,
            low,
            "mV",
            place.leads,
            place.territory,
            comparison,
            negated=negated,
            hedged=hedged and not negated,
        )
        if comparison == "range":
            claim = replace(claim, value=None, low=min(low, high), high=max(low, high))
        self._add(at, claim)

    def _place_of_amount(self, event: Event | None, wave: int, reading: Reading) -> Place:
        behind = place_behind(
            self.tokens, max(reading.last, wave, event.last if event else 0), self.same, shared=reading.last < wave
        )
        if reading.last > wave:
            direct = place_behind(self.tokens, reading.last, self.same, shared=False)
            between = [j for j in range(wave + 1, reading.first) if self._kind(j) is Kind.LEAD]
            ahead = self._lead_right_before(reading.first)
            if ahead.first >= 0 and (direct.first < 0 or ahead.first > wave):
                behind = ahead
            elif direct.first >= 0:
                behind = direct
            elif between:
                behind = place_at(self.tokens, between[0], self.same)
        if behind.first >= 0:
            self.taken.update(range(behind.first, behind.last + 1))
            return behind
        start = min(wave, reading.first, event.first if event else wave)
        before = place_before(self.tokens, start, self.same, self.taken)
        about = self._topic(reading.first)
        if before.leads or about.leads:
            return before if before.leads else about
        earlier = [j for j in range(start) if self._kind(j) is Kind.LEAD]
        return place_at(self.tokens, earlier[-1], self.same) if earlier and self._value(wave) in ("r", "s") else Place()

    def _lead_right_before(self, i: int) -> Place:
        """ "V1 0.8 mV, V2 1.3 mV", "and in V3 by 2 mm"."""
        j = i - 1
        while self._kind(j) in (Kind.GLUE, Kind.COPULA, Kind.OPEN) and j > i - 4:
            j -= 1
        return place_at(self.tokens, j, self.same) if self._kind(j) is Kind.LEAD else Place()

    def _add(self, event: Event, claim: Claim) -> None:
        if self.unsaid.silent[event.last] or self.unsaid.silent[event.first]:
            return
        if claim.comparison != "=" and self.unsaid.no_limits:
            return
        start, end = self.tokens[event.first].start, self.tokens[event.last].end
        self.claims.append(replace(claim, span=(start, end), text=self.text[start:end]))


def replace_leads(place: Place, other: Place) -> Place:
    """`place` with the leads that are named in brackets behind it."""
    return Place(other.leads or place.leads, place.territory, place.first, other.last)
