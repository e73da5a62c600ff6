"""Too little memory, and what helps."""

from __future__ import annotations

import torch

from llava_ecg.train.arguments import ModelArguments, TrainingArguments


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says so, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def out_of_memory(args: TrainingArguments, model_args: ModelArguments) -> str:
    """One sentence that proposes the settings that help and are not given yet, the cheapest first."""
    batch = args.per_device_train_batch_size
    proposals = []
    if batch > 1:
        accumulated = args.gradient_accumulation_steps * 2
        proposals.append(f"--per_device_train_batch_size {batch // 2} --gradient_accumulation_steps {accumulated}")
    recomputed = args.gradient_checkpointing or args.selective_checkpointing
    if not recomputed or args.selective_checkpointing:
        less = "--selective_checkpointing" if not recomputed else "--gradient_checkpointing (instead of selective)"
        proposals.append(less)
    if not args.bf16:
        proposals.append("--bf16")
    if not (model_args.lora_enable or model_args.tune_mm_mlp_adapter):
        if not args.pure_bf16:
            proposals.append("--pure_bf16")
        proposals.append("--lora_enable")
    proposals.append("a smaller --model_max_length")
    return f"out of memory; what helps, the cheapest first: {', '.join(proposals)}"
