"""A model from its source: built empty, checked, and filled tensor by tensor straight from the files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from llava_ecg.checkpoint import quantize, weights
from llava_ecg.checkpoint.files.headers import Tensors
from llava_ecg.checkpoint.fit import faults, refuse_faults
from llava_ecg.checkpoint.shapes import expected as expected_by_arithmetic
from llava_ecg.checkpoint.source import Source
from llava_ecg.errors import InputError

_DRAWN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LayerNorm, nn.Embedding)
"""Modules that draw their own beginning."""
_Made = TypeVar("_Made")
Make = Callable[[Mapping[str, Any]], Any]
"""A config's arguments -> the model that is built of them."""
_HEAD, _EMBEDDING = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"


def build(
    source: Source,
    make: Make,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    stream_dtype: torch.dtype | None = None,
    *,
    quantization: str | None = None,
    strict: bool = True,
    trust_pickle: bool = False,
) -> Any:
    """The model of a source: built empty, then each tensor goes from its file to its place.

    Args:
        make: the source's config -> the model, such as `llava_ecg.model.llava.LlavaEcgForCausalLM.of`.
        dtype: of the parameters; buffers stay as they are, since rotary frequencies are wrong in 16 bits.
        stream_dtype: of towers, projectors and newline, if it is another.

    Host memory beyond the model is what is mapped of one file.

    Raises:
        InputError: a config that describes no model; tensors that are missing, left over or mis-shaped (unless not
            `strict`); a file that can't be read.
    """
    what = str(source.folder)
    shapes = expected_shapes(source.config, what, make)
    found = faults(source, shapes)
    if strict:
        refuse_faults(found, what)
    elif found:
        warnings.warn(
            f"{what}: {len(found)} tensors do not fit and are passed over or initialised: {'; '.join(found[:20])}",
            stacklevel=2,
        )
    source = replace(
        source,
        tensors={name: ref for name, ref in source.tensors.items() if name == _HEAD or shapes.get(name) == ref.shape},
        deltas={
            name: delta
            for name, delta in source.deltas.items()
            if not any(f"the LoRA of {name} " in fault for fault in found)
        },
    )
    with _empty_parameters():
        model = _construct(source.config, what, make)
    tied = bool(model.config.text_config.tie_word_embeddings)
    if quantization is not None:
        quantize.replace_linears(model.language_model, quantization, dtype)
    # W + B A goes to its place as it was computed: in the file's 16 bits a small LoRA would be gone before it gets
    # there
    rounding = weights.Rounding(dtype) if quantization is None else None
    for name, tensor in weights.stream(source, trust_pickle=trust_pickle, exact=True, rounding=rounding):
        if name == _HEAD and tied:
            _check_tied(source, tensor, trust_pickle)
            continue
        module, leaf = _owner(model, name)
        if leaf in module._parameters:
            kind = dtype if name.startswith("language_model.") else stream_dtype or dtype
            quantize.place(module, leaf, tensor, device, kind)
        else:
            module._buffers[leaf] = tensor.to(device, copy=True)
    if lost := rounding and rounding.said():
        warnings.warn(f"{what}: {lost}; load it as float32 to keep it whole", stacklevel=2)
    if tied:
        model.language_model.tie_weights()
    _initialise(model, device, dtype, stream_dtype or dtype)
    for module in model.modules():  # what is left; the whole model is not moved, since a quantised layer may not be
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return model


def expected_shapes(config: Mapping[str, Any], what: str, make: Make) -> dict[str, tuple[int, ...]]:
    """Our parameter names -> shapes for the arguments of the model's config; a tied head is not among them.

    By arithmetic where that knows every part, else from a model on the meta device.

    Raises:
        InputError: a config that describes no model.
    """
    known = expected_by_arithmetic(config)
    if known is not None:
        return known
    with torch.device("meta"):
        model = _construct(config, what, make)
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if name != _HEAD or not model.config.text_config.tie_word_embeddings
    }


def fill(module: nn.Module, tensors: Tensors, what: Path, *, only: str = "", trust_pickle: bool = False) -> None:
    """Fill a module that is built already, or the part of it behind a prefix.

    Raises:
        InputError: tensors that are missing, left over or mis-shaped.
    """
    state = {name: value for name, value in module.state_dict().items() if name.startswith(only)}
    held = Source("tower", str(what), what, {}, tensors)
    refuse_faults(faults(held, {name: tuple(value.shape) for name, value in state.items()}), str(what))
    with torch.no_grad():
        for name, tensor in weights.stream(held, trust_pickle=trust_pickle):
            state[name].copy_(tensor)


@contextmanager
def _empty_parameters() -> Iterator[None]:
    """What is built inside has its parameters on the meta device and its buffers for real (rotary frequencies are
    computed ones)."""

    def emptied(_: nn.Module, __: str, parameter: nn.Parameter) -> nn.Parameter | None:
        return None if parameter.is_meta else nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(emptied)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def _construct(config: Mapping[str, Any], what: str, make: Make) -> Any:
    return guarded(lambda: make(config), what)


def guarded(make: Callable[[], _Made], what: str) -> _Made:
    """What `make` makes of the config of `what`; whatever it fails with is an `InputError` that names it."""
    try:
        return make()
    except InputError as error:
        raise InputError(f"the config of {what} describes no model that can be built: {error}") from error
    except Exception as error:  # transformers' configs and models fail in every way at values that they did not expect
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"the config of {what} describes no model that can be built ({type(error).__name__}: {reason})"
        ) from error


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _check_tied(source: Source, head: torch.Tensor, trust_pickle: bool) -> None:
    """Some files hold the head beside the embedding that it is tied to."""
    embedding = source.tensors.get(_EMBEDDING)
    if embedding is not None and not torch.equal(
        head, weights.read_tensor(embedding, trust_pickle=trust_pickle).to(head.dtype)
    ):
        raise InputError(
            f"{source.folder} has a head that is not its embedding, though its config says tie_word_embeddings"
        )


def _initialise(model: nn.Module, device: str | torch.device, dtype: torch.dtype, stream_dtype: torch.dtype) -> None:
    """Give a beginning to what no file held: as the module draws it, else as transformers does."""
    for path, module in model.named_modules():
        empty = {name: value for name, value in module._parameters.items() if value is not None and value.is_meta}
        kind = dtype if path.startswith("language_model") else stream_dtype
        made = {name: nn.Parameter(torch.empty(value.shape)) for name, value in empty.items()}
        if (
            made
            and set(made) == {name for name, value in module._parameters.items() if value is not None}
            and type(module) in _DRAWN
        ):
            module._parameters |= made
            module.reset_parameters()
        else:
            for name, value in made.items():
                if value.ndim > 1:
                    nn.init.normal_(value, std=0.02)
                else:
                    nn.init.constant_(value, 1.0 if name == "weight" else 0.0)
        for name, value in made.items():
            quantize.place(module, name, value.detach(), device, kind)
