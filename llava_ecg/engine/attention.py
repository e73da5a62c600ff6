"""The one door to attention kernels (`llava_ecg.engine.kernels`), by roles: `varlen`, causal attention over sequences
that lie one behind the other, without padding; `decode`, one new place of each of several sequences against what is
kept of it in slots; `extend`, several new places of each; and `tower`, under which towers call torch's own attention.

The first backend that can do it is taken, and told to the log once (`chosen` has them all). After ``strictly()`` a role
that no flash kernel can do here is refused instead.

Axes: T places of all sequences, H query heads, K key heads (H is a multiple of K), D width of a head, n sequences,
B sequences that go on, N slots, P places of a slot.

transformers' decoders call `packed` through its table of attention functions, under the name `PACKED`. No mask is
registered with it: borders of sequences come as ``cu_seq_lens_q``, and a call without them is refused, so that nothing
leaks from one sequence into the next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface

from llava_ecg.engine.kernels import (
    DECODE,
    EXTEND,
    UNPLANNED,
    VARLEN,
    Backend,
    Borders,
    Newest,
    Numbers,
    Places,
)
from llava_ecg.errors import InputError

PACKED = "llava_ecg_packed"
HONOUR_SEGMENTS = (PACKED, "flash_attention_2", "flash_attention_3")
"""Attention functions of transformers that keep sequences apart by ``cu_seq_lens_q``; others pass over it."""

ROLES: dict[str, dict[str, Backend]] = {"varlen": VARLEN, "extend": EXTEND, "decode": DECODE}
FLASH = (SDPBackend.FLASH_ATTENTION,)

_log = logging.getLogger(__name__)
_chosen: dict[str, str] = {}
_strict = False


class NoFlash(InputError):
    """Strict mode, and no flash kernel for what is to be computed."""


def strictly(on: bool = True) -> None:
    """From now on raise `NoFlash` where no flash kernel can do what is asked, in place of taking a slower one; or no
    longer."""
    global _strict
    _strict = on


def chosen() -> dict[str, str]:
    """Role -> what it ran on in this process; several names with commas between them."""
    return dict(_chosen)


def choose(role: str, device: str, dtype: torch.dtype, *, banded: bool = False) -> str:
    """The first backend of a role that can do it.

    Args:
        role: one of `ROLES`.
        device: ``cpu`` or ``cuda``.
        dtype: of queries, keys and values.
        banded: whether a sliding window hides a part of what lies before a place.

    Raises:
        NoFlash: in strict mode, where it is no flash kernel.
    """
    kinds = ROLES[role].items()
    name = next(name for name, kind in kinds if kind.usable(device, dtype) and (not banded or kind.windows()))
    if _strict and not ROLES[role][name].flash:
        kernels = " and ".join(name for name, kind in kinds if kind.flash)
        sliding = "; torch's own has a sliding window from torch 2.12 on" if banded else ""
        raise NoFlash(
            f"no flash kernel for attention ({role}) in {str(dtype).removeprefix('torch.')} on {device}: {kernels} need"
            f" CUDA, float16 or bfloat16, and their package{sliding}; or leave strict mode off"
        )
    if not torch.compiler.is_compiling():
        _note(role, name)
    return name


def _note(role: str, name: str) -> None:
    """Tell the log a choice that is new."""
    told = _chosen.get(role, "").split(", ") if role in _chosen else []
    if name not in told:
        _chosen[role] = ", ".join([*told, name])
        _log.info("attention (%s) runs on %s", role, name)


def _kernel(role: str, query: torch.Tensor, asked: str | None, *, banded: bool = False) -> Backend:
    """The backend that was asked for, or the first that can do it.

    Raises:
        ValueError: one that is unknown, or can't do it here.
    """
    kinds, device = ROLES[role], query.device.type
    name = asked or choose(role, device, query.dtype, banded=banded)
    if name not in kinds:
        raise ValueError(f"unknown attention backend {name!r}; known are {', '.join(kinds)}")
    if asked and not kinds[name].usable(device, query.dtype):
        raise ValueError(f"the attention backend {name} can't do {query.dtype} on {device}")
    return kinds[name]


@contextmanager
def tower(device: torch.device) -> Iterator[None]:
    """Pin what torch's own attention runs on while a tower reads, on CUDA; in strict mode to its flash kernel alone."""
    if device.type != "cuda":
        yield
        return
    kinds = FLASH if _strict else UNPLANNED
    _note("tower", " or ".join(kind.name.lower() for kind in kinds))
    with sdpa_kernel(list(kinds)):
        yield


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
        backend: one of `kernels.VARLEN`; None for the first that can do it here.

    Returns:
        [T, H, D]

    Raises:
        ValueError: a backend that is unknown or can't do it here.
        NoFlash: see `strictly`.
    """
    at = Borders(segments, longest, segments, longest, _scale(scale, query), window)
    banded = window is not None and longest > window
    return _kernel("varlen", query, backend, banded=banded).kernel(query, key, value, at)


def decode(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rows: Numbers,
    lengths: Numbers,
    *,
    scale: float | None = None,
    window: int | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """The newest place of each sequence looks at all that its slot holds, itself included.

    Args:
        query: [B, H, D].
        key, value: [N, K, P, D]; what lies beyond a sequence's length may be anything, NaN too.
        rows: the slot of each of the B sequences; as int32 [B] on the device they are not waited for.
        lengths: how many places of its slot each has filled; the same.
        scale, window: as for `varlen`.
        backend: one of `kernels.DECODE`; None for the first that can do it here.

    Returns:
        [B, H, D]

    Raises:
        ValueError: a backend that is unknown or can't do it here.
        NoFlash: see `strictly`.
    """
    kernel = _kernel("decode", query, backend).kernel
    grouped = query.view(query.shape[0], key.shape[1], -1, query.shape[-1])
    return kernel(grouped, key, value, Places(rows, lengths, _scale(scale, query), window)).reshape(query.shape)


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
    backend: str | None = None,
) -> torch.Tensor:
    """The newest places of each sequence look at what its slot held before, at themselves and at what of them lies
    before.

    Args:
        query: [T, H, D], of the B sequences one behind the other.
        key, value: [N, K, P, D], the newest places' included; what lies beyond a sequence's length may be anything.
        rows: the slot of each of the B sequences.
        counts: how many newest places each has, at least one; their sum is T.
        lengths: how many places of its slot each has filled, the newest included.
        scale, window: as for `varlen`.
        backend: one of `kernels.EXTEND`; None for the first that can do it here.

    Returns:
        [T, H, D]

    Raises:
        ValueError: a backend that is unknown or can't do it here.
        NoFlash: see `strictly`.
    """
    at = Newest(rows, counts, lengths, _scale(scale, query), window)
    banded = window is not None and max(lengths) > window
    return _kernel("extend", query, backend, banded=banded).kernel(query, key, value, at)


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


AttentionInterface.register(PACKED, packed)
