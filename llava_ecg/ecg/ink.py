"""Curves drawn with a round pen, edges smoothed, in numpy alone.

Axes: H, W pixels of the page; n upright spans of ink.
"""

from __future__ import annotations

import math

import numpy as np

INK = (22, 24, 38)
PEN_MM = 0.27
SUB = 4  # the pen is followed in this many steps a pixel


def draw_ink(pixels: np.ndarray, curves: list[tuple[np.ndarray, np.ndarray]], px_per_mm: float) -> None:
    """Draw curves on the page [H, W, 3 or more] with a round pen, edges smoothed; what falls outside the page is cut
    off.

    Only the pixels that ink touches are looked at, some 3 % of a page.
    """
    height, width = pixels.shape[:2]
    radius = max(0.5 * PEN_MM * px_per_mm, 0.55)
    parts = [coverage(*spans(x, y, radius), height, width) for x, y in curves]
    key, amount = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    order = np.argsort(key, kind="stable")  # each part is in order already, so this only merges them
    key, amount = key[order], amount[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    share = np.add.reduceat(amount, first) / SUB if len(first) else amount
    seen = share > 0.004
    column, row = np.divmod(key[first[seen]], height)
    share = np.minimum(share[seen], 1.0)[:, None]
    pixels[row, column, :3] = np.rint(pixels[row, column, :3] * (1 - share) + np.array(INK) * share).astype(np.uint8)


def coverage(
    column: np.ndarray, low: np.ndarray, high: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that one curve touches, column by column, and how many of the `SUB` spans of a column cover each.

    Args:
        column, low, high: [n] upright spans, `SUB` to a column or fewer at the ends; see `_spans`.

    Returns:
        key: int64 [m], column * height + row, rising.
        amount: float [m], 0 to `SUB`.
    """
    low, high = np.clip(low, 0, height), np.clip(high, 0, height)
    first = int(column[0])
    count = int(column[-1]) - first + 1
    lows, highs = np.full((count, SUB), float(height)), np.zeros((count, SUB))
    start = SUB - int((column == first).sum())  # the first column may hold fewer
    lows.reshape(-1)[start : start + len(low)], highs.reshape(-1)[start : start + len(high)] = low, high
    there = (highs > lows).any(axis=1)
    columns = first + np.flatnonzero(there)
    inside = (columns >= 0) & (columns < width)
    columns, lows, highs = columns[inside], lows[there][inside], highs[there][inside]
    empty = highs <= lows
    lows[empty], highs[empty] = height, 0.0
    top = np.floor(lows.min(axis=1)).astype(np.int64)
    rows = np.ceil(highs.max(axis=1)).astype(np.int64) - top
    which = np.repeat(np.arange(len(columns)), rows)
    row = np.arange(len(which)) - np.repeat(np.cumsum(rows) - rows - top, rows)
    amount = np.zeros(len(which))
    for k in range(SUB):
        amount += np.clip(np.minimum(highs[which, k], row + 1) - np.maximum(lows[which, k], row), 0, None)
    return columns[which] * height + row, amount


def spans(x: np.ndarray, y: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a round pen of `radius` pixels covers along a curve: upright spans, `SUB` of them a pixel.

    Returns:
        column: int64 [n], the pixel column of each span.
        low, high: float [n], its ends in pixels; empty spans have low > high.
    """
    fine = x * SUB
    first, stop = math.floor(fine[0]), math.floor(fine[-1]) + 1
    edges = np.interp(np.arange(first, stop + 1), fine, y)
    low, high = np.fmin(edges[:-1], edges[1:]), np.fmax(edges[:-1], edges[1:])
    slot = np.clip(np.floor(fine).astype(np.int64) - first, 0, len(low) - 1)
    np.fmin.at(low, slot, y)
    np.fmax.at(high, slot, y)
    low, high = np.where(np.isnan(low), np.inf, low), np.where(np.isnan(high), -np.inf, high)
    reach = math.floor(radius * SUB)
    wide_low, wide_high = np.full(len(low) + 2 * reach, np.inf), np.full(len(low) + 2 * reach, -np.inf)
    for k in range(-reach, reach + 1):
        half = math.sqrt(radius**2 - (k / SUB) ** 2)
        part = slice(reach + k, reach + k + len(low))
        np.minimum(wide_low[part], low - half, out=wide_low[part])
        np.maximum(wide_high[part], high + half, out=wide_high[part])
    return np.arange(first - reach, first - reach + len(wide_low)) // SUB, wide_low, wide_high
