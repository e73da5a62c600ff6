"""One layout into another, tensor by tensor: names change, bits do not. A LoRA is added on the way where it is asked
for.

What is written appears whole or not at all: it is made beside its destination and renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint import released, weights
from llava_ecg.checkpoint.building import expected_shapes, guarded
from llava_ecg.checkpoint.companions import TOKENIZER_FILES, ends_of
from llava_ecg.checkpoint.fit import faults, refuse_faults
from llava_ecg.checkpoint.keymaps import BARE, GEM, OURS, Table, from_ours
from llava_ecg.checkpoint.opening import open_source, open_tower
from llava_ecg.checkpoint.places.find import is_hub_id
from llava_ecg.checkpoint.source import Source, TowerSource
from llava_ecg.checkpoint.weights import SHARD_BYTES
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import copy_tokenizer, whole_folder, write_tower_config

TARGETS = ("llava", "ours", "encoder")
Progress = Callable[[str], None]

_CLIP_PREFIX, _CLIP_NAME = "towers.image.", "mm_vision_tower"


def convert(
    src: str | Path,
    dst: Path,
    to: str,
    *,
    base: str | Path | None = None,
    ecg_tower: str | Path | None = None,
    vision_tower: str | Path | None = None,
    trust_pickle: bool = False,
    shard_size: int = SHARD_BYTES,
    progress: Progress = print,
) -> Path:
    """Write a checkpoint of any layout in another one.

    Args:
        src: as for `llava_ecg.load`.
        dst: folder that is not there yet.
        to: ``llava`` (the released layout of LLaVA, PULSE and GEM), ``ours``, or ``encoder`` (the ECG tower alone).
        base, ecg_tower, vision_tower, trust_pickle: as for `llava_ecg.load`.
        shard_size: bytes.
        progress: is told what goes on, a line at a time.

    Raises:
        InputError: nothing to convert, a layout that can't hold it, or a destination that can't be written.
    """
    if to not in TARGETS:
        raise InputError(f"unknown layout {to!r}; known are {', '.join(TARGETS)}")
    if to == "encoder":
        return _write_tower(open_tower(src), dst, trust_pickle, progress)
    source = open_source(src, base=base, ecg_tower=ecg_tower, vision_tower=vision_tower)
    outside = _stays_outside(source, vision_tower) if to == "llava" else ()
    return _write(source, dst, to, outside, trust_pickle, shard_size, progress)


def merge(
    lora: str | Path,
    dst: Path,
    *,
    base: str | Path | None = None,
    trust_pickle: bool = False,
    shard_size: int = SHARD_BYTES,
    progress: Progress = print,
) -> Path:
    """Add a LoRA into what it stands on, and write the whole model, projectors, tuned towers and newline included.

    The layout is the released one where the LoRA came in LLaVA's, else ours.

    Raises:
        InputError: no LoRA, or as `convert`.
    """
    source = open_source(lora, base=base)
    if not source.deltas:
        raise InputError(f"{source.folder} holds no LoRA to merge; convert writes it in another layout as it is")
    to = "llava" if source.layout == "lora" and source.config.get("origin") else "ours"
    return _write(source, dst, to, (), trust_pickle, shard_size, progress)


def _write(
    source: Source,
    dst: Path,
    to: str,
    outside: tuple[str, ...],
    trust_pickle: bool,
    shard_size: int,
    progress: Progress,
) -> Path:
    if not source.config["streams"]:
        raise InputError(f"{source.folder} is a language model alone, which is the same in every layout")
    if source.fresh:
        raise InputError(
            f"{source.folder} has no projector for {', '.join(sorted({name.split('.')[1] for name in source.fresh}))}: "
            "train it first (python -m llava_ecg.train), then convert"
        )
    for note in source.notes:
        progress(note)
    if source.tokenizer is None:
        progress(
            f"{source.folder} has no tokenizer, so {dst} has none: nothing can be asked before "
            f"{' or '.join(TOKENIZER_FILES)} is in it"
        )
    expected = expected_shapes(source.config, str(source.folder), LlavaEcgForCausalLM.of)
    refuse_faults(faults(source, expected), str(source.folder))
    if outside:
        named = source.config["origin"]["config"].get(_CLIP_NAME)
        progress(f"the image tower is not written, only named: {named}; --vision-tower {named} writes it in")
        source = replace(
            source, tensors={name: ref for name, ref in source.tensors.items() if not name.startswith(outside)}
        )
    config: dict[str, Any] = source.config | {"base": None}
    if to == "llava":
        values, table = released.to_llava(config, source.shapes), GEM
    else:
        values, table = guarded(lambda: LlavaEcgConfig(**config), str(source.folder)).to_dict(), OURS
    everything = replace(source, tensors=source.tensors | source.computed)
    with _made(dst, sum(ref.nbytes for ref in everything.tensors.values())) as folder:
        _write_tensors(everything, folder, table, trust_pickle, shard_size, progress)
        (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")
        _copy_companions(source, folder)
    merged = f", {len(source.deltas)} LoRA pairs added" if source.deltas else ""
    progress(f"{len(everything.tensors)} tensors in the layout {to!r}{merged}")
    return dst


def _stays_outside(source: Source, vision_tower: str | Path | None) -> tuple[str, ...]:
    """The prefix of a CLIP that the released config only names, as LLaVA-1.5's, where that name leads to it from any
    folder.

    An ECG tower is written in: GEM is released with its own, and no name of a .pt is found on another machine.
    """
    origin = source.config.get("origin") or {}
    name = (origin.get("config") or {}).get(_CLIP_NAME)
    if _CLIP_PREFIX not in origin.get("outside", ()) or vision_tower is not None or not isinstance(name, str):
        return ()
    anywhere = is_hub_id(name) and not (source.folder / name).exists() or Path(name).expanduser().is_absolute()
    return (_CLIP_PREFIX,) if anywhere else ()


def _write_tensors(
    source: Source, folder: Path, table: Table, trust_pickle: bool, shard_size: int, progress: Progress
) -> None:
    names = from_ours(source.tensors, table)
    sizes = {names[name]: source.tensors[name].nbytes for name in weights.order(source)}
    progress(f"writing {sum(sizes.values()) / 1e9:.3g} GB")
    rounding = weights.Rounding()
    stream = weights.stream(source, trust_pickle=trust_pickle, rounding=rounding)
    weights.write(folder, ((names[name], tensor) for name, tensor in stream), sizes, shard_size)
    if lost := rounding.said():
        progress(f"{lost}; loading the LoRA over its base as float32 keeps it whole")


def _write_tower(tower: TowerSource, dst: Path, trust_pickle: bool, progress: Progress) -> Path:
    config: dict[str, Any] = {}
    held = Source("tower", str(tower.path), tower.path, config, tower.tensors)
    with _made(dst, sum(ref.nbytes for ref in tower.tensors.values())) as folder:
        _write_tensors(held, folder, BARE, trust_pickle, 1 << 62, progress)
        write_tower_config(tower.kind, tower.tower_config, tower.preparation, folder)
        with (folder / "model.safetensors").open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    progress(
        f"{tower.kind}: {len(tower.tensors)} tensors, {tower.unused} others left behind; model.safetensors has the "
        f"sha256 {digest}"
    )
    return dst


def _made(dst: Path, size: int) -> Any:
    """`whole_folder`, for a destination that is free and has room."""
    try:
        if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
            raise InputError(f"{dst} is there already; give a folder that is not")
        dst.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(dst.parent).free
    except OSError as error:
        raise InputError(f"can't write to {dst} ({error.strerror or error}); choose another folder") from error
    if free < size:
        raise InputError(
            f"{dst} needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there; choose another folder"
        )
    return whole_folder(dst)


def _copy_companions(source: Source, folder: Path) -> None:
    """Tokenizer files as they are, and the tokens that end an answer."""
    if source.tokenizer is not None:
        copy_tokenizer(source.tokenizer, folder)
    place = ends_of(source)[0]
    if place is not None:
        shutil.copyfile(place, folder / place.name)
