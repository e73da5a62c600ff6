"""An ECG tower follows a plain CNN: token by token it learns to make what the CNN makes of the same signal, and to
answer as the CNN does what is not known of a record.

A convolution sees at once what lies within seconds; a transformer on tokens of 100 ms has to find out by itself that
beats follow each other, and is given the answer here for each token. (Hints of a teacher's layer: Romero et al. 2015.)

Axes: B batch, L leads, T samples, P tokens, W width of the tower, V of the teacher.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llava_ecg.train.tiny.probe import Probe
from llava_ecg.train.tiny.targets import QUANTITIES

FOLLOW_WEIGHT = 10.0
"""Of the distance to the teacher's tokens in the loss; it is near 1 for a tower that knows nothing."""


def mixed(targets: torch.Tensor, yes: torch.Tensor) -> torch.Tensor:
    """Targets with what a teacher says of `YES_NO`: all of what is not known, and half of what is.

    Args:
        targets: float [B, quantities + yes/no], NaN where unknown.
        yes: float [B, yes/no], the teacher's logits.
    """
    said, known = torch.sigmoid(yes), targets[:, len(QUANTITIES) :]
    return torch.cat([targets[:, : len(QUANTITIES)], torch.where(known.isnan(), said, (known + said) / 2)], dim=1)


class Follower(nn.Module):
    """Reads a teacher's tokens from those of a layer of a tower.

    Args:
        tower: an `EcgCoCaTower`; what this layer gave at its last pass is kept.
        layer: how many of its layers come before the tokens that follow. Those after it are free for a caption.
        teacher: a plain CNN with its heads; it stays as it is.
    """

    def __init__(self, tower: Any, layer: int, teacher: Probe) -> None:
        super().__init__()
        width: Any = teacher.tower.width
        self.reader = nn.Linear(tower.width, width)
        self._teacher = (teacher.eval(),)  # in a tuple, since it is no part of what learns
        tower.transformer.resblocks[layer - 1].register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: Any, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    @torch.no_grad()
    def ask(self, values: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The teacher's tokens [B, P, V] of a batch of signals [B, L, T], and the targets with what it says of them."""
        (teacher,) = self._teacher
        tokens = teacher.tower(values)
        return tokens, mixed(targets, teacher.tell(tokens).yes)

    def apart(self, wanted: torch.Tensor) -> torch.Tensor:
        """How far the tower's last pass is from the teacher's tokens: mean squared, each token of the teacher brought
        to mean 0 and variance 1; the first token is none of a place and follows nothing."""
        tokens = nn.functional.layer_norm(wanted[:, 1:], wanted.shape[-1:])
        return nn.functional.mse_loss(self.reader(self._tokens[:, 1:]), tokens)
