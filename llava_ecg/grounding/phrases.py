"""What the words of an ECG answer mean: text -> sentences of `Token`, by one table of phrases.

Every character keeps its place (normalising maps one character to one), so a token's span is a span of the text. A phrase is found by
its first word and the longest one wins; nothing looks further ahead than the longest phrase, so the time is linear in the text.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from llava_ecg.ecg.leads import STANDARD, canonical


class Kind(StrEnum):
    """The part that a phrase plays in a sentence."""

    SUBJECT = "subject"  # a quantity that is checked; value: its name
    FOREIGN = "foreign"  # another quantity or noun: what follows is about that; value "rate" for other rates
    P_WAVE = "p wave"
    ECTOPY = "ectopy"  # single beats that are not the rhythm
    CATEGORY = "category"  # a word that needs a subject; value: the word
    FULL = "full"  # a word that carries its subject; value: "quantity=category"
    NUMBER = "number"
    UNIT = "unit"
    FORMULA = "formula"  # of QTc
    LEAD = "lead"  # value: canonical names, joined by ", "
    COMPARE = "compare"  # value: "<" or ">"
    BETWEEN = "between"
    TO = "to"
    PLUS_MINUS = "plus minus"
    NEGATION = "negation"  # value: "no" (of nouns), "not" (of verbs), "absent" (on its own)
    HEDGE = "hedge"
    MODAL = "modal"  # what is not so, or not now: its clause claims nothing
    CONDITION = "condition"  # from its clause to the end of the sentence nothing is claimed
    DEFINITION = "definition"  # its sentence claims nothing
    REFERENCE = "reference"  # numbers after it are limits
    RANGE_WORD = "range word"  # "normal range": ranges after it are limits
    SEEN = "seen"
    BEFORE = "before"
    PRECEDED = "preceded"
    PARTIAL = "partial"
    AND = "and"
    OR = "or"
    BUT = "but"
    COMMA = "comma"
    OPEN = "open"
    CLOSE = "close"
    COPULA = "copula"
    ARTICLE = "article"  # a sentence that starts so may speak of ECGs in general
    GLUE = "glue"  # says nothing about what belongs to what; value: the phrase
    STOP = "stop"  # end of a sentence; value: the character
    WORD = "word"  # anything else


class Token(NamedTuple):
    """A phrase at text[start:end]."""

    kind: Kind
    value: str
    start: int
    end: int
    number: float = 0.0


# kind, value, spellings: lower case, "-" between letters is a space, words and signs apart
_TABLE: tuple[tuple[Kind, str, str], ...] = (
    (
        Kind.SUBJECT,
        "heart_rate_bpm",
        "rate|hr|heart rate|average heart rate|mean heart rate|ventricular rate|vent rate|vent . rate",
    ),
    (Kind.SUBJECT, "heart_rate_bpm", "pulse|pulse rate"),
    (Kind.SUBJECT, "response", "ventricular response|ventricular response rate"),
    (Kind.SUBJECT, "pr_ms", "pr|p r|pr interval|p r interval|pr intervals|pr duration|pr time|pq|pq interval|p q interval|pq time"),
    (Kind.SUBJECT, "qrs_ms", "qrs|qrsd|qrs duration|qrs interval|qrs width|qrs complex duration|qrs complex width|qrs time"),
    (Kind.SUBJECT, "qrs_complex", "qrs complex|qrs complexes"),
    (Kind.SUBJECT, "qt_ms", "qt|q t|qt interval|q t interval|qt intervals|qt duration|qt time|uncorrected qt|uncorrected qt interval"),
    (Kind.SUBJECT, "qtc_ms", "qtc|qt c|q tc|qtc interval|qtc intervals|qtc duration|qtc value|qt corrected|qt interval corrected"),
    (Kind.SUBJECT, "qtc_ms", "corrected qt|corrected qt interval|corrected q t interval|rate corrected qt|rate corrected qt interval"),
    (Kind.SUBJECT, "qtc_ms", "heart rate corrected qt|heart rate corrected qt interval"),
    (Kind.SUBJECT, "qtc_bazett_ms", "qtcb|qtc b|qtcb interval|bazett corrected qt|bazett corrected qt interval"),
    (Kind.SUBJECT, "qtc_fridericia_ms", "qtcf|qtc f|qtcf interval|fridericia corrected qt|fridericia corrected qt interval"),
    (Kind.SUBJECT, "axis_deg", "axis|qrs axis|r axis|electrical axis|cardiac axis|heart axis|mean axis|mean qrs axis|mean electrical axis"),
    (
        Kind.SUBJECT,
        "axis_deg",
        "frontal axis|frontal plane axis|frontal qrs axis|frontal plane qrs axis|axis of the heart|qrs electrical axis",
    ),
    (
        Kind.SUBJECT,
        "rhythm",
        "rhythm|heart rhythm|cardiac rhythm|ventricular rhythm|heartbeat|r r|rr|r r interval|r r intervals|rr interval",
    ),
    (Kind.SUBJECT, "rhythm", "rr intervals|r r spacing|rr spacing|regularity"),
    (
        Kind.FOREIGN,
        "rate",
        "atrial rate|atrial rates|flutter rate|fibrillatory rate|respiratory rate|breathing rate|sampling rate|sample rate",
    ),
    (
        Kind.FOREIGN,
        "rate",
        "pacing rate|paced rate|target rate|target heart rate|maximum heart rate|maximal heart rate|predicted heart rate",
    ),
    (Kind.FOREIGN, "rate", "p wave rate|max heart rate|maximum rate|peak heart rate|atrial tachycardia|escape rate|frame rate|paper speed"),
    (Kind.FOREIGN, "", "st|st segment|st segments|t wave|t waves|u wave|u waves|r wave|r waves|s wave|s waves|q wave|q waves|j point|jt"),
    (
        Kind.FOREIGN,
        "",
        "jt interval|p axis|t axis|p r t axes|p qrs t axes|qrs t angle|qt dispersion|r wave progression|pr segment|pr depression",
    ),
    (Kind.FOREIGN, "", "qrs morphology|qrs voltage|qrs voltages|qrs amplitude|qrs amplitudes|qrs transition|qrs fragmentation|qrs pattern"),
    (
        Kind.FOREIGN,
        "",
        "voltage|voltages|amplitude|amplitudes|morphology|pause|pauses|p duration|p amplitude|tp segment|baseline|cycle length",
    ),
    (
        Kind.FOREIGN,
        "",
        "long qt|long qt syndrome|short qt|short qt syndrome|tachycardia bradycardia syndrome|tachy brady syndrome|hypertrophy",
    ),
    (Kind.FOREIGN, "", "ischemia|ischaemia|infarction|repolarization|repolarisation|blood pressure|patient|ecg|ekg|tracing|age|echo"),
    (
        Kind.FOREIGN,
        "",
        "p wave abnormality|p wave abnormalities|p wave amplitude|p wave axis|p wave duration|p wave enlargement|p wave area",
    ),
    (
        Kind.FOREIGN,
        "",
        "p wave inversion|p wave morphology|p wave morphologies|p wave notching|p wave width|p wave dispersion|p wave changes",
    ),
    (Kind.ECTOPY, "", "premature|ectopic|ectopics|ectopy|pvc|pvcs|pac|pacs|extrasystole|extrasystoles|escape|aberrant|aberrancy"),
    (Kind.P_WAVE, "", "p wave|p waves|p present|p absent|p wave activity"),
    (Kind.CATEGORY, "normal", "normal|wnl|unremarkable|within normal limits|within the normal limits|within the limits of normal"),
    (Kind.CATEGORY, "normal", "within normal range|within the normal range|in the normal range|in normal range|within the reference range"),
    (Kind.CATEGORY, "prolonged", "prolonged|lengthened|prolongation|prolongation of|prolongation of the"),
    (Kind.CATEGORY, "short", "short|shortened|shortening|shortening of the"),
    (Kind.CATEGORY, "narrow", "narrow"),
    (Kind.CATEGORY, "wide", "wide|widened|broad|broadened|widening|widening of the"),
    (Kind.CATEGORY, "left", "left|leftward|leftwards|deviated to the left|shifted to the left|left deviated"),
    (Kind.CATEGORY, "right", "right|rightward|rightwards|deviated to the right|shifted to the right|right deviated"),
    (Kind.CATEGORY, "extreme", "extreme|northwest|north west"),
    (Kind.CATEGORY, "regular", "regular"),
    (Kind.CATEGORY, "irregular", "irregular|regularly irregular|not regular|not entirely regular|not completely regular"),
    (Kind.FULL, "rhythm_regular=irregularly irregular", "irregularly irregular"),
    (Kind.FULL, "rate_category=tachycardia", "tachycardia|tachycardic"),
    (Kind.FULL, "rate_category=bradycardia", "bradycardia|bradycardic"),
    (Kind.FULL, "rate_category=normal", "normocardia|normocardic"),
    (Kind.FULL, "axis_category=left", "left axis deviation|leftward axis deviation|left axis shift|axis deviation to the left"),
    (Kind.FULL, "axis_category=right", "right axis deviation|rightward axis deviation|right axis shift|axis deviation to the right"),
    (Kind.FULL, "axis_category=extreme", "extreme axis deviation|northwest axis deviation|extreme right axis deviation"),
    (Kind.FULL, "qrs_category=narrow", "narrow complex|narrow complexes"),
    (Kind.FULL, "qrs_category=wide", "wide complex|wide complexes|broad complex|broad complexes"),
    (Kind.UNIT, "bpm", "bpm|b p m|b . p . m|beats per minute|beats per min|beats / minute|beats / min|beats a minute|/ min|/ minute"),
    (Kind.UNIT, "bpm", "per minute|per min|a minute|beats min"),
    (Kind.UNIT, "ms", "ms|msec|msecs|millisecond|milliseconds|milli seconds|m s"),
    (Kind.UNIT, "s", "s|sec|secs|second|seconds"),
    (Kind.UNIT, "deg", "°|deg|degs|degree|degrees"),
    (Kind.UNIT, "other", "hz|mv|µv|μv|uv|mm|cm|%|percent|samples|leads|lead ecg|years|year|yrs|yo|y|boxes|squares|hours|minutes|min|days"),
    (Kind.UNIT, "other", "weeks|months|kg|mg|mmhg|times|fold|beats|complexes|µs|μs|: 1"),
    (Kind.FORMULA, "bazett", "bazett|bazett's|bazetts"),
    (Kind.FORMULA, "fridericia", "fridericia|fridericia's|fredericia"),
    (Kind.FORMULA, "framingham", "framingham"),
    (Kind.FORMULA, "hodges", "hodges|hodges'"),
    (Kind.COMPARE, "<", "<|≤|< =|less than|lower than|below|under|shorter than|slower than|at most|up to|no more than|not more than"),
    (Kind.COMPARE, "<", "less than or equal to|does not exceed|not exceeding|no greater than|not greater than|not above"),
    (Kind.COMPARE, ">", ">|≥|> =|greater than|more than|higher than|above|over|longer than|faster than|at least|exceeds|exceeding|exceed"),
    (Kind.COMPARE, ">", "greater than or equal to|in excess of|not less than|no less than|not below"),
    (Kind.BETWEEN, "", "between|from|ranging from|ranges from|ranging between|ranges between|varies between|varying between|varies from"),
    (Kind.TO, "", "to|-"),
    (Kind.PLUS_MINUS, "", "±|+ / -|plus or minus"),
    (
        Kind.NEGATION,
        "no",
        "no|without|absence of|lack of|lacks|lacking|loss of|neither|nor|non|rather than|instead of|free of|negative for",
    ),
    (Kind.NEGATION, "no", "excludes|excluding|excluded|denies|rule out|ruled out|rules out|unlikely|no longer"),
    (Kind.NEGATION, "not", "not|cannot|can not|never|cannot be|can not be"),
    (Kind.NEGATION, "absent", "absent|missing|none|lost|false|replaced by|invisible|indiscernible|unidentifiable"),
    (Kind.HEDGE, "", "possible|possibly|probable|probably|suspected|questionable|borderline|perhaps|maybe|equivocal|cannot exclude"),
    (Kind.HEDGE, "", "cannot rule out|concern for|tendency to|tendency toward|tendency towards|risk of|risk for"),
    (Kind.MODAL, "", "would|could|might|may|should|can|previous|previously|prior ecg|prior tracing|formerly|compared|history of|last ecg"),
    (Kind.MODAL, "", "run of|runs of|episode of|episodes of|paroxysms of|burst of|bursts of"),
    (Kind.CONDITION, "", "if|unless|whether|when|whenever|suppose|supposing|assuming|imagine|provided|in case"),
    (Kind.DEFINITION, "", "defined as|is defined|are defined|definition|refers to|refer to|is called|are called|by definition|in general"),
    (Kind.DEFINITION, "", "generally|typically|usually|normally|ordinarily|commonly|criteria for|criterion for|means a|means that"),
    (
        Kind.REFERENCE,
        "",
        "limit|limits|upper limit|lower limit|threshold|cutoff|cut off|reference|reference range|reference value|ref|criterion",
    ),
    (Kind.REFERENCE, "", "reference values|reference ranges|criteria|target|expected|typical|normal value|normal values|uln|lln"),
    (Kind.RANGE_WORD, "", "normal range|normal ranges|normal limits|normal adult range|normal resting range"),
    (Kind.SEEN, "", "present|visible|seen|identifiable|identified|discernible|discerned|discernable|evident|apparent|detected|detectable"),
    (Kind.SEEN, "", "distinguishable|recognizable|recognisable|appreciated|observed|noted|found|upright|clear|distinct|definite|obvious"),
    (Kind.SEEN, "", "discrete|organized|organised|true|can be seen|can be identified|can be observed|can be noted|can be appreciated"),
    (Kind.BEFORE, "", "precede|precedes|preceding|before|in front of|followed by a qrs|followed by a qrs complex|associated with each"),
    (Kind.PRECEDED, "", "preceded by|presence of|has|have|had"),
    (
        Kind.PARTIAL,
        "",
        "some|occasional|occasionally|intermittent|intermittently|hidden|buried|retrograde|all|every|each|always|few|any|most",
    ),
    (Kind.PARTIAL, "", "consistently|uniformly"),
    (Kind.AND, "", "and|&|/"),
    (Kind.OR, "", "or"),
    (Kind.BUT, "", "but|however|although|though|whereas|while|yet|except|despite|which"),
    (Kind.COMMA, "", ","),
    (Kind.OPEN, "", "(|[|{"),
    (Kind.CLOSE, "", ")|]|}"),
    (Kind.COPULA, "", "is|are|was|were|:|=|equals|i . e .|remains|appears|seems|measures|indicates|indicate|means|suggests|constitutes"),
    (Kind.COPULA, "", "ranges|occurs|considered|counts as"),
    (Kind.ARTICLE, "", "a|an|rates|values|anything|everything"),
    (
        Kind.GLUE,
        "",
        "the|of|at|in|on|for|with|by|as|be|been|being|around|about|approximately|approx|approx .|roughly|circa|ca|ca .|c .|~|≈",
    ),
    (
        Kind.GLUE,
        "",
        "∼|≃|≅|nearly|almost|calculated|computed|measured|measuring|measurement|estimated|determined|recorded|reported|given|shown",
    ),
    (
        Kind.GLUE,
        "",
        "shows|show|reveals|demonstrates|showing|displays|interval|intervals|duration|durations|width|value|reading|reads|this|that",
    ),
    (Kind.GLUE, "", "it|its|also|both|overall|mean|average|avg|avg .|median|here|currently|now|using|via|clearly|well|readily|consistent"),
    (Kind.GLUE, "", "consistent with|compatible|indicating|suggesting|evidence|evidence of|signs|signs of|sign of|there|throughout|across"),
    (
        Kind.GLUE,
        "",
        "slightly|mildly|moderately|markedly|significantly|significant|marked|mild|moderate|quite|very|just|exactly|only|within",
    ),
    (
        Kind.GLUE,
        "",
        "so|thus|therefore|hence|because|since|e . g .|vs .|vs|ventricular|sinus|underlying|together|respectively|'|#|•|·|computer",
    ),
    (
        Kind.GLUE,
        "",
        "onset of the p wave|onset of the qrs complex|onset of the qrs|start of the p wave|start of the qrs complex|start of the qrs",
    ),
    (Kind.GLUE, "", "beginning of the p wave|beginning of the qrs complex|beginning of the qrs|end of the t wave|end of the qrs complex"),
    (Kind.GLUE, "", "each qrs|each qrs complex|every qrs|every qrs complex|all qrs complexes|correction|formula|method|for age"),
)

_MINUS = "-‐‑‒–—−﹣-"
_FOLD = str.maketrans(
    {**dict(zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)), **dict.fromkeys(_MINUS, "-")}
    | dict.fromkeys('*_`"“”„«»\u200b\u200c\u200d\ufeff', " ")
    | {"º": "°", "˚": "°", "’": "'", "‘": "'", "（": "(", "）": ")", "：": ":", "；": ";"}
)
_RAW = re.compile(r"\s+|[0-9][0-9.,]*[0-9]|[0-9]|(?<![\w.])\.[0-9]+|[^\W\d_][^\W_]*(?:'[a-z]{1,3})?|.", re.DOTALL)
_NUMBER = re.compile(r"[0-9]{0,6}\.[0-9]{1,6}|[0-9]{1,6}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,2}(?:\.[0-9]{1,6})?|0,[0-9]{1,3}|[0-9]{1,3},[0-9]")
_BULLET = re.compile(r"[-+•·>] |[|#*>•]|[0-9]{1,3}[.)]\s")
_LABEL = re.compile(r"[^\n:=.,;]{1,40}[:=]")
_SHORT_LINE = 50  # text that is wrapped has longer lines
_BARE_LEAD = re.compile(r"v[1-6]|av[rlf]")


@cache
def _phrases() -> dict[str, dict[tuple[str, ...], tuple[Kind, str]]]:
    """First word -> the phrases (as words) that begin with it."""
    found: dict[str, dict[tuple[str, ...], tuple[Kind, str]]] = {"|": {("|",): (Kind.GLUE, "|")}}
    for kind, value, spellings in _TABLE:
        for phrase in spellings.split("|"):
            words = tuple(phrase.split())
            found.setdefault(words[0], {})[words] = (kind, value or phrase)
    return found


def _raw(text: str) -> list[Token]:
    """Words, numbers and signs as they stand; white space is gone except where it ends a sentence."""
    folded = text.translate(_FOLD)
    out: list[Token] = []
    fresh, line = True, 0  # at the start of a line, which began at `line`
    for match in _RAW.finditer(folded):
        word, start, end = match.group(), match.start(), match.end()
        if word.isspace():
            lines = word.count("\n")
            listed = _BULLET.match(text, end) or _LABEL.match(folded, end) or (start - line < _SHORT_LINE and text[end : end + 1].isupper())
            if lines > 1 or (lines and listed):
                out.append(Token(Kind.STOP, "\n", start, end))
            if lines:
                fresh, line = True, end
            continue
        if word[0] in "0123456789." and len(word) <= 16 and _NUMBER.fullmatch(word):
            number = float(word.replace(",", "." if re.fullmatch(r"0,.*|.*,[0-9]", word) else ""))
            out.append(Token(Kind.NUMBER, word, start, end, number))
            if fresh and _BULLET.match(folded, start):
                out[-1] = Token(Kind.STOP, "\n", start, end)
        elif word in ".;!?":
            out.append(Token(Kind.STOP, word, start, end))
        elif word == "-" and out and end < len(folded) and folded[end].isalpha() and folded[start - 1].isalpha():
            continue  # first-degree, R-R
        else:
            out.append(Token(Kind.WORD, word, start, end))
        fresh = False
    return out


def _signed(raw: list[Token], i: int, folded_before: str) -> bool:
    """Whether raw[i] is a sign of the number that comes next, and not a dash between two things."""
    if i + 1 >= len(raw) or raw[i + 1].kind is not Kind.NUMBER:
        return False
    if raw[i].value in ("minus", "negative"):
        return True
    return raw[i].value in ("-", "+") and raw[i].end == raw[i + 1].start and not (folded_before.isalnum() or folded_before in ")°%-+'")


def _lead(raw: list[Token], i: int) -> tuple[str, int]:
    """The leads named from raw[i] on, as canonical names, and the index after them; ("", i) where none is."""
    announced = raw[i].value in ("lead", "leads")
    names: list[str] = []
    j = after = i + announced
    joint = ""
    while j < len(raw) and j < i + 26:
        name = canonical(raw[j].value)
        if name not in STANDARD or raw[j].value[0].isdigit() or not (announced or _BARE_LEAD.fullmatch(raw[j].value)):
            break
        if joint in ("-", "to", "through") and names:
            names += STANDARD[STANDARD.index(names[-1]) + 1 : STANDARD.index(name)]
        names.append(name)
        after = j + 1
        joint = raw[after].value if after < len(raw) else ""
        if joint not in (",", "and", "-", "to", "through", "/", "&"):
            break
        j = after + 1
        if joint == "," and j < len(raw) and raw[j].value == "and":
            j += 1
    return (", ".join(dict.fromkeys(names)), after) if names else ("", i)


def tokens(text: str) -> list[Token]:
    """The phrases of a text, in order, without gaps of meaning: what is no known phrase is a WORD."""
    raw, table = _raw(text), _phrases()
    out: list[Token] = []
    i = 0
    while i < len(raw):
        here = raw[i]
        leads, after = _lead(raw, i) if here.kind is Kind.WORD else ("", i)
        if leads:
            out.append(Token(Kind.LEAD, leads, here.start, raw[after - 1].end))
            i = after
            continue
        if here.kind is Kind.WORD and _signed(raw, i, text[here.start - 1 : here.start]):
            number = raw[i + 1]
            sign = 1.0 if here.value == "+" else -1.0
            out.append(Token(Kind.NUMBER, number.value, here.start, number.end, sign * number.number))
            i += 2
            continue
        token, step = here, 1
        for words, (kind, value) in table.get(here.value, {}).items():
            if len(words) >= step and tuple(t.value for t in raw[i : i + len(words)]) == words:
                token, step = Token(kind, value, here.start, raw[i + len(words) - 1].end), len(words)
        if token.kind is Kind.WORD and here.value.endswith("n't"):
            token = Token(Kind.NEGATION, "not", here.start, here.end)
        out.append(token)
        i += step
    return out


def sentences(text: str) -> Iterator[list[Token]]:
    """The sentences of a text; a question is none."""
    sentence: list[Token] = []
    for token in tokens(text):
        if token.kind is not Kind.STOP:
            sentence.append(token)
            continue
        if sentence and token.value != "?":
            yield sentence
        sentence = []
    if sentence:
        yield sentence
