"""Rate, regularity, pauses and the evidence of fibrillation from beat times alone."""

from __future__ import annotations

import numpy as np
import pytest

from llava_ecg.ecg.rhythm import rhythm


def beats(rr_s: list[float]) -> np.ndarray:
    return np.concatenate([[0.5], 0.5 + np.cumsum(rr_s)])


def told(rr_s: list[float], kinds: list[str] | None = None, p: bool | None = True) -> dict[str, object]:
    times = beats(rr_s)
    return rhythm(times, kinds or ["dominant"] * len(times), p)[0]


def test_rates() -> None:
    found = told([1.0, 0.5, 1.0])
    assert (found["heart_rate_bpm"], found["heart_rate_min_bpm"], found["heart_rate_max_bpm"]) == (72.0, 60.0, 120.0)
    assert (found["rr_ms"], found["rr_max_ms"], found["pauses"]) == (833.3, 1000.0, 0)


def test_a_slow_drift_is_regular_and_fibrillation_is_not() -> None:
    assert told(np.linspace(0.7, 0.9, 12).tolist())["rhythm_regular"] is True
    scattered = np.random.default_rng(0).normal(0.7, 0.14, 14).clip(0.35, 1.2).tolist()
    assert told(scattered)["rhythm_regular"] is False
    assert told(scattered, p=False)["af_evidence"] is True
    assert told(scattered, p=True)["af_evidence"] is False


def test_premature_beats_make_it_irregular_but_are_no_fibrillation() -> None:
    rr = [0.8, 0.8, 0.5, 1.1, 0.8, 0.8, 0.5, 1.1, 0.8]
    kinds = ["dominant"] * 10
    kinds[3] = kinds[7] = "ventricular"
    found = told(rr, kinds, p=False)
    assert (found["rhythm_regular"], found["af_evidence"], found["ventricular_premature"]) == (False, False, 2)


def test_a_pause_is_longer_than_two_seconds() -> None:
    assert told([0.8, 2.1, 0.8, 0.8])["pauses"] == 1
    assert told([0.8, 2.0, 0.8, 0.8])["pauses"] == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_beats_say_so(count: int) -> None:
    values, reasons = rhythm(np.arange(count) * 0.8 + 0.3, ["dominant"] * count, True)
    for name in ("rhythm_regular", "af_evidence"):
        assert name not in values and reasons[name]
    assert ("heart_rate_bpm" in values) == (count > 1)


def test_unknown_p_leaves_fibrillation_open() -> None:
    values, reasons = rhythm(beats([0.7, 0.4, 0.9, 0.6]), ["dominant"] * 5, None)
    assert "af_evidence" not in values and "P" in reasons["af_evidence"]
