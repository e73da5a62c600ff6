"""What attention runs on, behind the door `llava_ecg.engine.attention`: torch's flash kernels, the flash-attn package,
Triton's, and the plain ones that they are tested against.

Axes: T places of all sequences, H query heads, K key heads (H is a multiple of K), G = H / K, D width of a head,
B sequences that go on, N slots, P places of a slot.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

UNPLANNED = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""What torch's own attention may run on. Left to itself it asks cuDNN first on CUDA, which plans half a second for each
shape that is new."""

Numbers = Sequence[int] | torch.Tensor
"""A number of each sequence: known to Python, or int32 on the device."""


class Backend(NamedTuple):
    """A way to compute one role of attention.

    Attributes:
        usable: whether it can do a kind of number on a kind of device, here.
        kernel: what computes it.
        flash: whether it is what strict mode asks for.
        windows: whether it can hide what lies further back than a window, here.
    """

    usable: Callable[[str, torch.dtype], bool]
    kernel: Callable[..., torch.Tensor]
    flash: bool = False
    windows: Callable[[], bool] = lambda: True


class Borders(NamedTuple):
    """Where sequences that lie one behind the other begin, and how they are looked at; see `attention.varlen`.

    A sequence may have more keys than queries: its last query then stands at its last key, and the others before it.
    That is how flash-attn and torch's varlen attention lay out a causal mask too (at the bottom right).
    """

    segments: torch.Tensor
    longest: int
    key_segments: torch.Tensor
    key_longest: int
    scale: float
    window: int | None


class Places(NamedTuple):
    """What sequences hold of which slots, and how they are looked at; see `attention.decode`."""

    rows: Numbers
    lengths: Numbers
    scale: float
    window: int | None


class Newest(NamedTuple):
    """What is new of sequences that lie in slots, and how it looks at them; see `attention.extend`."""

    rows: Sequence[int]
    counts: Sequence[int]
    lengths: Sequence[int]
    scale: float
    window: int | None

    @property
    def begins(self) -> list[int]:
        """The first place of each sequence that any of its new places sees."""
        pairs = zip(self.lengths, self.counts, strict=True)
        return [0 if self.window is None else max(0, length - count - self.window + 1) for length, count in pairs]


def _torch_varlen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """torch's own FlashAttention-2."""
    from torch.nn.attention.varlen import varlen_attn

    known = _parameters()
    settings: dict[str, Any] = {}
    if "window_size" in known:
        settings["window_size"] = (-1 if at.window is None else at.window - 1, 0)
    elif at.window is not None and at.key_longest > at.window:
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
    ends = (at.segments, at.key_segments, at.longest, at.key_longest)
    out: Any = varlen_attn(query, key, value, *ends, **settings)
    return out


def _torch_windows() -> bool:
    return "window_size" in _parameters()


@cache
def _parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _flash_attn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """The flash-attn package."""
    from flash_attn import flash_attn_varlen_func

    reach = (-1, -1) if at.window is None else (at.window - 1, 0)
    out: Any = flash_attn_varlen_func(
        *(query, key, value, at.segments, at.key_segments, at.longest, at.key_longest),
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
        with sdpa_kernel(list(UNPLANNED)):
            out.append(
                scaled_dot_product_attention(
                    q[None], k[None], v[None], attn_mask=mask, is_causal=not banded, scale=at.scale
                )
            )
    return torch.cat(out, dim=2)[0].transpose(0, 1)


def _math(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Borders) -> torch.Tensor:
    """The definition, over all places at once: what the others are tested against."""
    number, left = _placed(at.segments, query.shape[0])
    key_number, key_left = _placed(at.key_segments, key.shape[0])
    back = key_left[None] - left[:, None]
    mask = (number[:, None] == key_number[None]) & (back >= 0)
    if at.window is not None:
        mask &= back < at.window
    key, value = repeated(key, query), repeated(value, query)
    scores = torch.einsum("qhd,khd->hqk", query, key) * at.scale
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def _placed(segments: torch.Tensor, places: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each place the number of its sequence, and how many places that one has from it on."""
    place = torch.arange(places, device=segments.device)
    number = torch.bucketize(place, segments[1:-1], right=True)
    return number, segments[number + 1] - place


def _laid(kernel: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A kernel of `VARLEN` for new places of sequences in slots: what they see is laid one behind the other for it."""

    def run(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Newest) -> torch.Tensor:
        seen = list(zip(at.rows, at.begins, at.lengths, strict=True))
        key, value = (
            torch.cat([held[row, :, begin:length].transpose(0, 1) for row, begin, length in seen])
            for held in (key, value)
        )
        sizes = tuple(length - begin for _, begin, length in seen)
        ends = (_ends(tuple(at.counts), query.device), max(at.counts), _ends(sizes, query.device), max(sizes))
        return kernel(query, key, value, Borders(*ends, at.scale, at.window))

    return run


@lru_cache(maxsize=4)
def _ends(sizes: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """int32 [n + 1]: 0, and where each of so large parts ends. Every layer of a pass asks for the same."""
    return torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device)


def _slotted(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, at: Newest) -> torch.Tensor:
    """torch's scaled_dot_product_attention, a sequence at a time on what its slot holds."""
    heads, out = key.shape[1], []
    parts = zip(query.split(list(at.counts)), at.rows, at.begins, at.lengths, strict=True)
    for q, row, begin, length in parts:
        count = q.shape[0]
        seen = band(length - begin, at.window, query.device)[-count:]
        # the query heads of one key head stand one behind the other as its queries, and no key is repeated
        grouped = q.view(count, heads, -1, q.shape[-1]).permute(1, 2, 0, 3).flatten(1, 2)[None]
        k, v = (each[row : row + 1, :, begin:length] for each in (key, value))
        mask = seen.repeat(grouped.shape[2] // count, 1)
        with sdpa_kernel(list(UNPLANNED)):
            found = scaled_dot_product_attention(grouped, k, v, attn_mask=mask, scale=at.scale)[0]
        out.append(found.view(heads, -1, count, q.shape[-1]).permute(2, 0, 1, 3).flatten(1, 2))
    return torch.cat(out)


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
        windows=_torch_windows,
    ),
    "flash_attn": Backend(
        lambda d, t: _flash_dtype(d, t) and find_spec("flash_attn") is not None, _flash_attn, flash=True
    ),
    "sdpa": Backend(lambda d, t: True, _sdpa),
    "math": Backend(lambda d, t: True, _math),
}
"""In order of preference."""

EXTEND: dict[str, Backend] = {name: backend._replace(kernel=_laid(backend.kernel)) for name, backend in VARLEN.items()}
"""In order of preference."""
EXTEND["sdpa"] = Backend(lambda d, t: True, _slotted)

DECODE: dict[str, Backend] = {
    "split_kv": Backend(lambda d, t: _flash_dtype(d, t) and find_spec("triton") is not None, _split_kv, flash=True),
    "views": Backend(lambda d, t: d == "cpu", _views),
    "masked": Backend(lambda d, t: True, _masked),
}
"""In order of preference. ``views`` needs to know lengths before it begins, so it can't stand in a captured graph."""
