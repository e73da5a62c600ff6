"""What is done to gem-tiny's training records so that they are never twice the same.

Axes: B batch, L leads, T samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from llava_ecg.train.tiny.records import RATE
from llava_ecg.train.tiny.sources import SCALED_SD_MV
from llava_ecg.train.tiny.targets import QUANTITIES, STRETCHED


class Batch(NamedTuple):
    """Signals float [B, L, T] in mV, marks uint8 [B, T / step], targets float [B, ...] of `target_row`, and bool [B]
    whether a record is scaled lead by lead."""

    values: torch.Tensor
    marks: torch.Tensor
    targets: torch.Tensor
    scaled: torch.Tensor


def augmented(batch: Batch, generator: torch.Generator) -> Batch:
    """Another stretch of time, another place in it, other gains, noise and lost leads."""
    values, marks, targets = _in_time(batch, generator)
    values = _gains(values, batch.scaled, generator)
    size = len(values)
    values = values + _uniform(generator, 0, 0.03, size, 1, 1) * torch.randn(values.shape, generator=generator)
    values = values + _waves(values, (0.05, 0.5), 1.0, 0.35, generator)  # a wandering baseline
    values = values + _waves(values, (50.0, 60.0), 0.06, 0.2, generator)  # the mains
    lost = _chance(generator, 0.1, size, values.shape[1], 1) * _chance(generator, 0.3, size, 1, 1)
    return Batch(values.masked_fill(lost.bool(), 0.0), marks, targets, batch.scaled)


def _in_time(batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All records of a batch stretched by one factor, or turned round in time; marks and targets go with them."""
    values, marks, targets = batch.values, batch.marks, batch.targets
    samples, step = values.shape[2], values.shape[2] // marks.shape[1]
    if torch.rand((), generator=generator) < 0.3:
        turn = int(torch.randint(marks.shape[1], (), generator=generator))
        return values.roll(turn * step, dims=2), marks.roll(turn, dims=1), targets
    factor = math.exp(float(_uniform(generator, math.log(0.5), math.log(1.35))))
    length = round(marks.shape[1] * factor)
    values = nn.functional.interpolate(values, size=length * step, mode="linear")
    marks = nn.functional.interpolate(marks[:, None].float(), size=length, mode="nearest")[:, 0].to(marks.dtype)
    values, marks = torch.cat([values, values], dim=2), torch.cat([marks, marks], dim=1)  # what is short begins again
    first = int(torch.randint(max(1, min(length, 2 * length - batch.marks.shape[1])), (), generator=generator))
    values, marks = values[:, :, first * step :][:, :, :samples], marks[:, first:][:, : batch.marks.shape[1]]
    powers = torch.tensor([*STRETCHED, *[0.0] * (targets.shape[1] - len(QUANTITIES))])
    return values, marks, targets * factor**powers


def _waves(
    values: torch.Tensor, hertz: tuple[float, float], most: float, share: float, generator: torch.Generator
) -> torch.Tensor:
    """A sine in a share of the records, of a frequency between two bounds and another amplitude in each lead, mV."""
    size = len(values)
    height = most * _uniform(generator, 0, 1, size, 1, 1) ** 2 * _chance(generator, share, size, 1, 1)
    turns = _uniform(generator, *hertz, size, 1, 1) * torch.arange(values.shape[2]) / RATE
    sine = torch.sin(2 * math.pi * (turns + _uniform(generator, 0, 1, size, 1, 1)))
    return height * _uniform(generator, 0.2, 1, size, values.shape[1], 1) * sine


def _gains(values: torch.Tensor, scaled: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A gain a record; wide, lead by lead and at times with all leads alike, where the voltages are no voltages."""
    size = len(values)
    alike = _chance(generator, 0.5, size) * scaled + _chance(generator, 0.15, size) * ~scaled
    spread = values.std(dim=2, keepdim=True).clamp(min=1e-3)
    values = torch.where(alike.bool()[:, None, None], values / spread * SCALED_SD_MV, values)
    loose = (alike.bool() | scaled)[:, None, None]
    wide = torch.exp(_uniform(generator, math.log(0.5), math.log(2.0), size, 1, 1))
    wide = wide * torch.where(_chance(generator, 0.1, size, 1, 1).bool(), 3.0, 1.0)
    own = torch.exp(0.15 * torch.randn(size, values.shape[1], 1, generator=generator))
    return values * torch.where(loose, wide * own, _uniform(generator, 0.85, 1.18, size, 1, 1))


def augmented_pages(pages: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """[B, 3, H, W], normalised -> the same with another brightness and contrast, shifted by up to three pixels."""
    size = len(pages)
    pages = pages * _uniform(generator, 0.85, 1.1, size, 1, 1, 1) + _uniform(generator, -0.2, 0.2, size, 1, 1, 1)
    shift = torch.randint(-3, 4, (2,), generator=generator).tolist()
    return torch.roll(pages, shift, dims=(2, 3))


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _chance(generator: torch.Generator, share: float, *shape: int) -> torch.Tensor:
    return (torch.rand(shape, generator=generator) < share).float()
