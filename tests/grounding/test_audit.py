"""`audit`: each verdict follows from its claim, the measured value and the tolerance, and from nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_ecg.ecg.measurements import BeatMeasurements, LeadMeasurements, Measurements
from llava_ecg.grounding.audit import DEFAULT, Audit, Status, Tolerances, audit
from llava_ecg.grounding.claims import find_claims
from llava_ecg.grounding.tolerances import CATEGORIES

NORMAL = Measurements(
    heart_rate_bpm=73.0,
    rr_ms=822.0,
    rhythm_regular=True,
    p_present=True,
    pr_ms=160.0,
    qrs_ms=92.0,
    qt_ms=390.0,
    qtc_bazett_ms=430.0,
    qtc_fridericia_ms=416.0,
    axis_deg=45.0,
    leads={"II": LeadMeasurements(p_mv=0.1), "V1": LeadMeasurements(p_mv=None), "V2": LeadMeasurements(p_mv=0.05)},
)


def statuses(text: str, measurements: Measurements | None = NORMAL, **options: object) -> list[str]:
    return [verdict.status.value for verdict in audit(text, measurements, **options).verdicts]  # type: ignore[arg-type]


def one(text: str, measurements: Measurements | None = NORMAL, sex: str | None = None) -> str:
    (status,) = [verdict.status.value for verdict in audit(text, measurements, sex=sex).verdicts]
    return status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("HR 78", "supported"),  # on the tolerance
        ("HR 78.1", "contradicted"),
        ("HR 67.9", "contradicted"),
        ("PR 180", "supported"),
        ("PR 181", "contradicted"),
        ("QRS 112", "supported"),
        ("QRS 71", "contradicted"),
        ("QT 415", "supported"),
        ("QT 416", "contradicted"),
        ("QTc 460", "supported"),
        ("QTc 461", "contradicted"),
        ("QTcF 446", "supported"),
        ("QTcF 447", "contradicted"),
        ("axis 65", "supported"),
        ("axis 24", "contradicted"),
        ("heart rate 80-100 bpm", "contradicted"),
        ("heart rate 78-100 bpm", "supported"),
        ("axis between -30 and 90 degrees", "supported"),
        ("axis between 70 and 90 degrees", "contradicted"),
        ("QRS < 120 ms", "supported"),
        ("QRS less than 70 ms", "contradicted"),
        ("the rate is above 80 bpm", "contradicted"),
        ("the rate is above 77 bpm", "supported"),
        ("a regular rhythm", "supported"),
        ("an irregularly irregular rhythm", "contradicted"),
        ("no P waves", "contradicted"),
        ("P waves before each QRS", "supported"),
        ("tachycardia", "contradicted"),
        ("a normal rate", "supported"),
        ("a wide QRS", "contradicted"),
        ("left axis deviation", "contradicted"),
        ("a prolonged PR interval", "contradicted"),
        ("a prolonged QTc", "borderline"),  # 430 lies within 30 of 460: too near to call
        ("a normal QTc", "supported"),
        ("QTc 430 ms (Framingham)", "unmeasurable"),
        ("the heart rate is 73 bpm in lead II", "supported"),
        ("the PR interval is 165 ms in lead II", "supported"),
        ("the PR interval is 240 ms in lead II", "contradicted"),
        ("not prolonged PR", "supported"),
        ("no bradycardia", "supported"),
        ("no normal axis", "contradicted"),
        ("possible tachycardia", "not checked"),
        ("possible normal rate", "supported"),
        ("acute pericarditis", "not checked"),
    ],
)
def test_a_verdict_follows_from_value_and_tolerance(text: str, status: str) -> None:
    assert one(text) == status


@pytest.mark.parametrize(
    ("text", "field", "low", "high"),
    [
        ("bradycardia", "heart_rate_bpm", None, 65),
        ("a normal rate", "heart_rate_bpm", 55, 105.2),  # 5 % of 105.2
        ("tachycardia", "heart_rate_bpm", 95, None),
        ("a short PR interval", "pr_ms", None, 140),
        ("a normal PR interval", "pr_ms", 100, 220),
        ("a prolonged PR interval", "pr_ms", 180, None),
        ("a narrow QRS", "qrs_ms", None, 145),
        ("a wide QRS", "qrs_ms", 100, None),
        ("a normal QTc", "qtc_bazett_ms", None, 490),
        ("a prolonged QTc", "qtc_bazett_ms", 430, None),
        ("left axis deviation", "axis_deg", -110, -10),
        ("a normal axis", "axis_deg", -50, 110),
        ("right axis deviation", "axis_deg", 70, 180),
        ("extreme axis deviation", "axis_deg", -180, -70),
    ],
)
def test_a_category_is_contradicted_one_tolerance_past_its_bounds(
    text: str, field: str, low: float | None, high: float | None
) -> None:
    def measured(value: float) -> Measurements:
        return Measurements.from_dict({field: value})

    for bound, outward in ((low, -1), (high, 1)):
        if bound is not None and abs(bound) != 180:
            tolerance = abs(bound - threshold(text, field, outward))
            assert one(text, measured(bound - outward * (1.7 * tolerance + 1))) == "supported"
            beyond = 0.5 if field == "heart_rate_bpm" else 0.35 * tolerance
            assert (
                one(text, measured(bound))
                == one(text, measured(bound - outward * (tolerance + beyond)))
                == "borderline"
            )
            assert one(text, measured(bound + outward)) == "contradicted"


def threshold(text: str, field: str, outward: int) -> float:
    """The lower or upper bound of the category that a text names."""
    (claim,) = find_claims(text)
    if field == "qtc_bazett_ms":
        return 460.0
    bounds = CATEGORIES[claim.quantity, str(claim.value)]
    return bounds.low if outward < 0 else bounds.high


def test_beside_a_threshold_neither_side_is_right_or_wrong() -> None:
    long, short = replace(NORMAL, pr_ms=205.0), replace(NORMAL, pr_ms=195.0)
    for text, there, elsewhere in (("a prolonged PR interval", long, short), ("no prolonged PR interval", short, long)):
        assert one(text, there) == one(text, elsewhere) == "borderline"
        assert audit(text, there).lines()[0].endswith("too near to call")
    assert one("a prolonged PR interval", replace(NORMAL, pr_ms=215.0)) == "supported"


def test_the_rates_tolerance_grows_with_the_rate() -> None:
    assert one("HR 190", replace(NORMAL, heart_rate_bpm=199.0)) == "supported"
    assert one("HR 189", replace(NORMAL, heart_rate_bpm=199.0)) == "contradicted"


@pytest.mark.parametrize(
    ("measured", "text", "status"),
    [
        (175.0, "axis -170", "supported"),
        (175.0, "axis -160", "contradicted"),
        (-175.0, "axis 175", "supported"),
        (-175.0, "right axis deviation", "borderline"),  # 5 degrees past 180
        (-150.0, "right axis deviation", "contradicted"),
        (-150.0, "an extreme axis", "supported"),
        (-40.0, "a normal axis", "borderline"),
        (-41.0, "left axis deviation", "supported"),
        (-51.0, "a normal axis", "contradicted"),
        (175.0, "axis between 160 and -170 degrees", "supported"),
        (0.0, "axis between 160 and -170 degrees", "contradicted"),
    ],
)
def test_the_axis_is_a_circle(measured: float, text: str, status: str) -> None:
    assert one(text, replace(NORMAL, axis_deg=measured)) == status


def test_the_qtc_threshold_is_that_of_the_sex_and_it_says_so_when_unknown() -> None:
    long = replace(NORMAL, qtc_bazett_ms=455.0)
    assert one("a normal QTc", long, "male") == one("a normal QTc", long, "F") == "borderline"
    longer = replace(NORMAL, qtc_bazett_ms=481.0)
    assert one("a normal QTc", longer, "male") == "contradicted" and one("a normal QTc", longer, "F") == "borderline"
    assert (
        "460 ms (Bazett; the threshold of women, used as the sex is not known)"
        in audit("a normal QTc", long).lines()[0]
    )
    assert "450 ms (Bazett; the threshold of men)" in audit("a normal QTc", long, sex="M").lines()[0]


def shown(level: float, cornell: float = 1.0) -> Measurements:
    """ST of that many mV in V2 and V3 and none elsewhere; Cornell's sum."""
    leads = {
        name: LeadMeasurements(st_j_mv=st_mv, st60_mv=st_mv, qrs_mv=1.5, r_mv=0.8, s_mv=-0.7)
        for name, st_mv in (("V1", 0.0), ("V2", level), ("V3", level), ("V4", 0.0))
    }
    return replace(NORMAL, leads=leads, sokolow_lyon_mv=2.0, cornell_mv=cornell)


@pytest.mark.parametrize(
    ("level", "sex", "age", "status"),
    [
        (0.19, "F", 30, "supported"), (0.19, "M", 30, "borderline"), (0.24, "M", 50, "supported"),
        (0.24, "M", "50", "supported"), (0.24, "M", 39, "borderline"), (0.29, "M", 39, "supported"),
        (0.24, "M", None, "supported"), (0.19, None, None, "borderline"),
    ],
)  # fmt: skip
def test_st_elevation_in_v2_and_v3_has_the_threshold_of_sex_and_age(
    level: float, sex: str | None, age: float | str | None, status: str
) -> None:
    for text in ("ST elevation in V2 and V3", "There is ST elevation."):
        assert statuses(text, shown(level), sex=sex, age=age) == [status]


def test_it_says_whose_threshold_it_was() -> None:
    lines = audit("ST elevation in V2 and V3", shown(0.19), sex="F", age=30).lines()
    assert "from 0.15 mV in V2 and V3, the threshold of women" in lines[0]
    assert "threshold" not in audit("ST elevation in V2 and V3", shown(0.3)).lines()[0]


@pytest.mark.parametrize("level", [0.2, 0.24])
def test_a_normal_st_and_a_normal_ecg_go_by_it_too(level: float) -> None:
    for text, young in (("Normal ST segments.", "supported"), ("Normal ECG.", "not checked")):
        assert statuses(text, shown(level), sex="F") == ["contradicted"]
        assert statuses(text, shown(level), sex="M", age=30) == [young]


@pytest.mark.parametrize(
    ("cornell", "sex", "status"),
    [
        (2.3, "F", "supported"), (2.3, "M", "contradicted"), (2.3, None, "borderline"), (2.1, "F", "supported"),
        (1.9, "F", "borderline"), (1.65, "F", "contradicted"), (3.1, "M", "supported"), (2.7, "M", "borderline"),
    ],
)  # fmt: skip
def test_hypertrophy_by_cornell_has_the_threshold_of_the_sex(cornell: float, sex: str | None, status: str) -> None:
    assert statuses("Left ventricular hypertrophy by voltage criteria", shown(0.0, cornell), sex=sex) == [status]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Transition at V4.", "supported"),
        ("Transition between V4 and V5.", "supported"),
        ("Transition at V3.", "borderline"),
        ("Transition at V2.", "contradicted"),
        ("The transition zone is at V6.", "contradicted"),
    ],
)
def test_where_r_exceeds_s(text: str, status: str) -> None:
    assert one(text, replace(NORMAL, r_transition="V4")) == status
    nowhere = replace(NORMAL, reasons={"r_transition": "R is nowhere above S in V1 to V6"})
    assert (one(text, nowhere), one(text)) == ("contradicted", "unmeasurable")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("A pause of 2.4 s", "supported"), ("A pause of 3 s", "contradicted"), ("A pause of 1.7 s", "supported"),
        ("A pause of 0.8 s", "contradicted"), ("pauses up to 2.5 s", "supported"),
        ("no pause longer than 2 s", "contradicted"), ("no pause longer than 3 s", "supported"),
    ],
)  # fmt: skip
def test_how_long_a_pause_is(text: str, status: str) -> None:
    """Of two long RR intervals, 1.7 and 2.4 s, beside usual ones of 0.8."""
    beats = tuple(
        BeatMeasurements(r_s=at, rr_before_ms=rr)
        for at, rr in ((0.0, None), (0.8, 800.0), (2.5, 1700.0), (4.9, 2400.0))
    )
    slow = replace(NORMAL, beats=beats, rr_max_ms=2400.0, pauses=1)
    (found,) = [each for each in audit(text, slow).verdicts if each.claim.quantity == "pause_ms"]
    assert found.status.value == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Dominant R wave in V1", "supported"), ("No dominant R in V1", "contradicted"),
        ("Dominant S in V1", "contradicted"), ("R/S ratio > 1 in V1 and V2", "contradicted"),
        ("Dominant R in V3", "borderline"), ("Dominant R in V9", "unmeasurable"), ("A dominant R wave", "not checked"),
        ("Dominant S wave in V2", "supported"),
    ],
)  # fmt: skip
def test_which_of_r_and_s_is_dominant(text: str, status: str) -> None:
    leads = {
        "V1": LeadMeasurements(r_mv=1.0, s_mv=-0.4, qrs_mv=1.4),
        "V2": LeadMeasurements(q_mv=-1.2, qrs_mv=1.2, pattern="QS"),
        "V3": LeadMeasurements(r_mv=1.0, s_mv=-1.0, qrs_mv=2.0),
    }
    assert one(text, replace(NORMAL, leads=leads)) == status


def test_a_lead_that_was_not_recorded_is_unmeasurable_and_named() -> None:
    measured = replace(
        NORMAL, leads={name: LeadMeasurements(st_j_mv=0.3, st60_mv=0.3, qrs_mv=1.0) for name in ("V2", "V3")}
    )
    for text in ("ST elevation in V9", "ST elevation in V7-V9", "2 mm ST elevation in V4R", "T inverted in V8"):
        found = audit(text, measured).verdicts
        assert [verdict.status.value for verdict in found] == ["unmeasurable"], text
        assert found[0].claim.leads[-1] in ("V9", "V4R", "V8") and "V" in found[0].reason
    assert one("ST elevation in V2 and V3", measured) == "supported"


def test_leads_of_a_list_that_could_not_decide_are_named() -> None:
    leads = {name: LeadMeasurements(st_j_mv=0.3, st60_mv=0.3, qrs_mv=1.0, t_mv=0.3) for name in ("V2", "V3")}
    leads["V4"] = LeadMeasurements(quality="flat")
    measured = replace(NORMAL, leads=leads)

    def reason(text: str) -> tuple[str, str]:
        (verdict,) = audit(text, measured).verdicts
        return verdict.status.value, verdict.reason

    assert reason("ST elevation in V2, V3") == ("supported", "")
    one_left = "without V7, which was not recorded or can't be measured"
    assert reason("ST elevation in V2, V3 and V7") == ("supported", one_left)
    two_left = "without V1, V4, which were not recorded or can't be measured"
    assert reason("T wave inversion in V1-V4") == ("contradicted", two_left)
    assert reason("ST elevation of 3 mm in V2-V4")[1] == "without V4, which was not recorded or can't be measured"


def test_without_a_signal_nothing_is_right_or_wrong() -> None:
    result = audit("HR 72, PR 160, no P waves, left axis deviation", None)
    assert result.counts == {"supported": 0, "contradicted": 0, "borderline": 0, "unmeasurable": 4, "not checked": 0}
    assert {verdict.reason for verdict in result.verdicts} == {"no signal was given"}


def test_what_was_not_measured_is_unmeasurable_with_the_reason() -> None:
    reasons = {"qt_ms": "the end of T was not found"}
    empty = Measurements(p_present=False, reasons=reasons)
    assert [v.reason for v in audit("PR 160, QT 390, QTc 425, regular rhythm, HR 72", empty).verdicts] == [
        "no P wave was found",
        "the end of T was not found",
        "it was not measured",
        "it was not measured",
        "it was not measured",
    ]
    assert one("HR 72", replace(NORMAL, heart_rate_bpm=float("nan"))) == "unmeasurable"
    assert one("P waves are present", Measurements()) == "unmeasurable"


def test_a_p_wave_in_one_lead_is_confirmed_or_left_open() -> None:
    assert one("P waves are present in lead II") == "supported"
    assert one("P waves are present in V1") == "unmeasurable"
    assert one("P waves are present in V1-V2") == "unmeasurable"
    assert one("P waves are absent in V2") == "unmeasurable"


def test_a_text_that_contradicts_itself_gets_two_verdicts() -> None:
    assert statuses("The rate is 72 bpm. The rate is 110 bpm.") == ["supported", "contradicted"]


def test_tolerances_can_be_set() -> None:
    assert statuses("HR 73, PR 161", NORMAL, tolerances=Tolerances(rate_bpm=0, rate_fraction=0, pr_ms=0.5)) == [
        "supported",
        "contradicted",
    ]


def test_lines_are_words_for_a_terminal() -> None:
    measured = replace(NORMAL, qtc_bazett_ms=471.0, pr_ms=None, p_present=False)
    assert audit(
        "Rate 72 bpm, QTc (Bazett) 430 ms, PR 160 ms, axis -30°, a narrow QRS, P waves are present, regular rhythm",
        measured,
    ).lines() == [
        "supported      rate 72 bpm claimed, 73 bpm measured (tolerance 5 bpm)",
        "contradicted   QTc (Bazett) 430 ms claimed, 471 ms measured (tolerance 30 ms)",
        "unmeasurable   PR 160 ms claimed; no P wave was found",
        "contradicted   axis -30 degrees claimed, 45 degrees measured (tolerance 20 degrees)",
        "supported      QRS narrow claimed, 92 ms measured (tolerance 20 ms); narrow is below 120 ms",
        "contradicted   P waves present claimed, absent measured",
        "supported      rhythm regular claimed, regular measured",
    ]
    assert audit("QTc 430 ms", measured).lines() == [
        "supported      QTc 430 ms claimed, 416 ms measured (tolerance 30 ms); no formula is named; it fits Fridericia"
    ]
    assert audit("QTc 430 ms", replace(measured, qtc_fridericia_ms=None)).lines() == [
        "contradicted   QTc 430 ms claimed, 471 ms measured (tolerance 30 ms); no formula is named, so it is held "
        "against Bazett"
    ]
    assert audit("PR 160 ms in lead II, rate 60-80 bpm, QRS < 120 ms", NORMAL).lines() == [
        "supported      PR 160 ms claimed in II, 160 ms measured (tolerance 20 ms)",
        "supported      rate 60 to 80 bpm claimed, 73 bpm measured (tolerance 5 bpm)",
        "supported      QRS < 120 ms claimed, 92 ms measured (tolerance 20 ms)",
    ]
    assert audit("The ECG is fine.", NORMAL).lines() == ["no claim that can be checked was found in the answer"]


def test_to_dict_is_plain_json() -> None:
    out = json.loads(json.dumps(audit("HR 72, axis -30 to 90 degrees", NORMAL).to_dict()))
    assert out["counts"] == {"supported": 2, "borderline": 0, "contradicted": 0, "unmeasurable": 0, "not checked": 0}
    first, second = out["verdicts"]
    assert first == {
        "claim": {
            "quantity": "heart_rate_bpm",
            "value": 72.0,
            "unit": "bpm",
            "leads": [],
            "territory": "",
            "comparison": "=",
            "low": None,
            "high": None,
            "negated": False,
            "hedged": False,
            "span": [3, 5],
            "text": "72",
        },
        "status": "supported",
        "measured": 73.0,
        "tolerance": 5.0,
        "reason": "",
    }
    assert (second["claim"]["low"], second["claim"]["high"], second["claim"]["value"]) == (-30.0, 90.0, None)


# answers made from measurements

MEASURED = st.builds(
    Measurements,
    heart_rate_bpm=st.floats(30, 220),
    rhythm_regular=st.booleans(),
    p_present=st.booleans(),
    pr_ms=st.floats(90, 320),
    qrs_ms=st.floats(60, 200),
    qt_ms=st.floats(250, 600),
    qtc_bazett_ms=st.floats(300, 620),
    qtc_fridericia_ms=st.floats(300, 620),
    axis_deg=st.floats(-180, 180),
)


def _word(value: float, low: float, high: float, words: tuple[str, str, str]) -> str:
    return words[0] if value < low else words[2] if value > high else words[1]


def _axis(value: float) -> str:
    return "extreme" if value < -90 else "left" if value < -30 else "normal" if value <= 90 else "right"


def numbers(m: Measurements) -> dict[str, float]:
    """The measured numbers as an answer gives them."""
    names = ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_bazett_ms", "qtc_fridericia_ms", "axis_deg")
    return {name: round(m.to_dict()[name], 1) for name in names}


def written(n: dict[str, float], regular: bool, p: bool) -> str:
    """Numbers alone, in the embedded model's words."""
    waves = "with a P wave before each QRS complex" if p else "without P waves"
    return (
        f"The rhythm is {'regular' if regular else 'irregular'} {waves}, at {n['heart_rate_bpm']} bpm. The PR "
        f"interval is {n['pr_ms']} ms, "
        f"the QRS duration is {n['qrs_ms']} ms and the QTc is {n['qtc_bazett_ms']} ms (Bazett; QT {n['qt_ms']} ms). "
        f"The QTcF is {n['qtc_fridericia_ms']} ms. The QRS axis is {n['axis_deg']} degrees."
    )


@settings(deadline=None)
@given(MEASURED)
def test_an_answer_made_from_the_measurements_is_supported_word_by_word(m: Measurements) -> None:
    n = numbers(m)
    rate = _word(n["heart_rate_bpm"], 60, 100, ("bradycardia", "a normal rate", "tachycardia"))
    pr = _word(n["pr_ms"], 120, 200, ("short", "normal", "prolonged"))
    qrs, qtc = "narrow" if n["qrs_ms"] < 120 else "wide", "prolonged" if n["qtc_bazett_ms"] > 460 else "normal"
    waves = "with a P wave before each QRS complex" if m.p_present else "without P waves"
    text = (
        f"The rhythm is {'regular' if m.rhythm_regular else 'irregular'} {waves}, at {n['heart_rate_bpm']} bpm: "
        f"{rate}, consistent with "
        f"sinus rhythm. The PR interval is {n['pr_ms']} ms ({pr}), the QRS duration is {n['qrs_ms']} ms ({qrs}) "
        "and the QTc is "
        f"{n['qtc_bazett_ms']} ms ({qtc}, Bazett; QT {n['qt_ms']} ms). The QRS axis is {n['axis_deg']} degrees "
        f"({_axis(n['axis_deg'])})."
    )
    result = audit(text, m)
    supported = 13 + bool(m.p_present)  # "consistent with sinus rhythm" is a doubt, which nothing contradicts
    assert result.counts["supported"] + result.counts["borderline"] == supported, result.lines()
    assert {v.claim.quantity.rpartition("_")[2] for v in result.verdicts if v.status is Status.BORDERLINE} <= {
        "category"
    }
    assert (result.counts["contradicted"], result.counts["not checked"]) == (0, 14 - supported), result.lines()


@settings(deadline=None)
@given(MEASURED, st.sampled_from(sorted(numbers(NORMAL))), st.sampled_from([-1, 1]), st.floats(1.01, 3))
def test_a_number_moved_past_its_tolerance_flips_its_own_verdict_only(
    m: Measurements, name: str, sign: int, times: float
) -> None:
    n = numbers(m)
    assert audit(written(n, bool(m.rhythm_regular), bool(m.p_present)), m).counts["supported"] == 9
    allowed = DEFAULT.of(name, n[name])
    moved = {**n, name: round(n[name] + sign * (times * allowed + 0.2), 1)}  # 0.2: what rounding may take back
    if name == "axis_deg":
        moved[name] = round((moved[name] + 180) % 360 - 180, 1)
    result = audit(written(moved, bool(m.rhythm_regular), bool(m.p_present)), m)
    if moved[name] > 0 or name == "axis_deg":  # an interval has no sign
        assert [v.claim.quantity for v in result.verdicts if v.status is Status.CONTRADICTED] == [name]
        assert result.counts["supported"] == 8


@settings(deadline=None)
@given(MEASURED)
def test_a_flipped_word_flips_its_own_verdict_only(m: Measurements) -> None:
    n, regular, p = numbers(m), bool(m.rhythm_regular), bool(m.p_present)
    for text, name in ((written(n, not regular, p), "rhythm_regular"), (written(n, regular, not p), "p_present")):
        assert [v.claim.quantity for v in audit(text, m).verdicts if v.status is Status.CONTRADICTED] == [name]


@settings(deadline=None)
@given(MEASURED, st.randoms(use_true_random=False))
def test_a_verdict_does_not_depend_on_the_other_claims(m: Measurements, random: object) -> None:
    claims = find_claims(written(numbers(NORMAL), True, True))
    shuffled = list(claims)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    verdict_of = {verdict.claim: verdict for verdict in audit(claims, m).verdicts}
    assert audit(shuffled, m).verdicts == tuple(verdict_of[claim] for claim in shuffled)
    for claim in claims:
        assert audit([claim], m) == Audit((verdict_of[claim],))
