"""How well claims are found in sentences that were written by someone who had not seen the extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llava_ecg.grounding import claims
from llava_ecg.grounding import sentences as parts
from llava_ecg.grounding.answer import audit_answer
from llava_ecg.grounding.claims import find_claims
from llava_ecg.grounding.phrases import tokens
from llava_ecg.grounding.scope import unsaid
from llava_ecg.grounding.tokens import Kind
from tests.grounding.scoring import Sentence, load, match, score

LEAST_F1 = 0.95
FILES = ("clinical", "gem_style", "german", "hard", "mimic_style", "ptbxl_style")


@pytest.fixture(scope="module")
def sentences() -> list[Sentence]:
    return load()


def test_there_are_enough_sentences(sentences: list[Sentence]) -> None:
    assert {sentence.file for sentence in sentences} == set(FILES)
    assert len(sentences) >= 400
    assert min(sum(s.part == part for s in sentences) for part in ("dev", "test")) >= 180


@pytest.mark.parametrize("part", ["dev", "test"])
def test_claims_are_found(sentences: list[Sentence], part: str) -> None:
    total = score(s for s in sentences if s.part == part)
    assert total.f1 >= LEAST_F1, f"F1 {total.f1:.4f}: {total.right} right of {total.said} said and {total.found} found"


def test_claims_are_found_in_real_reports(shared: Path) -> None:
    reports = [s for s in load(reports=shared / "data/ptbxl/labels.csv") if s.file == "ptbxl_reports"]
    assert len(reports) >= 60
    assert score(reports).f1 >= LEAST_F1


def test_a_wrong_claim_costs(sentences: list[Sentence]) -> None:
    """The score itself: each of the things that make a claim counts."""
    text = "ST elevation in II and III, no LVH, possible pericarditis, PR 160 ms."
    gold: tuple[dict[str, Any], ...] = (
        {"quantity": "st_category", "value": "elevation", "leads": ["III", "II"], "says": "ST elevation"},
        {"quantity": "voltage", "value": "left ventricular hypertrophy", "negated": True, "says": "LVH"},
        {"quantity": "diagnosis", "value": "pericarditis", "hedged": True, "says": "pericarditis"},
        {"quantity": "pr_ms", "value": 161.0, "says": "160 ms"},
    )
    right = Sentence("x", text, "dev", "x", gold)
    assert score([right]).f1 == 1.0
    changes: tuple[dict[str, Any], ...] = ({"leads": ["II"]}, {"negated": False}, {"hedged": False}, {"value": 165.0})
    for i, change in enumerate(changes):
        wrong = Sentence("x", text, "dev", "x", tuple({**g, **change} if i == j else g for j, g in enumerate(gold)))
        assert (score([wrong]).right, score([wrong]).said, score([wrong]).found) == (3, 4, 4)
    elsewhere = Sentence("x", text, "dev", "x", ({**gold[3], "says": "ST"},))
    assert not match(elsewhere, find_claims(text))
    assert score([Sentence("x", text, "dev", "x", ({**gold[2], "hedged": False},))], hedges=False).right == 1


def test_what_is_left_out_for_speed_changes_no_claim(
    sentences: list[Sentence], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentences without a claiming word are passed over, and the last texts are kept: the same claims without either,
    of each text and of all of them in one."""
    texts = [sentence.text for sentence in sentences]
    texts.append("\n".join(texts) + "\nPlease see a physician. It is the same in these leads.")
    quick = [find_claims(text) for text in texts]
    monkeypatch.setattr(claims, "_CLAIMING", frozenset(Kind))
    monkeypatch.setattr(parts, "_KEPT_CHARACTERS", -1)
    assert quick == [find_claims(text) for text in texts]


def test_a_sentence_that_claims_nothing_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(claims, "unsaid", lambda sentence: read.append(len(sentence)) or unsaid(sentence))
    assert len(find_claims("This is a summary. Please see a physician. PR 160 ms. Thank you for it.")) == 1
    assert len(read) == 1


def test_an_answer_is_cut_into_phrases_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[str] = []
    monkeypatch.setattr(parts, "tokens", lambda text: cut.append(text) or tokens(text))
    answer = "An answer that no other test has: PR 163 ms, and T waves are seen."
    assert audit_answer("What is the PR?", answer, None).unchecked == ("T waves",)
    assert cut.count(answer) == 1
