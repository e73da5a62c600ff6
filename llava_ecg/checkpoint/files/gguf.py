"""GGUF, the one-file format of llama.cpp, read with numpy. What a llama model in it is to transformers: `gguf_llama`.

A file is: magic and version, metadata (key -> value), one record per tensor (name, sizes, type, offset), padding,
tensor data. Nothing in it is trusted: every count is held against the bytes that are there before anything of that size
is made.

Sources: the format's description (ggml-org/ggml, docs/gguf.md) and the block layouts of ggml. Axes: O rows (outputs),
I columns (inputs), E elements of a block.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from llava_ecg.errors import InputError

_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_MAX_NAME = 65535

# Metadata value types: number -> struct code; 8 is a string, 9 an array of one of the others.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_TYPE_NAMES = (
    *(
        "F32",
        "F16",
        "Q4_0",
        "Q4_1",
        "Q4_2",
        "Q4_3",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        "Q8_1",
        "Q2_K",
        "Q3_K",
        "Q4_K",
        "Q5_K",
        "Q6_K",
        "Q8_K",
    ),
    *(
        "IQ2_XXS",
        "IQ2_XS",
        "IQ3_XXS",
        "IQ1_S",
        "IQ4_NL",
        "IQ3_S",
        "IQ2_S",
        "IQ4_XS",
        "I8",
        "I16",
        "I32",
        "I64",
        "F64",
        "IQ1_M",
        "BF16",
    ),
)
# Type -> one block as filed; a block holds so many elements of one row.
_BLOCKS: dict[str, tuple[int, np.dtype[Any]]] = {
    "F32": (1, np.dtype("<f4")),
    "F16": (1, np.dtype("<f2")),
    "Q4_0": (32, np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])),
    "Q4_1": (32, np.dtype([("scale", "<f2"), ("least", "<f2"), ("nibbles", "u1", 16)])),
    "Q8_0": (32, np.dtype([("scale", "<f2"), ("values", "i1", 32)])),
}


@dataclass(frozen=True)
class _Record:
    """Where a tensor lies: sizes outermost first, type name, first byte in the file."""

    shape: tuple[int, ...]
    kind: str
    start: int

    @property
    def blocks(self) -> int:
        return math.prod(self.shape) // _BLOCKS[self.kind][0]

    @property
    def end(self) -> int:
        return self.start + self.blocks * _BLOCKS[self.kind][1].itemsize


class Tensors(Mapping[str, np.ndarray]):
    """Name -> float32 array, read and dequantised anew at each access; ``shape`` reads nothing."""

    def __init__(self, path: Path, records: Mapping[str, _Record]) -> None:
        self._path = path
        self._records = records

    def __getitem__(self, name: str) -> np.ndarray:
        record = self._records[name]
        filed = np.fromfile(self._path, dtype=_BLOCKS[record.kind][1], count=record.blocks, offset=record.start)
        if filed.size != record.blocks:
            raise InputError(
                f"{self._path} was cut short while it was being read, in the tensor {name!r}; get the file again"
            )
        return dequantise(filed, record.kind).reshape(record.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes, outermost first (a GGUF file has them innermost first)."""
        return self._records[name].shape


@dataclass(frozen=True)
class Gguf:
    """An open GGUF file: its metadata (arrays of numbers as numpy, of strings as lists) and its tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: Tensors


def dequantise(filed: np.ndarray, kind: str) -> np.ndarray:
    """Blocks as filed -> float32 values, flat, in the order of the format.

    The four-bit types keep elements 0-15 of a block in the low halves of its bytes and 16-31 in the high halves.
    The arithmetic is done in float32 in ggml's order (scale times integer, then the offset), so the bits agree with its
    own.
    """
    if kind in ("F32", "F16"):
        return filed.astype(np.float32)
    scale = filed["scale"].astype(np.float32)[:, None]
    if kind == "Q8_0":
        return (scale * filed["values"]).reshape(-1)
    integers_E = np.concatenate([filed["nibbles"] & 15, filed["nibbles"] >> 4], axis=1)
    if kind == "Q4_0":
        return (scale * (integers_E.astype(np.int8) - np.int8(8))).reshape(-1)
    return (scale * integers_E + filed["least"].astype(np.float32)[:, None]).reshape(-1)


def read_gguf(path: str | Path) -> Gguf:
    """Read the header of a GGUF file (versions 2 and 3, little-endian); tensors are read when asked for.

    Raises:
        InputError: no such file, not GGUF, cut short or inconsistent, or a tensor type other than F32, F16, Q4_0, Q4_1,
            Q8_0.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _Header(path, file).read()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}; give a GGUF file") from error


class _Header:
    """One pass over the header. ``take`` is the only way to bytes, and hands out none that the file has not got."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.left = self.size = path.stat().st_size

    def read(self) -> Gguf:
        if self.size < 4 or self.take(4) != b"GGUF":
            raise InputError(f"{self.path} is not a GGUF file (it doesn't begin with the letters GGUF); give one")
        version = self.number("I")
        if version not in _VERSIONS:
            raise self.bad(
                f"is GGUF version {version}, and versions {_VERSIONS[0]} and {_VERSIONS[1]} (little-endian) can be read"
            )
        tensor_count, value_count = self.number("Q"), self.number("Q")
        self.expect(tensor_count, 32, "tensors")
        self.expect(value_count, 13, "metadata values")
        metadata: dict[str, Any] = {}
        for _ in range(value_count):
            key = self.string(_MAX_NAME)
            if key in metadata:
                raise self.bad(f"has the metadata key {key!r} twice")
            metadata[key] = self.value(self.number("I"))
        return Gguf(self.path, metadata, Tensors(self.path, self.records(tensor_count, metadata)))

    def records(self, count: int, metadata: Mapping[str, Any]) -> dict[str, _Record]:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment % 8:
            raise self.bad(f"has the alignment {alignment!r}, which is not a multiple of 8")
        found: dict[str, _Record] = {}
        for _ in range(count):
            name = self.string(_MAX_NAME)
            if name in found:
                raise self.bad(f"has the tensor {name!r} twice")
            found[name] = self.record(name)
        data = -(-(self.size - self.left) // alignment) * alignment
        placed: dict[str, _Record] = {}
        for name, record in found.items():
            placed[name] = _Record(record.shape, record.kind, data + record.start)
            if record.start % alignment or placed[name].end > self.size:
                raise self.bad(
                    f"has {self.size} bytes, and its tensor {name!r} would take bytes {placed[name].start} to "
                    f"{placed[name].end}"
                )
        in_order = sorted(placed.items(), key=lambda item: item[1].start)
        for (name, record), (following, following_record) in zip(in_order, in_order[1:], strict=False):
            if record.end > following_record.start:
                raise self.bad(f"has the tensors {name!r} and {following!r} on the same bytes")
        return placed

    def record(self, name: str) -> _Record:
        dimensions = self.number("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise self.bad(
                f"gives the tensor {name!r} {dimensions} dimensions, where 1 to {_MAX_DIMENSIONS} are possible"
            )
        shape = tuple(self.number("Q") for _ in range(dimensions))[::-1]
        number = self.number("I")
        kind = _TYPE_NAMES[number] if number < len(_TYPE_NAMES) else f"number {number}"
        if kind not in _BLOCKS:
            raise InputError(
                f"{self.path}: the tensor {name!r} is of type {kind}, and {', '.join(_BLOCKS)} can be read; give a "
                "file of these"
            )
        if 0 in shape or shape[-1] % _BLOCKS[kind][0]:
            raise self.bad(
                f"gives the tensor {name!r} the sizes {list(shape)}, which {kind} blocks of {_BLOCKS[kind][0]} "
                "can't hold"
            )
        return _Record(shape, kind, self.number("Q"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(self.scalar(kind))
        kind, count = self.number("I"), self.number("Q")
        if kind == _STRING:
            self.expect(count, 8, "strings in a list")
            return [self.string() for _ in range(count)]
        # An array stays numpy: a list of Python numbers would take up to forty times the bytes of a hostile file.
        dtype = np.dtype(self.scalar(kind)).newbyteorder("<")
        self.expect(count, dtype.itemsize, "numbers in a list")
        return np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)

    def scalar(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise self.bad(f"has a metadata value of the unknown type {kind}")
        return _SCALARS[kind]

    def string(self, longest: int | None = None) -> str:
        length = self.number("Q")
        if longest is not None and length > longest:
            raise self.bad(f"has a name of {length} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.bad(f"has text that is not UTF-8 before byte {self.size - self.left}") from error

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def expect(self, count: int, least_bytes: int, what: str) -> None:
        if count * least_bytes > self.left:
            raise self.bad(f"announces {count} {what} with only {self.left} bytes left")

    def take(self, length: int) -> bytes:
        taken = self.file.read(length) if length <= self.left else b""
        if len(taken) < length:
            raise self.bad(
                f"ends after {self.size} bytes, {length} more were announced at byte {self.size - self.left}"
            )
        self.left -= length
        return taken

    def bad(self, what: str) -> InputError:
        return InputError(f"{self.path} {what}; it is damaged or not for this reader, get it again")
