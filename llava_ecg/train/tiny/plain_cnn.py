"""A plain residual 1-D CNN of the ECG tower's size, to be held against it: what the same data give without a
transformer.

Axes: B batch, L leads, T samples, P tokens, W width.
"""

from __future__ import annotations

import torch
from torch import nn


class _Residual(nn.Module):
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel, padding=kernel // 2),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, kernel, padding=kernel // 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class PlainCnn(nn.Module):
    """Strides of 5, 5 and 2 to a token of 50 samples, as in `EcgCoCaTower`, with residual blocks between."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.width, self.tokens = width, 101
        self.layers = nn.Sequential(
            nn.Conv1d(12, 64, 15, stride=5, padding=7),
            _Residual(64, 7),
            nn.Conv1d(64, 128, 9, stride=5, padding=4),
            _Residual(128, 7),
            nn.Conv1d(128, width, 7, stride=2, padding=3),
            _Residual(width, 7),
            _Residual(width, 7),
            _Residual(width, 5),
        )

    def forward(self, ecg: torch.Tensor) -> torch.Tensor:
        """float [B, 12, 5000] -> [B, P, W], the largest of all tokens first."""
        x = self.layers(ecg).transpose(1, 2)
        return torch.cat([x.amax(dim=1, keepdim=True), x], dim=1)
