"""What passes between the data and the model: a source made ready for its tower, and the object that makes it ready.

It stands below both, since `llava_ecg.data` and `llava_ecg.model` do not know each other.

Axes: N tower tokens in the sequence, P tokens that a tower makes of one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

NEWLINE = -1


@dataclass(frozen=True)
class Prepared:
    """One source, ready for its tower.

    Attributes:
        values: [n, ...] what the tower eats; n is 1 but for tiled images.
        tokens: P, tokens that the tower makes of one value.
        index: int64 [N]: which of the n * P tower tokens stands at each place of the sequence; `NEWLINE` for the model's learned
            row-end embedding.
        notes: what a user should know about the preparation.
        shown: from and to which second of the recording `values` show; None where that is not known, as of a given image.
    """

    values: torch.Tensor
    tokens: int
    index: torch.Tensor
    notes: tuple[str, ...] = ()
    shown: tuple[float, float] | None = None


class Preparer(Protocol):
    """Knows one kind of source (a Recording, a PIL image); picklable, so that it runs in a data worker."""

    def read(self, path: Path) -> Any:
        """A source from its file; `llava_ecg.errors.InputError` if that can't be."""

    def derive(self, sources: Mapping[str, Any]) -> Any:
        """A source made from those of the other streams (a page drawn from a recording), or None."""

    def prepare(self, source: Any) -> Prepared:
        """A source, ready for the tower."""
