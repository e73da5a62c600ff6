"""What a command means by the name of its records: a file, or a data set that a package brings."""

from __future__ import annotations

from pathlib import Path

from llava_ecg.errors import InputError
from llava_ecg.plugins import datasets


def data_file(name: str) -> Path:
    """The file of records that is meant: a path that is there, else what the data set of this name makes or finds.

    Args:
        name: a path of LLaVA JSON, JSONL or ``data.yaml``, or a name of ``llava-ecg list datasets``.

    Returns:
        the path; one that is neither there nor a name comes back as it is, and reading it will say so.

    Raises:
        InputError: the data set fails, or gives something else than the path of a file.
    """
    path = Path(name)
    if path.exists() or name not in datasets:
        return path
    make = datasets.get(name)
    try:
        found = make()
    except InputError:
        raise
    except Exception as error:  # a plug-in may fail in any way
        raise InputError(
            f"the data set {name!r} ({datasets.where(name)}) can't be had: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(found, Path) or not found.is_file():
        raise InputError(f"the data set {name!r} ({datasets.where(name)}) gives {str(found)!r}, which is no file")
    return found
