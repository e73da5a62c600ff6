"""The one door to the Hugging Face hub: ``org/name`` in, a folder with what a checkpoint needs out. Needs no torch.

The files lie in the hub's own cache, so other programs share them, and what is in the cache needs no network.
`HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are huggingface_hub's and mean what they always mean.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llava_ecg.errors import InputError

Progress = Callable[[str], None]

_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_WHOLE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_WHOLE_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_SHARD = re.compile(r"-\d+-of-\d+\.")
_STREAMS = "streams.safetensors"
_PARTS = re.compile(
    r"((adapter/)?adapter_model|non_lora_trainables|mm_projector|ecg_projector)\.(safetensors|bin)"
    rf"|{re.escape(_STREAMS)}|[^/\\]+\.(pt|pth)"
)
_LEFT_OUT = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|global_step|zero_pp_rank|mp_rank"
    r"|consolidated).*"  # the last is Meta's and Mistral's own second copy of the weights
)
_SETTINGS = re.compile(r"(adapter/)?[^/\\]+\.json|tokenizer\.model[^/\\]*|[^/\\]+\.txt|chat_template\.jinja")
_MARKERS = ("config.json", "adapter_config.json")
"""Fetched last, so that a folder without it was interrupted."""

_GRACE = 2.0
"""Seconds that the whole listing may take beyond huggingface_hub's own timeout (10 s, or HF_HUB_ETAG_TIMEOUT)."""
_WORTH_A_LINE = 100_000_000
_SIGN_IN = "set HF_TOKEN or run: hf auth login"


def _on_stderr(line: str) -> None:
    """Print a line; what would steer a terminal in it (names come from the hub) is shown as ``\\x1b``, as all commands
    show it."""
    print("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line), file=sys.stderr)


def snapshot(name: str, *, progress: Progress = _on_stderr) -> Path:
    """The folder of a repository on the hub, downloaded to the hub's own cache as far as it is not there.

    Only what a checkpoint needs is fetched: settings, tokenizer, weights; of weights that are there twice the
    safetensors. No code, no optimizer state. Where the hub can't be reached, what is whole in the cache is used. Ctrl-C
    ends a download at once; the next run fetches the files that are not whole yet.

    Args:
        name: ``org/name`` or ``org/name@revision``, a branch, tag or commit.
        progress: is told what is downloaded, a line at a time.

    Raises:
        InputError: the hub does not give it, or it holds no weights that a checkpoint has, or the cache can't take it.
    """
    from huggingface_hub import constants

    repo, at, revision = name.partition("@")
    revision = revision if at else constants.DEFAULT_REVISION
    try:
        if not revision:
            raise InputError("no revision stands behind the @; write a branch, tag or commit there, or leave the @ out")
        if ".." in revision or revision.startswith("/"):  # it is a path below the cache, too
            raise InputError(f"no revision can be called {revision!r}; write a branch, tag or commit behind the @")
        return _snapshot(repo, revision, progress)
    except Exception as error:  # huggingface_hub lets through what httpx, hf_xet, json and the file system raise
        why = _why(error, repo, revision)
        raise InputError(
            f"there is no folder {name!r}, and the Hugging Face hub ({constants.ENDPOINT}) did not give it: {why}"
        ) from error


def _snapshot(repo: str, revision: str, progress: Progress) -> Path:
    from huggingface_hub import constants, errors

    cached = _cached(repo, revision)
    if constants.is_offline_mode() and cached is not None:
        return cached
    try:
        commit, sizes = _listing(repo, revision)
    except errors.RevisionNotFoundError:
        raise
    except Exception as error:  # as above; whatever it was, a whole copy is as good as it was the last time
        if cached is None:
            raise
        progress(f"using the copy of {repo} in {cached}, since the hub did not answer for it ({_first_line(error)})")
        return cached
    wanted = needed(sizes)
    if not any(map(_is_weight, wanted)):
        found = (
            f"it holds {', '.join(sorted(sizes)[:5])}{', ...' if len(sizes) > 5 else ''}" if sizes else "it is empty"
        )
        raise InputError(
            f"there are no weights of a checkpoint in it ({found}); give a repository with safetensors or PyTorch "
            "weights"
        )
    return _download(repo, revision, commit, {file: sizes[file] for file in wanted}, progress)


# -- which files -------------------------------------------------------------------------------------------------------


def needed(files: Iterable[str]) -> list[str]:
    """Those of a repository's files that a checkpoint needs, in the order in which to fetch them.

    Args:
        files: paths in the repository, with ``/``.
    """
    files = [file for file in files if not _LEFT_OUT.fullmatch(file)]
    whole = [file for file in files if _WHOLE.fullmatch(file)]
    if whole:  # the same weights a second time would double the download
        files = [file for file in files if file != f"{_PICKLED}.index.json"]
    else:
        whole = [file for file in files if _WHOLE_PICKLED.fullmatch(file)]
    parts = [file for file in files if _PARTS.fullmatch(file)]
    if not whole and not parts:  # an encoder alone, under a name of its own
        parts = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    settings = [file for file in files if _SETTINGS.fullmatch(file) and file not in _MARKERS]
    markers = [file for file in reversed(_MARKERS) if file in files]
    return [*sorted(settings), *sorted(whole), *sorted(parts), *markers]


def _is_weight(file: str) -> bool:
    return not (_SETTINGS.fullmatch(file) or file in _MARKERS)


def _is_complete(folder: Path) -> bool:
    """Whether a snapshot in the cache can be opened: it may be of another program, or of an interrupted download."""
    files = [path.relative_to(folder).as_posix() for path in folder.glob("**/*") if path.is_file()]
    wanted = needed(files)
    weights = [file for file in wanted if _is_weight(file)]
    whole = [file for file in weights if _WHOLE.fullmatch(file) or _WHOLE_PICKLED.fullmatch(file)]
    if not weights or ((whole or _STREAMS in weights) and "config.json" not in files):
        return False
    if any(file.startswith("adapter_model.") for file in weights) and "adapter_config.json" not in files:
        return False
    if not any(_SHARD.search(file) for file in whole):
        return True
    index = folder / f"{_SAFE if _WHOLE.fullmatch(whole[0]) else _PICKLED}.index.json"
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) <= set(files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


# -- the hub -----------------------------------------------------------------------------------------------------------


def _cached(repo: str, revision: str) -> Path | None:
    """The snapshot of a revision in the cache, if it is complete."""
    from huggingface_hub import snapshot_download

    try:
        # No pattern is expected to be there, so that the library does not miss what was left out on purpose.
        folder = Path(snapshot_download(repo, revision=revision, local_files_only=True, allow_patterns=[]))
    except OSError:  # not there, or no cache that can be read
        return None
    return folder if _is_complete(folder) else None


def _listing(repo: str, revision: str) -> tuple[str, dict[str, int]]:
    """The commit behind a revision, and its files with their sizes in bytes.

    In a thread of its own: neither a name server that does not answer nor ten addresses that are tried one by one are
    covered by the library's timeout, and nobody waits minutes to learn that there is no network.
    """
    from huggingface_hub import HfApi, constants

    timeout = constants.HF_HUB_ETAG_TIMEOUT
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout))
        except Exception as error:  # handed over to the thread that waits
            answers.put(error)

    threading.Thread(target=ask, name="hub listing", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout + _GRACE)
    except queue.Empty:
        raise TimeoutError(f"no answer within {timeout + _GRACE:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    if not answer.sha:
        raise OSError("its answer names no commit")
    return answer.sha, {file.rfilename: file.size or 0 for file in answer.siblings or []}


def _download(repo: str, revision: str, commit: str, sizes: dict[str, int], progress: Progress) -> Path:
    """Fetch what is missing, the files of one commit one by one: Ctrl-C then ends it at once, and large ones come in
    parallel chunks."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cache = Path(constants.HF_HUB_CACHE)
    missing = [file for file in sizes if not isinstance(try_to_load_from_cache(repo, file, revision=commit), str)]
    last = [*sizes][-1]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        size, free = sum(sizes[file] for file in missing), shutil.disk_usage(cache).free
        if size > free:
            raise InputError(
                f"it needs {_megabytes(size)} in {cache}, where {_megabytes(free)} are free; make room, or {_ELSEWHERE}"
            )
        progress(f"downloading {repo} from {constants.ENDPOINT}: {len(missing)} files, {_megabytes(size)}, to {cache}")
    for file in missing:
        if sizes[file] >= _WORTH_A_LINE:
            progress(f"  {file}, {_megabytes(sizes[file])}")
        if file != last:
            hf_hub_download(repo, file, revision=commit)
    # By the name of the revision, which the library writes down beside the commit: that is how it is found without a
    # network.
    if last in missing or not isinstance(try_to_load_from_cache(repo, last, revision=revision), str):
        hf_hub_download(repo, last, revision=revision)
    # The branch may have moved since the listing; then its last file lies elsewhere, and this makes the listed commit
    # whole.
    return Path(hf_hub_download(repo, last, revision=commit)).parent


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


# -- what went wrong ---------------------------------------------------------------------------------------------------

_ELSEWHERE = "set HF_HOME to a folder on another disk"


def _why(error: Exception, repo: str, revision: str) -> str:
    """Why the hub did not give it, and what to do, in the words of one clause."""
    from huggingface_hub import constants, errors, get_token

    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, errors.HFValidationError):
        return "no repository can have that name; the hub's names are org/name, of letters, digits, - . and _"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return (
            "HF_HUB_OFFLINE is set, and the cache does not hold it whole; run it once with HF_HUB_OFFLINE=0 and a "
            "network"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"it has no revision {revision!r}; give one of the branches, tags or commits of {page}/tree/main, or "
            "leave the @ out"
        )
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated; accept its terms on {page}, then {_SIGN_IN}"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if isinstance(error, errors.RepositoryNotFoundError):
            return f"no public model of that name is there; check the name, or, if it is private, {_SIGN_IN}"
        if status in (401, 403):
            token = "refuses the token in use" if get_token() else "wants a token"
            return f"it {token} (HTTP {status}); {_SIGN_IN}"
        if status == 429 or status >= 500:
            return f"it is overloaded or down (HTTP {status}); try again later"
        return f"it answers with HTTP {status}; look at {page}{_or_endpoint()}"
    return _why_not_here(error, Path(constants.HF_HUB_CACHE))


def _why_not_here(error: Exception, cache: Path) -> str:
    """The same for what is no answer of the hub: the disk, or the way to the hub."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return f"the disk of {cache} is full; make room, or {_ELSEWHERE}"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return f"the cache {cache} can't be written ({_first_line(error)}); make it writable, or {_ELSEWHERE}"
    return (
        f"it can't be reached, or the connection broke ({_first_line(error)}); check the network{_or_endpoint()} "
        "and try again, "
        "or download it elsewhere and give the folder"
    )


def _or_endpoint() -> str:
    return " and HF_ENDPOINT" if os.environ.get("HF_ENDPOINT") else ""


def _first_line(error: Exception) -> str:
    """The first line of what an exception says, behind its kind where it says little."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    line = line if len(line) <= 160 else f"{line[:157]}..."
    return line if " " in line else f"{type(error).__name__}{': ' if line else ''}{line}"
