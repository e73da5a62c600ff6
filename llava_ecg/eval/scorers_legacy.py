"""The figures of the public code of ECGBench and GEM, faults included, for comparison with what is published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llava_ecg.eval.scorers import macro_f1, table


def accuracy(said: Sequence[str], truth: Sequence[str], expected: int) -> float | None:
    """Share of equal letters; None, without a word, where there are not just `expected` answers."""
    return None if len(said) != expected else sum(map(str.__eq__, said, truth)) / expected


def multi_label(said: Sequence[frozenset[str]], truth: Sequence[frozenset[str]]) -> dict[str, float]:
    """Macro F1, "AUC" of yes-or-no predictions and Hamming loss over the labels that some right answer has: what is
    said beside these costs nothing, a label that nobody says has an F1 of 0, and an "AUC" that one label lacks is
    missing for all (NaN)."""
    labels = sorted(set().union(*truth))
    guess, is_so = table(said, labels), table(truth, labels)
    areas = []
    for one, so in zip(guess.T, is_so.T, strict=True):
        areas.append(np.nan if so.all() else (one[so].mean() + (~one[~so]).mean()) / 2)
    return {
        "f1": macro_f1(guess, is_so) or 0.0,
        "auc": float(np.mean(areas)),
        "hamming_loss": float((guess != is_so).mean()),
    }
