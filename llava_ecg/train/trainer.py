"""A transformers.Trainer for our model: padded batches, learning rates by part, and our checkpoint layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from llava_ecg.data.batch import pad
from llava_ecg.data.encode import Encoded
from llava_ecg.model.saving import save_checkpoint


class Collator:
    """Samples -> a batch padded on the right."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, samples: list[Encoded]) -> dict[str, Any]:
        return pad(samples, self.pad_id)


class LlavaEcgTrainer(Trainer):
    """Trainer with the loss on supervised places only (`supervised_only` of the model)."""

    model_accepts_loss_kwargs = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: torch.Tensor | int | None = None
    ) -> Any:
        """The sum over the labels of this batch, divided by their number in the whole optimizer step."""
        out = model(**inputs, supervised_only=True, num_items_in_batch=num_items_in_batch)
        return (out.loss, out) if return_outputs else out.loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW (or what ``--optim`` says) with a group for each part that has its own learning rate."""
        if self.optimizer is None:
            args: Any = self.args
            bare: Any = self.model
            trained = [(name, value) for name, value in bare.named_parameters() if value.requires_grad]
            rates = {"projectors.": args.mm_projector_lr, "towers.": args.tower_lr}
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, value in trained:
                rate = next((own for part, own in rates.items() if name.startswith(part) and own is not None), self.args.learning_rate)
                decay = 0.0 if value.ndim < 2 else self.args.weight_decay
                groups.setdefault((rate, decay), []).append(value)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(
                [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in groups.items()], **settings
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        args: Any = self.args
        dtype = None if args.save_dtype is None else getattr(torch, args.save_dtype)
        save_checkpoint(self.accelerator.unwrap_model(self.model), self.processing_class, Path(output_dir or args.output_dir), dtype)
