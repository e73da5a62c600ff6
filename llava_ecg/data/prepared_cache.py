"""`PreparedCache`: what was prepared from the files at a marker, kept on disk for the next epoch and the next run.

An entry's key is the content of the files and everything that the preparation follows from: the preparers, the code of
this package, the versions of the libraries that it uses. A file that changes, a setting that changes, a new version:
all are other keys. (A preparer that looks at a file's name, or whose own package changes without a change of its
settings, must not be used with it.) So that a whole file need not be read for its key, the key of its content is kept
too, under its path, size and time of change.

An entry is written beside its place and renamed, so that a process that dies leaves none by half; one that is damaged
all the same has another checksum, and is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import pickle
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from llava_ecg.errors import InputError
from llava_ecg.streams import Prepared

_MAGIC = b"LLECGpr1"
_HEAD = len(_MAGIC) + 4 + 8  # magic, checksum of all behind it, length of the description
_ALIGN = 64
_SUFFIX = ".prepared"
_LIBRARIES = ("torch", "numpy", "scipy", "pillow")
_SETTLED_S = 2.0  # a file that was changed so lately may change again within the same tick of its clock
_LEFT_BEHIND_S = 3600.0
_SHARE = 32  # a process writes this part of the room that is left before it looks again how much is left


@dataclass
class PreparedCache:
    """A folder of prepared inputs.

    Attributes:
        folder: of the entries; made where it is not there.
        limit: bytes that it may hold. What this run has not used goes when there is no room, what was used longest ago
            first; where all of it is in use, nothing more is kept. (To drop what was used longest ago in any case
            would drop, in epochs over more than there is room for, each entry just before it is needed.)
        files_of: the files that a source is read from.
    """

    folder: Path
    limit: int
    files_of: Callable[[Path], Sequence[Path]]
    _begun: float = field(default_factory=time.time, init=False)
    _room: int = field(default=0, init=False)
    _stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.limit <= 0:
            raise InputError(f"a cache of {self.limit} bytes holds nothing; leave it away")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise InputError(f"prepared inputs can't be kept in {self.folder}: {error.strerror}") from error

    def key(self, settings: str, sources: Mapping[str, Path]) -> str | None:
        """The key of what is made of these sources (stream name -> file); None where a file is absent."""
        whole = hashlib.sha256(settings.encode())
        for name, path in sorted(sources.items()):
            content = self._content(path)
            if content is None:
                return None
            whole.update(f"{name}\0{path.suffix.lower()}\0{content}\0".encode())
        return whole.hexdigest()

    def get(self, key: str) -> dict[str, Prepared] | None:
        """What is kept under a key: stream name -> prepared. None where there is nothing, or nothing sound."""
        path = self._place(key, _SUFFIX)
        try:
            with path.open("rb", buffering=0) as file:
                state = os.fstat(file.fileno())
                content = bytearray(state.st_size)
                if file.readinto(content) != state.st_size:
                    return None
            found = _unpack(content)
            if found is not None and state.st_mtime < self._begun:
                os.utime(path)  # in use by this run
        except OSError:
            return None
        return found

    def put(self, key: str, prepared: Mapping[str, Prepared]) -> None:
        """Keep something under a key, if there is room."""
        content = _pack(prepared)
        if self._stopped or not self._has_room(len(content)):
            return
        try:
            _write(self._place(key, _SUFFIX), content)
        except OSError as error:
            self._stopped = True
            warnings.warn(
                f"prepared inputs are no longer kept in {self.folder}: {error.strerror}; the training goes on without",
                stacklevel=2,
            )

    def _place(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}{suffix}"

    def _content(self, path: Path) -> str | None:
        """A digest of all that is in the files of a source; None where there are none."""
        files = self.files_of(path)
        if not files:
            return None
        try:
            states = [file.stat() for file in files]
            stamp = json.dumps(
                [
                    (str(file.absolute()), state.st_size, state.st_mtime_ns, state.st_ino)
                    for file, state in zip(files, states, strict=True)
                ]
            )
            known = self._place(hashlib.sha256(stamp.encode()).hexdigest(), ".content")
            with contextlib.suppress(OSError):
                text = known.read_text(encoding="ascii")
                if len(text) == 64:
                    return text
            whole = hashlib.sha256()
            for file in files:
                content = file.read_bytes()
                whole.update(f"{len(content)}\0".encode())
                whole.update(content)
        except (OSError, ValueError):
            return None
        digest = whole.hexdigest()
        if not self._stopped and max(state.st_mtime for state in states) < time.time() - _SETTLED_S:
            with contextlib.suppress(OSError):
                _write(known, digest.encode("ascii"))
        return digest

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes may be written. The folder is looked through only when this process has written its
        part of the room that was left then, so several of them stay below the limit together."""
        if self._room < size:
            held = self._sweep(size)
            free = self.limit - held
            if free < size:
                self._stopped = True
                return False
            self._room = max(size, free // _SHARE)
        self._room -= size
        return True

    def _sweep(self, size: int) -> int:
        """Bytes that the folder holds, after what is not in use has made room."""
        held, unused = 0, []
        for path, state in _files(self.folder):
            if path.name.startswith("."):
                if state.st_mtime < time.time() - _LEFT_BEHIND_S:  # of a process that died
                    path.unlink(missing_ok=True)
                continue
            held += state.st_size
            if state.st_mtime < self._begun:
                unused.append((state.st_mtime, state.st_size, path))
        wanted = max(size, self.limit // 10)  # a tenth at a time, since to look through the folder takes a while
        for _, gained, path in sorted(unused, key=lambda each: each[0]):
            if self.limit - held >= wanted:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                held -= gained
        return held


def settings_of(preparers: Mapping[str, Any], *more: Any) -> str:
    """A digest of everything but the files that a preparation follows from.

    Args:
        preparers: stream name -> preparer.
        more: what else it follows from.

    Raises:
        InputError: a preparer that can't be pickled.
    """
    try:
        state = pickle.dumps([sorted(preparers), [preparers[name] for name in sorted(preparers)], more], protocol=4)
    except Exception as error:  # pickle raises whatever the object provokes
        raise InputError(f"inputs can't be kept for preparers that can't be pickled ({error})") from error
    return hashlib.sha256(state + _code().encode() + _code_outside(preparers.values())).hexdigest()


def _code_outside(preparers: Iterable[Any]) -> bytes:
    """A digest of the modules of those preparers that a package from outside brings."""
    whole = hashlib.sha256()
    for name in sorted({type(each).__module__ for each in preparers}):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and name.partition(".")[0] != __name__.partition(".")[0]:
            whole.update(f"{name}\0".encode() + Path(file).read_bytes())
    return whole.digest()


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of this package's code and of the versions of the libraries that prepare inputs."""
    whole = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        whole.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            whole.update(f"{library} {importlib.metadata.version(library)}\0".encode())
    return whole.hexdigest()


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # another process has taken it away
                path = Path(place) / name
                found.append((path, path.stat()))
    return found


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _pack(prepared: Mapping[str, Prepared]) -> bytes:
    described: dict[str, Any] = {}
    arrays: list[bytes] = []
    at = 0
    for name, item in prepared.items():
        places = {}
        for part in ("values", "index"):
            tensor = getattr(item, part).detach().cpu().contiguous()
            raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            places[part] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), at]
            padding = -len(raw) % _ALIGN
            arrays += [raw, b"\0" * padding]
            at += len(raw) + padding
        described[name] = {**places, "tokens": item.tokens, "notes": item.notes, "shown": item.shown}
    text = json.dumps(described).encode()
    text += b" " * (-(_HEAD + len(text)) % _ALIGN)
    body = b"".join([len(text).to_bytes(8, "little"), text, *arrays])
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def _unpack(content: bytearray) -> dict[str, Prepared] | None:
    """What `_pack` put in, on the memory of ``content``; None where that is damaged."""
    body = memoryview(content)[len(_MAGIC) + 4 :]
    if content[: len(_MAGIC)] != _MAGIC or zlib.crc32(body) != int.from_bytes(content[8:12], "little"):
        return None
    length = int.from_bytes(body[:8], "little")
    start = _HEAD + length
    found = {}
    for name, item in json.loads(bytes(body[8 : 8 + length])).items():
        parts = {}
        for part in ("values", "index"):
            dtype, shape, at = item[part]
            count = 1
            for side in shape:
                count *= side
            flat = (
                torch.frombuffer(content, dtype=getattr(torch, dtype), count=count, offset=start + at)
                if count
                else torch.empty(0, dtype=getattr(torch, dtype))
            )
            parts[part] = flat.reshape(shape)
        shown = None if item["shown"] is None else tuple(item["shown"])
        found[name] = Prepared(parts["values"], item["tokens"], parts["index"], tuple(item["notes"]), shown)
    return found
