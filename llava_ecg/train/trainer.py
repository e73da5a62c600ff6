"""A transformers.Trainer for our model: padded batches, learning rates by part, and our checkpoint layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from llava_ecg.data.batch import pad
from llava_ecg.data.encode import Encoded
from llava_ecg.data.grouping import EpochSampler, GroupedSampler
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint


class Collator:
    """Samples -> a batch padded on the right."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, samples: list[Encoded]) -> dict[str, Any]:
        """A batch of `pad`, with ``cut`` bool [B], whether an answer was cut away in part, and ``untaught`` bool [B],
        whether wholly."""
        told = {
            "cut": torch.tensor([each.cut for each in samples]),
            "untaught": torch.tensor([not each.taught for each in samples]),
        }
        return pad(samples, self.pad_id) | told


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


class LlavaEcgTrainer(Trainer):
    """Trainer with the loss on supervised places only (`supervised_only` of the model)."""

    model_accepts_loss_kwargs = True

    def __init__(self, *, model: LlavaEcgForCausalLM, **kwargs: Any) -> None:
        super().__init__(model=model, **kwargs)
        model.register_forward_hook(_connect, with_kwargs=True)
        self._seen = torch.zeros(3, dtype=torch.long)  # samples, those with an answer cut, those with nothing to learn

    def cut_report(self) -> str | None:
        """What has been cut from the samples of all processes, None where nothing was. Every process has to ask."""
        seen: Any = self.accelerator.reduce(self._seen.to(self.accelerator.device), reduction="sum")
        samples, cut, untaught = seen.tolist()
        if not cut and not untaught:
            return None
        longest = getattr(self.train_dataset, "max_length", None)
        return (
            f"warning: of {samples} samples, {cut} had an answer cut at {longest} tokens (--model_max_length), and "
            f"from {untaught} nothing "
            "was learnt"
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args: Any = self.args
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        seed = args.seed if args.data_seed is None else args.data_seed
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
        cut, untaught = inputs.pop("cut", None), inputs.pop("untaught", None)
        if cut is not None and untaught is not None:
            self._seen += torch.tensor([len(cut), int(cut.sum()), int(untaught.sum())])
        if num_items_in_batch is not None:
            num_items_in_batch = torch.as_tensor(num_items_in_batch, device=inputs["labels"].device).clamp(
                min=1
            )  # all may be cut away
        out = model(**inputs, supervised_only=True, num_items_in_batch=num_items_in_batch)
        loss = out.loss
        if args.label_smoothing_factor:
            items = max(1, out.logits.shape[0]) if num_items_in_batch is None else num_items_in_batch
            even = -out.logits.log_softmax(dim=-1).mean(dim=-1).sum() / items
            loss = (1 - args.label_smoothing_factor) * loss + args.label_smoothing_factor * even
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
