"""Every attention backend that runs here gives what the definition gives, and keeps sequences apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llava_ecg.engine import attention
from llava_ecg.engine.attention import PACKED, NoFlash, choose, chosen, strictly, tower
from llava_ecg.engine.kernels import VARLEN

varlen: Any = attention.varlen
packed: Any = attention.packed
decode: Any = attention.decode

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


def test_backends_are_named_and_refused() -> None:
    query, key, value = case()
    assert choose("varlen", "cpu", torch.float32) == "sdpa"
    with pytest.raises(ValueError, match="unknown attention backend 'fast'"):
        varlen(query, key, value, SEGMENTS, 17, backend="fast")
    with pytest.raises(ValueError, match="torch_varlen can't do"):
        varlen(query, key, value, SEGMENTS, 17, backend="torch_varlen")
    with pytest.raises(ValueError, match="unknown attention backend 'fast'"):
        decode(query[:1], key[None], value[None], [0], [1], backend="fast")


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
    # what was asked for by name is no fallback
    assert varlen(query, key, value, SEGMENTS, 17, backend="sdpa").shape == query.shape


def test_the_choice_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_chosen", {})
    query, key, value = case(dtype=torch.float32)
    with caplog.at_level("INFO", logger="llava_ecg.engine.attention"):
        for _ in range(2):
            varlen(query, key, value, SEGMENTS, 17)
            decode(query[:1], key[:1].transpose(0, 1)[None], value[:1].transpose(0, 1)[None], [0], [1])
    assert [record.getMessage() for record in caplog.records] == [
        "attention (varlen) runs on sdpa",
        "attention (decode) runs on views",
    ]
    assert chosen() == {"varlen": "sdpa", "decode": "views"}


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
