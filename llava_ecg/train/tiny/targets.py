"""What gem-tiny's towers learn to tell of an ECG, and the heads that tell it.

Values are classified into bins (so that each has a direction of its own for a projector to find), labels are yes or no,
and every token says which waves lie in each part of what it covers, so that it learns where they begin and end. What is
not known of a record costs nothing.

Axes: B batch, P tokens, W width, R parts of a token, K outputs of the heads, C classes of waves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from llava_ecg.train.tiny.records import WAVES
from llava_ecg.train.tiny.sources import LABELS


@dataclass(frozen=True)
class Quantity:
    """A measured value and its bins."""

    name: str
    low: float
    high: float
    step: float
    circular: bool = False

    @property
    def centres(self) -> torch.Tensor:
        """float32 [bins], in the value's unit."""
        return torch.arange(self.low, self.high + 1e-6 - (self.step if self.circular else 0), self.step)

    def soft(self, values: torch.Tensor) -> torch.Tensor:
        """[B] -> [B, bins]: a bell of one bin's width around the value; NaN rows stay NaN."""
        distance = values[:, None] - self.centres
        if self.circular:
            distance = (distance + 180) % 360 - 180
        return torch.softmax(-0.5 * (distance / self.step) ** 2, dim=1)

    def expect(self, logits: torch.Tensor) -> torch.Tensor:
        """[B, bins] -> [B]: the mean value of the predicted distribution."""
        weight = torch.softmax(logits, dim=1)
        if not self.circular:
            return weight @ self.centres
        angle = torch.deg2rad(self.centres)
        return torch.rad2deg(torch.atan2(weight @ angle.sin(), weight @ angle.cos()))


QUANTITIES = (
    Quantity("heart_rate_bpm", 30, 200, 2.5),
    Quantity("pr_ms", 80, 320, 10),
    Quantity("qrs_ms", 60, 200, 5),
    Quantity("qt_ms", 240, 600, 10),
    Quantity("qtc_bazett_ms", 320, 560, 10),
    Quantity("axis_deg", -180, 180, 10, circular=True),
)
STRETCHED = (-1.0, 1.0, 1.0, 1.0, 0.5, 0.0)
"""The power of a stretch of time by which each of `QUANTITIES` grows."""
YES_NO = ("rhythm_regular", "p_present", *LABELS)
OUTPUTS = sum(len(quantity.centres) for quantity in QUANTITIES) + len(YES_NO)
DENSE_WEIGHT, PACE_WEIGHT = 3.0, 1.0
WAVE_WEIGHTS = (0.5, 1.5, 1.5, 1.0)
"""Of each of `WAVES` in the loss: P waves and QRS complexes are short."""


def target_row(facts: Mapping[str, Any], labels: Mapping[str, bool]) -> list[float]:
    """A record's values of `QUANTITIES`, then of `YES_NO`; NaN where not known."""
    known = {**facts, **labels}
    row = [known.get(name) for name in (*(quantity.name for quantity in QUANTITIES), *YES_NO)]
    return [math.nan if value is None else float(value) for value in row]


class Told(NamedTuple):
    """What a probe says: float [B, K] logits of all heads, [B, P, R, C] of the waves, of a signal [B, P, bins] of the
    rate around each token, and [B, slots, words] of the caption."""

    heads: torch.Tensor
    waves: torch.Tensor
    paces: torch.Tensor | None = None
    slots: torch.Tensor | None = None

    def value(self, place: int) -> torch.Tensor:
        """[B]: the expected value of one of `QUANTITIES`."""
        start = sum(len(quantity.centres) for quantity in QUANTITIES[:place])
        quantity = QUANTITIES[place]
        return quantity.expect(self.heads[:, start : start + len(quantity.centres)])

    @property
    def yes(self) -> torch.Tensor:
        """[B, labels]: logits of `YES_NO`."""
        return self.heads[:, -len(YES_NO) :]


def paces_of(waves: torch.Tensor) -> torch.Tensor:
    """The rate around each token, bpm: of the interval between QRS complexes that its middle lies in; NaN before the
    first and after the last.

    Args:
        waves: int64 [B, P, R], a number of `WAVES` each 10 ms; the first token is the class token.

    Returns:
        float32 [B, P]; NaN for the class token.
    """
    out = torch.full(waves.shape[:2], math.nan)
    parts = waves.shape[2]
    qrs = waves[:, 1:].flatten(1) == WAVES.index("QRS")
    begins = qrs.clone()
    begins[:, 1:] &= ~qrs[:, :-1]
    middles = torch.arange(waves.shape[1] - 1) * parts + parts // 2
    for row, begun in enumerate(begins):
        onsets = begun.nonzero()[:, 0]
        if len(onsets) > 1:
            after = torch.searchsorted(onsets, middles, right=True)
            inside = (after > 0) & (after < len(onsets))
            rr = onsets[after.clamp(1, len(onsets) - 1)] - onsets[after.clamp(1, len(onsets) - 1) - 1]
            out[row, 1:][inside] = 6000.0 / rr[inside]
    return out


def loss(told: Told, targets: torch.Tensor, waves: torch.Tensor) -> torch.Tensor:
    """Cross entropy to the soft bins, to the waves and to the rate around each token, binary cross entropy to yes and
    no.

    Args:
        told: of the probe.
        targets: float32 [B, quantities + yes/no], NaN where unknown.
        waves: int64 [B, P, R], a number of `WAVES`.
    """
    total, start = told.heads.new_zeros(()), 0
    for column, quantity in enumerate(QUANTITIES):
        width = len(quantity.centres)
        known = ~targets[:, column].isnan()
        if known.any():
            soft = quantity.soft(targets[known, column])
            total = total + nn.functional.cross_entropy(told.heads[known, start : start + width], soft)
        start += width
    wanted = targets[:, len(QUANTITIES) :]
    known = ~wanted.isnan()
    if known.any():
        each = nn.functional.binary_cross_entropy_with_logits(told.yes, wanted.nan_to_num(), reduction="none")
        total = total + ((each * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)).sum()
    if told.paces is not None:
        paces = paces_of(waves)
        known = ~paces.isnan()
        if known.any():
            rate = QUANTITIES[0]
            total = total + PACE_WEIGHT * nn.functional.cross_entropy(told.paces[known], rate.soft(paces[known]))
    weight = torch.tensor(WAVE_WEIGHTS)
    return total + DENSE_WEIGHT * nn.functional.cross_entropy(told.waves.flatten(0, 2), waves.flatten(), weight=weight)


@torch.no_grad()
def errors(told: Told, targets: torch.Tensor) -> dict[str, float]:
    """Mean absolute errors of the quantities; of each label the area under the ROC curve, where both answers occur."""
    out: dict[str, float] = {}
    for column, quantity in enumerate(QUANTITIES):
        known = ~targets[:, column].isnan()
        if known.any():
            error = told.value(column)[known] - targets[known, column]
            if quantity.circular:
                error = (error + 180) % 360 - 180
            out[quantity.name] = float(error.abs().mean())
    for column, name in enumerate(YES_NO):
        wanted = targets[:, len(QUANTITIES) + column]
        known = ~wanted.isnan()
        if (area := roc_area(told.yes[known, column], wanted[known] > 0.5)) is not None:
            out[name] = area
    return {name: round(value, 3) for name, value in out.items()}


def roc_area(scores: torch.Tensor, positive: torch.Tensor) -> float | None:
    """The share of pairs in which the positive has the higher score, ties half; None without both."""
    high, low = scores[positive], scores[~positive]
    if not len(high) or not len(low):
        return None
    apart = high[:, None] - low[None, :]
    return float((apart > 0).float().mean() + 0.5 * (apart == 0).float().mean())
