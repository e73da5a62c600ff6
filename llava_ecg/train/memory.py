"""How much memory a training takes, by arithmetic: an estimate, to choose a machine and a batch before the first step.

Counted are weights, gradients, the optimizer's states, and what the backward pass of the language model keeps. Not
counted: what the framework and its kernels hold for themselves (about 1 to 2 GB on a GPU), fragments between blocks,
and the activations of towers that are trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# optimizer (the beginning of --optim) -> bytes of state for each trained parameter, None: twice the parameter itself
_STATES: tuple[tuple[str, float | None], ...] = (
    ("adamw_bnb_8bit", 2),
    ("adamw_8bit", 2),
    ("paged_adamw_8bit", 2),
    ("ademamix_8bit", 3),
    ("lion_8bit", 1),
    ("paged_lion_8bit", 1),
    ("adafactor", 0),  # a row and a column in place of a matrix
    ("sgd", 0),
    ("adam", None),
    ("paged_adam", None),
)
# bytes of a weight that bitsandbytes holds: 4 bits and 0.127 bits of doubly quantised scales; 8 bits
_QUANTIZED = {"nf4": 4.127 / 8, "int8": 1.0}


@dataclass(frozen=True)
class Part:
    """Parameters of one kind.

    Attributes:
        count: how many.
        itemsize: bytes of each.
        trained: whether they are.
        quantized: ``nf4`` or ``int8``, None where they are held as they are.
    """

    count: int
    itemsize: int
    trained: bool
    quantized: str | None = None


@dataclass(frozen=True)
class Step:
    """What one process works on at a time.

    Attributes:
        tokens: in a batch, padding included: B * S.
        supervised: of these, with a label.
        itemsize: bytes that are computed in.
        checkpointed: whether layers are computed again in the backward pass (``--gradient_checkpointing``).
        trained: whether anything before or in the language model is trained, so that its layers keep something.
    """

    tokens: int
    supervised: int
    itemsize: int
    checkpointed: bool
    trained: bool = True


def expected_memory(
    parts: Iterable[Part], optimizer: str, text_config: Mapping[str, Any], step: Step
) -> dict[str, int]:
    """Bytes of one process, by what they are for.

    - weights: as they are held, and under autocast a copy of the trained and frozen ones in 16 bits.
    - gradients: of the trained parameters, in their type.
    - optimizer: two moments of each trained parameter for Adam and its like, less for others.
    - activations: of each layer, for each token, what `_layer_bytes` counts; with checkpointing one value of the
      residual stream a layer, and one layer whole.
    - logits: in float32 for supervised tokens, with their gradient and softmax.

    Args:
        optimizer: the value of ``--optim``.
        text_config: of the language model.
    """
    parts = list(parts)
    weights = sum(each.count * (_QUANTIZED[each.quantized] if each.quantized else each.itemsize) for each in parts)
    copies = sum(each.count * 2 for each in parts if step.itemsize < each.itemsize and not each.quantized)
    trained = [each for each in parts if each.trained]
    layers, width = text_config["num_hidden_layers"], text_config["hidden_size"]
    one = _layer_bytes(text_config, step.itemsize) * step.tokens
    kept = layers * width * step.itemsize * step.tokens + one if step.checkpointed else layers * one
    return {
        "weights": round(weights),
        "autocast copies": copies,
        "gradients": sum(each.count * each.itemsize for each in trained),
        "optimizer": round(sum(each.count * state_bytes(optimizer, each.itemsize) for each in trained)),
        "activations": kept if step.trained else 0,
        "logits": 3 * 4 * step.supervised * text_config["vocab_size"],
    }


def state_bytes(optimizer: str, itemsize: int) -> float:
    """Bytes of an optimizer's state for each trained parameter; twice the parameter where it is not known."""
    found = next((size for start, size in _STATES if optimizer.startswith(start)), None)
    return 2 * itemsize if found is None else found


def _layer_bytes(text_config: Mapping[str, Any], itemsize: int) -> int:
    """Bytes that the backward pass of one layer needs for each token, with attention that keeps no scores.

    Of width: the two norms' inputs and outputs, the queries, the attention's output. Of the keys' and values' width:
    both. Of the inner width: gate, its activation, up, and their product.
    """
    width, inner = text_config["hidden_size"], text_config["intermediate_size"]
    heads = text_config["num_attention_heads"]
    shared = text_config.get("num_key_value_heads") or heads
    return itemsize * (6 * width + 2 * width * shared // heads + 4 * inner)
