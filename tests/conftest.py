"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and golden outputs beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the shared recordings and golden files, absent at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """The folder of outputs of the original code."""
    return shared / "golden"


def letter_tokenizer() -> Any:
    """A fast tokenizer with a token for each ASCII character, so that every span border is a token border."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {chr(code): number for number, code in enumerate(range(32, 127))}
    vocabulary |= {"\n": 95, "[UNK]": 96, "</s>": 97}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Split(pattern="", behavior="isolated")
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", pad_token="[UNK]")


@pytest.fixture(scope="session")
def letters() -> Any:
    """`letter_tokenizer`, made once."""
    return letter_tokenizer()
