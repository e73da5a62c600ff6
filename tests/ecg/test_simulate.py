"""Simulated ECGs: what the truth says is what the signal shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, draw, simulate
from llava_ecg.errors import InputError

STEADY = Heart(rate_bpm=50, rr_cv=0.0)


def _bounds(heart: Heart, rate: float = 1000.0) -> dict[str, float]:
    """P, QRS and T bounds of one beat where the clean signal leaves 3 uV (QRS begins and ends slowly); in ms from a
    given start."""
    recording, truth = simulate(heart, seed=3, rate=rate)
    size = np.abs(recording.signal).max(axis=0)
    peak = round(truth.beats_s[2] * rate)
    on = off = peak
    while size[on - 1] > 0.003:
        on -= 1
    while size[off + 1] > 0.003:
        off += 1
    before = np.flatnonzero(size[on - 300 : on - 3] > 0.005)
    after = np.flatnonzero(size[off + 3 : off + 480] > 0.005)
    qrs = recording.signal[:, on - 5 : off + 6].astype(float).sum(axis=1)
    axis = np.degrees(np.arctan2(qrs[5] * 2 / np.sqrt(3), qrs[0]))
    return {"pr_ms": 300 - before[0], "qrs_ms": off - on, "qt_ms": off + 3 + after[-1] - on, "axis_deg": float(axis)}


@pytest.mark.parametrize("seed", range(12))
def test_intervals_and_axis_are_true(seed: int) -> None:
    drawn = draw(np.random.default_rng(seed))
    heart = replace(
        drawn,
        rhythm="sinus",
        rate_bpm=50,
        rr_cv=0.0,
        pr_ms=min(drawn.pr_ms, 250),
        muscle_mv=0,
        wander_mv=0,
        mains_mv=0,
        st_territory=None,
    )
    seen = _bounds(heart)
    for name in ("pr_ms", "qrs_ms", "qt_ms"):
        assert seen[name] == pytest.approx(vars(heart)[name], abs=8), name
    assert (seen["axis_deg"] - heart.axis_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5])
def test_limb_leads_agree_with_einthoven_noise_included(seed: int) -> None:
    recording, _ = simulate(seed=seed)
    assert recording.leads == STANDARD and recording.signal.dtype == np.float32 and recording.signal.shape == (12, 5000)
    one, two, three, right, left, foot = recording.signal[:6]
    np.testing.assert_allclose(three, two - one, atol=1e-5)
    np.testing.assert_allclose(right + left + foot, 0, atol=1e-5)


def test_beats_are_where_the_truth_says() -> None:
    recording, truth = simulate(replace(STEADY, rr_cv=0.05), seed=1, rate=1000)
    size = np.linalg.norm(recording.signal[[0, 1, 7, 10]], axis=0)
    for beat in truth.beats_s[1:-1]:
        centre = round(beat * 1000)
        assert abs(int(size[centre - 150 : centre + 150].argmax()) - 150) <= 12
    assert truth.heart_rate_bpm == pytest.approx(60 / np.diff(truth.beats_s).mean(), rel=1e-3)


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    assert simulate(seed=5)[0].signal.tobytes() == simulate(seed=5)[0].signal.tobytes()
    assert simulate(seed=5)[1] == simulate(seed=5)[1]
    assert simulate(seed=5)[0].signal.tobytes() != simulate(seed=6)[0].signal.tobytes()


def test_atrial_fibrillation_is_irregular_without_p() -> None:
    _, truth = simulate(Heart(rhythm="atrial fibrillation", rr_cv=0.2, rate_bpm=90), seed=2)
    assert not truth.rhythm_regular and not truth.p_present and truth.pr_ms is None and truth.p_ms is None
    assert truth.rr_cv is not None and truth.rr_cv > 0.1


def test_premature_beats_come_early_and_a_pause_follows() -> None:
    _, truth = simulate(Heart(rhythm="premature ventricular beats", rate_bpm=60), seed=2)
    steps = np.diff(truth.beats_s)
    assert truth.premature_beats >= 1 and not truth.rhythm_regular
    early = int(steps.argmin())
    assert steps[early] < 0.85 and steps[early] + steps[early + 1] == pytest.approx(2.0, abs=0.15)


def test_premature_rhythm_too_short_to_show_a_premature_beat_is_sinus() -> None:
    _, truth = simulate(Heart(rhythm="premature ventricular beats", rate_bpm=60), seed=0, seconds=1.0)
    assert truth.premature_beats == 0 and truth.rhythm == "sinus" and truth.rhythm_regular


@pytest.mark.parametrize(
    ("territory", "raised", "lowered"),
    [("inferior", ("II", "III", "aVF"), ("aVL",)), ("anterior", ("V2", "V3"), ()), ("lateral", ("I", "aVL", "V6"), ())],
)
def test_st_shift_stands_in_its_territory(territory: str, raised: tuple[str, ...], lowered: tuple[str, ...]) -> None:
    plain, truth = simulate(STEADY, seed=1)
    shifted, _ = simulate(replace(STEADY, st_territory=territory, st_mv=0.3), seed=1)
    at = round((truth.beats_s[2] + 0.11) * 500)
    for name in raised:
        assert shifted.lead(name)[at] - plain.lead(name)[at] > 0.1, name
    for name in lowered:
        assert shifted.lead(name)[at] - plain.lead(name)[at] < -0.05, name


def test_bundle_branch_blocks_look_like_themselves() -> None:
    right, truth = simulate(replace(STEADY, conduction="right bundle branch block", qrs_ms=140), seed=1)
    left, _ = simulate(replace(STEADY, conduction="left bundle branch block", qrs_ms=150), seed=1)
    assert truth.conduction == "right bundle branch block"
    assert right.lead("V1").max() > 0.5 > left.lead("V1").max()
    assert left.lead("V1").min() < -0.7


def test_population_is_varied() -> None:
    truths = [simulate(seed=seed)[1] for seed in range(150)]
    rates = [truth.heart_rate_bpm for truth in truths if truth.heart_rate_bpm is not None]
    share = np.mean([truth.rhythm == "atrial fibrillation" for truth in truths])
    assert 0.1 < share < 0.3
    assert min(rates) < 45 and max(rates) > 130
    assert min(t.qrs_ms for t in truths) < 85 and max(t.qrs_ms for t in truths) > 140
    assert min(t.axis_deg for t in truths) < -40 and max(t.axis_deg for t in truths) > 110


@pytest.mark.parametrize(
    ("heart", "options", "says"),
    [
        (Heart(rate_bpm=0), {}, "0 bpm"),
        (Heart(qrs_ms=400, qt_ms=300), {}, "QRS 400"),
        (Heart(st_territory="posterior"), {}, "'posterior'"),
        (Heart(), {"rate": 10}, "10 Hz"),
        (Heart(), {"seconds": 0}, "0 s"),
    ],
)
def test_impossible_cases_are_refused(heart: Heart, options: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        simulate(heart, seed=0, **options)
