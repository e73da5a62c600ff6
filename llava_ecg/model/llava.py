"""`LlavaEcgForCausalLM`: a language model that sees tower tokens at the places the data left for them.

The sequence is made in `llava_ecg.data.encode`; here it is only embedded, filled and checked.

Axes: B batch, S sequence, D width of the language model, n values of a stream, P tokens of a value, N tower tokens in
the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from llava_ecg.engine.attention import HONOUR_SEGMENTS, tower
from llava_ecg.errors import InputError
from llava_ecg.model.config import LlavaEcgConfig
from llava_ecg.model.finite import finite_or_refused
from llava_ecg.model.loss import summed_loss
from llava_ecg.model.pretrained import from_pretrained
from llava_ecg.model.projectors import build_projector
from llava_ecg.model.towers.tower import build_tower, preparers
from llava_ecg.streams import NEWLINE, Preparer

Streams = Mapping[str, Mapping[str, torch.Tensor]]


class LlavaEcgForCausalLM(PreTrainedModel, GenerationMixin):
    """Towers, projectors and a language model.

    Args:
        config: what to build.
        language_model: one that is built already; else it is made from ``config.text_config`` on random weights.
    """

    config_class = LlavaEcgConfig
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "CLIPEncoderLayer", "_Block"]

    def __init__(self, config: LlavaEcgConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.language_model = language_model or AutoModelForCausalLM.from_config(config.text_config)
        width = config.text_config.hidden_size
        self.towers, self.projectors = nn.ModuleDict(), nn.ModuleDict()
        for name in config.streams:
            self.towers[name] = build_tower(config.stream(name).tower, config.stream(name).tower_config)
        for name in config.streams:
            stream = config.stream(name)
            if stream.through not in (None, *config.streams):
                raise InputError(
                    f"the stream {name!r} leads through {stream.through!r}, which is none of "
                    f"{', '.join(config.streams)}"
                )
            out: Any = width if stream.through is None else self.towers[stream.through].width
            own: Any = self.towers[name].width
            self.projectors[name] = build_projector(stream.projector, own, out)
        self.image_newline = nn.Parameter(torch.randn(width) * width**-0.5) if config.image_newline else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Every part initialises itself when it is built; transformers' own pass must not draw it again.

        (That pass re-drew the loaded ECG tower of the original GEM; see golden/README.md, deviation 4.)
        """

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def preparers(self) -> dict[str, Preparer]:
        """Stream name -> what makes its values from a source, as the config says; picklable, in the order of
        streams."""
        config: Any = self.config
        return preparers(config, dict(self.towers.items()))

    def features(self, name: str, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """One stream's tokens as they stand in the sequence.

        Args:
            name: of the stream.
            values: [n, ...] as its tower takes them.
            index: int64 [N] into the n * P tokens, `NEWLINE` for the row-end embedding.

        Returns:
            [N, D]
        """
        with tower(values.device):
            tokens = self.towers[name](values)
        tokens = self.projectors[name](tokens)
        through = self.config.streams[name]["through"]
        if through is not None:
            tokens = self.projectors[through](tokens)
        tokens = tokens.flatten(0, 1)
        if self.image_newline is None:
            return tokens[index]
        return torch.where((index == NEWLINE)[:, None], self.image_newline.to(tokens.dtype), tokens[index.clamp(min=0)])

    def embed(
        self,
        input_ids: torch.Tensor | None,
        slots: torch.Tensor | None,
        streams: Streams | None,
        find: Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """int64 [B, S] -> [B, S, D]: text embeddings, with each stream's features where `slots` says so; they come from
        `find`, by default `features`.

        Raises:
            ValueError: no ids, or places and features differ in number.
        """
        if input_ids is None:
            raise ValueError("either input_ids or inputs_embeds is needed")
        embeddings = self.get_input_embeddings()(input_ids)
        if slots is None:
            return embeddings
        filled = embeddings.flatten(0, 1)
        for number, name in enumerate(self.config.streams, 1):
            given = (streams or {}).get(name)
            if given is not None and "places" in given:
                places = given["places"]
            else:
                places = torch.nonzero((slots == number).flatten())[:, 0]
            features = None if given is None else (find or self.features)(name, given["values"], given["index"])
            here, there = places.shape[0], 0 if features is None else features.shape[0]
            if here != there:
                raise ValueError(
                    f"the sequence has {here} places for the stream {name!r} and {there} features came for them"
                )
            if features is not None:
                filled = filled.index_copy(0, places, features.to(filled.dtype))
        return filled.view_as(embeddings)

    def _segmented(self, segments: torch.Tensor | None, longest: int | None) -> dict[str, Any]:
        """What tells transformers' attention functions where the samples of a pack begin.

        Raises:
            ValueError: a language model whose attention would pass over it.
        """
        if segments is None:
            return {}
        kind = self.language_model.config._attn_implementation
        if kind not in HONOUR_SEGMENTS:
            raise ValueError(
                f"a pack needs attention that keeps its samples apart ({', '.join(HONOUR_SEGMENTS)}), and the language "
                f"model has {kind}; see set_attn_implementation"
            )
        borders = {"cu_seq_lens_q": segments, "cu_seq_lens_k": segments}
        return borders | {"max_length_q": longest, "max_length_k": longest}

    def loss(
        self,
        inputs_embeds: torch.Tensor,
        rows: torch.Tensor,
        targets: torch.Tensor,
        *,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        longest: int | None = None,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        """The sum of the losses of the places that have a label, whose logits are never held all at once.

        Args:
            inputs_embeds: [B, S, D], filled.
            rows: int64 [M] of the B * S places, those that predict a label.
            targets: int64 [M], the labels that they predict.
            segments, longest: see `llava_ecg.data.batch.pack`.

        Returns:
            float32 []
        """
        hidden = (
            self.language_model.get_decoder()(
                inputs_embeds=inputs_embeds,
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
                **self._segmented(segments, longest),
            )
            .last_hidden_state.flatten(0, 1)
            .index_select(0, rows)
        )
        return summed_loss(self.get_output_embeddings(), hidden, targets, smoothing=label_smoothing)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        slots: torch.Tensor | None = None,
        streams: Streams | None = None,
        supervised_only: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
        rows: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        longest: int | None = None,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, and the loss where `labels` are given.

        Args:
            input_ids: int64 [B, S]; or `inputs_embeds` [B, S, D], already filled.
            attention_mask: bool or int [B, S].
            labels: int64 [B, S], -100 where there is no loss.
            slots: int8 [B, S]; 0 text, k the k-th stream.
            streams: name -> {values, index}; see `features`.
            supervised_only: the loss alone, and no logits: the same loss for a fraction of the memory.
            num_items_in_batch: what the sum of the loss is divided by; None for the number of labels.
            rows, targets: which places predict a label, and which (`llava_ecg.data.batch.counted`); found from the
                labels if None. Only with `supervised_only`.
            segments, longest: where the samples of a pack begin (`llava_ecg.data.batch.pack`).
            label_smoothing: only with `supervised_only`.
        """
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, slots, streams)
        if supervised_only and labels is not None:
            if rows is None or targets is None:
                ahead = nn.functional.pad(labels[:, 1:], (0, 1), value=-100).flatten()
                rows = torch.nonzero(ahead != -100)[:, 0]
                targets = ahead[rows]
            loss = self.loss(
                *(inputs_embeds, rows, targets),
                attention_mask=attention_mask,
                position_ids=position_ids,
                segments=segments,
                longest=longest,
                label_smoothing=label_smoothing,
            )
            items = max(1, rows.shape[0]) if num_items_in_batch is None else num_items_in_batch
            return CausalLMOutputWithPast(loss=loss / items)
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **({} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}),
            **self._segmented(segments, longest),
            **kwargs,
        )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """A model with weights of no training, from the arguments of `LlavaEcgConfig`."""
        return cls(LlavaEcgConfig(**config))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """transformers' way in, to the loader of `llava_ecg.load`: every layout, and no key passed over in silence.

        Args:
            kwargs: ``dtype`` (or ``torch_dtype``), ``device_map`` (one device), ``quantization_config`` (bitsandbytes),
                ``config``, ``attn_implementation``, and the keywords of `llava_ecg.load`.

        Raises:
            InputError: as `llava_ecg.load`, and for a keyword that it does not have.
        """
        return from_pretrained(cls.of, pretrained_model_name_or_path, *args, **kwargs)

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """transformers' way out: the whole model, whatever it was loaded over."""
        base, self.config.base = self.config.base, None
        try:
            super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self.config.base = base

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        *,
        slots: torch.Tensor | None = None,
        streams: Streams | None = None,
        inputs_embeds: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' generate over the filled sequence: int64 [B, new tokens], the prompt not repeated.

        Batches must be padded on the left (`llava_ecg.data.batch.pad`, whose whole output may be passed: positions
        follow from the mask, and labels are not looked at).

        Raises:
            InputError: the model's output is no number, see `llava_ecg.model.finite`.
        """
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, slots, streams)
        if attention_mask is None:
            attention_mask = torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
        kwargs["logits_processor"] = LogitsProcessorList(
            [finite_or_refused(self), *(kwargs.get("logits_processor") or [])]
        )
        language_model: Any = self.language_model
        return language_model.generate(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)
