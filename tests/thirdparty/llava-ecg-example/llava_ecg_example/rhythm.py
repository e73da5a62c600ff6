"""A signal tower of another shape than ECG-CoCa's: one lead, 100 Hz, 6 s, a token for each half second.

Axes: n values, T samples, P tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llava_ecg.ecg import read
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError
from llava_ecg.streams import Prepared, Preparer


@dataclass(frozen=True)
class RhythmPreparer:
    """Recording -> float32 [1, 1, T] in mV. Holds no weights and can be pickled: it runs in the data workers."""

    samples: int
    tokens: int
    rate: float
    lead: str

    def read(self, path: Path) -> Recording:
        return read(path)

    def derive(self, sources: Mapping[str, Any]) -> None:
        """A strip is given or it is not; an image tower returns the page of ``sources["ecg"]`` here."""

    def prepare(self, source: Recording) -> Prepared:
        if self.lead not in source.leads:
            raise InputError(
                f"{source.source or 'the strip'} has no lead {self.lead}; it has {', '.join(source.leads)}"
            )
        strip = source.select((self.lead,)).resample(self.rate)
        notes = []
        if strip.signal.shape[1] > self.samples:
            notes.append(f"of the strip the first {self.samples / self.rate:g} s were shown")
        signal = torch.from_numpy(strip.signal[:, : self.samples].copy()).nan_to_num()  # [1, <= T]
        padded = nn.functional.pad(signal, (0, self.samples - signal.shape[1]))
        return Prepared(padded[None], self.tokens, torch.arange(self.tokens), tuple(notes))


class RhythmTower(nn.Module):
    """Two convolutions. The constructor's arguments are the tower's settings in a checkpoint's config.json."""

    def __init__(self, samples: int = 600, patch: int = 50, width: int = 32) -> None:
        super().__init__()
        self.width, self.tokens, self.samples = width, samples // patch, samples
        self.fine = nn.Conv1d(1, width, kernel_size=9, padding=4)
        self.coarse = nn.Conv1d(width, width, kernel_size=patch, stride=patch)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """[n, 1, T] -> [n, P, width]"""
        return self.coarse(nn.functional.gelu(self.fine(values.to(self.fine.weight.dtype)))).transpose(1, 2)

    def preparer(self, rate: float = 100.0, lead: str = "II") -> Preparer:
        """Its arguments are the stream's ``preparation`` in config.json."""
        return RhythmPreparer(self.samples, self.tokens, rate, lead)
