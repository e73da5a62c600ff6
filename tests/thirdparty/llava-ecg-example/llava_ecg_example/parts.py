"""A projector and a chat template."""

from __future__ import annotations

from torch import nn

from llava_ecg.data.templates import Template


def gated(width: int, out: int) -> nn.Module:
    """[.., width] -> [.., out]"""
    return nn.Sequential(nn.Linear(width, 2 * out), nn.GLU())


terse = Template(system="", first_user="Q: {}\nA:", user="\nQ: {}\nA:", answer=" {}</s>", stop="</s>")
