"""The page is at true scale, and says what it does not show."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_ecg.ecg import ink
from llava_ecg.ecg import render as pages
from llava_ecg.ecg.heading import heading
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.render import COLOURS, LAYOUTS, PAPERS, Page, draw_page, render
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError


def _flat(rate: float = 500.0, seconds: float = 10.0, leads: tuple[str, ...] = STANDARD) -> Recording:
    return Recording(np.zeros((len(leads), round(rate * seconds)), dtype=np.float32), rate, leads)


def _darkness(page: Page) -> np.ndarray:
    """How much ink lies on each pixel, 0 to 1: the trace takes red away, the grid hardly does."""
    red = np.asarray(page.image)[..., 0].astype(float)
    return np.clip((225 - red) / 203, 0, 1)


@pytest.mark.parametrize("dpi", [100, 200, 300])
def test_calibration_pulse_is_one_millivolt_high_and_two_tenths_wide(dpi: float) -> None:
    page = draw_page(_flat(), dpi=dpi)
    mm, ink, box = page.px_per_mm, _darkness(page), page.box("I")
    x = box.x0 - 7.5 * mm  # the middle of the pulse
    column = ink[round(box.baseline - 15 * mm) : round(box.baseline + 5 * mm), round(x)]
    top = round(box.baseline - 15 * mm) + (np.arange(len(column)) * column).sum() / column.sum() + 0.5
    assert box.baseline - top == pytest.approx(10 * mm, abs=0.5)
    row = ink[round(box.baseline - 5 * mm), : round(box.x0 - mm)]
    dark = np.flatnonzero(row > 0.3)
    left, right = dark[dark < x].mean(), dark[dark > x].mean()
    assert right - left == pytest.approx(5 * mm, abs=0.6)


@pytest.mark.parametrize("rate", [128.0, 250.0, 500.0, 1000.0])
def test_spikes_a_second_apart_stand_25_mm_apart(rate: float) -> None:
    recording = _flat(rate)
    recording.signal[:, :: round(rate)] = 1.0
    page = draw_page(recording)
    box = page.box("II", rhythm=True)
    row = _darkness(page)[round(box.baseline - 7 * page.px_per_mm), round(box.x0 + 5) : round(box.x1 - 5)]
    groups = np.split(np.flatnonzero(row), np.flatnonzero(np.diff(np.flatnonzero(row)) > 20) + 1)
    spikes = np.array([np.average(group, weights=row[group]) for group in groups if row[group].max() > 0.2])
    assert len(spikes) == 9
    np.testing.assert_allclose(np.diff(spikes), 25 * page.px_per_mm, atol=0.3)


def test_a_marked_place_is_where_the_trace_is() -> None:
    recording, truth = simulate(Heart(), seed=4)
    page = draw_page(recording)
    ink = _darkness(page)
    for box in page.boxes:
        for seconds in np.arange(box.t0 + 0.1, box.t1 - 0.1, 0.173):
            mv = recording.lead(box.lead)[round(seconds * 500)]
            x, y = page.at(box, round(seconds * 500) / 500, float(mv))
            assert ink[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].max() > 0.5, (box.lead, seconds)
    assert len(truth.beats_s) > 5


def test_layout_is_the_usual_one() -> None:
    page = draw_page(_flat())
    assert page.image.size == (2200, 1700)
    assert [box.lead for box in page.boxes] == [
        "I",
        "aVR",
        "V1",
        "V4",
        "II",
        "aVL",
        "V2",
        "V5",
        "III",
        "aVF",
        "V3",
        "V6",
        "II",
    ]
    assert (page.box("V1").t0, page.box("V1").t1) == (5.0, 7.5)
    assert (page.boxes[-1].t0, page.boxes[-1].t1, page.boxes[-1].rhythm) == (0.0, 10.0, True)
    with pytest.raises(InputError, match="no box for lead Vx"):
        page.box("Vx")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("paper", PAPERS)
def test_every_layout_fits_its_paper(layout: str, paper: str) -> None:
    page = draw_page(_flat(), dpi=60, layout=layout, paper=paper)
    width, height = page.image.size
    for box in page.boxes:
        assert 12 * page.px_per_mm < box.x0 < box.x1 < width
        assert 0 < box.baseline < height
    assert {box.lead for box in page.boxes} == set(STANDARD)


def test_missing_leads_are_named_and_not_drawn() -> None:
    page = draw_page(_flat(leads=("I", "V2")), dpi=100)
    assert {box.lead for box in page.boxes if box.recorded} == {"I", "V2"}
    assert page.boxes[-1].lead == "I"  # the rhythm strip takes the first lead there is
    ink, box = _darkness(page), page.box("V4")
    assert ink[round(box.baseline), round(box.x0 + 3 * page.px_per_mm)] < 0.3  # no trace at the edge of the box
    assert (
        ink[round(box.baseline) - 8 : round(box.baseline) + 8, round(box.x0) : round(box.x1)].max() > 0.3
    )  # but words in its middle


def test_limb_leads_that_follow_from_two_are_drawn() -> None:
    page = draw_page(_flat(leads=("I", "II", "V1")), dpi=60)
    assert page.box("aVF").recorded and not page.box("V3").recorded


def test_gaps_short_records_and_all_nan_leads_stay_empty() -> None:
    recording = _flat(seconds=6.0)
    recording.signal[:, 500:1000] = np.nan
    recording.signal[7] = np.nan
    page = draw_page(recording)
    ink, strip = _darkness(page), page.box("II", rhythm=True)

    def drawn(seconds: float) -> bool:
        x, y = page.at(strip, seconds, 0.0)
        return bool(ink[round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3].max() > 0.5)

    assert [drawn(s) for s in (0.5, 1.5, 3.0, 5.9, 6.5, 9.0)] == [True, False, True, True, False, False]
    assert not page.box("V2").recorded, "a lead of NaN says so"


def test_offset_is_taken_away_and_huge_voltages_are_cut_at_the_page() -> None:
    recording = _flat()
    recording.signal[:] += 40.0
    recording.signal[:, 1000:1100] = 500.0
    page = draw_page(recording, dpi=80)
    assert page.box("II", rhythm=True).level_mv == 40.0
    x, y = page.at(page.box("II", rhythm=True), 8.0, 40.0)
    assert _darkness(page)[round(y) - 1 : round(y) + 2, round(x)].max() > 0.5


def test_start_shows_a_later_part() -> None:
    recording = _flat(seconds=20.0)
    recording.signal[:, round(12.0 * 500)] = 1.0
    page = draw_page(recording, start=10.0)
    box = page.box("II", rhythm=True)
    x, y = page.at(box, 12.0, 0.7)
    assert x == pytest.approx(box.x0 + 50 * page.px_per_mm, abs=0.01)
    assert _darkness(page)[round(y), round(x) - 2 : round(x) + 3].max() > 0.3


def test_page_is_the_same_every_time_and_the_grid_is_not_drawn_on() -> None:
    recording, _ = simulate(seed=1)
    first = np.asarray(render(recording, dpi=50))
    render(simulate(seed=2)[0], dpi=50)
    np.testing.assert_array_equal(first, np.asarray(render(recording, dpi=50)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layout": "4x3"}, "'4x3'"),
        ({"paper": "a5"}, "'a5'"),
        ({"colour": "teal"}, "'teal'"),
        ({"dpi": 5}, "5 dpi"),
        ({"dpi": 9999}, "9999"),
    ],
)
def test_impossible_pages_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        draw_page(_flat(), **options)  # type: ignore[arg-type]


def test_an_empty_recording_gives_an_empty_page() -> None:
    assert render(Recording(np.zeros((12, 0), dtype=np.float32), 500.0, STANDARD), dpi=50).size == (550, 425)


def test_saved_png_remembers_its_scale(tmp_path: Path) -> None:
    page = render(_flat(), dpi=100)
    page.save(tmp_path / "page.png", dpi=page.info["dpi"])
    with Image.open(tmp_path / "page.png") as image:
        assert image.info["dpi"][0] == pytest.approx(100, abs=0.1)


def ink_of_the_whole_page(pixels: np.ndarray, curves: list[tuple[np.ndarray, np.ndarray]], scale: float) -> None:
    """What `ink.draw_ink` does, slowly: each span of ink adds to every pixel row of its column."""
    height, width = pixels.shape[:2]
    coverage = np.zeros((height, width))
    for x, y in curves:
        for column, low, high in zip(*ink.spans(x, y, max(0.5 * ink.PEN_MM * scale, 0.55)), strict=True):
            low, high = min(max(low, 0.0), height), min(max(high, 0.0), height)
            if 0 <= column < width and low < high:
                rows = np.arange(math.floor(low), math.ceil(high))
                coverage[rows, column] += np.minimum(high, rows + 1) - np.maximum(low, rows)
    share = np.minimum(coverage / ink.SUB, 1.0)[:, :, None]
    inked = np.rint(pixels[:, :, :3] * (1 - share) + np.array(ink.INK) * share).astype(np.uint8)
    pixels[:, :, :3] = np.where(share > 0.004, inked, pixels[:, :, :3])


@pytest.mark.parametrize(
    ("voltage", "words"), [(1.0, {}), (4.0, {"dpi": 72.0}), (0.5, {"layout": "12x1", "dpi": 60.0, "start": 5.3})]
)
def test_ink_is_that_of_the_obvious_way(monkeypatch: pytest.MonkeyPatch, voltage: float, words: dict[str, Any]) -> None:
    recording, _ = simulate(Heart(voltage=voltage), seed=3)
    recording.signal[2, 900:1300] = np.nan
    fast = np.asarray(render(recording, **words))
    monkeypatch.setattr(pages, "draw_ink", ink_of_the_whole_page)
    assert np.array_equal(fast, np.asarray(render(recording, **words)))


def test_a_page_is_not_drawn_on_the_shared_sheet() -> None:
    one, two = (render(simulate(Heart(rate_bpm=rate), seed=1)[0], dpi=72) for rate in (50, 90))
    assert np.array_equal(np.asarray(one), np.asarray(render(simulate(Heart(rate_bpm=50), seed=1)[0], dpi=72)))
    one.putpixel((300, 300), (1, 2, 3))
    assert two.getpixel((300, 300)) != (1, 2, 3)
    assert one.mode == "RGB" and one.size == two.size


def test_high_voltages_halve_the_gain_and_stay_in_their_row() -> None:
    for voltage, gain in ((1.0, 10.0), (4.0, 5.0)):
        recording, _ = simulate(Heart(voltage=voltage, muscle_mv=0.0), seed=2)
        page = draw_page(recording)
        assert page.scale.mm_per_mv == gain and not any(box.clipped for box in page.boxes)
        x, y = page.at(page.box("II"), 0.0, page.box("II").level_mv + 1.0)
        assert page.box("II").baseline - y == pytest.approx(gain * page.px_per_mm)


def test_what_leaves_its_row_at_the_smallest_gain_is_cut_there_and_says_so() -> None:
    recording = _flat()
    recording.signal[1, 300:340] = 60.0
    page = draw_page(recording)
    assert page.scale.mm_per_mv == 2.5 and page.box("II").clipped and not page.box("I").clipped
    ink, box = _darkness(page), page.box("II")
    column = round(page.at(box, 0.64, 0.0)[0])
    top = box.baseline - 0.95 * 45 * page.px_per_mm
    assert ink[round(top) - 2 : round(top) + 3, column].max() > 0.5
    above = round(page.box("I").baseline) + 5
    assert ink[above : round(top) - 4, column].max() < 0.3, "nothing beyond the row, up to the trace above it"
    assert draw_page(recording, gain=10.0).box("II").clipped


def test_gain_and_speed_are_the_scale() -> None:
    recording = _flat(seconds=20.0)
    for gain, speed, seconds in ((20.0, 50.0, 5.0), (5.0, 12.5, 20.0)):
        page = draw_page(recording, gain=gain, speed=speed)
        assert page.image.info["ecg_seconds"] == (0.0, seconds)
        strip = page.box("II", rhythm=True)
        assert (strip.t0, strip.t1) == (0.0, seconds)
        x, y = page.at(strip, 1.0, 1.0)
        assert (x - strip.x0, strip.baseline - y) == pytest.approx((speed * page.px_per_mm, gain * page.px_per_mm))
        ink, left = _darkness(page), strip.x0 - (3 + 2 + 0.1 * speed) * page.px_per_mm
        high = round(strip.baseline - gain * page.px_per_mm)
        assert ink[high - 2 : high + 3, round(left)].max() > 0.5, "the calibration pulse is 1 mV high"


def test_the_foot_tells_the_part_of_a_longer_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[pages.Words] = []
    whole = pages._write

    def write(image: Image.Image, words: pages.Words, *more: Any) -> None:
        seen.append(words)
        whole(image, words, *more)

    monkeypatch.setattr(pages, "_write", write)
    pages._sheet.cache_clear()
    draw_page(_flat(seconds=10.3))
    draw_page(_flat(seconds=115.0), start=20.0)
    draw_page(_flat(), gain=5.0, speed=50.0)
    assert [words.foot for words in seen] == [
        "25 mm/s   10 mm/mV",
        "25 mm/s   10 mm/mV   20 to 30 s of 115.0 s",
        "50 mm/s   5 mm/mV   0 to 5 s of 10.0 s",
    ]


def test_a_heading_has_the_person_only_if_asked_for() -> None:
    recording, _ = simulate(Heart(rate_bpm=70), seed=1)
    recording = replace(recording, start=datetime(2014, 5, 8, 5, 5), metadata={"age": 63.0, "sex": "female"})
    first, second = heading(recording, measure(recording))
    assert first == "2014-05-08 05:05   500 Hz, unfiltered"
    assert second.startswith("70 bpm   PR 1") and second.endswith("deg")
    assert heading(recording, person=True) == ("2014-05-08 05:05   63 years   female   500 Hz, unfiltered", "")
    assert "PR - ms" in heading(recording, Measurements(heart_rate_bpm=70.0))[1]
    plain, headed = (np.asarray(render(recording, heading=lines)) for lines in ((), (first, second)))
    changed = np.flatnonzero((plain != headed).any(axis=(1, 2)))
    assert len(changed) and changed.max() < 15 * 200 / 25.4, "above the grid"


def test_rhythm_strips_of_each_layout() -> None:
    for layout, strips in {"3x4": [], "3x4+1": ["II"], "3x4+3": ["V1", "II", "V5"], "6x2": [], "12x1": []}.items():
        boxes = draw_page(_flat(), dpi=60, layout=layout).boxes
        assert [box.lead for box in boxes if box.rhythm] == strips
        assert [box.lead for box in boxes if not box.rhythm and box.t0 == 0.0][:3] == ["I", "II", "III"]
    page = draw_page(_flat(leads=("I", "V2")), dpi=60, layout="3x4+3")
    assert not any(box.recorded for box in page.boxes if box.rhythm), "of three strips none takes another's place"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_trace_of_a_layout_is_where_its_box_says(layout: str) -> None:
    recording, _ = simulate(Heart(), seed=4)
    page = draw_page(recording, layout=layout, gain=5.0)
    ink = _darkness(page)
    for box in page.boxes:
        seconds = round((0.3 * box.t0 + 0.7 * box.t1) * 500) / 500
        x, y = page.at(box, seconds, float(recording.lead(box.lead)[round(seconds * 500)]))
        assert ink[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].max() > 0.5, box


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_is_that_of_its_lines_and_leaves_the_ink(colour: str) -> None:
    recording, _ = simulate(seed=1)
    page = draw_page(recording, colour=colour)
    pixels, mm = np.asarray(page.image).astype(int), page.px_per_mm
    red, green, blue = pixels[round(100 * mm), round(10 * mm)]  # on a heavy line, away from the traces
    strongest = {"red": red > green + 40, "pink": red > blue + 40, "blue": blue > red + 40, "green": green > red + 40}
    assert strongest.get(colour, red == green == blue)
    assert red == {"none": 255, "grey": 190}.get(colour, red)
    ink = (pixels.max(axis=2) < 60).sum()
    assert ink == pytest.approx((np.asarray(render(recording)).max(axis=2) < 60).sum(), rel=0.02)


def test_leads_behind_the_end_of_a_short_recording_are_drawn_of_its_last_seconds() -> None:
    recording = _flat(seconds=10.0)
    recording.signal[:, round(7.0 * 500)] = 1.0
    page = draw_page(recording, speed=12.5)
    assert [(box.t0, box.t1) for box in page.boxes if box.lead in ("V1", "V4")] == [(5.0, 10.0)] * 2
    assert all(box.recorded for box in page.boxes)
    x, y = page.at(page.box("V4"), 7.0, 0.7)
    assert _darkness(page)[round(y), round(x) - 2 : round(x) + 3].max() > 0.3
    usual = draw_page(_flat(seconds=9.0))
    assert [usual.box(lead).t0 for lead in ("I", "aVR", "V1", "V4")] == [0.0, 2.5, 5.0, 7.5], "begun is begun"
    assert not any(box.recorded for box in draw_page(_flat(seconds=5.0), start=6.0).boxes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_trace_runs_into_the_heading_or_off_the_sheet_unsaid(layout: str) -> None:
    recording = _flat()
    recording.signal[:, ::250] = 2.6
    recording.signal[:, 100::250] = -2.6
    plain = draw_page(recording, layout=layout, gain=20.0)
    headed = draw_page(recording, layout=layout, gain=20.0, heading=("", "70 bpm"))
    mm, ink = headed.px_per_mm, _darkness(headed)
    left = slice(round(headed.boxes[0].x0), round(100 * mm))  # the words stand on the right
    assert ink[: round(11.5 * mm), left].max() < 0.3
    for page in (plain, headed):
        for box in page.boxes:
            high, low = page.at(box, box.t0, 2.6)[1], page.at(box, box.t0, -2.6)[1]
            assert box.clipped or (high >= 0 and low < page.image.height), box
    assert headed.box("I").clipped
    assert draw_page(recording, layout="3x4+1", heading=("", "70 bpm")).scale.mm_per_mv == 10.0
    recording.signal[:, ::250] = 3.2
    assert draw_page(recording, layout="3x4+1", heading=("", "70 bpm")).scale.mm_per_mv == 5.0


def test_a_title_that_the_font_has_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"no É, ß; write the title as 'Dr\. Emile Gross'"):
        draw_page(_flat(), title="Dr. Émile Groß", dpi=60)
    assert draw_page(_flat(), title="Ward 3 (bed 12)", dpi=60).image.width


def test_names_of_single_rows_stand_in_their_own_row() -> None:
    page = draw_page(_flat(), layout="12x1", gain=10.0)
    ink, mm = _darkness(page), page.px_per_mm
    for box in page.boxes[1:]:
        border = round(box.baseline - 7.5 * mm)
        name = ink[border - 8 : border + 1, round(box.x0 + 1.5 * mm) : round(box.x0 + 10 * mm)]
        assert name.max() < 0.45, box.lead
