"""The one door to attention kernels, in three roles: `varlen`, causal attention over sequences that lie one behind the
other, without padding; `decode`, one new place of each of several sequences against what is kept of it in slots; and
`extend`, several new places of each.

Axes: T places of all sequences, H query heads, K key heads (H is a multiple of K), D width of a head, n sequences,
B sequences that go on, N slots, P places of a slot.

transformers' decoders call `packed` through its table of attention functions, under the name `PACKED`. No mask is
registered with it: borders of sequences come as ``cu_seq_lens_q``, and a call without them is refused, so that nothing
leaks from one sequence into the next.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "llava_ecg_packed"
HONOUR_SEGMENTS = (PACKED, "flash_attention_2", "flash_attention_3")
"""Attention functions of transformers that keep sequences apart by ``cu_seq_lens_q``; others pass over it."""

Kernel = Callable[..., torch.Tensor]


class _Borders(NamedTuple):
    """Where sequences that lie one behind the other begin, and how they are looked at; see `varlen`."""

    segments: torch.Tensor
    longest: int
    scale: float
    window: int | None


class _Places(NamedTuple):
    """What sequences hold of which slots, and how they are looked at; see `decode`."""

    rows: Sequence[int]
    lengths: Sequence[int]
    scale: float
    window: int | None


def _scale(given: float | None, query: torch.Tensor) -> float:
    return float(query.shape[-1] ** -0.5) if given is None else given


def varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: torch.Tensor,
    longest: int,
    *,
    scale: float | None = None,
    window: int | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Each place looks at itself and at what lies before it in its own sequence.

    Args:
        query: [T, H, D].
        key, value: [T, K, D].
        segments: int32 [n + 1], where each sequence begins, and T.
        longest: length of the longest sequence.
        scale: of the scores; 1 / sqrt(D) if None.
        window: how many places back a place sees, itself counted; None for all.
        backend: one of `BACKENDS`; None for the first that can do it here.

    Returns:
        [T, H, D]

    Raises:
        ValueError: a backend that is unknown or can't do it here.
    """
    name = backend or choose(query.device.type, query.dtype)
    if name not in BACKENDS:
        raise ValueError(f"unknown attention backend {name!r}; known are {', '.join(BACKENDS)}")
    usable, kernel = BACKENDS[name]
    if not usable(query.device.type, query.dtype):
        raise ValueError(f"the attention backend {name} can't do {query.dtype} on {query.device.type}")
    return kernel(query, key, value, _Borders(segments, longest, _scale(scale, query), window))


def decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Sequence[int],
    lengths: Sequence[int],
    *,
    scale: float | None = None,
    window: int | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """The newest place of each sequence looks at all that its slot holds, itself included.

    Args:
        query: [B, H, D].
        key, value: [N, K, P, D]; what lies beyond a sequence's length may be anything, NaN too.
        rows: the slot of each of the B sequences.
        lengths: how many places of its slot each has filled.
        scale, window: as for `varlen`.
        backend: one of `DECODE_BACKENDS`; None for ``views`` on a CPU and ``masked`` elsewhere.

    Returns:
        [B, H, D]

    Raises:
        ValueError: an unknown backend.
    """
    name = backend or ("views" if query.device.type == "cpu" else "masked")
    if name not in DECODE_BACKENDS:
        raise ValueError(f"unknown attention backend {name!r}; known are {', '.join(DECODE_BACKENDS)}")
    grouped = query.view(query.shape[0], key.shape[1], -1, query.shape[-1])
    return DECODE_BACKENDS[name](grouped, key, value, _Places(rows, lengths, _scale(scale, query), window)).reshape(
        query.shape
    )


def extend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Sequence[int],
    counts: Sequence[int],
    lengths: Sequence[int],
    *,
    scale: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """The newest places of each sequence look at what its slot held before, at themselves and at what of them lies
    before.

    Args:
        query: [T, H, D], of the B sequences one behind the other.
        key, value: [N, K, P, D], the newest places' included; what lies beyond a sequence's length may be anything.
        rows: the slot of each of the B sequences.
        counts: how many newest places each has; their sum is T.
        lengths: how many places of its slot each has filled, the newest included.
        scale, window: as for `varlen`.

    Returns:
        [T, H, D]
    """
    scale, heads = _scale(scale, query), key.shape[1]
    out = []
    for q, row, count, length in zip(query.split(list(counts)), rows, counts, lengths, strict=True):
        begin = 0 if window is None else max(0, length - count - window + 1)
        seen = _band(length - begin, window, query.device)[-count:]
        # the query heads of one key head stand one behind the other as its queries, and no key is repeated
        grouped = q.view(count, heads, -1, q.shape[-1]).permute(1, 2, 0, 3).flatten(1, 2)[None]
        k, v = (each[row : row + 1, :, begin:length] for each in (key, value))
        mask = seen.repeat(grouped.shape[2] // count, 1)
        found = scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=scale)[0]
        out.append(found.view(heads, -1, count, q.shape[-1]).permute(2, 0, 1, 3).flatten(1, 2))
    return torch.cat(out)


@cache
def choose(device: str, dtype: torch.dtype) -> str:
    """The first backend that can do it."""
    return next(name for name, (usable, _) in BACKENDS.items() if usable(device, dtype))


def packed(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """`varlen`, as transformers calls an attention function.

    Args:
        query: [1, H, T, D].
        key, value: [1, K, T, D].

    Returns:
        [1, T, H, D], and no weights.

    Raises:
        ValueError: no borders, several rows, a mask, or dropout, which none of the kernels has.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise ValueError(f"{PACKED} attention needs cu_seq_lens_q and max_length_q; without them take sdpa")
    if query.shape[0] != 1 or query.shape[2] != key.shape[2] or attention_mask is not None:
        raise ValueError(f"{PACKED} attention takes one row of whole sequences, without mask and cache")
    if dropout:
        raise ValueError(f"{PACKED} attention has no dropout; set the language model's attention_dropout to 0")
    query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
    out = varlen(query, key, value, cu_seq_lens_q, max_length_q, scale=scaling, window=sliding_window)
    return out[None], None


def _torch_varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Borders) -> torch.Tensor:
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
        key, value = _repeated(key, query), _repeated(value, query)
    out: Any = varlen_attn(query, key, value, at.segments, at.segments, at.longest, at.longest, **settings)
    return out


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _flash_attn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Borders) -> torch.Tensor:
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
def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Borders) -> torch.Tensor:
    """torch's scaled_dot_product_attention, a sequence at a time."""
    lengths = at.segments.diff().tolist()
    key, value = _repeated(key, query), _repeated(value, query)
    parts = zip(*(each.transpose(0, 1).split(lengths, dim=1) for each in (query, key, value)), strict=True)
    out = []
    for q, k, v in parts:
        banded = at.window is not None and q.shape[1] > at.window
        mask = _band(q.shape[1], at.window, q.device) if banded else None
        out.append(
            scaled_dot_product_attention(
                q[None], k[None], v[None], attn_mask=mask, is_causal=not banded, scale=at.scale
            )
        )
    return torch.cat(out, dim=2)[0].transpose(0, 1)


def _math(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Borders) -> torch.Tensor:
    """The definition, over all places at once: what the others are tested against."""
    number = torch.bucketize(torch.arange(query.shape[0], device=at.segments.device), at.segments[1:-1], right=True)
    mask = (number[:, None] == number[None]) & _band(query.shape[0], at.window, at.segments.device)
    key, value = _repeated(key, query), _repeated(value, query)
    scores = torch.einsum("qhd,khd->hqk", query, key) * at.scale
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _views(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Places) -> torch.Tensor:
    """A sequence at a time on just what it filled, so that no other has a part in its rounding. The query heads of one
    key head stand as its queries, and no key is repeated."""
    out = []
    for q, row, length in zip(query.split(1), at.rows, at.lengths, strict=True):
        begin = 0 if at.window is None else max(0, length - at.window)
        out.append(
            scaled_dot_product_attention(
                q, key[row : row + 1, :, begin:length], value[row : row + 1, :, begin:length], scale=at.scale
            )
        )
    return out[0] if len(out) == 1 else torch.cat(out)


def _masked(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: _Places) -> torch.Tensor:
    """All sequences at once, over the places of the longest."""
    longest = max(at.lengths)
    whole = list(at.rows) == list(range(key.shape[0]))
    key, value = ((each if whole else each[list(at.rows)])[:, :, :longest] for each in (key, value))
    place, length = (torch.arange(longest, device=query.device), torch.tensor(at.lengths, device=query.device)[:, None])
    seen = (place < length) & (place >= length - (longest if at.window is None else at.window))
    # what a mask hides still takes part as zero times it, and zero times NaN is NaN
    hidden = ~seen[:, None, :, None]
    key, value = key.masked_fill(hidden, 0), value.masked_fill(hidden, 0)
    return scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None], scale=at.scale)


def _band(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """bool [length, length]: who sees whom."""
    back = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (back >= 0) & (back < (length if window is None else window))


def _repeated(heads: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """[T, K, D] -> [T, H, D]: a key head for each of its query heads."""
    return (
        heads.repeat_interleave(query.shape[1] // heads.shape[1], dim=1) if heads.shape[1] != query.shape[1] else heads
    )


def _flash_dtype(device: str, dtype: torch.dtype) -> bool:
    return device == "cuda" and dtype in (torch.float16, torch.bfloat16)


BACKENDS: dict[str, tuple[Callable[[str, torch.dtype], bool], Kernel]] = {
    "torch_varlen": (
        lambda d, t: _flash_dtype(d, t) and find_spec("torch.nn.attention.varlen") is not None,
        _torch_varlen,
    ),
    "flash_attn": (lambda d, t: _flash_dtype(d, t) and find_spec("flash_attn") is not None, _flash_attn),
    "sdpa": (lambda d, t: True, _sdpa),
    "math": (lambda d, t: True, _math),
}
"""Name -> whether it can do a kind of number on a kind of device, and the kernel; in order of preference."""

DECODE_BACKENDS: dict[str, Kernel] = {"views": _views, "masked": _masked}

AttentionInterface.register(PACKED, packed)
