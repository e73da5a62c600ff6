"""What comes with a conversation -> `Case`: files are laid into a folder of their own, read, and the folder goes away.

WFDB has two files, a header and its signal: they come as two file parts of one message, or in a zip.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from llava_ecg.case import Case
from llava_ecg.errors import InputError
from llava_ecg.files import complete_leads, read_recording
from llava_ecg.serve.data_urls import READING, Attachment
from llava_ecg.serve.limits import Limits, Refused
from llava_ecg.serve.wire import Said

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.ecg.recording import Recording

SIGNALS = (".dat", ".mat")
"""Beside a WFDB header these are its signals, and no ECG of their own."""
MOST_PACKED = 64
_PAGE = "the page"
_FLAG = re.compile(rf"--({'|'.join(name.replace('_', '-') for name in READING)})\b")


def case_of(said: Sequence[Said], limits: Limits) -> Case:
    """What a conversation is about: of each turn the first ECG with the first image, the second with the second, and so
    on. What was sent before, bit by bit, is the same one and not shown again.

    Raises:
        Refused: nothing came with it, or something that can't be read.
    """
    found: dict[Any, Case] = {}
    for turn in said:
        files = [each for each in turn.attached if not each.is_picture]
        pictures = [each for each in turn.attached if each.is_picture]
        records = _records(files, limits)
        for record, picture in zip_longest(records, pictures):
            key = (record and record[0], picture and _digest(picture.content))
            if key in found:
                continue
            image = None if picture is None else _image(picture, limits)
            found[key] = Case(None if record is None else record[1], image)
    if not found:
        told = "nothing to ask about: send an ECG as a file part, an image of its page as an image_url part, or both"
        raise Refused(400, told, "messages", "nothing_to_see")
    first, *more = found.values()
    return replace(first, more=tuple(more)) if more else first


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=32).digest()


def _image(picture: Attachment, limits: Limits) -> Image:
    """An image, whose size is looked at before it is unpacked."""
    import PIL.Image

    from llava_ecg.ecg.images import read_image

    large = f"it has to be smaller than {limits.pixels / 1e6:g} million"
    with _folder([(_PAGE, picture.content)], picture.at) as (folder, _):
        try:
            with PIL.Image.open(folder / _PAGE) as image:
                wide, high = image.size
        except PIL.Image.DecompressionBombError as error:
            raise Refused(400, f"the page has too many pixels; {large}", picture.at, "image_too_large") from error
        except Exception:  # not readable: whoever reads it below says why
            wide = high = 0
        if wide * high > limits.pixels:
            told = f"the page has {wide} x {high} pixels; {large}"
            raise Refused(400, told, picture.at, "image_too_large")
        return read_image(folder / _PAGE)


def _records(files: Sequence[Attachment], limits: Limits) -> list[tuple[Any, Recording]]:
    """The ECGs in the files of a message, each with what it is known by."""
    found: list[tuple[Any, Recording]] = []
    loose = []
    for file in files:
        if Path(file.name).suffix.lower() == ".zip":
            found += _read(_unpacked(file, limits), file, file.reading, (_digest(file.content),))
        else:
            loose.append(file)
    named = {file.name: file for file in loose}
    if len(named) < len(loose):
        raise Refused(400, "two files of one message have the same name", loose[0].at)
    contents = [(file.name, file.content) for file in loose]
    beside = tuple(_digest(content) for name, content in contents if _is_signal(name, named))
    for name in _heads(named):
        file = named[name]
        others = [each for each in contents if each[0] == name or _beside(each[0], name, named)]
        found += _read(others, file, file.reading, (_digest(file.content), *beside), only=name)
    return found


def _is_signal(name: str, names: Mapping[str, Any] | Sequence[str]) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in SIGNALS and any(Path(other).suffix.lower() == ".hea" for other in names)


def _is_sidecar(name: str, names: Mapping[str, Any] | Sequence[str]) -> bool:
    own = Path(name)
    return own.suffix.lower() == ".json" and any(Path(other).stem == own.stem and other != name for other in names)


def _heads(names: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """The files that are ECGs: not the signals beside a header, nor what is said beside an array."""
    return [name for name in names if not _is_signal(name, names) and not _is_sidecar(name, names)]


def _beside(name: str, head: str, names: Mapping[str, Any]) -> bool:
    return _is_signal(name, names) or (_is_sidecar(name, names) and Path(name).stem == Path(head).stem)


def _read(
    contents: Sequence[tuple[str, bytes]],
    file: Attachment,
    reading: Mapping[str, Any],
    key: tuple[Any, ...],
    only: str = "",
) -> Iterator[tuple[Any, Recording]]:
    """Each ECG among some files that lie together; `only` one of them."""
    options = {name: value for name, value in reading.items() if name not in ("missing_leads", "record")}
    missing = reading.get("missing_leads", "refuse")
    if missing not in ("refuse", "zero"):
        raise Refused(400, f"{file.at}.file.missing_leads is refuse or zero", file.at)
    with _folder(contents, file.at) as (folder, names):
        for name in [only] if only else _heads(names):
            path = folder / name
            if "record" in reading:
                path = path.with_name(f"{name}#{reading['record']}")
            recording = complete_leads(read_recording(path, **options), missing)
            told = tuple(sorted((key, str(value)) for key, value in reading.items()))
            yield (*key, name, told), replace(recording, source=name)


class _folder:
    """A folder of its own with these files, that is gone afterwards; what can't be read is refused by their names."""

    def __init__(self, contents: Sequence[tuple[str, bytes]], at: str) -> None:
        self.contents, self.at = contents, at
        self._made = tempfile.TemporaryDirectory(prefix="llava-ecg-")

    def __enter__(self) -> tuple[Path, list[str]]:
        folder = Path(self._made.name)
        for name, content in self.contents:
            (folder / name).write_bytes(content)
        return folder, [name for name, _ in self.contents]

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._made.cleanup()
        if isinstance(error, InputError):
            told = str(error).replace(f"{self._made.name}/", "").replace(self._made.name, "the same message")
            told = _FLAG.sub(lambda flag: f'"{flag[1].replace("-", "_")}":', told)
            raise Refused(400, told, self.at, "unreadable_input") from error


def _unpacked(file: Attachment, limits: Limits) -> list[tuple[str, bytes]]:
    """The files in a zip, by their last names; what it promises and what it holds is within the limits."""
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(BytesIO(file.content)) as archive:
            inside = [each for each in archive.infolist() if not each.is_dir() and _wanted(each.filename)]
            if len(inside) > MOST_PACKED or sum(each.file_size for each in inside) > limits.unpacked:
                told = f"{file.name} holds more than {MOST_PACKED} files or {limits.unpacked >> 20} MiB"
                raise Refused(400, told, file.at, "archive_too_large")
            for each in inside:
                name = PurePosixPath(each.filename.replace("\\", "/")).name
                if name in found or not name.isprintable() or len(name.encode("utf-8", "replace")) > 150:
                    raise Refused(400, f"{file.name} holds a name twice, or one that is none", file.at)
                with archive.open(each) as packed:
                    found[name] = packed.read(each.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise Refused(400, f"{file.name} is no zip that can be read, or has a password", file.at) from error
    if not _heads(found):
        raise Refused(400, f"{file.name} holds no ECG", file.at)
    return list(found.items())


def _wanted(name: str) -> bool:
    """Not what a Mac puts beside, nor hidden files."""
    return not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts if part.strip("."))
