"""What is trained on: the records that the flags name, looked through before the first step."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from llava_ecg.checkpoint.towers.known import RELEASED
from llava_ecg.data.bar import Bar
from llava_ecg.data.checker import Checker
from llava_ecg.data.conversation import streams_with
from llava_ecg.data.dataset import ConversationDataset, load_conversations
from llava_ecg.data.mixture import SUFFIXES, read_sets
from llava_ecg.data.prepared_cache import PreparedCache
from llava_ecg.data.validate import sound_conversations
from llava_ecg.ecg.augment import Augmentation
from llava_ecg.ecg.check import check_ecg, check_image
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.source_files import files_of
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.plugins import templates
from llava_ecg.train.arguments import DataArguments, TrainingArguments
from llava_ecg.train.named import by_name
from llava_ecg.train.resume import last_checkpoint

ECG, IMAGE = RELEASED
_SMALL = 1 << 20  # bytes of records below which other processes are not worth their start


def warn(text: str) -> None:
    """A warning on standard error, from a data worker too."""
    print(f"llava_ecg.train: warning: {text}", file=sys.stderr, flush=True)


def build_dataset(
    model: LlavaEcgForCausalLM, tokenizer: Any, data_args: DataArguments, args: TrainingArguments
) -> ConversationDataset:
    """The conversations, prepared as the model's config says.

    Raises:
        InputError: more records than ``skip_bad`` have a problem that would stop a run or spoil it.
    """
    config: Any = model.config
    path = Path(data_args.data_path)
    dataset = ConversationDataset(
        conversations=(),
        template=templates.get(config.template),
        tokenizer=tokenizer,
        preparers=model.preparers(),
        folders={ECG: Path(data_args.ecg_folder), IMAGE: Path(data_args.image_folder)}
        | {name: Path(folder) for name, folder in by_name("input_folders", data_args.input_folders).items()},
        max_length=_longest(config, args),
        derive=data_args.render_pages,
        readers={ECG: read},
        modality_dropout=data_args.modality_dropout,
        seed=args.seed,
        tell=warn,
        augment=augmentation(data_args),
        cache=None if data_args.prepared_dir is None else _cache(data_args),
    )
    checked = last_checkpoint(Path(str(args.output_dir))) is not None and not data_args.skip_bad
    if checked:
        conversations = load_conversations(path, streams=streams_with(dataset.preparers))
    else:
        conversations = _sound(path, dataset, data_args.skip_bad, args)
    return replace(dataset, conversations=conversations)


def augmentation(data_args: DataArguments) -> dict[str, Augmentation]:
    """What changes each ECG, by stream; empty where the flags ask for nothing.

    Raises:
        InputError: a setting out of its range.
    """
    settings = {name.removeprefix("augment_"): value for name, value in vars(data_args).items() if "augment_" in name}
    change = Augmentation.of(settings)
    return {ECG: change} if change else {}


def _longest(config: Any, args: TrainingArguments) -> int:
    """Tokens of the longest sample: the checkpoint's, or what is asked for, as far as the language model goes."""
    if "model_max_length" not in args.given:
        return int(config.model_max_length)
    asked = args.model_max_length
    longest = min(asked, getattr(config.text_config, "max_position_embeddings", asked))
    config.model_max_length = max(longest, config.model_max_length)
    return int(longest)


def _cache(data_args: DataArguments) -> PreparedCache:
    return PreparedCache(Path(str(data_args.prepared_dir)), round(data_args.prepared_gb * 1e9), files_of)


def _sound(path: Path, dataset: ConversationDataset, skip_bad: int, args: TrainingArguments) -> Any:
    """The records without a problem."""
    checker = Checker({ECG: check_ecg, IMAGE: check_image}, dataset.folders, dataset.encoder, dataset.max_length)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sizes = [each["path"] for each in read_sets(path, checker.streams)] if path.suffix.lower() in SUFFIXES else [path]
    small = all(not each.is_file() or each.stat().st_size < _SMALL for each in sizes)
    shared = max(1, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    bar = Bar() if args.process_index == 0 and sys.stderr.isatty() else None
    try:
        found = sound_conversations(path, checker, skip_bad=skip_bad, processes=1 if small else shared, progress=bar)
    finally:
        if bar is not None:
            bar.clear()
    if found.bad and args.process_index == 0:
        warn(f"{found.bad} of {found.records} records have a problem and are left out; the first: {found.problems[0]}")
    return found.conversations
