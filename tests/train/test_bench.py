"""scripts/bench/train.py measures what it says: both ways the same loss, and a result with its machine."""

from __future__ import annotations

import gc
import json
import mmap
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scripts.bench import train as bench

TINY = replace(
    bench.PRESETS["cpu"],
    text=bench.PRESETS["cpu"].text
    | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 99},
    samples=5,
    batch=2,
)


def test_both_ways_have_the_same_loss() -> None:
    model, samples, steps = bench.ways(TINY, "cpu", "none")
    labels = [int((each.labels[1:] != -100).sum()) for each in samples]
    batches = [labels[:2], labels[2:4], labels[4:]]
    padded = sum(step() * sum(each) for step, each in zip(steps["baseline"](), batches, strict=True))
    packs = bench.packs_of([len(each) for each in samples], TINY.longest)
    counts = [sum(labels[number] for number in pack) for pack in packs]
    packed = sum(step() * count for step, count in zip(steps["ours"](), counts, strict=True))
    torch.testing.assert_close(padded, packed, rtol=1e-5, atol=0)


@pytest.mark.parametrize("recompute", ["none", "some", "all"])
def test_the_preset_of_a_gpu_in_small(recompute: str) -> None:
    """Its dtype, its widths' kinds and its ways, on the CPU."""
    large = bench.PRESETS["h100"]
    small = replace(bench.smaller(large, 2, 4), text=large.text | TINY.text, ecg=TINY.ecg, image=TINY.image)
    assert (small.samples, small.batch, small.dtype) == (4, 4, torch.bfloat16)
    model, samples, steps = bench.ways(small, "cpu", recompute)
    labels = [int((each.labels[1:] != -100).sum()) for each in samples]
    packs = bench.packs_of([len(each) for each in samples], small.longest)
    gradients, losses = [], []
    for name, counts in (("baseline", [sum(labels)]), ("ours", [sum(labels[one] for one in pack) for pack in packs])):
        model.zero_grad()
        total = torch.zeros(())
        for step, count in zip(steps[name](), counts, strict=True):
            loss = step() * (count / sum(labels))
            loss.backward()
            total += loss.detach().float()
        losses.append(total.item())
        gradients.append(model.language_model.lm_head.weight.grad.float().clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0.05 * gradients[0].abs().max().item())


def test_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(bench.PRESETS, "cpu", TINY)
    monkeypatch.setattr(bench, "_in_a_process", lambda way: 1 << 20)
    path = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["train.py", "--rounds", "1", "--threads", "1", "--json", str(path)])
    bench.main()
    found = json.loads(path.read_text())
    assert found["tokens_per_second"].keys() == found["padding"].keys() == {"baseline", "ours"}
    assert 0 < found["padding"]["baseline"] < 1
    assert found["ratio"]["lowest"] == found["ratio"]["highest"] > 0
    assert found["attention"] == "sdpa"
    assert "tokens/s" in capsys.readouterr().out


def _take(size: int) -> None:
    """Hold memory for a moment, from the kernel itself: what an allocator keeps for later is no part of the test."""
    with mmap.mmap(-1, size) as block:
        for place in range(0, size, mmap.PAGESIZE):
            block[place] = 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_the_peak_is_that_since_it_was_forgotten() -> None:
    size = 256 << 20
    gc.collect()
    grown = []
    for _ in range(3):  # what else the process gives back in the same moment hides a part of it
        _take(2 * size)
        try:
            held = bench.forget_peak("cpu")
        except RuntimeError as error:
            pytest.skip(str(error))
        assert bench.peak_bytes("cpu") - held < size // 16
        _take(size)
        grown.append(bench.peak_bytes("cpu") - held)
        if size * 0.9 < grown[-1] < size * 1.1:
            return
    raise AssertionError(f"{size} bytes were taken, and the peak grew by {grown}")
