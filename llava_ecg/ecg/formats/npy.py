"""The arrays in .npy and .npz files, of which none is made before the file is known to hold its numbers: a header may
promise any shape, and a compressed archive any length."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as layout

from llava_ecg.ecg.formats.reader import most_numbers
from llava_ecg.errors import InputError

_HEADER_BYTES = 12 + 10_000  # NumPy reads no header of more than 10,000 letters


def load_npy(path: Path) -> np.ndarray:
    """The array in a .npy file.

    Raises:
        InputError: it promises more than it holds.
        ValueError: it is no such file, or its values are Python objects.
    """
    with path.open("rb") as file:
        return _array(path, file, path.stat().st_size)


def load_npz(path: Path, wanted: Collection[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """(names of all arrays, those that are wanted) of a .npz file.

    Raises:
        InputError: an array promises more than there is of it, or is more than a file of this size holds.
        zipfile.BadZipFile, ValueError: it is no such file, or values are Python objects.
    """
    most = 8 * most_numbers(path.stat().st_size)
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        members = {each.filename.removesuffix(".npy"): each for each in archive.infolist()}
        for name in wanted:
            if name not in members:
                continue
            size = members[name].file_size  # no more than this comes out of it
            if size > most:
                raise InputError(f"{path} promises {size:,} bytes for {name!r}, more than a file of its size holds")
            with archive.open(members[name]) as file:
                found[name] = _array(path, file, size)
    return list(members), found


def _array(path: Path, file: IO[bytes], size: int) -> np.ndarray:
    """An array behind its header, in a file or a member of so many bytes."""
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
    content = file.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise ValueError("it ends within an array")
    values = np.frombuffer(content, dtype, count)
    return values.reshape(shape[::-1]).T if by_columns else values.reshape(shape)
