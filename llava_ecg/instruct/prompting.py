"""What a remote writer is told of a recording, and what its answer has to be: facts -> messages, JSON -> text.

Only measurements and judged diagnoses are sent: no report, no name, no number of a patient; age and sex where the
question tells them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llava_ecg.grounding.claims import find_claims
from llava_ecg.instruct.guide import CONFIRMED, OPEN, SUPPORTED, Guide
from llava_ecg.instruct.phrases import Voice
from llava_ecg.instruct.statements import concluded, excluded
from llava_ecg.instruct.tasks import WORTH_EXCLUDING
from llava_ecg.instruct.vocabulary import STATED

TITLES = (
    "Technical quality and rhythm",
    "Conduction, axis and intervals",
    "Hypertrophy and voltage",
    "Ischaemia and infarction",
    "Electrolytes and QT interval",
)
_WHOLE = (
    "heart_rate_bpm", "heart_rate_min_bpm", "heart_rate_max_bpm", "rhythm_regular", "pauses", "ventricular_premature",
    "supraventricular_premature", "paced_beats", "p_present", "p_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms",
    "p_axis_deg", "axis_deg", "t_axis_deg", "sokolow_lyon_mv", "cornell_mv", "low_voltage_limb", "low_voltage_chest",
    "r_progression", "r_transition",
)  # fmt: skip
_OF_A_LEAD = (
    "pattern", "p_form", "p_mv", "q_mv", "q_ms", "q_pathological", "r_mv", "s_mv", "st_j_mv", "st_form", "t_form",
    "t_mv", "quality",
)  # fmt: skip
_UNFOUNDED = "nothing bears it out"
_DIAGNOSIS = "diagnosis"  # as the audit calls what no measurement settles
_TEXT = {"type": "string"}
_LABELS = {"type": "array", "items": _TEXT}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "gem": _object(paragraph=_TEXT, labels=_LABELS),
    "six-step": _object(
        steps={"type": "array", "items": _TEXT},
        conclusion=_TEXT,
        exclusions={"type": "array", "items": _object(diagnosis=_TEXT, evidence=_TEXT)},
        labels=_LABELS,
    ),
}
"""Protocol -> JSON schema of the answer."""


class UnusableError(Exception):
    """An answer that no sample can be made of; the message says it to the model.

    Attributes:
        kind: of the fault, for counting.
    """

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


@dataclass(frozen=True)
class Prompts:
    """The table of ``prompts.yaml``, and its version with a digest of its text."""

    table: Mapping[str, Any]
    version: str


@lru_cache(maxsize=1)
def prompts() -> Prompts:
    """The table of this package."""
    import yaml

    text = Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8")
    table = yaml.safe_load(text)
    return Prompts(table, f"{table['version']} {hashlib.sha256(text.encode()).hexdigest()[:12]}")


@dataclass(frozen=True)
class Dossier:
    """What a remote writer may say of one recording.

    Attributes:
        sure: diagnoses that it has to conclude.
        compatible: those that it may call compatible.
        excluded: those that it may exclude.
        told: the JSON that it is given.
    """

    sure: tuple[str, ...]
    compatible: tuple[str, ...]
    excluded: tuple[str, ...]
    told: Mapping[str, Any]


def dossier(guide: Guide, voice: Voice) -> Dossier:
    """What is known of a recording, and what may be made of it."""
    facts = voice.facts
    judged = concluded(guide, voice)
    against = excluded(guide, voice, WORTH_EXCLUDING)[:6]
    stated = [each.name for each in facts.diagnoses if each.certainty == STATED and each.name in guide.rules]
    found = [each for each in facts.measured.findings.values() if each.present]
    told: dict[str, Any] = {
        "measured": _some(facts.measured, _WHOLE),
        "not_measured": sorted(name for name in _WHOLE if getattr(facts.measured, name) is None),
        "leads": {name: _some(lead, _OF_A_LEAD) for name, lead in facts.measured.leads.items()},
        "findings": [{"name": each.name, "leads": list(each.leads)} for each in found],
        "absent": sorted(each.name for each in facts.measured.findings.values() if each.present is False),
        "diagnoses": [
            {"name": each.name, "verdict": "confirmed" if each.status == CONFIRMED else "compatible"}
            | {"evidence": list(each.evidence)}
            for each in judged
        ],
        "open": [name for name in stated if guide.judge(name, facts).status == OPEN][:2],
        "excluded": [{"name": each.name, "evidence": list(each.evidence)} for each in against],
    }
    if voice.told:
        told = {"age": facts.age, "sex": facts.sex} | told
    return Dossier(
        tuple(each.name for each in judged if each.status == CONFIRMED),
        tuple(each.name for each in judged if each.status == SUPPORTED),
        tuple(each.name for each in against),
        told,
    )


def _some(of: Any, names: Sequence[str]) -> dict[str, Any]:
    """The fields that were measured, in the numbers of digits that are written."""
    out = {}
    for name in names:
        value = getattr(of, name)
        if value is None or value == "":
            continue
        if isinstance(value, float):
            value = round(value, 2) if name.endswith("_mv") else round(value)
        out[name] = value
    return out


def messages(protocol: str, question: str, known: Dossier, *, told: bool, page: bytes | None) -> list[dict[str, Any]]:
    """The chat that asks for an answer; `page` is a PNG."""
    table = prompts().table
    facts = json.dumps(known.told, ensure_ascii=False, separators=(",", ":"))
    words = {"QUESTION": question, "PERSON": table["person"]["told" if told else "untold"], "FACTS": facts}
    text = table[protocol]
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    content: Any = text
    if page is not None:
        import base64

        url = f"data:image/png;base64,{base64.b64encode(page).decode()}"
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "system", "content": table["system"]}, {"role": "user", "content": content}]


def again(faults: Sequence[str]) -> str:
    """What is said of an answer that is not accepted."""
    said: str = prompts().table["again"]
    return said.replace("{FAULTS}", "; ".join(faults))


def parsed(text: str, protocol: str) -> Mapping[str, Any]:
    """The object of an answer.

    Raises:
        UnusableError: it is none of the schema, or holds what is no text.
    """
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body.strip("`").removeprefix("json")
    try:
        found: Mapping[str, Any] = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnusableError("no JSON of the schema", "it is no JSON object") from error
    if (fault := _fault(found, SCHEMAS[protocol])) is not None:
        raise UnusableError("no JSON of the schema", f"it is no JSON of the schema: {fault}")
    return found


def _fault(value: Any, schema: Mapping[str, Any], at: str = "the answer") -> str | None:
    """What in a value is not of the schema (of those of this file); None where nothing is."""
    kind = schema["type"]
    if kind == "string":
        if not isinstance(value, str) or not value.strip():
            return f"{at} is no text"
        return None if value.isprintable() else f"{at} holds line ends or control characters"
    if kind == "array":
        if not isinstance(value, list):
            return f"{at} is no list"
        faults = (_fault(each, schema["items"], f"{at}, {number}") for number, each in enumerate(value, 1))
    else:
        if not isinstance(value, dict) or set(value) != set(schema["properties"]):
            return f"{at} is no object with the fields {', '.join(schema['properties'])} alone"
        faults = (_fault(value[name], inner, name) for name, inner in schema["properties"].items())
    return next((fault for fault in faults if fault is not None), None)


def composed(found: Mapping[str, Any], protocol: str, known: Dossier, voice: Voice) -> str:
    """The text of an answer, its labels marked in the six-step protocol.

    Raises:
        UnusableError: it has not what the protocol asks for, or concludes what nothing bears out.
    """
    labels = tuple(dict.fromkeys(found["labels"]))
    whole = found["paragraph"] if protocol == "gem" else found["conclusion"]
    _labelled(labels, whole, known)
    if protocol == "gem":
        first = min((whole.lower().find(label.lower()) for label in labels), default=0)
        if labels and not any(letter.isdigit() for letter in whole[:first]):
            raise UnusableError("not by the protocol", "the conclusion stands before the evidence")
        _borne_out(whole, known)
        return str(whole).strip()
    if len(found["steps"]) != len(TITLES):
        raise UnusableError("not by the protocol", f"it has {len(found['steps'])} steps and not {len(TITLES)}")
    others = [each["diagnosis"] for each in found["exclusions"] if each["diagnosis"] not in known.excluded]
    if others:
        raise UnusableError(_UNFOUNDED, f"{others[0]!r} is not among the excluded diagnoses")
    _borne_out("\n".join([*found["steps"], whole]), known)
    for label in sorted(labels, key=len, reverse=True):
        whole = _marked(whole, label)
    denials = [
        voice.say("against", X=each["diagnosis"], E=each["evidence"].rstrip(". ")) for each in found["exclusions"]
    ]
    steps = enumerate(zip(TITLES, found["steps"], strict=True), 1)
    lines = [f"{number}. {title}: {text.strip()}" for number, (title, text) in steps]
    return "\n".join([*lines, " ".join([f"6. Conclusion: {whole.strip()}", *denials])])


def _labelled(labels: Sequence[str], text: str, known: Dossier) -> None:
    allowed = {*known.sure, *known.compatible}
    for label in labels:
        if label not in allowed:
            raise UnusableError(_UNFOUNDED, f"the label {label[:80]!r} is not among the diagnoses given")
        if label.lower() not in text.lower():
            raise UnusableError("not by the protocol", f"the label {label!r} is not in the conclusion")
    if missing := [name for name in known.sure if name not in labels]:
        raise UnusableError("not by the protocol", f"the confirmed diagnosis {missing[0]!r} is not concluded")


def _borne_out(text: str, known: Dossier) -> None:
    """Refuse a diagnosis that no measurement settles, where a text concludes it of its own, or more surely than the
    guide. What measurements settle is the audit's."""
    sure, maybe = _settled_by_none(known.sure), _settled_by_none((*known.compatible, *known.told["open"]))
    for claim in find_claims(text):
        if claim.quantity != _DIAGNOSIS or claim.negated or claim.value in sure:
            continue
        if claim.value not in maybe:
            raise UnusableError(_UNFOUNDED, f"{claim.value!r} is concluded, and nothing measured bears it out")
        if not claim.hedged:
            raise UnusableError(_UNFOUNDED, f"{claim.value!r} is stated as a fact, and is not more than compatible")


def _settled_by_none(names: Sequence[str]) -> set[Any]:
    """What the audit reads in these names as a diagnosis that no measurement settles."""
    claims = (claim for name in names for claim in find_claims(f"There is {name}."))
    return {claim.value for claim in claims if claim.quantity == _DIAGNOSIS}


def _marked(text: str, label: str) -> str:
    at = text.lower().find(label.lower())
    while at >= 0 and text[:at].count("**") % 2:  # within a longer label
        at = text.lower().find(label.lower(), at + 1)
    return text if at < 0 else f"{text[:at]}**{text[at : at + len(label)]}**{text[at + len(label) :]}"
