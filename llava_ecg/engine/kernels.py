"""What attention runs on, behind the door `llava_ecg.engine.attention`: torch's flash kernels, the flash-attn package,
Triton's, and the plain ones that they are tested against.

Axes: T places of all sequences, H query heads, K key heads (H is a multiple of K), G = H / K, D width of a head,
B sequences that go on, N slots, P places of a slot.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

Numbers = Sequence[int] | torch.Tensor
"""A number of each sequence: known to Python, or int32 on the device."""


class Backend(NamedTuple):
    """A way to compute one role of attention.

    Attributes:
        usable: whether it can do a kind of number on a kind of device, here.
        kernel: what computes it.
        flash: whether it is what strict mode asks for.
    """

    usable: Callable[[str, torch.dtype], bool]
    kernel: Callable[..., torch.Tensor]
    flash: bool = False


class Borders(NamedTuple):
    """Where sequences that lie one behind the other begin, and how they are looked at; see `attention.varlen`."""

    segments: torch.Tensor
    longest: int
    scale: float
    window: int | None


class Places(NamedTuple):
    """What sequences hold of which slots, and how they are looked at; see `attention.decode`."""

    rows: Numbers
    lengths: Numbers
    scale: float
    window: int | None


def _torch_varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """torch's own FlashAttention-2."""
    from torch.nn.attention.varlen import varlen_attn

    known = _parameters()
    settings: dict[str, Any] = {}
    if "window_size" in known:
        settings["window_size"] = (-1 if at.window is None else at.window - 1, 0)
    elif at.window is not None and at.longest > at.window:
        raise ValueError("torch's varlen_attn has no sliding window before 2.12; use sequences within the window")
    else:
        settings["is_causal"] = True
    if "scale" in known:
        settings["scale"] = at.scale
    else:
        query = query * (at.scale * query.shape[-1] ** 0.5)
    if "enable_gqa" in known:
        settings["enable_gqa"] = key.shape[1] != query.shape[1]
    else:
        key, value = repeated(key, query), repeated(value, query)
    out: Any = varlen_attn(query, key, value, at.segments, at.segments, at.longest, at.longest, **settings)
    return out


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _flash_attn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """The flash-attn package."""
    from flash_attn import flash_attn_varlen_func

    reach = (-1, -1) if at.window is None else (at.window - 1, 0)
    out: Any = flash_attn_varlen_func(
        *(query, key, value, at.segments, at.segments, at.longest, at.longest),
        softmax_scale=at.scale,
        causal=True,
        window_size=reach,
    )
    return out


@torch.compiler.disable
def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """torch's scaled_dot_product_attention, a sequence at a time."""
    lengths = at.segments.diff().tolist()
    key, value = repeated(key, query), repeated(value, query)
    parts = zip(*(each.transpose(0, 1).split(lengths, dim=1) for each in (query, key, value)), strict=True)
    out = []
    for q, k, v in parts:
        banded = at.window is not None and q.shape[1] > at.window
        mask = band(q.shape[1], at.window, q.device) if banded else None
        out.append(
            scaled_dot_product_attention(
                q[None], k[None], v[None], attn_mask=mask, is_causal=not banded, scale=at.scale
            )
        )
    return torch.cat(out, dim=2)[0].transpose(0, 1)


def _math(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """The definition, over all places at once: what the others are tested against."""
    number = torch.bucketize(torch.arange(query.shape[0], device=at.segments.device), at.segments[1:-1], right=True)
    mask = (number[:, None] == number[None]) & band(query.shape[0], at.window, at.segments.device)
    key, value = repeated(key, query), repeated(value, query)
    scores = torch.einsum("qhd,khd->hqk", query, key) * at.scale
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _views(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Places) -> torch.Tensor:
    """A sequence at a time on just what it filled, so that no other has a part in its rounding. The query heads of one
    key head stand as its queries, and no key is repeated."""
    out = []
    for q, row, length in zip(query.split(1), _known(at.rows), _known(at.lengths), strict=True):
        begin = 0 if at.window is None else max(0, length - at.window)
        out.append(
            scaled_dot_product_attention(
                q, key[row : row + 1, :, begin:length], value[row : row + 1, :, begin:length], scale=at.scale
            )
        )
    return out[0] if len(out) == 1 else torch.cat(out)


def _masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Places) -> torch.Tensor:
    """All sequences at once, over all places of their slots: shapes that no length changes."""
    rows, lengths = (_on(each, query.device) for each in (at.rows, at.lengths))
    key, value = key[rows], value[rows]
    place, length = torch.arange(key.shape[2], device=query.device), lengths[:, None]
    seen = (place < length) & (place >= length - (key.shape[2] if at.window is None else at.window))
    # what a mask hides still takes part as zero times it, and zero times NaN is NaN
    hidden = ~seen[:, None, :, None]
    key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None], scale=at.scale)


def _split_kv(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Places) -> torch.Tensor:
    """Split over the keys, where they lie: `llava_ecg.engine.split_kv`."""
    from llava_ecg.engine.split_kv import attend

    rows, lengths = (_on(each, query.device) for each in (at.rows, at.lengths))
    return attend(query, key, value, rows, lengths, at.scale, at.window)


def _known(numbers: Numbers) -> Sequence[int]:
    return numbers.tolist() if isinstance(numbers, torch.Tensor) else numbers


def _on(numbers: Numbers, device: torch.device) -> torch.Tensor:
    return numbers if isinstance(numbers, torch.Tensor) else torch.tensor(numbers, dtype=torch.int32, device=device)


def band(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """bool [length, length]: who sees whom."""
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (back >= 0) & (back < (length if window is None else window))


def repeated(heads: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """[T, K, D] -> [T, H, D]: a key head for each of its query heads."""
    return (
        heads.repeat_interleave(query.shape[1] // heads.shape[1], dim=1) if heads.shape[1] != query.shape[1] else heads
    )


def _flash_dtype(device: str, dtype: torch.dtype) -> bool:
    return device == "cuda" and dtype in (torch.float16, torch.bfloat16)


VARLEN: dict[str, Backend] = {
    "torch_varlen": Backend(
        lambda d, t: _flash_dtype(d, t) and find_spec("torch.nn.attention.varlen") is not None,
        _torch_varlen,
        flash=True,
    ),
    "flash_attn": Backend(
        lambda d, t: _flash_dtype(d, t) and find_spec("flash_attn") is not None, _flash_attn, flash=True
    ),
    "sdpa": Backend(lambda d, t: True, _sdpa),
    "math": Backend(lambda d, t: True, _math),
}
"""In order of preference."""

DECODE: dict[str, Backend] = {
    "split_kv": Backend(lambda d, t: _flash_dtype(d, t) and find_spec("triton") is not None, _split_kv, flash=True),
    "views": Backend(lambda d, t: d == "cpu", _views),
    "masked": Backend(lambda d, t: True, _masked),
}
"""In order of preference. ``views`` needs to know lengths before it begins, so it can't stand in a captured graph."""
