"""``python -m llava_ecg.train``: read the flags, build the model, freeze, train, save."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.words import stream_report
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.named import data_file
from llava_ecg.data.packing import PackedDataset
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.plugins import templates
from llava_ecg.train.arguments import DataArguments, ModelArguments, TrainingArguments, parse
from llava_ecg.train.checks import check_answers, check_output, check_streams, check_tokenizer
from llava_ecg.train.dry_run import count_tokens, hollow_model, memory_of, memory_report, token_report
from llava_ecg.train.flags import check_flags, notes, reason
from llava_ecg.train.parts import freeze as freeze
from llava_ecg.train.parts import freeze_report
from llava_ecg.train.resume import is_finished, restore, resume_point
from llava_ecg.train.room import is_out_of_memory, out_of_memory
from llava_ecg.train.run_folder import RECIPE, RUN, RunLog, recipe_text, run_text
from llava_ecg.train.samples import build_dataset
from llava_ecg.train.starting import build, language_dtype, look, stand_on, tokenizer_of
from llava_ecg.train.trainer import Collator, LlavaEcgTrainer, packed_attention
from llava_ecg.train.zero import blanks_of, choose_device


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say, or tell what would be trained. Exit code 2 for a mistake in them or in the data."""
    try:
        for library in ("accelerate", "peft"):
            if find_spec(library) is None:
                raise InputError(
                    f"training needs {library}, which is not installed; get it with: pip install 'llava-ecg[train]'"
                )
        quantize.hush()  # accelerate imports bitsandbytes
        choose_device()
        model_args, data_args, args = parse(argv)
        check_flags(args, model_args, data_args)
        torch.manual_seed(args.seed)
        report = _train(model_args, data_args, args)
    except InputError as error:  # from a data worker it comes with the worker's traceback as its text
        said = str(error).strip().splitlines()[-1].removeprefix("llava_ecg.errors.InputError: ")
        print(f"llava_ecg.train: {''.join(map(_visible, said))}", file=sys.stderr)
        return 2
    if args.process_index == 0 and not args.dry_run:
        if report is not None:
            print(report)
        print(f"saved to {args.output_dir}")
    return 0


def _train(model_args: ModelArguments, data_args: DataArguments, args: TrainingArguments) -> str | None:
    """Everything between the flags and the saved model, or the report of a dry run. Returns what was cut."""
    recipe = recipe_text(model_args, data_args, args)
    data_args.data_path = str(data_file(data_args.data_path))
    if args.dry_run:
        source = look(model_args, args)
        model = hollow_model(source, language_dtype(model_args, args), model_args.quantization)
        stand_on(model.config, source.folder, source.adapter, model_args)
        tokenizer = tokenizer_of(source)
    else:
        model, tokenizer = build(model_args, args)
    freeze(model, model_args)
    check_streams(model, model_args, data_args, args)
    check_output(model.config, model_args, Path(str(args.output_dir)))
    lines = [freeze_report(model)]
    for name, settings in model.config.streams.items():
        lines += [f"warning: {name}: {warning}" for warning in stream_report(name, settings).warnings]
    lines += check_tokenizer(tokenizer, model.config.template, templates.get(model.config.template))
    lines += notes(args, model_args)
    dataset = build_dataset(model, tokenizer, data_args, args)
    if dataset.max_length < args.model_max_length and "model_max_length" in args.given:
        lines.append(
            f"note: --model_max_length is {dataset.max_length} here, since the language model knows no more "
            "places than that"
        )
    model.config.derive = not dataset.goes_without()
    lines.append(f"{len(dataset)} conversations from {data_args.data_path}")
    _say(args, *([recipe] if args.dry_run else []), *lines)
    check_answers(dataset, args.train_batch_size * args.world_size if args.dataloader_drop_last else 1)
    if args.dry_run:
        tokens = count_tokens(dataset)
        memory = memory_of(model, model_args, args, tokens, dataset.max_length)
        _say(args, token_report(tokens, dataset.max_length), memory_report(memory, args))
        _say(args, "a dry run: nothing was trained or written")
        return None
    told, out = run_text(dataset, data_args.data_path, packed_attention(args)), Path(str(args.output_dir))
    begin = resume_point(out, args.resume_from_checkpoint, recipe, json.loads(told)["data"], args.world_size)
    if begin is not None:
        _say(args, f"goes on from {begin}" + (", where the run ended" if is_finished(begin) else ""))
    log = RunLog(out, {RECIPE: recipe, RUN: told})
    log.watch(model)
    trainer = build_trainer(model, tokenizer, dataset, args, (log,))
    try:
        if begin is not None and is_finished(begin):  # the Trainer would take a step more
            restore(model, begin)
        else:
            trainer.train(resume_from_checkpoint=None if begin is None else str(begin))
        trainer.refuse_no_number()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(out_of_memory(args, model_args)) from error
    report = trainer.cut_report()
    trainer.save_model()
    return report


def _say(args: TrainingArguments, *lines: str) -> None:
    if args.process_index == 0:
        print("\n".join(lines))


def _visible(letter: str) -> str:
    """What steers a terminal, from a file's name or a flag's value, as text."""
    return letter if letter.isprintable() else repr(letter)[1:-1]


def build_trainer(
    model: LlavaEcgForCausalLM,
    tokenizer: Any,
    dataset: ConversationDataset,
    args: TrainingArguments,
    callbacks: Sequence[TrainerCallback] = (),
) -> LlavaEcgTrainer:
    """The trainer of a model; `callbacks` come before those that show what is logged.

    Raises:
        InputError: the flags ask for a library that is not here.
    """
    collator = Collator(_pad_id(tokenizer), blanks_of(dataset) if args.deepspeed else None)
    try:
        trainer = LlavaEcgTrainer(
            model=model,
            args=args,
            train_dataset=PackedDataset(dataset, seed=args.seed) if args.packing else dataset,
            data_collator=collator,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        trainer.create_optimizer()
        other = torch.optim.SGD(
            [torch.nn.Parameter(torch.zeros(1))], lr=args.learning_rate
        )  # the Trainer makes its own when it begins
        trainer.create_scheduler(num_training_steps=100, optimizer=other)
        trainer.lr_scheduler = None
    except InputError:
        raise
    except Exception as error:  # each library refuses in its own way
        raise InputError(
            f"the training can't be set up as the flags say ({reason(error)}); leave the flag away or get what it needs"
        ) from error
    return trainer


def _pad_id(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
