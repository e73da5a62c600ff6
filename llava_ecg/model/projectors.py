"""Projectors: from a tower's width to the language model's. Parameter names are those of LLaVA's Sequential."""

from __future__ import annotations

import re

from torch import nn

from llava_ecg.errors import InputError
from llava_ecg.plugins import projectors


def linear(width: int, out: int) -> nn.Module:
    """One linear layer [.., width] -> [.., out]."""
    return nn.Linear(width, out)


def mlp_gelu(width: int, out: int, depth: int = 2) -> nn.Module:
    """`depth` linear layers with GELU between them."""
    layers: list[nn.Module] = [nn.Linear(width, out)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(out, out)]
    return nn.Sequential(*layers)


def identity(width: int, out: int) -> nn.Module:
    """Nothing, where both widths are the same.

    Raises:
        InputError: they are not.
    """
    if width != out:
        raise InputError(f"the projector 'identity' can't bring width {width} to {out}; choose linear or mlp2x_gelu")
    return nn.Identity()


def build_projector(kind: str, width: int, out: int) -> nn.Module:
    """The projector of this name; ``mlpNx_gelu`` is `mlp_gelu` with depth N.

    Raises:
        InputError: no such projector.
    """
    mlp = re.fullmatch(r"mlp([1-9])x_gelu", kind)
    if mlp:
        return projectors.get("mlp_gelu")(width, out, depth=int(mlp.group(1)))
    module: nn.Module = projectors.get(kind)(width, out)
    return module
