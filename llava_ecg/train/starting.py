"""The model that a training begins with, and what can be known of it before any weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from llava_ecg.checkpoint.building import fill
from llava_ecg.checkpoint.files.headers import Tensors, read_header, read_json
from llava_ecg.checkpoint.keymaps import GEM, renamed
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.source import Source
from llava_ecg.checkpoint.tokenizer import load_tokenizer, tokenizer_of_source
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, composed_source, open_checkpoint, tower_stream
from llava_ecg.plugins import templates
from llava_ecg.streams import StreamConfig
from llava_ecg.train.arguments import ModelArguments, TrainingArguments
from llava_ecg.train.named import by_name
from llava_ecg.train.parts import with_adapter

_PROJECTORS = {"ecg": "linear", "image": "mlp2x_gelu"}
"""Stream -> kind of projector, where the flags name none."""


def build(model_args: ModelArguments, args: TrainingArguments) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint of any layout to go on from, with towers added where they are named; or a new model over a language
    model.

    Raises:
        InputError: a checkpoint that can't be opened, or that flags ask something else of.
    """
    source = look(model_args, args)
    quantized = model_args.quantization is not None
    dtype = language_dtype(model_args, args)
    device = args.device if quantized else torch.device("cpu")  # bitsandbytes quantises where the weights are to be
    if not _is_new(source):
        return _continued(model_args, args, dtype, device)
    model = compose(
        **_new(model_args, args, source),
        device=device,
        dtype=dtype,
        stream_dtype=torch.float32,
        quantization=model_args.quantization,
        trust_pickle=model_args.trust_pickle,
    )
    begin_projectors(model, model_args)
    return model, tokenizer_of(source)


def language_dtype(model_args: ModelArguments, args: TrainingArguments) -> torch.dtype:
    """In which the language model is held."""
    frozen = model_args.lora_enable or model_args.quantization is not None
    return torch.bfloat16 if args.pure_bf16 or (args.bf16 and frozen) else torch.float32


def look(model_args: ModelArguments, args: TrainingArguments) -> Source:
    """The model that `build` makes, as its files' headers tell it: no weight is read.

    Raises:
        InputError: as `build`.
    """
    source = open_source(model_args.model_name_or_path, base=model_args.base)
    if not source.config["streams"]:
        if not (model_args.ecg_tower or model_args.vision_tower or model_args.towers):
            raise InputError(
                f"{model_args.model_name_or_path} is a language model alone; give it towers to see with: --ecg_tower, "
                "--vision_tower, or --towers NAME=FOLDER"
            )
        return composed_source(**_new(model_args, args, source))
    if model_args.towers or model_args.projectors:
        flag = "towers" if model_args.towers else "projectors"
        raise InputError(
            f"--{flag} is for a new model, and {model_args.model_name_or_path} has its streams already: "
            f"{', '.join(source.config['streams'])}; leave it away, or begin with a language model"
        )
    _check_projector_types(source.config["streams"], model_args)
    if source.adapter is not None:
        if model_args.lora_enable:
            _check_adapter(source.adapter, model_args, args)
        elif model_args.quantization is not None:
            raise InputError(
                f"--bits {model_args.bits} holds a quantised language model, which can't take in the LoRA of "
                f"{source.folder}; go on with it (--lora_enable True), or merge it first: llava-ecg merge"
            )
    wishes = _wishes(model_args, source)
    del wishes["merge"]
    source = open_source(model_args.model_name_or_path, **wishes)
    _check_image(source.config["streams"], model_args)
    return source


def tokenizer_of(source: Source) -> Any:
    """The tokenizer of what `look` found."""
    return load_tokenizer(find(source.config["base"])) if _is_new(source) else tokenizer_of_source(source)


def _is_new(source: Source) -> bool:
    """Whether the model is made of a language model and towers."""
    return source.layout == "language model"


# -- a new model -------------------------------------------------------------------------------------------------------


def _new(model_args: ModelArguments, args: TrainingArguments, source: Source) -> dict[str, Any]:
    """What `compose` is told."""
    folders = {"ecg": model_args.ecg_tower, "image": model_args.vision_tower}
    towers = {name: find(folder, "tower") for name, folder in folders.items() if folder}
    streams: dict[str, StreamConfig] = {}
    if "ecg" in towers:
        through = "image" if "image" in towers else None
        streams["ecg"] = tower_stream(
            towers["ecg"], projector=model_args.ecg_projector_type or _PROJECTORS["ecg"], through=through
        )
    if "image" in towers:
        streams["image"] = _as_asked(
            tower_stream(towers["image"], projector=model_args.mm_projector_type or _PROJECTORS["image"]), model_args
        )
    more, kinds = by_name("towers", model_args.towers), by_name("projectors", model_args.projectors)
    if alone := sorted(set(kinds) - set(more)):
        raise InputError(f"--projectors names {alone[0]!r}, which --towers does not; give both or neither")
    for name, folder in more.items():
        towers[name] = find(folder, "tower")
        streams[name] = tower_stream(towers[name], projector=kinds.get(name, "linear"))
    templates.get(model_args.version or "v1")
    path = Path(model_args.model_name_or_path).expanduser()
    # found again from another folder too
    base = str(path.resolve()) if path.is_dir() else model_args.model_name_or_path
    places = source.config["text_config"].get("max_position_embeddings", args.model_max_length)
    return {
        "base": base,
        "streams": streams,
        "template": model_args.version or "v1",
        "tower_folders": towers,
        "model_max_length": min(args.model_max_length, places),
    }


def _asked_of_images(model_args: ModelArguments) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of an image tower, and of its preparation, that LLaVA's flags name."""
    tower = {"select_layer": model_args.mm_vision_select_layer, "select_feature": model_args.mm_vision_select_feature}
    aspect = model_args.image_aspect_ratio
    preparation = {
        "aspect": "ori" if aspect == "square" else aspect,  # LLaVA's default: CLIP's own middle crop
        "pinpoints": _pinpoints(model_args.image_grid_pinpoints),
        "merge": model_args.mm_patch_merge_type,
    }
    return tuple({key: value for key, value in each.items() if value is not None} for each in (tower, preparation))  # type: ignore[return-value]


def _pinpoints(text: str | None) -> list[list[int]] | None:
    if text is None:
        return None
    try:
        return [[int(wide), int(high)] for wide, high in json.loads(text.replace("(", "[").replace(")", "]"))]
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"--image_grid_pinpoints {text!r} can't be read; it is a list such as [[336,672],[672,336]]"
        ) from error


def _as_asked(stream: StreamConfig, model_args: ModelArguments) -> StreamConfig:
    """The stream of a new image tower, with what LLaVA's flags say of it."""
    tower, preparation = _asked_of_images(model_args)
    if (tower or preparation) and stream.tower != "clip":
        flag = {"select_layer": "mm_vision_select_layer", "select_feature": "mm_vision_select_feature"}
        key = next(iter(tower or preparation))
        raise InputError(
            f"--{flag.get(key, 'image_aspect_ratio')} is of a CLIP, and the image tower here is a {stream.tower}; "
            "leave it away"
        )
    made = stream.preparation | preparation
    if made.get("aspect") != "anyres":
        if made.pop("merge", "flat") != "flat":
            raise InputError(
                f"--mm_patch_merge_type {model_args.mm_patch_merge_type} comes to nothing without "
                "--image_aspect_ratio anyres; give both or neither"
            )
        if model_args.image_grid_pinpoints:
            raise InputError(
                "--image_grid_pinpoints comes to nothing without --image_aspect_ratio anyres; give both or neither"
            )
    elif not made.get("pinpoints"):
        raise InputError(
            "--image_aspect_ratio anyres needs --image_grid_pinpoints, a list such as [[336,672],[672,336],[672,672]]"
        )
    return replace(stream, tower_config=stream.tower_config | tower, preparation=made)


# -- a checkpoint ------------------------------------------------------------------------------------------------------


def _wishes(model_args: ModelArguments, source: Source) -> dict[str, Any]:
    """What is asked of a checkpoint beyond what it is."""
    _, preparation = _asked_of_images(model_args)
    added = model_args.vision_tower is not None and "image" not in source.config["streams"]
    return {
        "base": model_args.base,
        "ecg_tower": model_args.ecg_tower,
        "vision_tower": model_args.vision_tower,
        "template": model_args.version,
        "preparation": {"image": preparation} if added and preparation else None,
        "projectors": {
            "ecg": model_args.ecg_projector_type or _PROJECTORS["ecg"],
            "image": model_args.mm_projector_type or _PROJECTORS["image"],
        },
        "merge": not model_args.lora_enable,
    }


def _continued(
    model_args: ModelArguments, args: TrainingArguments, dtype: torch.dtype, device: torch.device
) -> tuple[LlavaEcgForCausalLM, Any]:
    """A checkpoint to go on from. A LoRA, or projectors, over a whole one are saved as that, over the folder that it
    came from."""
    checkpoint = open_checkpoint(
        model_args.model_name_or_path,
        device=device,
        dtype=dtype,
        stream_dtype=torch.float32,
        quantization=model_args.quantization,
        trust_pickle=model_args.trust_pickle,
        **_wishes(model_args, open_source(model_args.model_name_or_path, base=model_args.base)),
    )
    model = checkpoint.model
    stand_on(model.config, checkpoint.folder, checkpoint.adapter, model_args)
    if model_args.lora_enable and checkpoint.adapter is not None:
        dropout = model_args.lora_dropout if "lora_dropout" in args.given else None
        model.language_model = with_adapter(model.language_model, checkpoint.adapter, dropout, model_args.trust_pickle)
    begin_projectors(model, model_args)
    return model, checkpoint.tokenizer


def stand_on(config: Any, folder: Path, adapter: Path | None, model_args: ModelArguments) -> None:
    """Name the base that the result is saved over: the checkpoint itself, where its language model stays as it is."""
    unchanged = model_args.lora_enable or (model_args.base_is_kept and adapter is None)
    if unchanged and config.base is None:
        config.base = str(folder.resolve())


def _check_image(streams: Mapping[str, Any], model_args: ModelArguments) -> None:
    """How a checkpoint's pages are prepared and which tokens of its tower are taken stays what it is.

    Raises:
        InputError: something else was asked for.
    """
    tower, preparation = _asked_of_images(model_args)
    if not tower and not preparation:
        return
    if "image" not in streams:
        raise InputError(
            f"{model_args.model_name_or_path} has no image tower that --image_aspect_ratio, --mm_vision_select_layer "
            "and their like could speak of; leave them away"
        )
    held = {"select_layer": -2, "select_feature": "patch", "aspect": "squash", "merge": "flat", "pinpoints": []}
    held |= dict(streams["image"]["tower_config"]) | dict(streams["image"]["preparation"])
    flags = {
        "select_layer": "mm_vision_select_layer",
        "select_feature": "mm_vision_select_feature",
        "aspect": "image_aspect_ratio",
        "merge": "mm_patch_merge_type",
        "pinpoints": "image_grid_pinpoints",
    }
    for key, asked in (tower | preparation).items():
        if asked != held[key]:
            raise InputError(
                f"--{flags[key]} {getattr(model_args, flags[key])}: the image stream of "
                f"{model_args.model_name_or_path} has {held[key]} and keeps it; leave it away"
            )


def _check_projector_types(streams: Mapping[str, Any], model_args: ModelArguments) -> None:
    """A projector that the checkpoint has stays what it is.

    Raises:
        InputError: another kind was asked for.
    """
    for name, flag, asked in (
        ("ecg", "--ecg_projector_type", model_args.ecg_projector_type),
        ("image", "--mm_projector_type", model_args.mm_projector_type),
    ):
        kind = streams[name]["projector"] if name in streams else asked
        if asked is not None and asked != kind:
            raise InputError(
                f"{flag} {asked}: the projector of {model_args.model_name_or_path} is {kind} and stays so; leave "
                "it away"
            )


def _check_adapter(adapter: Path, model_args: ModelArguments, args: TrainingArguments) -> None:
    """A LoRA that is gone on with keeps its rank and its alpha.

    Raises:
        InputError: others were asked for.
    """
    held = read_json(adapter / "adapter_config.json")
    for flag, key in (("lora_r", "r"), ("lora_alpha", "lora_alpha")):
        asked = getattr(model_args, flag)
        if flag in args.given and asked != held.get(key):
            raise InputError(
                f"--{flag} {asked}: the LoRA in {adapter} has {held.get(key)} and is gone on with; "
                f"give --{flag} {held.get(key)}, or leave it away where no recipe says otherwise"
            )


# -- projectors --------------------------------------------------------------------------------------------------------


def begin_projectors(model: LlavaEcgForCausalLM, model_args: ModelArguments) -> None:
    """Fill the projectors from the files that ``--pretrain_mm_mlp_adapter`` and ``--pretrain_ecg_projector`` name.

    The first may hold those of both streams, as GEM's do, or of one. The second has to hold the ECG's, and wins.

    Raises:
        InputError: no such file, or projectors of another kind or of no stream of the model.
    """
    for flag, name in (
        ("pretrain_mm_mlp_adapter", model_args.pretrain_mm_mlp_adapter),
        ("pretrain_ecg_projector", model_args.pretrain_ecg_projector),
    ):
        if not name:
            continue
        path = Path(name)
        found = projectors_in(path)
        streams = ["ecg"] if flag == "pretrain_ecg_projector" else sorted(found)
        for stream in streams:
            if stream not in found or stream not in model.projectors:
                where = path if stream not in found else "the model"
                raise InputError(f"--{flag} {path}: {where} has no projector of the stream {stream!r}; give another")
            fill(
                model,
                found[stream],
                path,
                only=f"projectors.{stream}.",
                trust_pickle=model_args.trust_pickle,
            )


def projectors_in(path: Path) -> dict[str, Tensors]:
    """Stream -> its projector's tensors in a file of ours (``ecg.weight``, ...) or LLaVA's mm_projector.bin.

    Raises:
        InputError: no such file, or a file that holds something else too.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give projectors.safetensors or mm_projector.bin")
    header = read_header(path)
    theirs = any("_projector." in name for name in header.tensors)
    tensors, left_over = renamed([header], GEM if theirs else (("", "projectors."),), unwrap=theirs)
    others = [name for name in tensors if not name.startswith("projectors.")] + left_over
    if others or not tensors:
        raise InputError(f"{path} is no file of projectors: it holds {others[0] if others else 'no tensor'}")
    found: dict[str, Tensors] = {}
    for name, ref in tensors.items():
        found.setdefault(name.split(".")[1], {})[name] = ref
    return found
