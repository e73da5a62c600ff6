"""Every attention backend that runs here gives what the definition gives, and keeps sequences apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from llava_ecg.engine import attention, kernels
from llava_ecg.engine.attention import PACKED, NoFlash, choose, chosen, strictly, tower
from llava_ecg.engine.kernels import VARLEN

varlen: Any = attention.varlen
packed: Any = attention.packed
decode: Any = attention.decode
extend: Any = attention.extend

LENGTHS = (5, 1, 17, 9)
HERE = [name for name, backend in VARLEN.items() if backend.usable("cpu", torch.float32)]


def case(heads: int = 4, key_heads: int = 2, width: int = 8, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    total = sum(LENGTHS)
    return [torch.randn(total, each, width, dtype=dtype) for each in (heads, key_heads, key_heads)]


SEGMENTS = torch.tensor([0, *LENGTHS]).cumsum(0).int()


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("backend", HERE)
def test_each_sequence_for_itself(backend: str, window: int | None) -> None:
    query, key, value = case()
    out = varlen(query, key, value, SEGMENTS, max(LENGTHS), backend=backend, window=window, scale=0.3)
    for begin, end in zip(SEGMENTS[:-1].tolist(), SEGMENTS[1:].tolist(), strict=True):
        for at in range(begin, end):
            first = begin if window is None else max(begin, at - window + 1)
            for head in range(4):
                scores = key[first : at + 1, head // 2] @ query[at, head] * 0.3
                torch.testing.assert_close(out[at, head], scores.softmax(0) @ value[first : at + 1, head // 2])


@pytest.mark.parametrize("backend", HERE)
def test_gradients(backend: str) -> None:
    found = []
    for name in (backend, "math"):
        given = [each.requires_grad_() for each in case()]
        varlen(*given, SEGMENTS, max(LENGTHS), backend=name).square().sum().backward()
        found.append([each.grad for each in given])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_another_sequence_changes_nothing() -> None:
    query, key, value = case(dtype=torch.float32)
    before = varlen(query, key, value, SEGMENTS, max(LENGTHS))
    for each in (query, key, value):
        each[6:23] = float("nan")  # the third
    after = varlen(query, key, value, SEGMENTS, max(LENGTHS))
    kept = torch.ones(len(query), dtype=torch.bool)
    kept[6:23] = False
    assert torch.equal(before[kept], after[kept])
    assert after[~kept].isnan().all()


def test_the_face_that_transformers_sees() -> None:
    query, key, value = case()
    rows = [each.transpose(0, 1)[None] for each in (query, key, value)]
    module = torch.nn.Identity()
    out, weights = packed(module, *rows, None, cu_seq_lens_q=SEGMENTS, max_length_q=17, scaling=0.3)
    torch.testing.assert_close(out[0], varlen(query, key, value, SEGMENTS, 17, scale=0.3))
    assert weights is None
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        packed(module, *rows, None)
    with pytest.raises(ValueError, match="without mask"):
        packed(module, *rows, torch.ones(1), cu_seq_lens_q=SEGMENTS, max_length_q=17)
    with pytest.raises(ValueError, match="dropout"):
        packed(module, *rows, None, cu_seq_lens_q=SEGMENTS, max_length_q=17, dropout=0.1)
    from transformers import AttentionInterface

    assert AttentionInterface()[PACKED] is packed


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1]])
@pytest.mark.parametrize("backend", ["views", "masked"])
def test_one_place_more_of_each_slot(backend: str, rows: list[int], window: int | None) -> None:
    """Beyond what a slot has filled lies NaN."""
    torch.manual_seed(0)
    query = torch.randn(len(rows), 6, 8, dtype=torch.float64)
    key, value = torch.full((2, 3, 2, 20, 8), float("nan"), dtype=torch.float64)
    lengths = [(7, 20, 1)[row] for row in rows]
    for row, length in zip(rows, lengths, strict=True):
        key[row, :, :length], value[row, :, :length] = torch.randn(2, 2, length, 8, dtype=torch.float64)
    out = decode(query, key, value, rows, lengths, scale=0.3, window=window, backend=backend)
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        first = 0 if window is None else max(0, length - window)
        for head in range(6):
            scores = key[row, head // 3, first:length] @ query[number, head] * 0.3
            torch.testing.assert_close(out[number, head], scores.softmax(0) @ value[row, head // 3, first:length])


def going_on(dtype: torch.dtype = torch.float64, width: int = 8) -> Any:
    """Query, keys and values of three sequences in four slots, NaN beyond their lengths; rows, counts and lengths."""
    torch.manual_seed(0)
    rows, counts, lengths = [2, 0, 3], [4, 6, 1], [11, 6, 9]
    query = torch.randn(sum(counts), 4, width, dtype=dtype)
    key, value = torch.full((2, 4, 2, 20, width), float("nan"), dtype=dtype)
    for row, length in zip(rows, lengths, strict=True):
        key[row, :, :length], value[row, :, :length] = torch.randn(2, 2, length, width, dtype=dtype)
    return query, key, value, rows, counts, lengths


def by_hand(window: int | None, scale: float) -> torch.Tensor:
    """What `going_on` should give, a place and a head at a time."""
    query, key, value, rows, counts, lengths = going_on()
    out, number = torch.empty_like(query), 0
    for row, count, length in zip(rows, counts, lengths, strict=True):
        for end in range(length - count + 1, length + 1):
            first = 0 if window is None else max(0, end - window)
            for head in range(4):
                scores = key[row, head // 2, first:end] @ query[number, head] * scale
                out[number, head] = scores.softmax(0) @ value[row, head // 2, first:end]
            number += 1
    return out


@pytest.mark.parametrize("window", [None, 1, 5, 50])
@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_several_places_more_of_each_slot(backend: str, window: int | None) -> None:
    found = extend(*going_on(), scale=0.3, window=window, backend=backend)
    torch.testing.assert_close(found, by_hand(window, 0.3))


def flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: torch.Tensor,
    key_ends: torch.Tensor,
    longest: int,
    key_longest: int,
    window: tuple[int, int],
    scale: float,
) -> torch.Tensor:
    """What flash-attn documents of its varlen function: query i of a sequence sees the keys from i + keys - queries -
    window[0] to i + keys - queries + window[1], and -1 is no limit."""
    assert ends.dtype == key_ends.dtype == torch.int32
    assert longest == ends.diff().max() and key_longest == key_ends.diff().max()
    out = []
    parts = zip(
        query.split(ends.diff().tolist()), *(x.split(key_ends.diff().tolist()) for x in (key, value)), strict=True
    )
    for q, k, v in parts:
        k, v = (each.repeat_interleave(query.shape[1] // each.shape[1], dim=1) for each in (k, v))
        back = torch.arange(len(q))[:, None] + len(k) - len(q) - torch.arange(len(k))[None]
        hidden = (back < -window[1]) | ((back > window[0]) & (window[0] >= 0))
        scores = (torch.einsum("qhd,khd->hqk", q, k) * scale).masked_fill(hidden, -torch.inf)
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    return torch.cat(out)


@pytest.fixture
def flash_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flash kernels that can do anything here, in place of those of torch and of the flash-attn package."""

    def of_torch(*given: Any, scale: float, window_size: tuple[int, int], enable_gqa: bool) -> torch.Tensor:
        assert enable_gqa == (given[0].shape[1] != given[1].shape[1])
        return flash(*given, window=window_size, scale=scale)

    def of_package(*given: Any, softmax_scale: float, causal: bool, window_size: tuple[int, int]) -> torch.Tensor:
        return flash(*given, window=(window_size[0], 0 if causal else window_size[1]), scale=softmax_scale)

    package: Any = ModuleType("flash_attn")
    package.flash_attn_varlen_func = of_package
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", of_torch)
    kernels._parameters.cache_clear()
    for role in (kernels.VARLEN, kernels.EXTEND):
        for name in ("torch_varlen", "flash_attn"):
            monkeypatch.setitem(role, name, role[name]._replace(usable=lambda device, dtype: True))
    yield
    kernels._parameters.cache_clear()


@pytest.mark.usefixtures("flash_kernels")
@pytest.mark.parametrize("window", [None, 1, 5, 50])
@pytest.mark.parametrize("backend", ["torch_varlen", "flash_attn"])
def test_what_flash_kernels_are_told(backend: str, window: int | None) -> None:
    """Borders of queries and of keys, windows and heads, in the words of those libraries."""
    found = extend(*going_on(), scale=0.3, window=window, backend=backend)
    torch.testing.assert_close(found, by_hand(window, 0.3))
    found, wanted = (
        varlen(*case(), SEGMENTS, 17, scale=0.3, window=window, backend=name) for name in (backend, "math")
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("flash_kernels", "strict")
def test_a_torch_without_windows_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of 2.11, where a window hides something."""
    for role in (kernels.VARLEN, kernels.EXTEND):
        monkeypatch.setitem(role, "torch_varlen", role["torch_varlen"]._replace(windows=lambda: False))
    monkeypatch.setattr(attention, "_chosen", {})
    for window in (50, 5):
        torch.testing.assert_close(extend(*going_on(), scale=0.3, window=window), by_hand(window, 0.3))
        varlen(*case(), SEGMENTS, 17, window=window)
    assert chosen() == dict.fromkeys(("extend", "varlen"), "torch_varlen, flash_attn")
    for role in (kernels.VARLEN, kernels.EXTEND):
        monkeypatch.setitem(role, "flash_attn", role["flash_attn"]._replace(usable=lambda device, dtype: False))
    for name in ("varlen", "extend"):
        assert choose(name, "cuda", torch.bfloat16) == "torch_varlen"
        with pytest.raises(NoFlash, match=r"torch's own has a sliding window from torch 2\.12 on"):
            choose(name, "cuda", torch.bfloat16, banded=True)


@pytest.mark.parametrize("window", [None, 4])
def test_cudnn_is_not_asked(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def attend(*given: Any, **more: Any) -> torch.Tensor:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        return torch.nn.functional.scaled_dot_product_attention(*given, **more)

    monkeypatch.setattr(kernels, "scaled_dot_product_attention", attend)
    varlen(*case(), SEGMENTS, 17, window=window, backend="sdpa")
    extend(*going_on(), window=window, backend="sdpa")
    assert seen == [False] * 7, "four sequences, then three"


def test_backends_are_named_and_refused() -> None:
    query, key, value = case()
    assert choose("varlen", "cpu", torch.float32) == "sdpa"
    with pytest.raises(ValueError, match="unknown attention backend 'fast'"):
        varlen(query, key, value, SEGMENTS, 17, backend="fast")
    with pytest.raises(ValueError, match="torch_varlen can't do"):
        varlen(query, key, value, SEGMENTS, 17, backend="torch_varlen")
    with pytest.raises(ValueError, match="unknown attention backend 'fast'"):
        decode(query[:1], key[None], value[None], [0], [1], backend="fast")
    with pytest.raises(ValueError, match="flash_attn can't do"):
        extend(*going_on(), backend="flash_attn")


@pytest.fixture
def strict() -> Iterator[None]:
    """Strict mode, for a test."""
    strictly()
    yield
    strictly(False)


@pytest.mark.usefixtures("strict")
def test_strict_mode_takes_no_slower_kernel() -> None:
    query, key, value = case(dtype=torch.float32)
    with pytest.raises(NoFlash, match=r"no flash kernel for attention \(varlen\) in float32 on cpu: torch_varlen and"):
        varlen(query, key, value, SEGMENTS, 17)
    with pytest.raises(NoFlash, match=r"\(decode\) in float32 on cpu: split_kv need CUDA"):
        decode(query[:1], key[:1].transpose(0, 1)[None], value[:1].transpose(0, 1)[None], [0], [1])
    with pytest.raises(NoFlash, match=r"\(extend\) in float32 on cpu: torch_varlen and flash_attn need CUDA"):
        extend(*going_on(torch.float32))
    # what was asked for by name is no fallback
    assert varlen(query, key, value, SEGMENTS, 17, backend="sdpa").shape == query.shape
    assert extend(*going_on(), backend="sdpa").shape == (11, 4, 8)


def test_the_choice_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_chosen", {})
    query, key, value = case(dtype=torch.float32)
    with caplog.at_level("INFO", logger="llava_ecg.engine.attention"):
        for _ in range(2):
            varlen(query, key, value, SEGMENTS, 17)
            decode(query[:1], key[:1].transpose(0, 1)[None], value[:1].transpose(0, 1)[None], [0], [1])
            extend(*going_on())
    assert [record.getMessage() for record in caplog.records] == [
        "attention (varlen) runs on sdpa",
        "attention (decode) runs on views",
        "attention (extend) runs on sdpa",
    ]
    assert chosen() == {"varlen": "sdpa", "decode": "views", "extend": "sdpa"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.usefixtures("strict")
def test_towers_are_pinned_on_cuda() -> None:
    layer = torch.nn.MultiheadAttention(64, 4, batch_first=True).to("cuda", torch.bfloat16)
    values = torch.randn(1, 50, 64, device="cuda", dtype=torch.bfloat16)
    with torch.profiler.profile() as seen, tower(values.device):
        layer(values, values, values, need_weights=False)
    assert any("flash_fwd" in event.key for event in seen.key_averages())
    assert chosen()["tower"] == "flash_attention"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("backend", ["torch_varlen", "flash_attn"])
def test_on_cuda(backend: str) -> None:
    if not VARLEN[backend].usable("cuda", torch.bfloat16):
        pytest.skip(f"{backend} is not installed")
    wanted = varlen(*case(width=64), SEGMENTS, 17, backend="math")
    given = [each.to("cuda", torch.bfloat16) for each in case(width=64)]
    out = varlen(*given, SEGMENTS.cuda(), 17, backend=backend)
    torch.testing.assert_close(out.cpu().double(), wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("backend", ["torch_varlen", "flash_attn", "sdpa"])
def test_several_places_more_on_cuda(backend: str, window: int | None) -> None:
    if not kernels.EXTEND[backend].usable("cuda", torch.bfloat16):
        pytest.skip(f"{backend} is not installed")
    wanted = extend(*going_on(width=64), window=window, backend="math")
    query, key, value, *more = going_on(width=64)
    given = [each.to("cuda", torch.bfloat16) for each in (query, key, value)]
    out = extend(*given, *more, window=window, backend=backend)
    torch.testing.assert_close(out.cpu().double(), wanted, atol=2e-2, rtol=2e-2)
