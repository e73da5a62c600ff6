"""`LlavaEcgConfig`: the language model's config, and for each stream its tower, its projector and its preparation.

Everything that decides how an input is prepared is in here, so that training, benchmark and chat do the same, and a
saved model remembers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from llava_ecg.streams import StreamConfig


class LlavaEcgConfig(PretrainedConfig):
    """Configuration of `LlavaEcgForCausalLM`.

    Args:
        text_config: of the language model, a transformers config or its dict.
        streams: name -> `StreamConfig` (or its dict), in the order in which they stand at a marker.
        template: chat template the weights were trained with.
        base: the language model that the folder does not hold: a name for ``llava-ecg fetch``, or a path; None if it is
            inside.
        model_max_length: longest sequence in tokens.
        image_newline: whether there is a learned row-end embedding; None: if a stream's tiles are merged with one.
            (PULSE has inherited one that it does not use.)
        origin: where the weights came from, if that was another layout: its ``config`` as it was filed and the name
            prefixes of what was taken from ``outside`` its folder, so that `llava_ecg.model.convert` can write that
            layout again.
        derive: whether a stream that a question lacks is made from the others, as a page is drawn from a recording;
            False for a model that was trained on signals without their page.
    """

    model_type = "llava_ecg"

    def __init__(
        self,
        text_config: PretrainedConfig | Mapping[str, Any] | None = None,
        streams: Mapping[str, StreamConfig | Mapping[str, Any]] | None = None,
        template: str = "v1",
        base: str | None = None,
        model_max_length: int = 4096,
        image_newline: bool | None = None,
        origin: Mapping[str, Any] | None = None,
        derive: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(text_config, PretrainedConfig):
            values = dict(text_config or {"model_type": "llama"})
            text_config = AutoConfig.for_model(values.pop("model_type"), **values)
        self.text_config = text_config
        self.streams = {name: asdict(StreamConfig.of(stream)) for name, stream in (streams or {}).items()}
        self.template = template
        self.base = base
        self.model_max_length = model_max_length
        merged = any(stream["preparation"].get("merge") == "spatial_unpad" for stream in self.streams.values())
        self.image_newline = merged if image_newline is None else image_newline
        self.origin = origin
        self.derive = derive
        kwargs.setdefault("tie_word_embeddings", False)  # the language model ties its own
        super().__init__(**kwargs)

    def stream(self, name: str) -> StreamConfig:
        """The settings of one stream."""
        return StreamConfig.of(self.streams[name])

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """The language model's config: what generation asks for its caches and vocabulary."""
        return self.text_config
