"""What a checkpoint over another model can't be opened without, so that nothing is saved in its place. Needs no
torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.errors import InputError


def refuse_standing(config: Any, folder: Path) -> None:
    """Refuse to save a model of this config into a folder that is, or holds, what the saved one would stand on.

    Raises:
        InputError: it is, or does.
    """
    for path in _stands_on(config):
        if within(path, folder):
            raise InputError(
                f"the result would stand on {path}, which saving to {folder} endangers; choose another --output_dir"
            )


def within(path: Path, folder: Path) -> bool:
    """Whether a path is the folder or lies in it, links followed."""
    return any(each.is_relative_to(folder.resolve()) for each in places(path))


def places(path: Path) -> tuple[Path, Path]:
    """Where a path leads, and where the link itself lies if it is one."""
    return path.resolve(), path.parent.resolve() / path.name


def _stands_on(config: Any) -> Iterator[Path]:
    if config.base is not None:
        yield from _needed(config.base)
    origin = config.origin or {}
    for prefix in origin.get("outside", ()):  # towers that its layout leaves where they are
        name = origin["config"].get(RELEASED[prefix.split(".")[1]].key)
        path = _local(name) if isinstance(name, str) else None
        if path is not None:
            yield path


def _needed(name: str) -> Iterator[Path]:
    """The folders and files of a checkpoint, and of what it stands on in its turn."""
    path = _local(name)
    if path is None:
        return
    yield path
    try:
        source = open_source(path, partial=True)
    except InputError:  # whoever loads it is told what is wrong with it
        return
    refs = [*source.tensors.values(), *(ref for delta in source.deltas.values() for ref in (delta.a, delta.b))]
    known = {source.folder, source.tokenizer, source.adapter, *(ref.path for ref in refs)}
    yield from sorted(each for each in known if each is not None)
    if source.stacks:
        yield from _needed(source.stacks)


def _local(name: str) -> Path | None:
    try:
        return find(name, download=False)
    except InputError:
        return None
