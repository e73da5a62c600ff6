"""The tasks of one recording that describe: full interpretation, report, features, rhythm, evidence, multi-turn."""

from __future__ import annotations

from llava_ecg.instruct.guide import CONFIRMED, Guide, Judged, in_words
from llava_ecg.instruct.phrases import Voice, capital
from llava_ecg.instruct.samples import Exchange, Sample
from llava_ecg.instruct.statements import (
    STATEMENTS,
    concluded,
    conclusion,
    excluded,
    flowing,
    reasoned,
    state,
    unsettled,
)
from llava_ecg.instruct.vocabulary import vocabulary

PROTOCOLS = ("gem", "six-step")
_STEPS = (
    ("Technical quality and rhythm", ("quality", "rate", "regular", "p", "ectopy")),
    ("Conduction, axis and intervals", ("pr", "qrs", "shape", "axis")),
    ("Hypertrophy and voltage", ("voltage",)),
    ("Ischaemia and infarction", ("q", "r", "st", "t")),
    ("QT interval", ("qt",)),
)
_OF_STEP = {"rhythm": 0, "conduction": 1, "axis": 1, "hypertrophy": 2, "ischaemia": 3, "repolarisation": 3}
_NOT_MEASURED = (
    "Not measurable in this recording.",
    "Nothing can be measured for this step.",
    "No value is available here.",
)
WORTH_EXCLUDING = (
    "first-degree AV block", "right bundle branch block", "left bundle branch block", "atrial fibrillation", "long QT",
    "ST elevation", "left axis deviation", "right axis deviation", "short QT", "pre-excitation", "tachycardia",
    "bradycardia", "left ventricular hypertrophy", "low QRS voltage",
)  # fmt: skip
FEATURES = tuple(STATEMENTS)


def interpretation(guide: Guide, voice: Voice, protocol: str = "gem") -> Sample | None:
    """All that was measured, then what it amounts to; by `PROTOCOLS` one paragraph or six numbered steps."""
    judged = concluded(guide, voice)
    against = _against(guide, voice, voice.rng.choice((0, 1, 1, 2)))
    open_ = unsettled(guide, voice)
    answer = (_steps if protocol == "six-step" else _paragraph)(judged, against, open_, voice)
    if answer is None:
        return None
    question = voice.ask("six-step" if protocol == "six-step" else "interpretation")
    return _sample("interpretation", [Exchange(question, answer)], voice, [*judged, *against])


def _paragraph(judged: list[Judged], against: list[Judged], open_: str, voice: Voice) -> str | None:
    """Evidence first."""
    rhythm = ["quality", "rate", "regular", "p", "ectopy"]
    intervals, waves = ["pr", "qrs", "qt"], ["axis", "r", "q", "st", "t", "voltage"]
    if voice.rng.random() < 0.3:
        rhythm.remove("quality")
    if voice.rng.random() < 0.5:
        intervals.insert(2, "shape")
    if voice.rng.random() < 0.3:
        waves = [*waves[2:], *waves[:2]]
    body = state([*rhythm, *intervals, *waves], voice)
    if len(body) < 4:
        return None
    reasons = [text for each in judged if (text := reasoned(each, voice))]
    return " ".join(
        filter(None, [*flowing(body, voice), *reasons, *_denials(against, voice), conclusion(judged, voice), open_])
    )


def _steps(judged: list[Judged], against: list[Judged], open_: str, voice: Voice) -> str | None:
    """The six-step protocol: each step with its evidence, the last with conclusion and exclusions."""
    reasons: dict[int, list[str]] = {}
    for each in judged:
        kind = vocabulary().rows[each.name].kind
        step = 4 if each.name in ("long QT", "short QT") else _OF_STEP.get(kind)
        if step is not None and (text := reasoned(each, voice)):
            reasons.setdefault(step, []).append(text)
    lines, measured = [], 0
    for number, (title, topics) in enumerate(_STEPS):
        told = [*state(topics, voice), *reasons.get(number, ())]
        measured += bool(told)
        lines.append(f"{number + 1}. {title}: {' '.join(told) or voice.rng.choice(_NOT_MEASURED)}")
    if measured < 2:
        return None
    last = " ".join(filter(None, [conclusion(judged, voice), open_, *_denials(against, voice)]))
    return "\n".join([*lines, f"6. Conclusion: {last.removeprefix('Conclusion: ')}"])


def _against(guide: Guide, voice: Voice, count: int) -> list[Judged]:
    names = list(WORTH_EXCLUDING)
    voice.rng.shuffle(names)
    return excluded(guide, voice, names)[:count]


def _denials(against: list[Judged], voice: Voice) -> list[str]:
    return [voice.say("against", X=each.name, E=in_words(each.evidence[:1])) for each in against]


def report(guide: Guide, voice: Voice) -> Sample | None:
    """A short report: what may be concluded, then the numbers."""
    judged = concluded(guide, voice)
    topics = ["rate", "pr", "qrs", "qt", "axis"]
    extra = ["st", "t", "q", "r", "voltage", "ectopy"]
    voice.rng.shuffle(extra)
    drawn = extra[: voice.rng.randint(2, 4)]
    needed = [topic for topic in extra if topic not in drawn and topic in _shown_by(judged)]
    body = state([*topics, *drawn, *needed], voice)
    if len(body) < 3:
        return None
    head = [f"{capital(each.name)}." for each in judged if each.status == CONFIRMED]
    tail = [text for each in judged if each.status != CONFIRMED and (text := reasoned(each, voice))]
    lines = [text for text in (*head, *body, *tail, unsettled(guide, voice)) if text]
    return _sample("report", [Exchange(voice.ask("report"), voice.rng.choice((" ", "\n")).join(lines))], voice, judged)


def _shown_by(judged: list[Judged]) -> set[str]:
    """The topics that a reader looks at for these diagnoses."""
    by_kind = {"hypertrophy": {"voltage"}, "ischaemia": {"q", "st", "t"}, "repolarisation": {"st", "t"}}
    found = {topic for each in judged for topic in by_kind.get(vocabulary().rows[each.name].kind, ())}
    return found | {"ectopy" for each in judged if "premature" in each.name}


def feature(guide: Guide, voice: Voice, topic: str) -> Sample | None:
    """A question about one topic of `FEATURES`, one that the answer does answer."""
    told = state([topic], voice)
    question = voice.question_of(topic, told[0]) if told else ""
    return _sample(f"feature {topic}", [Exchange(voice.about(question), told[0])], voice) if question else None


def rhythm(guide: Guide, voice: Voice) -> Sample | None:
    """Rate, regularity, P waves, premature beats, and the rhythm's name where there is one."""
    judged = [each for each in concluded(guide, voice) if vocabulary().rows[each.name].kind == "rhythm"]
    body = state(["regular", "p", "rate", "ectopy"], voice)
    if len(body) < 2:
        return None
    first = bool(judged) and voice.rng.random() < 0.4
    named = [conclusion(judged, voice, "name first" if first else "conclude")] if judged else []
    body = flowing(body, voice)
    text = [*named, *body] if first else [*body, *named]
    return _sample("rhythm", [Exchange(voice.ask("rhythm"), " ".join(text))], voice, judged)


def evidence(guide: Guide, voice: Voice) -> Sample | None:
    """What speaks for a diagnosis that may be concluded, or against one that is excluded."""
    favour = [each for each in concluded(guide, voice) if each.evidence]
    against = _against(guide, voice, 3)
    if favour and (not against or voice.rng.random() < 0.65):
        chosen = voice.rng.choice(favour)
        text, key = reasoned(chosen, voice), "evidence"
    elif against:
        chosen = voice.rng.choice(against)
        text, key = voice.say("against", X=chosen.name, E=in_words(chosen.evidence)), "exclusion"
    else:
        return None
    rule = guide.rules[chosen.name]
    leads = [name for name in rule.leads if name in voice.facts.leads]
    if rule.features and len(leads) < 8 and voice.rng.random() < 0.6:
        where = f", looked for in {in_words(leads)}" if leads else ""
        text += " " + voice.say("criteria", X=chosen.name, F=in_words(rule.features), L=where)
    return _sample("evidence", [Exchange(voice.ask(key, X=chosen.name), text)], voice, [chosen])


def multi_turn(guide: Guide, voice: Voice) -> Sample | None:
    """Three to six questions, one after another, the last for the conclusion."""
    topics = [topic for topic in FEATURES if topic != "quality"]
    first = ["rate", "regular", "p"]
    rest = [topic for topic in topics if topic not in first]
    voice.rng.shuffle(rest)
    there = [(topic, text) for topic in (voice.rng.choice(first), *rest) for text in state([topic], voice)]
    told = there[: voice.rng.randint(3, 5)]
    if len(told) < 2:
        return None
    judged = concluded(guide, voice)
    asked = [(voice.question_of(topic, text), text) for topic, text in told]
    if not all(question for question, _ in asked):
        return None
    exchanges = [
        Exchange(voice.about(question) if at == 0 else question, text) for at, (question, text) in enumerate(asked)
    ]
    if judged:
        last = voice.rng.choice(
            ("What is your conclusion?", "And what does it all amount to?", "So what is the diagnosis?")
        )
        exchanges.append(Exchange(last, f"{conclusion(judged, voice)} {unsettled(guide, voice)}".strip()))
    return _sample("multi-turn", exchanges, voice, judged)


def _sample(task: str, exchanges: list[Exchange], voice: Voice, judged: list[Judged] | None = None) -> Sample:
    sources = dict.fromkeys(source for each in judged or () for source in each.sources)
    return Sample(task, tuple(exchanges), (voice.facts,), voice.told, tuple(sources))
