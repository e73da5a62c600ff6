"""An answer that the signal contradicts is asked for again, with what was measured; every draft is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from llava_ecg import report
from llava_ecg.asked import Answer
from llava_ecg.assistant import audit_of
from llava_ecg.case import Case, Decoding
from llava_ecg.data.conversation import Turn
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.grounding.audit import audit
from llava_ecg.grounding.correction import correction
from llava_ecg.revising import NO_BETTER, STOPPED, ask_revised

WRONG = "The heart rate is 120 bpm (tachycardia). The QRS duration is 90 ms. There is left bundle branch block."
HALF = "The heart rate is 71 bpm. The QRS duration is 160 ms (wide)."
RIGHT = "The heart rate is 71 bpm. The QRS duration is 90 ms."


class Scripted:
    """Says these texts one after the other, and keeps what it was asked."""

    def __init__(self, *texts: str, finished: Sequence[str] = ()) -> None:
        self.texts, self.asked, self.finished = list(texts), [], list(finished)  # type: ignore[var-annotated]

    def ask(
        self, turns: Sequence[Turn], case: Case, decoding: Decoding, *, on_text: Any = None, cancelled: Any = None
    ) -> Answer:
        self.asked.append(turns[-1].text)
        text = self.texts.pop(0)
        if on_text is not None:
            on_text(text)
        checked = audit_of(turns[-1].text, text, case, None, whole=True)
        ended = self.finished.pop(0) if self.finished else "stop"
        return Answer(text, "scripted", {"new": 1}, {"total": 1.0}, ended, audit=checked)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(simulate(Heart(rate_bpm=71, qrs_ms=92, rr_cv=0.01), seed=4)[0])


def asked(said: Scripted, case: Case, most: int = 1, **more: Callable[..., object]) -> Answer:
    return ask_revised(said, [Turn("user", "Interpret this ECG.")], case, Decoding(), most=most, **more)  # type: ignore[arg-type]


def test_what_is_contradicted_is_sent_back_with_what_was_measured(case: Case) -> None:
    said, drafts = Scripted(WRONG, RIGHT), []
    answer = asked(said, case, on_again=drafts.append)
    assert answer.text == RIGHT and [draft.text for draft in answer.drafts] == [WRONG] == [d.text for d in drafts]
    assert said.asked[0] == "Interpret this ECG."
    rate, qrs = case.measurements.heart_rate_bpm, case.measurements.qrs_ms  # type: ignore[union-attr]
    assert said.asked[1] == (
        f"Interpret this ECG. Measured: heart rate {rate:.0f} bpm, QRS {qrs:.0f} ms, no left bundle branch block. Keep "
        "to these values."
    )
    assert answer.notes[-1].startswith("revised: 3 claims of the first draft")
    assert answer.seconds["total"] == 2.0
    found = report.exchange_dict("Interpret this ECG.", answer)["drafts"]
    assert [each["answer"] for each in found] == [WRONG] and found[0]["audit"]["counts"]["contradicted"] == 3


def test_the_best_draft_counts(case: Case) -> None:
    said = Scripted(WRONG, HALF, WRONG)
    answer = asked(said, case, most=2)
    assert "heart rate 71 bpm, QRS" in said.asked[2] and "no left bundle branch block" in said.asked[2]
    assert answer.text == HALF and [draft.text for draft in answer.drafts] == [WRONG, WRONG]
    answer = asked(Scripted(HALF, WRONG), case)
    assert answer.text == HALF and answer.notes[-1] == NO_BETTER
    answer = asked(Scripted(WRONG, "The", finished=["stop", "cancelled"]), case)
    assert answer.text == WRONG and answer.notes[-1] == STOPPED


def test_a_right_answer_is_asked_for_once(case: Case) -> None:
    said = Scripted(RIGHT)
    answer = asked(said, case, most=3)
    assert (answer.text, answer.drafts, len(said.asked)) == (RIGHT, (), 1)
    assert asked(Scripted(WRONG), case, most=0).drafts == ()
    nothing = Scripted(WRONG)
    assert (
        asked(nothing, Case(image=case.page)).text == WRONG and len(nothing.asked) == 1
    )  # no signal, nothing measured


def test_the_sentence(case: Case) -> None:
    measured = case.measurements
    assert measured is not None

    def told(text: str) -> str:
        return correction([audit(text, measured)], measured)

    assert told(RIGHT) == ""
    assert told("No P waves are seen; the rhythm is irregular: atrial fibrillation.") == (
        "Measured: rhythm regular, P waves present. Keep to these values."
    )
    pr = f"{measured.pr_ms:.0f}"
    assert told("First-degree AV block.") == told("The PR interval is prolonged.")
    assert told("The PR interval is prolonged.") == f"Measured: PR {pr} ms. Keep to these values."
    for degrees, words in ((-152.0, " (extreme axis deviation)"), (10.0, " (normal)"), (92.0, ""), (-178.0, "")):
        turned = dataclasses.replace(measured, axis_deg=degrees)
        given = correction([audit("The axis is 150 degrees, right axis deviation; at -60 left axis.", turned)], turned)
        assert given == f"Measured: axis {degrees:.0f} degrees{words}. Keep to these values."
    wide = dataclasses.replace(measured, qrs_ms=160.0)
    normal = correction([audit("Impression: sinus rhythm, a normal ECG.", wide)], wide)
    assert normal == "Measured: no normal ECG. Keep to these values."
