"""`files_of`: the files that a source is read from, for who keeps what was made of their content."""

from __future__ import annotations

from pathlib import Path

from llava_ecg.ecg.formats import wfdb_header
from llava_ecg.ecg.formats.reader import split_record
from llava_ecg.errors import InputError

_BESIDE = (".hea", ".json")  # the header of a WFDB signal file, the sidecar of an array


def files_of(path: Path) -> list[Path]:
    """The file of an ECG or an image and those beside it that reading it may open, as far as they are there.

    A WFDB header brings its signal files and its segments with theirs; other files what may say their rate, unit or
    leads.
    """
    path = split_record(path)[0]
    found = [path] if path.is_file() else []
    for suffix in _BESIDE:
        for other in (path.with_suffix(suffix), Path(f"{path}{suffix}")):
            if other not in found and other.is_file():
                found.append(other)
    for header in [each for each in found if each.suffix.lower() == ".hea"]:
        found += [each for each in _of_header(header, deep=True) if each not in found]
    return found


def _of_header(path: Path, *, deep: bool) -> list[Path]:
    try:
        header = wfdb_header.parse(path)
    except InputError:
        return []  # reading will say so
    names = dict.fromkeys(signal.file for signal in header.signals if signal.file != wfdb_header.NO_FILE)
    found = [file for name in names if (file := path.parent / name).is_file()]
    for name in dict.fromkeys(name for name, _ in header.segments if name != wfdb_header.NO_FILE) if deep else ():
        segment = path.parent / f"{name}.hea"
        if segment.is_file():
            found += [segment, *_of_header(segment, deep=False)]
    return list(dict.fromkeys(found))
