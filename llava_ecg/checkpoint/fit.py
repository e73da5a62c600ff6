"""Whether the tensors of a source fit the model that its config describes. Arithmetic on names and shapes; needs no
torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llava_ecg.checkpoint.source import Source
from llava_ecg.errors import InputError

LISTED = 20
"""So many of a long list are shown; the rest is counted."""


@dataclass(frozen=True)
class Fit:
    """What does not fit.

    Attributes:
        missing: our names of places that no file fills.
        left_over: names that have no place: as they are filed where no table knows them, else ours.
        mis_shaped: a phrase for each tensor, or LoRA pair, of another shape than its place.
    """

    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    mis_shaped: tuple[str, ...]

    @property
    def phrases(self) -> list[str]:
        """All of it, a phrase each."""
        return [
            *(f"missing {name}" for name in self.missing),
            *(f"left over {name}" for name in self.left_over),
            *self.mis_shaped,
        ]


def fit(source: Source, expected: Mapping[str, tuple[int, ...]]) -> Fit:
    """Hold a source against what its model expects.

    Args:
        expected: our parameter names -> shapes. What `source.fresh` covers may be absent, and a tied head may be there.
    """
    given = source.shapes
    tied = "language_model.lm_head.weight"  # filed by some beside the embedding that it is
    fresh = (
        {name for name in expected if name.startswith(source.fresh) and name not in given} if source.fresh else set()
    )
    mis_shaped = [
        f"{name} is {_size(given[name])} in {source.tensors[name].path.name} and {_size(expected[name])} in the model"
        for name in sorted(set(expected) & set(given))
        if given[name] != expected[name]
    ]
    for name, delta in source.deltas.items():
        shape = (*delta.b.shape[:1], *delta.a.shape[1:])
        if expected.get(name) != shape or delta.a.shape[:1] != delta.b.shape[1:]:
            there = _size(expected[name]) if name in expected else "not in the model"
            mis_shaped.append(
                f"the LoRA of {name} is {_size(delta.b.shape)} times {_size(delta.a.shape)}, and the weight is {there}"
            )
    return Fit(
        missing=tuple(sorted(set(expected) - set(given) - fresh)),
        left_over=(*source.left_over, *sorted(set(given) - set(expected) - {tied})),
        mis_shaped=tuple(mis_shaped),
    )


def faults(source: Source, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What does not fit, a phrase each: missing, left over, mis-shaped; LoRA pairs too.

    Args:
        expected: our parameter names -> shapes.
    """
    return fit(source, expected).phrases


def refuse_faults(found: list[str], what: str) -> None:
    """Raise `InputError` with the first of them and the number of the rest, if there are any."""
    if found:
        more = f", and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise InputError(f"the weights in {what} do not fit its config: {'; '.join(found[:LISTED])}{more}")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
