"""PyTorch weight files as bytes on disk: the zip files of torch.save and its older format, without torch and without
tensor data."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.files.pickles import AGAIN, Damaged, Made, Pickle, Tensor, shown

READ_LIMIT = 1 << 26  # bytes of pickle, of a zip's table, of a JSON file; a 7B shard has 0.1 MB
CONTAINERS = ("state_dict", "model", "model_state_dict", "module")  # keys under which trainers file a state dict
MAGIC, VERSION = (
    0x1950A86A20F9469CFC6C,
    1001,
)  # the first two pickles of what torch.save wrote before it wrote zip files


class Reader(io.BufferedReader):
    """A file that gives at most `limit` bytes at once, whatever a header makes somebody ask for.

    Attributes:
        limit: bytes.
        size: length of the file in bytes.
    """

    def __init__(self, path: Path, limit: int = READ_LIMIT) -> None:
        super().__init__(io.FileIO(path))
        self.limit = limit
        self.size = self.seek(0, io.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes or what is left of them; all that is left if negative."""
        rest = max(0, self.size - self.tell())
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted > self.limit:
            raise Damaged(f"has a header part of {wanted:,} bytes, the limit is {self.limit:,}; {AGAIN}")
        return super().read(wanted)

    def readline(self, size: int | None = -1) -> bytes:
        """A line, cut at `limit`."""
        return super().readline(self.limit)


@dataclass(frozen=True)
class State:
    """What a PyTorch file holds; the fields are those of `llava_ecg.checkpoint.files.headers.Header`."""

    tensors: dict[str, Tensor]
    container: str
    refused: tuple[str, ...]


def read_zip(file: Reader) -> State:
    """The tensors of a file that torch.save wrote (since torch 1.6: a zip of data.pkl and one part for each storage).

    Raises:
        Damaged: cut short, inconsistent, a TorchScript archive or another zip, no tensors.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, LookupError) as error:
        raise Damaged(
            f"is cut short or damaged: a PyTorch file ends with a table of its parts, which its {file.size:,} "
            f"bytes lack; {AGAIN}"
        ) from error
    parts = {part.filename: part for part in archive.infolist()}
    if len(parts) != len(archive.infolist()):
        raise Damaged(f"is damaged: its table of parts names one twice; {AGAIN}")
    top = next(iter(parts), "").partition("/")[0]
    if any(name == f"{top}/constants.pkl" or name.startswith(f"{top}/code/") for name in parts):
        raise Damaged(
            "is a TorchScript archive, a program rather than weights; save the model's state_dict() with "
            "torch.save instead"
        )
    if f"{top}/data.pkl" not in parts:
        raise Damaged("is neither safetensors nor a PyTorch file, but a zip of something else")
    for part in parts.values():
        if not 0 <= part.header_offset <= part.header_offset + part.compress_size <= archive.start_dir:
            raise Damaged(
                f"is damaged: its part {shown(part.filename)} would end outside its {file.size:,} bytes; {AGAIN}"
            )
        if part.flag_bits & 1 or part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Damaged(
                f"has a part {shown(part.filename)} that is encrypted or packed in a way torch can't read; {AGAIN}"
            )
    pickle = Pickle(io.BytesIO(_unpack(file, parts[f"{top}/data.pkl"])))
    value = pickle.load()
    for key, storage in pickle.storages.items():
        stored = parts.get(f"{top}/data/{key}")
        if stored is None or stored.file_size < storage.nbytes:
            there = stored.file_size if stored else 0
            raise Damaged(
                f"is damaged: its storage {shown(key)} should have {storage.nbytes:,} bytes, {there:,} are there; "
                f"{AGAIN}"
            )
    return _state(value, pickle)


def _unpack(file: Reader, part: zipfile.ZipInfo) -> bytes:
    """The bytes of a zip's part. Not through zipfile, because torch can be told to write no checksums, which zipfile
    insists on."""
    if part.file_size > READ_LIMIT or part.compress_size > READ_LIMIT:
        raise Damaged(
            f"is not opened: its pickle has {part.file_size:,} bytes, the limit is {READ_LIMIT:,}; save the state "
            "dict alone"
        )
    file.seek(part.header_offset)
    local = file.read(30)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise Damaged(f"is damaged: its part {shown(part.filename)} is not where its table says; {AGAIN}")
    file.seek(int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little"), io.SEEK_CUR)
    data = file.read(part.compress_size)
    if part.compress_type == zipfile.ZIP_DEFLATED:
        try:
            data = zlib.decompressobj(-15).decompress(data, part.file_size + 1)
        except zlib.error as error:
            raise Damaged(
                f"is damaged: its part {shown(part.filename)} can't be unpacked ({error}); {AGAIN}"
            ) from error
    if len(data) != part.file_size:
        raise Damaged(
            f"is damaged: its part {shown(part.filename)} should have {part.file_size:,} bytes, {len(data):,} are "
            f"there; {AGAIN}"
        )
    return data


def is_legacy(head: bytes) -> bool:
    """Whether a file that begins so is what torch.save wrote before torch 1.6."""
    return head.startswith(b"\x80") and MAGIC.to_bytes(10, "little") in head[:32]


def read_legacy(file: Reader) -> State:
    """The tensors of a file that torch.save wrote before torch 1.6, or writes with
    ``_use_new_zipfile_serialization=False``.

    Five pickles one after the other (magic number, version, machine, the object, the storages' keys), then for each
    storage its number of elements in 8 bytes and the elements.

    Raises:
        Damaged: cut short, inconsistent, no tensors.
    """
    pickle = Pickle(file)
    if pickle.load() != MAGIC or pickle.load() != VERSION:
        raise Damaged(f"is damaged: it is not of PyTorch's old format in version {VERSION}; {AGAIN}")
    pickle.load()
    value, keys = pickle.load(), pickle.load()
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(pickle.storages)
    ):
        raise Damaged(f"is damaged: its list of storages is not that of its tensors; {AGAIN}")
    at = file.tell()
    for key in keys:
        storage = pickle.storages[key]
        file.seek(at)
        count, at = int.from_bytes(file.read(8), "little"), at + 8 + storage.nbytes
        if at > file.size:
            raise Damaged(
                f"is cut short: its storage {shown(key)} ends at byte {at:,}, {file.size:,} are there; {AGAIN}"
            )
        if count != storage.numel:
            raise Damaged(
                f"is damaged: its storage {shown(key)} should have {storage.numel:,} elements and has {count:,}; "
                f"{AGAIN}"
            )
    return _state(value, pickle)


def _state(value: Any, pickle: Pickle) -> State:
    """The state dict in what a file holds: at the top, or under one of `CONTAINERS`."""
    refused = tuple(pickle.refused)
    for container in (*CONTAINERS, ""):
        inner = value.get(container) if container and isinstance(value, dict) else value
        if isinstance(inner, dict):
            tensors = {name: entry for name, entry in inner.items() if isinstance(entry, Tensor)}
            if tensors:
                return State(tensors, container, refused)
    raise Damaged(
        f"holds no tensors by name, but a {value.by}; save a state dict"
        if isinstance(value, Made)
        else "holds no tensors"
    )
