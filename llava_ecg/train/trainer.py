"""A transformers.Trainer for our model: padded batches, learning rates by part, and our checkpoint layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from llava_ecg.data.batch import counted, pack, pad
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import Encoded
from llava_ecg.data.grouping import EpochSampler, GroupedSampler
from llava_ecg.data.packing import PackedDataset
from llava_ecg.engine.attention import PACKED
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint


class Collator:
    """Samples -> a batch padded on the right; packs of samples -> one row of them all, without padding."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, given: Sequence[Encoded] | Sequence[list[Encoded]]) -> dict[str, Any]:
        """A batch of `pad` or `pack`, `counted`, with ``seen`` [3]: how many samples there are, how many of them have
        an answer that is cut away in part, and how many one that is cut away wholly."""
        packed = isinstance(given[0], list)
        samples: list[Encoded] = [each for pack in given for each in pack] if packed else list(given)  # type: ignore[arg-type,union-attr]
        batch = pack(samples) if packed else pad(samples, self.pad_id)
        seen = [len(samples), sum(each.cut for each in samples), sum(not each.taught for each in samples)]
        return counted(batch, list(samples[0].streams)) | {"seen": seen}


def _connect(model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> Any:
    """Add zero times the trained parts of the streams that a batch lacks to its loss, so that there is a gradient in
    any case.

    Projectors alone get none from a batch of text, and processes that train together wait for each other's. In a hook,
    since DistributedDataParallel looks for parameters without a gradient at the end of forward.
    """
    trained: Any = model
    if out.loss is None or not torch.is_grad_enabled() or len(kwargs.get("streams") or {}) == len(trained.projectors):
        return out
    loose = [
        value
        for name, value in model.named_parameters()
        if value.requires_grad and not name.startswith("language_model.")
    ]
    for value in loose:
        out.loss = out.loss + 0.0 * value.flatten()[0]
    return out


def _samples(dataset: Any) -> ConversationDataset:
    return dataset.dataset if isinstance(dataset, PackedDataset) else dataset


class LlavaEcgTrainer(Trainer):
    """Trainer with the loss on supervised places only (`supervised_only` of the model)."""

    model_accepts_loss_kwargs = True

    def __init__(self, *, model: LlavaEcgForCausalLM, **kwargs: Any) -> None:
        super().__init__(model=model, **kwargs)
        if isinstance(self.train_dataset, PackedDataset):
            language_model: Any = model.language_model
            language_model.set_attn_implementation(PACKED)
        model.register_forward_hook(_connect, with_kwargs=True)
        self._seen = torch.zeros(3, dtype=torch.long)  # samples, those with an answer cut, those with nothing to learn

    def cut_report(self) -> str | None:
        """What has been cut from the samples of all processes, None where nothing was. Every process has to ask."""
        seen: Any = self.accelerator.reduce(self._seen.to(self.accelerator.device), reduction="sum")
        samples, cut, untaught = seen.tolist()
        if not cut and not untaught:
            return None
        longest = _samples(self.train_dataset).max_length
        return (
            f"warning: of {samples} samples, {cut} had an answer cut at {longest} tokens (--model_max_length), and "
            f"from {untaught} nothing "
            "was learnt"
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args: Any = self.args
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        seed = args.seed if args.data_seed is None else args.data_seed
        if isinstance(dataset, PackedDataset):
            return EpochSampler(len(dataset), seed=seed)
        order = self._grouped(dataset, seed) if args.train_sampling_strategy == "group_by_length" else None
        if dataset.modality_dropout:
            return EpochSampler(len(dataset), order, seed=seed)
        return super()._get_train_sampler(train_dataset) if order is None else order

    def _grouped(self, dataset: Any, seed: int) -> GroupedSampler:
        args: Any = self.args
        kinds = [bool(each.sources) for each in dataset.conversations] if args.group_by_modality_length else None
        group = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return GroupedSampler(dataset.lengths(), group, kinds=kinds, seed=seed)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The sum over the labels of this batch, divided by their number in the whole optimizer step.

        With `average_tokens_across_devices` that number is of all processes, whose gradients are then averaged: times
        their number, so that the step is the one that a single process would make.
        """
        args: Any = self.args
        self._seen += torch.tensor(inputs.pop("seen", [0, 0, 0]))
        if num_items_in_batch is not None:
            num_items_in_batch = torch.as_tensor(num_items_in_batch, device=inputs["labels"].device).clamp(
                min=1
            )  # all may be cut away
        out = model(
            **inputs,
            supervised_only=True,
            num_items_in_batch=num_items_in_batch,
            label_smoothing=args.label_smoothing_factor,
        )
        loss = out.loss
        if num_items_in_batch is not None and args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, out) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW (or what ``--optim`` says), with a group for each part that has its own learning rate."""
        if self.optimizer is None:
            args: Any = self.args
            bare: Any = self.model
            trained = [(name, value) for name, value in bare.named_parameters() if value.requires_grad]
            rates = {"projectors.": args.mm_projector_lr, "towers.": args.tower_lr}
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, value in trained:
                rate = next(
                    (own for part, own in rates.items() if name.startswith(part) and own is not None),
                    self.args.learning_rate,
                )
                decay = 0.0 if value.ndim < 2 else self.args.weight_decay
                groups.setdefault((rate, decay), []).append(value)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(
                [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in groups.items()],
                **settings,
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        args: Any = self.args
        if not args.should_save:  # some versions of the Trainer call this in every process
            return
        dtype = None if args.save_dtype is None else getattr(torch, args.save_dtype)
        save_checkpoint(
            self.accelerator.unwrap_model(self.model), self.processing_class, Path(output_dir or args.output_dir), dtype
        )
