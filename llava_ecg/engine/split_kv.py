"""Attention of one new place of each of several sequences, their keys and values split over many programs (split-KV,
or flash decoding), in Triton: what lies in a slot is read once, straight from where it lies, and lengths stay on the
device.

A program reads one stretch of one key head of one sequence and keeps the sums of its softmax; a second kernel brings
the stretches of each together. How many stretches there are follows from shapes alone, so that a captured graph can be
used for every length.

After Dao et al., "Flash-Decoding for long-context inference", 2023. Without CUDA it runs in Triton's interpreter
(TRITON_INTERPRET=1), which the tests use where Triton is installed.

Axes: B sequences, H query heads, K key heads, G = H / K, D width of a head, N slots, P places of a slot, S stretches.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 64
"""Places that a program reads at once."""

MOST = 32
"""Stretches of a sequence, at most."""

WAVES = 2
"""Programs for each of the device's processors."""


@triton.jit
def split_kv_attention(  # type: ignore[no-untyped-def]  # Triton reads these arguments, not Python
    query, key, value, rows, lengths, sums, tops, totals,
    key_slot, key_head, key_place, value_slot, value_head, value_place,
    scale, window,
    heads: tl.constexpr, group: tl.constexpr, group_block: tl.constexpr, width: tl.constexpr, width_block: tl.constexpr,
    stretches: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """One stretch of one key head of one sequence: sums [G, D] of weighted values, and of weights, under their top."""
    sequence, head, stretch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = tl.load(rows + sequence).to(tl.int64)
    length = tl.load(lengths + sequence)
    first = tl.maximum(0, length - window)
    step = tl.cdiv(tl.cdiv(length - first, stretches), block) * block
    begin = first + stretch * step
    end = tl.minimum(begin + step, length)

    at_query = tl.arange(0, group_block)
    at_width = tl.arange(0, width_block)
    inside = (at_query[:, None] < group) & (at_width[None, :] < width)
    own = (sequence * heads + head) * group
    queries = tl.load(query + (own + at_query[:, None]) * width + at_width[None, :], mask=inside, other=0.0)

    top = tl.full([group_block], float("-inf"), tl.float32)
    total = tl.zeros([group_block], tl.float32)
    found = tl.zeros([group_block, width_block], tl.float32)
    keys = key + row * key_slot + head * key_head
    values = value + row * value_slot + head * value_head
    for place in range(begin, end, block):
        at = place + tl.arange(0, block)
        there = (at[:, None] < end) & (at_width[None, :] < width)
        k = tl.load(keys + at[:, None].to(tl.int64) * key_place + at_width[None, :], mask=there, other=0.0)
        v = tl.load(values + at[:, None].to(tl.int64) * value_place + at_width[None, :], mask=there, other=0.0)
        if group_block == 1:  # a product of a matrix and a vector; the tensor cores need 16 rows
            scores = tl.sum(queries.to(tl.float32) * k.to(tl.float32), axis=1)[None, :] * scale
        else:
            scores = tl.dot(queries, tl.trans(k), input_precision="ieee") * scale
        scores = tl.where(at[None, :] < end, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        shrunk = tl.exp(top - higher)
        weights = tl.exp(scores - higher[:, None])
        total = total * shrunk + tl.sum(weights, axis=1)
        if group_block == 1:
            seen = tl.sum(tl.trans(weights) * v.to(tl.float32), axis=0)[None, :]
        else:
            seen = tl.dot(weights.to(v.dtype), v, input_precision="ieee").to(tl.float32)
        found = found * shrunk[:, None] + seen
        top = higher

    to = (own + at_query) * stretches + stretch
    tl.store(sums + to[:, None] * width + at_width[None, :], found, mask=inside)
    tl.store(tops + to, top, mask=at_query < group)
    tl.store(totals + to, total, mask=at_query < group)


@triton.jit
def split_kv_combine(  # type: ignore[no-untyped-def]
    sums, tops, totals, out,
    width: tl.constexpr, width_block: tl.constexpr, stretches: tl.constexpr, stretches_block: tl.constexpr,
):  # fmt: skip
    """The stretches of one query head of one sequence brought together: [D]; zero where there was no place."""
    own = tl.program_id(0)
    at = tl.arange(0, stretches_block)
    at_width = tl.arange(0, width_block)
    top = tl.load(tops + own * stretches + at, mask=at < stretches, other=float("-inf"))
    total = tl.load(totals + own * stretches + at, mask=at < stretches, other=0.0)
    highest = tl.max(top, axis=0)
    share = tl.where(top == float("-inf"), 0.0, tl.exp(top - highest))
    inside = (at[:, None] < stretches) & (at_width[None, :] < width)
    parts = tl.load(sums + (own * stretches + at[:, None]) * width + at_width[None, :], mask=inside, other=0.0)
    whole = tl.sum(total * share, axis=0)
    found = tl.sum(parts * share[:, None], axis=0) / tl.where(whole == 0.0, 1.0, whole)
    tl.store(out + own * width + at_width, found.to(out.dtype.element_ty), mask=at_width < width)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """The newest place of each sequence looks at what its slot holds.

    Args:
        query: [B, K, G, D].
        key, value: [N, K, P, D], the last axis without gaps; beyond a sequence's length may be anything, NaN too.
        rows, lengths: int32 [B] on the device: the slot of each, and how many of its places are filled.
        scale: of the scores.
        window: how many places back are seen, the newest counted; None for all.

    Returns:
        [B, K, G, D]
    """
    count, heads, group, width = query.shape
    stretches = stretches_of(count * heads, key.shape[2], processors(query.device))
    query = query.contiguous()
    out = torch.empty_like(query)
    parts = query.new_empty(count * heads * group * stretches * (width + 2), dtype=torch.float32)
    sums, tops, totals = parts.split([each * count * heads * group * stretches for each in (width, 1, 1)])
    width_block = triton.next_power_of_2(width)
    split_kv_attention[(count, heads, stretches)](
        *(query, key, value, rows, lengths, sums, tops, totals),
        *(*key.stride()[:3], *value.stride()[:3]),
        *(scale, key.shape[2] if window is None else window),
        heads=heads,
        group=group,
        group_block=1 if group == 1 else max(16, triton.next_power_of_2(group)),
        width=width,
        width_block=width_block,
        stretches=stretches,
        block=BLOCK,
    )
    split_kv_combine[(count * heads * group,)](
        *(sums, tops, totals, out),
        width=width,
        width_block=width_block,
        stretches=stretches,
        stretches_block=triton.next_power_of_2(stretches),
    )
    return out


def stretches_of(heads: int, places: int, processors: int) -> int:
    """Into how many stretches a slot is split, so that every processor has work and no stretch is under a block.

    Args:
        heads: key heads of all sequences.
        places: of a slot.
        processors: of the device.
    """
    return max(1, min(-(-WAVES * processors // heads), -(-places // BLOCK), MOST))


def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a GPU; a few for Triton's interpreter."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 4
