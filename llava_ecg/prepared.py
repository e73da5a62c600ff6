"""What passes between the data and the model: a source made ready for its tower, and the object that makes it ready.

It stands below both, since `llava_ecg.data` and `llava_ecg.model` do not know each other.

Axes: N tower tokens in the sequence, P tokens that a tower makes of one value.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    values: torch.Tensor
    tokens: int
    index: torch.Tensor
    notes: tuple[str, ...] = ()


class Preparer(Protocol):
    """Turns a source (a Recording, a PIL image) into `Prepared`; picklable, so that it runs in a data worker."""

    def prepare(self, source: Any) -> Prepared: ...
