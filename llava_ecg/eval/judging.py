"""Asks judges for points: JSON by the rubric's schema, asked again where it is none, else unscored; no harness here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.judged import Points, read
from llava_ecg.eval.rubrics import Rubric

TRIES = 3
SECONDS = 120.0
"""A judge that has said nothing by then has not answered."""
Judge = Callable[[str], Awaitable[str]]


@dataclass(frozen=True)
class Opinion:
    """What a judge said of one answer.

    Attributes:
        points: criterion -> points, without those that could not be read.
        replies: all that it replied, the last counts.
        why: what was wrong with the last reply; empty where nothing was.
    """

    points: dict[str, Points]
    replies: tuple[str, ...]
    why: str = ""


async def judged(
    rubric: Rubric,
    item: Item,
    answered: Answered,
    judges: Sequence[Judge],
    *,
    tries: int = TRIES,
    seconds: float = SECONDS,
) -> Told:
    """An answer with the points of one judge, or of several that do not see each other; the first one's count."""
    opinions = [await opinion(rubric, item, answered, judge, tries=tries, seconds=seconds) for judge in judges]
    first = opinions[0]
    more = {
        "rubric": rubric.told,
        "judges": [{name: list(points) for name, points in each.points.items()} for each in opinions],
        "replies": [list(each.replies) for each in opinions],
        "why": [each.why for each in opinions],
    }
    return Told(answered.text, more["judges"][0] if first.points else None, more)


async def opinion(
    rubric: Rubric,
    item: Item,
    answered: Answered,
    judge: Judge,
    *,
    tries: int = TRIES,
    seconds: float = SECONDS,
) -> Opinion:
    """One judge's points; where a reply can't be used it is told why and asked again."""
    prompt = rubric.prompt(item, answered)
    replies: list[str] = []
    best: dict[str, Points] = {}
    why = ""
    for _ in range(tries):
        again = f"\n\nYour last reply can't be used: {why}. Reply again, in the form that is asked for." if why else ""
        try:
            reply = await asyncio.wait_for(judge(prompt + again), seconds)
        except TimeoutError:
            why = f"nothing was said within {seconds:g} s"
            continue
        replies.append(reply)
        found = read(reply, rubric.criteria)
        why = _wrong(reply, rubric, found)
        if len(found) >= len(best):
            best = found
        if not why:
            break
    return Opinion(best, tuple(replies), why)


def _wrong(reply: str, rubric: Rubric, found: dict[str, Points]) -> str:
    """Why a reply can't be used in full; empty where it can."""
    missing = [each.name for each in rubric.criteria if each.name not in found]
    if not missing:
        return ""
    try:
        told = json.loads(reply)
    except ValueError:
        return "it is no JSON"
    if not isinstance(told, dict):
        return "it is no JSON object"
    return f"missing, empty or out of range are {', '.join(missing)}"
