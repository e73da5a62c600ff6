"""`find_claims`: what is a claim, what is none, and that any text is survived."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llava_ecg.grounding.claims import Claim, find_claims
from llava_ecg.grounding.phrases import TABLE as PHRASES

REGULAR = (
    "The rhythm is regular with a P wave before each QRS complex, at 72 bpm: a normal rate, consistent with sinus "
    "rhythm. The PR interval "
    "is 160 ms (normal), the QRS duration is 92 ms (narrow) and the QTc is 425 ms (normal, Bazett; QT 390 ms). The "
    "QRS axis is 45 degrees "
    "(normal). Impression: sinus rhythm at a normal rate."
)
FIBRILLATION = "The rhythm is irregular without P waves, at 110 bpm: tachycardia, consistent with atrial fibrillation."
PARAGRAPH = """The ECG demonstrates a sinus rhythm with a heart rate of approximately 67 bpm, which falls within the
normal range of 60-100 bpm. In lead II, upright P waves precede each QRS complex, and the PR interval is
consistently around 152 ms, well within normal limits (120-200 ms). The QRS duration measures 94 ms,
indicating normal ventricular conduction without evidence of bundle branch block. The QT interval is 402
ms with a corrected QTc (Bazett) of 424 ms, so there is no QT prolongation. The R-R intervals range from
880 to 910 ms."""
MARKDOWN = """## Rhythm analysis
- **Rate:** The average heart rate is 128 bpm, indicating tachycardia (normal range: 60–100 bpm).
- **Regularity:** The R-R intervals vary considerably, so the rhythm is irregularly irregular.
- **P waves:** No discernible P waves are seen; fibrillatory waves are present in V1.

**Intervals**
1. PR interval: not measurable
2. QRS duration: 88 ms (normal < 120 ms)
3. QTc: 455 ms, borderline prolonged

Had the rate been under 100 bpm, we could call it controlled."""
TABLE = """| Measurement | Value | Normal |
|---|---|---|
| Heart rate | 72 bpm | 60-100 bpm |
| PR interval | 160 ms | 120-200 ms |
| QTc | 425 ms | < 450 ms |
| Axis | 45° | -30° to +90° |"""
JSON = (
    '{"heart_rate_bpm": 72, "pr_ms": 160, "qtc_bazett_ms": 425, "axis_deg": -30, '
    '"rhythm": "irregular", "p_present": false}'
)


def brief(claim: Claim) -> str:
    """A claim as ``quantity comparison value @leads``, with "no" and "perhaps" in front."""
    if claim.comparison == "range":
        said = f"={claim.low:g}..{claim.high:g}"
    else:
        said = f"{claim.comparison}{claim.value if isinstance(claim.value, str) else format(claim.value, 'g')}"
    name = claim.quantity.removesuffix("_bpm").removesuffix("_ms").removesuffix("_deg")
    return (
        ("no " if claim.negated else "")
        + ("perhaps " if claim.hedged else "")
        + name
        + said
        + (f" @{', '.join(claim.leads)}" if claim.leads else "")
    )


def found(text: str) -> list[str]:
    return [brief(claim) for claim in find_claims(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # rates
        ("72 bpm", "heart_rate=72"),
        ("72bpm", "heart_rate=72"),
        ("98.5 bpm", "heart_rate=98.5"),
        ("72 beats per minute", "heart_rate=72"),
        ("110 beats/min", "heart_rate=110"),
        ("heart rate of 72", "heart_rate=72"),
        ("HR 72", "heart_rate=72"),
        ("HR=72", "heart_rate=72"),
        ("HR–72 bpm", "heart_rate=72"),
        ("rate: 72/min", "heart_rate=72"),
        ("Vent. rate 72 BPM", "heart_rate=72"),
        ("The ventricular rate is approximately 72.", "heart_rate=72"),
        ("Rate 72 ± 3 bpm", "heart_rate=72"),
        ("**Heart rate**: 72 bpm", "heart_rate=72"),
        ("a 72 bpm heart rate, 160 ms PR interval", "heart_rate=72; pr=160"),
        ("The heart rate is 72 bpm and then 110 bpm.", "heart_rate=72; heart_rate=110"),
        ("heart rate 60-100 bpm", "heart_rate=60..100"),
        ("the rate is between 60 and 100", "heart_rate=60..100"),
        ("The rate is about 110 to 120 bpm", "heart_rate=110..120"),
        ("The rate is above 100 bpm.", "heart_rate>100"),
        ("An atrial rate of 300 bpm and a ventricular rate of 150 bpm.", "heart_rate=150"),
        ("The rate is in the 70s.", "heart_rate=70..79"),
        ("The rate is about seventy-two.", "heart_rate=72"),
        ("AF with rapid response", "rhythm=atrial fibrillation; rate_category=tachycardia"),
        ("There are frequent PVCs (>5/min).", "premature=ventricular"),
        ("More than 5/min premature beats, rate 75/min", "premature=any; heart_rate=75"),
        ("sinus rhythm with PVCs, 75 bpm", "rhythm=sinus; premature=ventricular; heart_rate=75"),
        # boxes of the paper
        ("The PR interval spans four small boxes.", "pr=160"),
        ("PR of one large box", "pr=200"),
        ("RR is four large squares", "rr=800"),
        ("QRS two small squares wide", "qrs=80"),
        ("P wave 3 small squares wide", "p=120"),
        ("P wave 3 small boxes tall in II", "p_mv=0.3 @II"),
        ("ST elevation of two small boxes in V2", "st_mv=0.2 @V2"),
        ("T waves are 3 small boxes tall in V3.", "t_mv=0.3 @V3"),
        # neither, nor
        ("Neither PR nor QTc is prolonged.", "no pr_category=prolonged; no qtc_category=prolonged"),
        ("Neither LBBB nor RBBB.", "no conduction=left bundle branch block; no conduction=right bundle branch block"),
        ("Weder PQ noch QTc verlängert", "no pr_category=prolonged; no qtc_category=prolonged"),
        # P waves
        ("P waves cannot be made out.", "p_present=absent"),
        ("There is a pause without an apparent P wave.", "pause=present"),
        ("A pause of 2.2 s without P waves", "pause=present; pause=2200"),
        ("A 2.5-second sinus pause", "pause=2500; pause=present"),
        ("The longest pause is 3.1 seconds.", "pause=present; pause=3100"),
        ("Pauses between 2 and 3 s", "pause=present; pause=2000..3000"),
        ("No pause longer than 2.5 s.", "no pause>2500"),
        ("After a pause the QT is 400 ms.", "pause=present; qt=400"),
        ("A pause, no P waves", "pause=present; p_present=absent"),
        # the intervals, not the ECG
        ("Intervals unremarkable.", "pr_category=normal; qrs_category=narrow; qtc_category=normal"),
        ("Within normal limits.", "normal_ecg=normal"),
        (
            "QRS complexes are narrow and of low amplitude in the limb leads.",
            "qrs_category=narrow; voltage=low @I, II, III, aVR, aVL, aVF",
        ),
        ("ST segments return to baseline in all leads.", "st_category=normal"),
        # where R exceeds S
        ("Transition zone at V4.", "r_transition=V4"),
        ("R/S transition occurs between V3 and V4.", "r_transition=V3-V4"),
        ("early transition", "r_progression=early"),
        ("Dominant R wave of 1.2 mV in V1.", "dominance=R @V1; r_mv=1.2 @V1"),
        ("R/S ratio > 1 in V1 and V2", "dominance=R @V1, V2"),
        ("No dominant S in V6", "no dominance=S @V6"),
        ("The dominant rhythm is sinus.", "rhythm=sinus"),
        # intervals
        ("The PR interval is 0.16 s.", "pr=160"),
        ("PR 160", "pr=160"),
        ("PR: 0.16", "pr=160"),
        ("PR 160msec", "pr=160"),
        ("- **PR interval:** 160 ms", "pr=160"),
        ("PR -160 ms", "pr=160"),
        ("The PR interval is\n160 ms.", "pr=160"),
        ("QRS duration of 92 milliseconds", "qrs=92"),
        ("QRS .09 sec", "qrs=90"),
        ("QRS 0,09 s", "qrs=90"),
        ("QT 0.42 s", "qt=420"),
        ("QT 1,200 ms", "qt=1200"),
        ("QT/QTc 390/425 ms", "qt=390; qtc=425"),
        ("QT/QTc: 390 ms / 425 ms", "qt=390; qtc=425"),
        ("PR/QRS/QT/QTc: 160/92/390/425 ms", "pr=160; qrs=92; qt=390; qtc=425"),
        ("The PR and QRS are 160 and 92 ms, respectively.", "pr=160; qrs=92"),
        ("QTc (Bazett) 425 ms", "qtc_bazett=425"),
        ("QTc is 425 ms by Bazett's formula", "qtc_bazett=425"),
        ("QTcF 410 ms", "qtc_fridericia=410"),
        ("Fridericia QTc of 410 ms", "qtc_fridericia=410"),
        ("QTc 425 ms (Bazett) and 410 ms (Fridericia)", "qtc_bazett=425; qtc_fridericia=410"),
        ("QTc 418 ms (Framingham)", "qtc_framingham=418"),
        ("The QRS duration is less than 120 ms.", "qrs<120"),
        ("In lead II, the PR interval is 160 ms.", "pr=160 @II"),
        ("the PR interval is 160 ms in leads II and V1", "pr=160 @II, V1"),
        (
            "The PR interval, measured from the onset of the P wave to the onset of the QRS complex, is 160 ms.",
            "pr=160",
        ),
        (
            "HR 75, PR 160, QRS 88, QT 380, QTc 425, axis +40.",
            "heart_rate=75; pr=160; qrs=88; qt=380; qtc=425; axis=40",
        ),
        # axis
        ("axis -30°", "axis=-30"),
        ("The axis is −30 degrees.", "axis=-30"),
        ("axis is minus 30 degrees", "axis=-30"),
        ("an axis between -30 and +90 degrees", "axis=-30..90"),
        ("Left axis deviation at -42 degrees", "axis_category=left; axis=-42"),
        ("The axis is deviated to the left (-45°).", "axis_category=left; axis=-45"),
        ("axis: 120° (right axis deviation)", "axis=120; axis_category=right"),
        ("a northwest axis", "axis_category=extreme"),
        ("NORMAL AXIS", "axis_category=normal"),
        # categories
        ("The PR interval is within normal limits at 160 ms.", "pr_category=normal; pr=160"),
        ("PR prolongation (PR = 224 ms)", "pr_category=prolonged; pr=224"),
        ("a short PR", "pr_category=short"),
        ("PR, QRS and QT intervals are normal.", "pr_category=normal; qrs_category=narrow; qtc_category=normal"),
        ("normal PR and QRS intervals", "pr_category=normal; qrs_category=narrow"),
        ("The QRS complexes are narrow (92 ms).", "qrs_category=narrow; qrs=92"),
        ("Wide QRS complexes of 140 ms", "qrs_category=wide; qrs=140"),
        ("The QRS is narrow, the QTc is prolonged at 480 ms.", "qrs_category=narrow; qtc_category=prolonged; qtc=480"),
        ("sinus bradycardia at 48/min", "rhythm=sinus; rate_category=bradycardia; heart_rate=48"),
        ("A tachycardia of 120 bpm is present.", "rate_category=tachycardia; heart_rate=120"),
        ("The rate of 72 bpm is normal.", "heart_rate=72; rate_category=normal"),
        # rhythm and P waves
        (
            "regular narrow-complex tachycardia",
            "rhythm_regular=regular; qrs_category=narrow; rate_category=tachycardia",
        ),
        ("Regular rate and rhythm.", "rhythm_regular=regular"),
        ("RR intervals are irregular", "rhythm_regular=irregular"),
        ("an irregular ventricular response", "rhythm_regular=irregular"),
        ("an irregularly irregular rhythm", "rhythm_regular=irregularly irregular"),
        ("The rhythm is not regular.", "rhythm_regular=irregular"),
        (
            "Rhythm: Sinus, regular\nAxis: Normal\nPR normal",
            "rhythm=sinus; rhythm_regular=regular; axis_category=normal; pr_category=normal",
        ),
        ("There is absence of P waves.", "p_present=absent"),
        ("no clear or consistent P waves", "p_present=absent"),
        ("P waves cannot be identified.", "p_present=absent"),
        ("P waves before each QRS are absent", "p_present=absent"),
        ("P waves: none", "p_present=absent"),
        ("Each QRS is preceded by a P wave.", "p_present=present"),
        ("P waves are upright in leads I, II and aVF.", "p_present=present @I, II, aVF"),
        ("P waves are present in V1-V3", "p_present=present @V1, V2, V3"),
        # negations, hedges, and findings by name
        ("There is no tachycardia.", "no rate_category=tachycardia"),
        (
            "No bradycardia, tachycardia, or left axis deviation.",
            "no rate_category=bradycardia; no rate_category=tachycardia; no axis_category=left",
        ),
        ("This is neither bradycardia nor tachycardia.", "no rate_category=bradycardia; no rate_category=tachycardia"),
        ("Tachycardia is absent.", "no rate_category=tachycardia"),
        ("Tachycardia: no", "no rate_category=tachycardia"),
        ("The PR interval is not prolonged or short.", "no pr_category=prolonged; no pr_category=short"),
        ("The heart rate isn't normal.", "no rate_category=normal"),
        ("no evidence of irregular rhythm", "rhythm_regular=regular"),
        ("possible left axis deviation", "perhaps axis_category=left"),
        ("The QTc is borderline prolonged", "perhaps qtc_category=prolonged"),
        ("Pauses of 2 s; the PR", "pause=present; pause=2000"),
        ("The PR interval is followed by a pause of 2.5 s.", "pause=present; pause=2500"),
        ("The T wave duration is 180 ms and the P-wave duration is 110 ms.", "p=110"),
        ("The ST segment is elevated by 2 mm. 160 ms.", "st_mv=0.2"),
        ("The RR interval is 830 ms.", "rr=830"),
        ("P-R-T axes 45 60 30", "p_axis=45; axis=60; t_axis=30"),
        ("P axis 50°, T axis 30°", "p_axis=50; t_axis=30"),
        ("1st degree AV block, PR 2:1", "av_block=first degree"),
        (
            "normal sinus rhythm, normal T waves, normal R wave progression",
            "rhythm=sinus; t_category=normal; r_progression=normal",
        ),
        ("long QT syndrome", "diagnosis=long qt syndrome"),
        (
            "left ventricular hypertrophy, left bundle branch block",
            "voltage=left ventricular hypertrophy; conduction=left bundle branch block",
        ),
        ("Premature ventricular complexes with wide QRS and no preceding P wave.", "premature=ventricular"),
        ('{"rhythm_regular": false}', "rhythm_regular=irregular"),
    ],
)
def test_a_claim_is_understood(text: str, expected: str) -> None:
    assert found(text) == expected.split("; ")


@pytest.mark.parametrize(
    "text",
    [
        # reference values
        "(normal range: 60-100 bpm)",
        "Normal PR interval is 120-200 ms.",
        "The normal heart rate is between 60 and 100 bpm.",
        "Normal QTc is less than 450 ms.",
        "Ref: 60-100 bpm",
        "The upper limit of normal for the PR interval is 200 ms.",
        "expected heart rate 60-100 bpm",
        "QTc values above 460 ms are prolonged in women.",
        # definitions, conditionals, questions, other recordings
        "A rate above 100 bpm would be tachycardia.",
        "above 100 bpm would be tachycardia",
        "If the rate were 120 bpm, this would be tachycardia.",
        "The rate would be 120 bpm, a tachycardia, if the patient ran.",
        "Tachycardia is a rate over 100 bpm.",
        "Bradycardia is a slow heart rate.",
        "Tachycardia is defined as a heart rate over 100 bpm.",
        "A PR interval greater than 200 ms indicates first-degree AV block.",
        "PR prolongation can be caused by drugs.",
        "Is the rate above 100 bpm?",
        "The rate was previously 90 bpm.",
        "a history of tachycardia",
        "The rate is not 72 bpm.",
        # other things
        "The patient is 72 years old.",
        "respiratory rate 16/min",
        "25 mm/s, 10 mm/mV, 500 Hz, 12-lead",
        "heart rate 12 leads",
        "rate control with metoprolol 50 mg",
        "No P wave abnormalities.",
        "Some P waves are not conducted.",
        "Some clear P waves",
        "PR 160mg",
        "the QTc threshold 460 ms",
        "the QRS score 40",
        "The axis, 10 in number",
        "The QRS tells nothing about whatever happened in those other 40 ms",
        "P waves are not followed by QRS complexes",
        "a broad, notched R wave",
        "The heart rate cannot be determined.",
        "",
    ],
)
def test_no_claim_is_made_up(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PR 160 ms (normal 120-200 ms)", "pr=160"),
        ("Heart rate: 72 bpm (normal: 60-100 bpm)", "heart_rate=72"),
        ("PR: 160 ms [120 - 200]", "pr=160"),
        ("The rate is normal (60-100 bpm).", "rate_category=normal"),
        ("The PR of 220 ms exceeds the upper limit of 200 ms.", "pr=220"),
        ("QTc is normal (<460 ms)", "qtc_category=normal"),
        ("The rate is 72 bpm, which would be considered normal.", "heart_rate=72"),
        ("With a heart rate of 72 bpm, tachycardia is excluded.", "heart_rate=72; no rate_category=tachycardia"),
        ("The rate is 72 bpm, not 110 bpm.", "heart_rate=72"),
        ("The QTc interval is not prolonged at 425 ms.", "no qtc_category=prolonged; qtc=425"),
        ("The axis is normal, not deviated to the left.", "axis_category=normal; no axis_category=left"),
        ("No ST elevation, normal axis.", "no st_category=elevation; axis_category=normal"),
        ("No P waves, irregular rhythm, rate 110 bpm.", "p_present=absent; rhythm_regular=irregular; heart_rate=110"),
        ("The PR interval is 160 ms with normal T waves.", "pr=160; t_category=normal"),
        (
            "Sinus rhythm, rate 72, normal intervals, normal axis",
            "rhythm=sinus; heart_rate=72; pr_category=normal; qrs_category=narrow; qtc_category=normal; "
            "axis_category=normal",
        ),
        ("A normal axis is seen, the QRS is < 120 ms", "axis_category=normal; qrs<120"),
        ("no ST changes with left axis deviation", "st_category=normal; axis_category=left"),
        ("The rhythm is irregular and P waves are absent.", "rhythm_regular=irregular; p_present=absent"),
        ("A QRS of 146 ms with a broad, notched R wave", "qrs=146"),
        ("rate: 72\nrhythm: sinus, normal\npr: 160 ms", "heart_rate=72; rhythm=sinus; pr=160"),
        ("The patient is 72. The PR interval is normal. 12 leads were read.", "pr_category=normal"),
    ],
)
def test_only_the_claim_is_taken(text: str, expected: str) -> None:
    assert found(text) == expected.split("; ")


def test_the_embedded_models_style_is_understood_whole() -> None:
    assert found(REGULAR) == [
        "rhythm_regular=regular",
        "p_present=present",
        "heart_rate=72",
        "rate_category=normal",
        "perhaps rhythm=sinus",
        "pr=160",
        "pr_category=normal",
        "qrs=92",
        "qrs_category=narrow",
        "qtc_bazett=425",
        "qtc_category=normal",
        "qt=390",
        "axis=45",
        "axis_category=normal",
        "rhythm=sinus",
        "rate_category=normal",
    ]
    assert found(FIBRILLATION) == [
        "rhythm_regular=irregular",
        "p_present=absent",
        "heart_rate=110",
        "rate_category=tachycardia",
        "perhaps rhythm=atrial fibrillation",
    ]


def test_paragraphs_lists_tables_and_json() -> None:
    assert found(PARAGRAPH) == [
        "rhythm=sinus",
        "heart_rate=67",
        "rate_category=normal",
        "p_present=present @II",
        "pr=152",
        "pr_category=normal",
        "qrs=94",
        "no conduction=left bundle branch block",
        "no conduction=right bundle branch block",
        "qt=402",
        "qtc_bazett=424",
        "no qtc_category=prolonged",
        "rr=880..910",
    ]
    assert found(MARKDOWN) == [
        "heart_rate=128",
        "rate_category=tachycardia",
        "rhythm_regular=irregularly irregular",
        "p_present=absent",
        "qrs=88",
        "qtc=455",
        "perhaps qtc_category=prolonged",
    ]
    assert found(TABLE) == ["heart_rate=72", "pr=160", "qtc=425", "axis=45"]
    assert found(JSON) == [
        "heart_rate=72",
        "pr=160",
        "qtc_bazett=425",
        "axis=-30",
        "rhythm_regular=irregular",
        "p_present=absent",
    ]


def test_the_span_is_the_words_that_state_the_value() -> None:
    claims = find_claims("Rate ≈ 72 bpm; no discernible P waves; QT/QTc 390/425 ms; axis −30°; QRS less than 120 ms")
    assert [claim.text for claim in claims] == [
        "72 bpm",
        "no discernible P waves",
        "390",
        "425 ms",
        "−30°",
        "less than 120 ms",
    ]


def test_equal_claims_are_kept_each_with_its_span() -> None:
    first, second = find_claims("PR 160 ms. PR 160 ms.")
    assert (first.value, second.value) == (160.0, 160.0)
    assert first.span == (3, 9) and second.span == (14, 20)


def test_no_phrase_stands_twice_in_the_table() -> None:
    phrases = [phrase for _, _, spellings in PHRASES for phrase in spellings.split("|")]
    assert len(phrases) == len(set(phrases))


_WORDS = sorted({word for _, _, spellings in PHRASES for phrase in spellings.split("|") for word in phrase.split()})
_SALAD = st.lists(
    st.sampled_from([*_WORDS, "72", "0.16", "-30", "1,200", "\n", "\n- ", ".", ";", "?", "banana", "|"]), max_size=40
).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(max_size=200), _SALAD))
@example("İ 72 bpm")  # grows when it is made lower case
@example("-")
@example("lead")
@example("PR 1" + "0" * 400 + " ms")
def test_any_text_is_survived_and_spans_are_true(text: str) -> None:
    claims = find_claims(text)
    for claim in claims:
        start, end = claim.span
        assert 0 <= start < end <= len(text)
        assert text[start:end] == claim.text
    assert claims == find_claims(text)
    assert [claim.span for claim in claims] == sorted(claim.span for claim in claims)


@pytest.mark.parametrize("unit", ["1,", "PR and ", "(", "no ", "if ", "60-100 bpm, ", "x:", "P wave before "])
def test_a_long_repetition_comes_to_an_end(unit: str) -> None:
    """A guard against hanging: 100,000 characters take about half a second where the time is linear, and hours where it
    is not."""
    find_claims((unit * (100_000 // len(unit) + 1))[:100_000])


def test_claims_grow_with_the_text_and_are_the_same_in_each_copy() -> None:
    one = found(REGULAR)
    assert found("\n\n".join([REGULAR] * 50)) == one * 50
