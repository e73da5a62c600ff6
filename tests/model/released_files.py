"""The files of a checkpoint folder, whatever its layout: weights in one file or in shards, tokenizer, JSON; random
numbers to fill them.

Used by `released.py`. Nothing here imports llava_ecg.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.model.released_7b import Shapes

State = dict[str, torch.Tensor]

QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 256, 257, 258


@dataclass(frozen=True)
class Written:
    """What was written: `state` under the names in the files (of all its weight files together), `config` as in
    config.json."""

    folder: Path
    state: State
    config: dict[str, Any]


def random_state(shapes: Shapes, seed: int, dtype: torch.dtype) -> State:
    """Random weights of a scale at which every part shows in the output."""
    dice = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        values = torch.randn(shape, generator=dice)
        if len(shape) < 2:
            return (1 + 0.1 * values if name.endswith(".weight") else 0.1 * values).to(dtype)
        return (values / (values.numel() / shape[0]) ** 0.5).to(dtype)

    return {name: draw(name, shape) for name, shape in shapes.items()}


def cast(state: Mapping[str, torch.Tensor], dtype: torch.dtype) -> State:
    """The same in another precision."""
    return {name: value.to(dtype) for name, value in state.items()}


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def write_weights(folder: Path, state: Mapping[str, torch.Tensor], form: str, shards: int) -> None:
    """As save_pretrained: ``model.safetensors`` or ``pytorch_model.bin``, or numbered shards of about the same size and
    their index."""
    stem, ending = ("model", "safetensors") if form == "safetensors" else ("pytorch_model", "bin")
    sizes = {name: value.numel() * value.element_size() for name, value in state.items()}
    total, done = sum(sizes.values()), 0
    parts: list[State] = [{} for _ in range(shards)]
    for name, value in state.items():
        parts[min(shards - 1, done * shards // max(1, total))][name] = value
        done += sizes[name]
    where: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"{stem}.{ending}" if shards == 1 else f"{stem}-{number:05d}-of-{shards:05d}.{ending}"
        if form == "safetensors":
            save_file(
                {name: value.contiguous() for name, value in part.items()}, folder / file, metadata={"format": "pt"}
            )
        else:
            torch.save(part, folder / file)
        where |= dict.fromkeys(part, file)
    if shards > 1:
        write_json(folder / f"{stem}.{ending}.index.json", {"metadata": {"total_size": total}, "weight_map": where})


def write_tokenizer(folder: Path, golden: Path, family: str) -> None:
    """The golden sentencepiece tokenizer for Llama and Mistral; for Qwen2 a byte-level one of 256 bytes and its three
    special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    if family != "qwen2":
        for file in (golden / "tokenizer").iterdir():
            shutil.copyfile(file, folder / file.name)
        return
    plain = [
        *range(33, 127),
        *range(161, 173),
        *range(174, 256),
    ]  # GPT-2: printable bytes stand for themselves, the rest for 256, 257, ...
    other = [byte for byte in range(256) if byte not in plain]
    vocabulary = {chr(code): n for n, code in enumerate([*plain, *range(256, 256 + len(other))])}
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = {256 + n: {"content": token, **options} for n, token in enumerate(QWEN_SPECIAL)}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    words = {
        "type": "Split",
        "pattern": {"Regex": r"\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+"},
        "behavior": "Isolated",
        "invert": False,
    }
    parts = {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [words, bytes_]}}
    parts |= {"post_processor": bytes_, "decoder": bytes_, "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    added = [{"id": number, **token} for number, token in special.items()]
    write_json(
        folder / "tokenizer.json",
        {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts},
    )
    write_json(folder / "vocab.json", vocabulary)
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    values: dict[str, Any] = {
        "tokenizer_class": "Qwen2Tokenizer",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    values |= {
        "unk_token": None,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
    }
    values |= {
        "additional_special_tokens": list(QWEN_SPECIAL[1:]),
        "added_tokens_decoder": {str(n): t for n, t in special.items()},
    }
    write_json(folder / "tokenizer_config.json", values)
