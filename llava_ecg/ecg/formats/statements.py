"""Which of a device's statements name nobody. A file states who read the ECG, and at times whose it is, among what it
states about the heart, in the words of many devices and languages.

The rule errs on one side: a statement that may name a person is dropped as a whole, never cut. That costs a clinical
statement now and then; a name that is shown can't be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Who reads, orders, records or treats. "DR" and "MD" are no words of an ECG; "MR" and "MS" are (mitral regurgitation,
# milliseconds), so that these count with a capital and small letters alone.
_ROLE = (
    r"\b(?:dr|md|prof|professor\w*|dott|dipl|m\.d|d\.o|doctor|docteur|doktor|dottore|physicians?|clinicians?|practitioner"
    r"|technicians?|technologist|cardiologists?|consultant|attending|nurse|operator|interpreter|reader|signature"
    r"|provider|\w*[aä]rzt(?:in)?|kardiolog(?:e|in)|internist(?:in)?|untersucher(?:in)?|zuweiser(?:in)?|einsender"
    r"|m[eé]decin|m[eé]dico|cardiologue|cardi[oó]logo|cardiologo|herr|frau|monsieur|madame|se[ñn]ora?|signor[ae]?)\b"
    r"|\b(?-i:Mrs?|Ms|Miss|Mme)\b\.? (?-i:[^\W\d_a-z])|\btech\b\s*[:.]|\bmta\b"
)
# What is done with an ECG, and tells of who did it with nothing more ("Reviewed J. Smith"). A device's own
# "Unconfirmed" and "Edited" tell of nobody.
_READ = (
    r"(?<!un)confirm(?:ed|ing)|over-?read\w*|\breviewe[dr]\b|\bsigned\b|electronically|\breferr(?:ed|ing)\b|\bordering\b"
    r"|\bauthenticated\b|befundet|\bbest[aä]tigt|unterschrieben|unterzeichnet|[uü]berwiesen|freigegeben"
    r"|\bconfirmad[oa]|\bconfirmato|\bconfirm[eé]e?\b|\bfirmad[oa]|\bfirmato|\bsign[eé]e?\b|refertat[oa]|\brevisad[oa]"
)
# What is done with other things too ("to be interpreted with caution"): with the mark of who did it alone.
_DONE = (
    r"\b(?:interpret(?:ed|ation)|read|reading|review|report(?:ed)?|validated|edited|verified|analy[sz]ed|analysis"
    r"|approved|authori[sz]ed|checked|examined|evaluated|assessed|performed|recorded|acquired|obtained|taken|ordered"
    r"|requested|dictated|transcribed|attested|finali[sz]ed|released|accepted|entered|updated|modified|amended|printed"
    r"|sent|transmitted|supervised|seen|written|created|compared|prepared|gelesen|gepr[uü]ft|validiert|ausgewertet"
    r"|beurteilt|beurteilung|befund(?:ung)?|auswertung|erstellt|aufgezeichnet|geschrieben|angefordert|interpr[eé]t[eé]e?"
    r"|valid[eé]e?|relue?|lue?|interpretad[oa]|interpretato|le[ií]d[oa]|letto|informado|validad[oa]|validato)"
    r"\s*\b(?:by|von|durch|par|por|da|dal)\b"
    r"|\b(?:interpreted|read|reviewed|validated|edited|verified|analy[sz]ed|approved|requested|ordered|recorded|technik)"
    r"\s*[:=]"
)
# Whose the ECG is. "ECG of" and "patient" stand before much else; what that is, is listed, and all else may be a name.
_ELSE = (
    r"(?:an?|the|this|that|these|same|previous|prior|earlier|last|poor|good|low|limited|adequate|insufficient|normal"
    r"|abnormal|technically|uncertain|unknown|comparison|review|further|acute|age|both|all|no|einem?r?|dieser?"
    r"|schlechter|ungen[uü]gender|date)\b|\d"
)
_PATIENTS = (
    r"moved?|moving|movement|motion|tremor|is|was|has|had|age|aged|with|without|in|at|on|not|should|may|data|position"
    r"|cable|lead|leads|and|or|under|over|history|condition|standing|sitting|lying|supine|shivering|restless|population"
    r"|group|hat|ist|bewegt|unruhig"
)
_WHOSE = (
    rf"\b(?:ecg|ekg|electrocardiogram|elektrokardiogramm|tracing|recording|report|befund)s? (?:of|for|von|f[uü]r)\b"
    rf"(?!\s+(?:{_ELSE}))"
    r"|\b(?:patient(?:in|en)?|pat|pt|paciente|paziente)\b['’]?s?\.?\s*(?:(?:name|id|no|nr|number|code)\b|[:=#]|\d)"
    rf"|\bpatient(?:in|en)?\b\s+(?!(?:{_PATIENTS})\b)(?-i:[^\W\d_a-z])"
    r"|\b(?:sur|vor|nach|first|last|family|given|maiden)?-?names?\b|\b(?:nombre|apellidos?|nom|pr[eé]nom|nome|cognome)\b"
    r"|\b(?:born|birth|birthdate|dob|d\.o\.b|geb|geboren|geburts\w*|née?|nat[oa]|nacid[oa]|naissance|nascita)\b"
    r"|姓名|患者|病人|病员|出生|医[生师]|审核|签[名字]|住院号|門診|报告者"
)
_NUMBERS = (
    r"\b(?:mrn|ssn|nhs|pid|hcn|id|visit|encounter|accession|case|fall|order|requisition|account|versicherten)"
    r"(?:[ -]?(?:no|nr|number|id|num))?\.?\s*[:#=]?\s*[a-z]{0,3}-?\d{2,}"
    r"|\b(?:mrn|ssn|dob|id)\s*[:#=]|\d{5,}|\b\d{3}-\d{2}-\d{4}\b|\S@\S"
    r"|^\W*[^\W\d_]+, ?[^\W\d_]+.*\(\d+\)"  # MUSE's "SMITH, JOHN (123)"
)
_NAMING = re.compile("|".join((_ROLE, _READ, _DONE, _WHOSE, _NUMBERS)), re.IGNORECASE)
_OPEN = re.compile(
    r"(?:[:=]|\b(?:by|von|durch|par|por|da|of|for|f[uü]r|dr|prof|patient|(?:patient(?:['’]?s)?|last) name)\b\.?)"
    r"\W*$",
    re.IGNORECASE,
)
_TAIL = 40  # letters; what a statement breaks off with is shorter


def may_name(text: str) -> bool:
    """Whether a statement may say who a person is: the patient, or who read, ordered or recorded the ECG."""
    return _NAMING.search(text) is not None


def impersonal(statements: Iterable[str]) -> list[str]:
    """The statements that name nobody, in their order, each once and with single blanks.

    A statement that is dropped and breaks off ("Confirmed by") takes the one behind it along, which ends it.
    """
    kept: list[str] = []
    unfinished = False
    for statement in statements:
        text = " ".join(statement.split())
        if not text:
            continue
        naming = may_name(text)
        if not naming and not unfinished and text not in kept:
            kept.append(text)
        unfinished = naming and _OPEN.search(text[-_TAIL:]) is not None
    return kept
