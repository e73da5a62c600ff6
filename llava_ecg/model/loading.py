"""Checkpoints: open and compose. Config, weights, tokenizer and preparation are one folder; docs/checkpoints.md lists
the layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.building import build, fill
from llava_ecg.checkpoint.files.headers import read_header, read_json
from llava_ecg.checkpoint.keymaps import GEM, renamed
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.source import Source, TowerSource, tower_alone
from llava_ecg.checkpoint.tokenizer import load_tokenizer as load_tokenizer  # who trains asks for it here
from llava_ecg.checkpoint.towers.clip import MODEL_TYPES
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.opened import DTYPES as DTYPES
from llava_ecg.model.opened import open_model, place_of
from llava_ecg.model.towers.tower import build_tower
from llava_ecg.plugins import templates
from llava_ecg.streams import StreamConfig


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to use.

    Attributes:
        model: in eval mode.
        tokenizer: transformers'; None where `open_checkpoint` was told to do without.
        name: what it was asked for by.
        folder: where its config lay.
        layout: of that folder, see `llava_ecg.checkpoint.source.Source`.
        adapter: the folder of its LoRA, merged in or not.
        overrides: what the caller wanted otherwise than the checkpoint brings it: template, preparation by stream,
            towers, base, quantization, strict; and what is ``untrained``, since a tower was added whose projector no
            file holds.
        notes: what a user should know about how its parts came together; each answer has them.
    """

    model: LlavaEcgForCausalLM
    tokenizer: Any
    name: str
    folder: Path
    layout: str = "ours"
    adapter: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TowerCheckpoint:
    """An encoder alone, such as ECG-CoCa's.

    Attributes:
        tower: in eval mode; ``tower(values)`` is [n, P, D], ``tower.preparer(**preparation)`` makes its values from a
            source.
        kind, tower_config, preparation: as in `StreamConfig`.
        name: what it was asked for by.
        folder: folder or file that it lay in.
    """

    tower: nn.Module
    kind: str
    tower_config: Mapping[str, Any]
    preparation: Mapping[str, Any]
    name: str
    folder: Path


def load(
    path_or_hub_id: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    quantization: str | None = None,
    ecg_tower: str | Path | None = None,
    vision_tower: str | Path | None = None,
    base: str | Path | None = None,
    template: str | None = None,
    preparation: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool = True,
    trust_pickle: bool = False,
) -> Checkpoint | TowerCheckpoint:
    """Load a model in any of the layouts of docs/checkpoints.md, or an ECG-CoCa or CLIP tower alone.

    Args:
        path_or_hub_id: folder (or .pt of a tower), name of an embedded checkpoint, or ``org/name`` on the Hugging Face
            hub.
        device: ``cpu``, ``cuda``, ...; None takes CUDA where there is one.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None takes float32 on a CPU and bfloat16 elsewhere.
        quantization: ``nf4`` or ``int8``: the language model's linear layers but the head, by bitsandbytes; ``w8a8``:
            the same by torch, for speed on a CPU; ``w8a16``: the same by Triton, for speed on a GPU; ``auto``: w8a8 on
            a CPU that multiplies 8-bit integers exactly, none elsewhere; ``none``: as None.
        ecg_tower, vision_tower: a tower in place of the checkpoint's, or where it has none; then its projector starts
            untrained.
        base: the model that a LoRA or projectors stand on, where that is not where they say.
        template: chat template in place of the checkpoint's (``llava-ecg list templates``).
        preparation: stream -> settings in place of the checkpoint's, such as ``{"image": {"aspect": "pad"}}``.
        strict: every tensor has to find its place and every place its tensor; False initialises what is missing and
            passes over the rest, with a warning.
        trust_pickle: open pickles that hold more than tensors; that runs their maker's code.

    Raises:
        InputError: one sentence that says what is wrong with what was given or with the files.
    """
    device, kind = place_of(device, dtype)
    path = find(path_or_hub_id)
    alone = tower_alone(path) if path.is_file() or _holds_tower(path) else None
    if alone is not None:
        return _load_tower(alone, str(path_or_hub_id), device, kind, trust_pickle)
    return open_checkpoint(
        path_or_hub_id,
        device=device,
        dtype=kind,
        quantization=quantization,
        ecg_tower=ecg_tower,
        vision_tower=vision_tower,
        base=base,
        template=template,
        preparation=preparation,
        strict=strict,
        trust_pickle=trust_pickle,
    )


def open_checkpoint(name: str | Path, **options: Any) -> Checkpoint:
    """`load` for who wants a whole model, with its arguments and the other keywords of
    `llava_ecg.model.opened.open_model`.

    Raises:
        InputError: as `load`; also for a tower alone, and for a model without any stream.
    """
    found = open_model(name, LlavaEcgForCausalLM.of, **options)
    source = found.source
    return Checkpoint(
        found.model.eval(),
        found.tokenizer,
        str(name),
        source.folder,
        source.layout,
        source.adapter,
        found.overrides,
        source.notes,
    )


def _holds_tower(folder: Path) -> bool:
    if not (folder / "config.json").is_file():
        return not (folder / "adapter_config.json").is_file()
    values = read_json(folder / "config.json")
    return "tower" in values or values.get("model_type") in MODEL_TYPES


def _load_tower(
    source: TowerSource, name: str, device: str | torch.device, dtype: torch.dtype, trust_pickle: bool
) -> TowerCheckpoint:
    tower = build_tower(source.kind, source.tower_config)
    fill(tower, source.tensors, source.path, trust_pickle=trust_pickle)
    return TowerCheckpoint(
        tower.to(device, dtype).eval(), source.kind, source.tower_config, source.preparation, name, source.path
    )


def tower_stream(folder: Path, **more: Any) -> StreamConfig:
    """The StreamConfig of a tower alone; `more` are the other fields.

    Raises:
        InputError: the folder holds no tower.
    """
    source = tower_alone(folder)
    if source is None:
        raise InputError(f"{folder} holds no tower alone")
    return StreamConfig.of(
        {"tower": source.kind, "tower_config": source.tower_config, "preparation": source.preparation} | more
    )


def composed_source(
    base: str,
    streams: Mapping[str, StreamConfig],
    *,
    template: str,
    tower_folders: Mapping[str, Path] | None = None,
    model_max_length: int = 4096,
) -> Source:
    """What `compose` builds: the config, and where each tensor lies; headers are read and no tensors."""
    below = open_source(base)
    templates.get(template)
    named = {name: StreamConfig.of(stream) for name, stream in streams.items()}
    config = below.config | {
        "streams": {name: asdict(stream) for name, stream in named.items()},
        "template": template,
        "base": base,
    }
    config |= {"model_max_length": model_max_length, "image_newline": None, "origin": None}
    tensors = {name: ref for name, ref in below.tensors.items() if name.startswith("language_model.")}
    fresh = [f"projectors.{name}." for name in named] + ["image_newline"]
    for name in named:
        alone = tower_alone(tower_folders[name]) if tower_folders and name in tower_folders else None
        if alone is None:
            fresh.append(f"towers.{name}.")
        else:
            tensors |= {f"towers.{name}.{key}": ref for key, ref in alone.tensors.items()}
    return replace(below, config=config, tensors=tensors, fresh=tuple(fresh))


def compose(
    base: str,
    streams: Mapping[str, StreamConfig],
    *,
    template: str,
    tower_folders: Mapping[str, Path] | None = None,
    model_max_length: int = 4096,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    stream_dtype: torch.dtype | None = None,
    quantization: str | None = None,
    trust_pickle: bool = False,
) -> LlavaEcgForCausalLM:
    """A new model: a language model (of any layout), towers (from folders of `save_tower` where given) and fresh
    projectors.

    `device`, `quantization` and `trust_pickle` as for `load`; `stream_dtype` of towers and projectors, `dtype` if None.
    """
    source = composed_source(
        base, streams, template=template, tower_folders=tower_folders, model_max_length=model_max_length
    )
    quantization = quantize.chosen(quantization, device)
    model: LlavaEcgForCausalLM = build(
        source,
        LlavaEcgForCausalLM.of,
        device,
        dtype,
        stream_dtype,
        quantization=quantization,
        trust_pickle=trust_pickle,
    )
    for name, stream in ((name, StreamConfig.of(stream)) for name, stream in streams.items()):
        if f"towers.{name}." in source.fresh:  # drawn as it draws itself
            model.towers[name] = build_tower(stream.tower, stream.tower_config).to(device, stream_dtype or dtype)
    return model


def load_projectors(model: LlavaEcgForCausalLM, path: Path, *, trust_pickle: bool = False) -> None:
    """Fill a model's projectors from a file: safetensors with our names (``ecg.weight``, ...) or LLaVA's
    mm_projector.bin.

    `trust_pickle` as for `load`.

    Raises:
        InputError: no such file, or projectors of another kind.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give projectors.safetensors or mm_projector.bin")
    header = read_header(path)
    theirs = any("_projector." in name for name in header.tensors)
    tensors, _ = renamed([header], GEM if theirs else (("", "projectors."),), unwrap=theirs)
    fill(model, tensors, path, only="projectors.", trust_pickle=trust_pickle)
