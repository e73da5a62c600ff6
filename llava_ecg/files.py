"""What a person hands in and takes away: recordings, images and questions in; pages and JSON out. Every mistake is one
sentence.

Nothing here needs a model: `read_recording` costs a reader, `read_image` costs Pillow, and the checks of where to write
are made before anything slow begins, so that an answer is never lost to a folder that can't be written.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.display import printable as printable
from llava_ecg.display import printable_line as printable_line
from llava_ecg.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.ecg.recording import Recording

QUESTION_LIMIT = 20_000
"""A question must have fewer characters than this."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_LISTS = (".txt", ".list", ".lst")
# Suffixes of ECGs that also stand for what lies beside one; in a folder such files are left out.
_NOT_BY_SUFFIX = (".txt", ".json", ".dat", ".mat")


def check_question(text: str) -> str:
    """The question without control characters and outer white space.

    Raises:
        InputError: empty, or `QUESTION_LIMIT` characters and more.
    """
    if len(text) >= QUESTION_LIMIT:
        raise InputError(
            f"the question has {len(text):,} characters; it must have fewer than {QUESTION_LIMIT:,}: shorten it"
        )
    text = (
        text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    )  # lone surrogates come from bytes that are no UTF-8
    clean = _CONTROL.sub("", text).strip()
    if not clean:
        raise InputError("the question is empty; leave it out for a general interpretation")
    return clean


def read_recording(
    path: Path,
    *,
    rate: float | None = None,
    unit: str | None = None,
    leads: str | Sequence[str] | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> Recording:
    """The ECG in a file, with the limb leads that I and II imply.

    Args:
        path: the file, any format of `llava_ecg.plugins.readers`.
        rate: Hz, for a file that does not say.
        unit: ``mV``, ``uV``, ``V``, ``nV`` or millivolts per step, for a file that does not say.
        leads: names in the order of the file, for a file that does not say.
        start: where to begin, s.
        seconds: how much to read from there; the rest where it is None.

    Raises:
        InputError: whatever is wrong with the file.
    """
    from llava_ecg.ecg.formats import read

    return read(path, rate=rate, unit=unit, leads=leads, start=start, seconds=seconds).with_derived()


def records_of(source: Path) -> list[Path]:
    """The ECGs that a folder, a list or a pattern stands for.

    - a folder: the files in it and below it that have a reader's suffix, in order of their names; headers of WFDB and
      not their signal files, no hidden ones, and of those without a suffix DICOM by its content
    - a list (.txt, .list, .lst): a path a line, as it would be typed; one that is not there fails later, by itself
    - a pattern: the files that match, of WFDB the headers; ``**`` stands for any folders
    - any other file: itself

    Raises:
        InputError: nothing is there, or a list that is no text.
    """
    if source.is_dir():
        from llava_ecg.plugins import readers

        suffixes = {suffix for name in readers for suffix in _suffixes(name)} - {*_NOT_BY_SUFFIX}
        below = (
            path
            for path in source.rglob("*")
            if (path.suffix.lower() in suffixes or _as_archives_name_it(path)) and path.is_file()
        )
        seen = (path for path in below if not any(part.startswith(".") for part in path.relative_to(source).parts))
        return sorted(path for path in seen if path.suffix.lower() in suffixes or _is_dicom(path))
    if source.is_file():
        if source.suffix.lower() not in _LISTS:
            return [source]
        try:
            lines = source.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source} is no list of files, a path a line in UTF-8") from error
        return [Path(line.strip()) for line in lines if line.strip()]
    if is_pattern(source):
        root = Path(source.anchor)
        found = [path for path in root.glob(str(source.relative_to(root))) if path.is_file()]
        headers = {path.with_suffix("") for path in found if path.suffix == ".hea"}
        signals = {path for path in found if path.suffix in (".dat", ".mat") and path.with_suffix("") in headers}
        return sorted(path for path in found if path not in signals)
    raise InputError(f"no such file or folder: {source}")


def each_record(source: Path) -> list[Path]:
    """As `records_of`; of a folder or a pattern, each exam of a file that holds several by itself (``a.hdf5#1234``).

    Raises:
        InputError: as there.
    """
    from llava_ecg.plugins import readers

    paths = records_of(source)
    if source.is_file():
        return paths  # it names what is meant
    tellers = [reader for reader in map(_reader, readers) if hasattr(reader, "records")]
    found: list[Path] = []
    for path in paths:
        teller = next((reader for reader in tellers if path.suffix.lower() in reader.suffixes), None)
        try:
            records = [] if teller is None else teller.records(path)
        except InputError:
            records = []  # it is said when the file is read
        found += [path.with_name(f"{path.name}#{record}") for record in records] or [path]
    return found


def _as_archives_name_it(path: Path) -> bool:
    """Whether a name is like those of an archive's export: ``IM000001``, or an identifier of digits and dots."""
    return path.name != "DICOMDIR" and (path.suffix == "" or path.suffix[1:].isdigit())


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _reader(name: str) -> Any:
    """A reader; None for a plug-in that can't be imported, or made, which reads nothing."""
    from llava_ecg.plugins import readers

    try:
        return readers.get(name)()
    except Exception:
        return None


def _suffixes(name: str) -> Sequence[str]:
    return getattr(_reader(name), "suffixes", ())


def is_pattern(path: Path) -> bool:
    """Whether a path stands for those that match it."""
    return any(mark in str(path) for mark in "*?[")


def complete_leads(recording: Recording, missing: str) -> Recording:
    """The recording with all twelve standard leads, as a model wants it.

    Args:
        recording: limb leads already derived.
        missing: ``refuse``, or ``zero``: a lead that is neither recorded nor implied becomes a row of NaN. That
            is "nothing recorded" to the measurement and the page, and zero to a model's preparation.

    Raises:
        InputError: leads are missing and `missing` is ``refuse``.
    """
    absent = recording.missing
    if not absent:
        return recording
    if missing == "refuse":
        raise InputError(
            f"{recording.source or 'the recording'} has {', '.join(recording.leads)} and lacks {', '.join(absent)}, "
            "which the model was trained with; --missing-leads zero asks it all the same, with zeros there"
        )
    import numpy as np

    rows = np.full((len(absent), recording.signal.shape[1]), np.nan, np.float32)
    return replace(
        recording,
        signal=np.concatenate([recording.signal, rows]),
        leads=recording.leads + absent,
        notes=(*recording.notes, f"{', '.join(absent)} were not recorded: the model sees zeros there"),
    )


def check_folder(path: Path) -> Path:
    """The folder, after checking that files can be written there; where it is not there yet, the first of them makes
    it.

    Raises:
        InputError: it can't be made, is a file, or nothing can be written there.
    """
    try:
        place = path
        while not place.exists() and place != place.parent:
            place = place.parent
        _try_writing(place)
    except OSError as error:
        raise InputError(f"can't write to the folder {path} ({_reason(error)}); choose another") from error
    return path


def check_target(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """The file path, after checking that a file can be written there.

    Raises:
        InputError: its folder is missing or not writable, it is a folder, or its suffix is none of ``suffixes``.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file name in it")
        if suffixes and path.suffix.lower() not in suffixes:
            raise InputError(f"{path} does not end in {' or '.join(suffixes)}; choose such a name")
        _try_writing(path.parent)
    except OSError as error:
        raise InputError(f"can't write {path} ({_reason(error)}); choose another place") from error
    return path


def new_target(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """As `check_target`, for a file that is not there yet.

    Raises:
        InputError: as there, or the file is there.
    """
    check_target(path, suffixes)
    if path.exists():
        raise InputError(f"{path} exists already; choose another name")
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary neighbour first, then renamed. Its folder is made if need be.

    Raises:
        InputError: the disk is full, or the folder went away.
    """
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".llava-ecg.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o666 & ~_umask())  # mkstemp gives 0600, which nobody asked for
        Path(name).replace(path)
    except OSError as error:
        raise InputError(f"can't write {path} ({_reason(error)})") from error
    finally:
        if name is not None:
            Path(name).unlink(missing_ok=True)


def write_recording(recording: Recording, path: str | os.PathLike[str]) -> dict[Path, int]:
    """Write an ECG in the format that the suffix of `path` names.

    Args:
        path: ends in ``.hea``, ``.dcm``, ``.csv``, ``.npz`` or ``.edf``.

    Returns:
        The files that were written, with their sizes in bytes.

    Raises:
        InputError: another suffix, a folder that can't be written, or something that the format can't hold.
    """
    from llava_ecg.ecg.formats.write import WRITERS, written
    from llava_ecg.ecg.given import check_recording

    check_recording(recording, "write")
    made = written(recording, check_target(Path(path), tuple(WRITERS)))
    for target, content in made.items():
        write_bytes(target, content)
    return {target: len(content) for target, content in made.items()}


def write_json(path: Path, value: Any) -> None:
    """Write plain dicts and lists as indented JSON; see `write_bytes`."""
    write_bytes(
        path,
        (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "backslashreplace"),
    )


def write_image(path: Path, image: Image) -> None:
    """Write an image as JPEG (.jpg, .jpeg) or PNG, with its resolution where it knows one; see `write_bytes`."""
    import io

    buffer = io.BytesIO()
    dpi = image.info.get("dpi")
    resolution = {"dpi": tuple(map(float, dpi))} if dpi and min(dpi) > 0 else {}
    image.save(buffer, format="JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG", **resolution)
    write_bytes(path, buffer.getvalue())


def free_name(path: Path) -> Path:
    """The path, or, where a file stands already, the first of ``name-2``, ``name-3``, ... that is free."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _try_writing(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0].strip() if str(error) else type(error).__name__
