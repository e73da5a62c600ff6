"""What tensors a weight file holds, read from its header: names, shapes and dtypes, never their data.

Standard library only, so that a look at a folder of 14 GB costs no import of torch. Files may come from anywhere:
nothing in them is run, and what is wrong with one is said in a sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.files.pickles import AGAIN, Damaged, check, natural, shown
from llava_ecg.checkpoint.files.torch_files import Reader, is_legacy, read_legacy, read_zip
from llava_ecg.checkpoint.files.torch_names import ITEMSIZE
from llava_ecg.errors import InputError

HEADER_LIMIT = 100_000_000  # bytes, the safetensors format's own limit
INDEXES = {"model.safetensors.index.json": "model.safetensors", "pytorch_model.bin.index.json": "pytorch_model.bin"}
_DTYPES = {  # safetensors' name -> torch's; F6_E2M3 and F6_E3M2 have none
    **{
        "BOOL": "bool",
        "U8": "uint8",
        "I8": "int8",
        "U16": "uint16",
        "I16": "int16",
        "U32": "uint32",
        "I32": "int32",
        "U64": "uint64",
    },
    **{"I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{
        "F8_E4M3": "float8_e4m3fn",
        "F8_E4M3FNUZ": "float8_e4m3fnuz",
        "F8_E5M2": "float8_e5m2",
        "F8_E5M2FNUZ": "float8_e5m2fnuz",
    },
    **{"F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2"},
}


@dataclass(frozen=True)
class TensorRef:
    """Where a tensor lies and what it is.

    Attributes:
        path: the file.
        name: its name in that file.
        shape: sizes, outermost first.
        dtype: torch's name for it, such as ``bfloat16``.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.numel * ITEMSIZE[self.dtype]


Tensors = dict[str, TensorRef]


@dataclass(frozen=True)
class Header:
    """What one weight file holds.

    Attributes:
        path: the file.
        format: ``safetensors`` or ``pickle``.
        tensors: name -> `TensorRef`.
        refused: what ``torch.load(weights_only=True)`` would stop at: names that the pickle wants imported
            (``argparse.Namespace``) and opcodes (``pickle opcode FRAME``), the first hundred. A file that has any wants
            ``--trust-pickle``.
        container: the key under which the state dict lies, such as ``state_dict``; empty where it is the whole file.
        legacy: a pickle as torch wrote it before 1.6, no zip file; ``torch.load(mmap=True)`` can't open it.
    """

    path: Path
    format: str
    tensors: dict[str, TensorRef]
    refused: tuple[str, ...] = ()
    container: str = ""
    legacy: bool = False


def read_header(path: Path | str) -> Header:
    """The tensors of one ``.safetensors``, ``.bin``, ``.pt`` or ``.pth`` file; which it is, its content decides.

    Raises:
        InputError: no such file; it is neither format, cut short, damaged, larger than a header may be, or holds no
            tensors.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _read(path, file)
    except Damaged as error:
        raise InputError(f"{path} {error}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"{path} has a header that takes more memory than there is; {AGAIN}") from error


def weight_files(folder: Path | str) -> list[Path]:
    """The weight files of a checkpoint folder, the shards of an index in sorted order; empty if it has none.

    The first of these decides: model.safetensors.index.json, model.safetensors, pytorch_model.bin.index.json,
    pytorch_model.bin. Whether the shards are there is not looked at; `read_folder` does.

    Raises:
        InputError: not a folder, or a faulty index.
    """
    return _weights(Path(folder))[0]


def read_folder(folder: Path | str) -> list[Header]:
    """The headers of `weight_files`, held against the index where there is one.

    Raises:
        InputError: no weight files; a shard is absent; the index names a tensor that its shard lacks; two shards hold
            the same tensor; or what `read_header` says of a file.
    """
    folder = Path(folder)
    files, index, weight_map = _weights(folder)
    if not files:
        raise InputError(
            f"{folder} has no weights: none of {', '.join(name for pair in INDEXES.items() for name in pair)} is there"
        )
    absent = [file.name for file in files if not file.is_file()]
    if absent:
        raise InputError(
            f"{index} names {len(files)} files, {len(absent)} of which are absent: {_some(absent)}; download them"
        )
    headers = [read_header(file) for file in files]
    holders: dict[str, str] = {}
    for header in headers:
        for name in header.tensors:
            if name in holders:
                raise InputError(
                    f"{folder} holds the tensor {shown(name)} in both {holders[name]} and {header.path.name}; {AGAIN}"
                )
            holders[name] = header.path.name
    lacking = [f"{shown(name)} ({file})" for name, file in weight_map.items() if holders.get(name) != file]
    if lacking:
        raise InputError(
            f"{index} names {len(weight_map)} tensors, {len(lacking)} of which are not in the file it names: "
            f"{_some(lacking)}; {AGAIN}"
        )
    return headers


def read_json(path: Path | str) -> dict[str, Any]:
    """A JSON object from a UTF-8 file.

    Raises:
        InputError: no such file, not UTF-8, not JSON, no object, nested too deep, or a key that occurs twice.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _parse(file.read())
    except Damaged as error:
        raise InputError(f"{path} {error}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error


def _open(path: Path) -> Reader:
    if "\0" in str(path):
        raise Damaged("is no path: it has a zero byte in it")
    if not path.is_file():  # opening a pipe would wait for its other end
        raise Damaged("is no file; check the path" if path.exists() else "is not there; check the path")
    return Reader(path)


def _read(path: Path, file: Reader) -> Header:
    head = file.read(64)
    file.seek(0)
    if head[8:9] == b"{":
        return Header(path, "safetensors", _read_safetensors(path, file))
    if head.startswith(b"PK\x03\x04"):
        state = read_zip(file)
    elif is_legacy(head):
        state = read_legacy(file)
    elif head.startswith(b"version https://git-lfs"):
        raise Damaged("is a Git LFS pointer, not the weights themselves; fetch them with git lfs pull")
    else:
        raise Damaged(
            f"({file.size:,} bytes) is neither safetensors nor a PyTorch file; give one that safetensors or "
            "torch.save wrote"
        )
    tensors = {_name(name): TensorRef(path, name, tensor.shape, tensor.dtype) for name, tensor in state.tensors.items()}
    return Header(path, "pickle", tensors, state.refused, state.container, legacy=is_legacy(head))


def _read_safetensors(path: Path, file: Reader) -> dict[str, TensorRef]:
    """The table of a safetensors file: 8 bytes of its length (little-endian), it as JSON, then the tensors without
    gaps."""
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER_LIMIT:
        raise Damaged(
            f"is damaged or no safetensors file: its header would take {length:,} bytes, the limit is "
            f"{HEADER_LIMIT:,}; {AGAIN}"
        )
    if 8 + length > file.size:
        raise Damaged(f"is cut short: its header promises {8 + length:,} bytes, {file.size:,} are there; {AGAIN}")
    file.limit = HEADER_LIMIT
    table = _parse(file.read(length))
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Damaged(f"is damaged: its __metadata__ is not a table of texts; {AGAIN}")
    if not table:
        raise Damaged("holds no tensors")
    tensors, spans = {}, []
    for name, entry in table.items():
        tensors[_name(name)], start, stop = _entry(path, name, entry)
        spans.append((start, stop, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise Damaged(
                f"is damaged: its tensor {shown(name)} begins at byte {start:,} where the one before ended at "
                f"{end:,}; {AGAIN}"
            )
        end = stop
    promised = 8 + length + end
    if promised != file.size:
        what = "cut short" if promised > file.size else "damaged"
        raise Damaged(f"is {what}: its header promises {promised:,} bytes, {file.size:,} are there; {AGAIN}")
    return tensors


def _entry(path: Path, name: str, entry: Any) -> tuple[TensorRef, int, int]:
    """One row of the table: the tensor, and where its bytes begin and end in the data."""
    values = entry if isinstance(entry, dict) else {}
    kind, sizes, span = values.get("dtype"), values.get("shape"), values.get("data_offsets")
    if (
        not isinstance(kind, str)
        or not isinstance(sizes, list)
        or not isinstance(span, list)
        or len(span) != 2
        or not all(map(natural, span))
    ):
        raise Damaged(f"is damaged: its entry for {shown(name)} is not a dtype, a shape and two offsets; {AGAIN}")
    if kind not in _DTYPES:
        raise Damaged(
            f"holds {shown(name)} in {shown(kind)}, which torch has no dtype for; known are {', '.join(_DTYPES)}"
        )
    check(sizes)
    shape = tuple(sizes)
    if kind == "F4":  # counted in half bytes there, in bytes by torch
        if not shape or shape[-1] % 2:
            raise Damaged(f"is damaged: its tensor {shown(name)} has rows of {shape[-1:]} half bytes; {AGAIN}")
        shape = (*shape[:-1], shape[-1] // 2)
    tensor = TensorRef(path, name, shape, _DTYPES[kind])
    if span[1] - span[0] != tensor.nbytes:
        raise Damaged(
            f"is damaged: its tensor {shown(name)} of {list(shape)} in {tensor.dtype} takes {tensor.nbytes:,} bytes, "
            f"{span[1] - span[0]:,} are set aside for it; {AGAIN}"
        )
    return tensor, span[0], span[1]


def _name(name: str) -> str:
    """A tensor's name, if it can stand in a listing: control characters could rewrite a terminal."""
    if not name.isprintable():
        raise Damaged(f"is damaged or made to deceive: a tensor is named {shown(name)}; {AGAIN}")
    return name


def _weights(folder: Path) -> tuple[list[Path], Path | None, dict[str, str]]:
    """The weight files of a folder, the index that names them, and what it says: tensor -> file name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one that holds a checkpoint")
    for index, whole in INDEXES.items():
        if (folder / index).is_file():
            weight_map = _weight_map(folder / index)
            return [folder / name for name in sorted(set(weight_map.values()))], folder / index, weight_map
        if (folder / whole).is_file():
            return [folder / whole], None, {}
    return [], None, {}


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f'{index} is no index: it has no "weight_map" of tensor names and files')
    for name, file in weight_map.items():
        if (
            not isinstance(file, str)
            or not file.isprintable()
            or file in ("", ".", "..")
            or "/" in file
            or "\\" in file
        ):
            raise InputError(
                f"{index} says that {shown(name)} is in {shown(str(file))}, which is not the name of a file beside it"
            )
    return weight_map


def _parse(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Damaged: it is something else.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise Damaged(f"is damaged: its JSON is not UTF-8 (byte {error.start:,}); {AGAIN}") from error
    except RecursionError as error:
        raise Damaged(f"is damaged: its JSON nests too deep; {AGAIN}") from error
    except ValueError as error:
        raise Damaged(f"is damaged: its JSON can't be read ({error}); {AGAIN}") from error
    if not isinstance(value, dict):
        raise Damaged(f"is damaged: its JSON is a {type(value).__name__} where an object should be; {AGAIN}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return values


def _some(names: Sequence[str]) -> str:
    """The first three of a list and the count of the rest."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
