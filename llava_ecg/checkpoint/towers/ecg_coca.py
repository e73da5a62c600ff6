"""What is known of ECG-CoCa's encoder on disk: its shapes, its released form, its words. Needs no torch.

The tower itself is `llava_ecg.model.towers.ecg_coca.EcgCoCaTower`; tests hold what is said here equal to it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.arithmetic import (
    LARGEST,
    Shapes,
    divides,
    known,
    layer_count,
    layers_of,
    linear,
    norm,
    repeated,
    size_of,
)
from llava_ecg.checkpoint.files.headers import Tensors, read_header, read_json
from llava_ecg.checkpoint.keymaps import BARE, ECG_COCA, renamed
from llava_ecg.checkpoint.towers.facts import TowerFacts, Words, folder_named, shown
from llava_ecg.errors import InputError

RATE = 500.0

# ECG-CoCa's released encoder (coca_ViT-B-32 in GEM's naming), (width, layers, patch, embed_dim) -> width of a head
_ECG_COCAS = {(768, 12, 50, 512): 64}


def shapes_of(given: Mapping[str, Any], where: str) -> tuple[int, Shapes]:
    """`llava_ecg.model.towers.ecg_coca.EcgCoCaTower`: its width, and its parameters."""
    sizes = {
        "seq_length": 5000,
        "lead_num": 12,
        "layers": 12,
        "width": 768,
        "head_width": 64,
        "patch_size": 50,
        "embed_dim": 512,
    }
    settings = known(given, [*sizes, "mlp_ratio"], f"the tower of {where}")
    where = f"the tower_config of {where}"
    layers = layers_of(settings, "layers", sizes["layers"], where)
    size = {key: size_of(settings, key, default, where) for key, default in sizes.items()}
    divides(size["seq_length"], "seq_length", size["patch_size"], "patch_size", where)
    width, patch = size["width"], size["patch_size"]
    divides(width, "width", size["head_width"], "head_width", where)
    ratio = settings.get("mlp_ratio", 4.0)
    number = isinstance(ratio, int | float) and not isinstance(ratio, bool) and 0 < ratio <= LARGEST
    inner = int(width * ratio) if number else 0
    if not inner:
        raise InputError(
            f"{where} has mlp_ratio {reprlib.repr(ratio)}, which gives width {width} no hidden channel; 4 is usual"
        )
    block = {
        **norm("ln_1", width),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **linear("attn.out_proj", width, width),
        **norm("ln_2", width),
        **linear("mlp.c_fc", width, inner),
        **linear("mlp.c_proj", inner, width),
    }
    return width, {
        "class_embedding": (width,),
        "positional_embedding": (size["seq_length"] // patch + 1, width),
        "proj": (width, size["embed_dim"]),
        "conv1.weight": (width, size["lead_num"], patch),
        **norm("ln_pre", width),
        **repeated("transformer.resblocks", layers, block),
        **norm("ln_post", width),
    }


def _signal(config: Mapping[str, Any], preparation: Mapping[str, Any], shapes: Shapes) -> Words:
    """`EcgPreparation`."""
    _, leads, patch = shapes["conv1.weight"]
    tokens = shapes["positional_embedding"][0]
    samples = (tokens - 1) * patch
    order, rate = preparation.get("leads", "standard"), preparation.get("rate", RATE)
    orders = {"standard": "leads in standard order", "as_filed": "leads in the order of the file"}
    time = f"resampled to {shown(rate)} Hz"
    if rate is None:
        time = "at the rate of the file"
    elif type(rate) in (int, float) and 0 < rate < 1e9:
        time = f"resampled to {rate:g} Hz ({samples / rate:g} s)"
    made = (
        f"{leads} {orders.get(str(order), f'leads {shown(order)}')}, in mV, {time}: the first {samples:,} samples, "
        "zeros after the end"
    )
    return Words(made, tokens)


def ecg_config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any] | None:
    """Constructor arguments of `EcgCoCaTower` from the shapes of its weights; None if it is not the released one.

    Raises:
        InputError: no ECG-CoCa encoder at all.
    """
    try:
        width, leads, patch = shapes["conv1.weight"]
        tokens = shapes["positional_embedding"][0]
        inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
        embed = shapes["proj"][1]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"the ECG tower has no ECG-CoCa weights where they should be ({error})") from error
    layers = layer_count(shapes, "transformer.resblocks.")
    head = _ECG_COCAS.get((width, layers, patch, embed))
    if head is None:
        return None
    return {
        "seq_length": (tokens - 1) * patch,
        "lead_num": leads,
        "layers": layers,
        "width": width,
        "head_width": head,
        "patch_size": patch,
        "embed_dim": embed,
        "mlp_ratio": inner / width,
    }


def ecg_config_of_open_clip(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The same from open_clip's model config (``ecg_cfg``, ``embed_dim``), which GEM files as
    ``<open_clip_config>.json``.

    Raises:
        InputError: it describes no ECG tower.
    """
    tower = values.get("ecg_cfg")
    if not isinstance(tower, Mapping) or "embed_dim" not in values:
        raise InputError(
            f"{what} describes no ECG tower: it needs ecg_cfg and embed_dim, as in GEM's open_clip/model_configs"
        )
    known = ("seq_length", "lead_num", "layers", "width", "head_width", "patch_size", "mlp_ratio")
    return {name: tower[name] for name in known if name in tower} | {"embed_dim": values["embed_dim"]}


def of_file(path: Path, described: Path | None) -> tuple[dict[str, Any], Tensors, int]:
    """(constructor's arguments, tensors, how many others it holds) of ``cpt_wfep_epoch_20.pt``, or of a file with the
    encoder alone.

    Args:
        described: GEM's description of the encoder, if it is not beside the file.

    Raises:
        InputError: a file without an encoder, or with one whose heads nobody tells.
    """
    header = read_header(path)
    tensors, unused = renamed([header], ECG_COCA)
    if not tensors and "conv1.weight" in header.tensors:
        tensors, unused = renamed([header], BARE)
    if not tensors:
        raise InputError(
            f"{path} holds no ECG tower: none of its {len(header.tensors)} tensors begins with module.ecg."
        )
    beside = path.with_suffix(".json")
    beside = beside if described is None or beside.is_file() else described
    told = ecg_config({name: ref.shape for name, ref in tensors.items()})
    if beside.is_file():
        told = ecg_config_of_open_clip(read_json(beside), str(beside))
    if told is None:
        raise InputError(
            f"{path} is not the released ECG-CoCa encoder, and its heads can't be read from its weights; put GEM's "
            "description of it "
            f"(with ecg_cfg) beside it as {beside.name}"
        )
    return told, tensors, len(unused)


def described(folder: Path, values: Mapping[str, Any]) -> Path | None:
    """GEM's description of the ECG tower, if the folder has it: ``<open_clip_config>.json``."""
    return folder_named(folder, f"{values.get('open_clip_config')}.json")


def inside(folder: Path, values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The settings of an encoder whose weights lie in a released checkpoint: told by GEM's description of it, or by the
    shapes.

    Raises:
        InputError: nothing tells its heads.
    """
    beside = described(folder, values)
    if beside is not None:
        return {"tower_config": ecg_config_of_open_clip(read_json(beside), str(beside))}
    told = ecg_config(shapes)
    if told is None:
        raise InputError(
            f"the ECG tower inside {folder} is not the released one, and its heads can't be read from its "
            "weights; put GEM's "
            f"description of it ({values.get('open_clip_config', 'open_clip_config')}.json, with ecg_cfg) into "
            "the folder"
        )
    return {"tower_config": told}


FACTS = TowerFacts(
    stream="ecg",
    key="mm_ecg_tower",
    flag="--ecg-tower",
    through="image",
    prepares=False,
    shapes=shapes_of,
    words=_signal,
    inside=inside,
    guessed=lambda width: {},
    table=ECG_COCA,
    width=lambda config: config.get("width", 768),
)
