"""What this machine has for what the program does, what is missing, and what to do about it.

Nothing is changed and nothing downloaded. Each look gives `Finding`s; the command ``llava-ecg doctor`` prints them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.listing import size
from llava_ecg.errors import InputError

PACKAGE = "llava-ecg"
PURPOSES = {
    "train": "python -m llava_ecg.train",
    "formats": "files of manufacturers, EDF, HDF5 and Parquet",
    "quant": "--quantization nf4 and int8",
    "eval": "llava-ecg eval",
    "serve": "llava-ecg serve",
    "remote": "llava-ecg instruct --writer remote",
    "ray": "llava-ecg instruct --engine ray",
    "flash": "flash-attn's kernels in place of torch's on CUDA",
    "deepspeed": "training with --deepspeed",
}
"""Extra -> what a user needs it for; those of who works on the program itself are left out."""

VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "LLAVA_ECG_CACHE", "XDG_CACHE_HOME"),
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "WANDB_MODE", "WANDB_API_KEY", "OPENAI_API_KEY"),
)
"""That change what the program does. Of those that hold a secret only is said whether they are set."""

_SECRET = ("TOKEN", "KEY")
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "w8a8": 1.0, "w8a16": 1.0, "nf4": 0.55}  # of a weight of the language model
_ROOM = 1.2  # for keys, values and activations beside the weights
_LEAST_DISK = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: ``program``, ``packages``, ``devices``, ``attention``, ``storage``, ``model`` or ``environment``.
        name: of the thing.
        status: ``ok``; ``missing``, where something optional is not there; ``problem``, where what is asked for will
            not work.
        text: what was found.
        fix: one line to type or do; empty where nothing has to be done.
        values: numbers and names for programs.
    """

    area: str
    name: str
    status: str
    text: str
    fix: str = ""
    values: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(model: str | None) -> Iterator[Finding]:
    """Look at everything.

    Args:
        model: the checkpoint to find room for; None for none.
    """
    yield from program()
    yield from packages()
    yield from devices()
    yield from attention()
    yield from storage()
    if model is not None:
        yield from room_for(model)
    yield from environment()


def program() -> Iterator[Finding]:
    """Version and place."""
    from llava_ecg import __version__

    where = Path(__file__).resolve().parent
    yield Finding("program", "llava-ecg", "ok", f"{__version__} in {where}", values={"version": __version__})
    told = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("program", "python", "ok", f"{told}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Requirements of the program and of each extra."""
    from packaging.requirements import Requirement

    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        yield Finding(
            "packages", PACKAGE, "problem", "is not installed, only found in a folder", "pip install -e . in the clone"
        )
        return
    needed = [Requirement(line) for line in found.requires or ()]
    lacking = list(_lacking(need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})))
    if lacking:
        yield Finding(
            "packages", "base", "problem", f"{_listed(lacking)}", f"pip install {' '.join(map(_quoted, lacking))}"
        )
    else:
        shown = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "numpy", "scipy"))
        yield Finding("packages", "base", "ok", shown)
    for extra, purpose in PURPOSES.items():
        own = [need for need in needed if need.marker and _is_of(need, extra)]
        if not own:
            continue
        lacking = list(_lacking(own))
        if lacking:
            text = f"{purpose}: {_listed(lacking)}"
            yield Finding("packages", extra, "missing", text, f"pip install 'llava-ecg[{extra}]'")
        else:
            shown = ", ".join(f"{need.name} {version(need.name)}" for need in own)
            yield Finding("packages", extra, "ok", f"{purpose}: {shown}")


def _is_of(need: Any, extra: str) -> bool:
    return bool(need.marker.evaluate({"extra": extra}) and not need.marker.evaluate({"extra": ""}))


def _lacking(needs: Any) -> Iterator[Any]:
    for need in needs:
        try:
            if not need.specifier.contains(version(need.name), prereleases=True):
                yield need
        except PackageNotFoundError:
            yield need


def _listed(needs: list[Any]) -> str:
    words = []
    for need in needs:
        try:
            words.append(f"{need.name} {version(need.name)} is older than {need.specifier}")
        except PackageNotFoundError:
            words.append(f"{need.name} is not installed")
    return ", ".join(words)


def _quoted(need: Any) -> str:
    return f"'{need.name}{need.specifier}'"


def devices() -> Iterator[Finding]:
    """CPU, memory and GPUs."""
    import torch

    from llava_ecg.engine.memory import free_bytes
    from llava_ecg.engine.w8a8 import works

    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    free = free_bytes(torch.device("cpu"))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    told = f"{cores} cores, {threads} threads, {size(free)} of {size(memory)} memory free"
    values = {"cores": cores, "threads": threads, "memory": memory, "free": free}
    yield Finding("devices", "cpu", "ok", told, values=values)
    exact = works()
    told = "8-bit products are exact" if exact else "8-bit products are not exact, so --quantization w8a8 is refused"
    yield Finding("devices", "cpu w8a8", "ok" if exact else "missing", told)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            left, whole = torch.cuda.mem_get_info(number)
            kind = f"compute {about.major}.{about.minor}" + (", bfloat16" if torch.cuda.is_bf16_supported() else "")
            told = f"{about.name}, {size(left)} of {size(whole)} free, {kind}"
            yield Finding("devices", f"cuda:{number}", "ok", told, values={"free": left, "memory": whole})
        return
    if shutil.which("nvidia-smi") and torch.version.cuda is None:
        told = f"there is an NVIDIA driver, but torch {torch.__version__} was built without CUDA"
        yield Finding("devices", "cuda", "problem", told, "pip install torch, from the index that pytorch.org names")
    elif shutil.which("nvidia-smi"):
        told = f"torch {torch.__version__} sees no GPU: the driver, the container or CUDA_VISIBLE_DEVICES hides it"
        yield Finding("devices", "cuda", "problem", told, "nvidia-smi shows what the driver sees")
    else:
        yield Finding("devices", "cuda", "ok", "no NVIDIA GPU; everything runs on the CPU")


def attention() -> Iterator[Finding]:
    """What attention of packed sequences, of what follows on what was read, and of decoding runs on."""
    import torch

    from llava_ecg.engine.attention import ROLES, choose

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    brings = {
        "varlen": ("packed", "torch 2.11 or newer has flash attention for packs"),
        "extend": ("continuing", "torch 2.11 or newer has flash attention for what follows on what was read"),
        "decode": ("decoding", "pip install triton (torch for CUDA brings it)"),
    }
    for role, (label, how) in brings.items():
        name = choose(role, device, kind)
        text = f"{name} on {device} in {str(kind).removeprefix('torch.')}"
        if device == "cuda" and not ROLES[role][name].flash:
            yield Finding("attention", label, "missing", text, how)
        else:
            yield Finding("attention", label, "ok", text)


def storage() -> Iterator[Finding]:
    """What is kept, and room on the disk."""
    from llava_ecg.cache import cache_folder
    from llava_ecg.checkpoint.places.fetch import BASES, base_folder

    folder = cache_folder()
    kept = _tree(folder)
    free = _free_disk(folder)
    text = f"{folder} holds {size(kept)}; {size(free)} of its disk are free"
    status = "ok" if free > _LEAST_DISK else "problem"
    fix = "" if status == "ok" else "free some, or set LLAVA_ECG_CACHE to a folder on another disk"
    yield Finding("storage", "cache", status, text, fix, {"bytes": kept, "free": free})
    for name in BASES:
        there = base_folder(name)
        if there is None:
            yield Finding("storage", name, "missing", "is not fetched", f"llava-ecg fetch {name}")
        else:
            yield Finding("storage", name, "ok", f"{size(_tree(there))} in {there}")
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    if hub.is_dir():
        yield Finding("storage", "hub", "ok", f"{hub} holds {size(_tree(hub))}")


def room_for(model: str) -> Iterator[Finding]:
    """Whether a model can be opened, and in which kinds of number it fits."""
    from llava_ecg.checkpoint.inspect import inspect

    try:
        report: Any = inspect(model)
    except InputError as error:
        yield Finding("model", model, "problem", str(error), "llava-ecg inspect shows what is in a folder")
        return
    inner = sum(part.parameters for part in report.parts if part.name == "language_model")
    other = sum(part.parameters for part in report.parts) - inner
    told = report.to_dict()
    text = f"{told['description']}; {(inner + other) / 1e6:,.0f} million parameters"
    if told["complete"] is False or report.absent:
        yield Finding("model", model, "problem", f"{text}; parts are missing", f"llava-ecg inspect {model}")
        return
    yield Finding("model", model, "ok", text, values={"parameters": inner + other})
    embedded = min(inner, _embedding(Path(told["folder"])))
    for place, free in _places().items():
        usual = "float32" if place == "cpu" else "bfloat16"
        kinds = [usual, "w8a8", "nf4"] if place == "cpu" else [usual, "w8a16", "nf4"]
        # embedding, towers and projectors are not quantised
        whole = (embedded + other) * _BYTES[usual]
        needs = {kind: int(_ROOM * (whole + (inner - embedded) * _BYTES[kind])) for kind in kinds}
        fits = [kind for kind, need in needs.items() if need < free]
        told = ", ".join(f"{kind} {size(need)}" for kind, need in needs.items())
        text = f"needs about {told}; {size(free)} are free"
        if usual in fits:
            yield Finding("model", f"on {place}", "ok", text, values=needs)
        elif fits:
            fix = f"take --quantization {fits[0]}"
            yield Finding("model", f"on {place}", "missing", f"{text}; {usual} does not fit", fix, needs)
        else:
            fix = "close other programs, or take a smaller model or another machine"
            yield Finding("model", f"on {place}", "problem", text, fix, needs)


def _embedding(folder: Path) -> int:
    """Parameters of the embedding, where the config says them."""
    from llava_ecg.checkpoint.files.headers import read_json

    try:
        config = read_json(folder / "config.json")
    except InputError:
        return 0
    text = config.get("text_config") or config
    rows, width = text.get("vocab_size"), text.get("hidden_size")
    return rows * width if isinstance(rows, int) and isinstance(width, int) else 0


def environment() -> Iterator[Finding]:
    """Variables that change what the program does."""
    for name in VARIABLES:
        if name in os.environ:
            value = "is set" if name.endswith(_SECRET) else os.environ[name]
            yield Finding("environment", name, "ok", value)


def _places() -> dict[str, int]:
    """Device -> free bytes."""
    import torch

    from llava_ecg.engine.memory import free_bytes

    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]
    return {name: free_bytes(torch.device(name)) for name in names}


def _tree(folder: Path) -> int:
    """Bytes of all files in a folder; a link is not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_size
            except OSError:
                continue
    return total


def _free_disk(folder: Path) -> int:
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
