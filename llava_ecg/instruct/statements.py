"""What can be said of one recording, topic by topic: measured or not said at all.

A word such as "prolonged" is used only where its threshold is met, or missed, by more than the tolerance of the audit;
in between stands the number alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from llava_ecg.ecg.person import Person
from llava_ecg.instruct.guide import CONFIRMED, EXCLUDED, OPEN, SUPPORTED, Guide, Judged, in_words
from llava_ecg.instruct.phrases import Voice
from llava_ecg.instruct.vocabulary import DENIED, STATED, vocabulary

_T_LEADS = ("I", "II", "aVF", "V2", "V3", "V4", "V5", "V6")
_DISTURBED = ("noisy", "clipped", "drift", "flat", "empty", "nan")
_DENIES = re.compile(r"\b(?:no|without|absent|neither|nor)\b")
_KINDS = ("rhythm", "conduction", "axis", "hypertrophy", "ischaemia", "repolarisation", "other", "overall")
_OVERALL = "normal ECG"


def category(name: str, voice: Voice) -> str:
    """The word for a measured value, empty where it is too near to a threshold or was not measured.

    Args:
        name: ``rate`` (slow, normal, fast), ``pr`` (short, normal, long), ``qrs`` (narrow, wide), ``qt`` (normal,
            long), ``axis`` (left, normal, right).
    """
    m = voice.facts.measured
    person = Person.of(voice.facts.sex if voice.told else None, voice.facts.age if voice.told else None)
    limits: dict[str, tuple[float | None, tuple[tuple[float, float, str], ...]]] = {
        "rate": (m.heart_rate_bpm, ((0, 56, "slow"), (64, 96, "normal"), (105, 400, "fast"))),
        "pr": (m.pr_ms, ((0, 105, "short"), (135, 185, "normal"), (215, 900, "long"))),
        "qrs": (m.qrs_ms, ((0, 104, "narrow"), (135, 400, "wide"))),
        "qt": (
            m.qtc_bazett_ms,
            ((370, min(person.qtc_ms[0], 450) - 15, "normal"), (max(person.qtc_ms[0], 450) + 18, 900, "long")),
        ),
        "axis": (m.axis_deg, ((-88, -42, "left"), (-18, 78, "normal"), (104, 168, "right"))),
    }
    value, ranges = limits[name]
    if value is None:
        return ""
    return next((word for low, high, word in ranges if low <= value <= high), "")


def _graded(key: str, name: str) -> Callable[[Voice], str]:
    def state(voice: Voice) -> str:
        word = category(name, voice)
        return (voice.sentence(f"{key} {word}") if word else "") or voice.sentence(key)

    return state


def quality(voice: Voice) -> str:
    """Whether all leads are sound."""
    bad = [name for name, lead in voice.facts.measured.leads.items() if lead.quality in _DISTURBED]
    if bad:
        return voice.sentence("quality poor", LEADS=in_words(bad))
    return voice.sentence("quality good") if voice.facts.measured.leads and voice.facts.measured.beats else ""


def regular(voice: Voice) -> str:
    """Whether RR is regular."""
    is_regular = voice.facts.measured.rhythm_regular
    return "" if is_regular is None else voice.sentence("regular" if is_regular else "irregular")


def p_waves(voice: Voice) -> str:
    """Whether there are P waves, and what they are like."""
    m = voice.facts.measured
    if m.p_present is None:
        return ""
    if not m.p_present:
        return voice.sentence("p absent")
    each = (m.p_fraction or 0) >= 0.99 and not m.ventricular_premature
    told = voice.sentence("p each" if each and voice.rng.random() < 0.7 else "p present")
    lead = m.leads.get("II")
    if lead is not None and lead.p_form == "upright" and (lead.p_mv or 0) > 0.08 and voice.rng.random() < 0.5:
        return f"{told} {voice.sentence('p upright')}".strip()
    return f"{told} {voice.sentence('p duration')}".strip() if voice.rng.random() < 0.4 else told


def st_segments(voice: Voice) -> str:
    """ST elevation and depression, or that there is neither."""
    found = voice.facts.measured.findings
    up, down = (found[name].present if name in found else None for name in ("ST elevation", "ST depression"))
    told = [voice.sentence(key) for key, there in (("st up", up), ("st down", down)) if there]
    if told:
        return " ".join(told)
    levels = [lead.st_j_mv for name, lead in voice.facts.measured.leads.items() if name != "aVR"]
    calm = all(level is not None and -0.06 < level < 0.09 for level in levels)
    return voice.sentence("st none") if up is False and down is False and calm else ""


def t_waves(voice: Voice) -> str:
    """Where T is inverted, flat or upright."""
    m = voice.facts.measured
    inverted = m.findings.get("T inversion")
    told = [voice.sentence("t inverted")] if inverted is not None and inverted.present else []
    upright = [
        name
        for name in _T_LEADS
        if name in m.leads and (m.leads[name].t_mv or 0) >= 0.14 and m.leads[name].t_form == "upright"
    ]
    if upright and (not told or voice.rng.random() < 0.5):
        told.append(voice.sentence("t upright", LEADS=in_words(upright)))
    flat = [name for name in _T_LEADS if name in m.leads and m.leads[name].t_form == "flat"]
    if flat and voice.rng.random() < 0.7:
        told.append(voice.sentence("t flat"))
    return " ".join(filter(None, told))


def q_waves(voice: Voice) -> str:
    """Pathological Q waves, or that there are none."""
    found = voice.facts.measured.findings.get("pathological Q waves")
    return "" if found is None or found.present is None else voice.sentence("q there" if found.present else "q none")


def progression(voice: Voice) -> str:
    """The R wave across the chest leads."""
    m = voice.facts.measured
    word = {"normal": "r normal", "poor": "r poor"}.get(m.r_progression or "")
    small = [m.leads[name].r_mv or 0.0 for name in ("V2", "V3") if name in m.leads]
    if word == "r normal" and (len(small) < 2 or small[0] < 0.2 or small[1] < 0.4):
        return ""  # it grows, but late
    return voice.sentence(word) if word else ""


def voltage(voice: Voice) -> str:
    """Voltages of hypertrophy, and low voltage."""
    m = voice.facts.measured
    low = [voice.sentence("voltage low")] if m.low_voltage_limb else []
    sokolow, cornell = m.sokolow_lyon_mv, m.cornell_mv
    if sokolow is None or cornell is None:
        return " ".join(low)
    limit = Person.of(voice.facts.sex, voice.facts.age).cornell_mv[0] if voice.told else 2.8
    if sokolow >= 3.9 or cornell >= max(limit, 2.8) * 1.12:
        key = "voltage high"
    else:
        key = "voltage normal" if sokolow < 2.7 and cornell < min(limit, 2.0) * 0.8 else "voltage"
    return " ".join([voice.sentence(key), *low])


def ectopy(voice: Voice) -> str:
    """Premature beats, pauses and pacing."""
    m = voice.facts.measured
    if m.ventricular_premature is None or m.supraventricular_premature is None:
        return ""
    told = [
        voice.sentence(key)
        for key, count in (
            ("ectopy ventricular", m.ventricular_premature),
            ("ectopy supraventricular", m.supraventricular_premature),
            ("pause", m.pauses),
            ("paced", m.paced_beats),
        )
        if count
    ]
    return " ".join(told) or (voice.sentence("ectopy none") if m.rhythm_regular else "")


STATEMENTS: dict[str, Callable[[Voice], str]] = {
    "quality": quality,
    "rate": _graded("rate", "rate"),
    "regular": regular,
    "p": p_waves,
    "ectopy": ectopy,
    "pr": _graded("pr", "pr"),
    "qrs": _graded("qrs", "qrs"),
    "shape": lambda voice: voice.sentence("shape"),
    "axis": _graded("axis", "axis"),
    "qt": _graded("qt", "qt"),
    "voltage": voltage,
    "r": progression,
    "q": q_waves,
    "st": st_segments,
    "t": t_waves,
}
"""Topic -> what is said of it, empty where it was not measured."""


def state(topics: Iterable[str], voice: Voice) -> list[str]:
    """The statements on these topics that can be made, in order."""
    return [text for topic in topics if (text := STATEMENTS[topic](voice))]


_JOINED = 0.25  # of neighbouring sentences
_SHORT = 90  # characters; longer sentences stand alone


def flowing(sentences: list[str], voice: Voice) -> list[str]:
    """The sentences with some neighbours joined into one."""
    out: list[str] = []
    for text in sentences:
        if out and max(len(out[-1]), len(text)) < _SHORT and out[-1].count(".") == 1 and voice.rng.random() < _JOINED:
            former = out.pop()
            first = text.split(" ", 1)[0]
            tail = text if first.isupper() and first != "A" else text[:1].lower() + text[1:]
            text = voice.say("join", A=former.removesuffix("."), B=tail)
        out.append(text)
    return out


# -- what it amounts to ------------------------------------------------------------------------------------------------


def concluded(guide: Guide, voice: Voice) -> list[Judged]:
    """The diagnoses that may be concluded: those that were given with the recording and that the measurements confirm
    or support. Where no rhythm was given, sinus rhythm if the measurements show it."""
    facts = voice.facts
    kept = [each for each in guide.said(facts) if each.status in (CONFIRMED, SUPPORTED)]
    kinds = {each.name: vocabulary().rows[each.name].kind for each in facts.diagnoses}
    if "rhythm" not in kinds.values() and (sinus := sinus_by_measure(guide, voice)) is not None:
        kept.insert(0, sinus)
    if any(each.name != _OVERALL and kinds.get(each.name) != "rhythm" for each in kept):
        kept = [each for each in kept if each.name != _OVERALL]
    kept = [_by_rate(each, guide, voice) for each in kept]
    names = {each.name for each in kept}
    if names & {"sinus bradycardia", "sinus tachycardia"}:
        kept = [each for each in kept if each.name not in ("sinus rhythm", "bradycardia", "tachycardia")]
    if any("infarction" in name for name in names - {"myocardial infarction"}):
        kept = [each for each in kept if each.name != "myocardial infarction"]
    order = {name: _KINDS.index(vocabulary().rows[name].kind) for name in names}
    return sorted({each.name: each for each in kept}.values(), key=lambda each: order[each.name])


def _by_rate(judged: Judged, guide: Guide, voice: Voice) -> Judged:
    """Sinus rhythm that is clearly slow or fast, under the name of that."""
    name = {"slow": "sinus bradycardia", "fast": "sinus tachycardia"}.get(category("rate", voice))
    if judged.name != "sinus rhythm" or name is None:
        return judged
    found = guide.judge(name, voice.facts)
    return found if found.status == CONFIRMED else judged


def sinus_by_measure(guide: Guide, voice: Voice) -> Judged | None:
    """The sinus rhythm that the measurements themselves show, with the P axis of one."""
    m = voice.facts.measured
    if not (m.p_present and m.rhythm_regular and m.p_axis_deg is not None and 0 <= m.p_axis_deg <= 80) or m.paced_beats:
        return None
    name = {"slow": "sinus bradycardia", "fast": "sinus tachycardia", "normal": "sinus rhythm"}.get(
        category("rate", voice)
    )
    judged = guide.judge(name, voice.facts) if name else None
    return judged if judged is not None and judged.status == CONFIRMED else None


def conclusion(judged: list[Judged], voice: Voice, key: str = "conclude") -> str:
    """One sentence that names what may be concluded; `key` is of ``phrases.yaml``."""
    sure = [each.name for each in judged if each.status == CONFIRMED]
    maybe = [each.name for each in judged if each.status == SUPPORTED]
    parts = ([in_words(sure)] if sure else []) + ([voice.say("go with", X=" or ".join(maybe))] if maybe else [])
    if not parts:
        return voice.say("conclude none")
    text = ", and ".join(part if number == 0 else part[:1].lower() + part[1:] for number, part in enumerate(parts))
    return voice.say(key, X=text if sure else text[:1].lower() + text[1:])


def unsettled(guide: Guide, voice: Voice) -> str:
    """A sentence on what was stated with the recording and no measurement bears out or rules out; empty where there is
    nothing of the kind."""
    stated = [each.name for each in voice.facts.diagnoses if each.certainty == STATED]
    names = [name for name in stated if name in guide.rules and guide.judge(name, voice.facts).status == OPEN]
    names = [name for name in names if name != _OVERALL][:2]
    if not names:
        return ""
    several = names[-1].endswith(("beats", "changes", "waves"))  # the verb goes by the last one
    return voice.say("unsettled", X=" or ".join(names), IS="are" if several else "is")


def reasoned(judged: Judged, voice: Voice) -> str:
    """One sentence: a diagnosis and the measured evidence; empty where there is none to tell."""
    if not judged.evidence:
        return ""
    key = "because" if judged.status == CONFIRMED else "compatible because"
    evidence = in_words(judged.evidence)
    plain = " plain" if _DENIES.search(evidence) else ""  # or the denial would reach over the diagnosis behind it
    return voice.say(f"{key}{plain}", X=judged.name, E=evidence)


def excluded(guide: Guide, voice: Voice, names: Iterable[str]) -> list[Judged]:
    """Those of these diagnoses that the measurements exclude and nobody gave with the recording."""
    open_names = [name for name in names if voice.facts.said(name) in (None, DENIED)]
    return [
        found for name in open_names if (found := guide.judge(name, voice.facts)).status == EXCLUDED and found.evidence
    ]
