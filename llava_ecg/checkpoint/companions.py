"""The small files that stand beside the weights: tokenizer and generation_config.json, read without torch or
transformers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.files.headers import read_json
from llava_ecg.checkpoint.source import Source
from llava_ecg.errors import InputError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
TOKENIZER_CONFIG = "tokenizer_config.json"
_ENDS = "generation_config.json"
_LLAMA = ("LlamaTokenizer", "LlamaTokenizerFast")
_LLAMA_MODELS = ("llama", "llava", "llava_llama", "mistral", "llava_mistral")
"""Model types whose tokenizer is Llama's where tokenizer_config.json does not say."""


def tokenizer_of(folder: Path) -> Path | None:
    """The folder, if it holds a tokenizer."""
    return folder if any((folder / file).is_file() for file in TOKENIZER_FILES) else None


def tokenizer_fault(folder: Path) -> str | None:
    """What is plainly wrong with a tokenizer's files, as a sentence; None if nothing is. Whether it opens, only opening
    it tells."""
    there = [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
    for path in [*there, *(folder / file for file in ("merges.txt", TOKENIZER_CONFIG) if (folder / file).is_file())]:
        with path.open("rb") as file:
            head = file.read(64)
        if not head:
            return f"{path} is empty; copy it again"
        if head.startswith(b"version https://git-lfs"):
            return f"{path} is a Git LFS pointer, not the file itself; fetch it with git lfs pull"
        if path.suffix == ".json":
            try:
                read_json(path)
            except InputError as error:
                return str(error)
    if [path.name for path in there] == ["vocab.json"] and not (folder / "merges.txt").is_file():
        return f"{folder} has vocab.json and no merges.txt, which belongs to it; copy it too"
    return None


def tokenizer_arguments(folder: Path) -> dict[str, Any]:
    """What a tokenizer's files leave to the reader's version of transformers, as its writer's version read it.

    Llama's tokenizer writes a word's first piece with a leading space; whether also behind a special token
    (``</s>USER``) is its setting ``legacy``. Where tokenizer_config.json does not have it, transformers before 5 took
    true, and 5 takes false. So absent is true where one before 5 wrote the folder (``transformers_version`` of
    config.json; 5 also writes ``backend``). tokenizer.json, which alone 5 saves of such a tokenizer, holds what was
    meant.

    Returns:
        ``{"legacy": true}``, or nothing.
    """
    settings = read_json(folder / TOKENIZER_CONFIG) if (folder / TOKENIZER_CONFIG).is_file() else {}
    values = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if settings.get("legacy") is not None:
        return {}
    kind = settings.get("tokenizer_class")
    if kind not in _LLAMA and not (kind is None and values.get("model_type") in _LLAMA_MODELS):
        return {}
    slow, fast = (folder / "tokenizer.model").is_file(), (folder / "tokenizer.json").is_file()
    if slow and _before_five(values, settings) or fast and any(map(_always_spaced, _steps(folder / "tokenizer.json"))):
        return {"legacy": True}
    return {}


def _before_five(values: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    major = str(values.get("transformers_version", "4")).split(".")[0]
    return "backend" not in settings and (not major.isdecimal() or int(major) < 5)


def _steps(path: Path) -> Iterator[Mapping[str, Any]]:
    """Normalizers and pre-tokenizers of a tokenizer.json, those inside a Sequence too."""
    whole = read_json(path)
    for key, inner in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")):
        step = whole.get(key)
        parts = step.get(inner) if isinstance(step, Mapping) else None
        for each in parts if isinstance(parts, list) else [step]:
            if isinstance(each, Mapping):
                yield each


def _always_spaced(step: Mapping[str, Any]) -> bool:
    """Whether this step sets a space before every piece of text between special tokens, and not before the first
    alone."""
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme", "always") == "always"
    return step.get("type") == "Prepend"


def ends_of(source: Source) -> tuple[Path | None, list[int]]:
    """generation_config.json of a source (its own, else beside its tokenizer), and the ids that end an answer; none
    where it names none.

    Raises:
        InputError: it is damaged, or its ends are no ids.
    """
    places: Iterable[Path] = dict.fromkeys((source.folder, source.tokenizer or source.folder))
    there = [place / _ENDS for place in places if (place / _ENDS).is_file()]
    for path in there:
        ends = read_json(path).get("eos_token_id")
        found = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if not all(type(end) is int and end >= 0 for end in found):
            raise InputError(
                f"{path} has eos_token_id {json.dumps(ends)[:80]}; token numbers are needed: copy the file again"
            )
        if found:
            return path, found
    return (there[0] if there else None), []
