"""Tensors on their way between files and models: read one by one, a LoRA added as its weight passes, written in shards.

Nothing here holds more than one file's worth of tensors: what is read is mapped from disk, and given up with its file.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from llava_ecg.checkpoint.files.headers import Header, TensorRef, read_header
from llava_ecg.checkpoint.source import Source
from llava_ecg.errors import InputError

SHARD_BYTES = 5_000_000_000

WHY_TRUST = (
    "opening such a file runs code that its maker chose, with your rights; if you trust where it came from, say "
    "--trust-pickle "
    "(trust_pickle=True), otherwise ask for a safetensors file"
)


class _File(Protocol):
    def get(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU, mapped from disk where that can be."""


@dataclass
class Rounding:
    """What rounding to 16 bits takes from a LoRA: its steps are small beside the weights that they are added to.

    Attributes:
        dtype: that the sums are rounded to; None for that of each weight's file.
        lost, whole: squared norms of what rounding changed and of what the LoRA changed, over all weights so far.
        coarse: the dtype that was rounded to, None as long as nothing was.
    """

    dtype: torch.dtype | None = None
    lost: float = 0.0
    whole: float = 0.0
    coarse: torch.dtype | None = None

    def add(self, total: torch.Tensor, step: torch.Tensor, filed: torch.dtype) -> None:
        """Count one weight: the sum [out, in], the LoRA's part of it, and the dtype of the weight's file."""
        kind = self.dtype or filed
        if kind.itemsize < total.dtype.itemsize:
            self.coarse = kind
            self.lost += float((total.to(kind).to(total.dtype) - total).norm()) ** 2
            self.whole += float(step.norm()) ** 2

    @property
    def share(self) -> float:
        """Norm of what was lost over that of what the LoRA changed: 0 where nothing was."""
        return (self.lost / self.whole) ** 0.5 if self.whole else 0.0

    def said(self) -> str | None:
        """The clause for a person, where a hundredth or more is lost."""
        if self.coarse is None or not self.share >= 0.01:
            return None
        return (
            f"rounding to {str(self.coarse).removeprefix('torch.')} takes {100 * self.share:.0f} % of what the "
            "LoRA changes in the weights"
        )


def stream(
    source: Source, *, trust_pickle: bool = False, exact: bool = False, rounding: Rounding | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a source under our name, file by file, with its LoRA pair added; the sum is taken in float32 (or
    float64).

    Args:
        trust_pickle: open what torch's weights_only refuses.
        exact: give a sum with a LoRA as it was computed; else in the dtype of the weight's file, as all other tensors.
        rounding: is told of every sum.

    Yields:
        (name, tensor). The tensor may be a view of the file, which is closed when the next file is begun: copy what is
            to stay.

    Raises:
        InputError: a file that can't be read, or a pickle that is not trusted.
    """
    with ExitStack() as always:
        pairs = _pair_files(source, always, trust_pickle)
        for path, refs in _by_file(source.tensors).items():
            with ExitStack() as now:
                file = _open(path, now, trust_pickle)
                for name, ref in refs.items():
                    tensor = file.get(ref.name)
                    delta = source.deltas.get(name)
                    if delta is not None:
                        filed, wide = tensor.dtype, torch.promote_types(tensor.dtype, torch.float32)
                        a, b = pairs[delta.a.path].get(delta.a.name), pairs[delta.b.path].get(delta.b.name)
                        step = delta.scale * (b.to(wide) @ a.to(wide))
                        tensor = tensor.to(wide) + step
                        if rounding is not None:
                            rounding.add(tensor, step, filed)
                        tensor = tensor if exact else tensor.to(filed)
                        del step
                    yield name, tensor
                    del tensor


def read_tensor(ref: TensorRef, *, trust_pickle: bool) -> torch.Tensor:
    """One tensor, copied out of its file; errors and `trust_pickle` as for `stream`."""
    with ExitStack() as stack:
        return _open(ref.path, stack, trust_pickle).get(ref.name).clone()


def order(source: Source) -> list[str]:
    """Our names in the order in which `stream` gives them."""
    return [name for refs in _by_file(source.tensors).values() for name in refs]


def write(
    folder: Path, tensors: Iterable[tuple[str, torch.Tensor]], sizes: Mapping[str, int], shard_bytes: int = SHARD_BYTES
) -> None:
    """Write ``model.safetensors``, or its shards and their index, into a folder.

    Args:
        tensors: (name, tensor), in the order of `sizes`.
        sizes: name -> bytes, of all of them.
        shard_bytes: a shard is closed before it grows beyond this (a larger tensor has one of its own).
    """
    shards = _shards(sizes, shard_bytes)
    names = [f"model-{at:05}-of-{len(shards):05}.safetensors" for at in range(1, len(shards) + 1)]
    if len(shards) <= 1:
        names = ["model.safetensors"]
    given = iter(tensors)
    for file, members in zip(names, shards or [[]], strict=True):
        held: dict[str, torch.Tensor] = {}
        for expected in members:
            name, tensor = next(given)
            if name != expected:
                raise RuntimeError(f"{name} came where {expected} was planned")
            held[name] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        save_file(held, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors makes its file for the owner alone
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {name: file for file, members in zip(names, shards, strict=True) for name in members},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _shards(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def _by_file(tensors: Mapping[str, TensorRef]) -> dict[Path, dict[str, TensorRef]]:
    files: dict[Path, dict[str, TensorRef]] = {}
    for name, ref in tensors.items():
        files.setdefault(ref.path, {})[name] = ref
    return files


def _pair_files(source: Source, stack: ExitStack, trust_pickle: bool) -> dict[Path, _File]:
    paths = {ref.path for delta in source.deltas.values() for ref in (delta.a, delta.b)}
    return {path: _open(path, stack, trust_pickle) for path in sorted(paths)}


# -- files -------------------------------------------------------------------------------------------------------------


def _open(path: Path, stack: ExitStack, trust_pickle: bool) -> _File:
    try:
        header = read_header(path)
        return _Safetensors(path, stack) if header.format == "safetensors" else _Pickle(header, trust_pickle)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} can't be read ({error}); copy it again") from error


class _Safetensors:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._file: Any = stack.enter_context(safe_open(path, framework="pt"))

    def get(self, name: str) -> torch.Tensor:
        try:
            tensor: torch.Tensor = self._file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self._path} can't be read ({error}); copy it again") from error
        return tensor


class _Pickle:
    def __init__(self, header: Header, trust_pickle: bool) -> None:
        path = header.path
        if header.refused and not trust_pickle:
            raise InputError(f"{path} asks for {', '.join(header.refused[:3])} when it is opened: {WHY_TRUST}")
        try:
            held = torch.load(path, map_location="cpu", mmap=not header.legacy, weights_only=not trust_pickle)
        except pickle.UnpicklingError as error:
            raise InputError(f"{path} holds more than tensors ({_first_line(error)}): {WHY_TRUST}") from error
        except Exception as error:  # what a damaged pickle raises is anything
            raise InputError(
                f"{path} can't be read ({type(error).__name__}: {_first_line(error)}); copy it again"
            ) from error
        self._path = path
        self._tensors: Mapping[str, Any] = held[header.container] if header.container else held

    def get(self, name: str) -> torch.Tensor:
        tensor = self._tensors[name]
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"{self._path}: {name} is no tensor")
        return tensor.detach()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
