"""The tasks of one recording that decide: yes or no, multiple choice, comparison of leads, what can't be measured."""

from __future__ import annotations

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.scaled import NO_VOLTS
from llava_ecg.instruct.guide import CONFIRMED, Guide, in_words, value_of
from llava_ecg.instruct.phrases import Voice, phrases, singular
from llava_ecg.instruct.samples import Exchange, Sample
from llava_ecg.instruct.statements import STATEMENTS, category, concluded, excluded, reasoned

_LETTERS = "ABCD"
_CHOICES: dict[str, tuple[str, float, tuple[float, ...]]] = {
    # field -> (what it is called, lowest sensible value, distances of the wrong answers: beyond the audit's tolerance)
    "heart_rate_bpm": ("heart rate", 30, (-38, -24, 22, 36, 52)),
    "pr_ms": ("PR interval", 80, (-70, -50, 50, 70, 100)),
    "qrs_ms": ("QRS duration", 60, (-56, 56, 72, 90)),
    "qtc_bazett_ms": ("QTc (Bazett)", 300, (-100, -75, 75, 100, 130)),
    "axis_deg": ("QRS axis", -180, (-130, -85, 80, 120)),
}
_UNITS = {"bpm": "bpm", "ms": "ms", "deg": "degrees", "mv": "mV"}
_RHYTHMS = (
    "sinus rhythm", "sinus bradycardia", "sinus tachycardia", "atrial fibrillation", "atrial flutter", "paced rhythm",
    "ventricular tachycardia", "junctional rhythm",
)  # fmt: skip
_CALLED = {
    "pr_ms": "PR interval", "p_ms": "P wave duration", "qrs_ms": "QRS duration", "qt_ms": "QT interval",
    "qtc_bazett_ms": "QTc", "heart_rate_bpm": "heart rate", "axis_deg": "QRS axis",
    "sokolow_lyon_mv": "Sokolow-Lyon voltage", "cornell_mv": "Cornell voltage", "r_progression": "R-wave progression",
}  # fmt: skip
_EXCLUDABLE = (
    "first-degree AV block", "right bundle branch block", "left bundle branch block", "atrial fibrillation", "long QT",
    "left axis deviation", "right axis deviation", "ST elevation", "ST depression",
    "tachycardia", "bradycardia",
    "left ventricular hypertrophy", "pre-excitation", "ventricular premature beats",
)  # fmt: skip


def yes_no(guide: Guide, voice: Voice) -> Sample | None:
    """A question that is answered with yes or no and the measured reason; yes as often as no where both can be."""
    asked = _asked(voice)
    sure = [
        (f"{each.name}", True, reasoned(each, voice))
        for each in concluded(guide, voice)
        if each.status == CONFIRMED and each.evidence
    ]
    ruled_out = [
        (each.name, False, voice.say("against", X=each.name, E=in_words(each.evidence[:1])))
        for each in excluded(guide, voice, _EXCLUDABLE)
    ]
    options = {True: [*_of(asked, True), *sure], False: [*_of(asked, False), *ruled_out]}
    kinds = [value for value, some in options.items() if some]
    if not kinds:
        return None
    is_so = voice.rng.choice(kinds)
    name, _, reason = voice.rng.choice(options[is_so])
    if name in asked:
        question, reason = voice.say("yes no", name), STATEMENTS[_TOPIC[name]](voice)
    else:
        question = voice.say("yes no", "diagnosis", X=name)
    word = voice.say("answer yes" if is_so else "answer no")
    return _sample("yes or no", voice.about(question), f"{word} {reason}".strip(), voice)


_TOPIC = {
    "regular": "regular", "p_present": "p", "pr_long": "pr", "qrs_wide": "qrs", "qt_long": "qt", "axis_left": "axis",
    "axis_right": "axis", "st_up": "st", "st_down": "st", "t_inverted": "t", "q_there": "q", "voltage_high": "voltage",
    "ectopy_ventricular": "ectopy", "rate_slow": "rate", "rate_fast": "rate",
}  # fmt: skip


def _asked(voice: Voice) -> dict[str, bool]:
    """The yes-no questions that have a clear answer."""
    m = voice.facts.measured
    found: dict[str, bool | None] = {"regular": m.rhythm_regular, "p_present": m.p_present}
    for question, topic, yes in (
        ("pr_long", "pr", "long"),
        ("qrs_wide", "qrs", "wide"),
        ("qt_long", "qt", "long"),
        ("axis_left", "axis", "left"),
        ("axis_right", "axis", "right"),
        ("rate_slow", "rate", "slow"),
        ("rate_fast", "rate", "fast"),
    ):
        word = category(topic, voice)
        found[question] = word == yes if word else None
    for question, name in (
        ("st_up", "ST elevation"),
        ("st_down", "ST depression"),
        ("t_inverted", "T inversion"),
        ("q_there", "pathological Q waves"),
        ("voltage_high", "left ventricular hypertrophy by voltage"),
    ):
        found[question] = m.findings[name].present if name in m.findings else None
    early = m.ventricular_premature
    found["ectopy_ventricular"] = None if early is None or (not early and not m.rhythm_regular) else early > 0
    return {name: value for name, value in found.items() if value is not None and STATEMENTS[_TOPIC[name]](voice)}


def _of(asked: dict[str, bool], value: bool) -> list[tuple[str, bool, str]]:
    return [(name, value, "") for name, found in asked.items() if found is value]


def choice(guide: Guide, voice: Voice) -> Sample | None:
    """Four answers, one of them right; of numbers the wrong ones lie beyond any tolerance."""
    measured = voice.facts.measured
    numbers = [name for name in _CHOICES if value_of(name, measured) is not None]
    rhythms = [each.name for each in concluded(guide, voice) if each.status == CONFIRMED and each.name in _RHYTHMS]
    makers = [*numbers, *(["rhythm"] * 2 if len(rhythms) == 1 else [])]
    if not makers:
        return None
    name = voice.rng.choice(makers)
    if name == "rhythm":
        right, wrong = rhythms[0], [each for each in _RHYTHMS if not _alike(each, rhythms[0])]
        told = f"the rhythm is {right}"
    else:
        called, low, steps = _CHOICES[name]
        unit = _UNITS[name.rpartition("_")[2]]
        value = round(value_of(name, measured))
        others = [_around(value + step) if name == "axis_deg" else value + step for step in steps]
        right, *wrong = (singular(f"{each} {unit}") for each in (value, *others) if each == value or each >= low)
        told = f"the {called} is {right}"
    wrong = voice.rng.sample(wrong, min(3, len(wrong)))
    if len(wrong) < 2:
        return None
    options = [right, *wrong]
    voice.rng.shuffle(options)
    letter = _LETTERS[options.index(right)]
    shown = "\n".join(f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False))
    ending = voice.rng.choice(("", "", "\nAnswer with the letter and the value.", "\nChoose one."))
    answer = voice.rng.choice(
        (f"{letter}. {told[:1].upper()}{told[1:]}.", f"{letter}: {told}.", f"The answer is {letter}: {told}.")
    )
    return _sample("choice", voice.about(f"{voice.say('choice', name)}\n{shown}{ending}"), answer, voice)


def _alike(one: str, other: str) -> bool:
    """Whether two rhythms could both be called right."""
    return one == other or {one, other} <= {"sinus rhythm", "sinus bradycardia", "sinus tachycardia"}


def _around(degrees: int) -> int:
    return (degrees + 180) % 360 - 180


def leads(guide: Guide, voice: Voice) -> Sample | None:
    """Two leads beside each other: the taller R wave, or the direction of T."""
    rows = voice.facts.measured.leads
    tall = {name: max(lead.r_mv or 0.0, lead.r2_mv or 0.0) for name, lead in rows.items() if lead.qrs_mv}
    pairs = [(a, b) for a in tall for b in tall if tall[b] >= 0.05 and tall[a] - tall[b] > 0.35]
    waves = {name: lead.t_mv for name, lead in rows.items() if lead.t_mv is not None}
    turned = [(a, b) for a in waves for b in waves if waves[a] >= 0.14 and waves[b] <= -0.14]
    if turned and (not pairs or voice.rng.random() < 0.4):
        up, down = voice.rng.choice(turned)
        first, second = voice.rng.sample((up, down), 2)
        question = voice.say("leads", "t question", A=first, B=second)
        answer = voice.say("leads", "t answer", U=up, D=down, V=f"{waves[up]:.2f} mV")
    elif pairs:
        high, low = voice.rng.choice(pairs)
        first, second = voice.rng.sample((high, low), 2)
        question = voice.say("leads", "r question", A=first, B=second)
        answer = voice.say("leads", "r answer", U=high, D=low, V=f"{tall[high]:.2f} mV", W=f"{tall[low]:.2f} mV")
    else:
        return None
    return _sample("leads", voice.about(question), answer, voice)


def cannot(guide: Guide, voice: Voice) -> Sample | None:
    """A question that this recording, or any, does not answer, and why."""
    measured = voice.facts.measured
    unmeasured = [
        (called, measured.reasons[name])
        for name, called in _CALLED.items()
        if value_of(name, measured) is None and measured.reasons.get(name)
    ]
    if not voice.facts.volts:
        unmeasured += [
            (called, NO_VOLTS) for called in ("ST level in V2", "height of the R wave in V5", "T wave amplitude in V3")
        ]
    absent = [name for name in STANDARD if name not in voice.facts.leads]
    kinds = [*(["measured"] * 2 if unmeasured else []), *(["lead"] * 2 if absent else []), "beyond"]
    kind = voice.rng.choice(kinds)
    if kind == "measured":
        called, reason = voice.rng.choice(unmeasured)
        question = voice.rng.choice(
            (
                f"What is the {called}?",
                f"Give the {called}.",
                f"How large is the {called}?",
                f"Can you tell me the {called}?",
            )
        )
        answer = voice.say("cannot", "measured", N=called, R=reason)
    elif kind == "lead":
        lead = voice.rng.choice(absent)
        question = voice.rng.choice(
            (
                f"What does lead {lead} show?",
                f"Describe the QRS complex in {lead}.",
                f"Is there ST elevation in {lead}?",
            )
        )
        answer = voice.say("cannot", "lead", L=lead)
    else:
        entry = voice.rng.choice(phrases().of("beyond"))
        question, answer = voice.rng.choice(entry["ask"]), voice.say("cannot", "beyond", W=entry["why"])
    return Sample("cannot", (Exchange(voice.about(question), answer),), (voice.facts,), voice.told)


def _sample(task: str, question: str, answer: str, voice: Voice) -> Sample:
    return Sample(task, (Exchange(question, answer, decided=True),), (voice.facts,), voice.told)
