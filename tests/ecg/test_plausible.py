"""What can't be is taken out with its reason; what is only unlikely stays, with a note; what is true stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.plausible import doubts, plausible
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves import net
from llava_ecg.ecg.waves.delineate import delineate
from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.ecg.waves.marks import FOLDS, fold_of, read_marked, record_names


def beats(
    rate: float, *, p: tuple[float, float] | None = (-160, -60), qrs: tuple[float, float] = (0, 90), t: float = 380
) -> Delineation:
    """Two leads, from 0.5 s on; bounds in ms from QRS onset: P, QRS, and the end of T."""
    onsets = np.arange(0.5, 9.3, 60 / rate)

    def lead(first: float, last: float) -> np.ndarray:
        row = onsets[:, None] + np.array([first, (first + last) / 2, last]) / 1000
        return np.repeat(row[:, None], 2, axis=1)

    none = np.full((len(onsets), 2, 3), np.nan)
    arrays = {"p": none if p is None else lead(*p), "qrs": lead(*qrs), "t": lead((qrs[1] + t) / 2, t)}
    return Delineation(
        ("I", "II"),
        onsets + 0.04,
        ("dominant",) * len(onsets),
        **arrays,
        **{f"{name}_all": array[:, 0, [0, 2]] for name, array in arrays.items()},
        live=np.ones(2, dtype=bool),
        p_present=p is not None,
        broken=np.zeros(len(onsets) - 1, dtype=bool),
    )


def kept(found: Delineation) -> tuple[bool, bool, bool]:
    """Whether any P, QRS, T is left."""
    return tuple(bool(np.isfinite(getattr(found, f"{name}_all")).any()) for name in ("p", "qrs", "t"))  # type: ignore[return-value]


@pytest.mark.parametrize("rate", [40, 70, 110, 150, 180])
def test_an_ordinary_heart_is_left_as_it_is(rate: float) -> None:
    given = beats(rate, p=(-120, -40), t=380 * (60 / rate) ** (1 / 3))
    found = plausible(given, 10.0)
    for name in ("p", "qrs", "t", "p_all", "qrs_all", "t_all"):
        np.testing.assert_array_equal(getattr(found, name), getattr(given, name))
    assert found.p_present is True and not found.reasons and not found.p_unsure.any()


@pytest.mark.parametrize(
    ("given", "left", "wave", "reason"),
    [
        (beats(162, p=None, t=154), (False, True, False), "t", "impossibly short"),
        (beats(162, p=(-240, -100), t=154), (False, True, False), "p", "may be its T wave"),
        (beats(60, t=740), (True, True, False), "t", "impossibly long"),
        (beats(160, p=None, t=385), (False, True, False), "t", "until the next QRS"),
        (beats(70, t=85), (True, True, False), "t", "ends before QRS"),
        (beats(70, p=(-90, 20)), (False, True, True), "p", "runs into a QRS"),
        (beats(70, p=(-58, -20)), (False, True, True), "p", "PR would be"),
        (beats(70, p=(-160, -140)), (False, True, True), "p", "P would last"),
        (beats(70, p=(-300, -60)), (False, True, True), "p", "P would last"),
    ],
)
def test_what_no_heart_does_is_none_with_its_reason(
    given: Delineation, left: tuple[bool, bool, bool], wave: str, reason: str
) -> None:
    found = plausible(given, 10.0)
    assert kept(found) == left and reason in found.reasons[wave]
    if given.p_present and not left[0]:
        assert found.p_present is None and found.p_unsure.any()
    for name, there in zip(("p", "qrs", "t"), left, strict=True):
        assert np.isfinite(getattr(found, name)).any() == there, "the leads lose what the beats lose"


def test_a_qrs_of_impossible_width_has_no_bounds() -> None:
    assert not np.isfinite(plausible(beats(70, qrs=(0, 330)), 10.0).qrs_all).any()
    assert np.isfinite(plausible(beats(70, qrs=(0, 240)), 10.0).qrs_all).all()


def test_one_odd_beat_loses_its_wave_and_the_others_keep_theirs() -> None:
    given = beats(70)
    late = given.t_all.copy()
    late[3, 1] = given.qrs_all[4, 0] + 0.01
    found = plausible(replace(given, t_all=late), 10.0)
    assert np.isnan(found.t_all[3]).all() and np.isfinite(np.delete(found.t_all, 3, axis=0)).all() and not found.reasons


def test_t_may_end_behind_a_qrs_complex_that_follows_a_gap() -> None:
    given = beats(160, p=None, t=280)
    late, broken = given.t_all.copy(), given.broken.copy()
    late[3, 1] = given.qrs_all[4, 0] + 0.01
    assert np.isnan(plausible(replace(given, t_all=late), 10.0).t_all[3, 1])
    broken[3] = True
    assert plausible(replace(given, t_all=late, broken=broken), 10.0).t_all[3, 1] == late[3, 1]


def test_waves_that_the_ends_cut_off_are_none(shared: Path) -> None:
    """LUDB 68 begins in a P wave, 99 ends in a T wave and 128 in a QRS complex."""
    begins, ends, within = (measure(read(shared / f"data/ludb/{name}.hea")) for name in (68, 99, 128))
    assert begins.beats[0].pr_ms is None and begins.beats[0].p_present is None and begins.p_fraction == 1.0
    assert ends.beats[-1].qt_ms is None and ends.beats[-1].qrs_ms is not None
    assert within.beats[-1].kind == "partial" and within.beats[-1].qrs_ms is None
    assert all(lead.per_beat["qrs_ms"][-1] is None for lead in within.leads.values())


def test_a_qt_longer_than_rr_is_none_everywhere(shared: Path) -> None:
    """161 bpm, and T ends were found 12 ms behind the next QRS onset: QTc was 630 ms."""
    found = measure(read(shared / "data/cinc2021/JS45546.hea"))
    assert found.heart_rate_bpm == pytest.approx(161, abs=2)
    for name in ("qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "jt_ms"):
        assert getattr(found, name) is None and "next QRS" in found.reasons[name]
    assert all(beat.qt_ms is None for beat in found.beats)
    assert all(lead.qt_ms is None and lead.t_mv is None for lead in found.leads.values())


@pytest.mark.parametrize("name", ["JS20012", "JS20016"])
def test_a_doubtful_qt_in_a_fast_rhythm_is_said(shared: Path, name: str) -> None:
    found = measure(read(shared / f"data/cinc2021/{name}.hea"))
    assert found.qt_ms is not None and any("doubtful" in note for note in found.notes)


def said(values: dict[str, Any], spread: float = 5.0, lead_median: float | None = None) -> str:
    medians = {"qt_ms": lead_median if lead_median is not None else values.get("qt_ms", 0.0)}
    return " ".join(doubts(values, {"qt_ms": spread}, medians))


def test_notes_on_unlikely_values() -> None:
    plain = {"heart_rate_bpm": 70.0, "qt_ms": 390.0, "qtc_fridericia_ms": 410.0, "pr_ms": 160.0}
    assert not doubts(plain, {"qt_ms": 5.0}, {"qt_ms": 385.0})
    assert "PR of 88 ms" in said(plain | {"pr_ms": 88.0})
    assert "missed" in said(plain | {"heart_rate_bpm": 20.0}) and "twice" in said(plain | {"heart_rate_bpm": 270.0})
    assert "unusually long" in said(plain | {"qtc_fridericia_ms": 602.0})
    assert "unusually short" in said(plain | {"qtc_fridericia_ms": 310.0})
    fast = {"heart_rate_bpm": 130.0, "qt_ms": 390.0, "qtc_fridericia_ms": 505.0}
    assert not said(fast)
    assert "varies" in said(fast, spread=40.0) and "far beyond" in said(fast, lead_median=340.0)


def test_nothing_right_is_lost_on_unseen_hand_marks(shared: Path, bench: ModuleType) -> None:
    """Every third record of LUDB, by the network that did not see it: the score is the same without these checks."""
    names = record_names(shared / "data/ludb")
    folds = fold_of(names)
    networks = {fold: net.load(bench.FOLDS / f"fold{fold}.safetensors") for fold in range(FOLDS)}
    before, after = [], []
    for name in names[::3]:
        record = read_marked(shared / "data/ludb" / name)
        found = delineate(record.signal, STANDARD, network=networks[folds[name]])
        checked = plausible(found, record.signal.shape[1] / 500)
        for each, into in ((found, before), (checked, after)):
            into.append(bench.tally(record, bench.waves_of_leads(each), bool(each.p_present)))
    first, second = bench.summary(before), bench.summary(after)
    for name in ("claims right %", "p Se %", "qrs Se %", "t Se %"):
        assert second[name] >= first[name]


def test_the_reason_is_beside_every_none() -> None:
    recording, _ = simulate(Heart(rate_bpm=75), seed=1)
    found = measure(Recording(recording.signal[:, 205:], 500.0, STANDARD))
    assert {name for name in Measurements.names() if getattr(found, name) is None} == set(found.reasons)
