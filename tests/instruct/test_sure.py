"""Facts hold no value that its own signs speak against; hearts of known truth that were once stated wrongly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.instruct.facts import Given, make_facts
from llava_ecg.instruct.sure import only_sure


@pytest.fixture(scope="module")
def sound() -> Measurements:
    return measure(simulate(Heart(rate_bpm=75, muscle_mv=0.005), seed=3)[0])


def test_sound_measurements_stay_as_they_are(sound: Measurements) -> None:
    assert only_sure(sound) is sound


def test_a_late_t_end_in_one_lead_is_no_qt(sound: Measurements) -> None:
    assert sound.qt_ms is not None
    most = sound.lead_medians["qt_ms"]
    at, beyond = (replace(sound, qt_ms=most + apart) for apart in (24.0, 26.0))
    assert only_sure(at).qt_ms == at.qt_ms
    found = only_sure(beyond)
    assert (found.qt_ms, found.qtc_bazett_ms, found.jt_ms) == (None, None, None)
    assert "26 ms later in one lead" in found.reasons["qt_ms"]
    assert found.findings["long QT"].present is None and sound.findings["long QT"].present is not None
    assert (found.pr_ms, found.qrs_ms, found.heart_rate_bpm) == (sound.pr_ms, sound.qrs_ms, sound.heart_rate_bpm)


def test_p_is_hidden_only_where_the_rhythm_is_fast(sound: Measurements) -> None:
    short = replace(sound, p_ms=70.0)
    assert only_sure(short).p_ms == 70.0
    found = only_sure(replace(short, heart_rate_bpm=130.0))
    assert (found.p_ms, found.pr_ms) == (None, None) and "130 bpm" in found.reasons["pr_ms"]
    unsteady = replace(sound, heart_rate_bpm=130.0, spread={**sound.spread, "p_ms": 7.0})
    assert only_sure(unsteady).p_ms is None and only_sure(unsteady).pr_ms == sound.pr_ms


def test_beats_that_differ_in_width_have_no_rate(sound: Measurements) -> None:
    found = only_sure(replace(sound, spread={**sound.spread, "qrs_ms": 21.0}))
    assert (found.heart_rate_bpm, found.qrs_ms, found.qt_ms) == (None, None, None)


@pytest.mark.parametrize(("seed", "name"), [(78, "p_ms"), (91, "pr_ms"), (96, "heart_rate_bpm")])
def test_a_heart_that_is_measured_wrongly_is_not_stated(seed: int, name: str, tmp_path: Path) -> None:
    recording, truth = simulate(seed=seed)
    assert abs(getattr(measure(recording), name) - getattr(truth, name)) > 12, "or this heart shows nothing any more"
    path = tmp_path / "heart.npz"
    np.savez(path, signal=recording.signal, rate=recording.rate, unit="mV", leads=np.array(recording.leads))
    found = make_facts(Given(path, path.name)).measured
    assert getattr(found, name) is None and found.reasons[name]
