"""The page with marks: every mark at the true place of what was measured, in the style of its verdict, whatever the
claims are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.grounding.audit import Audit, Status, audit
from llava_ecg.grounding.marks import SPANS, Mark
from llava_ecg.grounding.picture import MOST_CLAIMS, STYLES, WIDTH, Picture, badge_places, picture

TEXT = (
    "Sinus rhythm at 72 bpm. The PR interval is 260 ms, QRS 92 ms, QT 395 ms. ST elevation in V2 and V3. T waves "
    "are inverted in V5. "
    "R in V5 is 1.1 mV. No pathological Q waves in the inferior leads. Possible pericarditis. RR interval 830 ms. "
    "P duration 100 ms."
)


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(Heart(rate_bpm=72, pr_ms=160, muscle_mv=0.004), seed=1)[0]


@pytest.fixture(scope="module")
def measured(recording: Recording) -> Measurements:
    return measure(recording)


@pytest.fixture(scope="module")
def drawn(recording: Recording, measured: Measurements) -> Picture:
    return picture(recording, measured, audit(TEXT, measured))


def of_claim(found: Picture, checked: Audit, quantity: str) -> list[Mark]:
    numbers = [n for n, verdict in enumerate(checked.verdicts, 1) if verdict.claim.quantity == quantity]
    return [mark for mark in found.marks if mark.number in numbers]


def near(image: np.ndarray, x: float, y: float, colour: tuple[int, int, int]) -> bool:
    """Whether the colour stands within 2 pixels of a place."""
    part = image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].astype(int)
    return bool((np.abs(part - colour).sum(axis=2) < 12).any())


def test_it_is_1600_pixels_wide_and_the_page_stays_unmarked(drawn: Picture) -> None:
    assert drawn.image.width == WIDTH == drawn.page.image.width
    assert drawn.image.height > drawn.page.image.height
    page = np.asarray(drawn.page.image).astype(int)
    for status in (Status.SUPPORTED, Status.CONTRADICTED):
        assert not (np.abs(page - STYLES[status].colour).sum(axis=2) == 0).any()


@pytest.mark.parametrize("quantity", list(SPANS))
def test_calipers_stand_where_the_waves_were_measured(drawn: Picture, measured: Measurements, quantity: str) -> None:
    (mark,) = [m for m in of_claim(drawn, audit(TEXT, measured), quantity) if m.kind == "caliper"]
    first, last = SPANS[quantity]
    beat = min(measured.beats, key=lambda beat: abs((getattr(beat, first) or -9) - mark.t0))
    assert (mark.t0, mark.t1) == (getattr(beat, first), getattr(beat, last))
    box = drawn.page.box("II", rhythm=True)
    pixels_a_second = 25 * drawn.page.px_per_mm
    for x, seconds in ((mark.x0, mark.t0), (mark.x1, mark.t1)):
        assert x == pytest.approx(box.x0 + (seconds - box.t0) * pixels_a_second, abs=2)
    assert mark.x1 - mark.x0 == pytest.approx((mark.t1 - mark.t0) * pixels_a_second, abs=2)


def test_colour_and_dash_are_those_of_the_verdict(drawn: Picture, measured: Measurements) -> None:
    checked, image = audit(TEXT, measured), np.asarray(drawn.image)
    seen = set()
    for mark in drawn.marks:
        status = checked.verdicts[mark.number - 1].status
        seen.add(status)
        assert near(image, mark.x0, mark.y0, STYLES[status].colour), mark
    assert (
        {Status.SUPPORTED, Status.CONTRADICTED, Status.NOT_CHECKED} >= seen >= {Status.SUPPORTED, Status.CONTRADICTED}
    )
    (wrong,) = [m for m in of_claim(drawn, checked, "pr_ms") if m.kind == "caliper"]
    (right,) = [m for m in of_claim(drawn, checked, "qt_ms") if m.kind == "caliper"]

    def gaps(mark: Mark) -> int:
        row = image[round(mark.y0), round(mark.x0) + 4 : round(mark.x1) - 4].astype(int)
        status = checked.verdicts[mark.number - 1].status
        return int((np.abs(row - STYLES[status].colour).sum(axis=1) > 12).sum())

    assert gaps(right) == 0 < gaps(wrong), "supported is solid, contradicted dashed"


def test_brackets_stand_under_the_names_of_the_cited_leads(drawn: Picture, measured: Measurements) -> None:
    marks = [m for m in of_claim(drawn, audit(TEXT, measured), "q_wave") if m.kind == "bracket"]
    assert [mark.box.lead for mark in marks] == ["II", "III", "aVF"]
    assert all(mark.box.x0 <= mark.x0 < mark.x1 <= mark.box.x1 and mark.y0 < mark.box.baseline for mark in marks)


def test_the_st_level_is_drawn_at_its_height(drawn: Picture, measured: Measurements) -> None:
    marks = [m for m in of_claim(drawn, audit(TEXT, measured), "st_category") if m.kind == "level"]
    assert [mark.box.lead for mark in marks] == ["V2", "V3"]
    for mark in marks:
        st = measured.leads[mark.box.lead].st60_mv
        assert st is not None and mark.mv1 - mark.mv0 == pytest.approx(st, abs=1e-6)
        assert mark.y0 == pytest.approx(drawn.page.at(mark.box, mark.t0, mark.mv1)[1], abs=2)


def test_an_amplitude_reaches_from_the_baseline_to_the_peak(
    drawn: Picture, measured: Measurements, recording: Recording
) -> None:
    (mark,) = [m for m in of_claim(drawn, audit(TEXT, measured), "r_mv") if m.kind == "height"]
    assert mark.mv1 - mark.mv0 == pytest.approx(measured.leads["V5"].r_mv, abs=1e-6)
    assert recording.lead("V5")[round(mark.t0 * recording.rate)] == pytest.approx(mark.mv1, abs=0.1)


def test_marks_of_one_row_do_not_overlap(recording: Recording, measured: Measurements) -> None:
    text = (
        "PR 160 ms. QRS 90 ms. QT 390 ms. QTc 420 ms. RR 830 ms. P duration 100 ms. Rate 72 bpm. PR 158 ms. QRS 94 ms."
    )
    marks = [m for m in picture(recording, measured, audit(text, measured)).marks if m.kind == "caliper"]
    assert len(marks) >= 9
    rows: dict[float, list[tuple[float, float]]] = {}
    for mark in marks:
        rows.setdefault(mark.y0, []).append((mark.x0, mark.x1))
    for spans in rows.values():
        ordered = sorted(spans)
        assert all(a[1] < b[0] for a, b in zip(ordered, ordered[1:], strict=False))


def test_no_badge_hides_the_trace_a_name_or_another_badge(drawn: Picture) -> None:
    dark = np.asarray(drawn.page.image).max(axis=2) < 110
    places = badge_places(drawn.page, drawn.marks)
    assert len(places) == len(drawn.marks) > 12
    for at, (x, y) in enumerate(places):
        part = dark[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        assert part.shape == (17, 17) and not part.any(), drawn.marks[at]
        assert all(abs(x - a) >= 20 or abs(y - b) >= 20 for a, b in places[at + 1 :]), drawn.marks[at]


def test_the_height_of_a_wave_stands_beside_it(drawn: Picture, measured: Measurements) -> None:
    (mark,) = [m for m in of_claim(drawn, audit(TEXT, measured), "r_mv") if m.kind == "height"]
    page, image = np.asarray(drawn.page.image).astype(int), np.asarray(drawn.image).astype(int)
    span = np.s_[round(mark.y1) + 4 : round(mark.y0) - 4, round(mark.x0) - 2 : round(mark.x0) + 3]
    assert (image[span] == page[span]).all(), "the upstroke that is measured stays visible"


def test_a_long_legend_has_two_columns(recording: Recording, measured: Measurements) -> None:
    def height(claims: int) -> int:
        text = " ".join(f"The PR interval is {150 + ms} ms." for ms in range(claims))
        return picture(recording, measured, audit(text, measured)).image.height

    row = height(12) - height(11)
    assert row > 0
    assert height(24) == height(12)
    assert height(MOST_CLAIMS) == height(12) + row * (MOST_CLAIMS // 2 - 12)
    assert height(MOST_CLAIMS + 3) == height(MOST_CLAIMS) + row, "one row says how many are left out"


def test_no_claim_many_claims_and_strange_text(recording: Recording, measured: Measurements) -> None:
    none = picture(recording, measured, audit("hello", measured))
    assert none.marks == () and none.image.height > none.page.image.height
    many = audit(" ".join(f"The PR interval is {ms} ms." for ms in range(100, 100 + MOST_CLAIMS + 20)), measured)
    assert len(many.verdicts) == MOST_CLAIMS + 20
    found = picture(recording, measured, many)
    assert max(mark.number for mark in found.marks) <= MOST_CLAIMS
    long = audit(
        "T wave inversion in I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5 and V6 " + "very " * 300 + "deep.", measured
    )
    assert picture(recording, measured, replace(long, verdicts=long.verdicts * 9)).image.width == WIDTH
    strange = audit("Sinusrhythmus " + "ä漢字\U0001f600 " * 200 + " PR 160 ms", measured)
    assert picture(recording, measured, strange).image.width == WIDTH


@pytest.mark.parametrize("leads", [("II",), ("I", "II", "V5"), STANDARD[6:]])
def test_few_leads(recording: Recording, leads: tuple[str, ...]) -> None:
    part = Recording(recording.signal[[STANDARD.index(name) for name in leads]], recording.rate, leads)
    measured = measure(part)
    found = picture(part, measured, audit(TEXT, measured))
    assert all(mark.box.recorded for mark in found.marks)


def test_gaps_a_dead_lead_and_an_empty_signal(recording: Recording) -> None:
    signal = recording.signal.copy()
    signal[10] = np.nan
    signal[:, 1000:1400] = np.nan
    broken = replace(recording, signal=signal)
    measured = measure(broken)
    assert picture(broken, measured, audit(TEXT, measured)).image.width == WIDTH
    flat = replace(recording, signal=np.zeros_like(signal))
    nothing = measure(flat)
    assert [mark for mark in picture(flat, nothing, audit(TEXT, nothing)).marks if mark.kind != "bracket"] == []


def test_absent_p_waves_are_shown_where_they_would_stand() -> None:
    recording = simulate(Heart(rhythm="atrial fibrillation", rr_cv=0.2, rate_bpm=90), seed=3)[0]
    measured = measure(recording)
    (mark,) = picture(recording, measured, audit("No P waves.", measured)).marks
    assert mark.t1 - mark.t0 == pytest.approx(0.2) and mark.kind == "caliper"


def test_measurements_of_another_recording_are_refused(recording: Recording, measured: Measurements) -> None:
    short = replace(recording, signal=recording.signal[:, :1000])
    with pytest.raises(InputError, match="another, longer recording"):
        picture(short, measured, audit(TEXT, measured))


def test_a_long_recording_and_a_low_rate(recording: Recording) -> None:
    for rate, seconds in ((100.0, 10.0), (500.0, 40.0)):
        other = simulate(Heart(), seed=2, rate=rate, seconds=seconds)[0]
        measured = measure(other)
        found = picture(other, measured, audit(TEXT, measured))
        assert found.marks and all(mark.x1 <= WIDTH for mark in found.marks)
