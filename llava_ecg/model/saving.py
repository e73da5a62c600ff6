"""Checkpoints of ours on their way to disk: whole, or over a base; always complete or not at all.

- whole: ``config.json``, ``model.safetensors`` (or shards and their index), tokenizer files;
- over a base: ``config.json`` names the model in ``base`` whose language model it stands on; ``streams.safetensors``
  holds towers, projectors and newline; ``adapter/`` a LoRA of the language model (PEFT's layout), if there is one.
"""

from __future__ import annotations

import copy
import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llava_ecg.checkpoint import quantize, weights
from llava_ecg.checkpoint.building import expected_shapes
from llava_ecg.checkpoint.companions import TOKENIZER_CONFIG, tokenizer_arguments, tokenizer_of
from llava_ecg.checkpoint.files.headers import read_json
from llava_ecg.checkpoint.places.orderly import stops_orderly
from llava_ecg.checkpoint.source import ADAPTER, STREAMS
from llava_ecg.checkpoint.standing import refuse_standing
from llava_ecg.checkpoint.tokenizer import EMBEDDING, load_tokenizer
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM

_STREAM_PARTS = ("towers.", "projectors.", "image_newline")
_LANGUAGE = "language_model."
_HEAD = f"{_LANGUAGE}lm_head.weight"


def save_checkpoint(
    model: LlavaEcgForCausalLM,
    tokenizer: Any,
    folder: Path,
    dtype: torch.dtype | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a folder that `llava_ecg.load` reads: over a base if ``model.config.base`` says so, else whole.

    A language model that PEFT wrapped is saved as its adapter alone over a base, and merged where there is none.

    Args:
        dtype: of the stored weights; None keeps theirs.
        state: the model's tensors by its names for them, gathered, where the model itself holds shards of them; what
            is frozen below an adapter may be left out.

    Raises:
        InputError: a quantised language model that would have to be saved whole, a folder that holds what the result
            stands on, or a tensor that is not of the shape that the config says.
    """
    config = model.config
    refuse_standing(config, folder)
    adapted = hasattr(model.language_model, "peft_config")
    held: Mapping[str, Any] = model.state_dict() if state is None else state
    with whole_folder(folder) as temporary:
        if config.base is not None:
            streams = {name: value.detach() for name, value in held.items() if name.startswith(_STREAM_PARTS)}
            _check_complete(config, streams, _STREAM_PARTS)
            _write(temporary / STREAMS, streams, dtype)
            if adapted:
                _save_adapter(model.language_model, temporary / ADAPTER, config.base, dtype, _language_part(state))
        else:
            _write_whole(model, held, temporary, dtype, adapted)
        config.save_pretrained(temporary)
        if config.base is None:
            _save_tokenizer(tokenizer, temporary, len(held[EMBEDDING]))


def _write_whole(
    model: LlavaEcgForCausalLM, held: Mapping[str, Any], folder: Path, dtype: torch.dtype | None, adapted: bool
) -> None:
    quantize.refuse_quantized(model.language_model, "be saved whole", "train a LoRA over it and save that")
    language_model: Any = copy.deepcopy(model.language_model) if adapted else model.language_model
    if adapted:
        language_model = language_model.merge_and_unload()
        held = {name: value for name, value in held.items() if name.startswith(_STREAM_PARTS)}
        held |= {f"{_LANGUAGE}{name}": value for name, value in language_model.state_dict().items()}
    tied = model.config.text_config.tie_word_embeddings
    state = {name: value.detach() for name, value in held.items() if not (tied and name == _HEAD)}
    _check_complete(model.config, state)
    sizes = {name: value.numel() * (dtype or value.dtype).itemsize for name, value in state.items()}
    weights.write(folder, ((name, value.to(dtype or value.dtype)) for name, value in state.items()), sizes)
    if language_model.generation_config is not None:
        ends = {"eos_token_id": language_model.generation_config.eos_token_id}
        (folder / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n")


def _language_part(state: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
    if state is None:
        return None
    return {name.removeprefix(_LANGUAGE): value for name, value in state.items() if name.startswith(_LANGUAGE)}


def _check_complete(config: Any, state: Mapping[str, torch.Tensor], parts: tuple[str, ...] = ("",)) -> None:
    """Refuse to write what is not whole, such as a shard of a tensor that was not gathered.

    Raises:
        InputError: a tensor is missing, or has another shape than the config says.
    """
    expected = expected_shapes(config.to_dict(), "the model", LlavaEcgForCausalLM.of)
    for name, shape in expected.items():
        if not name.startswith(parts):
            continue
        if name not in state or tuple(state[name].shape) != shape:
            found = f"is {list(state[name].shape)}" if name in state else "is missing"
            raise InputError(
                f"{name} {found} where the config says {list(shape)}, so nothing is saved; train without shards, or "
                "report it"
            )


def save_tower(
    tower: torch.nn.Module, kind: str, settings: Mapping[str, Any], preparation: Mapping[str, Any], folder: Path
) -> None:
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

    A folder that exists is renamed aside, the new one renamed in, and the old one deleted: its weights, its tokenizer
    and what has a namesake in the new one go, other files are carried over. What a killed save has left beside the
    folder is put right first.
    """
    folder = folder.resolve()  # where a link leads, since the link itself stays
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.new-"))
    with _held(temporary), stops_orderly():
        try:
            yield temporary
            temporary.chmod(0o755)  # mkdtemp gives 0700, which nobody asked for
            if not folder.exists():
                temporary.rename(folder)
            elif os.path.ismount(folder) or _is_cwd(folder):
                _move_in(temporary, folder)
            else:
                _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, folder: Path) -> None:
    shutil.copymode(folder, temporary)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old-"))
    with _held(folder):
        folder.rename(aside)
        try:
            temporary.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
        _carry_over(aside, folder)
        shutil.rmtree(aside)


def _move_in(temporary: Path, folder: Path) -> None:
    """`_swap` for a folder that can't be renamed, or in which someone stands: entry by entry, config.json last."""
    made = sorted(temporary.iterdir(), key=lambda path: path.name == "config.json")
    for path in made:
        if (folder / path.name).is_dir():
            shutil.rmtree(folder / path.name)
        shutil.move(path, folder / path.name)
    names = {path.name for path in made}
    for path in list(folder.iterdir()):
        if path.name not in names and is_replaced(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _carry_over(aside: Path, folder: Path) -> None:
    for path in list(aside.iterdir()):
        if not is_replaced(path.name) and not (folder / path.name).exists():
            path.rename(folder / path.name)


def clear_leftovers(folder: Path) -> None:
    """Delete what killed saves have left beside the folder; where one was killed between its two renames, the old
    folder comes back."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.old-*"):
        with _held(path) as free:
            if free and not folder.exists() and (path / "config.json").exists():
                path.rename(folder)
            elif free and folder.exists():
                _carry_over(path, folder)
                shutil.rmtree(path)
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.new-*"):
        with _held(path) as free:
            if free:
                shutil.rmtree(path)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Lock a folder while the block runs, whatever it is renamed to; the lock of a killed process is free. False:
    another holds it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # no folder, or gone by now
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:  # held, or a file system without locks
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _is_cwd(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder)
    except FileNotFoundError:
        return False


def is_replaced(name: str) -> bool:
    """Whether saving into a folder that exists takes away the file or folder of that name in it."""
    return name == "config.json" or any(fnmatch(name, pattern) for pattern in (*_WEIGHTS, *_TOKENIZER))


_WEIGHTS = (
    "model*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model.bin.index.json",
    STREAMS,
    ADAPTER,
)
_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
)


def copy_tokenizer(origin: Path, folder: Path) -> None:
    """The files of a tokenizer as they are, into a folder that has its config.json.

    How they are read depends on that config too; where it says otherwise than the one beside the originals, it is
    written down.
    """
    for path in sorted(origin.iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in _TOKENIZER):
            shutil.copyfile(path, folder / path.name)
    reading = tokenizer_arguments(origin)
    if reading != tokenizer_arguments(folder):
        _write_down(folder, reading)


def _save_tokenizer(tokenizer: Any, folder: Path, rows: int) -> None:
    """The tokenizer's own files as they came, so that every program that could read them still can.

    One that has changed since, or that did not come from a folder, is saved as transformers does: in tokenizer.json,
    which programs before transformers 5 may not read.
    """
    origin = Path(tokenizer.name_or_path or "")
    if tokenizer.name_or_path and tokenizer_of(origin) is not None:
        copy_tokenizer(origin, folder)
        try:
            if _reading(load_tokenizer(folder, rows=rows)) == _reading(tokenizer):
                return
        except InputError:  # what it was opened with is not in its files
            pass
        for path in folder.iterdir():
            if any(fnmatch(path.name, pattern) for pattern in _TOKENIZER):
                path.unlink()
    tokenizer.save_pretrained(folder)
    legacy = getattr(tokenizer, "legacy", None)
    if isinstance(legacy, bool):  # transformers 5 leaves it out
        _write_down(folder, {"legacy": legacy})


def _reading(tokenizer: Any) -> Any:
    """All that says how a tokenizer reads text. Padding and truncation are how it was last called."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else tokenizer.get_vocab()
    steps = {key: value for key, value in backend.items() if key not in ("padding", "truncation")}
    return steps, tokenizer.special_tokens_map, tokenizer.chat_template


def _write_down(folder: Path, settings: Mapping[str, Any]) -> None:
    """Add settings to tokenizer_config.json."""
    note = folder / TOKENIZER_CONFIG
    kept = read_json(note) if note.is_file() else {}
    note.write_text(json.dumps(kept | dict(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write(path: Path, state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> None:
    save_file(
        {name: value.to(dtype or value.dtype).contiguous().cpu() for name, value in state.items()},
        path,
        metadata={"format": "pt"},
    )
    path.chmod(0o644)  # safetensors makes its file for the owner alone


def _save_adapter(
    language_model: Any,
    folder: Path,
    base: str,
    dtype: torch.dtype | None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    language_model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card
    note = folder / "adapter_config.json"  # PEFT names the folder that the base lies in on this machine
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base_model_name_or_path": base}, indent=2) + "\n")
    path = folder / "adapter_model.safetensors"
    adapter = load_file(path)
    empty = [name for name, value in adapter.items() if not value.numel()]
    if empty or not adapter:
        raise InputError(f"the LoRA has nothing in {min(empty, default='any tensor')}, so nothing is saved; report it")
    if dtype is not None:
        _write(path, adapter, dtype)
