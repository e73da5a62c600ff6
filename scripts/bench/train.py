"""Training tokens a second and peak memory: packed, against the padded way of GEM's own trainer, in one run.

The model is drawn at random, and so are signals, pages and texts; the lengths of the texts follow a committed
histogram. Both ways train the same weights on the same samples and take turns.

- baseline: batches padded to their longest sample, every layer recomputed, logits of all places in float32.
- ours: packs, attention a sample at a time, nothing recomputed (or some: `--recompute`), the loss in chunks.

Hardware: `cpu`: 2 cores, 4 GB, 3 minutes; `h100`: one GPU of 80 GB, 8 minutes.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench/train.py --preset cpu
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import LlamaConfig

from llava_ecg.data.batch import counted, pack, pad
from llava_ecg.data.encode import IGNORE, Encoded
from llava_ecg.data.packing import packs_of
from llava_ecg.engine.attention import PACKED, choose
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.streams import Prepared
from llava_ecg.train.optimizer import StochasticAdamW
from llava_ecg.train.recompute import contexts

ROOT = Path(__file__).resolve().parents[2]
SLACK = 16 << 20  # bytes by which the kernel's two counters may differ
TEXT = {60: 4, 120: 9, 200: 16, 300: 20, 420: 18, 560: 13, 740: 9, 960: 6, 1280: 4, 1700: 1}
"""Tokens of text a sample -> how often, in a hundred: an assumption, long-tailed as grounded interpretations are."""


@dataclass(frozen=True)
class Preset:
    """What is trained, and on how much."""

    text: dict[str, Any]
    ecg: dict[str, Any]
    image: dict[str, Any]
    samples: int
    batch: int
    longest: int
    dtype: torch.dtype


PRESETS = {
    "cpu": Preset(
        text={
            **{"vocab_size": 8192, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 8},
            **{"num_attention_heads": 4, "max_position_embeddings": 4096},
        },
        ecg={"layers": 1, "width": 32, "head_width": 16, "embed_dim": 32},
        image={
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": 336, "patch_size": 14},
        },
        samples=24,
        batch=8,
        longest=4096,
        dtype=torch.float32,
    ),
    "h100": Preset(
        text={
            **{"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32},
            **{"num_attention_heads": 32, "max_position_embeddings": 4096},
        },
        ecg={},
        image={},
        samples=64,
        batch=16,
        longest=8192,
        dtype=torch.bfloat16,
    ),
}


def smaller(preset: Preset, layers: int | None, samples: int | None) -> Preset:
    """A preset with fewer layers and samples, where a number is given."""
    text = preset.text | ({"num_hidden_layers": layers} if layers else {})
    count = samples or preset.samples
    return replace(preset, text=text, samples=count, batch=min(count, preset.batch))


def build(preset: Preset, device: str) -> LlavaEcgForCausalLM:
    """The model, its towers frozen."""
    torch.manual_seed(0)
    streams = {
        "ecg": {"tower": "ecg_coca", "tower_config": preset.ecg, "projector": "linear", "through": "image"},
        "image": {
            **{"tower": "clip", "projector": "mlp2x_gelu"},
            "tower_config": {"vision_config": preset.image} if preset.image else {},
        },
    }
    text = LlamaConfig(**preset.text).to_dict()
    with torch.device(device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(preset.dtype)
        model = LlavaEcgForCausalLM(LlavaEcgConfig(text_config=text, streams=streams))
        torch.set_default_dtype(before)
    model.towers.requires_grad_(False)
    return model.train()


def make(model: Any, preset: Preset) -> list[Encoded]:
    """Samples: an instruction, the places of both towers, an answer that is two thirds of the text."""
    rng = torch.Generator().manual_seed(1)
    lengths = torch.tensor([length for length, often in TEXT.items() for _ in range(often)])
    chosen = lengths[torch.randint(len(lengths), (preset.samples,), generator=rng)].tolist()
    side: int = model.towers["image"].image_size
    tokens = {name: tower.tokens for name, tower in model.towers.items()}
    made = []
    for text in chosen:
        begin, total = text // 3, text + sum(tokens.values())
        slots = torch.zeros(total, dtype=torch.int8)
        slots[begin : begin + tokens["ecg"]] = 1
        slots[begin + tokens["ecg"] : begin + sum(tokens.values())] = 2
        ids = torch.randint(1, preset.text["vocab_size"], (total,), generator=rng)
        labels = ids.clone()
        labels[: begin + sum(tokens.values())] = IGNORE
        values = {
            "ecg": torch.randn(1, 12, 5000, generator=rng),
            "image": torch.randn(1, 3, side, side, generator=rng),
        }
        given = {
            name: (Prepared(values[name].to(preset.dtype), tokens[name], torch.arange(tokens[name])),)
            for name in tokens
        }
        made.append(Encoded(ids, labels, slots, given))
    return made


def moved(batch: Any, device: str) -> Any:
    """A batch on the device; plain numbers stay."""
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch


def padded(model: Any, samples: list[Encoded], preset: Preset, device: str) -> Iterator[Callable[[], torch.Tensor]]:
    """Micro-steps of the baseline."""
    model.language_model.set_attn_implementation("sdpa")
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for begin in range(0, len(samples), preset.batch):
        batch = moved(pad(samples[begin : begin + preset.batch], 0), device)

        def step(batch: Any = batch) -> torch.Tensor:
            out = model(**batch)  # all logits, in float32 in the loss
            return out.loss

        yield step


def packed(
    model: Any, samples: list[Encoded], preset: Preset, device: str, recompute: str
) -> Iterator[Callable[[], torch.Tensor]]:
    """Micro-steps of ours."""
    model.language_model.set_attn_implementation(PACKED)
    model.gradient_checkpointing_disable()
    if recompute != "none":
        more = {"context_fn": contexts} if recompute == "some" else {}
        model.gradient_checkpointing_enable({"use_reentrant": False} | more)
    for numbers in packs_of([len(each) for each in samples], preset.longest):
        batch = moved(counted(pack([samples[number] for number in numbers]), ["ecg", "image"]), device)

        def step(batch: Any = batch) -> torch.Tensor:
            return model(**batch, supervised_only=True).loss

        yield step


def ways(preset: Preset, device: str, recompute: str) -> tuple[Any, list[Encoded], dict[str, Any]]:
    """The model, the samples, and how each way makes its micro-steps."""
    model = build(preset, device)
    samples = make(model, preset)
    return (
        model,
        samples,
        {
            "baseline": lambda: padded(model, samples, preset, device),
            "ours": lambda: packed(model, samples, preset, device, recompute),
        },
    )


def _status(name: str) -> int:
    """Bytes that Linux's /proc says of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this kernel says no {name}")


def peak_bytes(device: str) -> int:
    """Since the last `forget_peak`."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return _status("VmHWM")


def forget_peak(device: str) -> int:
    """Begin anew; what is held now.

    Raises:
        RuntimeError: This kernel takes the request and keeps the peak nonetheless (some sandboxes' do).
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    peak, held = peak_bytes(device), _status("VmRSS")
    if peak > held + SLACK:
        raise RuntimeError(f"this kernel does not forget a peak: {peak} bytes, where {held} are held")
    return peak


def memory(preset: Preset, device: str, way: str, recompute: str) -> int:
    """Bytes that forward and backward of the largest micro-step take over what is held before: activations."""
    model, _, steps = ways(preset, device, recompute)
    for value in model.parameters():
        value.grad = torch.zeros_like(value) if value.requires_grad else None
    found = 0
    for number, step in enumerate(steps[way]()):
        held = forget_peak(device)
        step().backward()
        found = max(found, peak_bytes(device) - held) if number else peak_bytes(device) - held
    return found


def speed(preset: Preset, device: str, recompute: str, rounds: int) -> dict[str, list[float]]:
    """Real tokens a second of each round."""
    model, samples, steps = ways(preset, device, recompute)
    optimizer = StochasticAdamW([value for value in model.parameters() if value.requires_grad], lr=1e-5)
    tokens = sum(map(len, samples))
    found: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, make_steps in steps.items():
            ready = list(make_steps())
            _wait(device)
            begin = time.perf_counter()
            for step in ready:
                step().backward()
                optimizer.step()
                optimizer.zero_grad()
            _wait(device)
            if turn:  # the first warms up
                found[name].append(tokens / (time.perf_counter() - begin))
    return found


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def waste(preset: Preset) -> dict[str, float]:
    """The share of places that hold no sample's token."""
    samples = make(build(preset, "cpu") if preset.image else _sizes(), preset)
    lengths = [len(each) for each in samples]
    batches = [lengths[begin : begin + preset.batch] for begin in range(0, len(lengths), preset.batch)]
    places = sum(len(each) * max(each) for each in batches)
    return {"baseline": 1 - sum(lengths) / places, "ours": 0.0}


def _sizes() -> Any:
    """What `make` asks of a model of true size."""
    from types import SimpleNamespace

    return SimpleNamespace(
        towers={"ecg": SimpleNamespace(tokens=101), "image": SimpleNamespace(tokens=576, image_size=336)}
    )


def main() -> None:
    """Measure both ways and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--recompute", choices=("none", "some", "all"), default="none", help="of ours")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda for a preset in bfloat16, else cpu")
    parser.add_argument("--layers", type=int, help="of the language model, in place of the preset's: a trial of it")
    parser.add_argument("--samples", type=int, help="in place of the preset's")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory_of", choices=("baseline", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore", FutureWarning)  # names of transformers that have others in later versions
    torch.set_num_threads(options.threads)
    preset = smaller(PRESETS[options.preset], options.layers, options.samples)
    device = options.device or ("cuda" if preset.dtype is torch.bfloat16 else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error(f"the preset {options.preset} needs CUDA; take --preset cpu")
    if options.memory_of:
        print(memory(preset, device, options.memory_of, options.recompute))
        return
    peaks = {name: _in_a_process(name) for name in ("baseline", "ours")}
    rates = speed(preset, device, options.recompute, options.rounds)
    medians = {name: statistics.median(each) for name, each in rates.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["baseline"], strict=True)]
    results = {
        "preset": options.preset,
        "machine": torch.cuda.get_device_name()
        if device == "cuda"
        else f"{platform.machine()}, {options.threads} threads",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),  # noqa: PLW1510, E501
        "attention": choose("varlen", device, preset.dtype),
        "recompute": options.recompute,
        "settings": {key: value for key, value in asdict(preset).items() if key != "dtype"},
        "tokens_per_second": medians,
        "ratio": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
        "peak_activation_bytes": peaks,
        "padding": waste(preset),
    }
    print(f"{'':<10}{'tokens/s':>10}{'peak MB':>10}{'padding':>9}")
    for name in rates:
        print(f"{name:<10}{medians[name]:>10.0f}{peaks[name] / 2**20:>10.0f}{results['padding'][name]:>9.1%}")
    low, high = min(ratios), max(ratios)
    print(f"tokens/s {statistics.median(ratios):.2f} times ({low:.2f} to {high:.2f})")
    print(f"memory {peaks['ours'] / peaks['baseline']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _in_a_process(way: str) -> int:
    """`memory` in a process of its own, since what was freed is not always given back."""
    words = [sys.executable, __file__, *sys.argv[1:], "--memory_of", way]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
