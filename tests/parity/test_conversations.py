"""Prompts, ids and labels are the original's: 92 tokenised conversations, both tokenizer behaviours, and the
prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from llava_ecg.data.conversation import Turn, parse
from llava_ecg.data.encode import IGNORE, tokenize
from llava_ecg.model.loading import load_tokenizer
from llava_ecg.plugins import templates
from tests.model import released

from .conftest import THEIR_MARKER

TEMPLATES = ("v1", "llava_v1", "llama_2", "llava_llama_2", "plain")


@pytest.fixture(scope="module")
def conversations(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "conversations.json").read_text())


@pytest.fixture(scope="module")
def tokenizers(golden: Path) -> dict[bool, Any]:
    return {legacy: AutoTokenizer.from_pretrained(golden / "tokenizer", legacy=legacy) for legacy in (False, True)}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_ids_and_labels(name: str, legacy: bool, conversations: dict[str, Any], tokenizers: dict[bool, Any]) -> None:
    cases = [case for case in conversations["tokenization"] if case["version"] == name and case["legacy"] == legacy]
    assert len(cases) >= 6
    for case in cases:
        record = {"id": case["name"], "conversations": case["conversations"]} | (
            {"image": "page.png"} if case["has_image"] else {}
        )
        ids, labels, places = tokenize(templates.get(name).spans(parse(record).turns), tokenizers[legacy])
        for place in reversed(places):
            ids.insert(place, THEIR_MARKER)
            labels.insert(place, IGNORE)
        assert ids == case["input_ids"], case["name"]
        assert labels == case["labels"], case["name"]


@pytest.mark.parametrize("make", [released.gem_golden, released.pulse, released.llava_16])
def test_a_checkpoints_tokenizer_gives_the_same_ids(
    make: Any, golden: Path, conversations: dict[str, Any], tmp_path: Path
) -> None:
    """transformers also looks at the config.json beside a tokenizer; what it says there must not change the ids.

    LLaVA's first releases say ``llava``, transformers' own: there AutoTokenizer gives other ids, and ours is the one to
    ask.
    """
    folder = make(tmp_path / "x", golden).folder
    opened = [load_tokenizer(folder)]
    if make is not released.llava_16:
        opened.append(AutoTokenizer.from_pretrained(folder))
    for tokenizer in opened:
        cases = [case for case in conversations["tokenization"] if case["version"] == "llava_v1" and not case["legacy"]]
        for case in cases:
            record = {"id": case["name"], "conversations": case["conversations"]} | (
                {"image": "page.png"} if case["has_image"] else {}
            )
            ids, _, places = tokenize(templates.get("llava_v1").spans(parse(record).turns), tokenizer)
            for place in reversed(places):
                ids.insert(place, THEIR_MARKER)
            assert ids == case["input_ids"], case["name"]


def test_prompts(conversations: dict[str, Any]) -> None:
    checked = set()
    for case in conversations["prompts"]:
        if (
            case["version"] == "v0" or "prompt" not in case
        ):  # v0 is no template of a released ECG model; plain has no several turns
            continue
        turns = [
            Turn("assistant" if number % 2 else "user", text)
            for number, text in enumerate(case["turns"])
            if text is not None
        ]
        assert templates.get(case["version"]).prompt(turns) == case["prompt"]
        checked.add(case["version"])
    assert checked == {*TEMPLATES, "mpt", "chatml_direct", "qwen_2"}


def test_stop_text_ends_an_answer() -> None:
    turns = [Turn("user", "Rhythm?"), Turn("assistant", "Sinus.")]
    for name in ("v1", "llava_v1", "llama_2", "llava_llama_2", "mpt", "qwen_2", "ecg_chatml"):
        template = templates.get(name)
        assert [span for span in template.spans(turns) if span.trained][0].text.endswith(template.stop)
