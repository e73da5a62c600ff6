"""`find_claims`: an answer's text -> what it says about rate, intervals, axis, regularity and P waves.

Two steps over the phrases of each sentence: first what is not said of this ECG is marked (questions, conditionals, definitions, other
recordings), then one pass from left to right attaches numbers and category words to the quantity that was named last. In doubt nothing
is claimed: a claim that is missed costs less than one that nobody made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from llava_ecg.grounding.phrases import Kind, Token, sentences
from llava_ecg.grounding.readings import Reading, family_of, is_bound, is_denied, read_number
from llava_ecg.grounding.scope import is_limit, negated, p_waves, unsaid

_TIMES = ("pr_ms", "qrs_ms", "qrs_complex", "qt_ms", "qtc_ms", "qtc_bazett_ms", "qtc_fridericia_ms")
_FAMILY = {"heart_rate_bpm": "bpm", "response": "bpm", "axis_deg": "deg", **dict.fromkeys(_TIMES, "ms")}
_PLAUSIBLE = {"bpm": (15.0, 400.0), "ms": (10.0, 1500.0), "deg": (-180.0, 360.0)}  # of numbers without a unit
_QTC = ("qt_ms", "qtc_ms", "qtc_bazett_ms", "qtc_fridericia_ms")
_CATEGORY_OF: dict[tuple[str, str], tuple[str, str]] = {
    ("normal", "heart_rate_bpm"): ("rate_category", "normal"),
    ("normal", "pr_ms"): ("pr_category", "normal"),
    ("prolonged", "pr_ms"): ("pr_category", "prolonged"),
    ("short", "pr_ms"): ("pr_category", "short"),
    ("normal", "qrs_ms"): ("qrs_category", "narrow"),
    ("prolonged", "qrs_ms"): ("qrs_category", "wide"),
    **{(word, name): ("qrs_category", word) for word in ("narrow", "wide") for name in ("qrs_ms", "qrs_complex")},
    **{(word, name): ("qtc_category", word) for word in ("normal", "prolonged") for name in _QTC},
    **{(word, "axis_deg"): ("axis_category", word) for word in ("normal", "left", "right", "extreme")},
    **{(word, name): ("rhythm_regular", word) for word in ("regular", "irregular") for name in ("rhythm", "response")},
}
_SUBJECT_OF_FULL = {
    "rate_category": "heart_rate_bpm",
    "axis_category": "axis_deg",
    "qrs_category": "qrs_complex",
    "rhythm_regular": "rhythm",
}
_ADJECTIVES = ("the", "of", "sinus", "mean", "overall", "ventricular", "underlying")
_LONGEST_LIST = 10  # "HR/PR/QRS/QT/QTc/axis"
_LISTING = (Kind.AND, Kind.COMMA, Kind.OR)
_NOUNS = (Kind.WORD, Kind.FOREIGN, Kind.P_WAVE, Kind.SUBJECT, Kind.FULL, Kind.ECTOPY)


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a text.

    Attributes:
        quantity: ``heart_rate_bpm``, ``pr_ms``, ``qrs_ms``, ``qt_ms``, ``qtc_ms`` (no formula named), ``qtc_bazett_ms``,
            ``qtc_fridericia_ms``, ``qtc_framingham_ms``, ``qtc_hodges_ms``, ``axis_deg``, ``rhythm_regular``, ``p_present``, and the
            categories ``rate_category``, ``pr_category``, ``qrs_category``, ``qtc_category``, ``axis_category``.
        value: a number in `unit`, or a word such as ``"prolonged"``; None for a range.
        unit: ``"bpm"``, ``"ms"`` or ``"deg"`` whatever the text used; ``""`` for words.
        lead: the canonical names of the leads that the text restricts it to, joined by ``", "``; None for the whole ECG.
        comparison: ``"="``, ``"<"`` (also at most), ``">"`` (also at least) or ``"range"``.
        span: (start, end), so that ``text[start:end]`` is `text`.
        text: the words that state the value.
        low, high: the bounds of a range, in `unit`.
    """

    quantity: str
    value: float | str | None
    unit: str
    lead: str | None
    comparison: str
    span: tuple[int, int]
    text: str
    low: float | None = None
    high: float | None = None


def find_claims(text: str) -> list[Claim]:
    """The checkable statements of ``text``, in the order of their spans.

    Reference ranges, definitions, conditionals, questions, other recordings and negated categories are no claims ("no tachycardia"
    says nothing exact); negated P waves and "not regular" are, as their opposites. Any string is accepted; the time is linear.
    """
    claims: dict[tuple[str, tuple[int, int]], Claim] = {}
    for sentence in sentences(text):
        for claim in _Reader(text, sentence).read():
            claims.setdefault((claim.quantity, claim.span), claim)
    return sorted(claims.values(), key=lambda claim: (claim.span, claim.quantity))


@dataclass
class _Subject:
    """A quantity that was named; `index` is its token, -1 where only a unit named it."""

    quantity: str
    index: int
    filled: bool = False
    described: str = ""


@dataclass
class _Reader:
    """One pass over one sentence."""

    text: str
    tokens: list[Token]
    claims: list[Claim] = field(default_factory=list)
    current: list[_Subject] = field(default_factory=list)  # what was named last; several after "PR and QRS"
    rhythm: _Subject | None = None
    qrs: _Subject | None = None
    joinable: bool = False  # only list words since the last subject
    gap: int = 0  # unknown words since it
    comma: bool = False
    other_rate: bool = False  # the last rate named is not the heart's
    unit: str = ""  # "PR (ms): 160"
    silent: list[bool] = field(default_factory=list)
    no_limits: bool = False
    ectopy: list[int] = field(default_factory=list)
    ahead: int = -1  # a subject that the number before it has filled
    described: dict[int, str] = field(default_factory=dict)  # subjects that the category word before them describes

    def read(self) -> list[Claim]:
        """The claims of the sentence."""
        self.silent, self.no_limits, self.ectopy = unsaid(self.tokens)
        i = 0
        while i < len(self.tokens):
            kind, step = self.tokens[i].kind, 1
            if kind is Kind.SUBJECT:
                self._subject(i)
            elif kind in (Kind.FOREIGN, Kind.P_WAVE, Kind.ECTOPY):
                self.current, self.other_rate = [], self.tokens[i].value == "rate"
                if kind is Kind.P_WAVE:
                    self._p_wave(i)
            elif kind is Kind.CATEGORY:
                self._category(i)
            elif kind is Kind.FULL:
                self._full(i)
            elif kind is Kind.NUMBER:
                step = self._numbers(i)
            elif kind is Kind.UNIT and self.gap == 0:
                self.unit = self.tokens[i].value
            self.gap += kind is Kind.WORD
            self.comma |= kind is Kind.COMMA
            self.joinable &= kind in (*_LISTING, Kind.SUBJECT) or self.tokens[i].value == "the"
            i += step
        return self.claims

    def _kind(self, i: int) -> Kind | None:
        return self.tokens[i].kind if 0 <= i < len(self.tokens) else None

    def _value(self, i: int) -> str:
        return self.tokens[i].value if 0 <= i < len(self.tokens) else ""

    # subjects

    def _subject(self, i: int) -> None:
        new = _Subject(self.tokens[i].value, i, i == self.ahead, self.described.get(i, ""))
        self.current = [*self.current, new] if self.joinable and len(self.current) < _LONGEST_LIST else [new]
        self.joinable, self.gap, self.comma, self.other_rate, self.unit = True, 0, False, False, ""
        if new.quantity in ("rhythm", "response"):
            self.rhythm = new
        elif new.quantity in ("qrs_ms", "qrs_complex"):
            self.qrs = new

    def _say(self, subject: str, quantity: str, value: float | str | None, at: tuple[int, int], reading: Reading | None = None) -> None:
        """Add a claim whose words are the tokens at[0] to at[1], unless they stand where nothing is said of this ECG."""
        if self.silent[at[1]]:
            return
        if quantity in ("qrs_category", "p_present") and any(at[0] - 6 <= e <= at[1] + 4 or e < at[0] for e in self.ectopy):
            return
        start, end = self.tokens[at[0]].start, self.tokens[at[1]].end
        lead = self._lead(at) if _FAMILY.get(subject) == "ms" or quantity == "p_present" else None
        span, words = (start, end), self.text[start:end]
        if reading is None:
            self.claims.append(Claim(quantity, value, "", lead, "=", span, words))
            return
        unit = _FAMILY[subject]
        if reading.comparison == "range":
            low, high = reading.value, reading.high
            if low > high and (unit != "deg" or low - high < 180):
                low, high = high, low
            self.claims.append(Claim(quantity, None, unit, lead, "range", span, words, low, high))
        else:
            self.claims.append(Claim(quantity, value, unit, lead, reading.comparison, span, words))

    def _lead(self, at: tuple[int, int]) -> str | None:
        """The leads right after the words ("160 ms in lead II") or right before their subject ("in lead II, the PR")."""
        after = at[1] + 1
        while self._kind(after) in (Kind.GLUE, Kind.SEEN) and after < at[1] + 4:
            after += 1
        if self._kind(after) is Kind.LEAD:
            return self._value(after)
        before = (self.current[0].index if self.current and self.current[0].index >= 0 else at[0]) - 1
        stop = before - 3
        while before > stop and self._kind(before) in (Kind.GLUE, Kind.COMMA, Kind.ARTICLE, Kind.COPULA, Kind.SEEN):
            before -= 1
        return self._value(before) if self._kind(before) is Kind.LEAD else None

    # numbers

    def _numbers(self, i: int) -> int:
        """Attach the number at i, or the list that it begins, to its subject; how many tokens that used."""
        readings = [read_number(self.tokens, i)]
        while len(readings) < len(self.current):
            after = readings[-1].last + 1
            after += self._kind(after) is Kind.COMMA and self._kind(after + 1) is Kind.AND
            if self._kind(after) not in _LISTING or self._kind(after + 1) is not Kind.NUMBER:
                break
            readings.append(read_number(self.tokens, after + 1))
        if len(readings) > 1 and len(readings) == len(self.current) and not any(s.filled for s in self.current):
            unit = readings[-1].unit
            for subject, reading in zip(list(self.current), readings, strict=True):
                own = reading.unit or (unit if unit != "other" and _FAMILY.get(subject.quantity) == family_of(unit) else "")
                self._attach(reading._replace(unit=own), [subject])
            last = readings[-1].last
        else:
            last = readings[0].last
            self._attach(readings[0], self.current)
        return last - i + 1

    def _attach(self, reading: Reading, subjects: list[_Subject]) -> None:
        unit = reading.unit or self.unit
        family = family_of(unit)
        if unit == "other" or is_denied(self.tokens, reading) or is_bound(self.tokens, reading):
            return
        if not unit:
            subject = subjects[-1] if subjects else None
            if subject is None or self.gap or self.comma or subject.filled or not self._bare(reading, subject):
                return
        else:
            subject = self._owner(reading, subjects, family)
            if subject is None:
                return
        if reading.comparison != "=" and (self.no_limits or subject.filled or subject.described not in ("", "tachycardia", "bradycardia")):
            return
        if reading.comparison in ("<", ">") and subject.described:
            return
        again, subject.filled, self.gap = subject.filled, True, 0
        family = _FAMILY[subject.quantity]
        if family == "ms" and (unit == "s" or (not unit and abs(reading.value) <= 3)):
            reading = reading._replace(value=round(reading.value * 1000, 6), high=round(reading.high * 1000, 6))
        if family != "deg":  # "PR -160": a dash, no sign
            reading = reading._replace(value=abs(reading.value), high=abs(reading.high))
        quantity = {"qrs_complex": "qrs_ms", "response": "heart_rate_bpm"}.get(subject.quantity, subject.quantity)
        if quantity == "qtc_ms":
            quantity = self._formula(subject, reading, only_after=again) or quantity
        self._say(subject.quantity, quantity, reading.value, (reading.first, reading.last), reading)

    def _owner(self, reading: Reading, subjects: list[_Subject], family: str) -> _Subject | None:
        """The subject that a number with a unit belongs to."""
        named = [s for s in subjects if _FAMILY.get(s.quantity) == family]
        if self.gap <= 4:
            for subject in reversed(named):
                if not subject.filled or (subject.quantity == "qtc_ms" and self._formula(subject, reading, only_after=True)):
                    return subject
        j = reading.last + 1
        if self._kind(j) is Kind.SUBJECT and _FAMILY.get(self._value(j)) == family and not self._described_next(j):
            self.ahead = j
            return _Subject(self._value(j), -1)
        if family != "bpm" or self.other_rate:
            return None
        subject = named[-1] if named else _Subject("heart_rate_bpm", -1)
        self.current = [subject]
        return subject

    def _described_next(self, j: int) -> bool:
        """Whether the subject at j has its own number or colon behind it."""
        after = self.tokens[j + 1 : j + 4]
        return bool(after) and (after[0].kind is Kind.NUMBER or after[0].value == ":" or (len(after) > 1 and after[1].kind is Kind.NUMBER))

    def _bare(self, reading: Reading, subject: _Subject) -> bool:
        """Whether a number without a unit can be that quantity's: nothing unknown follows and the size is possible."""
        family = _FAMILY.get(subject.quantity)
        if family is None or subject.quantity == "qrs_complex" or self._kind(reading.last + 1) in (Kind.WORD, Kind.FOREIGN, Kind.P_WAVE):
            return False
        low, high = _PLAUSIBLE[family]
        seconds = family == "ms" and all(0 < v <= 3 and v != int(v) for v in (abs(reading.value), abs(reading.high)))
        return seconds or all(low <= (v if family == "deg" else abs(v)) <= high for v in (reading.value, reading.high))

    def _formula(self, subject: _Subject, reading: Reading, *, only_after: bool = False) -> str:
        """The QTc quantity of the formula that is named around a number, "" where none is."""
        if not only_after:
            around = range(max(0, subject.index - 2), reading.first) if subject.index >= 0 else range(0)
            for j in list(around)[:14]:
                if self._kind(j) is Kind.FORMULA:
                    return f"qtc_{self._value(j)}_ms"
        for j in range(reading.last + 1, min(reading.last + 7, len(self.tokens))):
            if self._kind(j) is Kind.FORMULA:
                return f"qtc_{self._value(j)}_ms"
            if self._kind(j) in (Kind.SUBJECT, Kind.NUMBER):
                break
        return ""

    # words

    def _category(self, i: int) -> None:
        word = self._value(i)
        targets = self._rhythm_of(i) if word in ("regular", "irregular") else self._described_by(i, word)
        if not targets or negated(self.tokens, i) or (word == "normal" and self._announces_limits(i)):
            return
        for subject in targets:
            meaning = _CATEGORY_OF.get((word, subject.quantity))
            if meaning is not None:
                subject.described = self.described[subject.index] = word
                self._say(subject.quantity, meaning[0], meaning[1], (i, i))

    def _full(self, i: int) -> None:
        quantity, _, value = self._value(i).partition("=")
        subject = _Subject(_SUBJECT_OF_FULL[quantity], -1, described=value)
        if not negated(self.tokens, i):
            self._say(subject.quantity, quantity, value, (i, i))
        if quantity != "qrs_category":
            same = [s for s in self.current if s.quantity == subject.quantity]
            self.current = same or [subject]
            for s in same:
                s.described = value

    def _rhythm_of(self, i: int) -> list[_Subject]:
        """The rhythm that "regular" or "irregular" at i describes: one that follows within three words, or was named."""
        joined = False
        for j in range(i + 1, min(i + 5, len(self.tokens))):
            token = self.tokens[j]
            if token.value in ("rhythm", "response") or (token.kind is Kind.FULL and token.value.startswith("rate")):
                return [_Subject("rhythm", -1)]
            if token.kind in (Kind.P_WAVE, Kind.FOREIGN, Kind.ECTOPY) and not joined:
                return []
            joined = joined or token.kind is Kind.AND
            if token.kind is Kind.COMMA and self._kind(j + 1) in (Kind.FULL, Kind.CATEGORY):
                continue
            between = token.kind in (Kind.WORD, Kind.AND, Kind.CATEGORY, Kind.FULL) or token.value in ("heart_rate_bpm", *_ADJECTIVES)
            if not between:
                break
        noun = self._kind(i + 1) is Kind.WORD or (self._kind(i + 1) is Kind.SUBJECT and self._kind(i - 1) is not Kind.COPULA)
        return [self.rhythm] if self.rhythm and not noun else []

    def _described_by(self, i: int, word: str) -> list[_Subject]:
        """The subjects that the category word at i describes: those it precedes, else those named before it."""
        j = i + 1
        while self._value(j) in _ADJECTIVES and j < i + 4:
            j += 1
        predicate = self._kind(i - 1) in (Kind.SUBJECT, Kind.COPULA) and bool(self.current)
        if self._kind(j) is Kind.SUBJECT and not (predicate and self._described_next(j)):
            found = [_Subject(self._value(j), j)]
            while self._kind(j + 1) in (Kind.AND, Kind.COMMA) and len(found) < _LONGEST_LIST:
                j += 2 + (self._kind(j + 2) is Kind.AND)
                if self._kind(j) is not Kind.SUBJECT or self._has_own(j):
                    break
                found.append(_Subject(self._value(j), j))
            return found
        noun = self._kind(j) in _NOUNS or self._kind(i + 1) in _NOUNS or self._value(i + 1) == "intervals"
        attributive = self._kind(i - 1) is Kind.ARTICLE and self._value(i + 1) not in ("duration", "interval", "width", "value")
        if self.gap > 4 or attributive or (noun and not (predicate and self._kind(j) is Kind.SUBJECT)):
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

    def _p_wave(self, i: int) -> None:
        found = p_waves(self.tokens, i)
        if found is not None:
            self._say("p_present", "p_present", found[0], found[1:])
