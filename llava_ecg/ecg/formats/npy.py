"""The arrays in .npy and .npz files, of which none is made before the file is known to hold its numbers: a header may
promise any shape, and a compressed archive any length."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as layout

from llava_ecg.ecg.formats.reader import most_numbers
from llava_ecg.errors import InputError

_HEADER_BYTES = 12 + 10_000  # NumPy reads no header of more than 10,000 letters


class Part(NamedTuple):
    """Of an array of one or two axes, what lies on one of them from one place to another."""

    axis: int
    first: int
    last: int


class _Header(NamedTuple):
    """What an array is, and whether it is filed column by column."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype


Choose = Callable[[tuple[int, ...]], Part | None]
"""The part that is wanted of an array of some shape; None for all of it."""


def load_npy(path: Path, choose: Choose | None = None) -> np.ndarray:
    """The array in a .npy file, or a part of it, of which no more is held then.

    Raises:
        InputError: it promises more than it holds.
        ValueError: it is no such file, or its values are Python objects.
    """
    with path.open("rb") as file:
        return _array(path, file, path.stat().st_size, choose)


def shape_of(path: Path) -> tuple[int, ...]:
    """The shape of the array in a .npy file, once the file is known to hold it.

    Raises:
        InputError: it promises more than it holds.
        ValueError: it is no such file, or its values are Python objects.
    """
    with path.open("rb") as file:
        return _header(path, file, path.stat().st_size).shape


class Npz:
    """A .npz file that is open."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
        self.names = list(self._members)

    def load(self, name: str, choose: Choose | None = None) -> np.ndarray:
        """An array of the file, or a part of it, of which no more is held then.

        Raises:
            InputError: it promises more than there is of it, or is more than a file of this size holds.
            ValueError: values are Python objects.
        """
        size = self._members[name].file_size  # no more than this comes out of it
        if size > 8 * most_numbers(self._path.stat().st_size):
            raise InputError(f"{self._path} promises {size:,} bytes for {name!r}, more than a file of its size holds")
        with self._archive.open(self._members[name]) as file:
            return _array(self._path, file, size, choose)


@contextmanager
def open_npz(path: Path) -> Iterator[Npz]:
    """A .npz file.

    Raises:
        zipfile.BadZipFile: it is no such file.
    """
    with zipfile.ZipFile(path) as archive:
        yield Npz(path, archive)


def _header(path: Path, file: IO[bytes], size: int) -> _Header:
    """What the array is in a file or a member of so many bytes, which is then at its first number."""
    head = BytesIO(file.read(_HEADER_BYTES))  # one may say that it is 4 GB long, and NumPy asks for that
    version = layout.read_magic(head)
    if version == (1, 0):
        shape, by_columns, dtype = layout.read_array_header_1_0(head)
    elif version == (2, 0):
        shape, by_columns, dtype = layout.read_array_header_2_0(head)
    else:
        raise ValueError(f"its arrays are of version {version[0]}.{version[1]}, which numbers don't need")
    if dtype.hasobject:
        raise ValueError("its values are Python objects, which are not read")
    file.seek(head.tell())
    count = math.prod(shape)
    if count * dtype.itemsize > size - file.tell():
        raise InputError(
            f"{path} is cut short: an array of {' x '.join(map(str, shape))} takes {count * dtype.itemsize:,} bytes, "
            f"and {size - file.tell():,} are there"
        )
    return _Header(shape, by_columns, dtype)


def _array(path: Path, file: IO[bytes], size: int, choose: Choose | None) -> np.ndarray:
    """An array, or a part of it, behind its header, in a file or a member of so many bytes."""
    shape, by_columns, dtype = _header(path, file, size)
    part = None if choose is None else choose(shape)
    if part is not None:
        if by_columns:  # as it is filed, the last axis is the first
            flat = _Flat(file, file.tell(), dtype, shape[::-1])
            return flat.read(Part(len(shape) - 1 - part.axis, part.first, part.last)).T
        return _Flat(file, file.tell(), dtype, shape).read(part)
    values = _values(file, dtype, math.prod(shape))
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)


class _Flat(NamedTuple):
    """Numbers in a file from some byte on, the last axis next to each other."""

    file: IO[bytes]
    begin: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self, part: Part) -> np.ndarray:
        """The part, of which each stretch of numbers that lie together is read alone."""
        count = part.last - part.first
        if part.axis == 0:
            width = math.prod(self.shape[1:])
            return self._from(part.first * width, count * width).reshape(count, *self.shape[1:])
        rows, width = self.shape
        return np.stack([self._from(row * width + part.first, count) for row in range(rows)])

    def _from(self, place: int, count: int) -> np.ndarray:
        self.file.seek(self.begin + place * self.dtype.itemsize)
        return _values(self.file, self.dtype, count)


def _values(file: IO[bytes], dtype: np.dtype, count: int) -> np.ndarray:
    content = file.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise ValueError("it ends within an array")
    return np.frombuffer(content, dtype, count)
