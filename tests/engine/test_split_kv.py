"""Split-KV attention gives what the definition gives: on CUDA, or in Triton's interpreter."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

CUDA = torch.cuda.is_available()
pytest.importorskip("triton", reason="Triton is not installed; torch for CUDA brings it")
if not CUDA and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("without CUDA it needs TRITON_INTERPRET=1 in the environment", allow_module_level=True)

from llava_ecg.engine.attention import decode  # noqa: E402
from llava_ecg.engine.kernels import DECODE, Places  # noqa: E402
from llava_ecg.engine.split_kv import attend, stretches_of  # noqa: E402

DEVICE = "cuda" if CUDA else "cpu"
LENGTHS = (7, 300, 1, 200)


def slots(heads: int, width: int) -> Any:
    """Keys and values [4, heads, 300, width]; beyond a slot's length lies NaN."""
    torch.manual_seed(0)
    key, value = torch.full((2, len(LENGTHS), heads, 300, width), float("nan"))
    for row, length in enumerate(LENGTHS):
        key[row, :, :length], value[row, :, :length] = torch.randn(2, heads, length, width)
    return key, value


@pytest.mark.parametrize("window", [None, 1, 130])
@pytest.mark.parametrize(("heads", "group", "width"), [(2, 3, 8), (2, 1, 12), (4, 1, 64), (1, 7, 96)])
def test_several_sequences_of_unlike_lengths(heads: int, group: int, width: int, window: int | None) -> None:
    key, value = slots(heads, width)
    rows, lengths = torch.tensor([[3, 1, 2], [200, 300, 1]], dtype=torch.int32)
    query = torch.randn(3, heads, group, width)
    wanted = (
        DECODE["views"].kernel(query.double(), key.double(), value.double(), Places(rows, lengths, 0.3, window)).float()
    )
    given = [each.to(DEVICE) for each in (query, key, value, rows, lengths)]
    out = attend(*given, 0.3, window)
    torch.testing.assert_close(out.cpu(), wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_16_bits_and_of_a_view(dtype: torch.dtype) -> None:
    """Keys as they lie in slots: of one layer among several."""
    if dtype == torch.bfloat16 and not CUDA:
        pytest.skip("Triton's interpreter knows no bfloat16")
    key, value = (each.to(dtype) for each in slots(2, 64))
    whole = torch.stack([torch.zeros_like(key), key]).to(DEVICE)
    rows, lengths = torch.tensor([[1, 0], [300, 7]], dtype=torch.int32)
    query = torch.randn(2, 2, 2, 64).to(dtype)
    wanted = DECODE["views"].kernel(query.double(), key.double(), value.double(), Places(rows, lengths, 0.125, None))
    out = attend(query.to(DEVICE), whole[1], value.to(DEVICE), rows.to(DEVICE), lengths.to(DEVICE), 0.125, None)
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu().double(), wanted, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("heads", "places", "processors", "wanted"),
    [(32, 1100, 132, 9), (2048, 1024, 132, 1), (1, 64, 132, 1), (2, 9000, 132, 32)],
)
def test_stretches(heads: int, places: int, processors: int, wanted: int) -> None:
    assert stretches_of(heads, places, processors) == wanted


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs CUDA")
def test_it_is_what_cuda_decodes_with() -> None:
    key, value = (each.to(DEVICE, torch.bfloat16) for each in slots(2, 64))
    query = torch.randn(1, 4, 64, device=DEVICE, dtype=torch.bfloat16)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        decode(query, key, value, [1], [300])
    names = [event.key for event in seen.key_averages()]
    assert any("split_kv_attention" in name for name in names) and not any("fmha_cutlass" in name for name in names)
