"""Judges that hang, lie about JSON or score out of range; no harness is needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from llava_ecg.errors import InputError
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.judging import Judge, judged
from llava_ecg.eval.marking_judged import ByJudge, concordance
from llava_ecg.eval.rubrics import ARENAS, GROUNDED, GROUNDED_R1, REPORTS, Rubric

ITEM = Item("q", "Report?", (), ({},), reference="Sinus rhythm.")
GOOD = json.dumps({name: [{"score": 5, "about": "x"}] for name in ("Diagnosis", "Waveform", "Rhythm")})
HIGH = GOOD.replace('"Rhythm": [{"score": 5', '"Rhythm": [{"score": 11')


def ask(*replies: str | float, rubric: Rubric = REPORTS, item: Item = ITEM) -> tuple[Told, list[str]]:
    """What becomes of an answer where the judge replies so, one after the other; a number is a sleep of that long."""
    prompts: list[str] = []

    async def judge(prompt: str) -> str:
        prompts.append(prompt)
        reply = replies[len(prompts) - 1]
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            return GOOD
        return reply

    told = asyncio.run(judged(rubric, item, Answered("Sinus rhythm."), [judge], seconds=0.05))
    return told, prompts


def test_a_good_reply_is_taken_at_once() -> None:
    told, prompts = ask(GOOD)
    assert told.said == {"Diagnosis": [5], "Waveform": [5], "Rhythm": [5]}
    assert len(prompts) == 1 and told.more["why"] == [""]
    assert told.more["replies"] == [[GOOD]] and told.more["rubric"] == "report v1"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("Sure! Here it is", "it is no JSON"),
        (f"```json\n{GOOD}\n```", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        (HIGH, "missing, empty or out of range are Rhythm"),
        (9.0, "nothing was said within 0.05 s"),
    ],
    ids=["text", "fence", "list", "high", "hangs"],
)
def test_a_bad_reply_is_told_and_asked_again(bad: str | float, why: str) -> None:
    told, prompts = ask(bad, GOOD)
    assert told.said is not None and len(told.said) == 3
    assert why in prompts[1] and why not in prompts[0]


def test_what_stays_bad_is_unscored_and_kept() -> None:
    told, prompts = ask("no", "no", "no", GOOD)
    assert len(prompts) == 3
    assert told.said is None and told.more["why"] == ["it is no JSON"]
    assert told.more["replies"] == [["no", "no", "no"]]
    hung, prompts = ask(9.0, 9.0, 9.0)
    assert hung.said is None and len(prompts) == 3


def test_of_bad_replies_the_fullest_counts() -> None:
    told, _ = ask(HIGH, json.dumps({"Diagnosis": [{"score": 1, "about": "x"}]}), "no")
    assert told.said == {"Diagnosis": [5], "Waveform": [5]}
    marking = ByJudge(REPORTS, mean=True)
    whole = Told("x", {}, {"judges": [{"Diagnosis": [9], "Waveform": [9], "Rhythm": [9]}]})
    scores = marking.scores([ITEM, ITEM], [told, whole])
    assert scores.unscored == {"Diagnosis": 0, "Waveform": 0, "Rhythm": 0.5}
    assert scores.figures["Rhythm"].value == pytest.approx(0.9) and scores.figures["Rhythm"].count == 1
    assert scores.figures["mean"].value == pytest.approx(0.9)
    assert not marking.right(ITEM, told) and marking.right(ITEM, Told("x", whole.more["judges"][0]))


def test_what_a_judge_raises_is_a_failure_and_no_score() -> None:
    async def broken(prompt: str) -> str:
        raise ConnectionError("no key")

    with pytest.raises(ConnectionError):
        asyncio.run(judged(REPORTS, ITEM, Answered("x"), [broken]))


@pytest.mark.parametrize("rubric", [GROUNDED, GROUNDED_R1, REPORTS, ARENAS], ids=lambda rubric: rubric.name)
def test_prompt_and_schema_ask_for_every_criterion(rubric: Rubric) -> None:
    prompt = rubric.prompt(ITEM, Answered("An answer."))
    schema: dict[str, Any] = rubric.schema()
    assert set(rubric.asks) == {each.name for each in rubric.criteria} == set(schema["required"])
    for name in schema["required"]:
        assert f"- {name}: " in prompt
        score = schema["properties"][name]["items"]["properties"]["score"]
        assert score["type"] in ("integer", "number") and "from 0 to" in score["description"]
    assert "<reference>\nSinus rhythm.\n</reference>" in prompt
    assert "<interpretation>\nAn answer.\n</interpretation>" in prompt


def test_the_words_of_a_rubric_are_its_version() -> None:
    """A rubric whose words change needs another version: write both here."""
    import hashlib

    def digest(rubric: Rubric) -> str:
        return hashlib.sha256(rubric.prompt(ITEM, Answered("x")).encode()).hexdigest()[:8]

    told = {rubric.told: digest(rubric) for rubric in (GROUNDED, GROUNDED_R1, REPORTS, ARENAS)}
    assert told == WORDS


WORDS = {"grounded v1": "5594a60e", "grounded_r1 v1": "d53c57ea", "report v1": "0dc5c1bf", "arena v1": "7ce7dffc"}


def test_free_text_is_not_read_without_a_judge() -> None:
    with pytest.raises(InputError, match="scored by a judge"):
        ByJudge(REPORTS).read(ITEM, Answered("x"))


def test_concordance_by_hand() -> None:
    import numpy as np

    def of(one: list[float], other: list[float]) -> float | None:
        at = np.arange(len(one))
        found: Callable[..., float | None] = concordance(np.array(one), np.array(other))
        return found(at)

    assert of([1, 2, 3], [1, 2, 3]) == 1
    assert of([1, 2, 3], [2, 3, 4]) == pytest.approx(2 * (2 / 3) / (4 / 3 + 1))
    assert of([1, 2, 3], [3, 2, 1]) == -1
    assert of([1, 1], [1, 1]) == 1
    assert of([1, 1], [2, 2]) is None


def test_judges_do_not_see_each_other() -> None:
    seen: list[str] = []

    def one(name: str) -> Judge:
        async def ask(prompt: str) -> str:
            seen.append(prompt)
            return GOOD.replace("5", name)

        return ask

    told = asyncio.run(judged(REPORTS, ITEM, Answered("x"), [one("4"), one("6")]))
    assert told.said["Rhythm"] == [4] and told.more["judges"][1]["Rhythm"] == [6]
    assert seen[0] == seen[1]
