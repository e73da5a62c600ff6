"""A checkpoint's tokenizer, opened as the model was trained with it and no larger than the model's embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig

from llava_ecg.checkpoint.companions import TOKENIZER_FILES, tokenizer_arguments
from llava_ecg.checkpoint.files.headers import read_json
from llava_ecg.checkpoint.released import is_released
from llava_ecg.checkpoint.source import Source
from llava_ecg.errors import InputError

EMBEDDING = "language_model.model.embed_tokens.weight"


def load_tokenizer(folder: Path, *inputs: Any, rows: int | None = None, **kwargs: Any) -> Any:
    """The tokenizer in a folder; its own code, if it brings any, is not run.

    Args:
        inputs, kwargs: for transformers; they win over what the folder's files say.
        rows: how many tokens the model embeds; None for ``vocab_size`` of the config.json beside it. Added tokens
            beyond them, such as a padding token that the model was never resized for, are taken away (`fitted`).

    Raises:
        InputError: there is none, or it can't be opened.
    """
    values = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    try:
        arguments = tokenizer_arguments(folder) | _first_release(values) | kwargs
        tokenizer = AutoTokenizer.from_pretrained(folder, *inputs, trust_remote_code=False, **arguments)
    except InputError:
        raise
    except Exception as error:  # tokenizers, sentencepiece and transformers each fail in their own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} has no tokenizer that can be opened ({reason})") from error
    rows = values.get("vocab_size") if rows is None else rows
    return fitted(tokenizer, rows, folder) if type(rows) is int else tokenizer


def tokenizer_of_source(source: Source, *inputs: Any, **kwargs: Any) -> Any:
    """`load_tokenizer` for a source, with the rows of its embedding.

    Raises:
        InputError: it has none, or none that can be opened.
    """
    if source.tokenizer is None:
        raise InputError(
            f"{source.folder} has no tokenizer that can be opened: none of {', '.join(TOKENIZER_FILES)} is there"
        )
    shape = source.tensors[EMBEDDING].shape if EMBEDDING in source.tensors else ()
    return load_tokenizer(source.tokenizer, *inputs, rows=shape[0] if shape else None, **kwargs)


def fitted(tokenizer: Any, rows: int, folder: Path) -> Any:
    """The tokenizer without added tokens that the model has no row for; padding goes to a token that it has.

    Their text is then text like any other: the model has never seen a token for it. A tokenizer that needs more than
    that is given back as it came, and does not fit.

    Args:
        rows: how many tokens the model embeds, 0 to rows - 1.
        folder: for the message.

    Raises:
        InputError: the token that begins, ends or is unknown text has no row.
    """
    beyond = {token for token, number in tokenizer.get_added_vocab().items() if number >= rows}
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    if not beyond or backend is None or len(tokenizer) - len(beyond) > rows:
        return tokenizer
    ends = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token, "unk_token": tokenizer.unk_token}
    for role, token in ends.items():
        if token in beyond:
            number = tokenizer.convert_tokens_to_ids(token)
            raise InputError(
                f"the {role} {token!r} of the tokenizer in {folder} is number {number}, and the model embeds "
                f"{rows} tokens; "
                "give the folder the tokenizer that the model was trained with"
            )
    whole = json.loads(backend.to_str())
    whole["added_tokens"] = [each for each in whole["added_tokens"] if each["content"] not in beyond]
    special = [token for token in tokenizer.extra_special_tokens if str(token) not in beyond]
    pad = tokenizer.pad_token
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(whole))
    tokenizer.extra_special_tokens = special
    if pad in beyond:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def _first_release(values: dict[str, Any]) -> dict[str, Any]:
    """LLaVA's first releases say ``llava``, for which transformers takes another tokenizer than the Llama that they
    were trained with."""
    return {"config": LlamaConfig()} if values.get("model_type") == "llava" and is_released(values) else {}
