"""``--dry_run``: what would be trained, on what, and with how much memory. Headers of the model's files are read and no
weights, some hundred records, and nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from llava_ecg.checkpoint import quantize
from llava_ecg.checkpoint.source import Source
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import IGNORE
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.train.arguments import ModelArguments, TrainingArguments
from llava_ecg.train.memory import Part, Step, expected_memory

MOST_RECORDS, MOST_SECONDS = 200, 60.0
_BARS, _WIDTH = 8, 40


def hollow_model(source: Source, dtype: torch.dtype, quantization: str | None) -> LlavaEcgForCausalLM:
    """The model of a source on the meta device: every parameter with its shape and type, and no memory.

    Args:
        dtype: of the language model; towers and projectors are float32.
    """
    with torch.device("meta"):
        model = LlavaEcgForCausalLM.of(source.config)
    for value in model.language_model.parameters():
        value.data = value.data.to(dtype)
    if quantization is not None:
        quantize.replace_linears(model.language_model, quantization, dtype)
    return model


@dataclass(frozen=True)
class Tokens:
    """What some records of a set come to.

    Attributes:
        lengths: of each, in tokens.
        supervised: of all, how many have a label.
        streams: name -> how many places its tower's tokens take, of all.
        records: in the whole set.
    """

    lengths: tuple[int, ...]
    supervised: int
    streams: dict[str, int]
    records: int


def count_tokens(dataset: ConversationDataset, most: int = MOST_RECORDS, seconds: float = MOST_SECONDS) -> Tokens:
    """Prepare records that are spread evenly over the set, up to `most` or as many as `seconds` allow.

    Raises:
        InputError: one of them can't be prepared, or there is none.
    """
    if not len(dataset):
        raise InputError("the data hold no record, so there is nothing to train on")
    count = min(most, len(dataset))
    numbers = [number * len(dataset) // count for number in range(count)]
    lengths, supervised = [], 0
    streams = dict.fromkeys(dataset.preparers, 0)
    began = time.monotonic()
    for number in numbers:
        sample = dataset[number]
        lengths.append(len(sample))
        supervised += int((sample.labels[1:] != IGNORE).sum())
        for place, name in enumerate(streams, 1):
            streams[name] += int((sample.slots == place).sum())
        if time.monotonic() - began > seconds:
            break
    return Tokens(tuple(lengths), supervised, streams, len(dataset))


def token_report(tokens: Tokens, longest: int) -> str:
    """Lengths as a histogram, and the shares of what is in them.

    Args:
        longest: tokens that a sample may have.
    """
    lengths, total = tokens.lengths, sum(tokens.lengths)
    head = f"tokens of {len(lengths):,} of {tokens.records:,} records"
    middle = sorted(lengths)[len(lengths) // 2]
    told = f"shortest {min(lengths):,}, median {middle:,}, longest {max(lengths):,} of at most {longest:,}"
    lines = [f"{head}: {told}", *_histogram(lengths)]
    lines.append(f"{'supervised':<20} {tokens.supervised / total:>6.1%}")
    lines += [f"{'tower tokens, ' + name:<20} {count / total:>6.1%}" for name, count in tokens.streams.items()]
    lines.append(f"an epoch is about {round(total / len(lengths) * tokens.records):,} tokens")
    return "\n".join(lines)


def _histogram(lengths: Sequence[int]) -> Iterator[str]:
    low, high = min(lengths), max(lengths)
    step = max(1, -(-(high - low + 1) // _BARS))
    counts = [sum(start <= each < start + step for each in lengths) for start in range(low, high + 1, step)]
    for number, count in enumerate(counts):
        start = low + number * step
        bar = "#" * round(_WIDTH * count / max(counts))
        yield f"  {start:>6,} to {start + step - 1:>6,} {count:>6,} {bar}".rstrip()


def memory_of(
    model: LlavaEcgForCausalLM, model_args: ModelArguments, args: TrainingArguments, tokens: Tokens, longest: int
) -> dict[str, int]:
    """`expected_memory` of one process at its fullest step: a batch of the longest samples seen, or full packs."""
    config: Any = model.config
    length = longest if args.packing else max(tokens.lengths)
    batch = args.per_device_train_batch_size * length
    share = tokens.supervised / sum(tokens.lengths)
    step = Step(
        tokens=batch,
        supervised=round(batch * share),
        itemsize=2 if args.bf16 or args.fp16 else 4,
        checkpointed=bool(args.gradient_checkpointing) and not args.selective_checkpointing,  # what that keeps: at most
        trained=any(value.requires_grad for value in model.parameters()),
    )
    optimizer = str(getattr(args.optim, "value", args.optim))
    return expected_memory(_parts(model, model_args.quantization), optimizer, config.text_config.to_dict(), step)


def _parts(model: LlavaEcgForCausalLM, quantization: str | None) -> Iterator[Part]:
    for module in model.modules():
        for leaf, value in module._parameters.items():
            if value is not None:
                kind = quantization if quantize.is_quantized_place(module, leaf) else None
                yield Part(value.numel(), value.element_size(), value.requires_grad, kind)


def memory_report(memory: dict[str, int], args: TrainingArguments) -> str:
    """The estimate as a table, in GB of 10^9 bytes."""
    lines = [f"memory of one process, an estimate (batch {args.per_device_train_batch_size}), GB"]
    lines += [f"{name:<20} {size / 1e9:>10,.2f}" for name, size in memory.items()]
    return "\n".join([*lines, f"{'together':<20} {sum(memory.values()) / 1e9:>10,.2f}"])
