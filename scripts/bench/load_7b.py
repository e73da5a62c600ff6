"""How long a GEM of true size takes to load, and how much memory of the host: random weights, sharded safetensors, bf16
and nf4.

Hardware: one GPU with 24 GB or more (``--device cpu`` works with 40 GB of memory). Time: about 6 minutes, most of it
writing 14 GB of random weights. Disk: 15 GB under --folder.

    python scripts/bench/load_7b.py --folder /tmp/gem7b --device cuda --json scripts/bench/results/load_7b_h100.json

The peak is of the process that loads, counted from just before loading; "shard" is the largest file. Each way of
loading runs in a process of its own; reading the files once without building anything, in the same run, is the floor
that the seconds are held against. `--layers` makes a smaller model for a trial.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from llava_ecg import __version__
from llava_ecg.checkpoint import weights
from llava_ecg.checkpoint.released import to_llava
from llava_ecg.checkpoint.shapes import expected

WAYS = ("bfloat16", "nf4", "int8")
TEXT = {
    **{
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
    },
    **{"num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    "tie_word_embeddings": False,
}


def config(layers: int) -> dict[str, Any]:
    """GEM-7B's, as ours."""
    clip = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "image_size": 336,
        "patch_size": 14,
    }
    clip |= {"hidden_act": "quick_gelu", "num_attention_heads": 16, "projection_dim": 768}
    ecg = {
        "seq_length": 5000,
        "lead_num": 12,
        "layers": 12,
        "width": 768,
        "head_width": 64,
        "patch_size": 50,
        "embed_dim": 512,
    }
    image = {"vision_config": clip, "select_layer": -2, "select_feature": "patch"}
    usual = {"through": None, "preparation": {}}
    streams = {
        "ecg": usual
        | {"tower": "ecg_coca", "tower_config": ecg | {"mlp_ratio": 4.0}, "projector": "linear", "through": "image"},
        "image": usual
        | {"tower": "clip", "tower_config": image, "projector": "mlp2x_gelu", "preparation": {"aspect": "ori"}},
    }
    streams["ecg"]["preparation"] = {"leads": "as_filed", "rate": None}
    text = TEXT | {"num_hidden_layers": layers}
    return {
        "text_config": text,
        "streams": streams,
        "template": "llava_v1",
        "model_max_length": 4096,
        "image_newline": False,
    }


def write(folder: Path, layers: int, device: str) -> None:
    """A released GEM folder with random bf16 weights in shards of 5 GB; no tokenizer."""
    from llava_ecg.checkpoint.keymaps import GEM, from_ours

    ours = config(layers)
    shapes = expected(ours)
    if shapes is None:
        raise RuntimeError("the shapes of a GEM are known")
    names = from_ours(shapes, GEM)
    sizes = {names[name]: 2 * int(torch.Size(shape).numel()) for name, shape in shapes.items()}
    dice = torch.Generator(device=device).manual_seed(0)

    def drawn() -> Iterator[tuple[str, torch.Tensor]]:
        for name, shape in shapes.items():
            yield (
                names[name],
                torch.randn(shape, generator=dice, device=device, dtype=torch.float32)
                .mul_(0.02)
                .to(torch.bfloat16)
                .cpu(),
            )

    folder.mkdir(parents=True)
    weights.write(folder, drawn(), sizes)
    (folder / "config.json").write_text(json.dumps(to_llava(ours, shapes)))


def load(folder: Path, way: str, device: str) -> dict[str, Any]:
    """Load once, in this process."""
    from llava_ecg.checkpoint.building import build
    from llava_ecg.checkpoint.opening import open_source
    from llava_ecg.model.llava import LlavaEcgForCausalLM

    torch.empty(1, device=device)
    status = Path("/proc/self/status")

    def held(key: str) -> int:
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(key))

    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    began = time.perf_counter()
    source = open_source(folder)
    model = build(
        source, LlavaEcgForCausalLM.of, device, torch.bfloat16, quantization=None if way == "bfloat16" else way
    )
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    on_host = sum(p.numel() * p.element_size() for p in model.parameters() if p.device.type == "cpu")
    found = {"way": way, "seconds": seconds, "host_peak_bytes": held("VmHWM") - before, "model_bytes_on_host": on_host}
    return found | (
        {}
        if device == "cpu"
        else {"gpu_bytes": torch.cuda.memory_allocated(), "gpu_peak_bytes": torch.cuda.max_memory_allocated()}
    )


def read_all(folder: Path) -> float:
    """Seconds to read every byte of the weights."""
    began = time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 26):
                pass
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    """Write, then load in every way; JSON out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the 14 GB go; deleted afterwards")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["bfloat16", "nf4"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.once:
        print(json.dumps(load(args.folder, args.once, args.device)))
        return 0
    try:
        began = time.perf_counter()
        write(args.folder, args.layers, args.device)
        files = [path.stat().st_size for path in args.folder.glob("*.safetensors")]
        found: dict[str, Any] = {
            "what": "load_7b",
            "version": __version__,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name()
            if args.device != "cpu"
            else f"cpu, {platform.processor() or platform.machine()}",
            "layers": args.layers,
            "bytes": sum(files),
            "largest_shard_bytes": max(files),
            "write_seconds": time.perf_counter() - began,
            "read_seconds": read_all(args.folder),
            "loads": [],
        }
        for way in args.ways:
            command = [sys.executable, __file__, "--folder", str(args.folder), "--device", args.device, "--once", way]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            found["loads"].append(json.loads(done.stdout.splitlines()[-1]))
            print(found["loads"][-1], file=sys.stderr)
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)
    text = json.dumps(found, indent=2)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
