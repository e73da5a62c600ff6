"""Checkpoints of ours on their way to disk: whole, or over a base; always complete or not at all.

- whole: ``config.json``, ``model.safetensors`` (or shards and their index), tokenizer files;
- over a base: ``config.json`` names the model in ``base`` whose language model it stands on; ``streams.safetensors`` holds towers,
  projectors and newline; ``adapter/`` a LoRA of the language model (PEFT's layout), if there is one.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llava_ecg.model import quantize, weights
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.source import ADAPTER, STREAMS

_STREAM_PARTS = ("towers.", "projectors.", "image_newline")
_HEAD = "language_model.lm_head.weight"


def save_checkpoint(model: LlavaEcgForCausalLM, tokenizer: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a folder that `llava_ecg.load` reads: over a base if ``model.config.base`` says so, else whole.

    A language model that PEFT wrapped is saved as its adapter alone over a base, and merged where there is none.

    Args:
        dtype: of the stored weights; None keeps theirs.

    Raises:
        InputError: a quantised language model that would have to be saved whole.
    """
    config = model.config
    adapted = hasattr(model.language_model, "peft_config")
    with whole_folder(folder) as temporary:
        state = {name: value.detach() for name, value in model.state_dict().items() if name.startswith(_STREAM_PARTS)}
        if config.base is not None:
            _write(temporary / STREAMS, state, dtype)
            if adapted:
                _save_adapter(model.language_model, temporary / ADAPTER, config.base, dtype)
        else:
            quantize.refuse_quantized(model.language_model, "be saved whole", "train a LoRA over it and save that")
            language_model: Any = copy.deepcopy(model.language_model) if adapted else model.language_model
            language_model = language_model.merge_and_unload() if adapted else language_model
            state |= {f"language_model.{name}": value.detach() for name, value in language_model.state_dict().items()}
            if config.text_config.tie_word_embeddings:
                state.pop(_HEAD, None)
            sizes = {name: value.numel() * (dtype or value.dtype).itemsize for name, value in state.items()}
            weights.write(temporary, ((name, value.to(dtype or value.dtype)) for name, value in state.items()), sizes)
            if language_model.generation_config is not None:
                ends = {"eos_token_id": language_model.generation_config.eos_token_id}
                (temporary / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n")
            tokenizer.save_pretrained(temporary)
        config.save_pretrained(temporary)


def save_tower(tower: torch.nn.Module, kind: str, settings: Mapping[str, Any], preparation: Mapping[str, Any], folder: Path) -> None:
    """A tower alone: ``config.json`` {tower, tower_config, preparation} and ``model.safetensors``."""
    with whole_folder(folder) as temporary:
        write_tower_config(kind, settings, preparation, temporary)
        _write(temporary / "model.safetensors", tower.state_dict(), None)


def write_tower_config(kind: str, settings: Mapping[str, Any], preparation: Mapping[str, Any], folder: Path) -> None:
    """The config.json of a tower alone."""
    config = {"tower": kind, "tower_config": dict(settings), "preparation": dict(preparation)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary neighbour that becomes `folder` when the block ends well, and vanishes otherwise.

    Into a folder that exists its files are moved one by one, config.json last; weights of another model that lay there go, other
    files stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp gives 0700, which nobody asked for
        if not folder.exists():
            temporary.rename(folder)
            return
        made = sorted(temporary.iterdir(), key=lambda path: path.name == "config.json")
        names = {path.name for path in made}
        for stale in [path for pattern in _WEIGHTS for path in folder.glob(pattern) if path.name not in names or path.is_dir()]:
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        for path in made:
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin", "pytorch_model.bin.index.json", STREAMS, ADAPTER)


def _write(path: Path, state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> None:
    save_file({name: value.to(dtype or value.dtype).contiguous().cpu() for name, value in state.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes its file for the owner alone


def _save_adapter(language_model: Any, folder: Path, base: str, dtype: torch.dtype | None) -> None:
    language_model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    note = folder / "adapter_config.json"  # PEFT names the folder that the base lies in on this machine
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base_model_name_or_path": base}, indent=2) + "\n")
    path = folder / "adapter_model.safetensors"
    if dtype is not None:
        _write(path, load_file(path), dtype)
