"""`Guide`: for each diagnosis the leads, features and thresholds that bear it out or rule it out, and what it makes of
one recording's facts.

The table is ``guide.yaml`` beside this file; more come through the socket `llava_ecg.plugins.guides`. A guide selects
what a writer has to cite, and where it contradicts a report the record is set aside: nothing is forced.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llava_ecg.ecg.measurements import LeadMeasurements, Measurements
from llava_ecg.errors import InputError
from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.vocabulary import POSSIBLE, STATED, vocabulary
from llava_ecg.plugins import guides

CONFIRMED, SUPPORTED, OPEN, EXCLUDED = "confirmed", "supported", "open", "excluded"
"""What the measurements say of a diagnosis; `OPEN` also where they say nothing."""

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "is": lambda value, wanted: value == wanted,
    "at_least": lambda value, wanted: value >= wanted,
    "above": lambda value, wanted: value > wanted,
    "at_most": lambda value, wanted: value <= wanted,
    "below": lambda value, wanted: value < wanted,
    "between": lambda value, wanted: wanted[0] <= value <= wanted[1],
}
_OF_A_LEAD: Mapping[str, Callable[[Any, Any], bool]] = {
    "with_least": lambda value, wanted: value >= wanted,
    "with_most": lambda value, wanted: value <= wanted,
    "with_any": lambda value, wanted: value == wanted,
}
_SLOT = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Line:
    """One line of a guide: a condition, or several together.

    Attributes:
        condition: the fields of the table but `say` and `source`.
        say: the evidence in words, ``{NAME}`` where a measured value stands.
        source: in full.
    """

    condition: Mapping[str, Any]
    say: str
    source: str

    def holds(self, facts: Facts) -> bool | None:
        """Whether it is so; None where it can't be told."""
        return _holds(self.condition, facts)

    def told(self, facts: Facts) -> str | None:
        """`say` with what was measured; None where a value of it was not."""
        return fill(self.say, facts)


@dataclass(frozen=True)
class Rule:
    """What is known of one diagnosis; see the head of ``guide.yaml``."""

    name: str
    leads: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    confirm: tuple[Line, ...] = ()
    support: tuple[Line, ...] = ()
    exclude: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A diagnosis on one recording.

    Attributes:
        name: of the vocabulary.
        status: `CONFIRMED`, `SUPPORTED`, `OPEN` or `EXCLUDED`.
        evidence: what speaks for it (or, excluded, against it), in words with the measured values.
        sources: of those lines.
    """

    name: str
    status: str
    evidence: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guide:
    """The rules of all guides that are plugged in.

    Attributes:
        rules: diagnosis -> rule.
        version: a digest of their text, for the provenance of what is written by them.
    """

    rules: Mapping[str, Rule]
    version: str = ""

    def judge(self, name: str, facts: Facts) -> Judged:
        """What the measurements say of one diagnosis."""
        rule = self.rules.get(name)
        if rule is None:
            return Judged(name, OPEN)
        if against := [line for line in rule.exclude if line.holds(facts)]:
            return _judged(name, EXCLUDED, against, facts)
        if rule.confirm and all(line.holds(facts) for line in rule.confirm):
            return _judged(name, CONFIRMED, rule.confirm, facts)
        if favour := [line for line in rule.support if line.holds(facts)]:
            return _judged(name, SUPPORTED, favour, facts)
        return Judged(name, OPEN)

    def said(self, facts: Facts) -> list[Judged]:
        """Each diagnosis that the report states or thinks possible, judged, in the order of the report."""
        return [self.judge(each.name, facts) for each in facts.diagnoses if each.certainty in (STATED, POSSIBLE)]

    def conflicts(self, facts: Facts) -> list[tuple[str, str]]:
        """What contradicts the report: (diagnosis, sentence) for each that it states and the measurements exclude, or
        that it denies and they confirm."""
        found = []
        for each in facts.diagnoses:
            judged = self.judge(each.name, facts)
            evidence = "; ".join(judged.evidence) or "what was measured"
            if each.certainty == STATED and judged.status == EXCLUDED:
                found.append((each.name, f"{each.name} is stated ({each.origin}), and against it speaks: {evidence}"))
            elif each.certainty not in (STATED, POSSIBLE) and judged.status == CONFIRMED:
                found.append((each.name, f"{each.name} is denied ({each.origin}), and there is {evidence}"))
        return found


def _judged(name: str, status: str, lines: Sequence[Line], facts: Facts) -> Judged:
    told = [(line.told(facts), line.source) for line in lines]
    kept = [(text, source) for text, source in told if text]
    return Judged(name, status, tuple(text for text, _ in kept), tuple(dict.fromkeys(source for _, source in kept)))


# -- conditions on facts -----------------------------------------------------------------------------------------------


def _holds(condition: Mapping[str, Any], facts: Facts) -> bool | None:
    if "all" in condition:
        parts = [_holds(each, facts) for each in condition["all"]]
        return False if False in parts else None if None in parts else True
    measured = facts.measured
    if "finding" in condition:
        found = measured.findings.get(condition["finding"])
        return None if found is None or found.present is None else found.present == condition.get("is", True)
    if "count" in condition:
        values = [getattr(lead, condition["count"]) for name, lead in measured.leads.items() if name in condition["in"]]
        if not values or any(value is None for value in values):
            return None
        past, wanted = next((_OF_A_LEAD[key], condition[key]) for key in _OF_A_LEAD if key in condition)
        value: Any = sum(past(each, wanted) for each in values)
    else:
        value = value_of(condition["measure"], measured)
    if value is None:
        return None
    key = next(key for key in _COMPARED if key in condition)
    return _COMPARED[key](value, condition[key])


def value_of(name: str, measured: Measurements) -> Any:
    """A field of `Measurements`, or ``LEAD.field`` of one lead; None where it was not measured or there is no such
    lead."""
    lead, _, attribute = name.rpartition(".")
    if not lead:
        return getattr(measured, attribute)
    return getattr(measured.leads[lead], attribute) if lead in measured.leads else None


def fill(text: str, facts: Facts) -> str | None:
    """The text with each ``{NAME}`` replaced by the measured value as people write it; None where one is missing.

    A name is one of `value_of`, ``leads of FINDING`` or ``leads with FIELD VALUE``.
    """
    out = text
    for name in _SLOT.findall(text):
        shown = _shown(name, facts.measured)
        if not shown:
            return None
        out = out.replace(f"{{{name}}}", shown)
    return out


def _shown(name: str, measured: Measurements) -> str:
    if name.startswith("leads of "):
        found = measured.findings.get(name.removeprefix("leads of "))
        return in_words(found.leads) if found is not None else ""
    if name.startswith("leads with "):
        attribute, value = name.removeprefix("leads with ").split(" ", 1)
        # aVR and V1 are turned over in health, and III often is
        usual = {key: lead for key, lead in measured.leads.items() if key not in ("aVR", "V1", "III")}
        return in_words([key for key, lead in usual.items() if getattr(lead, attribute) == value])
    value = value_of(name, measured)
    return "" if value is None else number(name, value)


def number(name: str, value: Any) -> str:
    """A measured value as people write it: two decimals of mV, whole numbers of everything else."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if name.endswith("_mv") else f"{round(value)}"


def in_words(names: Iterable[str]) -> str:
    """``V1``, ``V1 and V2``, ``I, V5 and V6``."""
    *first, last = [*names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


# -- reading guides ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def recommendations() -> Guide:
    """The guide of this package."""
    return read_guide(Path(__file__).with_name("guide.yaml"))


def guide() -> Guide:
    """All guides that are plugged in, as one; of one that can't be imported a warning tells, and it is left out.

    Raises:
        InputError: a guide that can't be read, or two that have a rule for one diagnosis.
    """
    rules: dict[str, Rule] = {}
    versions = []
    for name, make in guides.usable():
        found = make()
        if not isinstance(found, Guide):
            raise InputError(f"the guide {name!r} ({guides.where(name)}) gives a {type(found).__name__} and no Guide")
        if twice := sorted(set(rules) & set(found.rules)):
            raise InputError(f"the guide {name!r} has a rule for {twice[0]!r}, which another guide has too; keep one")
        rules |= found.rules
        versions.append(f"{name} {found.version}")
    return Guide(rules, "; ".join(versions))


def read_guide(path: Path) -> Guide:
    """A guide from a YAML file in the form of ``guide.yaml``.

    Raises:
        InputError: it can't be read, or says something that no measurement, finding, source or diagnosis is.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        table = yaml.safe_load(text)
        sources, entries = dict(table["sources"]), dict(table["diagnoses"])
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no guide with sources and diagnoses: {' '.join(str(error).split())}") from error
    rules = {}
    for name, entry in entries.items():
        try:
            rules[name] = _rule(name, entry or {}, sources)
        except (InputError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise InputError(f"{path}, {name!r}: {error}") from error
    return Guide(rules, hashlib.sha256(text.encode()).hexdigest()[:12])


def _rule(name: str, entry: Mapping[str, Any], sources: Mapping[str, str]) -> Rule:
    if name not in vocabulary().rows:
        raise InputError("there is no such diagnosis in the vocabulary")
    if unknown := set(entry) - {"leads", "features", "confirm", "support", "exclude"}:
        raise InputError(f"unknown field {sorted(unknown)[0]!r}")
    lines = {
        part: tuple(_line(each, sources) for each in entry.get(part, ())) for part in ("confirm", "support", "exclude")
    }
    return Rule(name, tuple(entry.get("leads", ())), tuple(entry.get("features", ())), **lines)


def _line(entry: Mapping[str, Any], sources: Mapping[str, str]) -> Line:
    condition = {key: value for key, value in entry.items() if key not in ("say", "source")}
    if entry.get("source") not in sources:
        raise InputError(f"the source {entry.get('source')!r} of {condition} is none of `sources`")
    if not entry.get("say"):
        raise InputError(f"{condition} has nothing to say")
    _check(condition)
    return Line(condition, entry["say"], sources[entry["source"]])


def _check(condition: Mapping[str, Any]) -> None:
    """Refuse a condition that nothing measured could meet."""
    if "all" in condition:
        for each in condition["all"]:
            _check(each)
        return
    from llava_ecg.ecg.findings import FINDINGS

    if "finding" in condition:
        if condition["finding"] not in FINDINGS:
            raise InputError(f"there is no finding {condition['finding']!r}")
        allowed = {"finding", "is"}
    elif "count" in condition:
        if condition["count"] not in LeadMeasurements.__dataclass_fields__:
            raise InputError(f"a lead has no {condition['count']!r}")
        if sum(key in condition for key in _OF_A_LEAD) != 1 or not condition.get("in"):
            raise InputError(f"{dict(condition)} needs `in` and one of {', '.join(_OF_A_LEAD)}")
        allowed = {"count", "in", *_OF_A_LEAD, *_COMPARED}
    else:
        fields = LeadMeasurements if "." in condition["measure"] else Measurements
        if condition["measure"].rpartition(".")[2] not in fields.__dataclass_fields__:
            raise InputError(f"there is no measurement {condition['measure']!r}")
        allowed = {"measure", *_COMPARED}
    if unknown := set(condition) - allowed:
        raise InputError(f"unknown field {sorted(unknown)[0]!r} of {dict(condition)}")
    if "finding" not in condition and sum(key in condition for key in _COMPARED) != 1:
        raise InputError(f"{dict(condition)} needs one of {', '.join(_COMPARED)}")
