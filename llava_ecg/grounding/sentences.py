"""The sentences of a text, as the phrases of `llava_ecg.grounding.phrases`; a question is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from llava_ecg.grounding.phrases import tokens
from llava_ecg.grounding.tokens import Kind, Token

_LONGEST_SENTENCE = 150  # tokens; what is longer is cut, so that looking around in a sentence stays cheap
_KEPT_CHARACTERS = 20_000


def sentences(text: str) -> tuple[Sequence[Token], ...]:
    """The sentences of a text, very long ones in parts; a question is none, a fragment with a question mark is in
    doubt. The last few texts are kept: an answer is read for its claims and for its topics."""
    return _read(text) if len(text) <= _KEPT_CHARACTERS else tuple(_sentences(text))


@lru_cache(4)
def _read(text: str) -> tuple[Sequence[Token], ...]:
    return tuple(_sentences(text))


def _sentences(text: str) -> Iterator[list[Token]]:
    sentence: list[Token] = []
    for token in tokens(text):
        if token.kind is not Kind.STOP:
            sentence.append(token)
            if (
                len(sentence) >= _LONGEST_SENTENCE
                and token.kind is Kind.COMMA
                or len(sentence) >= 2 * _LONGEST_SENTENCE
            ):
                yield sentence
                sentence = []
            continue
        if token.value == "?" and sentence and not _asks(text, sentence):
            yield [Token(Kind.HEDGE, "all", sentence[0].start, sentence[0].start), *sentence]
        elif sentence and token.value != "?":
            yield sentence
        sentence = []
    if sentence:
        yield sentence


_ASKING = re.compile(
    r"(?:so |and |but )?(?:is|are|does|do|did|was|were|what|which|how|could|can|would|should|will|why|who|has|have"
    r"|any|may|might|shall|where|ist|sind|hat|gibt|liegt|wie|welche|welcher|besteht)\b|.*\b(?:is|are|does|do|did|you)\b"
)


def _asks(text: str, sentence: list[Token]) -> bool:
    """Whether a sentence that ends in a question mark asks, and is not just in doubt."""
    return len(sentence) > 12 or bool(
        _ASKING.match(text[sentence[0].start : sentence[-1].end][:300].lower().replace("\n", " "))
    )
