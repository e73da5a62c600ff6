"""How loading behaves: key coverage of the real sizes without their weights, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llava_ecg.checkpoint.building import expected_shapes
from llava_ecg.checkpoint.fit import faults
from llava_ecg.checkpoint.keymaps import GEM, from_ours
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.model.llava import LlavaEcgForCausalLM
from tests.model.released_7b import SEVEN_B, seven_b, sparse_seven_b

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", SEVEN_B)
def test_seven_billion_parameters_on_the_meta_device(kind: str, tmp_path: Path) -> None:
    """The released key names and true shapes (sparse files) against the model that their config gives: none missing,
    none left over."""
    sparse_seven_b(tmp_path / "x", kind)
    source = open_source(tmp_path / "x")
    with torch.device("meta"):
        model = LlavaEcgForCausalLM.of(source.config)
    state = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert faults(source, state) == []
    names = from_ours(state, GEM)
    assert {names[name]: shape for name, shape in state.items()} == {
        name: tuple(shape) for name, shape in seven_b(kind).items()
    }
    assert expected_shapes(source.config, kind, LlavaEcgForCausalLM.of) == state
    billions = sum(value.numel() for value in model.parameters()) / 1e9
    assert 7.0 < billions < 7.7


MEASURE = """
import resource, sys, threading, time
from pathlib import Path
import torch
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.checkpoint.building import build

def status(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

open_checkpoint(sys.argv[2])  # imports and first allocations
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
before = status("VmRSS")
model = open_checkpoint(sys.argv[1], dtype=sys.argv[3]).model
print(status("VmHWM") - before, sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc to measure the peak of memory"
)
@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("filed", "wanted"), [("float32", "float32"), ("bfloat16", "float32"), ("float32", "bfloat16")]
)
def test_memory_while_loading(
    form: str, filed: str, wanted: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peak of host memory stays under 1.2 times the largest shard plus the model."""
    from tests.model import released as write

    golden = shared / "golden"
    write.gem(tmp_path / "small", golden)
    big = write.TEXT["llama"] | {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_key_value_heads": 4,
    }
    monkeypatch.setitem(write.TEXT, "llama", big)
    write.gem(tmp_path / "big", golden, dtype=getattr(torch, filed), form=form, shards=4)
    shard = max(path.stat().st_size for path in (tmp_path / "big").glob(f"*-of-*.{form}"))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "big"), str(tmp_path / "small"), wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, model = map(int, done.stdout.split())
    assert model > 80e6
    assert peak < 1.2 * shard + model, (
        f"{peak / 1e6:.0f} MB for a model of {model / 1e6:.0f} MB and a shard of {shard / 1e6:.0f} MB"
    )
