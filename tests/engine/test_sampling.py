"""Choices against transformers' own processors, and draws against the probabilities that they are drawn from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from llava_ecg.engine.sampling import Chooser, Sampling, kept


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.01])
@pytest.mark.parametrize("top_k", [0, 1, 7, 500])
def test_what_is_left_to_be_drawn_from(top_k: int, top_p: float) -> None:
    chance = torch.Generator().manual_seed(top_k)
    warpers: Any = LogitsProcessorList([TopKLogitsWarper(top_k)] if top_k else [])
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    for _ in range(20):
        scores = torch.randn(300, generator=chance) * 3
        wanted = warpers(torch.zeros(1, 0, dtype=torch.long), scores[None])[0].softmax(-1)
        found = kept(scores, top_k, top_p)
        torch.testing.assert_close(found / found.sum(), wanted)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    scores = torch.tensor([2.0, 1.0, 0.0, -1.0, 0.5, -30.0])
    chooser = Chooser(Sampling(temperature=1.5, seed=7))
    counts = torch.zeros(6)
    for _ in range(6000):
        counts[chooser.choose(scores, [])] += 1
    torch.testing.assert_close(counts / 6000, (scores / 1.5).softmax(-1), atol=0.02, rtol=0)


def test_what_was_said_becomes_less_likely() -> None:
    scores = torch.tensor([3.0, 2.0, -1.0, -0.5])
    penalty = Sampling(repetition_penalty=2.0)
    for said, wanted in (([], 0), ([0], 1), ([0, 1], 0), ([0, 0, 0, 1], 0), ([2, 3], 0)):
        ids = torch.tensor([said], dtype=torch.long)
        theirs = RepetitionPenaltyLogitsProcessor(2.0)(ids, scores[None].clone())[0]
        assert Chooser(penalty).choose(scores, said) == int(theirs.argmax()) == wanted
    assert Chooser(Sampling(repetition_penalty=2.0)).choose(torch.tensor([-1.0, -1.5]), [0]) == 1
    assert scores.tolist() == [3.0, 2.0, -1.0, -0.5], "the scores are not changed in place"


def test_a_seed_repeats_and_another_does_not() -> None:
    scores = torch.zeros(50)
    drawn = [[chooser.choose(scores, []) for _ in range(20)] for chooser in map(Chooser, map(of, (1, 1, 2)))]
    assert drawn[0] == drawn[1] != drawn[2]


def of(seed: int) -> Sampling:
    return Sampling(temperature=1.0, seed=seed)
