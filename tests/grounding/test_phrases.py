"""Phrases: the fast lookup finds what a scan of the whole table finds, and a place in the text stays its place."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_ecg.grounding import phrases
from llava_ecg.grounding.claim import Claim
from llava_ecg.grounding.tokens import Kind

from .scoring import load

TEXTS = [sentence.text for sentence in load()]
BREAKS = ("\n", " \n  ", "\n\n", " ", "\t", "\u00a0", "\u2028", "\x85", "\r\n", " -", "- ", ".", "?")


def scanned(words: list[str], i: int) -> tuple[tuple[Kind, str] | None, int]:
    """The slow, obvious lookup: of all phrases that stand at word i the longest."""
    every = [
        (len(phrase), meaning)
        for same_start in phrases._phrases().values()
        for phrase, meaning in same_start.items()
        if tuple(words[i : i + len(phrase)]) == phrase
    ]
    longest = max((length for length, _ in every), default=1)
    return next((meaning for length, meaning in every if length == longest), None), longest


def test_the_lookup_finds_what_a_scan_finds() -> None:
    index, seen = phrases._index(), set()
    for text in TEXTS[::12]:
        words = [token.value for token in phrases._raw(text)]
        for i in range(len(words)):
            found = phrases._phrase(words, i, index)
            assert found == scanned(words, i), words[i : i + 6]
            seen.add(found[1])
    assert {1, 2, 3} <= seen, "phrases of several words were among them"


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*BREAKS, *" ".join(TEXTS).split()[:400]]), max_size=30))
def test_tokens_stand_where_they_say(parts: list[str]) -> None:
    text = " ".join(parts)
    behind = 0
    for token in phrases.tokens(text):
        assert behind <= token.start <= token.end <= len(text)
        if token.kind is Kind.WORD and token.value.isascii() and token.value.isalpha():
            written = text[token.start : token.end].lower()
            assert token.value in (written, phrases._spelling(written)), (token, written)
        behind = token.end


@pytest.mark.parametrize(
    ("text", "stops"),
    [
        ("PR 160\nQRS 90", 1),  # a short line, and a capital begins the next
        ("PR 160 \n qrs 90", 0),  # wrapped
        (f"{'normal ' * 9}\nThe QRS is 90", 0),  # a long line is wrapped, whatever begins the next
        (f"{'ab ' * 9}PR is 160{' ' * 40}\nQRS 90", 1),  # what stands behind a line does not make it long
        ("PR 160\n\nqrs 90", 1),
        ("a line\u2028goes on", 0),
    ],
)
def test_where_a_line_ends_a_sentence(text: str, stops: int) -> None:
    assert sum(token.kind is Kind.STOP for token in phrases.tokens(text)) == stops


def test_a_claim_said_twice_is_the_same_wherever_it_stands() -> None:
    claim = Claim("pr_ms", 160.0, "ms", ("II",), "", "=", span=(3, 9), text="160 ms")
    assert claim.said == replace(claim, span=(20, 26), text="0.16 s").said
    assert len(claim.said) == len(fields(Claim)) - 2
    others = {"quantity": "qt_ms", "value": 161.0, "unit": "", "leads": (), "territory": "inferior"}
    others |= {"comparison": "<", "low": 1.0, "high": 2.0, "negated": True, "hedged": True}
    for name, value in others.items():
        assert replace(claim, **{name: value}).said != claim.said, name
