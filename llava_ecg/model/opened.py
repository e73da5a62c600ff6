"""`open_model`: a model out of its source, whichever class it is to be of. `load` and ``from_pretrained`` both stand on
it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.building import Make, build, expected_shapes, guarded
from llava_ecg.checkpoint.companions import ends_of
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.source import Source
from llava_ecg.checkpoint.tokenizer import EMBEDDING, tokenizer_of_source
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.towers.tower import preparers
from llava_ecg.plugins import templates

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Opened:
    """A model and where it came from.

    Attributes:
        model: what `make` made, filled.
        tokenizer: transformers'; None where it was not needed and is not there.
        source: of its tensors.
        overrides: what the caller wanted otherwise than the checkpoint brings it.
    """

    model: Any
    tokenizer: Any
    source: Source
    overrides: Mapping[str, Any]


def open_model(
    name: str | Path,
    make: Make,
    *,
    device: str | torch.device | None = "cpu",
    dtype: str | torch.dtype | None = torch.float32,
    quantization: str | None = None,
    ecg_tower: str | Path | None = None,
    vision_tower: str | Path | None = None,
    base: str | Path | None = None,
    template: str | None = None,
    preparation: Mapping[str, Mapping[str, Any]] | None = None,
    strict: bool = True,
    trust_pickle: bool = False,
    merge: bool = True,
    projectors: Mapping[str, str] | None = None,
    stream_dtype: torch.dtype | None = None,
    need_tokenizer: bool = True,
) -> Opened:
    """A whole model from any layout; what is not told here is as in `llava_ecg.model.loading.load`.

    Args:
        make: the config's arguments -> the model, such as `llava_ecg.model.llava.LlavaEcgForCausalLM.of`.
        merge: add a LoRA into the language model; False leaves it out, for who goes on training it.
        projectors: stream -> kind of projector, for a stream that is added to the checkpoint.
        stream_dtype: of towers and projectors; `dtype` if None.
        need_tokenizer: False opens the model of a folder that holds no tokenizer.

    Raises:
        InputError: as `load`; also for a tower alone, and for a model without any stream.
    """
    device, kind = place_of(device, dtype)
    auto = quantization == quantize.AUTO
    quantization = quantize.chosen(quantization, device)
    towers: dict[str, Any] = {"ecg_tower": ecg_tower, "vision_tower": vision_tower}
    source = open_source(name, base=base, **towers, template=template, preparation=preparation, projectors=projectors)
    templates.get(source.config["template"])
    if not source.config["streams"]:
        raise InputError(
            f"{source.folder} is a language model alone; give it towers to see with: --ecg-tower, --vision-tower"
        )
    if not merge:  # a LoRA of what it stands on stays
        source = replace(
            source,
            deltas={name: delta for name, delta in source.deltas.items() if delta.a.path.parent != source.adapter},
        )
    elif source.adapter is not None:
        source = replace(
            source, config=source.config | {"base": None}
        )  # with its LoRA it is the base's language model no more
    expected_shapes(
        source.config, str(source.folder), make
    )  # what is wrong with settings or tokenizer is said before any weight is read
    preparers(guarded(lambda: LlavaEcgConfig(**source.config), str(source.folder)))
    tokenizer = tokenizer_of_source(source) if need_tokenizer or source.tokenizer else None
    if strict and tokenizer is not None:
        _check_size(tokenizer, source)
    _, ends = ends_of(source)
    model = build(
        source, make, device, kind, stream_dtype, quantization=quantization, strict=strict, trust_pickle=trust_pickle
    )
    _set_ends(model, ends)
    asked = {
        "quantization": f"{quantize.AUTO}: {quantization}" if auto and quantization else quantization,
        "base": base,
    } | towers
    changed = source.overrides | {key: str(value) for key, value in asked.items() if value is not None}
    changed |= {} if strict else {"strict": False}
    changed |= {"untrained": ", ".join(name.removesuffix(".") for name in source.fresh)} if source.fresh else {}
    return Opened(model, tokenizer, source, changed)


def _set_ends(model: Any, ends: list[int]) -> None:
    """The tokens that end an answer, which only generation_config.json lists in full."""
    language_model: Any = model.language_model
    if ends:
        language_model.generation_config = GenerationConfig.from_model_config(language_model.config)
        language_model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]


def _check_size(tokenizer: Any, source: Source) -> None:
    """A model has a few rows more than its tokenizer has tokens, to fill up a round number, and never fewer."""
    shape = source.tensors[EMBEDDING].shape if EMBEDDING in source.tensors else ()
    if shape and not shape[0] / 2 <= len(tokenizer) <= shape[0]:
        raise InputError(
            f"the tokenizer in {source.tokenizer} has {len(tokenizer)} tokens and the model embeds {shape[0]}; it "
            "belongs to another model"
        )


def place_of(
    device: str | torch.device | None, dtype: str | torch.dtype | None
) -> tuple[str | torch.device, torch.dtype]:
    """The device and dtype that are meant, None being the usual ones; `InputError` for what can't be."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = dtype or ("float32" if str(device) == "cpu" else "bfloat16")
    if isinstance(dtype, str):
        name = dtype.removeprefix("torch.")
        if name not in DTYPES:
            raise InputError(f"unknown dtype {dtype!r}; known are {', '.join(DTYPES)}")
        dtype = DTYPES[name]
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"the device {str(device)!r} can't be used here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return device, dtype
