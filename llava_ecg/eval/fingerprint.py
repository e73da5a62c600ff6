"""What a run stands on, in words that fit into a log: questions, checkpoint, versions. No harness here."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llava_ecg import __version__
from llava_ecg.data.conversation import STREAMS
from llava_ecg.eval.items import Item

_END = 1 << 20
_SUFFIXES = (".json", ".safetensors", ".bin", ".pt", ".gguf", ".model")
_LENGTH = 16


def of_data(items: Iterable[Item]) -> str:
    """Of questions, right answers, and the names of the files that they are about; the same wherever the folder lies,
    and the same when a record that was missing has been put there."""
    digest = hashlib.sha256()
    for item in items:
        told = item.to_dict()
        for field in ("sources", "lent"):
            told[field] = [_named(block) for block in told[field]]
        told["group"] = Path(told["group"]).name
        digest.update(json.dumps(told, sort_keys=True).encode())
    return digest.hexdigest()[:_LENGTH]


def of_records(items: Iterable[Item]) -> str:
    """Of the names and sizes of the files that questions are about."""
    blocks = [block for item in items for block in item.sources]
    paths = {str(block[name]).partition("#")[0] for block in blocks for name in STREAMS if block.get(name)}
    told = sorted((Path(each).name, Path(each).stat().st_size if Path(each).is_file() else -1) for each in paths)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:_LENGTH]


def of_files(folders: Sequence[Path]) -> str:
    """Of a checkpoint's files: their names, sizes, and the first and the last megabyte of each, so that 15 GB cost no
    minute."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.is_file() and path.suffix in _SUFFIXES:
                size = path.stat().st_size
                digest.update(f"{path.name} {size}\n".encode())
                with path.open("rb") as file:
                    digest.update(file.read(_END))
                    if size > _END:
                        file.seek(max(_END, size - _END))
                        digest.update(file.read(_END))
    return digest.hexdigest()[:_LENGTH]


def of_assistant(assistant: Any) -> dict[str, Any]:
    """Checkpoint, template and preparation of an `Assistant`."""
    checkpoint, processor = assistant.checkpoint, assistant.processor
    folders = [each for each in (checkpoint.folder, checkpoint.adapter) if each is not None]
    model = checkpoint.model
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_fingerprint": hashlib.sha256(f"{of_files(folders)} {_of_weights(model)}".encode()).hexdigest()[
            :_LENGTH
        ],
        "layout": checkpoint.layout,
        "parameters": sum(each.numel() for each in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(assistant.device).partition(":")[0],
        "template": processor.template_name,
        "preparation": {name: repr(each) for name, each in processor.preparers.items()},
        "derive": processor.derive,
        "overrides": json.loads(json.dumps(dict(checkpoint.overrides), default=str)),
    }


def _of_weights(model: Any) -> str:
    """Of the first values of each tensor: a base that a LoRA lies over has no file in the checkpoint's folder."""
    digest = hashlib.sha256()
    for name, value in model.named_parameters():
        digest.update(name.encode())
        digest.update(value.detach().flatten()[:_LENGTH].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of this package and of what its figures may hang on."""
    found = {"llava_ecg": __version__, "python": platform.python_version()}
    for name in ("inspect_ai", "torch", "transformers", "numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _named(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block with the names of its files in place of their paths."""
    return {name: Path(str(value)).name if name in STREAMS and value else value for name, value in block.items()}
