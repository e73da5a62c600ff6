"""`Vocabulary`: one name for each diagnosis, and what English words, SNOMED CT and SCP codes say of it.

The table is ``vocabulary.yaml`` beside this file. Words that are in no table are left alone: what a German or Swedish
report says is kept as text, and its codes are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from llava_ecg.errors import InputError

STATED, POSSIBLE, DENIED = "stated", "possible", "denied"
"""How sure a report is of a diagnosis."""
_RANK = {DENIED: 0, POSSIBLE: 1, STATED: 2}
_LIKELY = 50.0  # percent: below it PTB-XL's cardiologists only thought a statement possible

_CLAUSE = re.compile(
    r"[.;\n]+(?!\d)|,\s+(?=(?:no|without|possible|probable|cannot)\b)|\b(?:but|however)\b", re.IGNORECASE
)
_NO = re.compile(r"\b(?:no|not|without|absence of|denies|negative for|free of|ruled out|excluded)\b", re.IGNORECASE)
_MAYBE = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|may|might|could|consider|suggest\w*|suspect\w*|likely|borderline|questionable|otherwise"
    r"|rule out|(?:cannot|can't) (?:be )?(?:exclude|rule)\w*|r/o|consistent with|compatible with|versus|vs)\b",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\bor\b", re.IGNORECASE)
_FORMER = re.compile(
    r"\b(?:compared (?:with|to)|previous(?:ly)?|prior|since|has (?:resolved|disappeared))\b", re.IGNORECASE
)
_FOREIGN = re.compile(
    r"(?:sinusrhythmus|sinusrytm|linkstyp|steiltyp|lagetyp|rechtstyp|normales|wahrscheinlich|infarkt|niederspannung|verdacht"
    r"|veraender|veränder|schenkelblock|ekg\b|sinustachykardie|sinusbradykardie|vorhof|extrasystole[ns]?\b.*\bund\b|hjärt|inget)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Diagnosis:
    """One row of the table; see the head of ``vocabulary.yaml``."""

    name: str
    kind: str
    words: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    snomed: tuple[str, ...] = ()
    scp: tuple[str, ...] = ()
    implies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """A diagnosis as somebody gave it.

    Attributes:
        name: of the vocabulary.
        certainty: `STATED`, `POSSIBLE` or `DENIED`.
        origin: the words or the code that said so, such as ``"scp LAFB"``.
    """

    name: str
    certainty: str
    origin: str


@dataclass(frozen=True)
class Vocabulary:
    """All rows, by name.

    Attributes:
        version: of the table.
        rows: name -> `Diagnosis`.
    """

    version: int
    rows: Mapping[str, Diagnosis]
    _code: Mapping[str, str] = field(init=False, repr=False)
    _spelled: re.Pattern[str] = field(init=False, repr=False)
    _short: re.Pattern[str] = field(init=False, repr=False)
    _means: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        codes: dict[str, str] = {}
        means: dict[str, str] = {}
        for row in self.rows.values():
            for key in [f"snomed {code}" for code in row.snomed] + [f"scp {code}" for code in row.scp]:
                _once(codes, key, row.name)
            for word in (row.name.lower(), *row.words):
                _once(means, word, row.name)
            for word in row.short:
                _once(means, word, row.name)
            for name in row.implies:
                if name not in self.rows:
                    raise InputError(f"{row.name!r} of the vocabulary implies {name!r}, which is not in it")
        spelled = sorted((word for word in means if not word.isupper()), key=len, reverse=True)
        short = sorted((word for word in means if word.isupper()), key=len, reverse=True)
        for name, value in (
            ("_code", codes),
            ("_means", means),
            ("_spelled", re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, spelled)) + r")(?![\w-])")),
            ("_short", re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, short)) + r")(?![\w-])")),
        ):
            object.__setattr__(self, name, value)

    def of_codes(
        self, snomed: Iterable[str] = (), scp: Mapping[str, float] | None = None
    ) -> tuple[list[Said], list[str]]:
        """What codes say.

        Args:
            snomed: SNOMED CT codes.
            scp: SCP code -> likelihood in percent as PTB-XL gives it; 0 is "not said" and counts as stated.

        Returns:
            What they mean, and the codes that are in no row.
        """
        found, unknown = [], []
        likelihoods = {f"snomed {code}": 0.0 for code in snomed} | {
            f"scp {code}": value for code, value in (scp or {}).items()
        }
        for code, likelihood in likelihoods.items():
            if (name := self._code.get(code)) is None:
                unknown.append(code)
            else:
                found.append(Said(name, POSSIBLE if 0 < likelihood < _LIKELY else STATED, code))
        return found, unknown

    def of_text(self, text: str) -> list[Said]:
        """What an English report says, clause by clause; nothing of one in another language (see `language`)."""
        if language(text) != "en":
            return []
        found = []
        for clause in _CLAUSE.split(text):
            if not clause or _FORMER.search(clause):
                continue
            lower = clause.lower()
            spans = [(match, match[0]) for match in self._spelled.finditer(lower)]
            spans += [(match, match[0]) for match in self._short.finditer(clause)]
            for match, word in spans:
                found.append(
                    Said(self._means[word], _certainty(clause, match.start(), match.end()), clause.strip()[:120])
                )
        return found

    def together(self, said: Iterable[Said]) -> tuple[Said, ...]:
        """Each diagnosis once, in the surest form in which it was given, with what it implies."""
        best: dict[str, Said] = {}
        for each in said:
            names = (each.name,) if each.certainty == DENIED else (each.name, *self.rows[each.name].implies)
            for name in names:
                held = best.get(name)
                if held is None or _RANK[each.certainty] > _RANK[held.certainty]:
                    best[name] = Said(name, each.certainty, each.origin)
        return tuple(best.values())


def language(text: str) -> str:
    """``en``, ``other`` (German, Swedish: words of theirs occur), or empty for no text."""
    if not text.strip():
        return ""
    return "other" if _FOREIGN.search(text) else "en"


def _certainty(clause: str, start: int, end: int) -> str:
    before, after = clause[:start], clause[end:]
    if _MAYBE.search(before) or re.search(
        r"cannot be|can't be|\bis likely|\bis possible|\bmay be", after, re.IGNORECASE
    ):
        return POSSIBLE
    if _NO.search(before) or re.match(
        r"\s+(?:is|are|was|were)?\s*(?:not (?:present|seen|found|shown)|ruled out|excluded|absent)\b",
        after,
        re.IGNORECASE,
    ):
        return DENIED
    return POSSIBLE if _EITHER.search(before) else STATED


def _once(table: dict[str, str], key: str, name: str) -> None:
    if table.setdefault(key, name) != name:
        raise InputError(f"the vocabulary gives {key!r} to {table[key]!r} and to {name!r}; it can mean one of them")


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The table of this package.

    Raises:
        InputError: a row that can't be read, or a word or code that two rows take.
    """
    import yaml

    path = Path(__file__).with_name("vocabulary.yaml")
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    rows = [_row(row) for row in table["diagnoses"]]
    if len({row.name for row in rows}) != len(rows):
        raise InputError(f"{path.name} has two rows of one name")
    return Vocabulary(table["version"], {row.name: row for row in rows})


def _row(row: Mapping[str, Any]) -> Diagnosis:
    lists = {key: tuple(map(str, row.get(key, ()))) for key in ("words", "short", "snomed", "scp", "implies")}
    if unknown := set(row) - {"name", "kind", *lists}:
        raise InputError(f"the row {row.get('name')!r} of the vocabulary has the unknown field {sorted(unknown)[0]!r}")
    return Diagnosis(row["name"], row["kind"], **lists)
