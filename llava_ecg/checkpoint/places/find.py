"""Name -> folder: a path, an embedded checkpoint, a fetched language model, or an id on the hub. Needs no torch."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

from llava_ecg.errors import InputError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def embedded() -> dict[str, Path]:
    """The checkpoints that come with the package: name -> folder."""
    here = Path(__file__).resolve().parents[3] / "checkpoints"
    installed = Path(sys.prefix) / "share" / "llava_ecg" / "checkpoints"
    found: dict[str, Path] = {}
    for root in (installed, here):
        for config in sorted(root.glob("*/config.json")):
            found[config.parent.name] = config.parent
    return found


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the hub: ``org/name``, perhaps with ``@revision``."""
    return _HUB_ID.fullmatch(name) is not None


def find(name: str | Path, what: str = "model", *, download: bool = True) -> Path:
    """The folder or file behind a path, the name of an embedded checkpoint or of a fetched language model, or an id on
    the hub.

    Args:
        what: is looked for, for the message.
        download: whether to go to the hub at all.

    Raises:
        InputError: none of these; the nearest names are given.
    """
    try:
        path = Path(name).expanduser()
        if path.exists():
            return path
    except (OSError, ValueError, RuntimeError):  # too long, with a null byte, or of a user who is not there: no path
        pass
    known = embedded()
    if str(name) in known:
        return known[str(name)]
    from llava_ecg.checkpoint.places.fetch import BASES, base_folder

    if str(name) in BASES:
        found = base_folder(str(name))
        if found is None:
            raise InputError(
                f"the language model {str(name)!r} is not here yet; fetch it once with: llava-ecg fetch {name}"
            )
        return found
    if download and isinstance(name, str) and is_hub_id(name):
        from llava_ecg.checkpoint.places.hub import snapshot

        return snapshot(name)
    if what != "model":
        raise InputError(f"there is no {what} {str(name)!r}: no such file or folder")
    near = difflib.get_close_matches(str(name)[:200], [*known, *BASES], n=3, cutoff=0.4)
    here = f"; known are {', '.join(known)}" if known else ", and this installation carries no embedded models"
    hint = f"; did you mean {' or '.join(near)}?" if near else here
    raise InputError(f"there is no {what} {str(name)!r}: no such folder, and no embedded model of that name{hint}")
