"""Low-rank adapters (LoRA, Hu et al. 2021) added into the weights they adapt: W + (alpha / r) B A.

PEFT trains them; to use them takes this page, without PEFT's six seconds of import. A test holds both equal.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from llava_ecg.errors import InputError


def merge_lora(model: nn.Module, folder: Path) -> None:
    """Add an adapter in PEFT's layout to the model's linear layers, in place.

    Args:
        model: the language model that the adapter was trained on.
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises:
        InputError: a file is missing, or a pair of matrices has no layer of its shape in the model.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text())
        weights = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"the adapter in {folder} is not whole ({error}); copy it again") from error
    pairs = {name: name.replace(".lora_A.", ".lora_B.") for name in weights if name.endswith(".lora_A.weight")}
    unlike = [name for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if config.get(name)]
    unlike += sorted(set(weights).symmetric_difference({*pairs, *pairs.values()}))[:3]
    if unlike or not pairs:
        raise InputError(f"the adapter in {folder} is no plain LoRA ({', '.join(unlike) or 'no weights'}); merge it with PEFT first")
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    modules = dict(model.named_modules())
    for name, partner in pairs.items():
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        a, b = weights[name], weights[partner]
        target = modules.get(layer)
        if not isinstance(target, nn.Linear) or target.weight.shape != (b.shape[0], a.shape[1]):
            raise InputError(f"the adapter in {folder} does not fit the language model: no layer {layer} of {b.shape[0]} x {a.shape[1]}")
        with torch.no_grad():
            target.weight += (scale * (b.float() @ a.float())).to(target.weight)
