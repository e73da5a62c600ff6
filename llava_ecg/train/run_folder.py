"""What a run leaves beside the model: ``recipe.yaml`` (which ``--config`` takes again), ``run.json`` (versions, commit,
data) and ``log.jsonl`` (a line for each step that is logged)."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import fields
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainerCallback

from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments

RECIPE, RUN, LOG = "recipe.yaml", "run.json", "log.jsonl"
_NOT_OF_A_RECIPE = ("config", "dry_run", "local_rank")
# What decides a result and has a default that another version may not share; stands in a recipe, given or not.
_PINNED = (
    *("learning_rate", "lr_scheduler_type", "weight_decay", "optim", "max_grad_norm", "seed"),
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)
_PACKAGES = (
    "llava-ecg",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "tokenizers",
    "safetensors",
    "numpy",
)
_FILES = 2000  # whose sizes are looked up; the file system of a large set would take minutes for all


def recipe_text(model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments) -> str:
    """The settings of a run as a recipe: those that were given and those that decide its result; the other flags of
    ours follow as comments, since some mean something only by being given."""
    active: dict[str, Any] = {}
    resting: dict[str, Any] = {}
    for group in (model_args, data_args, args):
        own = {item.name for item in fields(group) if item.init and item.name not in _NOT_OF_A_RECIPE}
        inherited = {item.name for item in fields(group.__class__.__mro__[1])} if group is args else set()
        for item in fields(group):
            if item.name not in own:
                continue
            value = _plain(getattr(group, item.name))
            pinned = item.name in _PINNED or item.name == _length(args)
            if (item.name in args.given or pinned) and value is not None:
                active[item.name] = value
            elif item.name not in inherited:
                resting[item.name] = value
    head = f"# The settings of a run with llava-ecg {_versions().get('llava-ecg', '')}. Again: --config {RECIPE}\n"
    rest = yaml.safe_dump(resting, sort_keys=False, width=1000)
    return head + yaml.safe_dump(active, sort_keys=False, width=1000) + "# not given:\n" + _commented(rest)


def _length(args: TrainingArguments) -> str:
    return "max_steps" if args.max_steps > 0 else "num_train_epochs"


def _commented(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def _plain(value: Any) -> Any:
    """A flag's value as YAML has it, and as the parser reads it."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value] or "none"
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value


def run_text(dataset: ConversationDataset, data_path: str, attention: str | None = None) -> str:
    """What a run stood on, as JSON: versions, the commit of a checkout, the kernel of packs, and the data."""
    told = {
        "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": _versions(),
        "cuda": torch.version.cuda,
        "git": commit(Path(__file__).resolve().parents[2]),
        "attention": attention,
        "data": fingerprint(dataset, Path(data_path)),
    }
    return json.dumps(told, indent=2) + "\n"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit(root: Path) -> dict[str, Any] | None:
    """Commit of a checkout, and whether its files differ from it; None for an installed package."""
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        line = ["git", "-C", str(root), *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):  # no git here, or none that may look
        return None


def fingerprint(dataset: ConversationDataset, path: Path) -> dict[str, Any]:
    """What tells one set of data from another: the records' file by its content, the files that they name by size."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    count = len(dataset)
    names = _named(dataset, range(0, count, max(1, count // _FILES)))
    sizes = hashlib.sha256()
    for name, size in sorted(set(names)):
        sizes.update(f"{name}\t{size}\n".encode())
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
        "records": count,
        "files": {"looked at": len(set(names)), "sha256 of names and sizes": sizes.hexdigest()},
    }


def _named(dataset: ConversationDataset, numbers: Iterable[int]) -> list[tuple[str, int]]:
    found = []
    for number in numbers:
        for stream, files in dataset.conversations[number].sources.items():
            for file in filter(None, files):  # an empty name is none at this marker
                place = dataset.folders[stream] / file if stream in dataset.folders else Path(file)
                found.append((f"{stream}/{file}", place.stat().st_size if place.is_file() else -1))
    return found


class RunLog(TrainerCallback):
    """Writes the run's files as it begins, a line for each log, and the files again beside each checkpoint.

    Args:
        folder: of the run.
        texts: name of a file -> its content.
    """

    def __init__(self, folder: Path, texts: dict[str, str]) -> None:
        self.folder, self.texts = folder, texts
        self.tokens: Any = 0
        self._began, self._last, self._base = time.monotonic(), (time.monotonic(), 0), 0

    def watch(self, model: torch.nn.Module) -> None:
        """Count the tokens that go through a model, padding left out; nothing waits for the device."""

        def count(_: Any, __: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            mask, ids = kwargs.get("attention_mask"), kwargs.get("input_ids")
            if mask is not None:
                self.tokens = self.tokens + mask.sum()
            elif ids is not None:
                self.tokens = self.tokens + ids.numel()

        model.register_forward_pre_hook(count, with_kwargs=True)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()
        self._last, self._base = (self._began, 0), state.global_step
        if state.is_world_process_zero:
            self._write(self.folder)
            self._line({"begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "steps": state.max_steps})

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Adds ``tokens_per_s`` (of all processes, since the last log) and ``left`` to what is shown."""
        if logs is None:
            return
        now, tokens = time.monotonic(), self._everywhere(args)
        before, had = self._last
        self._last = (now, tokens)
        entry = {"step": state.global_step, "seconds": round(now - self._began, 3), "tokens": tokens}
        if "loss" in logs:
            done = state.global_step - self._base
            left = (now - self._began) / max(1, done) * (state.max_steps - state.global_step)
            shown = {"tokens_per_s": round((tokens - had) / max(now - before, 1e-9), 1), "left": _clock(left)}
            entry["tokens_per_s"] = shown["tokens_per_s"]
            logs.update(shown)
        if state.is_world_process_zero:
            self._line(entry | {key: value for key, value in logs.items() if key not in ("left", *entry)})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._write(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _everywhere(self, args: Any) -> int:
        tokens = torch.as_tensor(self.tokens, device=args.device, dtype=torch.long)
        if args.world_size > 1:
            torch.distributed.all_reduce(tokens)
        return int(tokens)

    def _write(self, folder: Path) -> None:
        if folder.is_dir():
            for name, text in self.texts.items():
                (folder / name).write_text(text, encoding="utf-8")

    def _line(self, entry: dict[str, Any]) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def _clock(seconds: float) -> str:
    whole = round(max(0.0, seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
