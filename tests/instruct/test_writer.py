"""The offline writer: audited, seeded, varied, and silent about what was not measured."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.ecg.simulate import Heart
from llava_ecg.grounding.audit import audit
from llava_ecg.instruct.facts import Facts, Given, make_facts
from llava_ecg.instruct.guide import guide
from llava_ecg.instruct.kept import LONGEST_ANSWER, check, malformed
from llava_ecg.instruct.phrases import Voice, phrases, singular
from llava_ecg.instruct.samples import Exchange, Sample
from llava_ecg.instruct.statements import STATEMENTS, concluded, state, unsettled
from llava_ecg.instruct.tasks import report
from llava_ecg.instruct.tasks_pair import difference, pair
from llava_ecg.instruct.vocabulary import Said
from llava_ecg.instruct.writer import OfflineWriter

from .made import save

TASKS = {
    *("interpretation", "report", "rhythm", "evidence", "multi-turn", "leads", "yes or no", "choice", "cannot"),
}


def samples(facts: Facts, attempts: int = 1, **options: Any) -> list[Sample]:
    writer = OfflineWriter(guide(), **options)
    drawn = [
        draft(writer.rng(facts, task, attempt)) for attempt in range(attempts) for task, draft in writer.single(facts)
    ]
    return [sample for sample in drawn if sample is not None]


def said(found: list[Sample]) -> list[str]:
    return [exchange.answer for sample in found for exchange in sample.exchanges]


def test_statements_are_true_of_what_was_measured(hearts: dict[str, Facts]) -> None:
    """Each variant of a statement, told by a voice that draws it, and read again by the audit."""
    drawn = 0
    for facts in hearts.values():
        for topic in STATEMENTS:
            for seed in range(8):
                for text in state([topic], Voice(facts, random.Random(seed))):
                    counts = audit(text, facts.measured).counts
                    assert counts["contradicted"] == counts["unmeasurable"] == 0, (facts.name, text)
                    drawn += 1
    assert drawn > 400


def test_each_heart_gives_every_task_and_few_drafts_are_refused(hearts: dict[str, Facts]) -> None:
    checked = []
    for facts in hearts.values():
        found = samples(facts, attempts=3)
        assert {re.sub("^feature.*", "feature", sample.task) for sample in found} == {*TASKS, "feature"}
        checked += [check(sample) for sample in found]
    refused = [each for each in checked if each.refused]
    assert len(refused) < 0.05 * len(checked), [each.contradicted or each.refused for each in refused]
    assert sum(each.audit["supported"] for each in checked) > 4 * len(checked)


@pytest.mark.parametrize("protocol", ["gem", "six-step"])
def test_an_interpretation_names_what_was_said_and_its_evidence(protocol: str, hearts: dict[str, Facts]) -> None:
    [sample] = [each for each in samples(hearts["lbbb"], protocol=protocol) if each.task == "interpretation"]
    answer = sample.exchanges[0].answer
    assert "left bundle branch block" in answer and f"{hearts['lbbb'].measured.qrs_ms:.0f} ms" in answer
    assert bool(re.findall(r"(?m)^[1-6]\. ", answer)) == (protocol == "six-step")
    if protocol == "six-step":
        assert [line[0] for line in answer.split("\n")] == list("123456")
    assert any("part III" in source for source in sample.sources)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("pr_ms", r"PR interval (is|measures|of)|AV conduction takes"),
        ("axis_deg", r"axis[^.]*\d+ degrees|degrees[^.]*axis"),
        ("qt_ms", r"QT interval (is|of|measures)|QT is|QT/QTc"),
        ("heart_rate_bpm", r"\d+ (bpm|beats)"),
        ("rhythm_regular", r"(is|are) (ir)?regular|regular intervals"),
    ],
)
def test_nothing_is_stated_that_was_not_measured(field: str, words: str, hearts: dict[str, Facts]) -> None:
    facts = hearts["normal"]
    assert re.search(words, " ".join(said(samples(facts, attempts=6))))
    gone = dict.fromkeys([field] + (["qtc_bazett_ms", "qtc_fridericia_ms"] if field == "qt_ms" else []))
    blank = replace(facts, measured=replace(facts.measured, **gone, reasons={}))
    for answer in said(samples(blank, attempts=6)):
        assert not re.search(words, answer), answer


def test_without_volts_no_amplitude_and_no_axis_is_stated(tmp_path: Path) -> None:
    path = save(tmp_path, "bare", Heart(rate_bpm=72))
    facts = make_facts(Given(path, path.name, scp={"SR": 0.0, "NORM": 100.0}, volts=False))
    answers = said(samples(facts, attempts=6))
    assert not [
        answer for answer in answers if re.search(r"\d mV|\d degrees|ST segments? (is|are)|T waves? (is|are)", answer)
    ]
    assert any("not calibrated in mV" in answer for answer in answers)
    assert "normal ECG" not in [each.name for each in concluded(guide(), Voice(facts, random.Random(0)))]


def test_what_no_measurement_settles_is_called_so(hearts: dict[str, Facts]) -> None:
    stated = (Said("sinus rhythm", "stated", "SR"), Said("left atrial enlargement", "stated", "LAE"))
    facts = replace(hearts["normal"], diagnoses=stated)
    answer = next(each.exchanges[0].answer for each in samples(facts) if each.task == "interpretation")
    assert re.search(r"[Ww]hether .*left atrial enlargement", answer)
    assert check(Sample("x", (Exchange("What?", answer),), (facts,))).refused == ""


def test_the_seed_says_it_all(hearts: dict[str, Facts]) -> None:
    one, again, other = (samples(hearts["af"], seed=seed) for seed in (1, 1, 2))
    assert one == again and said(one) != said(other)


def test_enough_variety(hearts: dict[str, Facts]) -> None:
    interpretations = {
        sample.exchanges for sample in samples(hearts["normal"], attempts=40) if sample.task == "interpretation"
    }
    assert len(interpretations) == 40
    assert len({each[0].question for each in interpretations}) >= 12


def test_yes_as_often_as_no(hearts: dict[str, Facts]) -> None:
    answers = [
        sample.exchanges[0].answer
        for facts in hearts.values()
        for sample in samples(facts, attempts=15)
        if sample.task == "yes or no"
    ]
    yes = sum(answer.startswith("Yes") for answer in answers)
    assert yes + sum(answer.startswith("No") for answer in answers) == len(answers) == 180
    assert 0.4 < yes / len(answers) < 0.6


def test_a_choice_has_one_right_answer(hearts: dict[str, Facts]) -> None:
    letters = set()
    for sample in samples(hearts["block"], attempts=12):
        if sample.task != "choice":
            continue
        options = dict(re.findall(r"(?m)^([A-D])\. (.+)$", sample.exchanges[0].question))
        answer = sample.exchanges[0].answer
        right = [letter for letter, option in options.items() if option in answer]
        assert len(options) >= 3 and len(right) == 1 and re.search(rf"\b{right[0]}\b", answer)
        letters.add(right[0])
    assert len(letters) >= 3


def test_two_ecgs(hearts: dict[str, Facts]) -> None:
    writer = OfflineWriter(guide())
    sample = writer.pair(hearts["normal"], hearts["af"])(random.Random(3))
    assert sample is not None and sample.facts == (hearts["normal"], hearts["af"])
    assert check(sample).refused == ""
    assert "only the first shows P waves" in sample.exchanges[0].answer
    swapped = replace(sample, facts=(hearts["af"], hearts["normal"]))
    assert check(swapped).refused == "contradicted"  # each part is held against its own ECG
    told = difference(hearts["slow"], hearts["normal"])
    assert told == "Between the two, the second has the higher rate and the longer QTc."
    assert "hardly differ" in difference(hearts["normal"], hearts["normal"])


def test_a_person_is_told_in_the_question_only_where_known(hearts: dict[str, Facts]) -> None:
    asked = [sample.exchanges[0].question for sample in samples(hearts["lbbb"], attempts=4)]
    told = [question for question in asked if re.search(r"an 86-year-old man|man of 86 years|man, 86 years", question)]
    assert 0.3 < len(told) / len(asked) < 0.9
    assert not [text for text in asked if re.search(r"\ba 86-", text)]
    unknown = [sample.exchanges[0].question for sample in samples(hearts["slow"], attempts=4)]
    assert not [text for text in unknown if "year" in text]


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("The QRS duration is 91 ms.", ""),
        ("The QRS duration is 250 ms.", "contradicted"),
        ("The report says that the rhythm is regular.", "it speaks of the report"),
        ("According to the label this is sinus rhythm.", "it speaks of the report"),
        ("SCP code SR.", "it speaks of the report"),
        ("The rate is {heart_rate_bpm} bpm.", "a placeholder was left"),
        ("The rate is None bpm.", "a placeholder was left"),
        ("The PR interval is [value].", "a placeholder was left"),
        ("<image>", "a placeholder was left"),
        ("", "too short or too long"),
        ("The rhythm is regular. " * 200, "too short or too long"),
    ],
)
def test_what_is_kept(answer: str, refused: str, hearts: dict[str, Facts]) -> None:
    assert len("The rhythm is regular. " * 200) > LONGEST_ANSWER
    sample = Sample("x", (Exchange("What is there?", answer),), (hearts["normal"],))
    assert check(sample).refused == refused


def test_a_claim_that_was_not_measured_is_refused(hearts: dict[str, Facts]) -> None:
    sample = Sample("x", (Exchange("What is the PR interval?", "The PR interval is 160 ms."),), (hearts["af"],))
    assert check(sample).refused == "not measured"


def test_a_decision_too_near_to_a_threshold_is_refused(hearts: dict[str, Facts]) -> None:
    near = replace(hearts["block"], measured=replace(hearts["block"].measured, pr_ms=203.0))
    text = Exchange("Is the PR interval prolonged?", "Yes. The PR interval is prolonged.")
    assert check(Sample("x", (replace(text, decided=True),), (near,))).refused == "too near to a threshold"
    assert check(Sample("x", (text,), (near,))).refused == ""


def test_no_phrase_speaks_of_a_report_or_is_malformed() -> None:
    for variants in phrases().of("sentences").values():
        for text in variants:
            filled = re.sub(r"\{[^}]*\}", "one", text)
            assert malformed(Exchange("What?", filled)) == "", text
            assert text[-1] == "."


def test_no_article_is_capital_in_the_middle_of_a_sentence(hearts: dict[str, Facts]) -> None:
    """Where sentences are joined, names of waves stay capital and the article does not."""
    texts = [text for facts in hearts.values() for text in said(samples(facts, 30))]
    joined = [text for text in texts if re.search(r"[,;] and |; ", text)]
    assert len(joined) > 20
    assert not [text for text in texts if re.search(r"(?:,|;| and) A ", text)]


def test_a_question_is_one_that_its_answer_answers(hearts: dict[str, Facts]) -> None:
    voice = Voice(hearts["normal"], random.Random(1))
    alone = "Ventricular activation and recovery together take 400 ms, the QT interval."
    assert {voice.question_of("qt", alone) for _ in range(40)} == {"What can be said about QT?"}
    both = "QT is 400 ms; corrected with Bazett's formula the QTc is 420 ms."
    assert len({voice.question_of("qt", both) for _ in range(60)}) == 4, "all but whether it is normal"
    r = {voice.question_of("r", "There is normal R-wave progression across the chest leads.") for _ in range(40)}
    assert r and "Where is the R/S transition?" not in r
    asked = {question for topic in STATEMENTS for question in phrases().of("questions", topic)}
    assert set(phrases().table["answered by"]) <= asked, "each rule is about a question that is there"


def test_one_is_singular_and_several_are_plural(hearts: dict[str, Facts]) -> None:
    assert singular("An axis of 1 degrees or -1 degrees, 11 degrees and 0.1 degrees.") == (
        "An axis of 1 degree or -1 degree, 11 degrees and 0.1 degrees."
    )
    assert singular("1 early wide beats of another shape") == "1 early wide beat of another shape"
    told = replace(hearts["normal"], diagnoses=(Said("ST-T changes", "stated", "a clause"),))
    found = {unsettled(guide(), Voice(told, random.Random(seed))) for seed in range(10)}
    assert found == {
        "Whether ST-T changes are present can't be settled by these measurements.",
        "The measurements do not settle whether there might be ST-T changes.",
    }


def test_what_a_comparison_concludes_it_has_evidence_for(hearts: dict[str, Facts]) -> None:
    for seed in range(12):
        found = pair(guide(), hearts["lbbb"], hearts["normal"], random.Random(seed))
        assert found is not None
        first = dict(found.exchanges[0].parts)[0]
        assert "left bundle branch block" in first and re.search(r"QRS[^.]*\d", first), first


def test_a_report_tells_what_its_diagnoses_rest_on(tmp_path: Path) -> None:
    path = save(tmp_path, "early", Heart(rate_bpm=66, rhythm="premature ventricular beats"), seed=3)
    facts = make_facts(Given(path, path.name, report="ventricular premature beats"))
    assert facts.measured.ventricular_premature
    for seed in range(12):
        found = report(guide(), Voice(facts, random.Random(seed)))
        assert found is not None and "Ventricular premature beats." in found.exchanges[0].answer
        body = found.exchanges[0].answer.replace("Ventricular premature beats.", "", 1)
        assert re.search("premature|ectopic", body, re.IGNORECASE), "the beats are described, too"
