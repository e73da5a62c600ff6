"""Checkpoints: open, compose, save. Config, weights, tokenizer and preparation are one folder.

Two layouts of ours:

- whole: ``config.json``, ``model.safetensors``, tokenizer files;
- over a base: ``config.json`` names the language model in ``base``; ``streams.safetensors`` holds towers, projectors and newline;
  ``adapter/`` a LoRA of the language model (PEFT's layout), if there is one.
"""

from __future__ import annotations

import copy
import difflib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig, StreamConfig
from llava_ecg.model.fetch import base_folder
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.lora import merge_lora

STREAMS, ADAPTER = "streams.safetensors", "adapter"
_OURS = ("towers.", "projectors.", "image_newline")


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to use.

    Attributes:
        model: in eval mode.
        tokenizer: transformers'.
        name: what it was asked for by.
        folder: where it lay.
    """

    model: LlavaEcgForCausalLM
    tokenizer: Any
    name: str
    folder: Path


def embedded() -> dict[str, Path]:
    """The checkpoints that come with the package: name -> folder."""
    here = Path(__file__).resolve().parents[2] / "checkpoints"
    installed = Path(sys.prefix) / "share" / "llava_ecg" / "checkpoints"
    found: dict[str, Path] = {}
    for root in (installed, here):
        for config in sorted(root.glob("*/config.json")):
            found[config.parent.name] = config.parent
    return found


def resolve(name: str | Path) -> Path:
    """The folder of a checkpoint that was given by path or by the name of an embedded one.

    Raises:
        InputError: neither; the nearest names are given.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    known = embedded()
    if str(name) in known:
        return known[str(name)]
    if path.exists():
        raise InputError(f"{path} is a file; --model wants the folder of a checkpoint")
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or sorted(known)
    raise InputError(
        f"there is no model {str(name)!r}: no such folder, and no embedded model of that name; did you mean {' or '.join(near)}?"
        if near
        else f"there is no model {str(name)!r}: no such folder, and this installation carries no embedded models"
    )


def open_checkpoint(
    name: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, merge: bool = True
) -> Checkpoint:
    """The model of a folder in one of our layouts, or of an embedded name.

    Args:
        name: folder, or name of an embedded checkpoint.
        device, dtype: where and as what the weights go.
        merge: add a LoRA into the language model; False leaves it out, for who goes on training it.

    Raises:
        InputError: unknown name; no config, weights or base language model; keys that are missing, left over or of another shape.
    """
    folder = resolve(name)
    config = _read_config(folder)
    if config.base is None:
        language_model, weights = None, _weights(folder, "model.safetensors")
    else:
        language_model, weights = load_base(config.base, dtype), _weights(folder, STREAMS)
        if merge and (folder / ADAPTER).is_dir():
            merge_lora(language_model, folder / ADAPTER)
    base = config.base
    if merge and base is not None and (folder / ADAPTER).is_dir():
        config.base = None  # with its LoRA merged in it is the base's language model no more: it would be saved whole
    model = LlavaEcgForCausalLM(config, language_model)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)  # buffers stay as they are: rotary frequencies are wrong in 16 bits
    _load(model, weights, folder, whole=base is None)
    torch.nn.Module.to(model, device)
    return Checkpoint(model.eval(), load_tokenizer(folder, base), str(name), folder)


def load_base(base: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A language model by the name that ``llava-ecg fetch`` knows, or by its folder.

    Raises:
        InputError: it is not here; says how to get it.
    """
    path = _base_path(base)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path} holds no language model that can be opened ({str(error).splitlines()[0]})") from error
    return model


def _base_path(base: str) -> Path:
    path = Path(base).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{path} has no config.json; give the folder of a language model in the transformers layout")
        return path
    try:
        found = base_folder(base)
    except InputError as error:
        raise InputError(f"there is no language model {base!r}: no such folder, and {error}") from error
    if found is None:
        raise InputError(f"the language model {base!r} is not here yet; fetch it once with: llava-ecg fetch {base}")
    return found


def load_tokenizer(folder: Path | None, base: str | None) -> Any:
    """The tokenizer in a checkpoint's folder, else its base's."""
    own = folder is not None and any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))
    place = folder if own or base is None else _base_path(base)
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise InputError(f"{place} has no tokenizer that can be opened ({str(error).splitlines()[0]})") from error


def compose(
    base: str,
    streams: Mapping[str, StreamConfig],
    *,
    template: str,
    tower_folders: Mapping[str, Path] | None = None,
    model_max_length: int = 4096,
    dtype: torch.dtype = torch.float32,
) -> LlavaEcgForCausalLM:
    """A new model: a language model, towers (from folders of `save_tower` where given) and fresh projectors."""
    language_model = load_base(base, dtype)
    config = LlavaEcgConfig(language_model.config, streams, template=template, base=base, model_max_length=model_max_length)
    model = LlavaEcgForCausalLM(config, language_model)
    for name, folder in (tower_folders or {}).items():
        _load(model.towers[name], _weights(folder, "model.safetensors"), folder, whole=True)
    return model


def load_projectors(model: LlavaEcgForCausalLM, path: Path) -> None:
    """Fill a model's projectors from a safetensors file with the names ``ecg.weight``, ``image.0.weight``, ...

    Raises:
        InputError: no such file, or projectors of another kind.
    """
    _load(model.projectors, _weights(path.parent, path.name), path, whole=True)


def save_tower(tower: torch.nn.Module, kind: str, settings: Mapping[str, Any], preparation: Mapping[str, Any], folder: Path) -> None:
    """A tower alone: ``config.json`` {tower, tower_config, preparation} and ``model.safetensors``."""
    with whole_folder(folder) as temporary:
        config = {"tower": kind, "tower_config": dict(settings), "preparation": dict(preparation)}
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, temporary / "model.safetensors")


def tower_stream(folder: Path, **more: Any) -> StreamConfig:
    """The StreamConfig of a tower that `save_tower` wrote; `more` are the other fields.

    Raises:
        InputError: the folder holds no tower.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no tower: it has no config.json")
    return StreamConfig.of(json.loads(path.read_text()) | more)


def save_checkpoint(model: LlavaEcgForCausalLM, tokenizer: Any, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write a folder that `open_checkpoint` reads: over a base if ``model.config.base`` says so, else whole.

    A language model that PEFT wrapped is saved as its adapter alone over a base, and merged where there is none.

    Args:
        dtype: of the stored weights; None keeps theirs.
    """
    with whole_folder(folder) as temporary:
        state = {name: value.detach() for name, value in model.state_dict().items()}
        if model.config.base is not None:
            state = {name: value for name, value in state.items() if name.startswith(_OURS)}
            if hasattr(model.language_model, "peft_config"):
                model.language_model.save_pretrained(temporary / ADAPTER, save_embedding_layers=False)
                (temporary / ADAPTER / "README.md").unlink(missing_ok=True)  # PEFT's empty card
                note = temporary / ADAPTER / "adapter_config.json"  # PEFT names the folder that the base lies in on this machine
                note.write_text(json.dumps(json.loads(note.read_text()) | {"base_model_name_or_path": model.config.base}, indent=2) + "\n")
                path = temporary / ADAPTER / "adapter_model.safetensors"
                if dtype is not None:
                    save_file({name: value.to(dtype) for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
        else:
            if hasattr(model.language_model, "peft_config"):
                adapted: Any = copy.deepcopy(model.language_model)
                merged = adapted.merge_and_unload()
                state = {name: value for name, value in state.items() if name.startswith(_OURS)}
                state |= {f"language_model.{name}": value.detach() for name, value in merged.state_dict().items()}
            tokenizer.save_pretrained(temporary)
            if model.config.text_config.tie_word_embeddings:
                state.pop("language_model.lm_head.weight", None)
        stored = {name: (value if dtype is None else value.to(dtype)).contiguous().cpu() for name, value in state.items()}
        save_file(stored, temporary / (STREAMS if model.config.base is not None else "model.safetensors"), metadata={"format": "pt"})
        model.config.save_pretrained(temporary)
        for stale in (ADAPTER, STREAMS, "model.safetensors"):  # of another model that lay there; it would be mixed with this one
            if (folder / stale).is_dir() and not (temporary / stale).exists():
                shutil.rmtree(folder / stale)
            elif (folder / stale).exists() and not (temporary / stale).exists():
                (folder / stale).unlink()


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary neighbour that becomes `folder` when the block ends well, and vanishes otherwise.

    Into a folder that exists the files are copied over those of the same name, and others stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp gives 0700, which nobody asked for
        if folder.exists():
            shutil.copytree(temporary, folder, dirs_exist_ok=True)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_config(folder: Path) -> LlavaEcgConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} is no checkpoint: it has no config.json")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error})") from error
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind != LlavaEcgConfig.model_type:
        raise InputError(f"{path} is of model_type {kind!r}; this version opens {LlavaEcgConfig.model_type!r}")
    return LlavaEcgConfig(**{name: value for name, value in values.items() if name not in ("model_type", "transformers_version")})


def _weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = folder / name
    if not path.is_file():
        raise InputError(f"{folder} has no weights: {name} is missing")
    try:
        weights: dict[str, torch.Tensor] = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} can't be read ({error}); copy it again") from error
    return weights


def _load(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], folder: Path, whole: bool) -> None:
    """Fill the module; every key has to find its place and every place its key (only ours unless `whole`)."""
    state = module.state_dict()
    expected = {name for name in state if whole or name.startswith(_OURS)}
    if isinstance(module, LlavaEcgForCausalLM) and module.config.text_config.tie_word_embeddings:
        expected.discard("language_model.lm_head.weight")  # it is the embedding
    faults = [f"missing {name}" for name in sorted(expected - set(weights))]
    faults += [f"left over {name}" for name in sorted(set(weights) - expected)]
    faults += [
        f"{name} is {tuple(weights[name].shape)} in the file and {tuple(state[name].shape)} in the model"
        for name in sorted(expected & set(weights))
        if weights[name].shape != state[name].shape
    ]
    if faults:
        more = f", and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise InputError(f"the weights in {folder} do not fit its config: {'; '.join(faults[:20])}{more}")
    module.load_state_dict(dict(weights), strict=False)


AutoConfig.register(LlavaEcgConfig.model_type, LlavaEcgConfig, exist_ok=True)
AutoModelForCausalLM.register(LlavaEcgConfig, LlavaEcgForCausalLM, exist_ok=True)
