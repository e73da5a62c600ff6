"""An input beside the text: how it is described (`StreamConfig`), made ready (`Preparer`) and handed on (`Prepared`).

Plain dataclasses below data, checkpoint and model, which share them and do not know each other. No torch is loaded for
them.

Axes: N tower tokens in the sequence, P tokens that a tower makes of one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llava_ecg.errors import InputError

if TYPE_CHECKING:
    import torch


NEWLINE = -1


@dataclass
class StreamConfig:
    """One input beside the text.

    Attributes:
        tower: its encoder's name (``llava-ecg list towers``).
        tower_config: the arguments of that tower's constructor.
        projector: ``linear``, ``mlp2x_gelu``, ``identity``, ...
        through: the stream whose projector follows this one's, or None (GEM: the ECG features are brought to the image
            tower's width and then pass the image's projector).
        preparation: the arguments of the tower's preparer.
    """

    tower: str
    tower_config: dict[str, Any] = field(default_factory=dict)
    projector: str = "linear"
    through: str | None = None
    preparation: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, values: StreamConfig | Mapping[str, Any]) -> StreamConfig:
        """From a plain dict.

        Raises:
            InputError: a key that a stream does not have.
        """
        if isinstance(values, StreamConfig):
            return values
        known = [item.name for item in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise InputError(f"a stream has no setting {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
        if "tower" not in values:
            raise InputError("a stream needs a tower; llava-ecg list towers names them")
        return cls(**values)


@dataclass(frozen=True)
class Prepared:
    """One source, ready for its tower.

    Attributes:
        values: [n, ...] what the tower eats; n is 1 but for tiled images.
        tokens: P, tokens that the tower makes of one value.
        index: int64 [N]: which of the n * P tower tokens stands at each place of the sequence; `NEWLINE` for the
            model's learned row-end embedding.
        notes: what a user should know about the preparation.
        shown: from and to which second of the recording `values` show; None where that is not known, as of a given
            image.
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
