"""A model on disk, whatever its layout: its config, and where each of its tensors lies. `llava_ecg.checkpoint.opening`
finds it.

Loading, converting, merging and inspecting all start from a `Source`. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.files.headers import Header, Tensors, read_folder, read_json
from llava_ecg.checkpoint.keymaps import BARE, CLIP, renamed, weights_alone
from llava_ecg.checkpoint.lora import Delta
from llava_ecg.checkpoint.towers import clip, ecg_coca
from llava_ecg.checkpoint.towers.known import RELEASED, TOWERS
from llava_ecg.errors import InputError

STREAMS, ADAPTER = "streams.safetensors", "adapter"


@dataclass(frozen=True)
class TowerSource:
    """An encoder alone.

    Attributes:
        kind: ``ecg_coca``, ``clip`` or a plug-in's name.
        tower_config, preparation: as in `StreamConfig`; no preparation where the files say nothing of it.
        tensors: the tower's own parameter names -> where they lie.
        path: folder or file.
        unused: how many other tensors the files hold (the text tower and decoder of a CoCa or a CLIP).
    """

    kind: str
    tower_config: dict[str, Any]
    preparation: dict[str, Any]
    tensors: Tensors
    path: Path
    unused: int = 0

    @property
    def stream(self) -> str:
        """The stream that such a tower usually is."""
        return TOWERS[self.kind].stream if self.kind in TOWERS else self.kind

    @property
    def width(self) -> int | None:
        """Width of its tokens, None for a plug-in's tower."""
        return TOWERS[self.kind].width(self.tower_config) if self.kind in TOWERS else None


@dataclass
class Source:
    """A model on disk.

    Attributes:
        layout: ``llava``, ``lora``, ``projectors``, ``ours``, ``ours over a base`` or ``language model``.
        name: what it was asked for by.
        folder: where its config lies.
        config: the arguments of `LlavaEcgConfig`.
        tensors: our name -> where it lies.
        deltas: our name -> the LoRA pair that is added to it.
        left_over: names in the files that have no place in any model of ours.
        fresh: prefixes of what is in no file and is to be initialised anew (the projector of a stream that was added).
        tokenizer: the folder of its tokenizer.
        adapter: the folder of its LoRA.
        computed: buffers in the files that are no weights; kept only for who writes the same layout again.
        overrides: what the caller changed of the preparation that the checkpoint brought.
        stacks: the model that it stands on, as found again from any folder; empty where it is whole.
        given: streams whose tower the caller gave.
        absent: streams whose tower lies elsewhere and is not here -> why.
        notes: what a user should know about how its parts came together.
    """

    layout: str
    name: str
    folder: Path
    config: dict[str, Any]
    tensors: Tensors
    deltas: dict[str, Delta] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    fresh: tuple[str, ...] = ()
    tokenizer: Path | None = None
    adapter: Path | None = None
    computed: Tensors = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    stacks: str = ""
    given: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Our name -> shape."""
        return {name: ref.shape for name, ref in self.tensors.items()}


def with_tower(source: Source, stream: str, tower: TowerSource, projector: str | None = None) -> Source:
    """The source with a tower in place of its own, or with a new stream, whose projector is to be initialised anew.

    A new ECG stream stands first and leads through the image's projector, as in GEM.
    """
    settings = {"tower": tower.kind, "tower_config": tower.tower_config}
    streams = {name: dict(each) for name, each in source.config["streams"].items()}
    fresh = source.fresh
    if stream in streams:
        check_width(source, stream, tower)
        streams[stream] |= settings | ({"preparation": tower.preparation} if tower.preparation else {})
    else:
        wanted = RELEASED[stream].through if stream in RELEASED else None
        through = wanted if wanted in streams else None
        kind = projector or ("mlp2x_gelu" if through is None else "linear")
        new = {stream: settings | {"projector": kind, "through": through, "preparation": dict(tower.preparation)}}
        streams = streams | new if wanted is None else new | streams
        fresh = (*fresh, f"projectors.{stream}.")
    prefix = f"towers.{stream}."
    tensors = {name: ref for name, ref in source.tensors.items() if not name.startswith(prefix)}
    tensors |= {prefix + name: ref for name, ref in tower.tensors.items()}
    return replace(source, config=source.config | {"streams": streams}, tensors=tensors, fresh=fresh)


def check_width(source: Source, stream: str, tower: TowerSource) -> None:
    """Raise `InputError` if the projector that is there can't take what the tower gives."""
    places = (f"projectors.{stream}.weight", f"projectors.{stream}.0.weight")
    weight = next((source.tensors[name] for name in places if name in source.tensors), None)
    if weight is not None and tower.width not in (None, weight.shape[1]):
        raise InputError(
            f"the {stream} tower in {tower.path} is {tower.width} wide, and its projector in {weight.path} takes "
            f"{weight.shape[1]}; "
            "give the tower that the projector was trained with"
        )


def overridden(source: Source, template: str | None, preparation: Mapping[str, Mapping[str, Any]]) -> Source:
    """The source as the caller wants it prepared.

    Raises:
        InputError: no such stream.
    """
    config: dict[str, Any] = dict(source.config)
    changed: dict[str, Any] = {}
    if template is not None and template != config["template"]:
        config["template"] = changed["template"] = template
    streams = {name: dict(each) for name, each in config["streams"].items()}
    for name, settings in preparation.items():
        if name not in streams:
            raise InputError(
                f"the model {source.name} has no stream {name!r} to prepare otherwise; it has "
                f"{', '.join(streams) or 'none'}"
            )
        streams[name]["preparation"] = {**streams[name]["preparation"], **settings}
        changed[name] = dict(settings)
    return replace(source, config=config | {"streams": streams}, overrides=changed)


def tower_alone(path: Path, described: Path | None = None) -> TowerSource | None:
    """A folder of `save_tower`, ECG-CoCa's .pt or a folder with it, or a CLIP's folder; None for any other folder.

    Args:
        described: GEM's description of an ECG-CoCa (``<open_clip_config>.json``), if it is not beside the file.

    Raises:
        InputError: a tower that can't be read, or a folder with nothing in it.
    """
    if path.is_file():
        return _of_file(path, described)
    if not (path / "config.json").is_file():
        files = [file for file in sorted(path.iterdir()) if file.suffix in (".pt", ".pth")]
        if len(files) == 1:
            return _of_file(files[0], described)
        raise InputError(f"{path} holds no tower: it has no config.json")
    values = read_json(path / "config.json")
    if "tower" in values:
        tensors, _ = renamed(_headers(path), BARE)
        return TowerSource(
            values["tower"], values.get("tower_config", {}), values.get("preparation", {}), tensors, path
        )
    if values.get("model_type") in clip.MODEL_TYPES:
        tensors, unused = renamed(_headers(path), CLIP)
        settings = clip.clip_settings(path)
        return TowerSource(
            "clip", settings["tower_config"], settings["preparation"], weights_alone(tensors), path, len(unused)
        )
    return None


def _of_file(path: Path, described: Path | None) -> TowerSource:
    told, tensors, unused = ecg_coca.of_file(path, described)
    return TowerSource("ecg_coca", told, {}, tensors, path, unused)


def _headers(folder: Path) -> list[Header]:
    headers = read_folder(folder)
    if not headers:
        raise InputError(f"{folder} has a config.json and no weights")
    return headers
