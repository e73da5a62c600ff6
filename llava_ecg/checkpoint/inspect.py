"""What lies in a checkpoint, for ``llava-ecg inspect``: from the headers of its files, in less than a second. Imports
no torch.

Frozen or trained is what ``python -m llava_ecg.train --model_name_or_path PATH`` does without further flags: towers are
frozen, the rest is trained, a LoRA is first added into its weights. That is chosen in `llava_ecg.train.run.freeze`,
which a test holds this equal to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.arithmetic import Shapes
from llava_ecg.checkpoint.companions import TOKENIZER_FILES, ends_of, tokenizer_fault
from llava_ecg.checkpoint.files.headers import TensorRef, read_header, weight_files
from llava_ecg.checkpoint.fit import fit
from llava_ecg.checkpoint.inspected import FROZEN, MERGED, TRAINED, File, Part, Report
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.shapes import expected
from llava_ecg.checkpoint.source import Source, TowerSource, tower_alone
from llava_ecg.checkpoint.towers.facts import shown
from llava_ecg.checkpoint.towers.known import TOWERS
from llava_ecg.checkpoint.words import stream_report
from llava_ecg.errors import InputError

_HEAD = "language_model.lm_head.weight"


def inspect(
    path: str | Path,
    *,
    base: str | Path | None = None,
    ecg_tower: str | Path | None = None,
    vision_tower: str | Path | None = None,
) -> Report:
    """Look into a checkpoint of any layout, or a tower alone.

    Args:
        path: folder or file, name of an embedded checkpoint, or hub id.
        base, ecg_tower, vision_tower: as for `llava_ecg.load`.

    Raises:
        InputError: no checkpoint, a damaged one, or one that stands on what is not here.
    """
    place = find(path)
    alone = _tower_alone(place)
    if alone is None:
        return _report(
            open_source(place, base=base, ecg_tower=ecg_tower, vision_tower=vision_tower, partial=True), str(path)
        )
    if any(part is not None for part in (base, ecg_tower, vision_tower)):
        raise InputError(
            f"{place} holds a tower alone and takes no other part; leave --base, --ecg-tower and --vision-tower away"
        )
    return _tower_report(alone, str(path))


def _tower_alone(path: Path) -> TowerSource | None:
    """The tower that a file or folder holds and nothing else; None for a folder with anything else."""
    if path.is_file() or (path / "config.json").is_file():
        return tower_alone(path)
    bare = (
        any(file.suffix in (".pt", ".pth") for file in path.iterdir()) and not (path / "adapter_config.json").is_file()
    )
    return tower_alone(path) if bare else None


def _report(source: Source, name: str) -> Report:
    shapes = expected(source.config)
    if shapes is not None:
        absent = tuple(f"towers.{stream}." for stream in source.absent)
        shapes = {name: shape for name, shape in shapes.items() if not absent or not name.startswith(absent)}
    found = None if shapes is None else fit(source, shapes)
    refs = [*source.tensors.values(), *(ref for delta in source.deltas.values() for ref in (delta.a, delta.b))]
    streams: Mapping[str, Mapping[str, Any]] = source.config.get("streams") or {}
    ends_of(source)  # damaged, it would stop whoever opens the model
    return Report(
        name=name,
        layout=source.layout,
        folder=source.folder,
        base=source.stacks,
        tokenizer=source.tokenizer,
        template=source.config.get("template", "v1"),  # what a config that leaves it out means, as in LlavaEcgConfig
        longest=source.config.get("model_max_length", 4096),
        parts=tuple(_parts(source, shapes)),
        streams={key: stream_report(key, stream) for key, stream in streams.items()},
        files=_files([*weight_files(source.folder), *(ref.path for ref in refs)]),
        fit=found,
        left_over=tuple(source.left_over),
        fresh=tuple(prefix.removesuffix(".") for prefix in source.fresh),
        computed=len(source.computed),
        absent=dict(source.absent),
        notes=source.notes,
        untold=_untold(source),
    )


def _untold(source: Source) -> str | None:
    if source.tokenizer is None:
        return (
            f"{source.folder} has none (none of {', '.join(TOKENIZER_FILES)}), so nothing can be asked of it: copy "
            "its files there"
        )
    return tokenizer_fault(source.tokenizer)


def _tower_report(tower: TowerSource, name: str) -> Report:
    if (
        not isinstance(tower.kind, str)
        or not isinstance(tower.tower_config, Mapping)
        or not isinstance(tower.preparation, Mapping)
    ):
        raise InputError(
            f"{tower.path} is damaged: its config.json has a tower, tower_config or preparation of the wrong kind"
        )
    shapes = TOWERS[tower.kind].shapes(tower.tower_config, str(tower.path))[1] if tower.kind in TOWERS else None
    stream = {"tower": tower.kind, "tower_config": tower.tower_config, "preparation": tower.preparation}
    title = f"{tower.stream} tower"
    folder = tower.path.parent if tower.path.is_file() else tower.path
    return Report(
        name=name,
        layout="tower",
        folder=tower.path,
        base="",
        tokenizer=None,
        template=None,
        longest=None,
        parts=(_part(f"towers.{tower.stream}", title, tower.kind, tower.tensors.values(), folder, FROZEN),),
        streams={tower.stream: stream_report(tower.stream, stream)},
        files=_files(ref.path for ref in tower.tensors.values()),
        fit=None if shapes is None else fit(Source("tower", name, folder, {}, tower.tensors), shapes),
        left_over=(),
        fresh=(),
        unused=tower.unused,
    )


# -- parts -------------------------------------------------------------------------------------------------------------


def _parts(source: Source, shapes: Shapes | None) -> Iterable[Part]:
    """The language model, towers, projectors, the newline, and the LoRA of each that has one."""
    text = source.config.get("text_config") or {}
    streams = source.config.get("streams") or {}
    rows = [("language_model", "language model", shown(text.get("model_type", "llama")), TRAINED)]
    rows += [(f"towers.{name}", f"{name} tower", shown(each["tower"]), FROZEN) for name, each in streams.items()]
    for name, each in streams.items():
        rows.append((f"projectors.{name}", f"{name} projector", shown(each.get("projector", "linear")), TRAINED))
    if source.config.get("image_newline") or "image_newline" in source.tensors:
        rows.append(("image_newline", "newline", "embedding", TRAINED))
    tied = bool(text.get("tie_word_embeddings"))
    for name, title, kind, tuning in rows:
        own = [ref for key, ref in source.tensors.items() if _of(key, name) and not (tied and key == _HEAD)]
        part = _part(name, title, kind, own, source.folder, tuning)
        if not own and name.removeprefix("towers.") in source.absent:
            part = replace(part, where="not here")
        wanted = [shape for key, shape in (shapes or {}).items() if _of(key, name)]
        if own or not wanted:
            yield part
        else:
            new = any(_of(prefix, name) for prefix in source.fresh)
            where = "in no file: begins at random" if new else "in no file: missing"
            yield Part(name, title, kind, 0, sum(map(math.prod, wanted)) if new else 0, {}, 0, where, tuning)
    for name, title, _, _ in rows:
        deltas = [delta for key, delta in source.deltas.items() if _of(key, name)]
        if deltas:
            ranks = sorted({delta.a.shape[0] for delta in deltas if delta.a.shape})  # a damaged one has none
            pairs = [ref for delta in deltas for ref in (delta.a, delta.b)]
            kind = f"rank {' and '.join(map(str, ranks))}, {len(deltas):,} pair{'s' * (len(deltas) > 1)}"
            yield replace(
                _part(f"lora.{name}", f"LoRA of the {title}", kind, pairs, source.folder, MERGED), ranks=tuple(ranks)
            )


def _of(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _part(name: str, title: str, kind: str, refs: Iterable[TensorRef], folder: Path, tuning: str) -> Part:
    dtypes: Counter[str] = Counter()
    size, count, files = 0, 0, {}
    for ref in refs:
        dtypes[ref.dtype] += ref.numel
        size, count = size + ref.nbytes, count + 1
        files[ref.path] = True
    return Part(name, title, kind, count, sum(dtypes.values()), dict(dtypes), size, _where(files, folder), tuning)


def _where(files: Iterable[Path], folder: Path) -> str:
    """In which file, or how many files of which folder."""
    groups: dict[Path, list[Path]] = {}
    for file in files:
        groups.setdefault(file.parent, []).append(file)
    places = []
    for parent, members in groups.items():
        inside = parent == folder or folder in parent.parents
        place = parent.relative_to(folder) if inside else parent
        places.append(
            str(place / members[0].name)
            if len(members) == 1
            else f"{len(members)} files" + f" in {place}" * (parent != folder)
        )
    return " + ".join(places)


def _files(paths: Iterable[Path]) -> tuple[File, ...]:
    found = []
    for path in dict.fromkeys(paths):
        header = read_header(path)
        found.append(File(path, header.format, path.stat().st_size, header.refused))
    return tuple(found)
