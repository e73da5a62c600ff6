"""What the benches for a GPU share: language models of true size on weights drawn by a seed, what the device can do at
best, prompts, timing, and what a result stands on."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from llava_ecg import __version__
from llava_ecg.engine.attention import chosen
from llava_ecg.train.run_folder import commit

ROOT = Path(__file__).resolve().parents[2]
NO_TOKEN = 10**7
"""An id that ends nothing: no answer ends before its length."""

PRESETS: dict[str, Any] = {
    "vicuna": LlamaConfig(
        **{"vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32},
        **{"num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096},
    ),
    "qwen2": Qwen2Config(
        **{"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28},
        **{"num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32_768},
    ),
    "tiny": LlamaConfig(
        **{"vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 4096},
    ),
}
"""Vicuna-7B's shape (GEM), Qwen2-7B's, and one for a trial on a CPU."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """With --preset, --device, --dtype, --seed, --repeats and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--preset", default="vicuna", choices=PRESETS)
    made.add_argument("--device", default="cuda")
    made.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16", "float16"))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--json", type=Path, help="write the result here too")
    return made


def flags(parser: argparse.ArgumentParser, words: list[str] | None) -> argparse.Namespace:
    """The flags, where the device that they name is there; else an error that says what to do."""
    options = parser.parse_args(words)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(
            "this needs a GPU, and torch sees none; --preset tiny --device cpu --dtype float32 tries the script"
        )
    return options


def language_model(options: argparse.Namespace) -> Any:
    """On weights drawn on the device by the seed."""
    torch.manual_seed(options.seed)
    with torch.device(options.device):
        model = AutoModelForCausalLM.from_config(PRESETS[options.preset], dtype=getattr(torch, options.dtype))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return model.eval()


def prompts(model: Any, count: int, places: int, seed: int, shared: int = 0) -> list[torch.Tensor]:
    """Embeddings [places, D] of random tokens; the first `shared` places are those of the first prompt."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, model.config.vocab_size, (count, places), generator=chance).to(model.device)
    ids[:, :shared] = ids[0, :shared]
    with torch.no_grad():
        return list(model.get_input_embeddings()(ids))


def generate(model: Any, values: torch.Tensor, tokens: int, **more: Any) -> torch.Tensor:
    """transformers' greedy ids [B, tokens] of prompts [B, S, D] of one length."""
    found: torch.Tensor = model.generate(
        inputs_embeds=values,
        attention_mask=torch.ones(values.shape[:2], dtype=torch.long, device=values.device),
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        eos_token_id=[NO_TOKEN],
        pad_token_id=0,
        **more,
    )
    return found


def seconds(work: Callable[[], object], device: str) -> float:
    """Until the device is done with it."""
    wait(device)
    begin = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - begin


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()


def ceilings(device: str) -> dict[str, float]:
    """What the device does at best, each the best of five: TFLOP/s of products of matrices of random numbers, TB/s of
    reading memory, and of copying it, where what is read and what is written count. On a CPU in small."""
    size, gib = (8192, 2.0) if device != "cpu" else (256, 0.01)
    kind = torch.bfloat16 if device != "cpu" else torch.float32
    one, other = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    told = torch.ones(int(gib * 2**30) // kind.itemsize, device=device, dtype=kind)
    copied, held = torch.empty_like(told), told.numel() * kind.itemsize
    product = min(seconds(lambda: one @ other, device) for _ in range(5))
    stream = min(seconds(lambda: torch.sum(told), device) for _ in range(5))
    copy = min(seconds(lambda: copied.copy_(told), device) for _ in range(5))
    return {
        "TFLOP/s": 2 * size**3 / product / 1e12,
        "read TB/s": held / stream / 1e12,
        "copy TB/s": 2 * held / copy / 1e12,
    }


class Ceilings:
    """What the device did at best before something was timed, and after it: where the two differ, its clock or its
    neighbours changed meanwhile.

    Attributes:
        before: see `ceilings`.
    """

    def __init__(self, device: str) -> None:
        self.device, self.before = device, ceilings(device)

    def told(self) -> dict[str, dict[str, float]]:
        """Both; those of after it are measured now."""
        if self.device != "cpu":
            torch.cuda.empty_cache()
        return {"before": self.before, "after": ceilings(self.device)}

    def percent(self, took: float, *, flop: float | None = None, read: float | None = None) -> dict[str, float]:
        """How much of what the device did at best before was used.

        Args:
            took: seconds.
            flop: floating-point operations in that time.
            read: bytes that had to be read in that time.
        """
        used = {"TFLOP/s": flop, "read TB/s": read}
        return {name: 100 * each / took / 1e12 / self.before[name] for name, each in used.items() if each is not None}


def weight_bytes(model: Any) -> int:
    """What a step of one answer reads of the weights: all but the embedding, of which it reads a row."""
    embedding = model.get_input_embeddings().weight
    own = model.get_output_embeddings().weight is embedding
    every = sum(each.numel() * each.element_size() for each in model.parameters())
    return every - (0 if own else embedding.numel() * embedding.element_size())


def kv_bytes(model: Any) -> int:
    """Keys and values of one place, in all layers."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * width * model.dtype.itemsize


def counted_flop(work: Callable[[], object]) -> int:
    """Floating-point operations of work, as torch counts them; attention in kernels that it can count, and whole,
    although a mask may hide half of it."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one call of it is a whole layer, and counts nothing
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counted.get_total_flops())


def answer_flop(model: Any, places: int, tokens: int, known: int = 0) -> float:
    """Floating-point operations of one answer: a product and a sum for each weight and place, scores of the prompt's
    last place and of each token but the last, and attention to what lies before a place.

    Args:
        places: of the prompt.
        tokens: of the answer.
        known: so many first places of the prompt are there already.
    """
    head = model.get_output_embeddings().weight.numel()
    layers = sum(each.numel() for name, each in model.get_decoder().layers.named_parameters() if each.dim() == 2)
    config, end = model.config, places + tokens - 1
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    seen = (end * (end + 1) - known * (known + 1)) / 2
    return 2.0 * layers * (end - known) + 2.0 * head * tokens + 4.0 * config.num_hidden_layers * width * seen


def answers_read(model: Any, count: int, together: int, places: int, tokens: int) -> float:
    """Bytes that so many answers have to read, so many at once: the weights for each step of those that go together,
    and for each token but the first the keys and values before it."""
    steps = -(-count // together) * tokens
    before = sum(range(places, places + tokens - 1)) + tokens - 1
    return float(weight_bytes(model) * steps + kv_bytes(model) * before * count)


def tell(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Print a result with what it stands on as JSON, and write it where that is asked for."""
    stands = {
        "preset": options.preset,
        "device": "cpu" if options.device == "cpu" else torch.cuda.get_device_name(),
        "dtype": options.dtype,
        "seed": options.seed,
        "attention": chosen(),
        "llava-ecg": __version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "git": commit(ROOT),
    }
    text = json.dumps(stands | found, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
