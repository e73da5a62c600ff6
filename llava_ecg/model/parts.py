"""Parts of a model on disk: a tower alone, a LoRA pair, and the renaming that brings any file under our names. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.errors import InputError
from llava_ecg.model import released
from llava_ecg.model.headers import Header, TensorRef, read_folder, read_header, read_json
from llava_ecg.model.keymaps import BARE, CLIP, COMPUTED, ECG_COCA, Table, to_ours, unwrapped

_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

Tensors = dict[str, TensorRef]


@dataclass(frozen=True)
class Delta:
    """A LoRA pair, added to a weight W [out, in] as scale * B A.

    Attributes:
        a: [r, in].
        b: [out, r].
        scale: alpha over rank.
    """

    a: TensorRef
    b: TensorRef
    scale: float


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
        return {"ecg_coca": "ecg", "clip": "image"}.get(self.kind, self.kind)

    @property
    def width(self) -> int | None:
        """Width of its tokens, None for a plug-in's tower."""
        vision = self.tower_config.get("vision_config") or {"hidden_size": 1024}
        return {"ecg_coca": self.tower_config.get("width", 768), "clip": vision.get("hidden_size", 768)}.get(self.kind)


def tower_alone(path: Path, described: Path | None = None) -> TowerSource | None:
    """A folder of `save_tower`, ECG-CoCa's .pt or a folder with it, or a CLIP's folder; None for any other folder.

    Args:
        described: GEM's description of an ECG-CoCa (``<open_clip_config>.json``), if it is not beside the file.

    Raises:
        InputError: a tower that can't be read, or a folder with nothing in it.
    """
    if path.is_file():
        return _ecg_coca(path, described)
    if not (path / "config.json").is_file():
        files = [file for file in sorted(path.iterdir()) if file.suffix in (".pt", ".pth")]
        if len(files) == 1:
            return _ecg_coca(files[0], described)
        raise InputError(f"{path} holds no tower: it has no config.json")
    values = read_json(path / "config.json")
    if "tower" in values:
        tensors, _ = renamed(_headers(path), BARE)
        return TowerSource(values["tower"], values.get("tower_config", {}), values.get("preparation", {}), tensors, path)
    if values.get("model_type") in ("clip", "clip_vision_model"):
        tensors, unused = renamed(_headers(path), CLIP)
        settings = clip_settings(path)
        return TowerSource("clip", settings["tower_config"], settings["preparation"], weights_alone(tensors), path, len(unused))
    return None


def _ecg_coca(path: Path, described: Path | None) -> TowerSource:
    """``cpt_wfep_epoch_20.pt``, or a file with the encoder alone."""
    header = read_header(path)
    tensors, unused = renamed([header], ECG_COCA)
    if not tensors and "conv1.weight" in header.tensors:
        tensors, unused = renamed([header], BARE)
    if not tensors:
        raise InputError(f"{path} holds no ECG tower: none of its {len(header.tensors)} tensors begins with module.ecg.")
    beside = path.with_suffix(".json")
    beside = beside if described is None or beside.is_file() else described
    told = released.ecg_config({name: ref.shape for name, ref in tensors.items()})
    if beside.is_file():
        told = released.ecg_config_of_open_clip(read_json(beside), str(beside))
    if told is None:
        raise InputError(
            f"{path} is not the released ECG-CoCa encoder, and its heads can't be read from its weights; put GEM's description of it "
            f"(with ecg_cfg) beside it as {beside.name}"
        )
    return TowerSource("ecg_coca", told, {}, tensors, path, len(unused))


def clip_settings(folder: Path) -> dict[str, Any]:
    """A CLIP's vision config, and its mean and standard deviation where they are not OpenAI's."""
    values = read_json(folder / "config.json")
    vision = values.get("vision_config", values)
    if not isinstance(vision, Mapping):
        raise InputError(f"{folder / 'config.json'} describes no CLIP: its vision_config is {vision!r}")
    dropped = ("architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path")
    settings = {key: value for key, value in vision.items() if key not in dropped}
    preparation = {}
    if (folder / "preprocessor_config.json").is_file():
        pixels = read_json(folder / "preprocessor_config.json")
        for key, ours, usual in (("image_mean", "mean", _CLIP_MEAN), ("image_std", "std", _CLIP_STD)):
            if isinstance(pixels.get(key), list) and pixels[key] != usual:
                preparation[ours] = pixels[key]
    return {"tower_config": {"vision_config": settings}, "preparation": preparation}


def weights_alone(tensors: Tensors) -> Tensors:
    """Without the buffers that older transformers filed and newer ones compute."""
    return {name: ref for name, ref in tensors.items() if not name.endswith(COMPUTED)}


def _headers(folder: Path) -> list[Header]:
    headers = read_folder(folder)
    if not headers:
        raise InputError(f"{folder} has a config.json and no weights")
    return headers


def renamed(headers: Iterable[Header], table: Table, unwrap: bool = False) -> tuple[Tensors, list[str]]:
    """Tensors of these files under our names, and the names that the table does not know."""
    tensors: Tensors = {}
    left_over: list[str] = []
    for header in headers:
        for name, ref in header.tensors.items():
            plain = unwrapped(name) if unwrap else name
            ours = to_ours([plain], table).get(plain)
            if ours is None:
                left_over.append(name)
            else:
                tensors[ours] = ref
    return tensors, left_over
