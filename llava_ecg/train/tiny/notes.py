"""What gem-tiny says: notes and short answers, written from what a caption says (`llava_ecg.train.tiny.captions`).

A word such as "prolonged" stands only where the number is beyond its threshold by a margin, "borderline" around it, and
a label is called possible where the tower is not sure. Pure functions of the facts and a random generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llava_ecg.train.tiny.sources import SUPERCLASSES

Facts = Mapping[str, Any]
"""What `llava_ecg.train.tiny.captions.read_caption` gives."""
PRESENT, SURE = 5, 7
"""A label's digit from which it is called possible, and from which it is stated."""
WIDE_MS, NARROW_MS = 115, 95
BLOCKS = ("left bundle branch block", "right bundle branch block")
"""The complete ones, which a narrow QRS complex rules out."""
LEFT_DEG = -40
"""A left anterior fascicular block needs an axis so far to the left."""


def around(value: float, low: float, high: float, margin: float, words: Sequence[str]) -> str:
    """One of three words, below, between and above the thresholds; "borderline" within the margin of either."""
    if min(abs(value - low), abs(value - high)) <= margin:
        return "borderline"
    return words[0] if value < low else words[1] if value < high else words[2]


def rate_word(facts: Facts) -> str:
    """Slow, normal or fast."""
    return around(facts["heart_rate_bpm"], 60, 100, 1, ("slow", "normal", "fast"))


def is_likely(facts: Facts, label: str) -> bool:
    """Whether a label's digit says that it is there."""
    return (facts[label] or 0) >= PRESENT


def has(facts: Facts, label: str, least: int = PRESENT) -> bool:
    """Whether a label is at least so likely, and agrees with the numbers that it rests on."""
    if (facts[label] or 0) < least:
        return False
    if label in BLOCKS:
        return (facts["qrs_ms"] or 0) >= WIDE_MS
    if label == "incomplete right bundle branch block":
        return NARROW_MS <= (facts["qrs_ms"] or 0) < 120
    if label == "left anterior fascicular block":
        return facts["axis_deg"] is not None and -90 <= facts["axis_deg"] <= LEFT_DEG
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
    """The QRS duration, and of a wide one how likely each bundle branch block is and which it therefore is, for the
    impression to repeat. With the name in the impression alone the language model called most wide complexes a left
    bundle branch block, with likelihoods alone in front half of those that it had found to be right ones."""
    if facts["qrs_ms"] is None:
        return "The QRS duration could not be measured."
    word = around(facts["qrs_ms"], -100, 120, 5, ("", "narrow", "wide"))
    told = f"The QRS duration is {facts['qrs_ms']:.0f} ms ({word})."
    if facts["qrs_ms"] < WIDE_MS:
        return told
    sides = ", ".join(judged(facts, f"{side} bundle branch block", side) for side in ("left", "right"))
    said = f"{told} Likelihood of a bundle branch block: {sides}"
    named = [stated(facts, label, NAMES[label]) for label in BLOCKS if has(facts, label)]
    return f"{said}, so {' and '.join(named)}." if named else f"{said}."


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
UNMEASURED = ("HYP",)
"""Labels that rest on voltages, which most of the recordings have lost: a note never is sure of them."""


def stated(facts: Facts, label: str, name: str) -> str:
    """The name of a label of `NAMES` that is there, possible where the tower is not sure."""
    return name if (facts[label] or 0) >= SURE and label not in UNMEASURED else f"possible {name}"


def findings(facts: Facts) -> list[str]:
    """The labels of a note, as noun phrases; a bundle branch block leaves no room for what it imitates."""
    out = []
    if facts["pr_ms"] is not None and facts["pr_ms"] > 206:
        out.append("first-degree AV block")
    block = any(has(facts, label) for label in BLOCKS)
    for label, name in NAMES.items():
        if not has(facts, label) or (block and label in ("incomplete right bundle branch block",)):
            continue
        if label == "MI":
            places = [where for where in ("anterior", "inferior") if has(facts, f"{where} infarction")]
            name = f"{' and '.join(places)} {name}" if places else name
        out.append(stated(facts, label, name))
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
    """An interpretation, the evidence first: rate, rhythm, intervals, axis, impression. The rhythm's name follows from
    the rate and the P waves that were said before it, so that the language model never has to know it in advance."""
    said = (rate_sentence, rhythm_sentence, pr_text, qrs_text, qtc_text, axis_text, impression)
    return " ".join(part(facts) for part in said)


def judged(facts: Facts, label: str, name: str) -> str:
    """A label with its likelihood before it, and "no" between them where that is small: every word follows from the one
    before it. Likelihoods first and then the names of all that are likely was not learned in 280 steps."""
    return f"0.{facts[label] or 0} {'' if is_likely(facts, label) else 'no '}{name}"


def superclasses(facts: Facts) -> str:
    """PTB-XL's superclasses, those that are there and those that are not."""
    return ", ".join(judged(facts, name, name) for name in SUPERCLASSES)


def readings(facts: Facts) -> str:
    """All numbers in one sentence."""
    pr = "not measurable without P waves" if facts["pr_ms"] is None else f"{facts['pr_ms']:.0f} ms"
    return (
        f"Heart rate {facts['heart_rate_bpm']:.0f} bpm, PR interval {pr}, QRS duration {facts['qrs_ms']:.0f} ms, "
        f"QT interval {facts['qt_ms']:.0f} ms, QTc (Bazett) {facts['qtc_bazett_ms']:.0f} ms."
    )


def likelihoods(facts: Facts) -> str:
    """How likely each superclass is, to a tenth."""
    return ", ".join(f"{name} 0.{facts[name] or 0}" for name in SUPERCLASSES)


def block_answer(facts: Facts) -> str:
    """Whether there is a bundle branch block, after what that follows from."""
    for label in (*BLOCKS, "incomplete right bundle branch block"):
        if has(facts, label):
            sure = "Yes" if (facts[label] or 0) >= SURE else "Possibly"
            return f"{qrs_text(facts)} {sure}{'' if label in BLOCKS else f', this looks like {label}'}."
    return f"{qrs_text(facts)} No bundle branch block is seen."


def conduction_answer(facts: Facts) -> str:
    """Which conduction disturbances there are, after the QRS duration."""
    kinds = (*BLOCKS, "incomplete right bundle branch block", "left anterior fascicular block")
    seen = [name for name in kinds if has(facts, name)]
    if facts["pr_ms"] is not None and facts["pr_ms"] > 206:
        seen.append("first-degree AV block")
    if not seen and not has(facts, "CD"):
        return f"{qrs_text(facts)} No conduction disturbance is seen."
    return f"{qrs_text(facts)} There are signs of {', '.join(seen) or 'a conduction disturbance'}."


def rhythm_answer(facts: Facts) -> str:
    """The rhythm, after the rate that its name follows from."""
    return f"{rate_sentence(facts)} {rhythm_sentence(facts)}"


def impression_answer(facts: Facts) -> str:
    """The impression, after the rate that its first word follows from."""
    return f"{rate_sentence(facts)} {impression(facts)}"


def fibrillation_answer(facts: Facts) -> str:
    """Whether this is atrial fibrillation."""
    return f"{'Yes' if rhythm_name(facts) == 'atrial fibrillation' else 'No'}. {rhythm_answer(facts)}"


def regular_answer(facts: Facts) -> str:
    """Whether the rhythm is regular."""
    return f"{'Yes' if facts['rhythm_regular'] else 'No'}. {rhythm_answer(facts)}"


def wave_answer(facts: Facts) -> str:
    """Whether there are P waves."""
    return "Yes, there is a P wave before each QRS complex." if facts["p_present"] else "No, there are no P waves."


def label_answer(label: str) -> Callable[[Facts], str]:
    """What answers whether a label of `NAMES` is there."""

    def answer(facts: Facts) -> str:
        if not has(facts, label):
            return {"MI": "No signs of an infarction are seen.", "STTC": "No ST-T changes are seen."}.get(
                label, f"No {NAMES[label]} is seen."
            )
        sure = (facts[label] or 0) >= SURE and label not in UNMEASURED
        return f"{'Yes, this ECG suggests' if sure else 'Possibly, there are hints of'} {NAMES[label]}."

    return answer


def normal_answer(facts: Facts) -> str:
    """Whether the ECG is normal."""
    return f"{'Yes' if 'a normal ECG' in impression(facts) else 'No'}. {impression_answer(facts)}"
