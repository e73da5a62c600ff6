"""Claims of rate, intervals, axis, regularity and P waves, over the phrases of one sentence.

One pass from left to right attaches numbers and category words to the quantity that was named last. In doubt nothing is
claimed: a claim that is missed costs less than one that nobody made.
"""

from __future__ import annotations

from dataclasses import dataclass

from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.readings import BOX_MS, Reading, family_of, formula_of, is_bound, is_denied, read_number
from llava_ecg.grounding.scope import is_limit, polarity
from llava_ecg.grounding.subjects import AXES, FAMILY, LONGEST_LIST, RHYTHM, Spoken, Subject
from llava_ecg.grounding.tokens import Kind

_PLAUSIBLE = {"bpm": (15.0, 400.0), "ms": (10.0, 3000.0), "deg": (-180.0, 360.0)}  # of numbers without a unit
_SLOWEST = 25.0  # bpm: fewer a minute, behind premature beats, are theirs
_QTC = ("qt_ms", "qtc_ms", "qtc_bazett_ms", "qtc_fridericia_ms")
_CATEGORY_OF: dict[tuple[str, str], tuple[str, str]] = {
    ("normal", "heart_rate_bpm"): ("rate_category", "normal"),
    ("normal", "pr_ms"): ("pr_category", "normal"),
    ("prolonged", "pr_ms"): ("pr_category", "prolonged"),
    ("short", "pr_ms"): ("pr_category", "short"),
    ("normal", "qrs_ms"): ("qrs_category", "narrow"),
    ("prolonged", "qrs_ms"): ("qrs_category", "wide"),
    **{(word, name): ("qrs_category", word) for word in ("narrow", "wide") for name in ("qrs_ms", "qrs_complex")},
    **{(word, name): ("qtc_category", word) for word in ("short", "normal", "prolonged") for name in _QTC},
    **{(word, "axis_deg"): ("axis_category", word) for word in ("normal", "left", "right", "extreme")},
    **{(word, name): ("rhythm_regular", word) for word in ("regular", "irregular") for name in RHYTHM},
}
_SUBJECT_OF_FULL = {
    "rate_category": "heart_rate_bpm",
    "axis_category": "axis_deg",
    "qrs_category": "qrs_complex",
    "rhythm_regular": "rhythm",
}
_ADJECTIVES = ("the", "of", "sinus", "mean", "overall", "ventricular", "underlying")
_INTERVALS = (("pr_category", "normal"), ("qrs_category", "narrow"), ("qtc_category", "normal"))
_LISTING = (Kind.AND, Kind.COMMA, Kind.OR)
_NOUNS = (
    Kind.WORD,
    Kind.FOREIGN,
    Kind.WAVE,
    Kind.FINDING,
    Kind.CHANGE,
    Kind.TERRITORY,
    Kind.P_WAVE,
    Kind.SUBJECT,
    Kind.FULL,
    Kind.ECTOPY,
)


@dataclass
class Intervals(Spoken):
    """One pass over one sentence."""

    def read(self) -> list[Claim]:
        """The claims of the sentence."""
        i = 0
        while i < len(self.tokens):
            kind, step = self.tokens[i].kind, 1
            if kind is Kind.SUBJECT:
                self.subject(i)
            elif kind in (Kind.FOREIGN, Kind.P_WAVE, Kind.ECTOPY, Kind.WAVE, Kind.FINDING):
                self.noun(i)
            elif self.tokens[i].value == "it" and self.carried and not self.current:
                self.current, self.gap, self.comma = [Subject(self.carried, -1)], 0, False
            elif kind is Kind.CATEGORY:
                self._category(i)
            elif kind is Kind.FULL:
                self._full(i)
            elif kind is Kind.NUMBER:
                step = self._numbers(i)
            elif kind is Kind.UNIT and self.gap == 0:
                self.unit = self.tokens[i].value
            self.gap += kind in (Kind.WORD, Kind.CHANGE, Kind.TERRITORY)
            self.comma |= kind is Kind.COMMA
            self.joinable &= kind in (*_LISTING, Kind.SUBJECT) or self.tokens[i].value == "the"
            i += step
        named = [token.value for token in self.tokens if token.kind is Kind.SUBJECT]
        self.carried = named[-1] if named else self.carried
        return self.claims

    # numbers

    def _numbers(self, i: int) -> int:
        """Attach the number at i, or the list that it begins, to its subject; how many tokens that used."""
        readings = [read_number(self.tokens, i)]
        while len(readings) < len(self.current):
            after = readings[-1].last + 1
            after += self._kind(after) is Kind.COMMA and self._kind(after + 1) is Kind.AND
            after += self._kind(after) in _LISTING
            if self._kind(after) is not Kind.NUMBER or (
                self._kind(after - 1) not in _LISTING and self.current[0].quantity != AXES[0]
            ):
                break
            readings.append(read_number(self.tokens, after))
        if len(readings) > 1 and len(readings) == len(self.current) and not any(s.filled for s in self.current):
            unit = readings[-1].unit
            for subject, reading in zip(list(self.current), readings, strict=True):
                own = reading.unit or (
                    unit if unit != "other" and FAMILY.get(subject.quantity) == family_of(unit) else ""
                )
                self._attach(reading._replace(unit=own), [subject])
            last = readings[-1].last
        else:
            last = readings[0].last
            self._attach(readings[0], self.current)
        return last - i + 1

    def _attach(self, reading: Reading, subjects: list[Subject]) -> None:
        unit = reading.unit or self.unit
        family = family_of(unit)
        if (
            self._value(reading.last + 1) == "/"
            and self._kind(reading.last + 2) is Kind.NUMBER
            and self._value(reading.last + 3) == "="
        ):
            return  # 300/4 = 75
        if unit in ("other", "mm", "mV", "uV") or is_denied(self.tokens, reading) or is_bound(self.tokens, reading):
            return
        if not unit:
            subject = subjects[-1] if subjects else None
            if subject is None or self.gap or self.comma or subject.filled or not self._bare(reading, subject):
                return
        else:
            subject = None if self._of_something_else(reading, family) else self._owner(reading, subjects, family)
            if subject is None:
                return
        more = (
            subject.filled
            and self._kind(reading.first - 1) is Kind.COMMA
            and self.text[self.tokens[reading.first].start].isalpha()
        )
        # ", longer than 200 ms"
        if reading.comparison != "=" and (
            self.unsaid.no_limits
            or (subject.filled and not more)
            or subject.described not in ("", "tachycardia", "bradycardia")
        ):
            return
        if reading.comparison in ("<", ">") and subject.described:
            return
        again, subject.filled, self.gap = subject.filled, True, 0
        family = FAMILY[subject.quantity]
        if family == "ms" and (unit == "s" or (not unit and abs(reading.value) <= 3)):
            reading = reading._replace(value=round(reading.value * 1000, 6), high=round(reading.high * 1000, 6))
        scale = BOX_MS.get(unit, 1.0)
        reading = reading._replace(value=reading.value * scale, high=reading.high * scale)
        if family != "deg":  # "PR -160": a dash, no sign
            reading = reading._replace(value=abs(reading.value), high=abs(reading.high))
        quantity = {"qrs_complex": "qrs_ms", "response": "heart_rate_bpm"}.get(subject.quantity, subject.quantity)
        if quantity == "qtc_ms":
            quantity = formula_of(self.tokens, subject.index, reading, only_after=again) or quantity
        self.say(subject.quantity, quantity, reading.value, (reading.first, reading.last), reading)

    def _of_something_else(self, reading: Reading, family: str) -> bool:
        """Whether a number counts premature beats (">5/min"), or boxes that a P wave is high."""
        if reading.unit in BOX_MS:
            return self._value(reading.last + 1) in ("tall", "high")
        if family != "bpm":
            return False
        behind = [self._kind(j) for j in (reading.last + 1, reading.last + 2)]
        if behind[0] is Kind.ECTOPY or behind == [Kind.GLUE, Kind.ECTOPY]:
            return True
        before = self.tokens[max(0, reading.first - 5) : reading.first]
        return abs(reading.value) < _SLOWEST and any(token.kind is Kind.ECTOPY for token in before)

    def _owner(self, reading: Reading, subjects: list[Subject], family: str) -> Subject | None:
        """The subject that a number with a unit belongs to."""
        named = [s for s in subjects if FAMILY.get(s.quantity) == family]
        near = range(max(0, reading.first - 6), reading.first)
        if any(self._kind(j) is Kind.FORMULA for j in near) and all(
            s.quantity == "qt_ms" and (s.filled or s.index < 0) for s in named
        ):
            return Subject("qtc_ms", near[0]) if family == "ms" else None  # "Corrected by Bazett it is 445 ms"
        if self.gap <= 4:
            for subject in reversed(named):
                if not subject.filled or (
                    subject.quantity == "qtc_ms" and formula_of(self.tokens, subject.index, reading, only_after=True)
                ):
                    return subject
        j = reading.last + 1
        if self._kind(j) is Kind.SUBJECT and FAMILY.get(self._value(j)) == family and not self._described_next(j):
            self.ahead = j
            return Subject(self._value(j), -1)
        if family != "bpm" or self.other_rate:
            return None
        subject = named[-1] if named else Subject("heart_rate_bpm", -1)
        self.current = [subject]
        return subject

    def _described_next(self, j: int) -> bool:
        """Whether the subject at j has its own number or colon behind it."""
        after = self.tokens[j + 1 : j + 4]
        return bool(after) and (
            after[0].kind is Kind.NUMBER or after[0].value == ":" or (len(after) > 1 and after[1].kind is Kind.NUMBER)
        )

    def _bare(self, reading: Reading, subject: Subject) -> bool:
        """Whether a number without a unit can be that quantity's: nothing unknown follows and the size is possible."""
        family = FAMILY.get(subject.quantity)
        if (
            family is None
            or subject.quantity == "qrs_complex"
            or self._kind(reading.last + 1) in (Kind.WORD, Kind.FOREIGN, Kind.P_WAVE)
        ):
            return False
        low, high = _PLAUSIBLE[family]
        seconds = family == "ms" and all(0 < v <= 3 and v != int(v) for v in (abs(reading.value), abs(reading.high)))
        return seconds or all(low <= (v if family == "deg" else abs(v)) <= high for v in (reading.value, reading.high))

    # words

    def _category(self, i: int) -> None:
        word = self._value(i)
        targets = self._rhythm_of(i) if word in ("regular", "irregular") else self._described_by(i, word)
        if not targets and word in ("regular", "irregular") and self._stands_alone(i):
            targets = [Subject("rhythm", -1)]
        if word == "normal" and not self._announces_limits(i) and self._all_intervals(i):
            for quantity, value in _INTERVALS:
                self.say("", quantity, value, (i, i), meant=polarity(self.tokens, i, i))
            if self._kind(i + 1) is not Kind.SUBJECT:
                return
        if not targets or (word == "normal" and self._announces_limits(i)):
            return
        meant = polarity(self.tokens, i, i)
        for subject in targets:
            meaning = _CATEGORY_OF.get((word, subject.quantity))
            if meaning is not None:
                if not meant.negated:
                    subject.described = self.described[subject.index] = word
                self.say(subject.quantity, meaning[0], meaning[1], (i, i), meant=meant)

    def _full(self, i: int) -> None:
        quantity, _, value = self._value(i).partition("=")
        subject = Subject(_SUBJECT_OF_FULL[quantity], -1, described=value)
        meant = polarity(self.tokens, i, i)
        self.say(subject.quantity, quantity, value, (i, i), meant=meant)
        if quantity != "qrs_category":
            same = [s for s in self.current if s.quantity == subject.quantity]
            self.current = same or [subject]
            for s in same:
                s.described = value

    def _stands_alone(self, i: int) -> bool:
        """ "Rate 65. Regular.", "160 bpm, regular, with"."""
        ends = (None, Kind.COMMA, Kind.OPEN, Kind.CLOSE, Kind.AND)
        return self._kind(i - 1) in ends and self._kind(i + 1) in ends and self._kind(i - 1) is not Kind.AND

    def _all_intervals(self, i: int) -> bool:
        """ "normal intervals", "intervals are normal", with no interval named."""
        if self._value(i + 1) == "intervals":
            return True
        if self._kind(i + 1) is Kind.SUBJECT and self._kind(i + 2) is Kind.AND and self._value(i + 3) == "intervals":
            return True  # "normal axis and intervals"
        j = i - 1 - (self._kind(i - 1) is Kind.COPULA)
        return self._value(j) == "intervals" and self._kind(j - 1) is not Kind.SUBJECT and not self.current

    def _rhythm_of(self, i: int) -> list[Subject]:
        """The rhythm that "regular" or "irregular" at i describes: one that follows within three words, or was
        named."""
        joined = False
        for j in range(i + 1, min(i + 5, len(self.tokens))):
            token = self.tokens[j]
            if (
                token.value in RHYTHM
                or token.value.startswith("rhythm=")
                or (token.kind is Kind.FULL and token.value.startswith("rate"))
            ):
                return [Subject("rhythm", -1)]
            if token.kind in (Kind.P_WAVE, Kind.FOREIGN, Kind.ECTOPY) and not joined:
                return []
            joined = joined or token.kind is Kind.AND
            if token.kind is Kind.COMMA and self._kind(j + 1) in (Kind.FULL, Kind.CATEGORY):
                continue
            between = token.kind in (Kind.WORD, Kind.AND, Kind.CATEGORY, Kind.FULL) or token.value in (
                "heart_rate_bpm",
                *_ADJECTIVES,
            )
            if not between:
                break
        if self._kind(i - 1) is Kind.AND and self._value(i - 2).startswith(
            "rate_category"
        ):  # "tachycardic and irregular"
            return [Subject("rhythm", -1)]
        noun = self._kind(i + 1) is Kind.WORD or (
            self._kind(i + 1) is Kind.SUBJECT and self._kind(i - 1) is not Kind.COPULA
        )
        return [self.rhythm] if self.rhythm and not noun else []

    def _described_by(self, i: int, word: str) -> list[Subject]:
        """The subjects that the category word at i describes: those it precedes, else those named before it."""
        if word == "wide" and self._kind(i - 1) is Kind.UNIT and self._kind(i - 2) is Kind.NUMBER:
            return []  # "QRS is 95 ms wide" says how wide
        j = i + 1
        while self._value(j) in _ADJECTIVES and j < i + 4:
            j += 1
        predicate = self._kind(i - 1) in (Kind.SUBJECT, Kind.COPULA) and bool(self.current)
        if self._kind(j) is Kind.SUBJECT and not (predicate and self._described_next(j)):
            found = [Subject(self._value(j), j)]
            while self._kind(j + 1) in (Kind.AND, Kind.COMMA) and len(found) < LONGEST_LIST:
                j += 2 + (self._kind(j + 2) is Kind.AND)
                if self._kind(j) is not Kind.SUBJECT or self._has_own(j):
                    break
                found.append(Subject(self._value(j), j))
            return found
        noun = self._kind(j) in _NOUNS or self._kind(i + 1) in _NOUNS or self._value(i + 1) == "intervals"
        attributive = self._kind(i - 1) is Kind.ARTICLE and self._value(i + 1) not in (
            "duration",
            "interval",
            "width",
            "value",
        )
        if self.gap > 4 or attributive or (noun and not (predicate and self._kind(j) is Kind.SUBJECT)):
            return []
        if any(subject.quantity == "p_ms" for subject in self.current):
            return []
        if any((word, subject.quantity) in _CATEGORY_OF for subject in self.current):
            return self.current
        return [self.qrs] if self.qrs and word in ("narrow", "wide") else []

    def _has_own(self, j: int) -> bool:
        """Whether the subject at j is given its own number or word."""
        k = j + 1
        while self._kind(k) is Kind.GLUE and k < j + 4:
            k += 1
        return self._kind(k) in (Kind.NUMBER, Kind.CATEGORY, Kind.COPULA, Kind.UNIT, Kind.OPEN, Kind.COMPARE)

    def _announces_limits(self, i: int) -> bool:
        """Whether "normal" at i only names a reference: "(normal 120-200 ms)", "normal: < 120 ms"."""
        j = i + 1 + (self._kind(i + 1) is Kind.COPULA)
        return self._kind(i - 1) is not Kind.COPULA and j < len(self.tokens) and is_limit(self.tokens, j)
