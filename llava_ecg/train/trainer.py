"""A transformers.Trainer for our model: padded batches, learning rates by part, and our checkpoint layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer

from llava_ecg.data.batch import counted, pack, pad
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.encode import Encoded
from llava_ecg.data.grouping import EpochSampler, GroupedSampler
from llava_ecg.data.packing import PackedDataset
from llava_ecg.engine.attention import PACKED, choose, strictly
from llava_ecg.errors import InputError
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.train.flags import reason
from llava_ecg.train.optimizer import StochasticAdamW
from llava_ecg.train.recompute import contexts
from llava_ecg.train.resume import last_checkpoint, restore
from llava_ecg.train.shards import cut, save_states, take_up

_LOOK_EVERY = 16  # batches: how late a loss that is no number may be seen on a GPU
_NAMED = 8


class Collator:
    """Samples -> a batch padded on the right; packs of samples -> one row of them all, without padding.

    Args:
        pad_id: at what is no token of a sample.
        blanks: stream -> a value that stands in for it, at no place, in a batch that lacks it.
    """

    def __init__(self, pad_id: int, blanks: Mapping[str, torch.Tensor] | None = None) -> None:
        self.pad_id, self.blanks = pad_id, dict(blanks or {})

    def __call__(self, given: Sequence[Encoded] | Sequence[list[Encoded]]) -> dict[str, Any]:
        """A batch of `pad` or `pack`, `counted`, with ``seen`` [3]: how many samples there are, how many of them have
        an answer that is cut away in part, and how many one that is cut away wholly; and ``records``, their ids."""
        packed = isinstance(given[0], list)
        samples: list[Encoded] = [each for pack in given for each in pack] if packed else list(given)  # type: ignore[arg-type,union-attr]
        batch = pack(samples) if packed else pad(samples, self.pad_id)
        nowhere = torch.empty(0, dtype=torch.long)
        blank = {name: {"values": value, "index": nowhere} for name, value in self.blanks.items()}
        batch["streams"] = {name: (blank | batch["streams"])[name] for name in blank.keys() | batch["streams"].keys()}
        seen = [len(samples), sum(each.cut for each in samples), sum(not each.taught for each in samples)]
        told = {"seen": seen, "records": [each.record for each in samples]}
        return counted(batch, list(samples[0].streams)) | told


def _connect(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, *, always: bool = False
) -> Any:
    """Add zero times the trained parts of the streams that a batch lacks to its loss, so that there is a gradient in
    any case.

    Projectors alone get none from a batch of text, and processes that train together wait for each other's. In a hook,
    since DistributedDataParallel looks for parameters without a gradient at the end of forward.

    Args:
        always: also where all streams are there, since shards are reduced together with whatever has a gradient: what a
            tower never uses must then have one everywhere or nowhere.
    """
    trained: Any = model
    if out.loss is None or not torch.is_grad_enabled():
        return out
    if len(kwargs.get("streams") or {}) == len(trained.projectors) and not always:
        return out
    loose = [
        value
        for name, value in model.named_parameters()
        if value.requires_grad and not name.startswith("language_model.")
    ]
    for value in loose:
        out.loss = out.loss + 0.0 * value.flatten()[0]
    return out


def _listed(records: Sequence[str]) -> str:
    shown = ", ".join(map(repr, records[:_NAMED]))
    return f"records {shown}" + (f" and {len(records) - _NAMED} more" if len(records) > _NAMED else "")


def _samples(dataset: Any) -> ConversationDataset:
    return dataset.dataset if isinstance(dataset, PackedDataset) else dataset


def _recompute_some(args: Any) -> None:
    """Gradient checkpointing with a context, under the names that this version of transformers has for it."""
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        if hasattr(args, name):
            setattr(args, name, True)
            setattr(args, f"{name}_kwargs", {"use_reentrant": False, "context_fn": contexts})


def _compile_layers(model: LlavaEcgForCausalLM, args: Any) -> None:
    """torch.compile of each decoder layer, in place, if the flags ask for it."""
    if not (args.torch_compile or args.torch_compile_backend or args.torch_compile_mode):
        return
    decoder: Any = model.language_model.get_decoder()
    for layer in decoder.layers:
        layer.compile(backend=args.torch_compile_backend or "inductor", mode=args.torch_compile_mode, dynamic=True)


def packed_attention(args: Any) -> str | None:
    """What attention of packs will run on; None without packs.

    Raises:
        NoFlash: ``--strict_attention``, and no flash kernel can do it here.
    """
    strictly(args.strict_attention)
    if not args.packing:
        return None
    kind = torch.bfloat16 if args.bf16 or args.pure_bf16 else torch.float16 if args.fp16 else torch.float32
    return choose("varlen", args.device.type, kind)


class LlavaEcgTrainer(Trainer):
    """Trainer with the loss on supervised places only (`supervised_only` of the model)."""

    model_accepts_loss_kwargs = True

    def __init__(self, *, model: LlavaEcgForCausalLM, **kwargs: Any) -> None:
        settings: Any = kwargs["args"]
        if settings.selective_checkpointing:
            _recompute_some(settings)
        _compile_layers(model, settings)
        cut(model, settings)
        super().__init__(model=model, **kwargs)
        if isinstance(self.train_dataset, PackedDataset):
            language_model: Any = model.language_model
            language_model.set_attn_implementation(PACKED)
        if not settings.deepspeed:
            model.register_forward_hook(partial(_connect, always=bool(settings.fsdp)), with_kwargs=True)
        self._recent: list[tuple[list[str], torch.Tensor]] = []  # records and loss of the batches since the last look
        self._seen = torch.zeros(3, dtype=torch.long)  # samples, those with an answer cut, those with nothing to learn

    def create_accelerator_and_postprocess(self) -> None:
        """Also where accelerate would pass over ``--fsdp``."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            take_up(self.accelerator, self.args)
            self.is_fsdp_enabled = True

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
        return EpochSampler(len(dataset), order, seed=seed)

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
        records = inputs.pop("records", [])
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
        self._recent.append((records, loss.detach()))
        if loss.device.type == "cpu" or len(self._recent) == _LOOK_EVERY:  # a look at a GPU's number has to wait for it
            self.refuse_no_number()
        if num_items_in_batch is not None and args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, out) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW (or what ``--optim`` says), with a group for each part that has its own learning rate."""
        if self.optimizer is None:
            args: Any = self.args
            bare: Any = self.model
            trained = [(name, value) for name, value in bare.named_parameters() if value.requires_grad]
            rates = {  # the first that fits and is given
                "projectors.ecg.": args.ecg_projector_lr,
                "projectors.": args.mm_projector_lr,
                "towers.ecg.": args.ecg_tower_lr,
                "towers.image.": args.vision_tower_lr,
                "towers.": args.tower_lr,
            }
            groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
            for name, value in trained:
                rate = next(
                    (own for part, own in rates.items() if name.startswith(part) and own is not None),
                    self.args.learning_rate,
                )
                decay = 0.0 if value.ndim < 2 else self.args.weight_decay
                groups.setdefault((rate, decay), []).append(value)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args)
            if args.pure_bf16 and kind is torch.optim.AdamW:
                kind, settings = StochasticAdamW, {key: settings[key] for key in ("lr", "betas", "eps")}
            self.optimizer = kind(
                [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in groups.items()],
                **settings,
            )
        return self.optimizer

    def refuse_no_number(self) -> None:
        """Look at the losses since the last look.

        Raises:
            InputError: one is NaN or infinite; names the records of its batch and the last checkpoint.
        """
        recent, self._recent = self._recent, []
        if not recent or bool(torch.stack([loss for _, loss in recent]).isfinite().all()):
            return
        records = next(records for records, loss in recent if not loss.isfinite())
        last = last_checkpoint(Path(str(self.args.output_dir)))
        kept = f"the last checkpoint, {last}, is whole" if last else "nothing was saved before"
        raise InputError(
            f"the loss is no number at step {self.state.global_step + 1}, in the batch of {_listed(records)}; {kept}. "
            "Look at these records (llava-ecg validate), or give a smaller --learning_rate"
        )

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.refuse_no_number()
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError, SafetensorError) as error:  # each library says a full disk in its own way
            last = last_checkpoint(Path(str(self.args.output_dir)))
            kept = f"the last whole checkpoint is {last}" if last else "there is no checkpoint before it"
            raise InputError(
                f"the checkpoint of step {self.state.global_step} can't be saved ({reason(error)}); {kept}. Make room "
                "and give the same command again"
            ) from error

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """transformers' own; a checkpoint is read before the model is cut into shards."""
        whole: Any = self.model
        if self.args.fsdp and resume_from_checkpoint:
            restore(whole, Path(str(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.args.fsdp:
            whole = self.accelerator.unwrap_model(self.model if model is None else model)
            restore(whole, Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.args.fsdp:
            save_states(self, Path(output_dir))
        else:
            super()._save_optimizer_and_scheduler(output_dir)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        args: Any = self.args
        if not args.should_save:  # some versions of the Trainer call this in every process
            return
        dtype = None if args.save_dtype is None else getattr(torch, args.save_dtype)
        model, folder = self.accelerator.unwrap_model(self.model), Path(output_dir or args.output_dir)
        save_checkpoint(model, self.processing_class, folder, dtype, state_dict)
