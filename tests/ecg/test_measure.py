"""`measure` on made signals with known values, on real ones with marks by hand, and on what a user may give it by
mistake."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

INTERVALS = ("p_ms", "pr_ms", "qrs_ms", "qt_ms")
GAINS = (0.7, 1.0, 0.3, -0.85, 0.2, 0.65, -0.5, 0.6, 0.9, 1.1, 1.2, 1.0)


def made(
    rate: float = 500.0, rr_s: float = 0.8, seconds: float = 10.0, start: float = 0.5, noise: float = 0.004
) -> Recording:
    """Twelve leads: P at -160 ms, QRS, T at +300 ms of R every `rr_s`; R of 1 mV in lead II."""
    t = np.arange(round(seconds * rate)) / rate
    trace = np.zeros_like(t)
    for r in np.arange(start, seconds, rr_s):
        for size, at, sd in (
            (0.15, -0.16, 0.022),
            (-0.12, -0.026, 0.008),
            (1.0, 0.0, 0.011),
            (-0.25, 0.028, 0.009),
            (0.3, 0.30, 0.045),
        ):
            trace += size * np.exp(-0.5 * ((t - r - at) / sd) ** 2)
    signal = np.outer(GAINS, trace) + np.random.default_rng(0).normal(0, noise, (12, t.size))
    return Recording(signal.astype(np.float32), rate, STANDARD)


def with_signal(recording: Recording, signal: np.ndarray) -> Recording:
    return Recording(signal.astype(np.float32), recording.rate, recording.leads)


def millivolts(found: Measurements, lead: str, field: str) -> float:
    value = getattr(found.leads[lead], field)
    assert isinstance(value, float)
    return value


def unmeasured(found: Measurements) -> None:
    """Everything None, each with a reason."""
    assert all(getattr(found, name) is None for name in Measurements.names())
    assert set(found.reasons) == set(Measurements.names()) and all(found.reasons.values())
    assert not found.beats and not any(finding.present for finding in found.findings.values())
    assert all(lead.r_mv is None and lead.t_mv is None and lead.p_mv is None for lead in found.leads.values())


@pytest.mark.parametrize("rr_s", [0.5, 0.8, 1.25])
@pytest.mark.parametrize("rate", [100.0, 250.0, 360.0, 500.0, 1000.0])
def test_rate_is_right_at_every_sampling_rate(rate: float, rr_s: float) -> None:
    found = measure(made(rate, rr_s))
    assert found.heart_rate_bpm == pytest.approx(60 / rr_s, abs=0.5)
    assert found.rr_ms == pytest.approx(1000 * rr_s, abs=4)
    assert found.rhythm_regular is True


def test_intervals_amplitudes_and_axis_of_a_known_signal() -> None:
    found = measure(made())
    assert found.p_present is True
    assert found.pr_ms == pytest.approx(163, abs=20)
    assert found.qrs_ms == pytest.approx(95, abs=15)
    assert found.qt_ms == pytest.approx(445, abs=25)
    assert found.qt_ms is not None
    assert found.qtc_bazett_ms == pytest.approx(found.qt_ms / 0.8**0.5, abs=1)
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms / 0.8 ** (1 / 3), abs=1)
    assert found.axis_deg == pytest.approx(np.degrees(np.arctan2(0.65 * 2 / 3**0.5, 0.7)), abs=2)
    lead = found.leads["II"]
    assert (
        lead.r_mv == pytest.approx(1.0, abs=0.06)
        and lead.t_mv == pytest.approx(0.3, abs=0.06)
        and lead.p_mv == pytest.approx(0.15, abs=0.04)
    )
    assert lead.q_mv is not None and lead.q_mv < 0 and lead.s_mv is not None and lead.s_mv < 0


def test_axes_of_all_waves_and_the_dispersion_of_qt() -> None:
    """Every wave of this signal points the same way, and ends in all leads at the same time; then T is turned over, and
    ends 60 ms later in V1 and V2."""
    once = made()
    found, axis = measure(once), np.degrees(np.arctan2(0.65 * 2 / 3**0.5, 0.7))
    assert [found.p_axis_deg, found.axis_deg, found.t_axis_deg] == pytest.approx([axis] * 3, abs=4)
    assert found.qt_dispersion_ms is not None and found.qt_dispersion_ms < 20
    t, wave, late = np.arange(5000) / 500, np.zeros(5000), np.zeros(5000)
    for r in np.arange(0.5, 10, 0.8):
        wave += 0.3 * np.exp(-0.5 * ((t - r - 0.30) / 0.045) ** 2)
        late += 0.3 * np.exp(-0.5 * ((t - r - 0.36) / 0.045) ** 2)
    gains = np.array(GAINS)[:, None]
    turned = measure(with_signal(once, once.signal - 2 * gains * wave))
    assert turned.t_axis_deg == pytest.approx(axis - 180, abs=4)
    assert turned.axis_deg == pytest.approx(axis, abs=4)
    rows = [[STANDARD.index(name)] for name in ("V1", "V2")]
    signal = once.signal.copy()
    for (row,) in rows:
        signal[row] += GAINS[row] * (late - wave)
    assert measure(with_signal(once, signal)).qt_dispersion_ms == pytest.approx(60, abs=25)


@pytest.mark.parametrize(("slope", "form"), [(2.0, "upsloping"), (-2.0, "downsloping"), (0.0, "horizontal")])
def test_the_slope_of_st(slope: float, form: str) -> None:
    """A ramp over the 80 ms behind J, in mV/s."""
    once = made()
    ends = [beat.qrs_end_s for beat in measure(once).beats if beat.qrs_end_s is not None]
    t, ramp = np.arange(5000) / 500, np.zeros(5000)
    for end in ends:
        ramp += np.where((t >= end) & (t < end + 0.08), slope * (t - end), 0.0)
        ramp += np.where((t >= end + 0.08) & (t < end + 0.16), slope * (end + 0.16 - t), 0.0)
    before, after = measure(once).leads["V3"], measure(with_signal(once, once.signal + ramp)).leads["V3"]
    assert before.st_slope_mv_s is not None
    assert after.st_slope_mv_s == pytest.approx(before.st_slope_mv_s + slope, abs=0.6)
    assert after.st_form == form or slope == 0


def test_each_interval_has_its_own_uncertainty_and_the_corrected_ones_qts() -> None:
    """QT that is 30 ms longer in each second beat: the SD of QT over the beats, and what each formula makes of it."""
    steady, _ = simulate(Heart(rate_bpm=60, rr_cv=0.005), seed=1)
    longer, _ = simulate(Heart(rate_bpm=60, rr_cv=0.005, qt_ms=440), seed=1)
    signal = steady.signal.copy()
    beats = [beat.r_s for beat in measure(steady).beats]
    for r in beats[1:-1:2]:
        part = slice(round((r + 0.1) * 500), round((r + 0.6) * 500))
        signal[:, part] = longer.signal[:, part]
    found, calm = measure(replace(steady, signal=signal)), measure(steady)
    assert found.spread["qt_ms"] > calm.spread["qt_ms"] + 10
    assert found.spread["jt_ms"] == pytest.approx(found.spread["qt_ms"], abs=2)
    assert found.rr_ms is not None
    rr = found.rr_ms / 1000
    for name, factor in {"bazett": rr**-0.5, "fridericia": rr ** (-1 / 3), "framingham": 1.0, "hodges": 1.0}.items():
        assert found.spread[f"qtc_{name}_ms"] == pytest.approx(found.spread["qt_ms"] * factor, abs=0.5)
    assert found.jt_ms == pytest.approx(found.qt_ms - found.qrs_ms, abs=0.11)
    assert found.qtc_framingham_ms == pytest.approx(found.qt_ms + 154 * (1 - rr), abs=2)
    assert found.qtc_hodges_ms == pytest.approx(found.qt_ms + 1.75 * (60 / rr - 60), abs=2)


def test_twice_the_amplitude_keeps_the_times_and_doubles_the_millivolts() -> None:
    once = made()
    one, two = measure(once), measure(with_signal(once, 2 * once.signal))
    assert [getattr(one, name) for name in INTERVALS] == [getattr(two, name) for name in INTERVALS]
    assert two.leads["V5"].r_mv == pytest.approx(2 * millivolts(one, "V5", "r_mv"), rel=1e-3)


def test_a_shift_in_time_changes_nothing() -> None:
    one, two = measure(made()), measure(made(start=0.63))
    assert [getattr(one, name) for name in INTERVALS] == pytest.approx(
        [getattr(two, name) for name in INTERVALS], abs=6
    )
    assert two.beats_s[0] - one.beats_s[0] == pytest.approx(0.13, abs=0.01)


def test_st_is_measured_60_ms_after_j() -> None:
    whole = made(noise=0.0)
    t = np.arange(whole.signal.shape[1]) / whole.rate
    raised = sum(0.2 * ((t > r + 0.045) & (t < r + 0.22)) for r in np.arange(0.5, 10, 0.8))
    found = measure(with_signal(whole, whole.signal + np.array([[0.0]] * 6 + [[1.0]] * 6) * raised))
    plain = measure(whole)
    assert millivolts(found, "V3", "st60_mv") - millivolts(plain, "V3", "st60_mv") == pytest.approx(0.2, abs=0.06)
    assert found.leads["II"].st60_mv == pytest.approx(plain.leads["II"].st60_mv, abs=0.03)


def test_dead_leads_are_none_and_the_rest_is_measured() -> None:
    whole = made()
    signal = whole.signal.copy()
    signal[7], signal[8] = 0.0, np.nan
    found = measure(with_signal(whole, signal))
    assert found.heart_rate_bpm == pytest.approx(75, abs=0.5)
    for name in ("V2", "V3"):
        assert found.leads[name].r_mv is None and found.leads[name].quality != "ok"
    assert found.leads["V4"].r_mv is not None and found.leads["V4"].quality == "ok"


def test_a_gap_is_survived() -> None:
    whole = made()
    signal = whole.signal.copy()
    signal[:, 2000:2300] = np.nan
    assert measure(with_signal(whole, signal)).qrs_ms == pytest.approx(95, abs=15)


@pytest.mark.parametrize("value", [0.0, 1.7, np.nan])
def test_without_a_signal_all_is_none_with_reasons(value: float) -> None:
    unmeasured(measure(Recording(np.full((12, 5000), value, np.float32), 500.0, STANDARD)))


def test_without_i_and_avf_there_is_no_axis() -> None:
    found = measure(Recording(made().signal[6:], 500.0, STANDARD[6:]))
    assert found.axis_deg is None and found.reasons["axis_deg"]
    assert found.heart_rate_bpm == pytest.approx(75, abs=0.5)


def test_every_none_has_its_reason_and_the_record_survives_a_round_trip() -> None:
    found = measure(Recording(made().signal[:1, :1400], 500.0, ("V1",)))
    assert {name for name in Measurements.names() if getattr(found, name) is None} == set(found.reasons)
    assert Measurements.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("seconds", [0.0, 0.4, 0.99])
def test_too_short_is_one_sentence_with_the_length(seconds: float) -> None:
    with pytest.raises(InputError, match=f"{seconds:.2f} s long"):
        measure(made().window(0, seconds))


def test_two_minutes_are_counted_to_the_end() -> None:
    found = measure(made(rate=250.0, seconds=120.0))
    assert found.heart_rate_bpm == pytest.approx(75, abs=0.5)
    assert len(found.beats_s) == pytest.approx(150, abs=2)
    assert (
        np.diff(found.beats_s).min() > 0.7 and np.diff(found.beats_s).max() < 0.9
    )  # nothing lost or doubled where parts meet


def test_measuring_needs_no_torch() -> None:
    code = "import sys, llava_ecg.ecg.measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- real recordings
# ------------------------------------------------------------------------------------------------------------


def hand_intervals(path: Path, lead: str) -> dict[str, list[float]]:
    """PR, QRS and QT in ms of each beat, by the marks of one lead."""
    wfdb = pytest.importorskip("wfdb")
    marks = wfdb.rdann(str(path), lead)
    waves = [
        (marks.symbol[i], *marks.sample[[i - 1, i + 1]])
        for i in range(1, len(marks.symbol) - 1)
        if marks.symbol[i] in "pNt"
    ]
    out: dict[str, list[float]] = {"pr_ms": [], "qrs_ms": [], "qt_ms": []}
    for before, here, after in zip(waves, waves[1:], waves[2:], strict=False):
        if here[0] == "N":
            out["qrs_ms"].append((here[2] - here[1]) * 2.0)
            if before[0] == "p":
                out["pr_ms"].append((here[1] - before[1]) * 2.0)
            if after[0] == "t":
                out["qt_ms"].append((after[2] - here[1]) * 2.0)
    return out


def test_intervals_agree_with_the_marks_by_hand(shared: Path) -> None:
    paths = sorted(
        (path.with_suffix("") for path in (shared / "data/ludb").glob("*.hea")), key=lambda path: int(path.name)
    )
    errors: dict[str, list[float]] = {"pr_ms": [], "qrs_ms": [], "qt_ms": []}
    for path in [path for path in paths if int(path.name) % 2 == 0][:30]:
        found = measure(read(path.with_suffix(".hea")))
        hand = [hand_intervals(path, lead) for lead in ("i", "ii", "avf", "v2", "v4", "v5", "v6")]
        wider = [
            getattr(found, name) >= value - 2
            for name, value in found.lead_medians.items()
            if name in ("qrs_ms", "qt_ms")
        ]
        assert all(wider)  # over all leads is from the earliest to the latest
        for name, into in errors.items():
            medians = [np.median(lead[name]) for lead in hand if lead[name]]
            if medians and name in found.lead_medians:
                into.append(found.lead_medians[name] - np.median(medians))
    assert all(len(found) >= 24 for found in errors.values())
    assert (
        np.median(np.abs(errors["pr_ms"])) < 10
        and np.median(np.abs(errors["qrs_ms"])) < 10
        and np.median(np.abs(errors["qt_ms"])) < 15
    )


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("E07500", 40, 60),
        ("JS00006", 40, 60),
        ("HR06002", 30, 60),
        ("E07502", 100, 180),
        ("Q0001", 100, 180),
        ("HR00001", 58, 100),
    ],
)
def test_rate_fits_the_diagnosis(shared: Path, name: str, low: float, high: float) -> None:
    found = measure(read(shared / f"data/cinc2021/{name}.hea"))
    assert found.heart_rate_bpm is not None and low <= found.heart_rate_bpm <= high


@pytest.mark.parametrize("name", ["A0003", "A0009", "E00005", "JS00001"])
def test_atrial_fibrillation_is_irregular_and_has_no_pr(shared: Path, name: str) -> None:
    found = measure(read(shared / f"data/cinc2021/{name}.hea"))
    assert found.rhythm_regular is False and found.p_present is False
    assert found.pr_ms is None and "P wave" in found.reasons["pr_ms"]


def test_each_beat_has_jt_and_its_qtc_by_the_rr_before_it() -> None:
    found = measure(simulate(Heart(rate_bpm=80, rr_cv=0.05, qt_ms=360), seed=3)[0])
    first, *rest = found.beats
    assert first.qtc_bazett_ms is None and first.qtc_hodges_ms is None  # there is no RR before it
    whole = [beat for beat in rest if beat.qt_ms is not None]
    assert len(whole) >= 8
    for beat in whole:
        assert beat.qt_ms is not None and beat.qrs_ms is not None and beat.rr_before_ms is not None
        rr = beat.rr_before_ms / 1000
        assert beat.jt_ms == pytest.approx(beat.qt_ms - beat.qrs_ms, abs=0.11)
        assert beat.qtc_bazett_ms == pytest.approx(beat.qt_ms / rr**0.5, abs=0.2)
        assert beat.qtc_fridericia_ms == pytest.approx(beat.qt_ms / rr ** (1 / 3), abs=0.2)
        assert beat.qtc_framingham_ms == pytest.approx(beat.qt_ms + 154 * (1 - rr), abs=0.2)
        assert beat.qtc_hodges_ms == pytest.approx(beat.qt_ms + 1.75 * (60 / rr - 60), abs=0.2)
    assert all(beat.jt_ms is None for beat in rest if beat.qt_ms is None)


def test_unusable_recordings_never_raise_and_explain_themselves(shared: Path) -> None:
    signals = np.load(shared / "data/cinc2011/signals_500hz_int16.npy", mmap_mode="r")
    for row in range(80, 120, 4):
        found = measure(Recording((signals[row] / 200).astype(np.float32), 500.0, STANDARD))
        assert {name for name in Measurements.names() if getattr(found, name) is None} == set(found.reasons)


def test_noise_is_not_an_ecg() -> None:
    draw = np.random.default_rng(7)
    for size in (0.03, 0.3):
        unmeasured(measure(Recording(draw.normal(0, size, (12, 5000)).astype(np.float32), 500.0, STANDARD)))
        unmeasured(measure(Recording(draw.normal(0, size, (1, 5000)).astype(np.float32), 500.0, ("II",))))


@pytest.mark.parametrize("seconds", [29.9, 30.002, 30.02, 30.1, 32.4, 32.6, 60.05])
def test_a_short_tail_is_no_trouble(seconds: float) -> None:
    from llava_ecg.ecg.simulate import Heart, simulate

    recording, truth = simulate(Heart(rate_bpm=60), seed=1, seconds=seconds)
    found = measure(recording)
    assert found.heart_rate_bpm == pytest.approx(60, abs=1.5)
    assert abs(len(found.beats_s) - len(truth.beats_s)) <= 1
    assert np.all(np.diff(found.beats_s) > 0.5)


@pytest.mark.filterwarnings("error")
def test_a_lead_without_samples_beside_others_is_no_warning() -> None:
    recording = simulate(Heart(rate_bpm=72), seed=1, seconds=4.0)[0]
    signal = recording.signal.copy()
    signal[3] = np.nan
    signal[5, ::3] = np.nan
    found = measure(replace(recording, signal=signal))
    assert found.heart_rate_bpm == pytest.approx(72, abs=2)
