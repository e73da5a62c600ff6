"""What a sentence says of waves and findings, before denial, doubt and place are weighed in: words, and numbers with
their wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from llava_ecg.grounding.meanings import AMPLITUDE, EITHER, MEANING, MV, NOUNS_OF_CHANGE, PARTS, PAUSE, SOURCES, TALL
from llava_ecg.grounding.places import place_at
from llava_ecg.grounding.readings import BOX_MS, Reading, read_number
from llava_ecg.grounding.scope import polarity
from llava_ecg.grounding.tokens import Kind, Token, Walk

_BEFORE_LENGTH = (Kind.GLUE, Kind.COPULA, Kind.COMPARE, Kind.BETWEEN, Kind.WORD, Kind.ARTICLE, Kind.SEEN)
_BEHIND_LENGTH = (Kind.GLUE, Kind.WORD, Kind.CATEGORY, Kind.UNIT, Kind.TO)


@dataclass
class Event:
    """A statement in words.

    Attributes:
        quantity, value: as in `llava_ecg.grounding.claim.Claim`, or "changed" of ST.
        wave: the value of the WAVE that it is said of; empty where it needs none.
        first, last: the tokens that say it; `at` the token of its wave, -1 without.
        measured: a number says how much, so that the word alone is no claim.
    """

    quantity: str
    value: str
    wave: str
    first: int
    last: int
    at: int = -1
    measured: bool = False


class Amount(NamedTuple):
    """A number of a wave: the token of the wave, the number, and its lead where a list gives one to each."""

    wave: int
    reading: Reading
    lead: str = ""


@dataclass
class Events(Walk):
    """One pass over one sentence; `same` are the leads that "these leads" means."""

    text: str
    tokens: Sequence[Token]
    same: tuple[str, ...] = ()
    waves: list[int] = field(default_factory=list)  # what was named last
    events: list[Event] = field(default_factory=list)
    amounts: list[Amount] = field(default_factory=list)
    described: set[int] = field(default_factory=set)  # waves that a change or a number is said of

    def collect(self) -> None:
        """Fill `events` and `amounts`."""
        i = 0
        self._these_leads()
        while i < len(self.tokens):
            token, step = self.tokens[i], 1
            if token.kind is Kind.FINDING or (token.kind is Kind.ECTOPY and "=" in token.value):
                self._finding(i)
            elif token.kind is Kind.WAVE:
                self._wave(i)
            elif token.kind in (Kind.CHANGE, Kind.CATEGORY) or token.value == "upright":
                self._change(i)
            elif token.kind is Kind.NOW and token.value.endswith(("tracing", "ecg", "one")):
                self.waves = [i]
            elif token.value == "sinus":
                self._sinus(i)
            elif token.kind is Kind.NUMBER:
                step = self._number_list(i) or self._number(i)
            elif token.kind in (Kind.SUBJECT, Kind.P_WAVE, Kind.FOREIGN):
                self._other(i)
            i += step
        self._bare_q()
        self._transition()
        self._pauses()
        if all(
            (token.kind is Kind.GLUE and token.value not in PARTS) or token.value == "normal" for token in self.tokens
        ):
            # "Within normal limits."
            self.events += [
                Event("normal_ecg", "normal", "", i, i)
                for i, token in enumerate(self.tokens)
                if token.value == "normal"
            ]

    def _these_leads(self) -> None:
        """Put the names in for "the same leads" where the sentence itself named them before."""
        named, out = "", []
        if not any(token.kind is Kind.LEAD and token.value == "same" for token in self.tokens):
            return
        for token in self.tokens:
            if token.kind is Kind.LEAD and token.value == "same" and named:
                token = token._replace(value=named)
            elif token.kind is Kind.LEAD and token.value != "same":
                named = token.value
            out.append(token)
        self.tokens = out

    # what is named

    def _wave(self, i: int) -> None:
        joined = bool(self.waves) and all(
            t.kind in (Kind.AND, Kind.OR, Kind.COMMA) or t.value == "the" for t in self.tokens[self.waves[-1] + 1 : i]
        )
        self.waves = [*self.waves, i] if joined and len(self.waves) < 6 else [i]

    def _other(self, i: int) -> None:
        """Another noun lets go of the wave; "ECG" and "tracing" may themselves be called normal."""
        if self._value(i) in ("amplitude", "amplitudes", "p_ms") and self.waves:
            return
        self.waves = [i] if self._value(i) in ("ecg", "qrs_ms", "qrs_complex") or self._kind(i) is Kind.P_WAVE else []

    def _sinus(self, i: int) -> None:
        after = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
        rate = after is not None and after.kind is Kind.FULL and after.value.startswith("rate_category")
        of_rhythm = any(t.value == "rhythm" for t in self.tokens[max(0, i - 4) : i])
        closed = (
            after is None
            or after.kind in (Kind.COMMA, Kind.CLOSE, Kind.AND, Kind.OR, Kind.BUT, Kind.HEDGE)
            or after.value in ("at", "with", "|")
        )
        if rate or (of_rhythm and (closed or self._kind(i - 1) is Kind.COPULA)):
            self.events.append(Event("rhythm", "sinus", "", i, i + rate))

    def _finding(self, i: int) -> None:
        value = self._value(i)
        self.waves = [i] if value in AMPLITUDE else []
        if self._kind(i - 1) is Kind.OPEN and self._value(i - 2) == value:  # "left bundle branch block (LBBB)"
            return
        if value in EITHER:
            quantity, both = EITHER[value]
            negated = polarity(self.tokens, i, i).negated
            self.events += [Event(quantity, each, "", i, i) for each in both] if negated else []
            return
        if value.startswith("normal_ecg") and self._but_for_something(i):
            return
        for part in value.split(";"):
            quantity, _, word = part.partition("=")
            if quantity == "premature" and word == "any" and any(e.quantity == quantity for e in self.events):
                continue
            if quantity == "av_block" and self._same_block(word, i):
                continue
            self.events.append(Event(quantity, word, "", i, i))
        self._other_side(i, value)

    def _same_block(self, word: str, i: int) -> bool:
        """Whether an AV block that was named before is meant: "Mobitz II AV block", "second degree AV block, type
        Wenckebach"."""
        before = [e for e in self.events if e.quantity == "av_block" and word in (e.value, "any")]
        for event in before:
            if event.last == i - 1:
                event.last = i
        return bool(before)

    def _but_for_something(self, i: int) -> bool:
        """ "otherwise normal ECG", "normal ECG except for the rate"."""
        before = [token.value for token in self.tokens[max(0, i - 16) : i]]
        behind = [token.value for token in self.tokens[i + 1 : i + 4]]
        return any(
            word in (*before, *behind)
            for word in ("otherwise", "sonst", "except", "apart", "exception", "aside", "besides")
        )

    def _other_side(self, i: int, value: str) -> None:
        """ "left or right bundle branch block": the first side is said without its noun."""
        if self._kind(i - 1) in (Kind.OR, Kind.AND):
            side = self.tokens[i - 2] if i >= 2 else None
            source = SOURCES.get(side.value) if side else None
            if source and value.startswith("premature=") and value != f"premature={source}":
                self.events.append(Event("premature", source, "", i - 2, i - 2))
                return
            other = {"left": "right", "right": "left"}.get(side.value, "") if side else ""
            quantity, _, word = value.partition("=")
            if side is not None and side.kind is Kind.CATEGORY and other in word.split():
                self.events.append(Event(quantity, word.replace(other, side.value), "", i - 2, i - 2))

    def _change(self, i: int) -> None:
        word = self._value(i)
        for wave in self._waves_of(i):
            names = ("st", "t") if self._value(wave) == "st-t" else ("st",) if wave == i else (self._value(wave),)
            for name in names:
                self._say_change(name, word, wave, i)

    def _say_change(self, name: str, word: str, wave: int, i: int) -> None:
        if name == "q" and word != "pathological" and self._value_text(i) != "abnormal":
            return
        first, last = min(wave, i), max(wave, i)
        between = self.tokens[wave + 1 : i]
        if last - first > 3 or any(t.kind in (Kind.NEGATION, Kind.HEDGE, Kind.COPULA) for t in between):
            first = last = i
        if name == "ecg" or self._kind(wave) is Kind.NOW:
            if word in ("normal", "abnormal") and i > wave and not self._but_for_something(i):
                self.events.append(Event("normal_ecg", word, "", first, last))
            return
        if name == "st" and word in ("abnormal", "deviation"):
            word = "changed"
        if name == "t amplitude" and word == "inverted":
            name = "t"
        meaning = MEANING.get((name, word))
        if meaning is None or (word == "low" and self._value(i + 2) == "flat"):
            return
        self.described.add(wave)
        if not any(
            (e.quantity, e.value, e.at) == (*meaning, wave) for e in self.events[-3:]
        ):  # "tall peaked T waves": once
            self.events.append(Event(meaning[0], meaning[1], name, first, last, wave))

    def _waves_of(self, i: int) -> list[int]:
        """The waves that the change at i is said of: those that it stands before, else those named before it."""
        noun = self._value_text(i) in NOUNS_OF_CHANGE
        predicate = (self._kind(i - 1) is Kind.COPULA and self._value(i - 1) not in (":", "=")) or (
            self._kind(i - 1) is Kind.NEGATION and self._value(i - 1) == "not"
        )
        j, of = i + 1, False
        while j < i + 7 and (
            self._kind(j) in (Kind.CHANGE, Kind.TERRITORY)
            or self._value(j)
            in ("of", "the", "in", ",", "and", "or", "horizontal", "symmetric", "symmetrical", "small", "wave")
            or (self._kind(j) is Kind.GLUE and j == i + 1)
        ):
            of = of or self._value(j) in ("of", "in")
            if self._kind(j) in (Kind.AND, Kind.COMMA, Kind.OR) and (self._kind(j + 1) not in (Kind.CHANGE,) or noun):
                break
            j += 1
        if self._kind(j) is Kind.WAVE and not (predicate and self.waves) and (of or not (noun and self.waves)):
            found = [j]
            while (
                self._kind(j + 1) in (Kind.AND, Kind.OR, Kind.COMMA)
                and self._kind(j + 2) is Kind.WAVE
                and len(found) < 4
            ):
                if self._kind(j + 3) is Kind.CHANGE:
                    break
                j += 2
                found.append(j)
            return found
        if (
            not predicate
            and not noun
            and self._kind(i + 1) in (Kind.SUBJECT, Kind.P_WAVE, Kind.FOREIGN, Kind.FULL, Kind.FINDING)
        ):
            return []
        if (
            not self.waves
            and noun
            and self._value(i) in ("elevation", "depression")
            and self._kind(i + 1) is not Kind.FOREIGN
        ):
            return [i]
        return self.waves

    def _value_text(self, i: int) -> str:
        return self.text[self.tokens[i].start : self.tokens[i].end].lower()

    def _bare_q(self) -> None:
        """Q waves that only are there, or are not."""
        for i, token in enumerate(self.tokens):
            if token.kind is not Kind.WAVE or token.value != "q":
                continue
            significant = any(t.value in ("significant", "prominent") for t in self.tokens[max(0, i - 2) : i])
            if significant and i not in self.described:
                self.events.append(Event("q_wave", "pathological", "q", i, i))
                continue
            said = [e for e in self.events if e.at == i]
            seen = next((j for j in range(i + 1, min(i + 5, len(self.tokens))) if self._value(j) == "present"), i)
            if any(amount.wave == i for amount in self.amounts):
                continue
            if not said or all(self._kind(e.last - 1) is Kind.NEGATION and e.last > i + 1 for e in said):
                self.events.append(Event("q_wave", "present", "q", i, seen))

    def _transition(self) -> None:
        """ "The transition zone is at V4", "between V3 and V4": the chest lead where R exceeds S."""
        for i, token in enumerate(self.tokens):
            if token.kind is not Kind.WAVE or token.value != "transition":
                continue
            j = i + 1
            while j < i + 5 and self._kind(j) in (Kind.GLUE, Kind.COPULA, Kind.BETWEEN, Kind.WORD, Kind.ARTICLE):
                j += 1
            names = self._value(j).split(", ") if self._kind(j) is Kind.LEAD and not self.tokens[j].territory else []
            if names and len(names) < 3 and all(name.startswith("V") for name in names):
                self.events.append(Event("r_transition", "-".join(names), "transition", i, j))

    def _pauses(self) -> None:
        """ "A pause of 2.3 s", "a 2.5-second sinus pause", "no pause longer than 2 s": how long it is."""
        for i, token in enumerate(self.tokens):
            if token.value != PAUSE:
                continue
            behind, before = i + 1, i - 1
            while behind < i + 6 and self._kind(behind) in _BEFORE_LENGTH:
                behind += 1
            while before > i - 6 and self._kind(before) in _BEHIND_LENGTH:
                before -= 1
            before -= 2 * (self._kind(before - 1) is Kind.TO)  # "2.5 to 3 s": its first number
            for k in (before, behind):
                reading = read_number(self.tokens, k) if self._kind(k) is Kind.NUMBER else None
                if reading is not None and reading.unit in ("s", "ms"):
                    self.amounts.append(Amount(i, reading))
                    break

    # numbers

    def _number(self, i: int) -> int:
        reading = read_number(self.tokens, i)
        step = max(1, reading.last - i + 1)
        wave = self._measured_wave(reading)
        if wave is None:
            return step
        name = "p" if self._kind(wave) is Kind.P_WAVE else self._value(wave)
        if self._value(reading.last + 1) == "/" and self._kind(reading.last + 2) is Kind.UNIT:
            return step  # 10 mm/mV
        between = self.tokens[wave + 1 : reading.first]
        units = [token.value for token in between if token.kind is Kind.UNIT]
        if (
            not reading.unit
            and units
            and units[0] in MV
            and all(t.kind in (Kind.UNIT, Kind.COPULA, Kind.OPEN, Kind.CLOSE) for t in between)
        ):
            reading = reading._replace(unit=units[0])  # "st_mv: 0.2", "R (mV) = 1.2"
        if reading.unit in BOX_MS and not self._is_height(name, reading):
            return step
        if reading.unit not in MV and not (name in ("sokolow", "cornell") and not reading.unit):
            return step
        self.amounts.append(Amount(wave, reading))
        self.described.add(wave)
        return step

    def _is_height(self, name: str, reading: Reading) -> bool:
        """Whether boxes of the paper say how high a wave is: of ST, T, R and S unless "wide" follows, of P,
        Q and QRS only where "tall" or "deep" does."""
        behind = self._value(reading.last + 1)
        if name in ("p", "q", "qrs_ms", "qrs_complex"):
            return behind in TALL
        return behind not in ("wide", "prolonged", "duration")

    def _number_list(self, i: int) -> int:
        """ "in V1 to V3 are 0.1, 0.3 and 0.5 mV": as many numbers as leads, one unit at the end; how many tokens that
        used, else 0."""
        readings: list[Reading] = []
        j = i
        while self._kind(j) is Kind.NUMBER and len(readings) < 12:
            readings.append(read_number(self.tokens, j))
            j = readings[-1].last + 1
            while self._kind(j) in (Kind.COMMA, Kind.AND):
                j += 1
        lead = next((k for k in range(i - 1, max(-1, i - 8), -1) if self._kind(k) is Kind.LEAD), -1)
        names = place_at(self.tokens, lead, self.same).leads if lead >= 0 else ()
        if len(readings) < 2 or len(names) != len(readings) or readings[-1].unit not in MV or not self.waves:
            return 0
        if any(reading.unit for reading in readings[:-1]) or self._value(self.waves[-1]) not in AMPLITUDE:
            return 0
        for name, reading in zip(names, readings, strict=True):
            self.amounts.append(Amount(self.waves[-1], reading._replace(unit=readings[-1].unit), name))
        return readings[-1].last - i + 1

    def _measured_wave(self, reading: Reading) -> int | None:
        """The wave whose size the number gives."""
        ahead = self._wave_ahead(reading.last + 1)
        if (
            not self.waves
            or self._value(self.waves[-1]) not in AMPLITUDE
            and self._kind(self.waves[-1]) is not Kind.P_WAVE
        ):
            return ahead
        between = self.tokens[self.waves[-1] + 1 : reading.first]
        apart = any(t.kind in (Kind.COMMA, Kind.AND, Kind.BUT) for t in between)
        if ahead is not None and (apart or any(t.kind is Kind.NUMBER for t in between)):
            return ahead
        return self.waves[-1] if sum(t.kind is Kind.WORD for t in between) <= 4 else None

    def _wave_ahead(self, j: int) -> int | None:
        """ "2 mm of horizontal ST depression", "2 mm elevation of the ST segment", "a 12 mm R wave"."""
        for k in range(j, min(j + 6, len(self.tokens))):
            kind = self._kind(k)
            if kind is Kind.WAVE and self._value(k) in AMPLITUDE:
                return k
            if kind not in (Kind.GLUE, Kind.ARTICLE, Kind.CHANGE, Kind.WORD) or self._value(k) in ("in", "at", "with"):
                return None
        return None

    # claims
