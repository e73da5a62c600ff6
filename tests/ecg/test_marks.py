"""Marks by hand: how LUDB's annotation files are read, and how its records are folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats.physionet import read_annotations
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.waves.marks import FOLDS, fold_of, read_marked, record_names, waves_of
from llava_ecg.errors import InputError


def test_a_wave_is_what_stands_up_to_its_end() -> None:
    samples, symbols = [10, 15, 20, 30, 35, 40], ["(", "p", ")", "(", "N", ")"]
    assert list(waves_of(samples, symbols)) == [("p", 10, 15, 20), ("N", 30, 35, 40)]


def test_an_onset_on_or_behind_the_peak_is_the_peak_and_a_wave_without_end_is_left_out() -> None:
    assert list(waves_of([15, 15, 20], ["p", "(", ")"])) == [("p", 15, 15, 20)]
    assert list(waves_of([15, 16, 20], ["p", "(", ")"])) == [("p", 15, 15, 20)]
    assert list(waves_of([15, 20], ["t", ")"])) == [("t", 15, 15, 20)]
    assert list(waves_of([10, 15], ["(", "t"])) == []


def test_folds_are_disjoint_even_and_do_not_change() -> None:
    names = [str(n) for n in range(1, 160)]
    folds = fold_of(names)
    sizes = [sum(fold == k for fold in folds.values()) for k in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == 159
    assert folds == fold_of(list(names))


def test_a_record_of_ludb(shared: Path) -> None:
    folder = shared / "data/ludb"
    assert len(record_names(folder)) == 159
    found = read_marked(folder / record_names(folder)[0])
    assert (
        found.signal.shape == (12, 5000) and found.rate == 500 and len(found.leads) == len(found.spans) == len(STANDARD)
    )
    for waves, (first, last) in zip(found.leads, found.spans, strict=True):
        for rows in waves.values():
            assert (
                (rows[:, 0] <= rows[:, 1]).all()
                and (rows[:, 1] <= rows[:, 2]).all()
                and (np.diff(rows[:, 1]) > 0).all()
            )
            assert len(rows) == 0 or first <= rows[0, 0] <= rows[-1, 2] <= last
    assert all(len(waves["qrs"]) >= 3 for waves in found.leads)


def test_a_missing_annotation_file_is_one_sentence(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no annotation file"):
        read_annotations(tmp_path / "1", "i")
    with pytest.raises(InputError, match=r"x\.hea"):
        read_marked(tmp_path / "x")
