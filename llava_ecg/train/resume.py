"""A run that was cut off goes on from its last whole checkpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import yaml

from llava_ecg.checkpoint import weights
from llava_ecg.checkpoint.files.headers import read_header
from llava_ecg.checkpoint.lora import adapter_file
from llava_ecg.checkpoint.opening import open_source
from llava_ecg.checkpoint.source import ADAPTER, Source
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import clear_leftovers
from llava_ecg.train.run_folder import RECIPE, RUN

STATE, OPTIMIZER = "trainer_state.json", "optimizer.pt"
SHARDED = ("optimizer.bin", "latest")
"""The optimizer of FSDP2, gathered, and where DeepSpeed notes which of its folders is whole."""


def last_checkpoint(folder: Path) -> Path | None:
    """The newest ``checkpoint-N`` in a run's folder that was saved to its end, or None.

    The Trainer writes its state last, so a folder without it is one whose saving was cut off. What a killed save has
    left beside is put right first.
    """
    clear_leftovers(folder)
    numbered = {
        int(found[1]): path
        for path in folder.glob("checkpoint-*")
        if (found := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    for path in numbered.values():
        clear_leftovers(path)
    return next((numbered[number] for number in sorted(numbered, reverse=True) if is_whole(numbered[number])), None)


def is_whole(checkpoint: Path) -> bool:
    """Whether a run can go on from a folder."""
    try:
        state = json.loads((checkpoint / STATE).read_text())
    except (OSError, ValueError):
        return False
    optimizer = any((checkpoint / name).is_file() for name in (OPTIMIZER, *SHARDED))
    return "global_step" in state and optimizer and (checkpoint / "config.json").is_file()


def is_finished(checkpoint: Path) -> bool:
    """Whether it was saved at the last step of its run."""
    state = json.loads((checkpoint / STATE).read_text())
    return bool(state["global_step"] >= state["max_steps"])


def restore(model: LlavaEcgForCausalLM, checkpoint: Path) -> None:
    """Fill what is trained of a model from a checkpoint of the same run; what is frozen stays as it was loaded.

    Raises:
        InputError: the checkpoint lacks a tensor that is trained, or holds one of another shape.
    """
    source = open_source(str(checkpoint))
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    adapted = hasattr(model.language_model, "peft_config")
    wanted = {name for name in trained if not (adapted and name.startswith("language_model."))}
    held = {name: ref for name, ref in source.tensors.items() if name in wanted}
    tied = "language_model.lm_head.weight"
    missing = wanted - held.keys() - ({tied} if model.config.text_config.tie_word_embeddings else set())
    if missing:
        raise InputError(
            f"{checkpoint} lacks {min(missing)}, which is trained here; it is of another run: give another --output_dir"
        )
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.stream(Source("run", str(checkpoint), checkpoint, {}, held)):
            if tensor.shape != parameters[name].shape:
                raise InputError(
                    f"{name} is {list(tensor.shape)} in {checkpoint} and {list(parameters[name].shape)} here; it is of "
                    "another run: give another --output_dir"
                )
            parameters[name].copy_(tensor)
    if adapted:
        _restore_adapter(model.language_model, checkpoint / ADAPTER)


def _restore_adapter(language_model: Any, folder: Path) -> None:
    from peft import set_peft_model_state_dict  # six seconds of import that only LoRA needs

    file = adapter_file(folder)
    if file is None:
        raise InputError(f"{folder} holds no LoRA, and one is trained here; give another --output_dir")
    held = Source("lora", str(file), file, {}, read_header(file).tensors)
    filled: Any = set_peft_model_state_dict(language_model, dict(weights.stream(held)))
    if filled.unexpected_keys:
        raise InputError(
            f"{file} holds {filled.unexpected_keys[0]}, which is not trained here; give another --output_dir"
        )


FREE = (
    *("output_dir", "resume_from_checkpoint", "report_to", "run_name", "project", "disable_tqdm", "use_cpu", "tf32"),
    *("logging_", "save_", "log_", "dataloader_", "ddp_", "torch_compile"),
)
"""Flags, or how flags begin, that a run may change when it goes on."""


def resume_point(folder: Path, asked: str | None, recipe: str, data: Any, processes: int) -> Path | None:
    """The checkpoint that a run goes on from: the last whole one in its folder, or the one that is asked for.

    Args:
        folder: of the run.
        asked: --resume_from_checkpoint: a checkpoint's folder, ``True``, ``False``, or None for the last, if any.
        recipe: of the run that is to go on (`llava_ecg.train.run_folder.recipe_text`).
        data: what tells its data from others (`llava_ecg.train.run_folder.fingerprint`).
        processes: that train together.

    Raises:
        InputError: there is no such checkpoint, or it is of a run with other settings, data or processes.
    """
    word = "" if asked is None else asked.lower()
    last = last_checkpoint(folder)
    if word == "false":
        if last is not None:
            raise InputError(
                f"{folder} holds {last.name} of a run; delete it or choose another --output_dir to begin anew"
            )
        return None
    if word not in ("", "true"):
        last = Path(str(asked)).expanduser()
        if not is_whole(last):
            raise InputError(
                f"--resume_from_checkpoint {asked} is no checkpoint that a run can go on from; it is a folder "
                f"checkpoint-N with {STATE} and {OPTIMIZER}"
            )
    if last is None:
        if word == "true":
            raise InputError(
                f"{folder} holds no checkpoint to go on from; leave --resume_from_checkpoint away to begin"
            )
        return None
    _check_same(last, recipe, data, processes)
    return last


def _check_same(checkpoint: Path, recipe: str, data: Any, processes: int) -> None:
    advice = "give what it had, or another --output_dir to begin anew"
    try:
        place = checkpoint if (checkpoint / RUN).is_file() else checkpoint.parent  # killed before they were copied
        before, told = yaml.safe_load((place / RECIPE).read_text()), json.loads((place / RUN).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{checkpoint} does not tell how it was trained ({RECIPE}, {RUN}); {advice}") from error
    now = yaml.safe_load(recipe)
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name) and not name.startswith(FREE)]
    if changed:
        name = changed[0]
        had, has = (f"--{name} {each[name]}" if name in each else f"no --{name}" for each in (before, now))
        raise InputError(f"{checkpoint} is of a run with {had}, and now there is {has}; {advice}")
    if told.get("data") != data:
        raise InputError(f"the records or their files have changed since {checkpoint} was saved; {advice}")
    saved = len(list(checkpoint.glob("rng_state*.pth")))
    if saved != processes:
        raise InputError(f"{checkpoint} is of a run with {saved} processes, and now there are {processes}; {advice}")
