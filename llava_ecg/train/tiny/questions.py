"""What gem-tiny is asked while it learns, and what it answers; see `llava_ecg.train.tiny.notes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llava_ecg.grounding.correction import ORDER, sentence, value_words
from llava_ecg.train.tiny.notes import (
    NAMES,
    Facts,
    axis_text,
    block_answer,
    conduction_answer,
    fibrillation_answer,
    has,
    impression,
    impression_answer,
    is_likely,
    judged,
    label_answer,
    likelihoods,
    normal_answer,
    note,
    pr_text,
    qrs_text,
    qtc_text,
    rate_sentence,
    readings,
    regular_answer,
    rhythm_answer,
    superclasses,
    wave_answer,
)
from llava_ecg.train.tiny.sources import SUPERCLASSES as NAMED_AT_ONCE

IDENTITY = (
    "I am gem-tiny, a small research model of the llava-ecg project that reads ECGs. I am no doctor and no medical "
    "device, and my answers have to be checked."
)
NO_TREATMENT = "I can't advise on treatment. I only describe what this ECG shows, for research; please ask a clinician."
NOT_IN_ECG = "That can't be told from this ECG."
DENIABLE = (
    "left bundle branch block",
    "right bundle branch block",
    "incomplete right bundle branch block",
    "left anterior fascicular block",
    "HYP",
)
"""The labels of which a measurement can say that they are not there."""


ASKED_LABELS = {
    "normal ecg": "NORM",
    "myocardial infarction": "MI",
    "st-t changes": "STTC",
    "conduction disturbance": "CD",
    "hypertrophy": "HYP",
    "left ventricular hypertrophy": "left ventricular hypertrophy",
    "atrial fibrillation": "atrial fibrillation",
    "left bundle branch block": "left bundle branch block",
    "right bundle branch block": "right bundle branch block",
    "incomplete right bundle branch block": "incomplete right bundle branch block",
    "left anterior fascicular block": "left anterior fascicular block",
    "anterior infarction": "anterior infarction",
    "inferior infarction": "inferior infarction",
    "premature beats": "premature beats",
}
"""How a question names a label."""
VERIFY = ("Does this ECG show {}?", "Is there {} in this ECG?", "Does this ECG show symptoms of {}?")
CHOOSE = ("Which symptom does this ECG show, {} or {}?", "Does this ECG show {} or {}?")
HOW_LIKELY = ("How likely: {}?", "How likely, from 0 to 1, is each of these: {}?", "Likelihood of {}?")


def verified(facts: Facts, name: str, rng: np.random.Generator) -> tuple[str, str]:
    """Whether a label is there, in ECG-QA's form. Its likelihood stands before the answer."""
    label = ASKED_LABELS[name]
    told = f"0.{facts[label] or 0}. Answer: {'yes' if is_likely(facts, label) else 'no'}"
    return f"{str(rng.choice(VERIFY)).format(name)} Options: yes, no", told


def chosen_of(facts: Facts, names: Sequence[str], rng: np.random.Generator) -> tuple[str, str]:
    """Which of two labels is there, in ECG-QA's form, each with its likelihood."""
    told = ", ".join(judged(facts, ASKED_LABELS[name], name) for name in names)
    asked = str(rng.choice(CHOOSE)).format(*names)
    none = "" if any(is_likely(facts, ASKED_LABELS[name]) for name in names) else ": none"
    return f"{asked} Options: {', '.join(names)}, none", told + none


def with_options(facts: Facts, rng: np.random.Generator) -> tuple[str, str]:
    """A question with options, to verify or to choose, and its answer; half of them ask for what is there."""
    names = list(ASKED_LABELS)
    likely = [name for name in names if is_likely(facts, ASKED_LABELS[name])]
    first = str(rng.choice(likely)) if likely and rng.random() < 0.5 else str(rng.choice(names))
    if rng.random() < 0.6:
        return verified(facts, first, rng)
    second = str(rng.choice([name for name in names if name != first]))
    return chosen_of(facts, [first, second] if rng.random() < 0.5 else [second, first], rng)


def about_labels(facts: Facts, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Questions about every label of a caption, each asked about once and in any order, so that an answer can be had
    from the caption alone: in conversations that begin with an interpretation the labels are copied from it, and the
    language model did not learn to look them up."""
    rest = [str(name) for name in rng.permutation(list(ASKED_LABELS))]
    out: list[tuple[str, str]] = []
    if rng.random() < 0.5:
        first = (SUPERCLASSES[0], superclasses(facts)) if rng.random() < 0.6 else (LIKELIHOODS[0], likelihoods(facts))
        out, rest = [first], [name for name in rest if ASKED_LABELS[name] not in NAMED_AT_ONCE]
    while rest:
        size = int(rng.choice((1, 2, 3, 4), p=(0.3, 0.3, 0.2, 0.2)))
        names, rest = rest[:size], rest[size:]
        if len(names) < 3 and rng.random() < 0.7:
            out.append(verified(facts, names[0], rng) if len(names) == 1 else chosen_of(facts, names, rng))
        else:
            told = ", ".join(f"{name} 0.{facts[ASKED_LABELS[name]] or 0}" for name in names)
            out.append((str(rng.choice(HOW_LIKELY)).format(", ".join(names)), told))
    return out


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
LIKELIHOODS = (
    "How likely is each diagnostic superclass (NORM, MI, STTC, CD, HYP) of this ECG? Answer with a number from 0 to 1 "
    "for each.",
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
        (
            "What is the rhythm?",
            "Which rhythm does this ECG show?",
            "Which rhythm?",
            "Describe the rhythm.",
            "What is the rhythm of this ECG: sinus rhythm, sinus bradycardia, sinus tachycardia, sinus arrhythmia or "
            "atrial fibrillation?",
        ),
        rhythm_answer,
    ),
    (("Is the rhythm regular?", "Does the heart beat regularly?", "Is it regular?"), regular_answer),
    (
        (
            "Is this atrial fibrillation?",
            "Does this ECG show atrial fibrillation?",
            "Is there AF?",
            "Any sign of AFib?",
        ),
        fibrillation_answer,
    ),
    (("Are there P waves?", "Is there a P wave before each QRS complex?", "Can you see P waves?"), wave_answer),
    (("What is the PR interval?", "Is the PR interval prolonged?", "How long is PR?", "Is there AV block?"), pr_text),
    (("What is the QRS duration?", "Is the QRS wide?", "How long is QRS?", "Is the QRS complex narrow?"), qrs_text),
    (("What is the QTc?", "Is the QT interval prolonged?", "How long is QT?", "Is the QTc normal?"), qtc_text),
    (("What is the QRS axis?", "Is there an axis deviation?", "What is the axis?", "Which axis?"), axis_text),
    (("Is there a bundle branch block?", "Any bundle branch block?", "Is there LBBB or RBBB?"), block_answer),
    (
        ("Is there a myocardial infarction?", "Are there signs of infarction?", "Does this ECG show an infarct?"),
        label_answer("MI"),
    ),
    (("Is there hypertrophy?", "Are there signs of left ventricular hypertrophy?", "Any LVH?"), label_answer("HYP")),
    (
        ("Is there a conduction disturbance?", "Is conduction normal?", "Are there conduction problems?"),
        conduction_answer,
    ),
    (("Are there ST-T changes?", "Is repolarization abnormal?", "Any ST or T wave changes?"), label_answer("STTC")),
    (("Is this ECG normal?", "Is this a normal ECG?", "Is everything normal?", "Is it abnormal?"), normal_answer),
    (("Give the impression only.", "What is your impression?", "Summarize this ECG."), impression_answer),
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
        "axis_deg": (-179, 181),
    }
    if not facts["p_present"] and rng.random() < 0.5:  # few have none, and most answers that stay wrong are theirs
        chosen = [name for name in names if name in {*chosen, "p_present", "rhythm_regular"}]
    for name in chosen:
        if name in ranges:
            other[name] = int(rng.integers(*ranges[name]))
        else:  # what was right is often told beside what was wrong
            other[name] = facts[name] != bool(rng.random() < (0.8 if name == "p_present" else 0.5))
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
    if "a normal ECG" in impression(other) and rng.random() < 0.5:
        other["NORM"] = 0
        parts.append("no normal ECG")
    return other, sentence(parts)


def conversation(facts: Facts, rng: np.random.Generator, short: int = 3) -> list[tuple[str, str]]:
    """Questions and answers about one ECG, the first mostly an interpretation; none is asked twice.

    The superclasses or how likely each is are asked about in every conversation that is not about corrected values.

    Args:
        facts: what the towers tell.
        rng: draws the questions.
        short: how many short questions follow.
    """
    labels = (SUPERCLASSES[0], superclasses(facts)) if rng.random() < 0.6 else (LIKELIHOODS[0], likelihoods(facts))
    draw = rng.random()
    if draw < 0.3:  # after corrected values the caption is no guide any more, so nothing follows
        other, text = corrected(facts, rng)
        return [(f"{rng.choice(INTERPRET)} {text}", note(other))]
    if draw < 0.7:
        out = [(str(rng.choice(INTERPRET)), note(facts))]
    elif draw < 0.78:
        out = [(str(rng.choice(READINGS)), readings(facts))]
    else:
        out = [labels]
    pool = [*SHORT, *(each for each in APART if rng.random() < 0.5)]
    behind = [(str(rng.choice(pool[at][0])), pool[at][1](facts)) for at in rng.choice(len(pool), short, replace=False)]
    behind += [*([labels] if labels not in out else []), with_options(facts, rng)]
    return out + [behind[at] for at in rng.permutation(len(behind))]
