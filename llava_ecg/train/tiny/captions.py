"""The caption that gem-tiny's streams write in the first of their tokens: what the towers make of an ECG, in words of
the language model.

Each slot of `FORM` is one token of text. Numbers have a digit a slot, and a label has one digit, the tenths of how
likely it is. The caption says what a tower itself estimates and not the truth: two digits of a number that is uncertain
then agree with each other, which they would not if each were guessed for itself.

Axes: B batch, M slots of the caption.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from llava_ecg.train.tiny.sources import LABELS
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO, Told

DIGITS = tuple("0123456789")
NUMBERS = {
    "heart_rate_bpm": (" rate", 2),
    "pr_ms": (" interval", 10),
    "qrs_ms": (" width", 5),
    "qt_ms": (" total", 10),
    "qtc_bazett_ms": (" corrected", 10),
}
"""Quantity -> the word before its three digits, and what it is rounded to."""
LABEL_WORDS = {
    "NORM": " healthy",
    "MI": " infarction",
    "STTC": " change",
    "CD": " conduction",
    "HYP": " thick",
    "atrial fibrillation": " fibrillation",
    "left bundle branch block": " left",
    "right bundle branch block": " right",
    "incomplete right bundle branch block": " incomplete",
    "left anterior fascicular block": " fasc",
    "anterior infarction": " anterior",
    "inferior infarction": " inferior",
    "left ventricular hypertrophy": " ventric",
    "premature beats": " premature",
}
"""Label -> the word before its digit."""


def _form() -> tuple[str, ...]:
    slots: list[str] = []
    for name, (word, _) in NUMBERS.items():
        slots += [word, *(f"{name}:{place}" for place in range(3))]
    slots += [" axis", "sign", *(f"axis_deg:{place}" for place in range(3)), " rhythm", "regular", " wave", "wave"]
    for name in LABELS:
        slots += [LABEL_WORDS[name], f"label:{name}"]
    return tuple(slots)


FORM = _form()
"""Each slot's word where it is always the same (it begins with a space), else what it depends on."""
WORDS = (*DIGITS, *(word for word in FORM if word.startswith(" ")), " regular", " irregular", " yes", " no", "+", "-")
NONE = "-"


def caption(facts: Mapping[str, Any], likely: Mapping[str, float]) -> list[int]:
    """The caption of an ECG, a number of `WORDS` for each of `FORM`.

    Args:
        facts: the names of `llava_ecg.train.tiny.records.FACTS`; a quantity that is None is written as dashes, and so
            is PR without P waves.
        likely: of each of `LABELS`, 0 to 1.
    """
    said = {
        "regular": " regular" if facts["rhythm_regular"] else " irregular",
        "wave": " yes" if facts["p_present"] else " no",
    }
    for name, (_, step) in NUMBERS.items():
        value = facts.get(name)
        text = 3 * NONE if value is None else f"{step * math.floor(value / step + 0.5):03.0f}"
        if name == "pr_ms" and not facts["p_present"]:
            text = 3 * NONE
        said |= {f"{name}:{place}": text[place] for place in range(3)}
    axis = facts.get("axis_deg")
    rounded = None if axis is None else (10 * math.floor(axis / 10 + 0.5) + 179) % 360 - 179
    said["sign"] = "-" if rounded is None or rounded < 0 else "+"
    text = 3 * NONE if rounded is None else f"{abs(rounded):03d}"
    said |= {f"axis_deg:{place}": text[place] for place in range(3)}
    said |= {f"label:{name}": str(min(9, int(10 * likely[name]))) for name in LABELS}
    return [WORDS.index(slot if slot.startswith(" ") else said[slot]) for slot in FORM]


def captions(told: Told, borders: Sequence[float]) -> torch.Tensor:
    """int64 [B, M]: the captions of what a probe says.

    Args:
        told: of the probe.
        borders: of each of `LABELS`, the logit from which it counts as there, and is written as 5 or more.
    """
    values = {quantity.name: told.value(place).tolist() for place, quantity in enumerate(QUANTITIES)}
    yes = told.yes.clone()
    yes[:, -len(LABELS) :] -= torch.tensor(borders)
    likely = torch.sigmoid(yes).tolist()
    rows = []
    for row, shares in enumerate(likely):
        facts: dict[str, Any] = {name: each[row] for name, each in values.items()}
        facts |= {name: shares[YES_NO.index(name)] > 0.5 for name in ("rhythm_regular", "p_present")}
        rows.append(caption(facts, dict(zip(LABELS, shares[-len(LABELS) :], strict=True))))
    return torch.tensor(rows)


def read_caption(words: Sequence[int]) -> dict[str, Any]:
    """What a caption says: the quantities (None where they are dashes or no number), `rhythm_regular`, `p_present`, and
    each label's digit."""
    said = {slot: WORDS[word] for slot, word in zip(FORM, words, strict=True)}

    def number(name: str, sign: str = "") -> float | None:
        text = "".join(said[f"{name}:{place}"] for place in range(3))
        return float(sign + text) if text.isdigit() else None

    found: dict[str, Any] = {name: number(name) for name in NUMBERS}
    found["axis_deg"] = number("axis_deg", said["sign"].strip() if said["sign"] in "+-" else "")
    found |= {"rhythm_regular": said["regular"] == " regular", "p_present": said["wave"] == " yes"}
    for name in LABELS:
        digit = said[f"label:{name}"]
        found[name] = int(digit) if digit.isdigit() else None
    return found


def borders_of(told: Told, targets: torch.Tensor) -> list[float]:
    """Of each of `LABELS` the logit at which F1 is best on records with known labels; 0 where there are none.

    Args:
        told: what a probe says of records for validation.
        targets: float32 [N, ...] of them.
    """
    out = []
    for column in range(len(YES_NO) - len(LABELS), len(YES_NO)):
        wanted = targets[:, len(QUANTITIES) + column]
        known = ~wanted.isnan()
        scores, positive = told.yes[known, column], wanted[known] > 0.5
        if not positive.any() or positive.all():
            out.append(0.0)
            continue
        order = torch.argsort(scores, descending=True)
        hits = positive[order].float().cumsum(0)
        f1 = 2 * hits / (torch.arange(1, len(hits) + 1) + positive.sum())
        best = int(f1.argmax())
        following = scores[order[best + 1]] if best + 1 < len(order) else scores[order[best]] - 1
        out.append(float((scores[order[best]] + following) / 2))
    return out
