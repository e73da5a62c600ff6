"""Marked simulations: the marks are where the waves are, every rhythm occurs, the seed fixes all."""

from __future__ import annotations

import numpy as np
import pytest

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate_marked import RHYTHMS, VISIBLE_MV, WITHOUT_P, Marks, simulate_marked


@pytest.fixture(scope="module")
def many() -> list[tuple[np.ndarray, Marks]]:
    rng = np.random.default_rng(5)
    return [(recording.signal, marks) for recording, marks in (simulate_marked(rng, rate=250.0) for _ in range(150))]


def test_every_rhythm_and_kind_occurs(many: list[tuple[np.ndarray, Marks]]) -> None:
    assert {marks.rhythm for _, marks in many} == set(RHYTHMS)
    kinds = {kind for _, marks in many for kind in marks.kinds}
    assert kinds == {"dominant", "ventricular", "supraventricular", "paced", "P"}


def test_rhythms_without_p_have_none_marked(many: list[tuple[np.ndarray, Marks]]) -> None:
    for _, marks in many:
        dominant = np.array([kind in ("dominant", "paced") for kind in marks.kinds])
        if marks.rhythm in WITHOUT_P:
            assert np.isnan(marks.p[dominant]).all()
        elif marks.rhythm != "paced":
            assert np.isfinite(marks.p[dominant][:, 1, 0]).mean() > 0.3


def test_einthoven_holds_exactly_and_values_are_sane(many: list[tuple[np.ndarray, Marks]]) -> None:
    for signal, _ in many:
        rows = {name: signal[STANDARD.index(name)] for name in STANDARD}
        np.testing.assert_allclose(rows["III"], rows["II"] - rows["I"], atol=1e-5)
        assert np.isfinite(signal).all() and np.abs(signal).max() < 12


def test_marks_are_ordered_and_the_wave_is_visible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        recording, marks = simulate_marked(rng)
        if marks.rhythm != "sinus" or "ventricular" in marks.kinds:
            continue
        for onset, peak, end in marks.qrs[:, 1][np.isfinite(marks.qrs[:, 1, 0])]:
            assert onset <= peak <= end
            at = round(peak * 500)
            if 0 <= at < recording.signal.shape[1]:
                before = recording.signal[1, max(0, round(onset * 500) - 3)]
                assert abs(recording.signal[1, at] - before) > 0.5 * VISIBLE_MV
        return
    pytest.fail("no sinus rhythm was drawn")


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two = (simulate_marked(np.random.default_rng(9))[0].signal for _ in range(2))
    assert one.tobytes() == two.tobytes()
