"""A model whose output is no number says so, and what in it is none: NaN would be taken for token 0, and give an empty
answer."""

from __future__ import annotations

import torch
from torch import nn
from transformers import LogitsProcessor

from llava_ecg.errors import InputError

_NAMED = 5


def not_finite(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold NaN or infinity, in the model's order; quantised ones are not
    looked at."""
    tensors = model.state_dict().items()
    return [
        name
        for name, value in tensors
        if value.is_floating_point() and value.ndim and not bool(torch.isfinite(value).all())
    ]


def finite_or_refused(model: nn.Module) -> LogitsProcessor:
    """What stops a generation at the first scores that hold NaN or +infinity.

    Args:
        model: is searched for the reason then, and not before.
    """

    class Finite(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """Scores [B, vocabulary] as they are.

            Raises:
                InputError: one of them is no number.
            """
            if bool((torch.isnan(scores) | torch.isposinf(scores)).any()):
                raise InputError(f"the model's output is no number: {_reason(model)}")
            return scores

    return Finite()


def _reason(model: nn.Module) -> str:
    found = not_finite(model)
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return (
            f"its weights hold NaN or infinity in {', '.join(found[:_NAMED])}{more}; get the files again, or an "
            "earlier checkpoint"
        )
    dtypes = sorted(
        {str(value.dtype).removeprefix("torch.") for value in model.parameters() if value.is_floating_point()}
    )
    return (
        f"all its weights are finite, so it has run over the range of {' and '.join(dtypes)}; load it as float32 "
        "or bfloat16"
    )
