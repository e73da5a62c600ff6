"""Templates for which golden/ has no output of the original: worked out from the original's rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_ecg.data.conversation import Turn, parse
from llava_ecg.data.encode import IGNORE, tokenize
from llava_ecg.data.templates import Span
from llava_ecg.plugins import templates

TURNS = [
    Turn("user", "<image>\nWhat rhythm is it?"),
    Turn("assistant", "Sinus rhythm, 72 bpm."),
    Turn("user", "And the QTc?"),
    Turn("assistant", "471 ms."),
]
MISTRAL = (
    "[INST] <image>\nWhat rhythm is it? [/INST] Sinus rhythm, 72 bpm. </s>[INST] And the QTc? [/INST] 471 ms. </s>"
)


def test_mistral_instruct() -> None:
    """LLaVA's conversation of that name: style LLAMA_2, no system, separators "" and "</s>"; answers with their ends
    are trained on."""
    template = templates.get("mistral_instruct")
    assert template.prompt(TURNS) == MISTRAL
    assert template.prompt(TURNS[:3]) == MISTRAL.removesuffix(" 471 ms. </s>")
    assert template.spans(TURNS) == [
        Span("[INST] <image>\nWhat rhythm is it? [/INST]", False),
        Span(" Sinus rhythm, 72 bpm. </s>", True),
        Span("[INST] And the QTc? [/INST]", False),
        Span(" 471 ms. </s>", True),
    ]
    assert template.stop == "</s>"


@pytest.mark.parametrize("legacy", [False, True])
def test_mistral_instruct_ids_and_labels(shared: Path, legacy: bool) -> None:
    """The whole prompt through the tokenizer, and the original's way to mask it: by lengths, a round up to each </s> at
    a time.

    The original counts a later round alone, which is as long as behind its </s> with Mistral's vocabulary, and not with
    this small one, whose " [" is two pieces; so here it is counted behind it.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared / "golden" / "tokenizer", legacy=legacy)
    said = [
        {"from": "gpt" if turn.role == "assistant" else "human", "value": turn.text.replace("<image>\n", "")}
        for turn in TURNS
    ]
    turns = parse({"id": "0", "conversations": said}).turns
    template = templates.get("mistral_instruct")
    expected = tokenizer(template.prompt(turns)).input_ids
    labels, place = [IGNORE, *expected[1:]], 1
    for number, each in enumerate(template.prompt(turns).split("</s>")[:-1]):
        question = each.split("[/INST] ")[0] + "[/INST] "
        pieces = (
            tokenizer("</s>" + text, add_special_tokens=False) if number else tokenizer(text)
            for text in (question, each)
        )
        masked, whole = (len(piece.input_ids) for piece in pieces)
        labels[place : place + masked - 2] = [IGNORE] * (
            masked - 2
        )  # without BOS or </s>, and without the piece of the last space
        place += whole
    assert place == len(expected)
    assert tokenize(template.spans(turns), tokenizer) == (expected, labels, [])
