"""What can be known to go wrong before the first step is said before the first step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.opening import open_tower
from llava_ecg.checkpoint.places.find import find
from llava_ecg.checkpoint.standing import places, refuse_standing
from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.templates import Template
from llava_ecg.errors import InputError
from llava_ecg.model.saving import is_replaced
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments
from llava_ecg.train.named import by_name, names


def check_streams(
    model: Any, model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments | None = None
) -> None:
    """Refuse flags for a stream that the model does not have.

    Raises:
        InputError: one is for a stream that is not there.
    """
    streams = list(model.config.streams)
    of_the_ecg = {
        "unfreeze_ecg_tower": model_args.unfreeze_ecg_tower,
        "ecg_projector_type": model_args.ecg_projector_type,
        "ecg_projector_lr": args is not None and args.ecg_projector_lr is not None,
    }
    of_the_image = {
        "unfreeze_vision_tower": model_args.unfreeze_vision_tower,
        "mm_projector_type": model_args.mm_projector_type,
        "render_pages": data_args.render_pages,
    }
    for name, flags in zip(RELEASED, (of_the_ecg, of_the_image), strict=True):
        asked = [flag for flag, value in flags.items() if value]
        if asked and name not in streams:
            raise InputError(f"--{asked[0]} comes to nothing: the model has no {name} stream; leave it away")
    for flag, asked_of in (
        ("unfreeze_towers", names("unfreeze_towers", model_args.unfreeze_towers)),
        ("input_folders", by_name("input_folders", data_args.input_folders)),
    ):
        if strange := [name for name in asked_of if name not in streams]:
            raise InputError(
                f"--{flag} comes to nothing: the model has no stream {strange[0]!r}; its streams are "
                f"{', '.join(streams)}"
            )
    if data_args.modality_dropout and len(streams) < 2:
        raise InputError(
            f"--modality_dropout comes to nothing: the model has the stream {streams[0]} alone, which is never left out"
        )


def check_output(config: Any, model_args: ModelArguments, folder: Path) -> None:
    """Refuse a folder to save in whose saving takes away what the result stands on, or a tower or projectors that were
    given.

    Raises:
        InputError: it does.
    """
    refuse_standing(config, folder)
    files = (model_args.pretrain_mm_mlp_adapter, model_args.pretrain_ecg_projector)
    given: list[Path] = [Path(file) for file in files if file]
    for stream, name in zip(RELEASED, (model_args.ecg_tower, model_args.vision_tower), strict=True):
        if name:
            given += sorted({ref.path for ref in open_tower(find(name, "tower"), stream).tensors.values()})
    given += [find(folder, "tower") for folder in by_name("towers", model_args.towers).values()]
    target = folder.resolve()
    for path in given:
        inside = [each.relative_to(target) for each in places(path) if each != target and each.is_relative_to(target)]
        if any(is_replaced(each.parts[0]) for each in inside):
            raise InputError(
                f"saving to {folder} would delete {path}, which the training begins with; choose another --output_dir"
            )


def check_answers(dataset: ConversationDataset, batch: int = 1) -> None:
    """Refuse data of which nothing can be learnt.

    The first record with an answer ends the search, so whole data cost the reading of one record.

    Args:
        batch: how many records the first step needs.

    Raises:
        InputError: too few records, or none that has a token of an answer within the length.
    """
    if len(dataset) < batch:
        raise InputError(
            f"{len(dataset)} records fill no batch of {batch}, and --dataloader_drop_last drops what does not; "
            "leave it away"
        )
    quiet = replace(dataset, modality_dropout=0.0, tell=None)  # a copy, whose draws the training does not see
    needed: list[tuple[int, str]] = []
    for number in range(len(quiet)):
        sample = quiet[number]
        if sample.taught:
            return
        if sample.needed:
            needed.append((sample.needed, quiet.conversations[number].id))
    if not needed:
        raise InputError("no record has an answer, so there is nothing to learn; each needs a turn from gpt")
    least, name = min(needed)
    raise InputError(
        f"no record has a token of an answer among its first {dataset.max_length} tokens, so there is nothing to "
        "learn; raise "
        f"--model_max_length to at least {least}, which holds record {name!r} whole"
    )


def check_tokenizer(tokenizer: Any, name: str, template: Template) -> list[str]:
    """What a user should know of how template and tokenizer go together, a line each.

    Raises:
        InputError: nothing can stand for padding.
    """
    lines = []
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has neither a pad token nor an eos token, so a batch can't be padded; name one of them "
                "in its tokenizer_config.json"
            )
        lines.append(f"note: the tokenizer has no pad token; {tokenizer.eos_token!r} stands for it, without a loss")
    end = template.stop.strip()
    count = len(tokenizer(end, add_special_tokens=False)["input_ids"]) if end.startswith("<") else 1
    if count > 1:
        lines.append(
            f"warning: the template {name} ends an answer with {end!r}, which is {count} tokens of this tokenizer and "
            "not its end-of-text token, so answers may run on; llava-ecg list templates names others (--version)"
        )
    return lines
