"""transformers' from_pretrained on our loader: its keywords, translated; what has no translation is refused."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.building import Make
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.opened import DTYPES, open_model

# Without effect here: the loader always does, or never does, what they ask for.
_IDLE = {
    "low_cpu_mem_usage",
    "use_safetensors",
    "weights_only",
    "trust_remote_code",
    "_from_auto",
    "_commit_hash",
    "adapter_kwargs",
}


def from_pretrained(
    make: Make, name: str | Path, *args: Any, config: LlavaEcgConfig | None = None, **kwargs: Any
) -> Any:
    """A model by transformers' keywords; see `LlavaEcgForCausalLM.from_pretrained`.

    Args:
        make: the arguments of a config -> the model, of the class that was asked, ours or a subclass.
        config: as AutoConfig gave it. Its template and preparations hold where they differ from the folder's.

    Raises:
        InputError: as `llava_ecg.load`, and for a keyword that it does not have.
    """
    if kwargs.get("trust_remote_code"):
        raise InputError("code that comes with a checkpoint is never run; leave trust_remote_code away")
    adapter = (kwargs.get("adapter_kwargs") or {}).get("_adapter_model_path")
    if adapter not in (None, name):  # transformers has seen an adapter and goes to its base by itself
        name, kwargs["base"] = adapter, name
    revision = kwargs.pop("revision", None)
    if revision not in (None, "main"):
        name = f"{name}@{revision}"
    given = {key: value for key, value in kwargs.items() if key not in _IDLE and value is not None}
    attention = given.pop("attn_implementation", None)
    if config is not None:  # where AutoConfig has put it
        attention = attention or config._attn_implementation
    wanted_info = given.pop("output_loading_info", False)
    given["dtype"] = _dtype(name, given)
    given["device"] = _device(given)
    given |= _quantization(given.pop("quantization_config", None))
    unknown = sorted(set(given) - (set(inspect.signature(open_model).parameters) - {"need_tokenizer", "make"}))
    if args or unknown:
        raise InputError(
            f"from_pretrained of a llava_ecg model has no keyword {', '.join(unknown) or 'without a name'}; see "
            "llava_ecg.load"
        )
    if config is not None:
        given = {
            "template": config.template,
            "preparation": {n: s["preparation"] for n, s in config.streams.items()},
        } | given
    model = open_model(name, make, need_tokenizer=False, **given).model.eval()
    if attention is not None:
        model.set_attn_implementation(attention)
    info: dict[str, Any] = {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set(), "error_msgs": []}
    return (model, info) if wanted_info else model


def _dtype(name: str | Path, given: dict[str, Any]) -> Any:
    """As asked for; else, as in transformers 5, that of the files."""
    dtypes = [given.pop(key) for key in ("dtype", "torch_dtype") if key in given]
    if dtypes and dtypes[0] != "auto":
        return dtypes[0]
    filed: Counter[str] = Counter()
    for ref in open_source(
        name, **{key: given[key] for key in ("base", "ecg_tower", "vision_tower") if key in given}
    ).tensors.values():
        filed[ref.dtype] += ref.numel
    return next((dtype for dtype, _ in filed.most_common() if dtype in DTYPES), "float32")


def _device(given: dict[str, Any]) -> Any:
    place = given.pop("device_map", given.pop("device", "cpu"))
    if isinstance(place, Mapping):
        if len(set(map(str, place.values()))) != 1:
            raise InputError("a llava_ecg model goes to one device; give device_map one, such as 'cuda:0'")
        place = next(iter(place.values()))
        place = f"cuda:{place}" if isinstance(place, int) else place
    return None if place == "auto" else place


def _quantization(config: Any) -> dict[str, str]:
    if config is None:
        return {}
    values = config if isinstance(config, Mapping) else config.to_dict()
    if values.get("load_in_8bit"):
        return {"quantization": "int8"}
    if values.get("load_in_4bit"):
        return {"quantization": "nf4"}
    raise InputError("of quantization_config, bitsandbytes' load_in_4bit (as nf4) and load_in_8bit are known")
