"""Which kernels attention ran on, by torch's profiler: of a packed training step and of decoded tokens. It ends with an
error where one is missing, or one ran that should not.

Hardware: one GPU of 80 GB (24 GB with `--layers 4`); 2 minutes.

    python scripts/bench/gpu_proof.py --json scripts/bench/results/gpu_proof_h100.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import gpu_common as common
import torch

from llava_ecg.engine.attention import PACKED, strictly
from llava_ecg.engine.run import Engine, Request

FORBIDDEN = ("fmha_cutlass",)
"""torch's memory-efficient attention, which is what a slip falls back to."""

TRAINING = ("flash_fwd_kernel", "flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel")
DECODING = ("split_kv_attention", "split_kv_combine")
TOKENS = 16
LENGTHS = (900, 1100, 700)


def kernels(work: Callable[[], object]) -> dict[str, int]:
    """Name -> how often it ran on the device."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    return {event.key: event.count for event in seen.key_averages()}


def faults(counts: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    """What differs from what is wanted, in words.

    Args:
        counts: of kernels, by their whole names.
        wanted: a part of a name -> how often such kernels should have run.
    """
    found = []
    for part, times in wanted.items():
        ran = sum(count for name, count in counts.items() if part in name)
        if ran != times:
            found.append(f"{part} ran {ran} times, {times} were expected")
    found += [f"{name} ran, and should not" for name in counts if any(part in name for part in FORBIDDEN)]
    return found


def training(model: Any) -> Callable[[], object]:
    """A micro-step over a pack of three samples."""
    model.set_attn_implementation(PACKED)
    model.train().requires_grad_(False)
    values = torch.cat(common.prompts(model, len(LENGTHS), max(LENGTHS), 3))[: sum(LENGTHS)][None].requires_grad_()
    ends = torch.tensor([0, *LENGTHS], device=model.device).cumsum(0).int()
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None].to(model.device)

    def step() -> None:
        out = model.model(
            inputs_embeds=values,
            position_ids=positions,
            cu_seq_lens_q=ends,
            cu_seq_lens_k=ends,
            max_length_q=max(LENGTHS),
            max_length_k=max(LENGTHS),
            use_cache=False,
        )
        out.last_hidden_state.float().square().mean().backward()

    return step


def decoding(model: Any) -> Callable[[], object]:
    """So many steps of two sequences, after their first token."""
    engine = Engine(model.eval())
    given = common.prompts(model, 2, 300, 4)

    def answer() -> None:
        list(engine.run([Request(each, TOKENS + 1) for each in given], 2))

    return answer


def main(words: list[str] | None = None) -> int:
    """See the module."""
    parser = common.parser(__doc__)
    parser.add_argument("--layers", type=int, help="of the language model; all if not given")
    options = common.flags(parser, words)
    if options.device == "cpu":
        parser.error("there is no kernel to look for on a CPU")
    strictly()
    if options.layers:
        common.PRESETS[options.preset].num_hidden_layers = options.layers
    model = common.language_model(options)
    layers = model.config.num_hidden_layers
    told: dict[str, Any] = {}
    for name, make, wanted in (
        ("decoding", decoding, dict.fromkeys(DECODING, layers * TOKENS)),
        ("training", training, dict.fromkeys(TRAINING, layers)),
    ):
        work = make(model)
        work()  # to warm up: graphs are captured
        counts = kernels(work)
        told[name] = {"faults": faults(counts, wanted), "kernels": counts}
    common.tell(told, options)
    return 1 if any(each["faults"] for each in told.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
