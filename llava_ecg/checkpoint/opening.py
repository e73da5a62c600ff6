"""A folder -> a `Source`: which layout it is, which config, and where each tensor of the model lies. Needs no torch.

A layout is told by files and config (model_type, keys, shapes), never by a folder's name. Headers are read and no
tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint import released
from llava_ecg.checkpoint.companions import tokenizer_of
from llava_ecg.checkpoint.files.headers import Header, Tensors, read_folder, read_header, read_json, weight_files
from llava_ecg.checkpoint.keymaps import GEM, OURS, renamed, weights_alone
from llava_ecg.checkpoint.lora import Delta, adapter_file, read_lora
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.source import (
    ADAPTER,
    STREAMS,
    Source,
    TowerSource,
    check_width,
    overridden,
    tower_alone,
    with_tower,
)
from llava_ecg.checkpoint.towers.clip import MODEL_TYPES
from llava_ecg.checkpoint.towers.ecg_coca import described
from llava_ecg.checkpoint.towers.facts import folder_named
from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.errors import InputError

_REST_OF_LORA = ("non_lora_trainables.bin", "non_lora_trainables.safetensors")
_PROJECTOR_FILES = ("mm_projector.bin", "ecg_projector.bin")


@dataclass(frozen=True)
class _Wish:
    """What a caller gives beside the folder, and the folders that were opened on the way to this one."""

    base: str | Path | None = None
    towers: Mapping[str, str | Path | None] = field(default_factory=dict)
    trail: tuple[Path, ...] = ()
    partial: bool = False


def open_source(
    name: str | Path,
    *,
    base: str | Path | None = None,
    ecg_tower: str | Path | None = None,
    vision_tower: str | Path | None = None,
    template: str | None = None,
    preparation: Mapping[str, Mapping[str, Any]] | None = None,
    projectors: Mapping[str, str] | None = None,
    partial: bool = False,
) -> Source:
    """Look into a checkpoint of any layout.

    Args:
        name: path, embedded name or hub id.
        base: what a LoRA, projectors, or our own streams stand on, if it is not where they say.
        ecg_tower, vision_tower: in place of the checkpoint's, or beside it where it has none.
        template, preparation: override what the checkpoint brings; `preparation` is stream -> settings.
        projectors: stream -> kind of projector, for a stream that the checkpoint has not.
        partial: for who only looks: nothing is downloaded for what the checkpoint names, and a tower that is not here
            is told in `Source.absent`.

    Raises:
        InputError: no checkpoint, or a part of it that is missing or damaged.
    """
    towers = dict(zip(RELEASED, (ecg_tower, vision_tower), strict=True))
    source = _open(name, _Wish(base, towers, partial=partial))
    for stream, tower in towers.items():
        if tower is not None and stream not in source.given:
            source = with_tower(source, stream, open_tower(tower, stream), (projectors or {}).get(stream))
    if base is not None and not source.stacks:
        raise InputError(f"{source.folder} is whole and stands on no other model; leave --base away")
    source.tensors, everything = weights_alone(source.tensors), source.tensors
    source.computed = {name: ref for name, ref in everything.items() if name not in source.tensors}
    length, chat = source.config["model_max_length"], source.config["template"]
    if type(length) is not int or length < 1 or not isinstance(chat, str):
        raise InputError(
            f"the config in {source.folder} gives {length!r} tokens at most and the template {chat!r}; it is damaged"
        )
    return overridden(source, template, preparation or {})


def _open(name: str | Path, wish: _Wish) -> Source:
    folder = find(name, download=not (wish.partial and wish.trail))
    if folder.is_file():
        raise InputError(
            f"{folder} is a file; --model wants the folder of a checkpoint (an ECG tower alone goes to --ecg-tower)"
        )
    if folder.resolve() in wish.trail:
        raise InputError(
            f"{folder} stands on itself, by the base that its config or that of another names; give the right one "
            "with --base"
        )
    wish = replace(wish, trail=(*wish.trail, folder.resolve()))
    if not (folder / "config.json").is_file() and adapter_file(folder) is None:
        raise InputError(f"{folder} is no checkpoint: it has no config.json")
    values = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    kind = values.get("model_type")
    if kind == "llava_ecg":
        return _open_ours(folder, str(name), values, wish)
    if "tower" in values or kind in MODEL_TYPES:
        raise InputError(f"{folder} holds a tower alone; give it with --ecg-tower or --vision-tower beside a model")
    if weight_files(folder):
        return _open_whole(folder, str(name), values, wish)
    if (folder / "adapter_config.json").is_file():
        return _open_lora(folder, str(name), values, wish)
    if any((folder / file).is_file() for file in _PROJECTOR_FILES):
        return _open_projectors(folder, str(name), values, wish)
    raise InputError(
        f"{folder} has a config.json and no weights: neither model.safetensors nor pytorch_model.bin, nor an index "
        "of shards"
    )


def _open_whole(folder: Path, name: str, values: dict[str, Any], wish: _Wish) -> Source:
    """LLaVA, PULSE or GEM in one folder, or a language model alone."""
    headers = read_folder(folder)
    tensors, left_over = renamed(headers, GEM)
    multimodal = any(key.startswith(("towers.", "projectors.")) for key in tensors)
    if released.is_released(values) or multimodal:
        source = Source("llava", name, folder, {}, tensors, left_over=left_over, tokenizer=tokenizer_of(folder))
        return _with_released_config(source, values, wish)
    others = [
        key for header in headers for key in header.tensors if "vision" in key or "visual." in key or "ecg_tower" in key
    ]
    if others or "vision_config" in values:
        raise InputError(
            f"{folder} is of model_type "
            f"{values.get('model_type')!r}{f' with tensors such as {others[0]}' if others else ''}, another "
            "vision-language layout; what opens are LLaVA, PULSE and GEM checkpoints and plain language models "
            "(docs/checkpoints.md)"
        )
    return _language_model(folder, name, values, headers)


def _language_model(folder: Path, name: str, values: dict[str, Any], headers: list[Header]) -> Source:
    tensors, _ = renamed(headers, (("", "language_model."),))
    if "model_type" not in values:
        raise InputError(f"{folder / 'config.json'} names no model_type, so what its weights are can't be told")
    dropped = ("architectures", "transformers_version", "auto_map", "_name_or_path")
    text = {key: value for key, value in values.items() if key not in dropped}
    length = values.get("max_position_embeddings")
    config = {
        "text_config": text,
        "streams": {},
        "template": released.template({}, text, {}),
        "base": None,
        "model_max_length": min(length, 4096) if isinstance(length, int) else 4096,
        "image_newline": False,
    }
    return Source("language model", name, folder, config, tensors, tokenizer=tokenizer_of(folder))


def _open_ours(folder: Path, name: str, values: dict[str, Any], wish: _Wish) -> Source:
    dropped = ("model_type", "transformers_version", "architectures", "dtype", "tie_word_embeddings")
    config = {key: value for key, value in values.items() if key not in dropped}
    absent: dict[str, Any] = {
        "streams": {},
        "text_config": {},
        "template": "v1",
        "base": None,
        "model_max_length": 4096,
    }
    config = absent | {"image_newline": None, "origin": None} | config
    streams = config["streams"]
    whole = (
        isinstance(streams, dict)
        and isinstance(config["text_config"], dict)
        and isinstance(config["origin"], dict | type(None))
    )
    if not whole or not all(isinstance(stream, dict) and "tower" in stream for stream in streams.values()):
        raise InputError(
            f"{folder / 'config.json'} is damaged: text_config and streams have to be objects, and each stream "
            "names a tower"
        )
    usual: dict[str, Any] = {"tower_config": {}, "projector": "linear", "through": None, "preparation": {}}
    config["streams"] = {stream: usual | settings for stream, settings in streams.items()}
    if weight_files(folder):
        tensors, left_over = renamed(read_folder(folder), OURS)
        return Source(
            "ours", name, folder, config | {"base": None}, tensors, left_over=left_over, tokenizer=tokenizer_of(folder)
        )
    if not (folder / STREAMS).is_file():
        raise InputError(f"{folder} has no weights: neither model.safetensors nor {STREAMS} is there")
    below = _below(folder, "towers and projectors", (config.get("base"),), wish)
    adapter = folder / ADAPTER if (folder / ADAPTER).is_dir() else None
    tensors = {key: ref for key, ref in below.tensors.items() if key.startswith("language_model.")}
    deltas = {key: delta for key, delta in below.deltas.items() if key.startswith("language_model.")}
    own, left_over = renamed([read_header(folder / STREAMS)], OURS)
    lora = read_lora(adapter) if adapter is not None else {}
    _once(deltas, lora, folder)
    config["base"] = _lasting(wish.base or config["base"])
    source = Source("ours over a base", name, folder, config, tensors | own, deltas | lora, left_over)
    source.tokenizer, source.adapter, source.stacks = tokenizer_of(folder) or below.tokenizer, adapter, config["base"]
    return source


def _open_lora(folder: Path, name: str, values: dict[str, Any], wish: _Wish) -> Source:
    """LLaVA's LoRA folder: an adapter, the rest that was trained, and a base of any layout."""
    adapter = read_json(folder / "adapter_config.json")
    below = _below(folder, "a LoRA", (adapter.get("base_model_name_or_path"), values.get("_name_or_path")), wish)
    rest = [read_header(folder / file) for file in _REST_OF_LORA if (folder / file).is_file()]
    own, left_over = renamed(rest, GEM, unwrap=True)
    lora = read_lora(folder)
    _once(below.deltas, lora, folder)
    source = Source("lora", name, folder, {}, below.tensors | own, below.deltas | lora, left_over)
    source.tokenizer, source.adapter, source.stacks = (
        tokenizer_of(folder) or below.tokenizer,
        folder,
        _lasting(below.name),
    )
    source.notes = _taken_over(folder, below, own, None if rest else _REST_OF_LORA[0])
    return _over(source, below, values, wish)


def _open_projectors(folder: Path, name: str, values: dict[str, Any], wish: _Wish) -> Source:
    """What LLaVA's first stage leaves: projectors, over a language model and towers that lie elsewhere."""
    below = _below(folder, "projectors", (values.get("_name_or_path"),), wish)
    files = [read_header(folder / file) for file in _PROJECTOR_FILES if (folder / file).is_file()]
    own, left_over = renamed(files, GEM, unwrap=True)
    source = Source("projectors", name, folder, {}, below.tensors | own, dict(below.deltas), left_over)
    source.tokenizer, source.stacks = tokenizer_of(folder) or below.tokenizer, _lasting(below.name)
    source.notes = _taken_over(folder, below, own, None)
    return _over(source, below, values, wish)


def _below(folder: Path, what: str, names: Iterable[Any], wish: _Wish) -> Source:
    """The source that a folder stands on: as given, else as its configs name it."""
    named = [name for name in names if isinstance(name, str) and name]
    if wish.base is None and not named:
        raise InputError(f"{folder} holds {what} over a model that it does not name; give it with --base")
    try:
        return _open(wish.base or named[0], _Wish(trail=wish.trail, partial=wish.partial))
    except InputError as error:
        if wish.base is not None or wish.trail and "stands on itself" in str(error):
            raise
        raise InputError(
            f"{folder} holds {what} over {named[0]!r}, which can't be opened ({error}); give it with --base"
        ) from error


def _once(below: Mapping[str, Delta], lora: Mapping[str, Delta], folder: Path) -> None:
    """One weight takes one LoRA here."""
    if twice := sorted(set(below) & set(lora)):
        raise InputError(
            f"{folder} holds a LoRA over a LoRA (of {twice[0]}, among {len(twice)}); merge the lower one first: "
            "llava-ecg merge"
        )


def _taken_over(folder: Path, below: Source, own: Tensors, absent: str | None) -> tuple[str, ...]:
    """The note on projectors that a folder does not bring, so that the base's stand in their place; `absent`: the file
    they are kept in."""

    def projectors(tensors: Iterable[str]) -> set[str]:
        return {name.split(".")[1] for name in tensors if name.startswith("projectors.")}

    taken = ", ".join(sorted(projectors(below.tensors) - projectors(own)))
    why = f"has no {absent}" if absent else f"does not hold every projector (not {taken})"
    note = (
        f"{folder} {why}: the projectors ({taken}) are the base's, {below.folder}, even if others were trained with it"
    )
    return (*below.notes, note) if taken else below.notes


def _over(source: Source, below: Source, values: dict[str, Any], wish: _Wish) -> Source:
    """The config of what stands on another source: its own if it is a released one, else the other's."""
    if released.is_released(values):
        source = _with_released_config(source, values, wish, below)
    else:
        source.config = dict(below.config)
    source.config["base"] = source.stacks
    return source


def _lasting(name: str | Path) -> str:
    """A base's name as it is found again from another folder too."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else str(name)


def _with_released_config(source: Source, values: dict[str, Any], wish: _Wish, below: Source | None = None) -> Source:
    """Our config for a released one, with towers that it only names taken in."""
    found: dict[str, dict[str, Any]] = {}
    outside = []
    own = values.get(released.EXTENSION)
    if own is not None:
        streams = own.get("streams") if isinstance(own, Mapping) else None
        if not isinstance(streams, dict) or not all(
            isinstance(each, dict) and "tower" in each for each in streams.values()
        ):
            raise InputError(
                f"{source.folder / 'config.json'} is damaged: its {released.EXTENSION} has no streams with a tower each"
            )
    for stream, facts in RELEASED.items():
        prefix = f"towers.{stream}."
        inside = {
            name.removeprefix(prefix): ref.shape for name, ref in source.tensors.items() if name.startswith(prefix)
        }
        if not inside and not values.get(facts.key):
            continue
        given = wish.towers.get(stream)
        if given is not None or not inside:
            try:
                place = (
                    given
                    if given is not None
                    else _named(source.folder, str(values[facts.key]), stream, not wish.partial)
                )
            except InputError as error:
                if not wish.partial:
                    raise
                source.absent[stream] = str(error)
                found[stream] = {"tower_config": facts.guessed(values.get("mm_hidden_size", 1024))}
                continue
            tower = open_tower(place, stream, described(source.folder, values))
            check_width(source, stream, tower)
            source.tensors = {name: ref for name, ref in source.tensors.items() if not name.startswith(prefix)}
            source.tensors |= {prefix + name: ref for name, ref in tower.tensors.items()}
            found[stream] = {
                "tower_config": tower.tower_config,
                "preparation": tower.preparation if facts.prepares else {},
            }
            outside += [] if inside else [prefix]
            source.given += (stream,) if given is not None else ()
        elif below is not None and stream in below.config["streams"]:
            found[stream] = dict(below.config["streams"][stream])
        else:
            found[stream] = _inside(source.folder, stream, inside, values)
    source.config = released.to_config(values, source.shapes, found, str(source.folder / "config.json"))
    source.config["origin"] = {"layout": source.layout, "config": values, "outside": outside}
    return source


def _inside(folder: Path, stream: str, shapes: released.Shapes, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a tower whose weights lie in the checkpoint: of our making, of a config beside it, or told by the
    shapes."""
    own = values.get(released.EXTENSION)
    if own is not None and stream in own["streams"]:
        return dict(own["streams"][stream])
    return RELEASED[stream].inside(folder, values, shapes)


# -- towers ------------------------------------------------------------------------------------------------------------


def open_tower(name: str | Path, stream: str = next(iter(RELEASED)), description: Path | None = None) -> TowerSource:
    """Look into a tower: a folder of ours, ECG-CoCa's .pt, a CLIP's folder or hub id, or the tower of a whole
    checkpoint.

    Raises:
        InputError: there is none.
    """
    path = find(name, "tower")
    alone = tower_alone(path, description)
    if alone is not None:
        return alone
    source = open_source(path)
    if stream not in source.config["streams"]:
        raise InputError(f"{path} holds a model without the stream {stream!r}, so no tower for it")
    settings, prefix = source.config["streams"][stream], f"towers.{stream}."
    tensors = {name.removeprefix(prefix): ref for name, ref in source.tensors.items() if name.startswith(prefix)}
    unused = [name for name in source.tensors if not name.startswith(prefix)]
    return TowerSource(settings["tower"], settings["tower_config"], settings["preparation"], tensors, path, len(unused))


def _named(folder: Path, name: str, stream: str, download: bool) -> str | Path:
    """Where the tower that a config names may be: beside the config, at its path, embedded, or on the hub."""
    found = folder_named(folder, name)
    if found is not None:
        return found
    try:
        return find(name, "tower", download=download)
    except InputError as error:
        here = f"{folder} does not hold its {stream} tower but names {name!r}, which is not here ({error})"
        raise InputError(f"{here}; give it with {RELEASED[stream].flag}") from error
