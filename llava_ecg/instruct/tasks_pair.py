"""Two ECGs in one question: each described for itself, then what differs in words."""

from __future__ import annotations

import random

from llava_ecg.instruct.facts import Facts
from llava_ecg.instruct.guide import Guide, in_words
from llava_ecg.instruct.phrases import Voice
from llava_ecg.instruct.samples import Exchange, Sample
from llava_ecg.instruct.statements import concluded, conclusion, reasoned, state
from llava_ecg.instruct.vocabulary import vocabulary

_NAMES = (("First ECG: ", "Second ECG: "), ("The first: ", "The second: "), ("ECG 1: ", "ECG 2: "))
_DIFFERENCES = (
    # field -> least difference that is told (twice the audit's tolerance), what the larger one has
    ("heart_rate_bpm", 12.0, "the higher rate"),
    ("pr_ms", 42.0, "the longer PR interval"),
    ("qrs_ms", 42.0, "the broader QRS complex"),
    ("qtc_bazett_ms", 62.0, "the longer QTc"),
)


def pair(guide: Guide, one: Facts, other: Facts, rng: random.Random) -> Sample | None:
    """A comparison of two recordings, in the order in which they are shown."""
    voices = Voice(one, rng), Voice(other, rng)
    pool = ["pr", "qrs", "qt", "axis", "st", "t", "q"]
    rng.shuffle(pool)
    topics = ["rate", "regular", "p", *pool[: rng.randint(1, 3)]]
    parts = []
    for which, voice in enumerate(voices):
        told = state(topics, voice)
        if len(told) < 2:
            return None
        judged = concluded(guide, voice)
        shown = [reasoned(each, voice) for each in judged if vocabulary().rows[each.name].kind != "rhythm"]
        told += [text for text in shown if text]
        parts.append((which, " ".join([*told, conclusion(judged, voice)] if judged else told)))
    names = rng.choice(_NAMES)
    separator = rng.choice(("\n", " "))
    answer = separator.join([*(f"{names[which]}{text}" for which, text in parts), difference(one, other)])
    return Sample("two ECGs", (Exchange(voices[0].say("questions", "pair"), answer, tuple(parts)),), (one, other))


def difference(one: Facts, other: Facts) -> str:
    """What clearly differs, without a number; that little does, where nothing of it."""
    larger: dict[str, list[str]] = {"first": [], "second": []}
    for name, least, what in _DIFFERENCES:
        first, second = getattr(one.measured, name), getattr(other.measured, name)
        if first is not None and second is not None and abs(first - second) >= least:
            larger["first" if first > second else "second"].append(what)
    told = [f"the {which} has {in_words(what)}" for which, what in larger.items() if what]
    if one.measured.p_present is not None and other.measured.p_present is not None:
        if one.measured.p_present and not other.measured.p_present:
            told.append("only the first shows P waves")
        elif other.measured.p_present and not one.measured.p_present:
            told.append("only the second shows P waves")
    if not told:
        return "Between the two, the measured intervals hardly differ."
    return f"Between the two, {', and '.join(told)}."
