"""What gem-tiny says: notes and short answers, written from what a caption says (`llava_ecg.train.tiny.captions`).

A word such as "prolonged" stands only where the number is beyond its threshold by a margin, "borderline" around it, and
a label is called possible where the tower is not sure. Pure functions of the facts and a random generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llava_ecg.grounding.correction import ORDER, sentence, value_words

Facts = Mapping[str, Any]
"""What `llava_ecg.train.tiny.captions.read_caption` gives."""
PRESENT, SURE = 5, 7
"""A label's digit from which it is called possible, and from which it is stated."""
WIDE_MS = 115
IDENTITY = (
    "I am gem-tiny, a small research model of the llava-ecg project that reads ECGs. I am no doctor and no medical "
    "device, and my answers have to be checked."
)
NO_TREATMENT = "I can't advise on treatment. I only describe what this ECG shows, for research; please ask a clinician."
NOT_IN_ECG = "That can't be told from this ECG."


DENIABLE = ("left bundle branch block", "right bundle branch block", "incomplete right bundle branch block", "HYP")
"""The labels of which a measurement can say that they are not there."""


def around(value: float, low: float, high: float, margin: float, words: Sequence[str]) -> str:
    """One of three words, below, between and above the thresholds; "borderline" within the margin of either."""
    if min(abs(value - low), abs(value - high)) <= margin:
        return "borderline"
    return words[0] if value < low else words[1] if value < high else words[2]


def rate_word(facts: Facts) -> str:
    """Slow, normal or fast."""
    return around(facts["heart_rate_bpm"], 60, 100, 1, ("slow", "normal", "fast"))


def has(facts: Facts, label: str, least: int = PRESENT) -> bool:
    """Whether a label is at least so likely, and agrees with the numbers that it rests on."""
    if (facts[label] or 0) < least:
        return False
    if label in ("left bundle branch block", "right bundle branch block"):
        return (facts["qrs_ms"] or 0) >= WIDE_MS
    if label == "incomplete right bundle branch block":
        return (facts["qrs_ms"] or 200) < 120
    return label != "atrial fibrillation" or not (facts["p_present"] or facts["rhythm_regular"])


def rhythm_name(facts: Facts) -> str:
    """What the rhythm is consistent with."""
    if facts["p_present"]:
        if not facts["rhythm_regular"]:
            return "sinus rhythm with premature beats" if has(facts, "premature beats") else "sinus arrhythmia"
        speed = rate_word(facts)
        return {"slow": "sinus bradycardia", "fast": "sinus tachycardia"}.get(speed, "sinus rhythm")
    return "a regular rhythm without P waves" if facts["rhythm_regular"] else "atrial fibrillation"


def rhythm_sentence(facts: Facts) -> str:
    """Regularity, P waves, rate and name."""
    steady = "regular" if facts["rhythm_regular"] else "irregular"
    waves = "with a P wave before each QRS complex" if facts["p_present"] else "without P waves"
    return f"The rhythm is {steady} {waves}, consistent with {rhythm_name(facts)}."


def rate_sentence(facts: Facts) -> str:
    """The rate and its word."""
    word = rate_word(facts)
    tail = {
        "slow": "which is slow (bradycardia)",
        "normal": "which is normal",
        "fast": "which is fast (tachycardia)",
        "borderline": "which is borderline",
    }[word]
    return f"The heart rate is {facts['heart_rate_bpm']:.0f} bpm, {tail}."


def pr_text(facts: Facts) -> str:
    """The PR interval, or that there is none."""
    if facts["pr_ms"] is None:
        return "The PR interval can't be given, since there are no P waves."
    word = around(facts["pr_ms"], 120, 200, 6, ("short", "normal", "prolonged"))
    return f"The PR interval is {facts['pr_ms']:.0f} ms ({word})."


def qrs_text(facts: Facts) -> str:
    """The QRS duration."""
    if facts["qrs_ms"] is None:
        return "The QRS duration could not be measured."
    word = around(facts["qrs_ms"], -100, 120, 5, ("", "narrow", "wide"))
    return f"The QRS duration is {facts['qrs_ms']:.0f} ms ({word})."


def qtc_text(facts: Facts) -> str:
    """QT and QTc."""
    if facts["qtc_bazett_ms"] is None or facts["qt_ms"] is None:
        return "The QT interval could not be measured."
    word = around(facts["qtc_bazett_ms"], 340, 460, 10, ("short", "normal", "prolonged"))
    return (
        f"The QT interval is {facts['qt_ms']:.0f} ms and the QTc (Bazett) is {facts['qtc_bazett_ms']:.0f} ms ({word})."
    )


def axis_word(axis: float) -> str:
    """Normal, or which deviation."""
    if min(abs(axis + 30), abs(axis - 90)) < 5:
        return "borderline"
    if -30 <= axis <= 90:
        return "normal"
    if -90 <= axis < -30:
        return "left axis deviation"
    return "right axis deviation" if axis > 90 else "extreme axis deviation"


def axis_text(facts: Facts) -> str:
    """The frontal QRS axis."""
    if facts["axis_deg"] is None:
        return "The QRS axis could not be measured."
    return f"The QRS axis is {facts['axis_deg']:.0f} degrees ({axis_word(facts['axis_deg'])})."


NAMES = {
    "left bundle branch block": "left bundle branch block",
    "right bundle branch block": "right bundle branch block",
    "incomplete right bundle branch block": "incomplete right bundle branch block",
    "left anterior fascicular block": "left anterior fascicular block",
    "HYP": "left ventricular hypertrophy",
    "MI": "myocardial infarction of unknown age",
    "STTC": "ST-T changes",
}
"""Label -> how a note calls it, in the order of a note."""


def findings(facts: Facts) -> list[str]:
    """The labels of a note, as noun phrases; a bundle branch block leaves no room for what it imitates."""
    out = []
    if facts["pr_ms"] is not None and facts["pr_ms"] > 206:
        out.append("first-degree AV block")
    block = any(has(facts, name) for name in ("left bundle branch block", "right bundle branch block"))
    for label, name in NAMES.items():
        if not has(facts, label) or (block and label in ("incomplete right bundle branch block",)):
            continue
        if label == "MI":
            places = [where for where in ("anterior", "inferior") if has(facts, f"{where} infarction")]
            name = f"{' and '.join(places)} {name}" if places else name
        out.append(name if (facts[label] or 0) >= SURE else f"possible {name}")
    if not block and facts["qrs_ms"] is not None and facts["qrs_ms"] > 125:
        out.append("a conduction delay with a wide QRS complex")
    if facts["qtc_bazett_ms"] is not None and facts["qtc_bazett_ms"] > 470:
        out.append("a prolonged QTc")
    return out


def impression(facts: Facts) -> str:
    """The rhythm and what was found."""
    parts = [rhythm_name(facts), *findings(facts)]
    if len(parts) == 1:
        normal = has(facts, "NORM") and parts[0] == "sinus rhythm"
        return f"Impression: {parts[0]}, {'a normal ECG' if normal else 'no other abnormality seen'}."
    return f"Impression: {', '.join(parts)}."


def note(facts: Facts) -> str:
    """An interpretation: rhythm, rate, intervals, axis, impression."""
    said = (rhythm_sentence, rate_sentence, pr_text, qrs_text, qtc_text, axis_text, impression)
    return " ".join(part(facts) for part in said)


def superclasses(facts: Facts) -> str:
    """PTB-XL's superclasses, those that are there, else the likeliest."""
    names = ("NORM", "MI", "STTC", "CD", "HYP")
    there = [name for name in names if (facts[name] or 0) >= PRESENT]
    if len(there) > 1 and "NORM" in there and (facts["NORM"] or 0) <= max(facts[name] or 0 for name in there[1:]):
        there.remove("NORM")
    return ", ".join(there or [max(names, key=lambda name: facts[name] or 0)])


def readings(facts: Facts) -> str:
    """All numbers in one sentence."""
    pr = "not measurable without P waves" if facts["pr_ms"] is None else f"{facts['pr_ms']:.0f} ms"
    return (
        f"Heart rate {facts['heart_rate_bpm']:.0f} bpm, PR interval {pr}, QRS duration {facts['qrs_ms']:.0f} ms, "
        f"QT interval {facts['qt_ms']:.0f} ms, QTc (Bazett) {facts['qtc_bazett_ms']:.0f} ms."
    )


def _block(facts: Facts) -> str:
    for label in ("left bundle branch block", "right bundle branch block", "incomplete right bundle branch block"):
        if has(facts, label):
            sure = "Yes" if (facts[label] or 0) >= SURE else "Possibly"
            return f"{sure}, this looks like {label}. {qrs_text(facts)}"
    return f"No bundle branch block is seen. {qrs_text(facts)}"


def _fibrillation(facts: Facts) -> str:
    return f"{'Yes' if rhythm_name(facts) == 'atrial fibrillation' else 'No'}. {rhythm_sentence(facts)}"


def _regular(facts: Facts) -> str:
    return f"{'Yes' if facts['rhythm_regular'] else 'No'}. {rhythm_sentence(facts)}"


def _waves(facts: Facts) -> str:
    return "Yes, there is a P wave before each QRS complex." if facts["p_present"] else "No, there are no P waves."


def _label(label: str) -> Callable[[Facts], str]:
    def answer(facts: Facts) -> str:
        if not has(facts, label):
            return {"MI": "No signs of an infarction are seen.", "STTC": "No ST-T changes are seen."}.get(
                label, f"No {NAMES[label]} is seen."
            )
        sure = "Yes, this ECG suggests" if (facts[label] or 0) >= SURE else "Possibly, there are hints of"
        return f"{sure} {NAMES[label]}."

    return answer


def _normal(facts: Facts) -> str:
    return f"{'Yes' if 'a normal ECG' in impression(facts) else 'No'}. {impression(facts)}"


def _always(text: str) -> Callable[[Facts], str]:
    return lambda facts: text


INTERPRET = (
    "Interpret this ECG.",
    "Interpret this ECG. Name the findings that your interpretation rests on, with leads and measured values.",
    "Please describe this ECG.",
    "What does this ECG show?",
    "Please interpret this ECG and give your impression.",
    "Write a report of this ECG.",
)
SUPERCLASSES = (
    "Which diagnostic superclasses does this ECG belong to? NORM: normal ECG, MI: myocardial infarction, STTC: ST/T "
    "change, CD: conduction disturbance, HYP: hypertrophy. Answer with the abbreviations of all that apply, separated "
    "by commas.",
)
READINGS = (
    "What are the heart rate, the PR interval, the QRS duration, the QT interval and QTc (Bazett) of this ECG? Give "
    "each as a number, in bpm or ms.",
    "Give all measured values.",
)
SHORT: tuple[tuple[tuple[str, ...], Callable[[Facts], str]], ...] = (
    (("What is the heart rate?", "How fast is the heart beating?", "Heart rate?", "What's the rate?"), rate_sentence),
    (
        (
            "Is there bradycardia or tachycardia?",
            "Is the heart rate normal?",
            "Is the rate too fast?",
            "Is it too slow?",
        ),
        rate_sentence,
    ),
    (
        ("What is the rhythm?", "Which rhythm does this ECG show?", "Which rhythm?", "Describe the rhythm."),
        rhythm_sentence,
    ),
    (("Is the rhythm regular?", "Does the heart beat regularly?", "Is it regular?"), _regular),
    (
        (
            "Is this atrial fibrillation?",
            "Does this ECG show atrial fibrillation?",
            "Is there AF?",
            "Any sign of AFib?",
        ),
        _fibrillation,
    ),
    (("Are there P waves?", "Is there a P wave before each QRS complex?", "Can you see P waves?"), _waves),
    (("What is the PR interval?", "Is the PR interval prolonged?", "How long is PR?", "Is there AV block?"), pr_text),
    (("What is the QRS duration?", "Is the QRS wide?", "How long is QRS?", "Is the QRS complex narrow?"), qrs_text),
    (("What is the QTc?", "Is the QT interval prolonged?", "How long is QT?", "Is the QTc normal?"), qtc_text),
    (("What is the QRS axis?", "Is there an axis deviation?", "What is the axis?", "Which axis?"), axis_text),
    (("Is there a bundle branch block?", "Any bundle branch block?", "Is there LBBB or RBBB?"), _block),
    (
        ("Is there a myocardial infarction?", "Are there signs of infarction?", "Does this ECG show an infarct?"),
        _label("MI"),
    ),
    (("Is there hypertrophy?", "Are there signs of left ventricular hypertrophy?", "Any LVH?"), _label("HYP")),
    (("Are there ST-T changes?", "Is repolarization abnormal?", "Any ST or T wave changes?"), _label("STTC")),
    (("Is this ECG normal?", "Is this a normal ECG?", "Is everything normal?", "Is it abnormal?"), _normal),
    (("Give the impression only.", "What is your impression?", "Summarize this ECG in one sentence."), impression),
)
APART: tuple[tuple[tuple[str, ...], Callable[[Facts], str]], ...] = (
    (("Who are you?", "What are you?", "What is your name?", "Are you a doctor?", "Who made you?"), _always(IDENTITY)),
    (
        (
            "Should this patient be treated?",
            "What treatment do you recommend?",
            "Which drug should I give?",
            "Should I start anticoagulation?",
            "Does this patient need a pacemaker?",
            "What should I do now?",
            "Should the patient go to the hospital?",
            "Is it dangerous?",
        ),
        _always(NO_TREATMENT),
    ),
    (
        (
            "What is the patient's name?",
            "How old is the patient?",
            "What is the potassium level?",
            "What is the ejection fraction?",
            "What is the blood pressure?",
            "Is the patient a man or a woman?",
            "Does the patient smoke?",
            "What was the ECG like last year?",
        ),
        _always(NOT_IN_ECG),
    ),
)


def corrected(facts: Facts, rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """Facts in which one to four values are others, or a finding is not there, and the sentence that says so
    (`llava_ecg.grounding.correction`): what an answer has to keep to that is asked for again."""
    names = list(ORDER)
    chosen = [names[place] for place in sorted(rng.choice(len(names), rng.integers(1, 5), replace=False))]
    other: dict[str, Any] = dict(facts)
    ranges = {
        "heart_rate_bpm": (38, 170),
        "pr_ms": (110, 290),
        "qrs_ms": (66, 170),
        "qt_ms": (260, 520),
        "qtc_bazett_ms": (350, 540),
        "axis_deg": (-88, 150),
    }
    for name in chosen:
        other[name] = not facts[name] if name not in ranges else int(rng.integers(*ranges[name]))
    if "p_present" in chosen and not other["p_present"]:
        chosen = [name for name in chosen if name != "pr_ms"]
        other["pr_ms"] = None
    elif "p_present" in chosen or other["pr_ms"] is not None:
        other["p_present"] = True
        if other["pr_ms"] is None:
            other["pr_ms"] = int(rng.integers(*ranges["pr_ms"]))
            chosen = [*chosen, "pr_ms"]
    order = [name for name in names if name in chosen]
    parts = [value_words(name, other[name]) for name in order]
    if (there := [label for label in DENIABLE if has(other, label)]) and rng.random() < 0.7:
        label = str(rng.choice(there))
        other[label] = 0
        parts.append(f"no {NAMES[label]}")
    return other, sentence(parts)


def conversation(facts: Facts, rng: np.random.Generator, turns: int = 5) -> list[tuple[str, str]]:
    """Questions and answers about one ECG, the first mostly an interpretation; none is asked twice."""
    out: list[tuple[str, str]] = []
    draw = rng.random()
    if draw < 0.55:
        out.append((str(rng.choice(INTERPRET)), note(facts)))
    elif draw < 0.75:
        other, text = corrected(facts, rng)
        out.append((f"{rng.choice(INTERPRET)} {text}", note(other)))
    elif draw < 0.87:
        out.append((SUPERCLASSES[0], superclasses(facts)))
    else:
        out.append((str(rng.choice(READINGS)), readings(facts)))
    pool = [*SHORT, *(each for each in APART if rng.random() < 0.5)]
    if draw < 0.55 and rng.random() < 0.4:
        pool.append((SUPERCLASSES, superclasses))
    if draw < 0.55 or draw >= 0.75:  # after corrected values the caption is no guide any more
        for place in rng.choice(len(pool), turns - 1, replace=False):
            asked, answer = pool[place]
            out.append((str(rng.choice(asked)), answer(facts)))
    return out
