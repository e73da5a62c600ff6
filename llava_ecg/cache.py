"""The folder that keeps what was fetched, and the history of the chat."""

from __future__ import annotations

import os
from pathlib import Path

from llava_ecg.errors import InputError


def cache_folder(cache: Path | None = None) -> Path:
    """Where fetched models are kept: `cache`, else $LLAVA_ECG_CACHE, else $XDG_CACHE_HOME/llava_ecg, else
    ~/.cache/llava_ecg."""
    own, shared = os.environ.get("LLAVA_ECG_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        if cache is not None or own:
            return Path(cache or own or "").expanduser().absolute()
        # The XDG standard: a relative path is to be passed over.
        return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "llava_ecg"
    except RuntimeError as error:
        raise InputError("there is no home folder to keep models in; set LLAVA_ECG_CACHE to a folder") from error
