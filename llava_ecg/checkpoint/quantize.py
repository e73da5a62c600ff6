"""The language model's linear layers in 4 or 8 bits, tensor by tensor as they come from disk.

- ``nf4``: 4-bit NormalFloat in blocks of 64 with doubly quantised scales, as in QLoRA (Dettmers et al. 2023, arXiv
  2305.14314): 4.13 bits a weight.
- ``int8``: one scale a row, activations beyond 6.0 apart, as in LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339).
- ``w8a8``: one scale a row, inputs rounded to 8 bits too; made to be fast on a CPU (`llava_ecg.engine.w8a8`).
- ``w8a16``: one scale a row, inputs as they are; made to be fast on a GPU (`llava_ecg.engine.w8a16`).

The first two are bitsandbytes'.

The model is built on the meta device, `replace_linears` swaps its layers there, and `place` quantises each tensor when
it comes, so the model never stands in memory at full precision. Towers, projectors, norms, embeddings and the head are
never quantised. A quantised layer serves inference and, through PEFT, a LoRA on top; it can't be written back
(`refuse_quantized`).
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationMethod

from llava_ecg.engine.w8a8 import Int8Linear, works
from llava_ecg.engine.w8a16 import WeightOnlyLinear
from llava_ecg.errors import InputError

KINDS = ("nf4", "int8", "w8a8", "w8a16")
AUTO = "auto"
OURS: dict[str, type[Int8Linear]] = {kind.scheme: kind for kind in (Int8Linear, WeightOnlyLinear)}
# weights of nf4 that share a scale; must divide a layer's width, else bitsandbytes 0.50 takes wrong scales on AVX512
# CPUs
BLOCK = 64
OUTLIERS = 6.0  # of LLM.int8(): input columns with a value beyond it are multiplied in 16 bits

_NF4 = {"quant_type": "nf4", "compress_statistics": True}
_EXACT = (torch.float32, torch.float16, torch.bfloat16)  # what bitsandbytes quantises from
# One tells at import to install a package that downloads kernels, the other at every layer of every token that inputs
# become fp16.
_CHATTY = ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions")


def check(kind: str, device: str | torch.device = "cpu") -> None:
    """Try whether layers of this kind work on this device; to be asked before anything is read.

    Raises:
        InputError: an unknown kind, or bitsandbytes is missing, broken, or does not know the device.
    """
    if kind == "w8a8":
        _check_w8a8(device)
        return
    if kind == "w8a16":
        _check_w8a16(device)
        return
    library = _library(kind)
    layer = _layer(kind, BLOCK, 32, False, torch.float32)
    try:
        place(layer, "weight", torch.linspace(-1, 1, 32 * BLOCK).reshape(32, BLOCK), device, torch.float32)
        with torch.no_grad():
            layer.eval()(torch.ones(1, BLOCK, device=device)).sum().item()
    except Exception as error:  # NotImplementedError, AssertionError, OSError, ...: each backend fails in its own way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"bitsandbytes {library.__version__} can't compute {kind} on the device {str(device)!r} ({reason}); "
            "choose another device, or load without quantization"
        ) from error


def chosen(asked: str | None, device: str | torch.device) -> str | None:
    """The kind that is meant, tried on this device: ``auto`` is ``w8a8`` on a CPU that multiplies 8-bit integers
    exactly and None elsewhere, ``none`` is None.

    Raises:
        InputError: as `check`.
    """
    if asked == AUTO:
        return "w8a8" if torch.device(device).type == "cpu" and works() else None
    if asked in (None, "none"):
        return None
    check(asked, device)
    return asked


def _check_w8a8(device: str | torch.device) -> None:
    if torch.device(device).type != "cpu":
        raise InputError(
            f"w8a8 is made for CPUs and was asked for on the device {str(device)!r}; take w8a16, int8 or nf4 there, or"
            " the device cpu"
        )
    if not works():
        raise InputError(
            f"torch {torch.__version__} can't multiply 8-bit integers exactly on this CPU; load without quantization"
        )


def _check_w8a16(device: str | torch.device) -> None:
    if torch.device(device).type != "cuda":
        raise InputError(
            f"w8a16 is made for CUDA and was asked for on the device {str(device)!r}; take w8a8 on a CPU, or the device"
            " cuda"
        )
    if find_spec("triton") is None:
        raise InputError("w8a16 needs Triton: pip install triton, or take int8 or nf4")


def replace_linears(language_model: PreTrainedModel, kind: str, dtype: torch.dtype) -> None:
    """Swap every linear layer but the head for a quantised one that is still empty.

    For nf4 a layer whose width is no multiple of 64 stays as it is too; the released language models have none.

    Also tells PEFT and transformers, by the attributes that they look at, that the model is quantised.
    ``config.quantization_config`` is not set: nobody asks for it, and it would say of every config.json written from
    here on that the weights beside it are quantised.

    Args:
        language_model: on the meta device; changed in place, nothing is allocated.
        kind: one of `KINDS`.
        dtype: that is computed in.

    Raises:
        InputError: an unknown kind, bitsandbytes is missing or broken, or the language model has no such layer.
        ValueError: a layer holds weights already.
    """
    if kind not in OURS:
        _library(kind)
    head = language_model.get_output_embeddings()
    step = BLOCK if kind == "nf4" else 1
    found = [
        (name, module)
        for name, module in language_model.named_modules()
        if type(module) is nn.Linear and module is not head and module.in_features % step == 0
    ]
    if not found:
        wanted = f"no linear layer of a width that {step} divides" if step > 1 else "no linear layer"
        raise InputError(
            f"{type(language_model).__name__} has {wanted} to be quantised to {kind}; load it without quantization"
        )
    for name, module in found:
        if not module.weight.is_meta:
            raise ValueError(
                f"{name} holds weights already; layers are replaced on the meta device, before the weights come"
            )
        layer = _layer(kind, module.in_features, module.out_features, module.bias is not None, dtype)
        language_model.set_submodule(name, layer.train(module.training))
    if kind in OURS:
        return
    model: Any = language_model
    model.is_quantized = True
    model.quantization_method = QuantizationMethod.BITS_AND_BYTES
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = kind == "nf4", kind == "int8"
    model.config._is_quantized = (
        True  # else flash attention takes the dtype of a packed weight for that of the computation
    )
    model.config.dtype = dtype


def is_quantized_place(module: nn.Module, leaf: str) -> bool:
    """Whether the parameter `leaf` of this module is kept quantised."""
    return leaf == "weight" and isinstance(module, tuple(_layer_types()))


def place(module: nn.Module, leaf: str, tensor: torch.Tensor, device: str | torch.device, dtype: torch.dtype) -> None:
    """Put one tensor in its place, quantised where the place is (`is_quantized_place`), else as it is.

    It is quantised from the values in the file, not from those rounded to `dtype` first.

    Args:
        module: that owns the parameter.
        leaf: the parameter's name in it.
        tensor: [out, in] for a quantised weight, on the CPU, in the file's dtype; it is copied, so it may be a view of
            the file.
        device: where it is quantised and stays.
        dtype: of what is computed, or of the parameter itself where it is not quantised.
    """
    if not is_quantized_place(module, leaf):
        module._parameters[leaf] = nn.Parameter(
            tensor.to(device, dtype, copy=True), requires_grad=not isinstance(module, tuple(_layer_types()))
        )
        return
    layer: Any = module
    if isinstance(layer, Int8Linear):
        layer.take(tensor.to(device))
        return
    kinds: Any = sys.modules["bitsandbytes"].nn
    values = tensor if tensor.dtype in _EXACT else tensor.to(torch.float32)
    if quantization(layer) == "nf4":
        layer.weight = kinds.Params4bit(values, requires_grad=False, module=layer, **_NF4).to(device)
        layer.weight.quant_state.dtype = dtype  # what it is dequantised to
    else:
        layer.weight = kinds.Int8Params(values, requires_grad=False, has_fp16_weights=False).to(device)


def quantization(model: nn.Module) -> str | None:
    """The kind that the model's layers are quantised in, None where they are not; sees through PEFT's wrapping."""
    kinds = _layer_types()
    return next((kinds[type(module)] for module in model.modules() if type(module) in kinds), None)


def is_quantized(model: nn.Module) -> bool:
    """Whether any layer of the model is quantised."""
    return quantization(model) is not None


def refuse_quantized(model: nn.Module, action: str, instead: str = "load it without quantization for that") -> None:
    """Stop what only a model at full precision can do: to be saved whole, to take in a LoRA, to be trained itself.

    Args:
        action: ``"be saved whole"``, ``"be trained without a LoRA"``, ...
        instead: what to do, as an imperative.

    Raises:
        InputError: the model is quantised.
    """
    kind = quantization(model)
    if kind is not None:
        raise InputError(f"a language model that is quantised to {kind} can't {action}; {instead}")


def repack_for_cpu(model: nn.Module) -> int:
    """Let nf4 layers be re-packed for bfloat16 instructions (AVX512-BF16) at their first use; for inference only.

    On a CPU that has them a token of one 4096 x 4096 layer takes 0.5 ms in place of 16 ms. A layer that was re-packed
    passes no gradient on, without saying so (bitsandbytes 0.50), which is why it is off unless asked for.

    Returns:
        How many layers will be: 0 on another CPU, with an older bitsandbytes, or for int8.
    """
    if quantization(model) != "nf4" or not _repacks():
        return 0
    layers: list[Any] = [module for module in model.modules() if is_quantized_place(module, "weight")]
    fit = [each for each in layers if each.weight.device.type == "cpu" and each.out_features % 32 == 0]
    for layer in fit:
        layer.support_avx512bf16_for_cpu = True
    return len(fit)


def hush() -> None:
    """Keep bitsandbytes from remarks that are no concern of who uses it."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


def _library(kind: str) -> Any:
    """bitsandbytes, imported now."""
    if kind not in KINDS:
        raise InputError(f"unknown quantization {kind!r}; known are: {', '.join(KINDS)}")
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "quantization needs bitsandbytes, which is not installed; get it with: pip install 'llava-ecg[quant]'"
        )
    hush()
    try:
        import bitsandbytes
    except Exception as error:  # a native library that does not fit this machine fails in any way
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"bitsandbytes is installed and can't be imported ({reason}); install it again, or leave quantization out"
        ) from error
    return bitsandbytes


def _layer(kind: str, width: int, out: int, bias: bool, dtype: torch.dtype) -> nn.Module:
    """An empty quantised layer [.., width] -> [.., out] on the meta device."""
    if kind in OURS:
        return OURS[kind](width, out, bias)
    library = _library(kind)
    layer: Any
    if kind == "nf4":
        layer = library.nn.Linear4bit(width, out, bias, compute_dtype=dtype, device="meta", **_NF4)
        layer.support_avx512bf16_for_cpu = (
            False  # see repack_for_cpu; where 32 does not divide `out` it is an AssertionError
        )
    else:
        layer = library.nn.Linear8bitLt(width, out, bias, has_fp16_weights=False, threshold=OUTLIERS, device="meta")
    made: nn.Module = layer
    return made


def _layer_types() -> dict[type, str]:
    """The classes of quantised layers and their kinds; bitsandbytes' as soon as somebody has imported it."""
    library: Any = sys.modules.get("bitsandbytes")
    theirs = {} if library is None else {library.nn.Linear4bit: "nf4", library.nn.Linear8bitLt: "int8"}
    return {layer: kind for kind, layer in OURS.items()} | theirs


def _repacks() -> bool:
    """Whether bitsandbytes would re-pack here: it says so on every new layer."""
    fresh: Any = sys.modules["bitsandbytes"].nn.Linear4bit(BLOCK, 32, False, device="meta")
    return bool(vars(fresh).get("support_avx512bf16_for_cpu"))
